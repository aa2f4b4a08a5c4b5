//! Layers and kernels: outputs and gradients. Golden tensors are channel-first, ours channel-last.

use std::sync::Arc;

use flow_learn::kernels::attention::{self, AttentionShape};
use flow_learn::kernels::conv::{self, ConvShape};
use flow_learn::kernels::pool::{self, PoolShape};
use flow_learn::layers::{
    BatchNorm, BufferPool, ConvNorm, ConvSettings, ConvTranspose2d, FeatureMap, Gelu, Layer, LayerNorm, MapShape,
    MaxPool, Mode, NormSettings, Pass, Residual, TransposeSettings,
};
use flow_learn::rng::Stream;

use super::Outcome;
use super::case::{Case, CaseError, Check, GRADIENT, VALUE, swap};

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    match case.case.as_str() {
        "conv2d" => conv2d(case),
        "conv_transpose2d" => conv_transpose(case),
        "batch_norm2d_train_weighted" => batch_norm(case),
        "max_pool2d" => max_pool(case),
        "avg_pool2d" => average_pool(case),
        "layer_norm" => layer_norm(case),
        "gelu" => gelu(case),
        "attention" => attention(case),
        "basic_block_stride2_weighted" => basic_block(case),
        _ => Ok(Outcome::NotBuilt),
    }
}

/// An NCHW input as a feature map.
fn map(case: &Case, name: &str) -> Result<FeatureMap, CaseError> {
    let [n, c, h, w] = case.dims::<4>(name)?;
    Ok(FeatureMap::new(
        n,
        MapShape { h, w, c },
        swap(&case.input(name)?.f32(), n, c, h * w),
    ))
}

/// Channel-last values as NCHW.
fn first(data: &[f32], n: usize, shape: MapShape) -> Vec<f32> {
    swap(data, n, shape.h * shape.w, shape.c)
}

/// OIHW to `[kh][kw][in][out]`, and back with [`weight_back`].
fn weight(data: &[f32], [o, i, h, w]: [usize; 4]) -> Vec<f32> {
    let mut out = vec![0.0; data.len()];
    for (at, value) in data.iter().enumerate() {
        let (oc, rest) = (at / (i * h * w), at % (i * h * w));
        let (ic, position) = (rest / (h * w), rest % (h * w));
        out[(position * i + ic) * o + oc] = *value;
    }
    out
}

fn weight_back(data: &[f32], [o, i, h, w]: [usize; 4]) -> Vec<f32> {
    (0..data.len())
        .map(|at| {
            let (oc, rest) = (at / (i * h * w), at % (i * h * w));
            let (ic, position) = (rest / (h * w), rest % (h * w));
            data[(position * i + ic) * o + oc]
        })
        .collect()
}

/// What golden gradients are of: the sum of the outputs, or their product with linspace(-1, 1) where the case says "weighted".
fn upstream(case: &Case, count: usize) -> Vec<f32> {
    if !case.case.ends_with("weighted") {
        return vec![1.0; count];
    }
    (0..count)
        .map(|i| (-1.0 + 2.0 * i as f64 / (count - 1).max(1) as f64) as f32)
        .collect()
}

fn conv2d(case: &Case) -> Result<Outcome, CaseError> {
    let x = map(case, "x")?;
    let dims = case.dims::<4>("weight")?;
    let [c_out, _, kernel, _] = dims;
    let MapShape { h, w, c } = x.shape;
    let (stride, padding, groups) = (case.size("stride")?, case.size("padding")?, case.size("groups")?);
    let shape = ConvShape {
        n: x.n,
        h,
        w,
        c_in: c,
        c_out,
        kernel,
        stride,
        padding,
        groups,
    };
    let out = MapShape {
        h: shape.out_h(),
        w: shape.out_w(),
        c: c_out,
    };
    let values = weight(&case.input("weight")?.f32(), dims);
    let mut y = vec![0.0; x.n * out.len()];
    conv::forward(&shape, &x.data, &values, Some(&case.input("bias")?.f32()), &mut y);
    let dy = swap(&upstream(case, y.len()), x.n, c_out, out.h * out.w);
    let (mut dx, mut dw, mut db) = (vec![0.0; x.data.len()], vec![0.0; values.len()], vec![0.0; c_out]);
    conv::backward_input(&shape, &dy, &values, &mut dx);
    conv::backward_weight(&shape, &x.data, &dy, &mut dw, Some(&mut db));
    let mut check = Check::default();
    check.relative("y", &first(&y, x.n, out), case.output("y")?, VALUE);
    check.relative(
        "gradient of x",
        &first(&dx, x.n, x.shape),
        case.gradient("x")?,
        GRADIENT,
    );
    check.relative(
        "gradient of weight",
        &weight_back(&dw, dims),
        case.gradient("weight")?,
        GRADIENT,
    );
    check.relative("gradient of bias", &db, case.gradient("bias")?, GRADIENT);
    Ok(check.outcome())
}

