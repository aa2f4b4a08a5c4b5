//! A procedural colour data set: textured shapes on cluttered backgrounds, with labels, boxes and masks.
//!
//! It tests what gray garments cannot: texture, position, background and, unless asked for otherwise, colour vary independently of the
//! class, which is the shape alone. Image `i` of a seed is the same however many are made, and each is supersampled 3x3.

use std::f32::consts::TAU;
use std::ops::Range;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Annotations, Images, Label, Located, Object};
use crate::image::of_hue;
use crate::rng::Stream;

/// Names of the classes.
pub const SCENE_CLASSES: [&str; 10] = [
    "circle", "square", "triangle", "star", "ring", "cross", "crescent", "heart", "hexagon", "bar",
];

/// Samples per pixel and axis.
const SAMPLES: usize = 3;

/// Which scenes to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scenes {
    /// Images.
    pub n: usize,
    /// Height and width in pixels, at least 16.
    pub side: usize,
    /// Decides everything else.
    pub seed: u64,
    /// How wild they are.
    pub style: SceneStyle,
}

/// How much scenes vary. What is left out is such that a plain network of four convolutions learns from 4,000 images of 32 pixels to tell some six in ten
/// others right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SceneStyle {
    /// Largest angle that a shape is turned by, either way, in degrees from 0 to 180.
    pub turn: f32,
    /// Fewest and most things that lie about behind the shape, at most 100.
    pub clutter: [usize; 2],
    /// Smallest and largest radius of the shape, as a share of the image's side, from 0.1 to 0.5.
    pub size: [f32; 2],
    /// How far the two colours of a texture lie apart at most in each channel, from 0 to 1.
    pub contrast: f32,
    /// Share of the shapes whose hue goes with their class, as that of things in photographs does; from 0 to 1. The others have any.
    pub typical: f32,
    /// Fewest and most shapes of an image, from 1 to 20; there are fewer where no room is left. The one in front gives the image its class.
    #[serde(skip_serializing_if = "is_one")]
    pub objects: [usize; 2],
}

fn is_one(objects: &[usize; 2]) -> bool {
    *objects == [1, 1]
}

impl Default for SceneStyle {
    fn default() -> Self {
        Self {
            turn: 30.0,
            clutter: [0, 3],
            size: [0.25, 0.42],
            contrast: 0.25,
            typical: 0.0,
            objects: [1, 1],
        }
    }
}

impl SceneStyle {
    /// Upright, large shapes on quiet ground: what tasks about layout and colour learn from with a few thousand images of 32 pixels.
    pub const CALM: Self = Self {
        turn: 20.0,
        clutter: [0, 0],
        size: [0.3, 0.42],
        contrast: 0.2,
        typical: 0.0,
        objects: [1, 1],
    };

    /// The first setting that is out of range, and what was found and expected.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let within = |low: f32, v: f32, high: f32| (low..=high).contains(&v);
        let number = |name, v: f32, high: f32| {
            (!within(0.0, v, high)).then(|| (name, format!("{v} found, expected a number from 0 to {high}")))
        };
        let clutter = || {
            let [fewest, most] = self.clutter;
            let message = format!("[{fewest}, {most}] found, expected the fewest and the most things, at most 100");
            (fewest > most || most > 100).then_some(("clutter", message))
        };
        let objects = || {
            let [fewest, most] = self.objects;
            let message = format!("[{fewest}, {most}] found, expected the fewest and the most shapes, from 1 to 20");
            (fewest == 0 || fewest > most || most > 20).then_some(("objects", message))
        };
        let size = || {
            let [least, most] = self.size;
            let fits = within(0.1, least, most) && within(least, most, 0.5);
            let message =
                format!("[{least}, {most}] found, expected the smallest and the largest radius, from 0.1 to 0.5");
            (!fits).then_some(("size", message))
        };
        number("turn", self.turn, 180.0)
            .or_else(clutter)
            .or_else(size)
            .or_else(objects)
            .or_else(|| number("contrast", self.contrast, 1.0))
            .or_else(|| number("typical", self.typical, 1.0))
    }
}

/// One scene with what is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// `[side][side][3]`.
    pub pixels: Vec<u8>,
    /// Class of the shape in front.
    pub label: u16,
    /// The visible shapes, that in front first; in the mask a pixel is of the shape that covers most of it.
    pub located: Located,
}

