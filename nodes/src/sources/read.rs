//! Reads the files of all sources, packed by gzip or not.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::{GzDecoder, MultiGzDecoder};
use flow_engine::node::NodeError;
use flow_engine::plain_file;

/// What a member of a gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The most that a gzip file may unpack to: a small file can hold terabytes of zeros.
const UNPACKED_LIMIT: u64 = 8 << 30;

/// The whole of a file. Of a gzip file that is what all of its members hold, one after the other, as `gzip -dc` has it.
///
/// # Errors
/// If it cannot be read, a member is truncated or damaged, or something else follows the last one.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, NodeError> {
    let unreadable = |e: io::Error| {
        NodeError::failed(format!("cannot read {}: {e}", path.display()))
            .with_help("check the data set's `path`; it is relative to the workflow file")
    };
    let bytes = plain_file::read(path).map_err(unreadable)?;
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes);
    }
    unpacked(&bytes, UNPACKED_LIMIT).map_err(|what| {
        NodeError::failed(format!("{} is a damaged gzip file: {what}", path.display()))
            .with_help("download it again, or pack it again; `gzip -t` must find no fault in it")
    })
}

/// Whether a file is packed by gzip.
///
/// # Errors
/// If it cannot be opened.
pub(super) fn is_packed(path: &Path) -> io::Result<bool> {
    Ok(BufReader::new(plain_file::open(path)?).fill_buf()?.starts_with(&GZIP))
}

/// A file to be read in order, unpacked if it is packed.
///
/// # Errors
/// If it cannot be opened.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::new(plain_file::open(path)?);
    Ok(match file.fill_buf()?.starts_with(&GZIP) {
        true => Box::new(MultiGzDecoder::new(file)),
        false => Box::new(file),
    })
}

/// The first bytes of a file, as many as there are up to `count`; only they are unpacked.
pub(super) fn read_start(path: &Path, count: u64) -> io::Result<Vec<u8>> {
    let mut file = BufReader::new(plain_file::open(path)?);
    let mut start = Vec::new();
    if file.fill_buf()?.starts_with(&GZIP) {
        MultiGzDecoder::new(file).take(count).read_to_end(&mut start)?;
    } else {
        file.take(count).read_to_end(&mut start)?;
    }
    Ok(start)
}

/// The members of a gzip file, `most` bytes in all; zeros behind the last one are padding.
fn unpacked(packed: &[u8], most: u64) -> Result<Vec<u8>, String> {
    let (mut bytes, mut rest) = (Vec::new(), packed);
    while rest.iter().any(|byte| *byte != 0) {
        let at = packed.len() - rest.len();
        if !rest.starts_with(&GZIP) {
            return Err(format!("something that is not gzip follows its first {at} bytes"));
        }
        let mut member = GzDecoder::new(rest);
        let room = most.saturating_sub(bytes.len() as u64);
        let taken = member.by_ref().take(room + 1).read_to_end(&mut bytes);
        match taken {
            Ok(taken) if taken as u64 > room => {
                return Err(format!("it unpacks to more than {most} bytes"));
            }
            Ok(_) => rest = member.into_inner(),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(format!("it is truncated within the member that begins at byte {at}"));
            }
            Err(e) => return Err(format!("the member that begins at byte {at}: {e}")),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn member(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).expect("written");
        encoder.finish().expect("packed")
    }

    fn read(bytes: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file.gz");
        std::fs::write(&path, bytes).expect("written");
        let read = read_file(&path).map_err(|e| e.to_string())?;
        // The start is the same, whatever it is read by.
        assert_eq!(read_start(&path, 9).expect("readable"), read[..read.len().min(9)]);
        Ok(String::from_utf8(read).expect("text"))
    }

    #[test]
    fn a_gzip_file_of_several_members_is_read_whole() {
        let members = [member("one, "), member(""), member("two, "), member("three")].concat();
        assert_eq!(read(&members), Ok("one, two, three".into()));
        assert_eq!(
            read(&[members.clone(), vec![0; 512]].concat()),
            Ok("one, two, three".into())
        );
        assert_eq!(read(b"not packed"), Ok("not packed".into()));
        assert_eq!(read(b""), Ok(String::new()));
    }

    #[test]
    fn what_a_gzip_file_unpacks_to_is_bounded() {
        let members = [member(&"a".repeat(60)), member(&"b".repeat(40))].concat();
        assert_eq!(unpacked(&members, 100).map(|bytes| bytes.len()), Ok(100));
        let message = unpacked(&members, 99).expect_err("one byte too many");
        assert!(message.contains("more than 99 bytes"), "{message}");
    }

    #[test]
    fn a_member_that_is_cut_short_and_garbage_behind_one_are_errors() {
        let (first, second) = (member("the first of two members"), member("the second of them"));
        let whole = [first.clone(), second].concat();
        for cut in first.len() + 2..whole.len() {
            let message = read(&whole[..cut]).expect_err("cut short");
            assert!(message.contains("truncated"), "{cut}: {message}");
        }
        let message = read(&[first.clone(), b"garbage".to_vec()].concat()).expect_err("garbage");
        assert!(
            message.contains(&format!("not gzip follows its first {} bytes", first.len())),
            "{message}"
        );
        let mut damaged = first;
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0xff;
        assert!(read(&damaged).expect_err("damaged").contains("damaged gzip file"));
    }

    #[test]
    fn a_file_that_cannot_be_read_says_what_to_check() {
        let error = read_file(Path::new("nowhere.gz")).expect_err("it is not there");
        insta::assert_snapshot!(crate::failure::tests::said(&error));
    }
}