fn conv_transpose(case: &Case) -> Result<Outcome, CaseError> {
    let x = map(case, "x")?;
    let [c_in, c_out, kernel, _] = case.dims::<4>("weight")?;
    let settings = TransposeSettings {
        c_in,
        c_out,
        kernel,
        stride: case.size("stride")?,
        padding: case.size("padding")?,
        output_padding: case.size("output_padding")?,
    };
    let mut layer = ConvTranspose2d::new(settings, &mut Stream::new(0, "overwritten"));
    for name in ["weight", "bias"] {
        set(&mut layer, &[(name, case.input(name)?.f32())]);
    }
    let (y, dx) = both_ways(case, &mut layer, x);
    let mut check = Check::default();
    check.relative("y", &y, case.output("y")?, VALUE);
    check.relative("gradient of x", &dx, case.gradient("x")?, GRADIENT);
    for name in ["weight", "bias"] {
        let found = get(&mut layer, name, true);
        check.relative(&format!("gradient of {name}"), &found, case.gradient(name)?, GRADIENT);
    }
    Ok(check.outcome())
}

/// Runs a layer forward and backward; gives the output and the gradient of its input, channel-first.
fn both_ways(case: &Case, layer: &mut dyn Layer, x: FeatureMap) -> (Vec<f32>, Vec<f32>) {
    let (n, input) = (x.n, x.shape);
    let pool: Arc<BufferPool> = Arc::default();
    let mut pass = Pass::recording(Mode::Train, &pool);
    let y = layer.forward(x, &mut pass);
    let (shape, values) = (y.shape, first(&y.data, n, y.shape));
    let dy = swap(&upstream(case, values.len()), n, shape.c, shape.h * shape.w);
    let dx = layer.backward(FeatureMap::new(n, shape, dy), &mut pass, true);
    (values, dx.map(|dx| first(&dx.data, n, input)).unwrap_or_default())
}

/// Sets a layer's tensors by name from channel-first values.
fn set(layer: &mut dyn Layer, values: &[(&str, Vec<f32>)]) {
    let mut entries = Vec::new();
    layer.entries("", &mut entries);
    for entry in &mut entries {
        if let Some((_, data)) = values.iter().find(|(name, _)| *name == entry.name) {
            for (here, value) in entry.layout.indices(&entry.shape).into_iter().zip(data) {
                entry.value[here] = *value;
            }
        }
    }
}

/// A layer's values or gradients by name, channel-first.
fn get(layer: &mut dyn Layer, name: &str, gradient: bool) -> Vec<f32> {
    let mut entries = Vec::new();
    layer.entries("", &mut entries);
    let entry = entries.iter().find(|e| e.name == name);
    entry.map_or(vec![], |e| {
        let from = if gradient { e.gradient() } else { &e.value[..] };
        e.layout.indices(&e.shape).into_iter().map(|i| from[i]).collect()
    })
}

fn batch_norm(case: &Case) -> Result<Outcome, CaseError> {
    let x = map(case, "x")?;
    let settings = NormSettings {
        momentum: case.number("momentum")? as f32,
        eps: case.number("eps")? as f32,
    };
    let mut layer = BatchNorm::new(x.shape.c, false, settings);
    set(
        &mut layer,
        &[
            ("weight", case.input("weight")?.f32()),
            ("bias", case.input("bias")?.f32()),
        ],
    );
    let (y, dx) = both_ways(case, &mut layer, x);
    let mut check = Check::default();
    // The case multiplies the output before it is compared.
    let weighted: Vec<f32> = y.iter().zip(upstream(case, y.len())).map(|(y, u)| y * u).collect();
    check.relative("y", &weighted, case.output("y")?, VALUE);
    for name in ["running_mean", "running_var"] {
        check.relative(name, &get(&mut layer, name, false), case.output(name)?, VALUE);
    }
    check.relative("gradient of x", &dx, case.gradient("x")?, GRADIENT);
    for name in ["weight", "bias"] {
        check.relative(
            &format!("gradient of {name}"),
            &get(&mut layer, name, true),
            case.gradient(name)?,
            GRADIENT,
        );
    }
    Ok(check.outcome())
}