impl Scenes {
    /// One scene. Classes take turns.
    pub fn scene(&self, i: usize) -> Scene {
        let class = i % SCENE_CLASSES.len();
        let mut stream = Stream::new(self.seed, "scenes").index(i as u64);
        Painter::new(class, &self.style, &mut stream).paint(self.side)
    }

    /// All scenes as labelled images, and where the shapes are.
    pub fn images(&self) -> (Images, Annotations) {
        self.some(0..self.n)
    }

    /// Some of them.
    pub fn some(&self, which: Range<usize>) -> (Images, Annotations) {
        let scenes: Vec<Scene> = which.into_par_iter().map(|i| self.scene(i)).collect();
        let labels: Vec<Label> = scenes.iter().map(|s| Some(s.label)).collect();
        let pixels: Vec<u8> = scenes.iter().flat_map(|s| &s.pixels).copied().collect();
        let located: Vec<Located> = scenes.into_iter().map(|s| s.located).collect();
        let annotations = Annotations::of([self.side; 2], &labels, &located);
        let images =
            Images::partly_labelled(self.side, self.side, 3, pixels, labels).expect("BUG: a label for each scene");
        (images, annotations)
    }
}

type Colour = [f32; 3];

/// A surface: two colours in a pattern.
struct Texture {
    colours: [Colour; 2],
    pattern: usize,
    frequency: f32,
    direction: (f32, f32),
    phase: f32,
}

impl Texture {
    fn new(stream: &mut Stream, contrast: f32) -> Self {
        let base: Colour = std::array::from_fn(|_| stream.range(0.1, 0.9));
        let other = base.map(|v| (v + stream.range(-contrast, contrast)).clamp(0.0, 1.0));
        let angle = stream.range(0.0, TAU);
        Self {
            colours: [base, other],
            pattern: stream.below(5),
            frequency: stream.range(3.0, 9.0),
            direction: (angle.cos(), angle.sin()),
            phase: stream.range(0.0, TAU),
        }
    }

    /// The same pattern and lightness in shades of one hue, as a share of the wheel of hues.
    fn of_hue(self, hue: f32) -> Self {
        let dye = of_hue(hue).map(|v| 0.4 + 1.2 * v);
        let shade = |colour: Colour| {
            let light = colour.iter().sum::<f32>() / 3.0;
            dye.map(|d| (light * d).clamp(0.0, 1.0))
        };
        Self {
            colours: self.colours.map(shade),
            ..self
        }
    }

    /// The colour at a place; the image spans [0, 1] both ways.
    fn at(&self, x: f32, y: f32) -> Colour {
        let (dx, dy) = self.direction;
        let (u, v) = (x * dx + y * dy, y * dx - x * dy);
        let f = self.frequency;
        let wave = |t: f32| 0.5 + 0.5 * (t * f * TAU + self.phase).sin();
        let share = match self.pattern {
            0 => 0.0,
            1 => wave(u).round(),
            2 => (wave(u).round() + wave(v).round()) % 2.0,
            3 => f32::from(u8::from(wave(u) * wave(v) > 0.5)),
            _ => u * 0.5 + 0.5,
        };
        std::array::from_fn(|c| self.colours[0][c] * (1.0 - share) + self.colours[1][c] * share)
    }
}

/// A shape at a place.
struct Figure {
    class: usize,
    x: f32,
    y: f32,
    radius: f32,
    cos: f32,
    sin: f32,
}

impl Figure {
    /// A shape turned by at most `turn` degrees.
    fn new(class: usize, x: f32, y: f32, radius: f32, turn: f32, stream: &mut Stream) -> Self {
        // A heart on its head is still a heart, but a turned square is no diamond of another class, so all may turn freely.
        let angle = stream.range(-turn, turn).to_radians();
        Self {
            class,
            x,
            y,
            radius,
            cos: angle.cos(),
            sin: angle.sin(),
        }
    }

