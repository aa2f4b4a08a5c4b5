//! Convolutions, and linear layers as those of one pixel.

use super::{Arg, Block, COLUMN_SUMS, Done, Kernels, Splits, fits, int, perhaps};
use crate::kernels::conv::ConvShape;

/// Depth at a time, and how many such parts are in flight; as in tile.h.
const DEPTH: usize = 16;
const STAGES: usize = 4;
/// Blocks that splits of a weight gradient aim at, enough for every card.
const BLOCKS: usize = 512;
/// Pixels of a split, at least.
const LEAST_SPLIT: usize = 256;
/// Blocks that a larger tile must leave, or a smaller one is taken: about one for each multiprocessor of a large card.
const FILLING: usize = 128;

/// A kernel, and the rows and columns of its tile.
#[derive(Clone, Copy)]
struct Tile {
    kernel: &'static str,
    rows: usize,
    columns: usize,
}

impl Tile {
    fn count(&self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(self.rows) * columns.div_ceil(self.columns)
    }

    /// Bytes of shared memory, the left operand as it lies or turned.
    fn shared(&self, turned: bool) -> usize {
        let left = if turned {
            DEPTH * (self.rows + 8)
        } else {
            self.rows * (DEPTH + 4)
        };
        4 * STAGES * (left + DEPTH * (self.columns + 8))
    }
}

/// The tiles of a product with one [`Precision`].
struct Tiles {
    /// Channels in whole fours, the largest tile first.
    fours: &'static [Tile],
    /// Any number of channels.
    any: Tile,
}

/// The kernels whose names begin alike, for each [`Precision`] in its order.
macro_rules! tiles {
    ($stem:literal) => {
        [
            tiles!($stem, "_tf32"),
            Tiles {
                fours: &[tile(concat!($stem, "_fp32_64"), 128, 64)],
                any: tile(concat!($stem, "_fp32_any"), 128, 64),
            },
            tiles!($stem, "_bf16"),
        ]
    };
    ($stem:literal, $factors:literal) => {
        Tiles {
            fours: &[
                tile(concat!($stem, $factors, "_128"), 128, 128),
                tile(concat!($stem, $factors, "_64"), 128, 64),
                tile(concat!($stem, $factors, "_small"), 64, 64),
            ],
            any: tile(concat!($stem, $factors, "_any"), 128, 64),
        }
    };
}

const fn tile(kernel: &'static str, rows: usize, columns: usize) -> Tile {
    Tile { kernel, rows, columns }
}

static PIXEL_TILES: [Tiles; 3] = tiles!("conv");
static WEIGHT_TILES: [Tiles; 3] = tiles!("conv_weight");

impl Kernels {
    /// The best of a product's tiles for so many rows and columns, whose depth can be split into `splits`: the largest that leaves enough
    /// blocks, little of them empty. It is known by the shape alone.
    fn tile(&self, tiles: &[Tiles; 3], channels: [usize; 2], [rows, columns, splits]: [usize; 3]) -> Tile {
        let tiles = &tiles[self.precision as usize];
        if channels.iter().any(|count| !count.is_multiple_of(4)) {
            return tiles.any;
        }
        let fits = |tile: &&Tile| tile.columns == 64 || columns.is_multiple_of(tile.columns);
        let fills = |tile: &&Tile| {
            let empty = rows.next_multiple_of(tile.rows) - rows;
            self.large_tiles || tile.count(rows, columns) * splits >= FILLING && 8 * empty <= rows
        };
        let smallest = tiles.fours.last().unwrap_or(&tiles.any);
        *tiles.fours.iter().filter(fits).find(fills).unwrap_or(smallest)
    }

    /// Overwrites `y`: see [`crate::kernels::conv::forward`].
    ///
    /// # Errors
    /// The device's.
    pub fn conv_forward(&self, shape: &ConvShape, x: &Block, weight: &Block, bias: Option<&Block>, y: &Block) -> Done {
        check(shape, x, weight, y);
        if shape.groups > 1 {
            let args = [
                Arg::Ints(&grouped(shape)),
                Arg::Block(x),
                Arg::Block(weight),
                perhaps(bias),
                Arg::Block(y),
            ];
            return self.flat("grouped_forward", y.len(), &args);
        }
        let s = flat(shape);
        let product = PixelProduct {
            images: s.n,
            source: [s.h, s.w, s.c_in],
            columns: s.c_out,
            rows: [s.out_h(), s.out_w()],
            step: int(s.stride),
            first: [-int(s.padding); 2],
            turn: 1,
            taps: [s.kernel; 2],
            out: [s.out_h(), s.out_w(), 1, 0, 0],
        };
        self.pixel_product(&product, x, (weight, 0), bias, y)
    }

