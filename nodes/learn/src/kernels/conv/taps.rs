//! Which taps of a kernel meet the image, so that no zero of a border is ever multiplied or even stored.
//!
//! Along one axis, the positions of a result fall into few classes: most see the whole kernel, those at the edges a part of it.
//! Positions of a class differ only in where their first source lies. Two axes' classes combine to those of an image.

use super::super::tile::{Row, Run, Runs};

/// Positions along an axis that see the same taps.
pub(super) struct AxisClass {
    /// Taps with their source's distance from that of the first tap.
    taps: Vec<(usize, usize)>,
    /// Positions with the source of their first tap.
    places: Vec<(usize, usize)>,
}

/// The classes of `0..len`, where `meets` lists a position's `(tap, source)`, sources ascending; taps are counted as they are stored.
pub(super) fn classes(len: usize, meets: impl Fn(usize) -> Vec<(usize, usize)>) -> Vec<AxisClass> {
    let mut classes: Vec<AxisClass> = Vec::new();
    for at in 0..len {
        let met = meets(at);
        let first = met.first().map_or(0, |(_, source)| *source);
        let taps: Vec<(usize, usize)> = met.into_iter().map(|(tap, source)| (tap, source - first)).collect();
        match classes.iter_mut().find(|c| c.taps == taps) {
            Some(class) => class.places.push((at, first)),
            None => classes.push(AxisClass {
                taps,
                places: vec![(at, first)],
            }),
        }
    }
    classes
}

/// The memory that rows and runs step through: channel-last images, and weights in panels.
pub(super) struct Layout {
    /// Width of the source in pixels.
    pub(super) source_width: usize,
    /// Channels of a source pixel, all groups.
    pub(super) source_channels: usize,
    /// Width of the result in pixels.
    pub(super) result_width: usize,
    /// Channels of a result pixel, all groups.
    pub(super) result_channels: usize,
    /// Source channels that a result channel depends on.
    pub(super) depth: usize,
    /// Taps in a row of the panels.
    pub(super) across: usize,
    /// Distance between the rows of a weight panel.
    pub(super) panel_width: usize,
}

/// Pixels of the result that see the same taps: rows of one image, and what each of them sums.
pub(super) struct Class {
    pub(super) rows: Vec<Row>,
    pub(super) runs: Runs,
}

/// The classes of an image.
pub(super) fn of_image(layout: &Layout, ys: &[AxisClass], xs: &[AxisClass]) -> Vec<Class> {
    let mut classes = Vec::with_capacity(ys.len() * xs.len());
    for y in ys {
        for x in xs {
            let mut runs = Runs::default();
            for (ky, dy) in &y.taps {
                for (kx, dx) in &x.taps {
                    runs.push(Run {
                        a: (dy * layout.source_width + dx) * layout.source_channels,
                        a_step: 1,
                        b: (ky * layout.across + kx) * layout.depth * layout.panel_width,
                        b_step: layout.panel_width,
                        len: layout.depth,
                    });
                }
            }
            let pixels = y
                .places
                .iter()
                .flat_map(|from_y| x.places.iter().map(move |from_x| (*from_y, *from_x)));
            let rows = pixels.map(|((y, source_y), (x, source_x))| Row {
                a: (source_y * layout.source_width + source_x) * layout.source_channels,
                c: (y * layout.result_width + x) * layout.result_channels,
            });
            classes.push(Class {
                rows: rows.collect(),
                runs,
            });
        }
    }
    classes
}