fn max_pool(case: &Case) -> Result<Outcome, CaseError> {
    let (kernel, stride, padding) = (case.size("kernel")?, case.size("stride")?, case.size("padding")?);
    let (y, dx) = both_ways(
        case,
        &mut MaxPool {
            kernel,
            stride,
            padding,
        },
        map(case, "x")?,
    );
    let mut check = Check::default();
    check.relative("y", &y, case.output("y")?, VALUE);
    check.relative("gradient of x", &dx, case.gradient("x")?, GRADIENT);
    Ok(check.outcome())
}

fn average_pool(case: &Case) -> Result<Outcome, CaseError> {
    let x = map(case, "x")?;
    let MapShape { h, w, c } = x.shape;
    let shape = PoolShape {
        h,
        w,
        c,
        kernel: case.size("kernel")?,
        stride: case.size("stride")?,
        padding: 0,
    };
    let out = MapShape {
        h: shape.out_h(),
        w: shape.out_w(),
        c,
    };
    let (mut y, mut dx) = (vec![0.0; x.n * out.len()], vec![0.0; x.data.len()]);
    pool::average_forward(&shape, &x.data, &mut y);
    let dy = swap(&upstream(case, y.len()), x.n, c, out.h * out.w);
    pool::average_backward(&shape, &dy, &mut dx);
    let mut check = Check::default();
    check.relative("y", &first(&y, x.n, out), case.output("y")?, VALUE);
    check.relative(
        "gradient of x",
        &first(&dx, x.n, x.shape),
        case.gradient("x")?,
        GRADIENT,
    );
    Ok(check.outcome())
}

/// `[n][tokens][dim]` as a map of `n` rows of tokens.
fn tokens(case: &Case, name: &str) -> Result<FeatureMap, CaseError> {
    let [n, h, c] = case.dims::<3>(name)?;
    Ok(FeatureMap::new(n, MapShape { h, w: 1, c }, case.input(name)?.f32()))
}

/// Runs a layer on tokens, which lie as PyTorch's, forward and backward.
fn on_tokens(case: &Case, layer: &mut dyn Layer, x: FeatureMap) -> (Vec<f32>, Vec<f32>) {
    let mut pass = Pass::recording(Mode::Train, &Arc::default());
    let y = layer.forward(x, &mut pass);
    let (n, shape, values) = (y.n, y.shape, y.data.to_vec());
    let dx = layer.backward(FeatureMap::new(n, shape, upstream(case, values.len())), &mut pass, true);
    (values, dx.map(|dx| dx.data.to_vec()).unwrap_or_default())
}

fn layer_norm(case: &Case) -> Result<Outcome, CaseError> {
    let x = tokens(case, "x")?;
    let mut layer = LayerNorm::new(x.shape.c, case.number("eps")? as f32);
    for name in ["weight", "bias"] {
        set(&mut layer, &[(name, case.input(name)?.f32())]);
    }
    // The case is of the output's cube: the sum of what is normalised has no gradient to speak of.
    let mut pass = Pass::recording(Mode::Train, &Arc::default());
    let normalised = layer.forward(x, &mut pass);
    let y: Vec<f32> = normalised.data.iter().map(|v| v.powi(3)).collect();
    let slope: Vec<f32> = normalised.data.iter().map(|v| 3.0 * v * v).collect();
    let dy = FeatureMap::new(normalised.n, normalised.shape, slope);
    let dx = layer.backward(dy, &mut pass, true).map(|dx| dx.data.to_vec());
    let mut check = Check::default();
    check.relative("y", &y, case.output("y")?, VALUE);
    check.relative("gradient of x", &dx.unwrap_or_default(), case.gradient("x")?, GRADIENT);
    for name in ["weight", "bias"] {
        let found = get(&mut layer, name, true);
        check.relative(&format!("gradient of {name}"), &found, case.gradient(name)?, GRADIENT);
    }
    Ok(check.outcome())
}

