//! Layer normalisation of every token (Ba et al. 2016, 1607.06450), with scale and shift.

use super::{
    Attribute, Buffer, Entry, FeatureMap, Graph, Layer, Layout, MapShape, NoGraph, Parameter, Pass, Role, Tensors,
    Value, join,
};

/// Normalises over the channels of each pixel or token; training and use do not differ.
pub struct LayerNorm {
    weight: Parameter,
    bias: Parameter,
    eps: f32,
}

impl LayerNorm {
    /// What timm's vision transformers add to the variance.
    pub const EPS: f32 = 1e-6;

    /// Scale 1 and shift 0 on `dim` channels; `eps` is added to the variance.
    pub fn new(dim: usize, eps: f32) -> Self {
        Self {
            weight: Parameter::constant(dim, 1.0),
            bias: Parameter::constant(dim, 0.0),
            eps,
        }
    }
}

impl Layer for LayerNorm {
    fn output_shape(&self, input: MapShape) -> MapShape {
        assert_eq!(
            input.c,
            self.weight.value.len(),
            "BUG: the layer norm's dimension does not fit"
        );
        input
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let mut y = pass.map(x.n, self.output_shape(x.shape));
        let (weight, bias, eps) = (&self.weight.value, &self.bias.value, self.eps);
        let (device, mut moments) = (pass.device(), pass.buffer(2 * x.rows()));
        pass.timed(
            "forward",
            0.0,
            || label(x.shape),
            || device.layer_norm(&x.data, weight, bias, eps, &mut y.data, &mut moments),
        );
        pass.push((x, moments));
        y
    }

    fn backward(&mut self, mut dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let device = pass.device();
        let (x, moments): (FeatureMap, Buffer) = pass.pop();
        let Self { weight, bias, .. } = self;
        pass.timed(
            "backward",
            0.0,
            || label(x.shape),
            || {
                device.layer_norm_backward(
                    &x.data,
                    &moments,
                    &weight.value,
                    &mut dy.data,
                    &mut weight.grad,
                    &mut bias.grad,
                );
            },
        );
        Some(dy)
    }

    fn describe(&self, graph: &mut Graph, x: Value, _input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let [weight, bias] = ["weight", "bias"].map(|name| graph.tensor(prefix, name));
        let attributes = vec![("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(self.eps))];
        Ok(graph.apply_with("LayerNormalization", &[&x, &weight, &bias], attributes))
    }
}

fn label(shape: MapShape) -> String {
    format!("layer norm {}", shape.c)
}

impl Tensors for LayerNorm {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        let dim = vec![self.weight.value.len()];
        for (name, parameter) in [("weight", &mut self.weight), ("bias", &mut self.bias)] {
            out.push(Entry::parameter(
                join(prefix, name),
                dim.clone(),
                Layout::Same,
                Role::Bias,
                parameter,
            ));
        }
    }
}