    fn covers(&self, x: f32, y: f32) -> bool {
        let (dx, dy) = ((x - self.x) / self.radius, (y - self.y) / self.radius);
        let (u, v) = (dx * self.cos + dy * self.sin, dy * self.cos - dx * self.sin);
        let r = (u * u + v * v).sqrt();
        // How far a regular polygon reaches in this direction.
        let polygon = |sides: f32| {
            let sector = TAU / sides;
            (sector / 2.0).cos() / ((v.atan2(u).rem_euclid(sector)) - sector / 2.0).cos()
        };
        match self.class {
            0 => r < 0.9,
            1 => u.abs().max(v.abs()) < 0.75,
            2 => r < polygon(3.0) * 1.1,
            3 => {
                let point = (v.atan2(u).rem_euclid(TAU / 5.0) / (TAU / 5.0) - 0.5).abs() * 2.0;
                r < 0.42 + 0.63 * point.powf(1.6)
            }
            4 => (0.52..0.95).contains(&r),
            5 => (u.abs() < 0.3 || v.abs() < 0.3) && u.abs().max(v.abs()) < 0.95,
            6 => r < 0.95 && ((u - 0.45).powi(2) + v * v).sqrt() > 0.75,
            7 => {
                let (hx, hy) = (u * 1.15, -v * 1.15 + 0.15);
                (hx * hx + hy * hy - 0.6).powi(3) < hx * hx * hy.powi(3)
            }
            8 => r < polygon(6.0),
            _ => u.abs() < 1.0 && v.abs() < 0.28,
        }
    }
}

/// Everything in a scene, at no resolution yet.
struct Painter {
    background: [Texture; 2],
    horizon: f32,
    clutter: Vec<([f32; 4], Texture)>,
    /// That in front first.
    shapes: Vec<(Figure, Texture)>,
    light: (f32, f32, f32),
}

/// How often a place is looked for where no other shape is.
const TRIES: usize = 20;

impl Painter {
    fn new(class: usize, style: &SceneStyle, stream: &mut Stream) -> Self {
        let background = [(); 2].map(|()| Texture::new(stream, style.contrast));
        let horizon = stream.range(0.2, 0.8);
        let [fewest, most] = style.clutter;
        let clutter = (0..fewest + stream.below(most - fewest + 1))
            .map(|_| {
                let (x, y) = (stream.uniform(), stream.uniform());
                let (w, h) = (stream.range(0.03, 0.14), stream.range(0.03, 0.14));
                ([x, y, w, h], Texture::new(stream, style.contrast))
            })
            .collect();
        let radius = stream.range(style.size[0], style.size[1]);
        let (x, y) = (stream.range(radius, 1.0 - radius), stream.range(radius, 1.0 - radius));
        let figure = Figure::new(class, x, y, radius, style.turn, stream);
        let mut painter = Self {
            background,
            horizon,
            clutter,
            shapes: Vec::new(),
            light: (0.0, 0.0, 0.0),
        };
        let surface = painter.surface(&figure, style, stream);
        painter.shapes.push((figure, surface));
        let angle = stream.range(0.0, TAU);
        painter.light = (angle.cos() * 0.25, angle.sin() * 0.25, stream.range(0.85, 1.1));
        painter.add_others(style, &mut stream.child("others"));
        painter
    }

    /// Shapes of any class behind the first, where there is room.
    fn add_others(&mut self, style: &SceneStyle, stream: &mut Stream) {
        let [fewest, most] = style.objects;
        let others = fewest + stream.below(most - fewest + 1) - 1;
        for _ in 0..others {
            let (class, radius) = (
                stream.below(SCENE_CLASSES.len()),
                stream.range(style.size[0], style.size[1]),
            );
            let places = (0..TRIES).map(|_| (stream.range(radius, 1.0 - radius), stream.range(radius, 1.0 - radius)));
            let places: Vec<(f32, f32)> = places.collect();
            let is_free = |(x, y): &(f32, f32)| {
                self.shapes
                    .iter()
                    .all(|(other, _)| (x - other.x).hypot(y - other.y) > 0.95 * (radius + other.radius))
            };
            if let Some((x, y)) = places.into_iter().find(is_free) {
                let figure = Figure::new(class, x, y, radius, style.turn, stream);
                let surface = self.surface(&figure, style, stream);
                self.shapes.push((figure, surface));
            }
        }
    }

