//! Images one after the other, from files, folders, patterns and archives; never more in memory than a batch of files.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use flow_engine::plain_file;

use super::decode::begins_as_image;
use super::folder::{Fault, has_image_ending, images_in, is_hidden};

/// Images of a batch.
const BATCH: usize = 256;

/// Bytes of a batch's files that were read from archives.
const BATCH_BYTES: usize = 64 << 20;

/// A longer member of an archive is not read.
const MEMBER_LIMIT: u64 = 512 << 20;

/// Bytes by which an archive is told.
const MAGIC: usize = 512;

const HELP: &str =
    "give image files, folders of them, patterns in quotes (`\"photos/**/*.jpg\"`), or tar and zip archives";

/// An image file, not yet decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is called in results: its path, behind that of the archive that it is in.
    pub path: PathBuf,
    /// Where its bytes are.
    pub content: Content,
}

/// Where the bytes of an image file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In the file of the item's path.
    File,
    /// Here.
    Bytes(Vec<u8>),
    /// They could not be read, and why.
    Unreadable(String),
}

/// The files and folders that arguments stand for: one that is not there may be a pattern (`photos/**/*.jpg`).
///
/// # Errors
/// If there is no such file, or nothing that fits the pattern.
pub fn expand(arguments: &[PathBuf]) -> Result<Vec<PathBuf>, Fault> {
    let mut paths = Vec::new();
    for argument in arguments {
        if argument.symlink_metadata().is_ok() {
            paths.push(argument.clone());
            continue;
        }
        let missing = |what: &str| Fault::new(format!("{what} {}", argument.display()), HELP);
        let pattern = argument.to_str().filter(|text| text.contains(['*', '?', '[']));
        let pattern = pattern.ok_or_else(|| missing("there is no"))?;
        let found = glob::glob(pattern).map_err(|e| missing(&format!("not a pattern ({e}):")))?;
        let before = paths.len();
        for path in found {
            paths.push(path.map_err(|e| Fault::new(e.to_string(), HELP))?);
        }
        if paths.len() == before {
            return Err(missing("nothing fits the pattern"));
        }
    }
    Ok(paths)
}

/// Gives `each` the images at `paths`, in their order, folders sorted, in batches.
///
/// # Errors
/// A folder that cannot be read, or what `each` returns. Files that cannot be read are items.
pub fn stream<E: From<Fault>>(paths: &[PathBuf], mut each: impl FnMut(Vec<Item>) -> Result<(), E>) -> Result<(), E> {
    let mut batch = Batch {
        items: Vec::new(),
        bytes: 0,
        each: &mut each,
    };
    for path in paths {
        if path.is_dir() {
            for image in images_in(path)? {
                batch.push(path.join(image), Content::File)?;
            }
            continue;
        }
        match opened(path) {
            Ok(Opened::File) => batch.push(path.clone(), Content::File)?,
            Ok(Opened::Tar(reader)) => of_tar(path, reader, &mut batch)?,
            Ok(Opened::Zip(file)) => of_zip(path, file, &mut batch)?,
            Err(error) => batch.push(path.clone(), Content::Unreadable(error.to_string()))?,
        }
    }
    batch.flush()
}

/// Items that are handed over together.
struct Batch<'a, E> {
    items: Vec<Item>,
    bytes: usize,
    each: &'a mut dyn FnMut(Vec<Item>) -> Result<(), E>,
}

impl<E> Batch<'_, E> {
    fn push(&mut self, path: PathBuf, content: Content) -> Result<(), E> {
        if let Content::Bytes(bytes) = &content {
            self.bytes += bytes.len();
        }
        self.items.push(Item { path, content });
        match self.items.len() >= BATCH || self.bytes >= BATCH_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), E> {
        self.bytes = 0;
        match std::mem::take(&mut self.items) {
            items if items.is_empty() => Ok(()),
            items => (self.each)(items),
        }
    }
}

/// What a file is.
enum Opened {
    /// An image, or nothing that is known.
    File,
    /// A tar archive, unpacked if it was packed.
    Tar(Box<dyn Read>),
    /// A zip archive.
    Zip(File),
}

