//! Stratified selection: a label budget, or images held out, with equal shares of the classes.

use crate::rng::Stream;

/// Why a selection cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// More asked for than there is.
    #[error("{asked} images asked for, but there are only {there}")]
    TooMany {
        /// Asked for.
        asked: usize,
        /// There.
        there: usize,
    },
    /// A class has too few.
    #[error("{asked} images of class {class} asked for (equal shares of {total}), but there are only {there}")]
    Class {
        /// The class.
        class: usize,
        /// Its share.
        asked: usize,
        /// There.
        there: usize,
        /// All that was asked for.
        total: usize,
    },
    /// Fewer than one image for each class.
    #[error("{asked} images asked for, but there are {classes} classes: at least one of each is needed")]
    TooFew {
        /// Asked for.
        asked: usize,
        /// Classes.
        classes: usize,
    },
}

/// Places of `count` images, ascending, with equal shares of the classes; what does not divide goes to the first classes of a
/// random order. A smaller selection from the same stream is part of a larger one.
///
/// # Errors
/// If there are too few images, in all or of a class, or fewer asked for than classes.
pub fn stratified(labels: &[u16], classes: usize, count: usize, stream: &Stream) -> Result<Vec<u32>, SplitError> {
    if count > labels.len() {
        return Err(SplitError::TooMany {
            asked: count,
            there: labels.len(),
        });
    }
    if count < classes {
        return Err(SplitError::TooFew { asked: count, classes });
    }
    let order = stream.child("classes").permutation(classes);
    let mut chosen = Vec::with_capacity(count);
    for (rank, class) in order.iter().map(|c| *c as usize).enumerate() {
        let share = count / classes + usize::from(rank < count % classes);
        let mut members: Vec<u32> = (0..labels.len() as u32)
            .filter(|i| usize::from(labels[*i as usize]) == class)
            .collect();
        if members.len() < share {
            return Err(SplitError::Class {
                class,
                asked: share,
                there: members.len(),
                total: count,
            });
        }
        stream.child("members").index(class as u64).shuffle(&mut members);
        chosen.extend_from_slice(&members[..share]);
    }
    chosen.sort_unstable();
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<u16> {
        (0..1000).map(|i| (i * 7 % 10) as u16).collect()
    }

    #[test]
    fn budgets_are_balanced_nested_and_differ_by_seed() {
        let pick = |count, seed| stratified(&labels(), 10, count, &Stream::new(seed, "labels")).expect("enough images");
        let (small, large) = (pick(43, 1), pick(100, 1));
        for class in 0..10 {
            let of_class = small.iter().filter(|i| labels()[**i as usize] == class).count();
            assert!((4..=5).contains(&of_class), "class {class} has {of_class}");
        }
        assert!(
            small.iter().all(|i| large.contains(i)),
            "the small budget is part of the large one"
        );
        assert_ne!(small, pick(43, 2));
    }

    #[test]
    fn impossible_budgets_say_why() {
        let pick = |count| stratified(&labels(), 10, count, &Stream::new(1, "labels"));
        assert_eq!(
            pick(1001),
            Err(SplitError::TooMany {
                asked: 1001,
                there: 1000
            })
        );
        assert_eq!(pick(9), Err(SplitError::TooFew { asked: 9, classes: 10 }));
        let skewed: Vec<u16> = (0..100).map(|i| u16::from(i == 0)).collect();
        let error = stratified(&skewed, 2, 10, &Stream::new(1, "labels"));
        assert_eq!(
            error,
            Err(SplitError::Class {
                class: 1,
                asked: 5,
                there: 1,
                total: 10
            })
        );
    }
}
