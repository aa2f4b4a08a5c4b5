//! Batch normalisation over the rows of a channel-last matrix `[rows][channels]`, with ReLU fused in.
//!
//! Statistics are taken per block of a fixed number of rows, around a row of the block, and merged in order in f64 (Chan et al. 1983), so they are accurate and do not depend on the number of threads.

use pulp::Simd;
use rayon::prelude::*;

use super::simd::{Lanes, Vectorised, with_lanes};

/// Rows of a block: a function of the channels alone, some 128 KiB.
fn block_rows(channels: usize) -> usize {
    (32_768 / channels.max(1)).clamp(16, 4096)
}

/// Per-channel statistics of a batch.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Biased variance of each channel (divided by the number of rows), as used to normalise.
    pub variance: Vec<f32>,
}

/// What a biased variance of so many rows is multiplied with to be an unbiased one; PyTorch's one row counts as two.
pub fn unbiased(rows: usize) -> f32 {
    rows as f32 / (rows.max(2) - 1) as f32
}

/// Overwrites `inverse` with `1 / sqrt(variance + eps)`.
pub fn inverse_std(variance: &[f32], eps: f32, inverse: &mut [f32]) {
    let pairs = inverse.iter_mut().zip(variance);
    pairs.for_each(|(inverse, variance)| *inverse = 1.0 / (variance + eps).sqrt());
}

/// The moments of each column of `x`, `[rows][channels]`.
pub fn moments(x: &[f32], channels: usize) -> Moments {
    let blocks: Vec<(usize, Sums)> = x
        .par_chunks(block_rows(channels) * channels)
        .map(|block| {
            let mut sums = Sums::new(channels);
            with_lanes(Deviations {
                x: block,
                pivot: &block[..channels],
                sums: &mut sums,
            });
            (block.len() / channels, sums)
        })
        .collect();
    let (mut count, mut mean, mut squares) = (0.0f64, vec![0.0f64; channels], vec![0.0f64; channels]);
    for (i, (rows, sums)) in blocks.iter().enumerate() {
        let pivot = &x[i * block_rows(channels) * channels..][..channels];
        let rows = *rows as f64;
        let total = count + rows;
        for c in 0..channels {
            let shift = f64::from(sums.first[c]) / rows;
            let delta = f64::from(pivot[c]) + shift - mean[c];
            mean[c] += delta * rows / total;
            squares[c] += f64::from(sums.second[c]) - shift * shift * rows + delta * delta * count * rows / total;
        }
        count = total;
    }
    Moments {
        mean: mean.iter().map(|m| *m as f32).collect(),
        variance: squares.iter().map(|s| (s.max(0.0) / count.max(1.0)) as f32).collect(),
    }
}

/// Two sums for each channel of a block.
struct Sums {
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Sums {
    fn new(channels: usize) -> Self {
        Self {
            first: vec![0.0; channels],
            second: vec![0.0; channels],
        }
    }
}

/// Sums of `x - pivot` and of its square. The pivot is a row of the block: near enough to the mean that the difference of the two
/// sums, which is the variance, keeps its digits.
struct Deviations<'a> {
    x: &'a [f32],
    pivot: &'a [f32],
    sums: &'a mut Sums,
}

impl Vectorised for Deviations<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, pivot, sums } = self;
        for_column_groups::<S>(pivot.len(), SumDeviations { simd, x, pivot, sums });
    }
}

struct SumDeviations<'a, S> {
    simd: S,
    x: &'a [f32],
    pivot: &'a [f32],
    sums: &'a mut Sums,
}

impl<S: Simd> ColumnGroups for SumDeviations<'_, S> {
    #[inline(always)]
    fn visit<const G: usize>(&mut self, columns: [(usize, usize); G]) {
        let Self { simd, x, pivot, sums } = self;
        let channels = pivot.len();
        let pivot = columns.map(|(c, n)| Lanes::load_some(*simd, &pivot[c..], n));
        let mut pair = PairSums::<S, G>::new(*simd);
        pair.add_rows(
            x.len() / channels,
            #[inline(always)]
            |row, i| {
                let (c, n) = columns[i];
                let d = Lanes::load_some(*simd, &x[row * channels + c..], n) - pivot[i];
                (d, d * d)
            },
        );
        pair.store(columns, sums);
    }
}