    /// What a shape is made of: it differs from what lies behind its centre, or nothing could be seen.
    fn surface(&self, figure: &Figure, style: &SceneStyle, stream: &mut Stream) -> Texture {
        let behind = self.background[usize::from(figure.y > self.horizon)].at(figure.x, figure.y);
        loop {
            let surface = Self::any_surface(figure.class, style, stream);
            let pairs = surface.colours[0].iter().zip(behind);
            if pairs.map(|(a, b)| (a - b).abs()).sum::<f32>() >= 0.6 {
                return surface;
            }
        }
    }

    fn any_surface(class: usize, style: &SceneStyle, stream: &mut Stream) -> Texture {
        let any = Texture::new(stream, style.contrast);
        if !stream.bernoulli(style.typical) {
            return any;
        }
        let typical = class as f32 / SCENE_CLASSES.len() as f32;
        any.of_hue((typical + 0.03 * stream.normal()).rem_euclid(1.0))
    }

    /// Colour at a place, and which shape covers it.
    fn at(&self, x: f32, y: f32) -> (Colour, Option<usize>) {
        let shape = self.shapes.iter().position(|(figure, _)| figure.covers(x, y));
        let colour = if let Some(shape) = shape {
            self.shapes[shape].1.at(x, y)
        } else {
            let inside = |[cx, cy, w, h]: &[f32; 4]| (x - cx).abs() < *w && (y - cy).abs() < *h;
            match self.clutter.iter().rev().find(|(place, _)| inside(place)) {
                Some((_, texture)) => texture.at(x, y),
                None => self.background[usize::from(y > self.horizon)].at(x, y),
            }
        };
        let light = self.light.2 + self.light.0 * (x - 0.5) + self.light.1 * (y - 0.5);
        (colour.map(|v| (v * light).clamp(0.0, 1.0)), shape)
    }

