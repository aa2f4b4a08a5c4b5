//! Two neighbouring pixels of a result as one of twice the channels: few channels leave a tile's columns half empty, and both pixels see nearly the
//! same sources. A source that only one of them sees has weights of zero for the other, so that every value stays the sum that
//! it was as long as sources are finite.

use super::super::tile;

/// What the pixels 2 i and 2 i + 1 of a row see together.
pub(super) struct SideBySide {
    /// The stored tap of either pixel at each of the sources, in their order.
    taps: Vec<[Option<usize>; 2]>,
    /// The first source of the first two pixels, inside the image or not, and how far it moves from two pixels to the next.
    first: isize,
    step: isize,
}

impl SideBySide {
    /// None where it would not be faster: of a row of `width` pixels of `channels` channels, with `taps` stored taps, of which one lies at
    /// `source(pixel, tap)` if the pixel has it.
    pub(super) fn new(
        width: usize,
        channels: usize,
        taps: usize,
        source: impl Fn(usize, usize) -> Option<isize>,
    ) -> Option<Self> {
        if 2 * channels > tile::columns() || !width.is_multiple_of(2) {
            return None;
        }
        let seen = [0, 1].map(|pixel| {
            (0..taps)
                .filter_map(|tap| Some((source(pixel, tap)?, tap)))
                .collect::<Vec<_>>()
        });
        let sources = || seen.iter().flatten().map(|(at, _)| *at);
        let (first, last) = (sources().min()?, sources().max()?);
        let (at, tap) = *seen[0].first()?;
        let step = source(2, tap)? - at;
        let tap_at = |pixel: usize, at: isize| {
            seen[pixel]
                .iter()
                .find(|(source, _)| *source == at)
                .map(|(_, tap)| *tap)
        };
        let together: Vec<_> = (first..=last).map(|at| [tap_at(0, at), tap_at(1, at)]).collect();
        // A tile of twice the columns takes some 1.4 times as long.
        let products = seen[0].len() + seen[1].len();
        (4 * together.len() <= 3 * products).then_some(Self {
            taps: together,
            first,
            step,
        })
    }

    /// Sources that two pixels see.
    pub(super) fn across(&self) -> usize {
        self.taps.len()
    }

    /// Those of the pixels 2 `at` and 2 `at` + 1 that are inside an image of such a width, with their places in [`SideBySide::weights`].
    pub(super) fn meets(&self, at: usize, width: usize) -> Vec<(usize, usize)> {
        let first = self.first + self.step * at as isize;
        let inside = |place: usize| {
            usize::try_from(first + place as isize)
                .ok()
                .filter(|source| *source < width)
        };
        (0..self.across())
            .filter_map(|place| Some((place, inside(place)?)))
            .collect()
    }

    /// `[rows of taps][taps][depth][channels]` as `[rows of taps][sources][depth][2 channels]`.
    pub(super) fn weights(&self, weight: &[f32], taps: usize, depth: usize, channels: usize) -> Vec<f32> {
        let len = depth * channels;
        let mut doubled = vec![0.0; weight.len() / taps * self.across() * 2];
        let rows = weight
            .chunks_exact(taps * len)
            .zip(doubled.chunks_exact_mut(self.across() * 2 * len));
        for (row, doubled) in rows {
            for (of_source, doubled) in self.taps.iter().zip(doubled.chunks_exact_mut(2 * len)) {
                for (pixel, tap) in of_source.iter().enumerate() {
                    let Some(tap) = tap else { continue };
                    let from = row[tap * len..][..len].chunks_exact(channels);
                    let to = doubled.chunks_exact_mut(2 * channels);
                    from.zip(to)
                        .for_each(|(from, to)| to[pixel * channels..][..channels].copy_from_slice(from));
                }
            }
        }
        doubled
    }
}
