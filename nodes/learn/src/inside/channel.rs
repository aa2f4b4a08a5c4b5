//! Channels of a convolutional network: what they make of images, and which image they would have most of.

use std::sync::Arc;

use crate::layers::{BufferPool, FeatureMap, MapShape, Mode, Pass, Sequential};

/// The stages of a convolutional encoder, from the image to what is pooled.
pub struct Stages<'a> {
    network: &'a mut Sequential,
    /// Of the images.
    input: MapShape,
}

/// A channel of what a stage makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// How many layers lie before it: 1 is behind the first.
    pub depth: usize,
    /// Which one.
    pub channel: usize,
}

/// How an image is made that excites a channel (Yosinski et al. 2015, 1506.06579): gradient ascent with a prior, L2 decay and Gaussian blur.
#[derive(Clone, Copy, Debug)]
pub struct Ascent {
    /// Steps.
    pub steps: usize,
    /// Of a step, in standard deviations of the images' pixels: the mean change of a pixel.
    pub rate: f32,
    /// The share of each pixel that is lost in a step.
    pub decay: f32,
    /// After so many steps the image is blurred a little.
    pub blur_every: usize,
}

impl Default for Ascent {
    fn default() -> Self {
        Self {
            steps: 240,
            rate: 0.1,
            decay: 0.005,
            blur_every: 4,
        }
    }
}

impl<'a> Stages<'a> {
    pub(crate) fn new(network: &'a mut Sequential, input: MapShape) -> Self {
        Self { network, input }
    }

    /// Names of the stages whose output is a map with more than one place, with their depths.
    pub fn names(&self) -> Vec<(usize, String)> {
        let mut shape = self.input;
        let mut names = Vec::new();
        for (depth, (name, layer)) in self.network.layers().enumerate() {
            shape = layer.output_shape(shape);
            if !name.is_empty() && shape.h > 1 && shape.w > 1 {
                names.push((depth + 1, name.to_owned()));
            }
        }
        names
    }

    /// What the first `depth` layers make of images, `[n][h][w][c]` and normalised.
    pub fn maps(&mut self, images: Vec<f32>, depth: usize) -> FeatureMap {
        let pool: Arc<BufferPool> = Arc::default();
        let n = images.len() / self.input.len().max(1);
        let x = FeatureMap::new(n, self.input, images);
        self.network.forward_until(depth, x, &mut Pass::inference(&pool))
    }
}

/// The mean over all places of a channel, of each image of a map.
pub fn means(map: &FeatureMap, channel: usize) -> Vec<f32> {
    let (c, places) = (map.shape.c, (map.shape.h * map.shape.w).max(1));
    let of_image = |image: &[f32]| image.iter().skip(channel).step_by(c).sum::<f32>() / places as f32;
    map.data.chunks_exact(map.shape.len()).map(of_image).collect()
}

/// An image that excites a channel, from one that does so a little: the image, `[h][w][c]`, and the mean of the channel over it. Of a channel that
/// nothing excites it is the image that it began with.
pub fn maximise(stages: &mut Stages<'_>, channel: Channel, start: &[f32], how: &Ascent) -> (Vec<f32>, f32) {
    let pool: Arc<BufferPool> = Arc::default();
    let mut image = start.to_vec();
    let (mut best, mut reached) = (image.clone(), f32::NEG_INFINITY);
    for step in 0..=how.steps {
        let mut pass = Pass::recording(Mode::Eval, &pool);
        let x = FeatureMap::new(1, stages.input, image.clone());
        let y = stages.network.forward_until(channel.depth, x, &mut pass);
        let excited = means(&y, channel.channel)[0];
        if excited > reached {
            (best, reached) = (image.clone(), excited);
        }
        let (shape, places) = (y.shape, y.shape.h * y.shape.w);
        let mut dy = vec![0.0; shape.len()];
        dy.iter_mut()
            .skip(channel.channel)
            .step_by(shape.c)
            .for_each(|v| *v = 1.0 / places as f32);
        let dy = FeatureMap::new(1, shape, dy);
        let Some(gradient) = stages.network.backward_below(channel.depth, dy, &mut pass) else {
            break;
        };
        let size = gradient.data.iter().map(|g| g.abs()).sum::<f32>() / gradient.data.len() as f32;
        if size <= 0.0 || !size.is_finite() {
            break;
        }
        for (v, g) in image.iter_mut().zip(gradient.data.iter()) {
            *v = (1.0 - how.decay) * (*v + how.rate * g / size);
        }
        if (step + 1) % how.blur_every == 0 {
            blur(&mut image, stages.input);
        }
    }
    (best, reached)
}

/// A little: each pixel takes an eighth from both neighbours, in either direction.
fn blur(image: &mut [f32], shape: MapShape) {
    let MapShape { h, w, c } = shape;
    for (stride, along) in [(w * c, false), (c, true)] {
        let source = image.to_vec();
        for y in 0..h {
            for x in 0..w {
                let (at, end) = if along { (x, w) } else { (y, h) };
                for k in 0..c {
                    let place = (y * w + x) * c + k;
                    let before = if at > 0 { source[place - stride] } else { source[place] };
                    let after = if at + 1 < end {
                        source[place + stride]
                    } else {
                        source[place]
                    };
                    image[place] = 0.75 * source[place] + 0.125 * (before + after);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbones::BackboneSettings;
    use crate::rng::Stream;

    #[test]
    fn ascent_excites_a_channel_fivefold_over_where_it_began() {
        let shape = MapShape { h: 16, w: 16, c: 1 };
        let settings = BackboneSettings {
            widths: vec![8, 8, 8],
            ..BackboneSettings::named("conv3")
        };
        let mut encoder = settings.build(shape, &Stream::new(3, "net")).unwrap();
        let mut stream = Stream::new(4, "image");
        let images: Vec<f32> = (0..20 * shape.len()).map(|_| stream.normal()).collect();
        let mut stages = encoder.inside().unwrap();
        assert_eq!(stages.names().len(), 3);
        for (depth, _) in stages.names() {
            let map = stages.maps(images.clone(), depth);
            let channel = Channel { depth, channel: 2 };
            let means = means(&map, channel.channel);
            let best = (0..20).max_by(|a, b| means[*a].total_cmp(&means[*b])).unwrap();
            let start = &images[best * shape.len()..][..shape.len()];
            let (_, reached) = maximise(&mut stages, channel, start, &Ascent::default());
            assert!(
                reached > 5.0 * means[best],
                "{reached} from {} at depth {depth}",
                means[best]
            );
        }
    }
}