    /// Overwrites `dx`: see [`crate::kernels::conv::backward_input`].
    ///
    /// # Errors
    /// The device's.
    pub fn conv_backward_input(&self, shape: &ConvShape, dy: &Block, weight: &Block, dx: &Block) -> Done {
        check(shape, dx, weight, dy);
        if shape.groups > 1 {
            let args = [
                Arg::Ints(&grouped(shape)),
                Arg::Block(dy),
                Arg::Block(weight),
                Arg::Block(dx),
            ];
            return self.flat("grouped_backward_input", dx.len(), &args);
        }
        let s = flat(shape);
        let turned = self.take(weight.len())?;
        let sizes = [s.c_in, s.c_out, weight.len(), s.kernel, s.stride].map(|v| Arg::Int(int(v)));
        let args: Vec<Arg<'_>> = sizes.into_iter().chain([weight, &turned].map(Arg::Block)).collect();
        self.flat("turn_weight", weight.len(), &args)?;
        for (y, x) in (0..s.stride.min(s.h)).flat_map(|y| (0..s.stride.min(s.w)).map(move |x| (y, x))) {
            // Input pixel a stride + y meets tap first + stride i at output pixel a + (y + padding - first) / stride - i.
            let (first_y, taps_y, from_y) = meeting(y, &s);
            let (first_x, taps_x, from_x) = meeting(x, &s);
            let before = |remainder: usize| (0..remainder).map(|r| taps_of(r, &s)).sum::<usize>();
            let at = (before(first_y) * s.kernel + taps_y * before(first_x)) * s.c_in * s.c_out;
            let product = PixelProduct {
                images: s.n,
                source: [s.out_h(), s.out_w(), s.c_out],
                columns: s.c_in,
                rows: [(s.h - y).div_ceil(s.stride), (s.w - x).div_ceil(s.stride)],
                step: 1,
                first: [from_y, from_x],
                turn: -1,
                taps: [taps_y, taps_x],
                out: [s.h, s.w, s.stride, y, x],
            };
            self.pixel_product(&product, dy, (&turned, at), None, dx)?;
        }
        Ok(())
    }

    /// `weight` from a value on.
    fn pixel_product(
        &self,
        s: &PixelProduct,
        x: &Block,
        weight: (&Block, usize),
        bias: Option<&Block>,
        y: &Block,
    ) -> Done {
        let rows = s.images * s.rows[0] * s.rows[1];
        let tile = self.tile(&PIXEL_TILES, [s.source[2], s.columns], [rows, s.columns, 1]);
        let grid = [rows.div_ceil(tile.rows), s.columns.div_ceil(tile.columns), 1];
        let args = [
            Arg::Ints(&s.ints()),
            Arg::Block(x),
            Arg::From(weight.0, weight.1),
            perhaps(bias),
            Arg::Block(y),
        ];
        self.blocks(tile.kernel, grid, tile.shared(false), &args)
    }

    /// Adds to `dweight` and `dbias`: see [`crate::kernels::conv::backward_weight`].
    ///
    /// # Errors
    /// The device's.
    pub fn conv_backward_weight(
        &self,
        shape: &ConvShape,
        x: &Block,
        dy: &Block,
        dweight: &Block,
        dbias: Option<&Block>,
    ) -> Done {
        check(shape, x, dweight, dy);
        if let Some(dbias) = dbias {
            self.add_column_sums(dy, shape.c_out, dbias)?;
        }
        if shape.groups > 1 {
            return self.grouped_weight(shape, x, dy, dweight);
        }
        let s = flat(shape);
        let (rows, pixels) = (s.kernel * s.kernel * s.c_in, s.n * s.out_h() * s.out_w());
        let extents = [rows, s.c_out, pixels.div_ceil(LEAST_SPLIT)];
        let tile = self.tile(&WEIGHT_TILES, [s.c_in, s.c_out], extents);
        let per_split = pixels.div_ceil(BLOCKS.div_ceil(tile.count(rows, s.c_out)));
        let per_split = per_split.max(LEAST_SPLIT).next_multiple_of(DEPTH);
        let splits = pixels.div_ceil(per_split);
        let parts = self.take(splits * dweight.len())?;
        let sizes = sizes(&s);
        let args = [
            Arg::Ints(&sizes),
            Arg::Int(int(per_split)),
            Arg::Block(x),
            Arg::Block(dy),
            Arg::Block(&parts),
        ];
        let grid = [rows.div_ceil(tile.rows), s.c_out.div_ceil(tile.columns), splits];
        self.blocks(tile.kernel, grid, tile.shared(true), &args)?;
        self.add_parts(splits, &parts, dweight)
    }

