//! A feature pyramid on a backbone's coarser maps, and what looks at it: two convolutions and one for the values, shared by all maps; each map has norms of its
//! own, as what lies on them differs.

use super::OTHERS;
use crate::layers::{
    BatchNorm, Conv2d, ConvNorm, ConvSettings, Entry, FeatureMap, Layer, MapShape, NormSettings, Pass, Role, Tensors,
    Upsample, join,
};
use crate::rng::Stream;
use crate::settings::SettingError;
use crate::tasks::{Frame, Head};

/// The most channels of the pyramid.
const WIDEST: usize = 64;
/// The most maps.
const MAPS: usize = 3;
/// Convolutions before the values.
const DEPTH: usize = 2;
/// How likely a thing is at a place before anything is learnt: rare, or the many places without would drown the rest (1708.02002, section 3.3).
const PRIOR: f32 = 0.01;
/// Of the values' weights: small, so that reaches begin near their map's size.
const SPREAD: f32 = 0.01;

/// The pyramid and what looks at it.
pub(super) struct Pyramid {
    /// Of the backbone's maps, the number of those that are too fine.
    skipped: usize,
    /// Finest first.
    laterals: Vec<ConvNorm>,
    enlarge: Upsample,
    tower: Vec<Conv2d>,
    /// `[map][convolution]`.
    norms: Vec<Vec<BatchNorm>>,
    values: Conv2d,
    maps: Vec<[usize; 2]>,
    width: usize,
}

impl Pyramid {
    pub(super) fn new(frame: &Frame, stages: &[MapShape], stream: &mut Stream) -> Result<Self, SettingError> {
        let coarse: Vec<&MapShape> = stages.iter().filter(|stage| stage.h < frame.height).collect();
        let used = &coarse[coarse.len().saturating_sub(MAPS)..];
        let Some(last) = used.last() else {
            let message = "detection needs a backbone of convolutions with maps that are smaller than the image";
            return Err(SettingError::new("backbone", message));
        };
        let halves = used
            .windows(2)
            .all(|pair| (pair[0].h, pair[0].w) == (2 * pair[1].h, 2 * pair[1].w));
        let strides = used
            .iter()
            .all(|map| frame.height.is_multiple_of(map.h) && frame.width * map.h == frame.height * map.w);
        if !(halves && strides) {
            let (h, w) = (frame.height, frame.width);
            let multiple = (frame.height / last.h.max(1)).next_power_of_two();
            let message = format!(
                "its maps of {h}x{w} images do not halve exactly: expected sides that are multiples of {multiple}"
            );
            return Err(SettingError::new("backbone", message));
        }
        let channels = last.c.min(WIDEST);
        let width = frame.classes + OTHERS;
        let conv = |to: usize, bias: bool, stream: &mut Stream| {
            Conv2d::new(ConvSettings::three(channels, to, 1), bias, stream)
        };
        let lateral = |map: &&MapShape| {
            let settings = ConvSettings::one(map.c, channels, 1);
            ConvNorm::new(settings, false, ("conv", "norm"), stream)
        };
        let laterals: Vec<ConvNorm> = used.iter().map(lateral).collect();
        let norm = |_| BatchNorm::new(channels, true, NormSettings::default());
        let mut pyramid = Self {
            skipped: stages.len() - used.len(),
            enlarge: Upsample { factor: 2 },
            tower: (0..DEPTH).map(|_| conv(channels, false, stream)).collect(),
            norms: used.iter().map(|_| (0..DEPTH).map(norm).collect()).collect(),
            values: conv(width, true, stream),
            maps: used.iter().map(|map| [map.h, map.w]).collect(),
            laterals,
            width,
        };
        begin(&mut pyramid.values, frame.classes, stream);
        Ok(pyramid)
    }
}

/// The first weights and biases of the values.
fn begin(values: &mut Conv2d, classes: usize, stream: &mut Stream) {
    let mut entries = Vec::new();
    values.entries("", &mut entries);
    for entry in entries {
        match entry.role {
            Role::Weight => entry
                .value
                .iter_mut()
                .for_each(|value| *value = SPREAD * stream.normal()),
            _ => entry.value[..classes].fill(-((1.0 - PRIOR) / PRIOR).ln()),
        }
    }
}