/// Work on some adjacent vectors of columns at a time, so that a row's memory is walked in long pieces.
trait ColumnGroups {
    /// `columns` holds each vector's first column and how many it has. Must be `#[inline(always)]`.
    fn visit<const G: usize>(&mut self, columns: [(usize, usize); G]);
}

/// Visits all columns: four vectors at a time as long as there are so many. A column's sums do not depend on its group.
#[inline(always)]
fn for_column_groups<S: Simd>(channels: usize, mut work: impl ColumnGroups) {
    let lanes = Lanes::<S>::COUNT;
    let mut c = 0;
    while c + 4 * lanes <= channels {
        work.visit([
            (c, lanes),
            (c + lanes, lanes),
            (c + 2 * lanes, lanes),
            (c + 3 * lanes, lanes),
        ]);
        c += 4 * lanes;
    }
    while c < channels {
        work.visit([(c, lanes.min(channels - c))]);
        c += lanes;
    }
}

/// Two sums over rows for each of some vectors of columns, even and odd rows apart: so there are two chains of additions for the
/// processor to overlap.
struct PairSums<S: Simd, const G: usize> {
    first: [[Lanes<S>; G]; 2],
    second: [[Lanes<S>; G]; 2],
}

impl<S: Simd, const G: usize> PairSums<S, G> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        let zero = [[Lanes::splat(simd, 0.0); G]; 2];
        Self {
            first: zero,
            second: zero,
        }
    }

    /// Adds `terms(row, i)` of every row and vector. `terms` must be `#[inline(always)]`.
    #[inline(always)]
    fn add_rows(&mut self, rows: usize, terms: impl Fn(usize, usize) -> (Lanes<S>, Lanes<S>)) {
        for pair in 0..rows / 2 {
            for parity in 0..2 {
                for i in 0..G {
                    let (a, b) = terms(2 * pair + parity, i);
                    self.first[parity][i] = self.first[parity][i] + a;
                    self.second[parity][i] = self.second[parity][i] + b;
                }
            }
        }
        if !rows.is_multiple_of(2) {
            for i in 0..G {
                let (a, b) = terms(rows - 1, i);
                self.first[0][i] = self.first[0][i] + a;
                self.second[0][i] = self.second[0][i] + b;
            }
        }
    }

    #[inline(always)]
    fn store(self, columns: [(usize, usize); G], sums: &mut Sums) {
        for (i, (c, n)) in columns.into_iter().enumerate() {
            (self.first[0][i] + self.first[1][i]).store_some(&mut sums.first[c..], n);
            (self.second[0][i] + self.second[1][i]).store_some(&mut sums.second[c..], n);
        }
    }
}

/// Visits the columns, a vector at a time: the first column and how many there are.
#[inline(always)]
fn for_columns<S: Simd>(channels: usize, mut visit: impl FnMut(usize, usize)) {
    let mut c = 0;
    while c < channels {
        visit(c, Lanes::<S>::COUNT.min(channels - c));
        c += Lanes::<S>::COUNT;
    }
}

/// `out = x * scale + shift`, then ReLU if asked. All of `[rows][channels]`.
pub fn scale_shift(x: &[f32], scale: &[f32], shift: &[f32], relu: bool, out: &mut [f32]) {
    let block = block_rows(scale.len()) * scale.len();
    out.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(out, x)| {
        with_lanes(ScaleShift {
            x,
            scale,
            shift,
            relu,
            out,
        });
    });
}

struct ScaleShift<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    relu: bool,
    out: &'a mut [f32],
}

impl Vectorised for ScaleShift<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            x,
            scale,
            shift,
            relu,
            out,
        } = self;
        let channels = scale.len();
        for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for_columns::<S>(channels, |c, lanes| {
                let [x, scale, shift] = [x, scale, shift].map(|v| Lanes::load_some(simd, &v[c..], lanes));
                let y = x * scale + shift;
                let y = if relu { y.unless_negative(y) } else { y };
                y.store_some(&mut out[c..], lanes);
            });
        }
    }
}

/// What the backward pass of a normalisation needs: `x` before it and the constants that were applied.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// The input, `[rows][channels]`.
    pub x: &'a [f32],
    /// Mean that was subtracted.
    pub mean: &'a [f32],
    /// `1 / sqrt(variance + eps)` that was multiplied with.
    pub inverse_std: &'a [f32],
    /// The layer's weight, gamma.
    pub weight: &'a [f32],
    /// The layer's bias, beta.
    pub bias: &'a [f32],
    /// Whether ReLU followed.
    pub relu: bool,
}

