//! Stratified selection: a label budget, or images held out, with equal shares of the classes, or with shares that fall.

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
    let mut shares = vec![0; classes];
    for (rank, class) in stream.child("classes").permutation(classes).iter().enumerate() {
        shares[*class as usize] = count / classes + usize::from(rank < count % classes);
    }
    choose(labels, &shares, count, stream)
}

/// Places of `count` images, ascending, of which the first class has `imbalance` times as many as the last, and those between fall geometrically
/// (long-tailed: Cui et al. 2019, 1901.05555); at least one of each.
///
/// # Errors
/// As [`stratified`].
pub fn long_tailed(
    labels: &[u16],
    classes: usize,
    count: usize,
    imbalance: f32,
    stream: &Stream,
) -> Result<Vec<u32>, SplitError> {
    choose(labels, &long_tail(classes, count, f64::from(imbalance)), count, stream)
}

/// How many of each class: one of each, and of the others as near to the geometric shares as whole numbers come.
fn long_tail(classes: usize, count: usize, imbalance: f64) -> Vec<usize> {
    let last = classes.saturating_sub(1).max(1) as f64;
    let weights: Vec<f64> = (0..classes).map(|c| imbalance.powf(-(c as f64) / last)).collect();
    let all: f64 = weights.iter().sum();
    let ideal: Vec<f64> = weights.iter().map(|w| (count as f64 * w / all).max(1.0)).collect();
    let mut shares: Vec<usize> = ideal.iter().map(|share| share.floor() as usize).collect();
    // What is missing goes where most is missing, what is too much comes from where most is too much.
    let lacks = |shares: &[usize], c: usize| ideal[c] - shares[c] as f64;
    let chosen = |shares: &[usize], wanted: &dyn Fn(usize) -> f64, may: &dyn Fn(usize) -> bool| {
        let by = |a: &usize, b: &usize| wanted(*a).total_cmp(&wanted(*b)).then(b.cmp(a));
        (0..shares.len()).filter(|c| may(*c)).max_by(by)
    };
    while shares.iter().sum::<usize>() < count {
        let Some(c) = chosen(&shares, &|c| lacks(&shares, c), &|_| true) else {
            break;
        };
        shares[c] += 1;
    }
    while shares.iter().sum::<usize>() > count {
        let Some(c) = chosen(&shares, &|c| -lacks(&shares, c), &|c| shares[c] > 1) else {
            break;
        };
        shares[c] -= 1;
    }
    shares
}

/// Places of so many images of each class, ascending.
fn choose(labels: &[u16], shares: &[usize], count: usize, stream: &Stream) -> Result<Vec<u32>, SplitError> {
    let classes = shares.len();
    if count > labels.len() {
        return Err(SplitError::TooMany {
            asked: count,
            there: labels.len(),
        });
    }
    if count < classes {
        return Err(SplitError::TooFew { asked: count, classes });
    }
    let mut chosen = Vec::with_capacity(count);
    for class in stream.child("classes").permutation(classes).iter().map(|c| *c as usize) {
        let share = shares[class];
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
    fn a_long_tail_falls_geometrically_from_the_first_class_to_the_last_and_leaves_out_none() {
        assert_eq!(long_tail(3, 111, 100.0), [100, 10, 1]);
        assert_eq!(long_tail(4, 40, 1.0), [10; 4], "no imbalance is equal shares");
        for (classes, count, imbalance) in [(10, 1000, 10.0), (10, 40, 100.0), (10, 10, 1000.0), (2, 7, 3.0)] {
            let shares = long_tail(classes, count, imbalance);
            assert_eq!(shares.iter().sum::<usize>(), count, "{shares:?}");
            assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
            assert!(shares.windows(2).all(|pair| pair[0] >= pair[1]), "{shares:?}");
        }
        let ten = long_tail(10, 1000, 10.0);
        assert!((ten[0] as f64 / ten[9] as f64 - 10.0).abs() < 0.5, "{ten:?}");
        let chosen = long_tailed(&labels(), 10, 100, 10.0, &Stream::new(1, "labels")).expect("enough images");
        let first = chosen.iter().filter(|i| labels()[**i as usize] == 0).count();
        assert_eq!((chosen.len(), first), (100, long_tail(10, 100, 10.0)[0]));
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
