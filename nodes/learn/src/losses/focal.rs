//! Focal loss of one yes-or-no question for each class and place (Lin et al. 2017, 1708.02002).
//!
//! `L = sum -a_t (1 - p_t)^2 log p_t / positives`, where `p_t` is the probability given to what is true and `a_t` is `a` for what is there and `1 - a` for what
//! is not. Places that do not count are left out of the sum.

use dfdx::prelude::*;

use super::rows::check_constant;
use super::{LossError, Traced, TracedScalar, closed_form};

/// The weight of what is there (`a`).
const ALPHA: f32 = 0.25;

/// Loss of `logits`, `(places, classes)`, with a target for each, 0 or 1, or between them for a guess: the loss to be expected if a thing is there with that
/// probability; and whether a place counts, 0 or 1.
///
/// # Errors
/// If the sizes do not fit.
pub fn focal(logits: Traced, targets: &[f32], counted: &[f32], positives: f32) -> Result<TracedScalar, LossError> {
    let shape = *logits.shape();
    check_constant("focal loss", "the targets", targets.len(), shape)?;
    check_constant("focal loss", "what counts", counted.len(), (shape.0, 1))?;
    let alphas = [1.0 - ALPHA, ALPHA].map(|alpha| alpha / positives.max(1.0));
    let mut loss = 0.0;
    let mut gradient = logits.as_vec();
    let rows = gradient.chunks_exact_mut(shape.1).zip(targets.chunks_exact(shape.1));
    for ((row, targets), counted) in rows.zip(counted) {
        for (x, target) in row.iter_mut().zip(targets) {
            let [mut value, mut slope] = [0.0; 2];
            for (there, share) in [(true, *target), (false, 1.0 - target)] {
                if share > 0.0 {
                    let [v, s] = term(*x, there, share * (counted * alphas[usize::from(there)]));
                    value += v;
                    slope += s;
                }
            }
            loss += f64::from(value);
            *x = slope;
        }
    }
    closed_form(logits, loss as f32, gradient)
}

/// Loss of one logit and its slope, if a thing is there or not.
fn term(x: f32, there: bool, weight: f32) -> [f32; 2] {
    // With z = x of what is there and -x of what is not, `p_t` is z's logistic function.
    let sign = if there { 1.0 } else { -1.0 };
    let z = sign * x;
    let tail = (-z.abs()).exp();
    // -log p = max(-z, 0) + log(1 + e^-|z|), and 1 - p is -z's logistic function.
    let entropy = (-z).max(0.0) + tail.ln_1p();
    let doubt = if z > 0.0 { tail } else { 1.0 } / (1.0 + tail);
    let weight = weight * doubt * doubt;
    [
        weight * entropy,
        -sign * weight * (2.0 * (1.0 - doubt) * entropy + doubt),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::value_and_grads;

    #[test]
    fn a_guess_of_half_a_thing_lies_halfway_between_a_thing_and_none() {
        let of = |target: f32| {
            value_and_grads([(vec![0.3, -1.0], (1, 2))], |[x]| focal(x, &[target, 0.0], &[1.0], 1.0))
                .expect("sizes fit")
        };
        let ((one, [of_one]), (none, [of_none]), (half, [of_half])) = (of(1.0), of(0.0), of(0.5));
        assert!((half - f32::midpoint(one, none)).abs() < 1e-6);
        assert!((of_half[0] - f32::midpoint(of_one[0], of_none[0])).abs() < 1e-6);
        assert_eq!(of_half[1], of_none[1]);
    }
}
