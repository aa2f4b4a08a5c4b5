//! The plain sum of a convolution's taps, forward or for the gradient of the input: one product of tiles for each class of pixels.

use rayon::prelude::*;

use super::super::layout::{Panels, turn};
use super::super::tile::{self, Row, Store};
use super::ConvShape;
use super::side_by_side::SideBySide;
use super::taps::{self, Class, Layout};

/// A pass with the plain sum, whose result is written image by image.
pub(super) struct Direct {
    pub(super) images: Images,
    pub(super) classes: Vec<Class>,
    pub(super) panels: Panels,
    /// Result channels that share their source channels.
    pub(super) group: usize,
}

impl Direct {
    pub(super) fn forward(shape: &ConvShape, weight: &[f32]) -> Self {
        let (s, padding) = (shape.stride, shape.padding as isize);
        let pass = Sources {
            weight,
            depth: shape.c_in / shape.groups,
            group: shape.c_out / shape.groups,
            taps: shape.kernel,
            size: [shape.h, shape.w, shape.c_in],
            result: [shape.out_h(), shape.out_w(), shape.c_out],
        };
        // Output pixel o takes input pixel o stride + tap - padding.
        pass.direct(|o, tap| Some((o * s + tap) as isize - padding))
    }

    /// The gradient of the input.
    pub(super) fn backward(shape: &ConvShape, weight: &[f32]) -> Self {
        let (k, s, padding) = (shape.kernel, shape.stride as isize, shape.padding);
        let (cin_g, cout_g) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
        let turned = turn(weight, k * k, cin_g, shape.c_out, cout_g);
        let pass = Sources {
            weight: &turned,
            depth: cout_g,
            group: cin_g,
            taps: k,
            size: [shape.out_h(), shape.out_w(), shape.c_out],
            result: [shape.h, shape.w, shape.c_in],
        };
        // Input pixel i takes output pixel (i + padding - tap) / stride for each tap that divides; taps are stored from last to first.
        pass.direct(|i, stored| {
            let reach = (i + padding) as isize - (k - 1 - stored) as isize;
            (reach.rem_euclid(s) == 0).then_some(reach.div_euclid(s))
        })
    }

    /// Overwrites `result`.
    pub(super) fn run(&self, source: &[f32], result: &mut [f32]) {
        let rows = self.rows();
        self.images.each(source, result, |count, source, result| {
            for (panel, first, columns) in self.panels.iter() {
                let source = &source[first / self.group * self.images.source_group..];
                for (class, rows) in self.classes.iter().zip(&rows) {
                    let (rows, result) = (&rows[..count * class.rows.len()], &mut result[first..]);
                    tile::product(source, panel, result, rows, columns, &class.runs, Store::Overwrite);
                }
            }
        });
    }

    /// The rows of a task's images for each class, image by image: a task of fewer images takes the first of them.
    pub(super) fn rows(&self) -> Vec<Vec<Row>> {
        let shifted = |class: &Class, i: usize| {
            let shift = |r: &Row| Row {
                a: r.a + i * self.images.source,
                c: r.c + i * self.images.result,
            };
            class.rows.iter().map(shift).collect::<Vec<Row>>()
        };
        let of_class = |class: &Class| (0..self.images.per_task()).flat_map(|i| shifted(class, i)).collect();
        self.classes.iter().map(of_class).collect()
    }
}

/// What a result is summed from, forward or backward.
struct Sources<'a> {
    /// `[taps][taps][depth][result channels]`, so that sources ascend with the taps.
    weight: &'a [f32],
    /// Source and result channels of a group.
    depth: usize,
    group: usize,
    /// Taps along a side.
    taps: usize,
    /// Height, width and channels of what is read and of what is written.
    size: [usize; 3],
    result: [usize; 3],
}

impl Sources<'_> {
    /// The pass, where a pixel's tap lies at `source(pixel, tap)` along either axis, inside the image or not, if the pixel has it.
    fn direct(&self, source: impl Fn(usize, usize) -> Option<isize>) -> Direct {
        let ([h, w, c], [oh, ow, oc]) = (self.size, self.result);
        let meets = |at: usize, size: usize| -> Vec<(usize, usize)> {
            let inside = |tap| usize::try_from(source(at, tap)?).ok().filter(|source| *source < size);
            (0..self.taps).filter_map(|tap| Some((tap, inside(tap)?))).collect()
        };
        let one_group = self.group == oc;
        let together = one_group.then(|| SideBySide::new(ow, oc, self.taps, &source)).flatten();
        let doubled;
        // Pixels at a time, the panels' taps of a row, weights and where a row's sources are.
        let (pixels, across, weight, columns) = match &together {
            Some(two) => {
                doubled = two.weights(self.weight, self.taps, self.depth, oc);
                (
                    2,
                    two.across(),
                    &doubled[..],
                    taps::classes(ow / 2, |at| two.meets(at, w)),
                )
            }
            None => (1, self.taps, self.weight, taps::classes(ow, |at| meets(at, w))),
        };
        let panels = Panels::new(
            weight,
            self.taps * across * self.depth,
            pixels * oc,
            pixels * self.group,
        );
        let layout = Layout {
            source_width: w,
            source_channels: c,
            result_width: ow / pixels,
            result_channels: pixels * oc,
            depth: self.depth,
            across,
            panel_width: panels.width,
        };
        Direct {
            images: Images {
                source: h * w * c,
                result: oh * ow * oc,
                source_group: self.depth,
            },
            classes: taps::of_image(&layout, &taps::classes(oh, |at| meets(at, h)), &columns),
            panels,
            group: pixels * self.group,
        }
    }
}

/// Values of an image of the source and of the result, and source channels of a group.
pub(super) struct Images {
    source: usize,
    result: usize,
    pub(super) source_group: usize,
}

impl Images {
    /// How many a task takes: enough to fill tiles, few enough for their pixels to stay in the second-level cache.
    fn per_task(&self) -> usize {
        (65_536 / self.source.max(self.result).max(1)).clamp(1, 64)
    }

    /// Gives `work` a few images to a task: how many, their source and their result.
    pub(super) fn each(&self, source: &[f32], result: &mut [f32], work: impl Fn(usize, &[f32], &mut [f32]) + Sync) {
        let per_task = self.per_task();
        let tasks = result
            .par_chunks_mut(self.result * per_task)
            .zip(source.par_chunks(self.source * per_task));
        tasks.for_each(|(result, source)| work(result.len() / self.result, source, result));
    }
}
