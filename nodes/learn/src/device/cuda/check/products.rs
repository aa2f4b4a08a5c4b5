//! Convolutions and attention.

use super::{Check, Done, EXACT, Start};
use crate::kernels::attention::{self, AttentionShape};
use crate::kernels::conv::{self, ConvShape};

impl Check<'_> {
    fn shape(&mut self) -> ConvShape {
        let kernel = self.one_of(&[1, 1, 2, 3, 3, 3, 5]);
        let padding = self.between(0, kernel / 2);
        let most = self.larger(9, 3);
        ConvShape {
            n: self.one_of(&[1, 2, 3]),
            h: self.between(kernel, most.max(kernel)),
            w: self.between(kernel, most.max(kernel)),
            c_in: self.one_of(&[1, 3, 4, 6, 16, 20, 64]),
            c_out: self.one_of(&[1, 4, 10, 12, 32, 68, 128]),
            kernel,
            stride: self.one_of(&[1, 1, 1, 2, 2, 3]),
            padding,
            groups: 1,
        }
    }

    pub(super) fn convolutions(&mut self) -> Done {
        let mut shapes: Vec<ConvShape> = (0..4).map(|_| self.shape()).collect();
        // A map of one pixel, where only the middle tap meets anything; a stride that most pixels have no tap for; linear layers.
        let one = ConvShape {
            n: 2,
            h: 1,
            w: 1,
            c_in: 4,
            c_out: 8,
            kernel: 3,
            stride: 1,
            padding: 1,
            groups: 1,
        };
        shapes.extend([
            one,
            ConvShape {
                h: 7,
                w: 5,
                kernel: 1,
                stride: 3,
                padding: 0,
                ..one
            },
        ]);
        let (inputs, outputs) = (self.one_of(&[8, 17, 64]), self.one_of(&[10, 32, 128]));
        shapes.push(ConvShape::matrix(self.larger(37, 50), inputs, outputs));
        for shape in shapes {
            self.convolution(&shape)?;
        }
        Ok(())
    }

    pub(super) fn groups(&mut self) -> Done {
        for groups in [2, 6] {
            let shape = self.shape();
            let shape = ConvShape {
                c_in: 2 * groups,
                c_out: 3 * groups,
                groups,
                ..shape
            };
            self.convolution(&shape)?;
        }
        let shape = self.shape();
        self.convolution(&ConvShape {
            c_in: 5,
            c_out: 5,
            groups: 5,
            ..shape
        })
    }

    fn convolution(&mut self, shape: &ConvShape) -> Done {
        let (lx, ly, lw) = shape.lengths();
        let (x, weight, dy) = (self.values(lx), self.values(lw), self.values(ly));
        let (bias, dweight, dbias) = (self.values(shape.c_out), self.values(lw), self.values(shape.c_out));
        let bound = if shape.groups > 1 { EXACT } else { self.product_bound() };
        let named = |kernel| {
            (
                kernel,
                format!("{shape}, {} images, padding {}", shape.n, shape.padding),
            )
        };

        let mut y = vec![0.0; ly];
        conv::forward(shape, &x, &weight, Some(&bias), &mut y);
        let inputs: [&[f32]; 3] = [&x, &weight, &bias];
        let poison = |len| [Start::Poison(len)];
        self.case(
            named("conv_forward"),
            bound,
            (&inputs, &poison(ly)),
            &[&y],
            &|k, i, o| k.conv_forward(shape, &i[0], &i[1], Some(&i[2]), &o[0]),
        )?;

        let mut dx = vec![0.0; lx];
        conv::backward_input(shape, &dy, &weight, &mut dx);
        self.case(
            named("conv_backward_input"),
            bound,
            (&[&dy, &weight], &poison(lx)),
            &[&dx],
            &|k, i, o| k.conv_backward_input(shape, &i[0], &i[1], &o[0]),
        )?;

        let (mut dw, mut db) = (dweight.clone(), dbias.clone());
        conv::backward_weight(shape, &x, &dy, &mut dw, Some(&mut db));
        let starts = [Start::Values(&dweight), Start::Values(&dbias)];
        self.case(
            named("conv_backward_weight"),
            bound,
            (&[&x, &dy], &starts),
            &[&dw, &db],
            &|k, i, o| k.conv_backward_weight(shape, &i[0], &i[1], &o[0], Some(&o[1])),
        )
    }

    pub(super) fn attention(&mut self) -> Done {
        for padded in [false, true] {
            let shape = AttentionShape {
                n: self.between(1, 3),
                tokens: self.between(1, self.larger(70, 2)),
                heads: self.between(1, 3),
                head_dim: self.one_of(&[3, 8, 20]),
            };
            let lengths: Vec<usize> = (0..shape.n).map(|_| self.between(1, shape.tokens)).collect();
            let lengths = padded.then_some(&lengths[..]);
            let (qkv, dout) = (self.values(shape.inputs()), self.values(shape.outputs()));
            let (mut weights, mut out) = (vec![0.0; shape.weights()], vec![0.0; shape.outputs()]);
            attention::forward(&shape, &qkv, lengths, &mut weights, &mut out);
            let mut dqkv = vec![0.0; shape.inputs()];
            attention::backward(&shape, &qkv, &weights, lengths, &dout, &mut dqkv);
            let case = format!("{shape:?}, lengths {lengths:?}");
            let starts = [Start::Poison(weights.len()), Start::Poison(out.len())];
            let named = ("attention", case.clone());
            self.case(named, EXACT, (&[&qkv], &starts), &[&weights, &out], &|k, i, o| {
                k.attention(&shape, &i[0], lengths, &o[0], &o[1])
            })?;
            let starts = [Start::Poison(dqkv.len())];
            let inputs: [&[f32]; 3] = [&qkv, &weights, &dout];
            self.case(
                ("attention_backward", case),
                EXACT,
                (&inputs, &starts),
                &[&dqkv],
                &|k, i, o| k.attention_backward(&shape, &i[0], &i[1], lengths, &i[2], &o[0]),
            )?;
        }
        Ok(())
    }
}