fn gelu(case: &Case) -> Result<Outcome, CaseError> {
    let [n, dim] = case.dims::<2>("x")?;
    let x = FeatureMap::new(n, MapShape::vector(dim), case.input("x")?.f32());
    let (y, dx) = on_tokens(case, &mut Gelu, x);
    let mut check = Check::default();
    check.relative("y", &y, case.output("y")?, VALUE);
    check.relative("gradient of x", &dx, case.gradient("x")?, GRADIENT);
    Ok(check.outcome())
}

/// Golden tensors are `[n][heads][tokens][head_dim]`.
fn attention(case: &Case) -> Result<Outcome, CaseError> {
    let [n, heads, tokens, head_dim] = case.dims::<4>("q")?;
    let shape = AttentionShape {
        n,
        tokens,
        heads,
        head_dim,
    };
    let dim = shape.dim();
    // Where a golden value lies in rows of `width` values for each token.
    let place = |at: usize, width: usize| {
        let (row, d) = (at / head_dim, at % head_dim);
        let (token, head, image) = (row % tokens, row / tokens % heads, row / tokens / heads);
        (image * tokens + token) * width + head * head_dim + d
    };
    let mut qkv = vec![0.0; shape.inputs()];
    for (part, name) in ["q", "k", "v"].into_iter().enumerate() {
        for (at, value) in case.input(name)?.f32().into_iter().enumerate() {
            qkv[place(at, 3 * dim) + part * dim] = value;
        }
    }
    let (mut weights, mut out) = (vec![0.0; shape.weights()], vec![0.0; shape.outputs()]);
    attention::forward(&shape, &qkv, None, &mut weights, &mut out);
    let (golden, mut dout) = (upstream(case, out.len()), vec![0.0; out.len()]);
    golden
        .iter()
        .enumerate()
        .for_each(|(at, value)| dout[place(at, dim)] = *value);
    let mut dqkv = vec![0.0; qkv.len()];
    attention::backward(&shape, &qkv, &weights, None, &dout, &mut dqkv);
    let mut check = Check::default();
    let y: Vec<f32> = (0..out.len()).map(|at| out[place(at, dim)]).collect();
    check.relative("y", &y, case.output("y")?, VALUE);
    for (part, name) in ["q", "k", "v"].into_iter().enumerate() {
        let found: Vec<f32> = (0..out.len()).map(|at| dqkv[place(at, 3 * dim) + part * dim]).collect();
        check.relative(&format!("gradient of {name}"), &found, case.gradient(name)?, GRADIENT);
    }
    Ok(check.outcome())
}

fn basic_block(case: &Case) -> Result<Outcome, CaseError> {
    let x = map(case, "x")?;
    let [out, from, ..] = case.dims::<4>("w1")?;
    let mut stream = Stream::new(0, "overwritten");
    let body: Vec<Box<dyn Layer>> = vec![
        Box::new(ConvNorm::new(
            ConvSettings::three(from, out, 2),
            true,
            ("conv1", "bn1"),
            &mut stream,
        )),
        Box::new(ConvNorm::new(
            ConvSettings::three(out, out, 1),
            false,
            ("conv2", "bn2"),
            &mut stream,
        )),
    ];
    let shortcut = ConvNorm::new(ConvSettings::one(from, out, 2), false, ("0", "1"), &mut stream);
    let mut block = Residual::new(body, Some(Box::new(shortcut)));
    let names = [
        ("w1", "conv1.weight"),
        ("w2", "conv2.weight"),
        ("ws", "downsample.0.weight"),
    ];
    for (input, name) in names {
        set(&mut block, &[(name, case.input(input)?.f32())]);
    }
    let (y, dx) = both_ways(case, &mut block, x);
    let mut check = Check::default();
    let weighted: Vec<f32> = y.iter().zip(upstream(case, y.len())).map(|(y, u)| y * u).collect();
    check.relative("y", &weighted, case.output("y")?, VALUE);
    check.relative("gradient of x", &dx, case.gradient("x")?, GRADIENT);
    for (input, name) in names {
        check.relative(
            &format!("gradient of {input}"),
            &get(&mut block, name, true),
            case.gradient(input)?,
            GRADIENT,
        );
    }
    Ok(check.outcome())
}