fn opened(path: &Path) -> std::io::Result<Opened> {
    let mut file = BufReader::new(plain_file::open(path)?);
    let start = file.fill_buf()?;
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return Ok(Opened::Zip(plain_file::open(path)?));
    }
    let unpacked: Box<dyn Read> = match start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    };
    let mut unpacked = unpacked;
    let mut head = Vec::new();
    unpacked.by_ref().take(MAGIC as u64).read_to_end(&mut head)?;
    match head.get(257..262) {
        Some(b"ustar") => Ok(Opened::Tar(Box::new(std::io::Cursor::new(head).chain(unpacked)))),
        _ => Ok(Opened::File),
    }
}

fn of_tar<E>(archive: &Path, reader: Box<dyn Read>, batch: &mut Batch<'_, E>) -> Result<(), E> {
    let mut tar = tar::Archive::new(reader);
    let damaged = |e: std::io::Error| Content::Unreadable(format!("the archive is damaged here: {e}"));
    let entries = match tar.entries() {
        Ok(entries) => entries,
        Err(error) => return batch.push(archive.to_owned(), damaged(error)),
    };
    for entry in entries {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => return batch.push(archive.to_owned(), damaged(error)),
        };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let Ok(name) = entry.path().map(std::borrow::Cow::into_owned) else {
            continue;
        };
        let size = entry.size();
        if let Some(content) = member(&name, size, &mut entry) {
            batch.push(archive.join(name), content)?;
        }
    }
    Ok(())
}

fn of_zip<E>(archive: &Path, file: File, batch: &mut Batch<'_, E>) -> Result<(), E> {
    let damaged = |e: zip::result::ZipError| Content::Unreadable(format!("the archive is damaged: {e}"));
    let mut zip = match zip::ZipArchive::new(BufReader::new(file)) {
        Ok(zip) => zip,
        Err(error) => return batch.push(archive.to_owned(), damaged(error)),
    };
    for place in 0..zip.len() {
        let mut entry = match zip.by_index(place) {
            Ok(entry) => entry,
            Err(error) => {
                batch.push(archive.join(format!("member {place}")), damaged(error))?;
                continue;
            }
        };
        let name = entry
            .name()
            .map_or_else(|_| format!("member {place}"), std::borrow::Cow::into_owned);
        let name = PathBuf::from(name);
        let size = entry.size();
        if entry.is_file()
            && let Some(content) = member(&name, size, &mut entry)
        {
            batch.push(archive.join(name), content)?;
        }
    }
    Ok(())
}