/// Turns `dy`, the gradient of the output, into the gradient of the input, and adds to `dweight` and `dbias`.
///
/// With batch statistics: `dx = w s (dz - mean(dz) - x^ mean(dz x^))`, where `x^` is the normalised input, `s` the inverse
/// deviation and `dz` is `dy` behind ReLU (Ioffe & Szegedy 2015, section 3). With fixed statistics: `dx = w s dz`.
pub fn backward(applied: &Applied<'_>, batch_statistics: bool, dy: &mut [f32], dweight: &mut [f32], dbias: &mut [f32]) {
    let Applied {
        x,
        mean,
        inverse_std,
        weight,
        bias,
        relu,
    } = *applied;
    let channels = mean.len();
    let block = block_rows(channels) * channels;
    let rows = (x.len() / channels).max(1) as f64;
    let scale: Vec<f32> = weight.iter().zip(inverse_std).map(|(w, s)| w * s).collect();
    let shift: Vec<f32> = (0..channels).map(|c| bias[c] - mean[c] * scale[c]).collect();

    let blocks: Vec<Sums> = dy
        .par_chunks(block)
        .zip(x.par_chunks(block))
        .map(|(dy, x)| {
            let mut sums = Sums::new(channels);
            with_lanes(GradientSums {
                x,
                dy,
                mean,
                scale: &scale,
                shift: &shift,
                relu,
                sums: &mut sums,
            });
            sums
        })
        .collect();
    let (mut sum, mut product) = (vec![0.0f64; channels], vec![0.0f64; channels]);
    for sums in &blocks {
        for c in 0..channels {
            sum[c] += f64::from(sums.first[c]);
            product[c] += f64::from(sums.second[c]) * f64::from(inverse_std[c]);
        }
    }
    for c in 0..channels {
        dbias[c] += sum[c] as f32;
        dweight[c] += product[c] as f32;
    }
    // dx = scale * dz - x * slope - offset, the terms of the mean and of x^ folded into two constants per channel.
    let (slope, offset): (Vec<f32>, Vec<f32>) = if batch_statistics {
        (0..channels)
            .map(|c| {
                let slope = f64::from(scale[c]) * product[c] / rows * f64::from(inverse_std[c]);
                (
                    slope as f32,
                    (f64::from(scale[c]) * sum[c] / rows - slope * f64::from(mean[c])) as f32,
                )
            })
            .unzip()
    } else {
        (vec![0.0; channels], vec![0.0; channels])
    };
    let constants = [&scale[..], &shift, &slope, &offset];
    dy.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(dy, x)| {
        with_lanes(InputGradient { x, constants, relu, dy });
    });
}

/// Sums of `dz` and of `dz (x - mean)`.
struct GradientSums<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    mean: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    relu: bool,
    sums: &'a mut Sums,
}

impl Vectorised for GradientSums<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for_column_groups::<S>(self.mean.len(), SumGradients { simd, of: self });
    }
}

struct SumGradients<'a, S> {
    simd: S,
    of: GradientSums<'a>,
}

impl<S: Simd> ColumnGroups for SumGradients<'_, S> {
    #[inline(always)]
    fn visit<const G: usize>(&mut self, columns: [(usize, usize); G]) {
        let (simd, of) = (self.simd, &mut self.of);
        let channels = of.mean.len();
        let constants = [of.mean, of.scale, of.shift].map(|v| columns.map(|(c, n)| Lanes::load_some(simd, &v[c..], n)));
        let [mean, scale, shift] = constants;
        let mut pair = PairSums::<S, G>::new(simd);
        pair.add_rows(
            of.x.len() / channels,
            #[inline(always)]
            |row, i| {
                let (c, n) = columns[i];
                let [dy, x] = [of.dy, of.x].map(|v| Lanes::load_some(simd, &v[row * channels + c..], n));
                let dz = if of.relu {
                    dy.unless_negative(x * scale[i] + shift[i])
                } else {
                    dy
                };
                (dz, dz * (x - mean[i]))
            },
        );
        pair.store(columns, of.sums);
    }
}

