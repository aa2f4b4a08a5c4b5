//! Who may read and write what the store makes: its owner alone, or on request a group. Never everyone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Whose the files of a store are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// The owner's: directories 0700, files 0600.
    #[default]
    Private,
    /// The directory's group's, whatever the umask of a process: directories 2770 (what is made in them has their group), files 0660. As
    /// git's `core.sharedRepository = group`.
    Group,
}

/// The file `config` of a store.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    version: u32,
    sharing: Sharing,
}

const VERSION: u32 = 1;

impl Sharing {
    /// Reads the content of a store's file `config`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let config: Config = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match config.version {
            VERSION => Ok(config.sharing),
            other => Err(format!("it has version {other}, this version of flow knows {VERSION}")),
        }
    }

    pub(crate) fn encode(self) -> String {
        let config = Config {
            version: VERSION,
            sharing: self,
        };
        serde_json::json!(config).to_string() + "\n"
    }

    /// What the permissions of a store's directory say.
    pub(crate) fn of_folder(root: &Path) -> Self {
        #[cfg(unix)]
        if fs::metadata(root).is_ok_and(|data| {
            std::os::unix::fs::PermissionsExt::mode(&data.permissions()) & 0o2770 == Self::Group.folder_mode()
        }) {
            return Self::Group;
        }
        let _ = root;
        Self::Private
    }

    /// The permission bits of a file.
    pub(crate) fn file_mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Group => 0o660,
        }
    }

    /// The permission bits of a folder.
    pub(crate) fn folder_mode(self) -> u32 {
        match self {
            Self::Private => 0o700,
            Self::Group => 0o2770,
        }
    }

    /// Makes one folder.
    ///
    /// # Errors
    /// What the system says, `AlreadyExists` among it.
    pub fn create_dir(self, path: &Path) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, self.folder_mode());
        builder.create(path)?;
        self.widen_folder(path)
    }

    /// Makes a directory and those above it that are missing; one that is there is as good.
    ///
    /// # Errors
    /// What the system says.
    pub fn create_dir_all(self, path: &Path) -> io::Result<()> {
        match self.create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = path.parent().filter(|above| !above.as_os_str().is_empty());
                self.create_dir_all(above.ok_or(error)?)?;
                self.create_dir_all(path)
            }
            made => made,
        }
    }

    /// How files are opened that may have to be made: a link is not followed, and a pipe not waited for.
    fn options(self) -> OpenOptions {
        let mut options = OpenOptions::new();
        #[cfg(unix)]
        {
            use rustix::fs::OFlags;
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(self.file_mode());
            options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        }
        options
    }

    /// Opens a file to read and write, making it if need be.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(self, path: &Path) -> io::Result<File> {
        self.opened(
            self.options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?,
        )
    }

    /// Opens a file to add to its end, making it if need be.
    ///
    /// # Errors
    /// What the system says.
    pub fn append(self, path: &Path) -> io::Result<File> {
        self.opened(self.options().append(true).create(true).open(path)?)
    }

    /// Makes a file that must not be there yet.
    ///
    /// # Errors
    /// What the system says, `AlreadyExists` among it.
    pub fn create_new(self, path: &Path) -> io::Result<File> {
        self.opened(self.options().read(true).write(true).create_new(true).open(path)?)
    }

    /// Writes a file where it lies, in place of what is there.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.options().write(true).create(true).truncate(true).open(path)?;
        file.write_all(bytes)?;
        self.opened(file).map(drop)
    }

    /// How a temporary directory is made; [`Sharing::widen_folder`] is to follow.
    pub(crate) fn temporary_folder(self) -> tempfile::Builder<'static, 'static> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(self.folder_mode()));
        builder
    }

    /// Gives a directory that was just made its permissions, which the umask may have narrowed.
    pub(crate) fn widen_folder(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Private => Ok(()),
            Self::Group => set_mode(path, self.folder_mode()),
        }
    }

    /// How a file is made that is moved to its place later.
    pub(crate) fn temporary(self) -> tempfile::Builder<'static, 'static> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(self.file_mode()));
        builder.prefix("new-");
        builder
    }

    fn opened(self, file: File) -> io::Result<File> {
        self.widen(&file)?;
        Ok(file)
    }

    /// Gives a file that was opened for writing its permissions, which the umask may have narrowed.
    pub(crate) fn widen(self, file: &File) -> io::Result<()> {
        #[cfg(unix)]
        if self == Self::Group {
            use std::os::unix::fs::PermissionsExt;
            // Someone else's is as they made it.
            if file.metadata()?.permissions().mode() & 0o777 != self.file_mode() {
                let _ = file.set_permissions(fs::Permissions::from_mode(self.file_mode()));
            }
        }
        Ok(())
    }

    /// Gives everything under `folder`, and itself, these permissions: for what other code made there. Links are not followed.
    ///
    /// # Errors
    /// What the system says of the first that cannot be changed.
    pub(crate) fn apply(self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.apply(&entry.path())?;
            } else if kind.is_file() {
                set_mode(&entry.path(), self.file_mode())?;
            }
        }
        set_mode(folder, self.folder_mode())
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        match fs::metadata(path) {
            Ok(data) if data.permissions().mode() & 0o7777 == mode => Ok(()),
            Ok(_) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
    #[cfg(not(unix))]
    {
        let _ = (path, mode);
        Ok(())
    }
}