impl Head for Pyramid {
    fn maps(&self) -> Vec<[usize; 2]> {
        self.maps.clone()
    }

    fn forward(&mut self, stages: Vec<FeatureMap>, pass: &mut Pass) -> FeatureMap {
        let device = pass.device();
        let mut pyramid: Vec<FeatureMap> = Vec::new();
        // The coarsest first: what is coarse is added to what is finer.
        for (stage, lateral) in stages.into_iter().skip(self.skipped).zip(&mut self.laterals).rev() {
            let mut map = lateral.forward(stage, pass);
            if let Some(coarser) = pyramid.last() {
                let above = self.enlarge.forward(coarser.clone(), pass);
                device.add(&mut map.data, &above.data);
            }
            pyramid.push(map);
        }
        let n = pyramid.first().map_or(0, |map| map.n);
        let places: usize = self.maps.iter().map(|[h, w]| h * w).sum();
        let shape = MapShape {
            h: places,
            w: 1,
            c: self.width,
        };
        let mut all = pass.map(n, shape);
        let mut from = 0;
        for (mut map, norms) in pyramid.into_iter().rev().zip(&mut self.norms) {
            for (conv, norm) in self.tower.iter_mut().zip(norms) {
                map = conv.forward(map, pass);
                map = norm.forward(map, pass);
            }
            let map = self.values.forward(map, pass);
            let len = map.shape.len();
            for (to, image) in all.data.chunks_exact_mut(shape.len()).zip(map.data.chunks_exact(len)) {
                to[from..from + len].copy_from_slice(image);
            }
            from += len;
        }
        all
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass) -> Vec<Option<FeatureMap>> {
        let (wanted, device) = ("BUG: a gradient was asked for", pass.device());
        let mut pyramid: Vec<FeatureMap> = Vec::new();
        let mut end = dy.shape.len();
        for ([h, w], norms) in self.maps.iter().zip(&mut self.norms).rev() {
            let shape = MapShape {
                h: *h,
                w: *w,
                c: self.width,
            };
            let mut own = pass.map(dy.n, shape);
            let images = own
                .data
                .chunks_exact_mut(shape.len())
                .zip(dy.data.chunks_exact(dy.shape.len()));
            images.for_each(|(to, image)| to.copy_from_slice(&image[end - shape.len()..end]));
            end -= shape.len();
            let mut map = self.values.backward(own, pass, true).expect(wanted);
            for (conv, norm) in self.tower.iter_mut().zip(norms).rev() {
                map = norm.backward(map, pass, true).expect(wanted);
                map = conv.backward(map, pass, true).expect(wanted);
            }
            pyramid.push(map);
        }
        let mut gradients: Vec<Option<FeatureMap>> = (0..self.skipped).map(|_| None).collect();
        // The finest first: what it was given from above goes back there.
        for lateral in &mut self.laterals {
            let own = pyramid.pop().expect("BUG: a gradient for each map");
            if let Some(coarser) = pyramid.last_mut() {
                let above = self.enlarge.backward(own.clone(), pass, true).expect(wanted);
                device.add(&mut coarser.data, &above.data);
            }
            gradients.push(lateral.backward(own, pass, true));
        }
        gradients
    }
}

impl Tensors for Pyramid {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        for (i, lateral) in self.laterals.iter_mut().enumerate() {
            lateral.entries(&join(prefix, &format!("laterals.{i}")), out);
        }
        for (i, conv) in self.tower.iter_mut().enumerate() {
            conv.entries(&join(prefix, &format!("tower.{i}")), out);
        }
        for (map, norms) in self.norms.iter_mut().enumerate() {
            for (i, norm) in norms.iter_mut().enumerate() {
                norm.entries(&join(prefix, &format!("norms.{map}.{i}")), out);
            }
        }
        self.values.entries(&join(prefix, "values"), out);
    }
}
