//! Batch normalisation over the rows of a channel-last matrix `[rows][channels]`, with ReLU fused in.
//!
//! Statistics are taken per block of a fixed number of rows (mean, then squared deviations, while the block is in the cache)
//! and merged in order in f64 (Chan et al. 1983), so they are accurate and do not depend on the number of threads.

use rayon::prelude::*;

use super::simd::vectorised;

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

/// The moments of each column of `x`, `[rows][channels]`.
pub fn moments(x: &[f32], channels: usize) -> Moments {
    let blocks: Vec<(f64, Vec<f64>, Vec<f64>)> = x
        .par_chunks(block_rows(channels) * channels)
        .map(|block| {
            let rows = (block.len() / channels) as f32;
            let (mut mean, mut squares) = (vec![0.0f32; channels], vec![0.0f32; channels]);
            let mut rest = vec![0.0f32; channels];
            vectorised(
                #[inline(always)]
                || {
                    for row in block.chunks_exact(channels) {
                        mean.iter_mut().zip(row).for_each(|(m, v)| *m += v);
                    }
                    mean.iter_mut().for_each(|m| *m /= rows);
                    for row in block.chunks_exact(channels) {
                        for (((s, r), v), m) in squares.iter_mut().zip(&mut rest).zip(row).zip(&mean) {
                            let d = v - m;
                            *s += d * d;
                            *r += d;
                        }
                    }
                },
            );
            // The first mean is rounded; what its deviations sum to tells by how much.
            let rows = f64::from(rows);
            let exact = mean
                .iter()
                .zip(&rest)
                .map(|(m, r)| f64::from(*m) + f64::from(*r) / rows)
                .collect();
            let about = squares
                .iter()
                .zip(&rest)
                .map(|(s, r)| f64::from(*s) - f64::from(*r).powi(2) / rows)
                .collect();
            (rows, exact, about)
        })
        .collect();
    let (mut count, mut mean, mut squares) = (0.0f64, vec![0.0f64; channels], vec![0.0f64; channels]);
    for (rows, block_mean, block_squares) in blocks {
        let total = count + rows;
        for c in 0..channels {
            let delta = block_mean[c] - mean[c];
            mean[c] += delta * rows / total;
            squares[c] += block_squares[c] + delta * delta * count * rows / total;
        }
        count = total;
    }
    Moments {
        mean: mean.iter().map(|m| *m as f32).collect(),
        variance: squares.iter().map(|s| (s / count.max(1.0)) as f32).collect(),
    }
}

/// `out = x * scale + shift`, then ReLU if asked. All of `[rows][channels]`.
pub fn scale_shift(x: &[f32], scale: &[f32], shift: &[f32], relu: bool, out: &mut [f32]) {
    let channels = scale.len();
    let block = block_rows(channels) * channels;
    out.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(out, x)| {
        vectorised(
            #[inline(always)]
            || {
                for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    for (((o, v), a), b) in out.iter_mut().zip(x).zip(scale).zip(shift) {
                        let y = v * a + b;
                        *o = if relu { y.max(0.0) } else { y };
                    }
                }
            },
        );
    });
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

    let blocks: Vec<(Vec<f32>, Vec<f32>)> = dy
        .par_chunks_mut(block)
        .zip(x.par_chunks(block))
        .map(|(dy, x)| {
            let (mut sum, mut product) = (vec![0.0f32; channels], vec![0.0f32; channels]);
            vectorised(
                #[inline(always)]
                || {
                    for (dy, x) in dy.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                        if relu {
                            for (((d, v), a), b) in dy.iter_mut().zip(x).zip(&scale).zip(&shift) {
                                *d = if v * a + b > 0.0 { *d } else { 0.0 };
                            }
                        }
                        sum.iter_mut().zip(&*dy).for_each(|(s, d)| *s += d);
                        for (((p, d), v), m) in product.iter_mut().zip(&*dy).zip(x).zip(mean) {
                            *p += d * (v - m);
                        }
                    }
                },
            );
            (sum, product)
        })
        .collect();
    let (mut sum, mut product) = (vec![0.0f64; channels], vec![0.0f64; channels]);
    for (block_sum, block_product) in &blocks {
        for c in 0..channels {
            sum[c] += f64::from(block_sum[c]);
            product[c] += f64::from(block_product[c]) * f64::from(inverse_std[c]);
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
    dy.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(dy, x)| {
        vectorised(
            #[inline(always)]
            || {
                for (dy, x) in dy.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    for ((((d, v), a), k), o) in dy.iter_mut().zip(x).zip(&scale).zip(&slope).zip(&offset) {
                        *d = *d * a - v * k - o;
                    }
                }
            },
        );
    });
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
