//! The class of an example, where it has one.

/// A class, or nothing where an example has no label.
pub type Label = Option<u16>;

/// What stands for no label in a file, so that files of labelled examples are as they always were. No class has this number.
const NONE: u16 = u16::MAX;

/// The classes of examples, if all are labelled.
pub fn classes_of(labels: &[Label]) -> Option<Vec<usize>> {
    labels.iter().map(|label| label.map(usize::from)).collect()
}

/// A label as it stands in a file.
pub(super) fn to_file(label: Label) -> u16 {
    label.unwrap_or(NONE)
}

/// A label as it stood in a file.
pub(super) fn from_file(word: u16) -> Label {
    (word != NONE).then_some(word)
}
