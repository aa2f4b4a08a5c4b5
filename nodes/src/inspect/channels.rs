//! Filters of the first layer, and for some channels of each stage: the images and patches that excite them most, where, and an image that excites them
//! more (Yosinski et al. 2015, 1506.06579).

use flow_engine::figure::{Figure, Picture, Pictures};
use flow_learn::inside::{Ascent, Channel, Stages, maximise, means};
use flow_learn::layers::{FeatureMap, MapShape};
use flow_learn::state::StateDict;

use super::{Metrics, Seen};
use crate::show::picture::{of_values, picture};

/// Images and patches that are shown of a channel.
const SHOWN: usize = 9;
/// Filters that are shown, at most.
const FILTERS: usize = 64;
/// Activation maps that are shown of a channel.
const MAPS: usize = 3;

/// Figures, and how much more the made images excite their channels than the best real ones do: `gain.least` and `gain.mean`.
pub(super) fn figures(seen: &mut Seen<'_>, channels: usize) -> (Vec<Figure>, Metrics) {
    let mut figures: Vec<Figure> = filters(seen).into_iter().collect();
    let shape = seen.augmenter.input().shape;
    let mut values = vec![0.0; seen.places.len() * shape.len()];
    let Ok(samples) = seen.data.split(seen.split) else {
        return (figures, Metrics::new());
    };
    seen.augmenter.plain_batch(samples, seen.places, &mut values);
    let Some(mut stages) = seen.encoder.inside() else {
        return (figures, Metrics::new());
    };
    let look = Look {
        augmenter: seen.augmenter,
        images: seen.images,
        places: seen.places,
        values: &values,
        shape,
    };
    let mut gains = Vec::new();
    let mut groups = Vec::new();
    for (depth, name) in stages.names() {
        let map = stages.maps(values.clone(), depth);
        for channel in liveliest(&map, channels) {
            let (pictures, gain) = look.at(&mut stages, &map, Channel { depth, channel });
            gains.extend(gain);
            groups.push((format!("{name}, channel {channel}"), pictures));
        }
    }
    let mut metrics = Metrics::new();
    if !gains.is_empty() {
        metrics.insert("gain.least".into(), gains.iter().copied().fold(f64::INFINITY, f64::min));
        metrics.insert("gain.mean".into(), gains.iter().sum::<f64>() / gains.len() as f64);
        figures.push(Figure::Pictures(Pictures {
            title: "What excites its channels".into(),
            note: "First an image made by gradient ascent with a prior (L2 decay, blur: Yosinski et al. 2015), with how much more it excites the channel \
                   than the best real image, from which it began; its contrast is stretched. Then the images that excite the channel most, with its mean \
                   activation, the patch of each where it is strongest, and where it is active in the first of them."
                .into(),
            groups,
        }));
    }
    (figures, metrics)
}

/// The channels whose means vary most over images, for their size: others say the same of all images.
fn liveliest(map: &FeatureMap, count: usize) -> Vec<usize> {
    let spread = |channel: usize| {
        let all = means(map, channel);
        let mean = all.iter().sum::<f32>() / all.len().max(1) as f32;
        all.iter().map(|v| (v - mean).powi(2)).sum::<f32>()
    };
    let mut channels: Vec<(f32, usize)> = (0..map.shape.c).map(|channel| (spread(channel), channel)).collect();
    channels.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut found: Vec<usize> = channels
        .into_iter()
        .take(count)
        .filter(|(spread, _)| *spread > 0.0)
        .map(|(_, channel)| channel)
        .collect();
    found.sort_unstable();
    found
}

/// What channels are held against.
struct Look<'a> {
    augmenter: &'a flow_learn::augment::Augmenter,
    images: &'a flow_learn::data::Images,
    places: &'a [u32],
    /// All images, normalised.
    values: &'a [f32],
    shape: MapShape,
}

