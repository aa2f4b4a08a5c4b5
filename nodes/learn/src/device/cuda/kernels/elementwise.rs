//! What is done to each value by itself.

use super::{Arg, Block, Done, Kernels, fits, flag, long};

impl Kernels {
    /// `to = value`.
    ///
    /// # Errors
    /// The device's, as of all below.
    pub fn fill(&self, to: &Block, value: f32) -> Done {
        self.by_four("fill", to.len(), &[long(to.len()), Arg::Float(value), Arg::Block(to)])
    }

    /// See [`crate::kernels::elementwise::relu`].
    ///
    /// # Errors
    /// The device's.
    pub fn relu(&self, to: &Block) -> Done {
        self.by_four("relu", to.len(), &[long(to.len()), Arg::Block(to)])
    }

    /// `to += other`.
    ///
    /// # Errors
    /// The device's.
    pub fn add(&self, to: &Block, other: &Block) -> Done {
        self.change_by("add", to, other)
    }

    /// `to = relu(to + other)`.
    ///
    /// # Errors
    /// The device's.
    pub fn add_relu(&self, to: &Block, other: &Block) -> Done {
        self.change_by("add_relu", to, other)
    }

    /// `to *= other`, as behind GELU.
    ///
    /// # Errors
    /// The device's.
    pub fn multiply(&self, to: &Block, other: &Block) -> Done {
        self.change_by("multiply", to, other)
    }

    fn change_by(&self, kernel: &'static str, to: &Block, other: &Block) -> Done {
        fits(other, to.len());
        self.by_four(kernel, to.len(), &[long(to.len()), Arg::Block(to), Arg::Block(other)])
    }

    /// `to *= factor`.
    ///
    /// # Errors
    /// The device's.
    pub fn scale(&self, to: &Block, factor: f32) -> Done {
        self.by_four("scale", to.len(), &[long(to.len()), Arg::Float(factor), Arg::Block(to)])
    }

    /// `dy` where the output `y` is above zero, `slope dy` elsewhere: behind ReLU with slope 0, and behind leaky ReLU.
    ///
    /// # Errors
    /// The device's.
    pub fn relu_backward(&self, slope: f32, dy: &Block, y: &Block) -> Done {
        fits(y, dy.len());
        let args = [long(dy.len()), Arg::Float(slope), Arg::Block(dy), Arg::Block(y)];
        self.by_four("relu_backward", dy.len(), &args)
    }

    /// The larger of `to` and `slope to`.
    ///
    /// # Errors
    /// The device's.
    pub fn leaky_relu(&self, slope: f32, to: &Block) -> Done {
        self.by_four(
            "leaky_relu",
            to.len(),
            &[long(to.len()), Arg::Float(slope), Arg::Block(to)],
        )
    }

    /// `to += share (factor from - to)`: running averages, momentum encoders.
    ///
    /// # Errors
    /// The device's.
    pub fn follow(&self, to: &Block, from: &Block, factor: f32, share: f32) -> Done {
        fits(from, to.len());
        let args = [
            long(to.len()),
            Arg::Float(factor),
            Arg::Float(share),
            Arg::Block(to),
            Arg::Block(from),
        ];
        self.by_four("follow", to.len(), &args)
    }

    /// Multiplies each of equal parts by its factor.
    ///
    /// # Errors
    /// The device's.
    pub fn scale_parts(&self, to: &Block, factors: &Block) -> Done {
        let each = to.len() / factors.len().max(1);
        fits(to, each * factors.len());
        let args = [long(to.len()), long(each), Arg::Block(to), Arg::Block(factors)];
        self.flat("scale_parts", to.len(), &args)
    }

    /// `y = gelu(x)`; with `derivative`, `x` becomes the derivative. `y` may be `x` without.
    ///
    /// # Errors
    /// The device's.
    pub fn gelu(&self, x: &Block, y: &Block, derivative: bool) -> Done {
        fits(y, x.len());
        let args = [long(x.len()), flag(derivative), Arg::Block(x), Arg::Block(y)];
        self.by_four("gelu", x.len(), &args)
    }
}