/// A member of an archive, if it is an image by its ending or its content.
fn member(name: &Path, size: u64, reader: &mut impl Read) -> Option<Content> {
    if is_hidden(name) {
        return None;
    }
    if size > MEMBER_LIMIT {
        let why = format!("it is longer than {} MiB", MEMBER_LIMIT >> 20);
        return has_image_ending(name).then_some(Content::Unreadable(why));
    }
    let mut bytes = Vec::new();
    let start = reader.by_ref().take(32).read_to_end(&mut bytes);
    if start.is_ok() && !has_image_ending(name) && !begins_as_image(&bytes) {
        return None;
    }
    match start.and_then(|_| reader.by_ref().take(MEMBER_LIMIT).read_to_end(&mut bytes)) {
        Ok(_) if (bytes.len() as u64) < size => Some(Content::Unreadable("the archive is truncated in it".into())),
        Ok(_) => Some(Content::Bytes(bytes)),
        Err(error) => Some(Content::Unreadable(format!("the archive is damaged here: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use zip::write::SimpleFileOptions;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

    fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *bytes).expect("appended");
        }
        tar.into_inner().expect("whole")
    }

    fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            zip.start_file(*name, SimpleFileOptions::default()).expect("begun");
            zip.write_all(bytes).expect("written");
        }
        zip.finish().expect("whole").into_inner()
    }

    fn names(path: &Path) -> Vec<(String, bool)> {
        let mut found = Vec::new();
        let each = |items: Vec<Item>| {
            for item in items {
                let name = item.path.strip_prefix(path).unwrap_or(&item.path).display().to_string();
                found.push((name, matches!(item.content, Content::Unreadable(_))));
            }
            Ok::<(), Fault>(())
        };
        stream(&[path.to_owned()], each).expect("readable");
        found
    }

    #[test]
    fn images_of_archives_are_found_by_ending_or_content_and_nothing_else_is() {
        let members: &[(&str, &[u8])] = &[
            ("a/one.png", PNG),
            ("a/readme.txt", b"text"),
            ("__MACOSX/one.png", PNG),
            ("a/.hidden.png", PNG),
            ("bare", PNG),
            ("broken.jpg", b"nothing"),
        ];
        let folder = tempfile::tempdir().expect("a folder");
        let tar = tar_of(members);
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&tar).expect("packed");
        let files = [
            ("a.tar", tar.clone()),
            ("a.tgz", gz.finish().expect("packed")),
            ("a.tar.zst", zstd::encode_all(&tar[..], 1).expect("packed")),
            ("a.zip", zip_of(members)),
        ];
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            let expected = ["a/one.png", "bare", "broken.jpg"].map(|name| (name.to_owned(), false));
            assert_eq!(names(&path), expected, "{name}");
        }
    }

    #[test]
    fn a_truncated_archive_gives_what_it_has_and_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let tar = tar_of(&[("one.png", PNG), ("two.png", &[PNG, &[0; 2000]].concat())]);
        let path = folder.path().join("cut.tar");
        std::fs::write(&path, &tar[..1700]).expect("written");
        let found = names(&path);
        assert_eq!(found[0], ("one.png".to_owned(), false));
        assert!(
            found.len() > 1 && found[1..].iter().all(|(_, failed)| *failed),
            "{found:?}"
        );
        let zip = zip_of(&[("one.png", PNG)]);
        std::fs::write(folder.path().join("cut.zip"), &zip[..zip.len() - 8]).expect("written");
        assert!(names(&folder.path().join("cut.zip"))[0].1);
    }

    #[test]
    fn what_of_an_archive_cannot_be_read_is_said_of_each_member() {
        let folder = tempfile::tempdir().expect("a folder");
        let tar = tar_of(&[("one.png", PNG), ("two.png", &[PNG, &[0; 2000]].concat())]);
        let mut long = tar::Header::new_gnu();
        long.set_path("long.png").expect("short");
        long.set_size(MEMBER_LIMIT + 1);
        long.set_cksum();
        let zip = zip_of(&[("one.png", PNG)]);
        let files = [
            ("cut.tar", tar[..1700].to_vec()),
            ("cut header.tar", tar[..1300].to_vec()),
            ("no header.tar", [&tar[..1024], &[7; 1024]].concat()),
            ("long.tar", long.as_bytes().to_vec()),
            ("cut.zip", zip[..zip.len() - 8].to_vec()),
        ];
        let mut said = String::new();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            let each = |items: Vec<Item>| {
                for item in items {
                    if let Content::Unreadable(why) = item.content {
                        said += &format!("{}: {why}\n", item.path.display());
                    }
                }
                Ok::<(), Fault>(())
            };
            stream(&[path], each).expect("readable");
        }
        insta::assert_snapshot!(said.replace(&folder.path().display().to_string(), "[dir]"));
    }

    #[test]
    fn patterns_and_folders_are_expanded_and_what_is_not_there_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("sub")).expect("made");
        for name in ["b.png", "a.png", "sub/c.png", "note.txt"] {
            std::fs::write(at(name), PNG).expect("written");
        }
        std::fs::write(at("note.txt"), "text").expect("written");
        let all = expand(&[at("**/*.png")]).expect("some fit");
        assert_eq!(all, [at("a.png"), at("b.png"), at("sub/c.png")]);
        assert_eq!(names(folder.path()).len(), 3);
        assert!(
            expand(&[at("*.gif")])
                .expect_err("none")
                .message
                .contains("nothing fits")
        );
        assert!(expand(&[at("none")]).expect_err("none").message.contains("there is no"));
    }
}
