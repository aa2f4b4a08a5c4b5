//! Images that are too large for memory, as files of an artifact.

use std::collections::BTreeMap;

use flow_cache::{Artifact, LargeFile};
use flow_engine::node::{Host, NodeError};
use flow_learn::data::Images;

/// Images of so many bytes do not go through memory: they are written an image at a time.
const LARGE: usize = 64 << 20;

/// The large files that a data set was read from, by name, with what they hold: what is still that is not written again.
#[derive(Clone, Debug, Default)]
pub(super) struct LargeImages(BTreeMap<String, (LargeFile, Images)>);

impl LargeImages {
    /// Whether images are too large for memory.
    pub(super) fn are(images: &Images) -> bool {
        images.encoded_len() >= LARGE
    }

    /// Those of an artifact's files that are large, which hold these images.
    pub(super) fn of<'i>(artifact: &Artifact, images: impl Iterator<Item = (String, &'i Images)>) -> Self {
        let large = images.filter(|(_, images)| Self::are(images));
        let files = large.filter_map(|(name, images)| {
            let file = LargeFile::of(artifact, &name)?;
            Some((name, (file, images.clone())))
        });
        Self(files.collect())
    }

    /// Adds images to a host's output: by the file that holds them already, or by a new one.
    ///
    /// # Errors
    /// If that cannot be written.
    pub(super) fn write(&self, name: &str, images: &Images, host: &dyn Host) -> Result<(), NodeError> {
        if let Some((file, _)) = self.0.get(name).filter(|(_, held)| held.is(images)) {
            return host.output(name, file.clone());
        }
        let mut file = host.large_file()?;
        let written = images.write(&mut file).and_then(|()| file.finish());
        host.output(name, written.map_err(|error| no_room(name, &error))?)
    }
}

/// Why a large file was not written.
pub(crate) fn no_room(what: &str, error: &std::io::Error) -> NodeError {
    NodeError::failed(format!("cannot write `{what}`: {error}")).with_help("is there room where the cache is?")
}

#[cfg(test)]
mod tests {
    use flow_cache::{Access, Digest, Draft, KeyFields, Store};
    use flow_engine::node::Input;
    use flow_learn::data::{Annotations, Samples};

    use super::*;
    use crate::artifacts::{Dataset, SplitName};
    use crate::quiet::tests::Room;

    fn publish(room: &Room, node: &str, data: Dataset) -> Artifact {
        let output = data.into_output(room).expect("there is room");
        let (key, components) = KeyFields::new("dataset", 1).param("node", &node.into()).finish();
        let draft = Draft {
            components,
            files: output.files,
            large: room.take_large(),
            ..Draft::default()
        };
        room.store().publish(&key, &draft).expect("published")
    }

    #[test]
    fn a_large_file_stands_for_images_as_long_as_they_are_those_that_it_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let room = Room::new(Store::open(folder.path(), Access::ReadWrite).expect("a store"));
        let side = 1024;
        let n = LARGE / (side * side);
        let images =
            |value: u8| Images::new(side, side, 1, vec![value; n * side * side], vec![0; n]).expect("sizes fit");
        let masked = |value: u8| Annotations {
            masks: Some(images(value)),
            soft: None,
            objects: None,
        };
        let splits = [(SplitName::Train, Samples::from(images(9)))].into();
        let known = [(SplitName::Train, masked(1))].into();
        let data = Dataset::new("set".into(), vec!["thing".into()], splits, known, None);
        let first = publish(&room, "first", data);

        let read = || {
            let input = Input {
                node: "first".into(),
                bindings: BTreeMap::new(),
                artifact: first.clone(),
            };
            Dataset::read(&input, &[SplitName::Train]).expect("sound")
        };
        let digests =
            |artifact: &Artifact| ["train.images", "train.masks"].map(|file| artifact.summary().outputs[file].digest);
        assert_eq!(digests(&publish(&room, "the same", read())), digests(&first));
        // What a teacher tells takes the place of what is known.
        let mut guessed = read();
        guessed.annotations = [(SplitName::Train, masked(0))].into();
        let [pixels, masks] = digests(&publish(&room, "guessed", guessed));
        assert_eq!(pixels, digests(&first)[0]);
        assert_eq!(masks, Digest::of(&images(0).encode()));
    }

    #[test]
    fn a_file_for_which_there_is_no_room_says_where_to_look() {
        let error = no_room("train.images", &std::io::ErrorKind::StorageFull.into());
        insta::assert_snapshot!(crate::failure::tests::said(&error));
    }
}
