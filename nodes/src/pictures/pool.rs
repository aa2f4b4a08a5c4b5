//! Pixels on their way into a data set: in memory while they are few, then in a file.

use std::io::Write;

use flow_cache::{Digest, LargeWriter};
use flow_engine::node::{Host, NodeError};
use flow_learn::data::{Depth, Pixels};

use super::decode::Values;
use super::leaks::Fingerprint;
use super::load::Fitted;
use crate::artifacts::{no_room, pixels_in};

/// Bytes that are kept in memory.
const IN_MEMORY: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// What is remembered of an image whose pixels are in a [`Pool`].
#[derive(Clone, Debug)]
pub struct Kept {
    /// To find its duplicates.
    pub print: Fingerprint,
    /// Digest of the file that it is the only image of.
    pub content: Option<Digest>,
    /// Whether it has 16 bits, and not only the data set.
    pub deep: bool,
}

/// Images' pixels, one after the other, with as many bits as the deepest so far.
pub struct Pool<'h> {
    host: &'h dyn Host,
    depth: Depth,
    memory: Vec<u8>,
    file: Option<LargeWriter>,
}

impl<'h> Pool<'h> {
    /// An empty one. The host is asked for a file when there is much to keep.
    pub fn new(host: &'h dyn Host) -> Self {
        Self {
            host,
            depth: Depth::Eight,
            memory: Vec::new(),
            file: None,
        }
    }

    /// Adds those that could be read.
    ///
    /// # Errors
    /// If there is no room for them.
    pub fn add_all(
        &mut self,
        images: Vec<Result<Fitted, String>>,
        kept: &mut Vec<Result<Kept, String>>,
    ) -> Result<(), NodeError> {
        for image in images {
            kept.push(match image {
                Ok(image) => Ok(self.add(image)?),
                Err(why) => Err(why),
            });
        }
        Ok(())
    }

    fn add(&mut self, image: Fitted) -> Result<Kept, NodeError> {
        let deep = matches!(image.values, Values::Sixteen(_));
        if deep && self.depth == Depth::Eight {
            self.deepen()?;
        }
        match self.depth {
            Depth::Eight => self.put(&image.values.eight())?,
            Depth::Sixteen => self.put(&bytes_of(&image.values.sixteen()))?,
        }
        Ok(Kept {
            print: image.print,
            content: image.content,
            deep,
        })
    }

    /// Adds bytes of as many bits as there are.
    ///
    /// # Errors
    /// If there is no room for them.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), NodeError> {
        let full = |error| no_room("pixels", &error);
        if self.file.is_none() && self.memory.len() + bytes.len() > IN_MEMORY {
            let mut file = self.host.large_file()?;
            file.write_all(&std::mem::take(&mut self.memory)).map_err(full)?;
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes).map_err(full),
            None => {
                self.memory.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Makes 16 bits of what is there.
    fn deepen(&mut self) -> Result<(), NodeError> {
        let (eight, _) = std::mem::replace(self, Self::new(self.host)).pixels()?;
        self.depth = Depth::Sixteen;
        let mut from = 0;
        while from < eight.len() {
            let to = (from + (1 << 20)).min(eight.len());
            let values: Vec<u16> = eight.part(from..to).iter().map(|v| u16::from(*v) * 257).collect();
            self.put(&bytes_of(&values))?;
            from = to;
        }
        Ok(())
    }

    /// All of them.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn pixels(self) -> Result<(Pixels, Depth), NodeError> {
        let pixels = match self.file {
            Some(file) => pixels_in(file.map().map_err(|error| no_room("pixels", &error))?),
            None => self.memory.into(),
        };
        Ok((pixels, self.depth))
    }
}

fn bytes_of(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use flow_cache::{Access, Store};

    use super::*;
    use crate::pictures::Picture;
    use crate::quiet::tests::Room;

    fn image(values: Values) -> Fitted {
        let picture = Picture::of_values("png", [1, values.len(), 1], values);
        Fitted {
            print: Fingerprint::of(&picture.values, picture.size()),
            values: picture.values,
            content: None,
        }
    }

    #[test]
    fn pixels_are_those_that_were_added_wherever_they_lie_and_as_deep_as_the_deepest() {
        let folder = tempfile::tempdir().expect("a folder");
        let room = Room::new(Store::open(folder.path(), Access::ReadWrite).expect("a store"));
        for length in [10, 96 << 10] {
            let mut pool = Pool::new(&room);
            let mut kept = Vec::new();
            let eight = |first: u8| (0..length).map(|at| first.wrapping_add(at as u8)).collect::<Vec<u8>>();
            let bad = Err("damaged".to_owned());
            let images = (0..12).map(|first| Ok(image(Values::Eight(eight(first))))).chain([bad]);
            pool.add_all(images.collect(), &mut kept).expect("room");
            assert_eq!(pool.file.is_some(), length > 10);
            pool.add_all(vec![Ok(image(Values::Sixteen(vec![7; length])))], &mut kept)
                .expect("room");
            assert_eq!(kept.iter().filter(|kept| kept.is_err()).count(), 1);
            let (pixels, depth) = pool.pixels().expect("room");
            assert_eq!(depth, Depth::Sixteen);
            assert_eq!(pixels.len(), 13 * length * 2);
            let (image, last) = (11 * length * 2, 12 * length * 2);
            assert_eq!(pixels[image + 6..image + 8], (14u16 * 257).to_le_bytes());
            assert_eq!(pixels[last..last + 4], [7, 0, 7, 0]);
        }
    }
}
