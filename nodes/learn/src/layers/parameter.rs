//! Named parameters and buffers, and how their memory order maps to PyTorch's.

use super::Buffer;
use crate::rng::Stream;

/// A trainable tensor with its gradient.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Values in the layer's own order.
    pub value: Buffer,
    /// Gradient, same order; layers add to it, the training step clears it.
    pub grad: Buffer,
}

impl Parameter {
    /// A parameter with a gradient of zero.
    pub fn new(value: Vec<f32>) -> Self {
        Self {
            grad: vec![0.0; value.len()].into(),
            value: value.into(),
        }
    }

    /// All equal.
    pub fn constant(len: usize, value: f32) -> Self {
        Self::new(vec![value; len])
    }

    /// Normal with mean zero.
    pub fn normal(len: usize, std: f32, stream: &mut Stream) -> Self {
        Self::new((0..len).map(|_| stream.normal() * std).collect())
    }

    /// Uniform in `[-bound, bound)`.
    pub fn uniform(len: usize, bound: f32, stream: &mut Stream) -> Self {
        Self::new((0..len).map(|_| stream.range(-bound, bound)).collect())
    }
}

/// The order of a tensor's values in memory, against PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As PyTorch's.
    Same,
    /// A linear layer: `[in][out]` here, `[out][in]` there.
    InOut,
    /// A convolution: `[kh][kw][in][out]` here, `[out][in][kh][kw]` there.
    HwInOut,
}

impl Layout {
    /// For a tensor of PyTorch shape `shape`, the index here of each value there, in PyTorch's order.
    pub fn indices(self, shape: &[usize]) -> Vec<usize> {
        match (self, shape) {
            (Self::InOut, [o, i]) => (0..*o).flat_map(|a| (0..*i).map(move |b| b * o + a)).collect(),
            (Self::HwInOut, [o, i, h, w]) => {
                let (o, i, h, w) = (*o, *i, *h, *w);
                (0..o)
                    .flat_map(|a| (0..i).flat_map(move |b| (0..h * w).map(move |p| (p * i + b) * o + a)))
                    .collect()
            }
            _ => (0..shape.iter().product()).collect(),
        }
    }
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trained, with weight decay and (in LARS) adaptation.
    Weight,
    /// Trained, without: biases and normalisation parameters.
    Bias,
    /// Not trained: running statistics.
    Buffer,
}

/// Whatever has named tensors: layers, encoders, methods.
pub trait Tensors {
    /// Every parameter and buffer, in a fixed order, with PyTorch's names behind `prefix`.
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>);
}

/// Lists the parts of a type that have tensors: each under its field's name, or under the one given with `as`; under none with `as ""`.
macro_rules! tensors {
    ($of:ident: $($part:ident $(as $name:literal)?),*) => {
        impl $crate::layers::Tensors for $of {
            fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<$crate::layers::Entry<'a>>) {
                let _ = (prefix, &out);
                $({
                    let name = [stringify!($part) $(, $name)?];
                    self.$part.entries(&$crate::layers::join(prefix, name[name.len() - 1]), out);
                })*
            }
        }
    };
}
pub(crate) use tensors;

/// A tensor that belongs to no layer and is carried from step to step: a queue, a memory, assignments.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    shape: Vec<usize>,
    values: Buffer,
}

impl Carried {
    /// Values of a shape.
    pub(crate) fn new(shape: &[usize], values: Vec<f32>) -> Self {
        Self {
            shape: shape.to_vec(),
            values: values.into(),
        }
    }

    /// Zeros.
    pub(crate) fn zeros(shape: &[usize]) -> Self {
        Self::new(shape, vec![0.0; shape.iter().product()])
    }
}

impl std::ops::Deref for Carried {
    type Target = Buffer;
    fn deref(&self) -> &Buffer {
        &self.values
    }
}

impl std::ops::DerefMut for Carried {
    fn deref_mut(&mut self) -> &mut Buffer {
        &mut self.values
    }
}

impl Tensors for Carried {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        out.push(Entry {
            shape: self.shape.clone(),
            ..Entry::buffer(prefix.to_owned(), &mut self.values)
        });
    }
}

/// One tensor of a network, borrowed.
#[derive(Debug)]
pub struct Entry<'a> {
    /// PyTorch's name, e.g. `layer1.0.bn1.running_var`.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// Memory order.
    pub layout: Layout,
    /// What it is for.
    pub role: Role,
    /// Values.
    pub value: &'a mut Buffer,
    /// Gradient; none for buffers.
    pub grad: Option<&'a mut Buffer>,
}

impl<'a> Entry<'a> {
    /// The entry of a parameter.
    pub fn parameter(
        name: String,
        shape: Vec<usize>,
        layout: Layout,
        role: Role,
        parameter: &'a mut Parameter,
    ) -> Self {
        Self {
            name,
            shape,
            layout,
            role,
            value: &mut parameter.value,
            grad: Some(&mut parameter.grad),
        }
    }

    /// The gradient's values; none for buffers.
    pub fn gradient(&self) -> &[f32] {
        self.grad.as_deref().map_or(&[], |gradient| gradient)
    }

    /// The entry of a buffer.
    pub fn buffer(name: String, value: &'a mut Buffer) -> Self {
        Self {
            name,
            shape: vec![value.len()],
            layout: Layout::Same,
            role: Role::Buffer,
            value,
            grad: None,
        }
    }
}