impl Look<'_> {
    fn at(&self, stages: &mut Stages<'_>, map: &FeatureMap, channel: Channel) -> (Vec<Picture>, Option<f64>) {
        let excited = means(map, channel.channel);
        let mut order: Vec<usize> = (0..excited.len()).collect();
        order.sort_by(|a, b| excited[*b].total_cmp(&excited[*a]).then(a.cmp(b)));
        order.truncate(SHOWN);
        let mut pictures = Vec::new();
        let mut gain = None;
        if let Some(best) = order.first().copied().filter(|best| excited[*best] > 0.0) {
            let start = &self.values[best * self.shape.len()..][..self.shape.len()];
            let (made, reached) = maximise(stages, channel, start, &Ascent::default());
            let times = f64::from(reached / excited[best]);
            gain = Some(times);
            let alt = format!(
                "an image made to excite channel {}, {times:.0} times as much as the best real one",
                channel.channel
            );
            pictures.extend(of_values(
                &stretched(&made),
                self.shape,
                format!("made: {times:.0} x"),
                alt,
            ));
        }
        for i in &order {
            let alt = format!("image {}, mean activation {:.2}", self.places[*i], excited[*i]);
            pictures.extend(picture(
                self.images,
                self.places[*i] as usize,
                format!("{:.2}", excited[*i]),
                alt,
            ));
        }
        for i in &order {
            pictures.extend(self.patch(map, *i, channel.channel));
        }
        for i in order.iter().take(MAPS) {
            pictures.extend(activation(map, *i, channel.channel, self.places[*i]));
        }
        (pictures, gain)
    }

    /// The part of an image around the place where a channel is strongest: a third of each side.
    fn patch(&self, map: &FeatureMap, image: usize, channel: usize) -> Option<Picture> {
        let (own, shape) = (one(map, image), map.shape);
        let place =
            (0..shape.h * shape.w).max_by(|a, b| own[a * shape.c + channel].total_cmp(&own[b * shape.c + channel]))?;
        let MapShape { h, w, c } = self.shape;
        let (side_h, side_w) = ((h / 3).max(5).min(h), (w / 3).max(5).min(w));
        let begin = |place: usize, of: usize, whole: usize, side: usize| {
            let middle = (2 * place + 1) * whole / (2 * of);
            middle.saturating_sub(side / 2).min(whole - side)
        };
        let (top, left) = (
            begin(place / shape.w, shape.h, h, side_h),
            begin(place % shape.w, shape.w, w, side_w),
        );
        let mut whole = self.values[image * self.shape.len()..][..self.shape.len()].to_vec();
        self.augmenter.denormalize(&mut whole);
        let rows =
            (top..top + side_h).flat_map(|y| whole[(y * w + left) * c..(y * w + left + side_w) * c].iter().copied());
        let part: Vec<f32> = rows.collect();
        let shape = MapShape {
            h: side_h,
            w: side_w,
            c,
        };
        of_values(
            &part,
            shape,
            "patch".into(),
            format!("the patch of image {} that excites it most", self.places[image]),
        )
    }
}

fn one(map: &FeatureMap, image: usize) -> &[f32] {
    &map.data[image * map.shape.len()..][..map.shape.len()]
}

/// Where a channel is active in an image: white is most.
fn activation(map: &FeatureMap, image: usize, channel: usize, place: u32) -> Option<Picture> {
    let values: Vec<f32> = one(map, image)
        .iter()
        .skip(channel)
        .step_by(map.shape.c)
        .copied()
        .collect();
    let shape = MapShape {
        h: map.shape.h,
        w: map.shape.w,
        c: 1,
    };
    of_values(
        &stretched(&values),
        shape,
        "where".into(),
        format!("where the channel is active in image {place}"),
    )
}

/// The filters of the first convolution over pixels, contrast stretched.
fn filters(seen: &mut Seen<'_>) -> Option<Figure> {
    let channels = seen.augmenter.input().shape.c;
    let state = StateDict::of(seen.encoder, "");
    let of_pixels = |shape: &[usize]| matches!(shape, [_, c, h, w] if *c == channels && *h > 1 && *w > 1);
    let (name, weights) = state.tensors.iter().find(|(_, tensor)| of_pixels(&tensor.shape))?;
    let [count, c, h, w] = weights.shape[..] else {
        return None;
    };
    let shape = MapShape { h, w, c };
    let picture = |(i, filter): (usize, &[f32])| {
        // PyTorch's order is channel first.
        let values: Vec<f32> = (0..h * w)
            .flat_map(|place| (0..c).map(move |k| filter[k * h * w + place]))
            .collect();
        of_values(
            &stretched(&values),
            shape,
            i.to_string(),
            format!("filter {i}, {h} by {w}"),
        )
    };
    let pictures = weights
        .data
        .chunks_exact(c * h * w)
        .enumerate()
        .take(FILTERS)
        .filter_map(picture);
    Some(Figure::Pictures(Pictures {
        title: "Filters of the first layer".into(),
        note: "What each channel of the first convolution looks for, contrast stretched.".into(),
        groups: vec![(format!("{name}: {count} filters of {h} by {w}"), pictures.collect())],
    }))
}

/// Values so that the least is 0 and the most 1.
fn stretched(values: &[f32]) -> Vec<f32> {
    let (low, high) = values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let width = if high > low { high - low } else { 1.0 };
    values.iter().map(|v| (v - low) / width).collect()
}
