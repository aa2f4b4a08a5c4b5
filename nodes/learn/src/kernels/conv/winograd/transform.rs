//! The transforms of Winograd's minimal filtering F(4, 3) along an axis, for a vector of channels at a time.
//!
//! `y = A'[(G g) . (B' d)]` turns six inputs and three taps into four outputs with six products (Winograd 1980; Lavin & Gray
//! 2015, 1509.09308). The points are 0, +-a, +-b and infinity with a = 3/4 and b = 3/2: the usual 1 and 2 have twice the rounding
//! error, these come within twice that of the plain sum (Barabasz et al. 2018, 1803.10986, on the choice of points).

use pulp::Simd;

use super::super::super::simd::Lanes;

/// A transform along one axis. A trait and no function to be passed: a call that is not inlined into the loop around it would
/// not use the vector instructions that the loop was compiled for.
pub(super) trait Along<const I: usize, const O: usize> {
    fn along<S: Simd>(from: &[Lanes<S>; I]) -> [Lanes<S>; O];
}

/// A transform along the columns of a square, then along its rows.
#[inline(always)]
pub(super) fn both_axes<T: Along<I, O>, S: Simd, const I: usize, const O: usize>(
    simd: S,
    square: &[[Lanes<S>; I]; I],
) -> [[Lanes<S>; O]; O] {
    let zero = Lanes::splat(simd, 0.0);
    let mut half = [[zero; I]; O];
    for i in 0..I {
        let mut column = [zero; I];
        for y in 0..I {
            column[y] = square[y][i];
        }
        let column = T::along(&column);
        for o in 0..O {
            half[o][i] = column[o];
        }
    }
    let mut whole = [[zero; O]; O];
    for o in 0..O {
        whole[o] = T::along(&half[o]);
    }
    whole
}

const A: f32 = 0.75;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
/// One over the product of a point's distances from the other finite points: 0, +-a, +-b.
const N0: f32 = 1.0 / (A2 * B2);
const NA: f32 = 1.0 / (2.0 * A2 * (A2 - B2));
const NB: f32 = 1.0 / (2.0 * B2 * (B2 - A2));

/// `B' d`: six inputs to six points.
pub(super) struct Input;

impl Along<6, 6> for Input {
    #[inline(always)]
    fn along<S: Simd>(d: &[Lanes<S>; 6]) -> [Lanes<S>; 6] {
        let (even_a, odd_a) = (d[4] - B2 * d[2], A * (d[3] - B2 * d[1]));
        let (even_b, odd_b) = (d[4] - A2 * d[2], B * (d[3] - A2 * d[1]));
        [
            A2 * B2 * d[0] - (A2 + B2) * d[2] + d[4],
            even_a + odd_a,
            even_a - odd_a,
            even_b + odd_b,
            even_b - odd_b,
            A2 * B2 * d[1] - (A2 + B2) * d[3] + d[5],
        ]
    }
}

/// `A' m`: six points to four outputs.
pub(super) struct Output;

impl Along<6, 4> for Output {
    #[inline(always)]
    fn along<S: Simd>(m: &[Lanes<S>; 6]) -> [Lanes<S>; 4] {
        let (even_a, odd_a) = (m[1] + m[2], m[1] - m[2]);
        let (even_b, odd_b) = (m[3] + m[4], m[3] - m[4]);
        [
            m[0] + even_a + even_b,
            A * odd_a + B * odd_b,
            A2 * even_a + B2 * even_b,
            A * A2 * odd_a + B * B2 * odd_b + m[5],
        ]
    }
}

/// `A dy`, the transpose of [`Output`]: the gradient of four outputs to that of six points.
pub(super) struct OutputGradient;

impl Along<4, 6> for OutputGradient {
    #[inline(always)]
    fn along<S: Simd>(e: &[Lanes<S>; 4]) -> [Lanes<S>; 6] {
        let (even_a, odd_a) = (e[0] + A2 * e[2], A * e[1] + A * A2 * e[3]);
        let (even_b, odd_b) = (e[0] + B2 * e[2], B * e[1] + B * B2 * e[3]);
        [
            e[0],
            even_a + odd_a,
            even_a - odd_a,
            even_b + odd_b,
            even_b - odd_b,
            e[3],
        ]
    }
}

/// `G g`: three taps to six points.
pub(super) struct Weight;

impl Along<3, 6> for Weight {
    #[inline(always)]
    fn along<S: Simd>(g: &[Lanes<S>; 3]) -> [Lanes<S>; 6] {
        let (even_a, odd_a) = (NA * (g[0] + A2 * g[2]), NA * A * g[1]);
        let (even_b, odd_b) = (NB * (g[0] + B2 * g[2]), NB * B * g[1]);
        [
            N0 * g[0],
            even_a + odd_a,
            even_a - odd_a,
            even_b + odd_b,
            even_b - odd_b,
            g[2],
        ]
    }
}

/// `G' m`, the transpose of [`Weight`]: the gradient of six points to that of three taps.
pub(super) struct WeightGradient;

impl Along<6, 3> for WeightGradient {
    #[inline(always)]
    fn along<S: Simd>(m: &[Lanes<S>; 6]) -> [Lanes<S>; 3] {
        let (even_a, odd_a) = (NA * (m[1] + m[2]), NA * (m[1] - m[2]));
        let (even_b, odd_b) = (NB * (m[3] + m[4]), NB * (m[3] - m[4]));
        [
            N0 * m[0] + even_a + even_b,
            A * odd_a + B * odd_b,
            A2 * even_a + B2 * even_b + m[5],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A transform of plain values.
    fn values<T: Along<I, O>, const I: usize, const O: usize>(from: [f32; I]) -> [f32; O] {
        let lanes = T::along(&from.map(|v| Lanes::splat(pulp::Scalar, v)));
        let mut values = [0.0; O];
        lanes
            .iter()
            .zip(&mut values)
            .for_each(|(l, v)| l.store(std::slice::from_mut(v)));
        values
    }

    fn inner(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn four_outputs_are_the_correlation_of_six_inputs_with_three_taps() {
        let (d, g) = ([0.3, -1.1, 2.0, 0.7, -0.4, 1.9], [0.5, -0.25, 1.5]);
        let (at_d, at_g) = (values::<Input, 6, 6>(d), values::<Weight, 3, 6>(g));
        let y = values::<Output, 6, 4>(std::array::from_fn(|i| at_d[i] * at_g[i]));
        for (o, y) in y.iter().enumerate() {
            let expected = inner(&d[o..o + 3], &g);
            assert!((y - expected).abs() < 1e-5, "{y} instead of {expected}");
        }
    }

    #[test]
    fn gradients_are_transposes() {
        let (m, e, g) = (
            [1.0, -2.0, 0.5, 3.0, 0.25, -1.5],
            [0.7, -0.2, 1.3, 0.9],
            [0.4, 1.1, -0.6],
        );
        let (of_e, of_g) = (values::<OutputGradient, 4, 6>(e), values::<Weight, 3, 6>(g));
        assert!((inner(&values::<Output, 6, 4>(m), &e) - inner(&of_e, &m)).abs() < 1e-5);
        assert!((inner(&values::<WeightGradient, 6, 3>(m), &g) - inner(&of_g, &m)).abs() < 1e-5);
    }
}
