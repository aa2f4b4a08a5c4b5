//! Taking what was read into the store.

use std::path::{Path, PathBuf};

use super::{ArchiveError, Imported, Opened};
use crate::digest::Digest;
use crate::error::CacheError;
use crate::files::Lookup;
use crate::record::Record;
use crate::shared::Shared;

/// How often an entry is looked at anew when other processes publish or discard it at the same moment.
const RACES: usize = 8;

/// Publishes everything. An entry that is there already with other outputs stays as it is, which is an error: nothing is taken then. The
/// caller has made sure that nothing is collected meanwhile.
pub(crate) fn install(store: &Shared, archive: &Opened, path: &Path) -> Result<Imported, ArchiveError> {
    let mut imported = Imported::default();
    for key in &archive.keys {
        match standing(store, &archive.record(key)?, path, "Nothing was imported")? {
            Standing::Whole => imported.known.push(*key),
            Standing::BytesMissing | Standing::Absent => imported.new.push(*key),
        }
    }
    for key in &imported.new {
        let record = archive.record(key)?;
        // From here on only another process that publishes the same key at this moment can contradict.
        one(store, archive, &record, path)?;
        store.catalog.published(&record);
    }
    Ok(imported)
}

/// How the store stands to an entry of an archive.
enum Standing {
    /// It has it.
    Whole,
    /// It has its record, but not all of its outputs.
    BytesMissing,
    /// It has nothing that can be used.
    Absent,
}

/// An entry with other outputs is an error, whether or not they are there: its record is a truth, too.
fn standing(store: &Shared, record: &Record, path: &Path, then: &str) -> Result<Standing, ArchiveError> {
    let files = &store.files;
    let Lookup::Sound(entry) = files.record(&record.key)? else {
        return Ok(Standing::Absent);
    };
    let (ours, theirs) = (&entry.record, record);
    if ours.outputs != theirs.outputs {
        return Err(ArchiveError::Unusable {
            path: path.to_owned(),
            why: format!(
                "{:?} under key {} is in this cache with other outputs: {} here, {} in the archive. {then}. If the archive is right, discard \
                 the entry here first (remove {}), or import into another cache",
                ours.node,
                ours.key.short(),
                ours.digest(),
                theirs.digest(),
                files.layout.record(&ours.key).display()
            ),
        });
    }
    Ok(match files.find(&record.key)? {
        Lookup::Sound(entry) if !entry.collected => Standing::Whole,
        _ => Standing::BytesMissing,
    })
}

fn one(store: &Shared, archive: &Opened, record: &Record, path: &Path) -> Result<(), ArchiveError> {
    let files = &store.files;
    let blobs: Vec<(Digest, PathBuf)> = record
        .outputs
        .values()
        .map(|output| (output.digest, archive.blob(&output.digest)))
        .collect();
    for _ in 0..RACES {
        let standing = standing(store, record, path, "What comes before it in the archive was imported")?;
        if let Lookup::Damaged(why) = files.record(&record.key)? {
            store.set_aside(&record.key, &why)?;
        }
        files.adopt_blobs(&blobs)?;
        match standing {
            Standing::Whole => return Ok(()),
            Standing::BytesMissing => return Ok(files.uncollect(&record.key)?),
            Standing::Absent => {
                if files.put_record(record.clone())?.is_some() {
                    return Ok(files.uncollect(&record.key)?);
                }
            }
        }
    }
    Err(CacheError::contested("import", &files.layout.record(&record.key)).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::ArchiveLimits;
    use crate::testing::{draft, without_digests};
    use crate::{Access, Store};

    #[test]
    fn a_contradiction_is_told_with_what_was_imported_until_then() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| Store::open(&dir.path().join(name), Access::ReadWrite).unwrap();
        let (theirs, ours) = (open("theirs"), open("ours"));
        for (store, content) in [(&theirs, "theirs"), (&ours, "ours")] {
            let (key, draft) = draft(0.5, content);
            store.publish(&key, &draft).unwrap();
        }
        let path = dir.path().join("a.tar.zst");
        theirs.export(&theirs.records().unwrap(), &path).unwrap();
        let shared = Shared::open(
            Box::<crate::disk::RealDisk>::default(),
            ours.root(),
            Access::ReadWrite,
            true,
        )
        .unwrap();
        let opened = Opened::read(&shared.files, &path, ArchiveLimits::default()).unwrap();
        let first = install(&shared, &opened, &path).unwrap_err();
        let record = opened.record(&opened.keys[0]).unwrap();
        let later = one(&shared, &opened, &record, &path).unwrap_err();
        let said = format!("{first}\n\n{later}").replace(&dir.path().display().to_string(), "[dir]");
        insta::assert_snapshot!(without_digests(&said));
    }
}