    fn paint(&self, side: usize) -> Scene {
        let mut pixels = Vec::with_capacity(side * side * 3);
        let mut mask = vec![0u8; side * side];
        let object = |(figure, _): &(Figure, Texture)| Object {
            class: figure.class as u16,
            bounds: [side as f32, side as f32, 0.0, 0.0],
            area: 0.0,
            ignore: false,
            sure: 1.0,
        };
        let mut objects: Vec<Object> = self.shapes.iter().map(object).collect();
        for py in 0..side {
            for px in 0..side {
                let (mut sum, mut hits) = ([0.0f32; 3], vec![0; objects.len()]);
                for s in 0..SAMPLES * SAMPLES {
                    let place = |p: usize, s: usize| (p as f32 + (s as f32 + 0.5) / SAMPLES as f32) / side as f32;
                    let (colour, shape) = self.at(place(px, s % SAMPLES), place(py, s / SAMPLES));
                    sum.iter_mut().zip(colour).for_each(|(s, v)| *s += v);
                    shape.iter().for_each(|shape| hits[*shape] += 1);
                }
                let samples = (SAMPLES * SAMPLES) as f32;
                pixels.extend(sum.map(|v| (v / samples * 255.0).round() as u8));
                if let Some(shape) = hits.iter().position(|hits| hits * 2 > SAMPLES * SAMPLES) {
                    let object = &mut objects[shape];
                    mask[py * side + px] = object.class as u8 + 1;
                    object.area += 1.0;
                    let (x, y) = (px as f32, py as f32);
                    let [left, top, right, bottom] = object.bounds;
                    object.bounds = [left.min(x), top.min(y), right.max(x + 1.0), bottom.max(y + 1.0)];
                }
            }
        }
        let label = objects[0].class;
        objects.retain(|object| object.area > 0.0);
        Scene {
            pixels,
            label,
            located: Located {
                mask,
                objects,
                ..Located::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenes_depend_on_seed_and_place_only() {
        let few = Scenes {
            n: 12,
            side: 32,
            seed: 3,
            style: SceneStyle::default(),
        }
        .images()
        .0;
        let many = Scenes {
            n: 25,
            side: 32,
            seed: 3,
            style: SceneStyle::default(),
        }
        .images()
        .0;
        assert_eq!(few.pixels()[..], many.pixels()[..few.pixels().len()]);
        assert_ne!(
            few.pixels(),
            Scenes {
                n: 12,
                side: 32,
                seed: 4,
                style: SceneStyle::default()
            }
            .images()
            .0
            .pixels()
        );
    }

    #[test]
    fn calm_scenes_stand_upright_on_quiet_ground_and_typical_ones_have_the_hue_of_their_class() {
        let style = SceneStyle {
            typical: 1.0,
            ..SceneStyle::CALM
        };
        let scenes = Scenes {
            n: 200,
            side: 32,
            seed: 2,
            style,
        };
        // A square, class 1, has its hue of 36 degrees: more red than green, more green than blue.
        for i in (1..200).step_by(10) {
            let scene = scenes.scene(i);
            let shown = scene
                .pixels
                .chunks_exact(3)
                .zip(&scene.located.mask)
                .filter(|(_, m)| **m > 0);
            let mut sums = [0u32; 3];
            shown.for_each(|(p, _)| sums.iter_mut().zip(p).for_each(|(s, v)| *s += u32::from(*v)));
            assert!(sums[0] > sums[1] && sums[1] > sums[2], "scene {i}: {sums:?}");
        }
        // The tip of a heart, class 7, is below its middle.
        for i in (7..200).step_by(10) {
            let scene = scenes.scene(i);
            let rows: Vec<usize> = scene
                .located
                .mask
                .chunks_exact(32)
                .map(|row| row.iter().filter(|m| **m > 0).count())
                .collect();
            let shown: Vec<usize> = (0..32).filter(|r| rows[*r] > 0).collect();
            let (upper, lower) = shown.split_at(shown.len() / 2);
            let width = |part: &[usize]| part.iter().map(|r| rows[*r]).sum::<usize>() * shown.len() / part.len();
            assert!(width(upper) > width(lower), "scene {i}: {rows:?}");
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let style = SceneStyle::default();
        assert_eq!(style.fault(), None);
        assert_eq!(SceneStyle::CALM.fault(), None);
        let faults = [
            ("turn", SceneStyle { turn: 181.0, ..style }),
            (
                "turn",
                SceneStyle {
                    turn: f32::NAN,
                    ..style
                },
            ),
            (
                "clutter",
                SceneStyle {
                    clutter: [3, 2],
                    ..style
                },
            ),
            (
                "size",
                SceneStyle {
                    size: [0.4, 0.3],
                    ..style
                },
            ),
            (
                "size",
                SceneStyle {
                    size: [0.0, 0.3],
                    ..style
                },
            ),
            (
                "contrast",
                SceneStyle {
                    contrast: -0.1,
                    ..style
                },
            ),
            ("typical", SceneStyle { typical: 1.5, ..style }),
            (
                "objects",
                SceneStyle {
                    objects: [0, 2],
                    ..style
                },
            ),
        ];
        for (name, style) in faults {
            assert_eq!(style.fault().map(|(name, _)| name), Some(name));
        }
    }

    #[test]
    fn every_scene_shows_its_shapes_inside_their_boxes() {
        for objects in [[1, 1], [2, 5]] {
            let style = SceneStyle {
                objects,
                size: [0.13, 0.3],
                ..SceneStyle::default()
            };
            let scenes = Scenes {
                n: 100,
                side: 48,
                seed: 1,
                style,
            };
            let mut counts = [0; 6];
            for i in 0..100 {
                let Scene { label, located, .. } = scenes.scene(i);
                counts[located.objects.len()] += 1;
                assert_eq!(located.objects[0].class, label, "that in front is the label");
                let covered = located.mask.iter().filter(|m| **m > 0).count();
                let areas: f32 = located.objects.iter().map(|object| object.area).sum();
                assert_eq!(covered as f32, areas, "scene {i}");
                for (p, m) in located.mask.iter().enumerate().filter(|(_, m)| **m > 0) {
                    let (x, y) = ((p % 48) as f32, (p / 48) as f32);
                    let shown = located.objects.iter().any(|object| {
                        let [left, top, right, bottom] = object.bounds;
                        object.class + 1 == u16::from(*m) && x >= left && x < right && y >= top && y < bottom
                    });
                    assert!(shown, "scene {i}: pixel {p} is of no box");
                }
                assert!(
                    located.objects.iter().all(|object| object.area > 20.0),
                    "scene {i} hides a shape"
                );
            }
            let several: usize = counts[2..].iter().sum();
            // Not each finds a place.
            assert_eq!(several >= 80, objects[0] == 2, "{counts:?}");
        }
    }
}
