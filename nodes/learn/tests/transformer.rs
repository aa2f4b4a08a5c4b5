//! A transformer block against a plain f64 version of its equations: outputs, and every gradient by finite differences, with
//! rows of different lengths too.

use std::collections::BTreeMap;
use std::sync::Arc;

use flow_learn::layers::{
    BufferPool, FeatureMap, Layer, Lengths, MapShape, Mode, Pass, Tensors, Transformer, TransformerBlock,
    TransformerShape,
};
use flow_learn::rng::Stream;
use proptest::prelude::*;

/// Tensors by name; `x` is the input.
type Values = BTreeMap<String, Vec<f64>>;

#[derive(Clone, Debug)]
struct Case {
    n: usize,
    tokens: usize,
    shape: TransformerShape,
    lengths: Vec<usize>,
}

/// The standard normal's cumulative distribution, by its series.
fn cumulative(x: f64) -> f64 {
    let (mut term, mut sum, mut k) = (x, x, 1.0);
    while term.abs() > 1e-17 {
        k += 2.0;
        term *= x * x / k;
        sum += term;
    }
    0.5 + sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

fn mean_and_variance(row: &[f64]) -> (f64, f64) {
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / row.len() as f64;
    (mean, variance)
}

fn layer_norm(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let dim = weight.len();
    let normalised = x.chunks_exact(dim).flat_map(|row| {
        let (mean, variance) = mean_and_variance(row);
        let scale = 1.0 / (variance + 1e-6).sqrt();
        row.iter()
            .zip(weight.iter().zip(bias))
            .map(move |(v, (w, b))| (v - mean) * scale * w + b)
    });
    normalised.collect()
}

fn linear(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
    let rows = x.chunks_exact(inputs).flat_map(|row| {
        (0..outputs).map(move |o| {
            bias[o]
                + row
                    .iter()
                    .enumerate()
                    .map(|(i, v)| v * weight[i * outputs + o])
                    .sum::<f64>()
        })
    });
    rows.collect()
}

/// Attention of one row of the batch: `qkv` is `[tokens][3][heads][head_dim]`, of which `valid` tokens count.
fn attention(qkv: &[f64], heads: usize, dim: usize, valid: usize, out: &mut [f64]) {
    let d = dim / heads;
    let at = |token: usize, part: usize, head: usize, i: usize| qkv[token * 3 * dim + part * dim + head * d + i];
    for (head, t) in (0..heads).flat_map(|h| (0..valid).map(move |t| (h, t))) {
        let score = |s: usize| (0..d).map(|i| at(t, 0, head, i) * at(s, 1, head, i)).sum::<f64>() / (d as f64).sqrt();
        let weights: Vec<f64> = (0..valid).map(|s| score(s).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for i in 0..d {
            out[t * dim + head * d + i] = (0..valid).map(|s| weights[s] / sum * at(s, 2, head, i)).sum();
        }
    }
}

/// The smallest deviation within a token of `x`: below it, layer normalisation turns rounding into error.
fn spread(x: &[f64], dim: usize) -> f64 {
    let deviations = x.chunks_exact(dim).map(|row| mean_and_variance(row).1.sqrt());
    deviations.fold(f64::INFINITY, f64::min)
}

/// The block's outputs, and the smallest deviation within a token that it normalised.
fn block(values: &Values, case: &Case) -> (Vec<f64>, f64) {
    let of = |name: &str| &values[name][..];
    let layer = |x: &[f64], name: &str| linear(x, of(&format!("{name}.weight")), of(&format!("{name}.bias")));
    let norm = |x: &[f64], name: &str| layer_norm(x, of(&format!("{name}.weight")), of(&format!("{name}.bias")));
    let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<f64>>();
    let (x, dim) = (of("x"), case.shape.dim);
    let qkv = layer(&norm(x, "norm1"), "attn.qkv");
    let mut gathered = vec![0.0; x.len()];
    let rows = qkv
        .chunks_exact(case.tokens * 3 * dim)
        .zip(gathered.chunks_exact_mut(case.tokens * dim));
    for ((qkv, out), valid) in rows.zip(&case.lengths) {
        attention(qkv, case.shape.heads, dim, *valid, out);
    }
    let a = sum(x, &layer(&gathered, "attn.proj"));
    let mut hidden = layer(&norm(&a, "norm2"), "mlp.fc1");
    hidden.iter_mut().for_each(|v| *v *= cumulative(*v));
    let narrowest = spread(x, dim).min(spread(&a, dim));
    (sum(&a, &layer(&hidden, "mlp.fc2")), narrowest)
}

fn noise(len: usize, scale: f32, stream: &mut Stream) -> Vec<f32> {
    (0..len).map(|_| scale * stream.normal()).collect()
}

fn cases() -> impl Strategy<Value = Case> {
    (
        1usize..4,
        1usize..24,
        1usize..4,
        1usize..10,
        1usize..3,
        1usize..20,
        any::<u64>(),
    )
        .prop_map(|(n, tokens, heads, head_dim, depth, hidden, seed)| {
            let mut stream = Stream::new(seed, "lengths");
            // Tokens of fewer dimensions are often nearly constant, see `spread`.
            let heads = heads.max(4usize.div_ceil(head_dim));
            Case {
                n,
                tokens,
                shape: TransformerShape {
                    dim: heads * head_dim,
                    depth,
                    heads,
                    hidden,
                },
                lengths: (0..n).map(|_| 1 + stream.below(tokens)).collect(),
            }
        })
}

/// Every value of a layer, or every gradient, by name.
fn tensors(layer: &mut dyn Layer, gradients: bool) -> Values {
    let mut entries = Vec::new();
    layer.entries("", &mut entries);
    let pairs = entries.iter().map(|e| {
        let from = if gradients { e.gradient() } else { &e.value[..] };
        (e.name.clone(), from.iter().map(|v| f64::from(*v)).collect())
    });
    pairs.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_block_and_its_gradients_match_an_f64_version(mut case in cases(), padded in any::<bool>(), seed in any::<u64>()) {
        if !padded {
            case.lengths = vec![case.tokens; case.n];
        }
        let mut stream = Stream::new(seed, "block");
        let mut layer = TransformerBlock::new(&case.shape, &mut stream);
        let mut entries = Vec::new();
        layer.entries("", &mut entries);
        for entry in &mut entries {
            let fresh = noise(entry.value.len(), 0.4, &mut stream);
            entry.value.iter_mut().zip(fresh).for_each(|(v, noise)| *v += noise);
        }
        let map = MapShape { h: case.tokens, w: 1, c: case.shape.dim };
        let x = noise(case.n * map.len(), 1.0, &mut stream);
        // Only what comes out for valid tokens counts.
        let mut upstream = noise(x.len(), 1.0, &mut stream);
        for (row, valid) in upstream.chunks_exact_mut(map.len()).zip(&case.lengths) {
            row[valid * map.c..].fill(0.0);
        }

        let pool: Arc<BufferPool> = Arc::default();
        let mut pass = Pass::recording(Mode::Train, &pool);
        let lengths: Lengths = padded.then(|| case.lengths.clone().into());
        let y = layer.forward_padded(FeatureMap::new(case.n, map, x.clone()), &lengths, &mut pass);
        let dx = layer.backward(FeatureMap::new(case.n, map, upstream.clone()), &mut pass, true).expect("asked for");
        let mut values = tensors(&mut layer, false);
        values.insert("x".into(), x.iter().map(|v| f64::from(*v)).collect());
        let mut gradients = tensors(&mut layer, true);
        gradients.insert("x".into(), dx.data.iter().map(|v| f64::from(*v)).collect());

        let weighted = |y: &[f64]| -> f64 { y.iter().zip(&upstream).map(|(y, u)| y * f64::from(*u)).sum() };
        let (expected, narrowest) = block(&values, &case);
        prop_assume!(narrowest > 0.03);
        for (i, (found, expected)) in y.data.iter().zip(&expected).enumerate().filter(|(i, _)| upstream[*i] != 0.0) {
            prop_assert!((f64::from(*found) - expected).abs() < 2e-5 * (1.0 + expected.abs()), "at {i}: {found}, not {expected}");
        }
        for (name, gradient) in &gradients {
            let direction: Vec<f64> = gradient.iter().map(|_| f64::from(stream.normal())).collect();
            let moved = |by: f64| {
                let mut values = values.clone();
                let tensor = values.get_mut(name).expect("of the same layer");
                tensor.iter_mut().zip(&direction).for_each(|(v, d)| *v += by * d);
                weighted(&block(&values, &case).0)
            };
            let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let terms = gradient.iter().zip(&direction).map(|(g, d)| g * d);
            let (found, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
            prop_assert!((found - expected).abs() < 1e-4 * (1.0 + size), "{name}: {found}, not {expected}");
        }
    }
}

/// Outputs and gradients of a stack on noise, in a pool of `threads`.
fn stack(
    threads: usize,
    tokens: usize,
    lengths: &Lengths,
    change: impl Fn(&mut [f32]),
) -> (Vec<f32>, Vec<f32>, Values) {
    let shape = TransformerShape {
        dim: 24,
        depth: 2,
        heads: 3,
        hidden: 40,
    };
    let mut stream = Stream::new(4, "stack");
    let mut layer = Transformer::new(&shape, &mut stream);
    let map = MapShape { h: tokens, w: 1, c: 24 };
    let mut x = noise(5 * map.len(), 1.0, &mut stream);
    change(&mut x);
    let mut dy = noise(x.len(), 1.0, &mut stream);
    if let Some(lengths) = lengths {
        for (row, valid) in dy.chunks_exact_mut(map.len()).zip(lengths.iter()) {
            row[valid * map.c..].fill(0.0);
        }
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a pool");
    pool.install(|| {
        let mut pass = Pass::recording(Mode::Train, &Arc::default());
        let y = layer.forward_padded(FeatureMap::new(5, map, x), lengths, &mut pass);
        let dx = layer
            .backward(FeatureMap::new(5, map, dy), &mut pass, true)
            .expect("asked for");
        (y.data.to_vec(), dx.data.to_vec(), tensors(&mut layer, true))
    })
}

#[test]
fn thread_count_does_not_change_a_bit() {
    let lengths: Lengths = Some([19, 3, 7, 1, 19].into());
    assert_eq!(stack(1, 19, &None, |_| ()), stack(3, 19, &None, |_| ()));
    assert_eq!(stack(1, 19, &lengths, |_| ()), stack(3, 19, &lengths, |_| ()));
}

#[test]
fn what_stands_in_the_padding_does_not_matter() {
    let (tokens, dim, valid) = (19, 24, [19, 3, 7, 1, 19]);
    let lengths: Lengths = Some(valid.into());
    let inside = |values: &[f32]| -> Vec<f32> {
        let rows = values.chunks_exact(tokens * dim).zip(valid);
        rows.flat_map(|(row, valid)| row[..valid * dim].to_vec()).collect()
    };
    let (y, dx, gradients) = stack(2, tokens, &lengths, |_| ());
    let (other_y, other_dx, other_gradients) = stack(2, tokens, &lengths, |x| {
        for (row, valid) in x.chunks_exact_mut(tokens * dim).zip(valid) {
            row[valid * dim..].iter_mut().for_each(|v| *v = 3.0 - *v);
        }
    });
    assert_eq!(inside(&y), inside(&other_y));
    assert_eq!(inside(&dx), inside(&other_dx));
    assert_eq!(gradients, other_gradients);
}