/// `dy = scale dz - x slope - offset`.
struct InputGradient<'a> {
    x: &'a [f32],
    /// Scale, shift, slope and offset of each channel.
    constants: [&'a [f32]; 4],
    relu: bool,
    dy: &'a mut [f32],
}

impl Vectorised for InputGradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, constants, relu, dy } = self;
        let channels = constants[0].len();
        for_columns::<S>(channels, |c, lanes| {
            let [scale, shift, slope, offset] = constants.map(|v| Lanes::load_some(simd, &v[c..], lanes));
            for (dy, x) in dy.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                let x = Lanes::load_some(simd, &x[c..], lanes);
                let dz = Lanes::load_some(simd, &dy[c..], lanes);
                let dz = if relu {
                    dz.unless_negative(x * scale + shift)
                } else {
                    dz
                };
                (scale * dz - x * slope - offset).store_some(&mut dy[c..], lanes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / (1 << 24) as f32) - 0.5)
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn moments_match_f64_even_far_from_zero(rows in 2usize..400, channels in 1usize..70, far in -50f32..50.0, seed in any::<u32>()) {
            let x: Vec<f32> = noise(rows * channels, seed).iter().map(|v| v + far).collect();
            let m = moments(&x, channels);
            for c in 0..channels {
                let column: Vec<f64> = x.iter().skip(c).step_by(channels).map(|v| f64::from(*v)).collect();
                let mean = column.iter().sum::<f64>() / rows as f64;
                let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / rows as f64;
                prop_assert!((f64::from(m.mean[c]) - mean).abs() < 1e-6 * (1.0 + mean.abs()));
                prop_assert!((f64::from(m.variance[c]) - variance).abs() < 1e-4 * (variance + 1e-3));
            }
        }

        #[test]
        fn backward_matches_finite_differences_of_an_f64_forward(rows in 3usize..9, channels in 1usize..5, relu in any::<bool>(), seed in any::<u32>()) {
            let eps = 1e-5f64;
            let x = noise(rows * channels, seed);
            let (weight, bias) = (noise(channels, seed ^ 7), noise(channels, seed ^ 8));
            let target = noise(rows * channels, seed ^ 9);
            // The loss is <target, y>, so dy = target.
            let loss = |x: &[f64]| -> f64 {
                (0..channels).map(|c| {
                    let column: Vec<f64> = x.iter().skip(c).step_by(channels).copied().collect();
                    let mean = column.iter().sum::<f64>() / rows as f64;
                    let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / rows as f64;
                    (0..rows).map(|r| {
                        let y = (column[r] - mean) / (variance + eps).sqrt() * f64::from(weight[c]) + f64::from(bias[c]);
                        f64::from(target[r * channels + c]) * if relu { y.max(0.0) } else { y }
                    }).sum::<f64>()
                }).sum()
            };
            let m = moments(&x, channels);
            prop_assume!(m.variance.iter().all(|v| *v > 0.01));
            let inverse_std: Vec<f32> = m.variance.iter().map(|v| (1.0 / (f64::from(*v) + eps).sqrt()) as f32).collect();
            let mut dx = target.clone();
            let (mut dw, mut db) = (vec![0.0; channels], vec![0.0; channels]);
            let applied = Applied { x: &x, mean: &m.mean, inverse_std: &inverse_std, weight: &weight, bias: &bias, relu };
            backward(&applied, true, &mut dx, &mut dw, &mut db);
            let x64: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
            let h = 1e-6;
            for i in 0..x.len() {
                // A kink of ReLU within the step would spoil the difference.
                let c = i % channels;
                let near_kink = (0..rows).any(|r| {
                    let v = (f64::from(x[r * channels + c]) - f64::from(m.mean[c])) * f64::from(inverse_std[c]);
                    (v * f64::from(weight[c]) + f64::from(bias[c])).abs() < 1e-4
                });
                if relu && near_kink { continue; }
                let (mut up, mut down) = (x64.clone(), x64.clone());
                up[i] += h;
                down[i] -= h;
                let expected = (loss(&up) - loss(&down)) / (2.0 * h);
                prop_assert!((f64::from(dx[i]) - expected).abs() < 2e-4 * (1.0 + expected.abs()), "{} instead of {}", dx[i], expected);
            }
        }
    }
}