    fn grouped_weight(&self, shape: &ConvShape, x: &Block, dy: &Block, dweight: &Block) -> Done {
        let per_split = shape.n.div_ceil(64);
        let splits = shape.n.div_ceil(per_split.max(1));
        let parts = self.take(splits * dweight.len())?;
        let sizes = grouped(shape);
        let args = [
            Arg::Ints(&sizes),
            Arg::Int(int(per_split)),
            Arg::Block(x),
            Arg::Block(dy),
            Arg::Block(&parts),
        ];
        self.blocks(
            "grouped_backward_weight",
            [dweight.len().div_ceil(256), splits, 1],
            0,
            &args,
        )?;
        self.add_parts(splits, &parts, dweight)
    }

    fn add_parts(&self, splits: usize, parts: &Block, to: &Block) -> Done {
        let args = [
            Arg::Int(int(to.len())),
            Arg::Int(int(splits)),
            Arg::Block(parts),
            Arg::Block(to),
        ];
        self.flat("add_parts", to.len(), &args)
    }

    /// Adds the sum of every column of a matrix of `columns` columns to `sums`.
    ///
    /// # Errors
    /// The device's.
    pub fn add_column_sums(&self, matrix: &Block, columns: usize, sums: &Block) -> Done {
        fits(sums, columns);
        let splits = Splits::new(matrix.len() / columns, columns);
        let parts = self.take(splits.parts())?;
        let [rows, per] = [splits.rows, splits.per_split].map(|v| Arg::Int(int(v)));
        let args = [
            rows,
            Arg::Int(int(columns)),
            per,
            Arg::Block(matrix),
            Arg::Block(&parts),
        ];
        self.blocks("column_parts", splits.grid(), COLUMN_SUMS, &args)?;
        self.column_merge(splits, &parts, sums, None)
    }
}

/// Taps of one dimension that an input pixel of remainder `at` meets: the first, how many, and where the first one's output pixel is.
fn meeting(at: usize, s: &ConvShape) -> (usize, usize, i32) {
    let first = (at + s.padding) % s.stride;
    (first, taps_of(first, s), int((at + s.padding - first) / s.stride))
}

/// Taps of one dimension that have a remainder by the stride.
fn taps_of(remainder: usize, s: &ConvShape) -> usize {
    s.kernel.saturating_sub(remainder).div_ceil(s.stride)
}

/// A 1x1 convolution that keeps all pixels is one long row of them: fewer steps from row to row.
fn flat(shape: &ConvShape) -> ConvShape {
    if (shape.kernel, shape.stride, shape.padding) != (1, 1, 0) {
        return *shape;
    }
    ConvShape {
        n: 1,
        h: 1,
        w: shape.n * shape.h * shape.w,
        ..*shape
    }
}

fn check(shape: &ConvShape, x: &Block, weight: &Block, y: &Block) {
    let (lx, ly, lw) = shape.lengths();
    fits(x, lx);
    fits(y, ly);
    fits(weight, lw);
}

/// Extents of images, channels, the kernel and its steps, as kernels take them.
fn sizes(s: &ConvShape) -> [i32; 10] {
    let sizes = [
        s.n,
        s.h,
        s.w,
        s.c_in,
        s.c_out,
        s.kernel,
        s.stride,
        s.padding,
        s.out_h(),
        s.out_w(),
    ];
    sizes.map(int)
}

/// As `GroupedConv` in conv_grouped.cu.
fn grouped(s: &ConvShape) -> [i32; 11] {
    let [n, h, w, c_in, c_out, kernel, stride, padding, out_h, out_w] = sizes(s);
    let groups = int(s.groups);
    [n, h, w, c_in, c_out, kernel, stride, padding, out_h, out_w, groups]
}

/// As `PixelProduct` in conv.cu.
struct PixelProduct {
    images: usize,
    source: [usize; 3],
    columns: usize,
    rows: [usize; 2],
    step: i32,
    first: [i32; 2],
    turn: i32,
    taps: [usize; 2],
    out: [usize; 5],
}

impl PixelProduct {
    fn ints(&self) -> Vec<i32> {
        let mut all = vec![int(self.images)];
        all.extend(self.source.map(int));
        all.push(int(self.columns));
        all.extend(self.rows.map(int));
        all.push(self.step);
        all.extend(self.first);
        all.push(self.turn);
        all.extend(self.taps.map(int));
        all.extend(self.out.map(int));
        all
    }
}
