//! Every golden case of the image operations (torchvision's tensor path) through the public functions of `flow_learn::image`.
//!
//! Golden images are channel-first, ours channel-last: they are turned here, at the edge. Numbers and sizes come from the file,
//! so a file with others runs as well; a case that no function answers to is a failure.

use std::collections::BTreeMap;
use std::path::Path;

use flow_learn::image::{self, Crop, Resizer, Size};
use serde::Deserialize;
use serde_json::Value;

/// Largest absolute error of values in [0, 1].
const TOLERANCE: f32 = 1e-3;
/// The same for hue, which goes to HSV and back.
const HUE_TOLERANCE: f32 = 2.0 / 255.0;

#[derive(Deserialize)]
struct Case {
    case: String,
    params: BTreeMap<String, Value>,
    inputs: BTreeMap<String, Tensor>,
    outputs: BTreeMap<String, Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    shape: [usize; 3],
    data: Vec<f32>,
}

impl Tensor {
    /// `[c][h][w]` as `[h][w][c]`.
    fn channel_last(&self) -> (Size, Vec<f32>) {
        let [c, h, w] = self.shape;
        assert_eq!(self.data.len(), c * h * w, "a tensor holds what its shape says");
        let pixels = (0..h * w)
            .flat_map(|p| (0..c).map(move |i| self.data[i * h * w + p]))
            .collect();
        (Size { h, w, c }, pixels)
    }
}

impl Case {
    fn number(&self, name: &str) -> f32 {
        self.params[name].as_f64().expect("a number") as f32
    }

    fn size(&self, name: &str) -> usize {
        self.params[name].as_u64().expect("a size") as usize
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        self.params[name]
            .as_array()
            .expect("a list")
            .iter()
            .map(|v| v.as_f64().expect("a number") as f32)
            .collect()
    }

    /// What ours makes of the case's image, with its size; `None` if we have no such operation.
    fn run(&self) -> Option<(Size, Vec<f32>)> {
        let (size, mut pixels) = self.inputs["image"].channel_last();
        let Size { h, w, c } = size;
        match self.case.as_str() {
            "resize_bilinear_antialias" => {
                let (oh, ow) = (self.size("height"), self.size("width"));
                return Some((Size { h: oh, w: ow, c }, image::resize(&pixels, size, (oh, ow))));
            }
            "resized_crop" => {
                let [top, left, height, width] = ["top", "left", "height", "width"].map(|name| self.size(name));
                let (oh, ow) = (self.size("out_height"), self.size("out_width"));
                let mut out = vec![f32::NAN; oh * ow * c];
                Resizer::default().crop(
                    &pixels,
                    size,
                    Crop {
                        top,
                        left,
                        height,
                        width,
                    },
                    false,
                    &mut out,
                    (oh, ow),
                );
                return Some((Size { h: oh, w: ow, c }, out));
            }
            "rotate_90_ccw" => {
                let mut out = vec![f32::NAN; pixels.len()];
                image::rotate_90_ccw(&pixels, size, &mut out);
                return Some((Size { h: w, w: h, c }, out));
            }
            "horizontal_flip" => image::horizontal_flip(&mut pixels, size),
            "brightness" => image::brightness(&mut pixels, self.number("factor")),
            "contrast" => image::contrast(&mut pixels, c, self.number("factor")),
            "saturation" => image::saturation(&mut pixels, c, self.number("factor")),
            "hue" => image::hue(&mut pixels, c, self.number("factor")),
            "grayscale" => image::grayscale(&mut pixels, c),
            "gaussian_blur" => pixels = image::gaussian_blur(&pixels, size, self.size("kernel"), self.number("sigma")),
            "solarize" => image::solarize(&mut pixels, self.number("threshold")),
            "posterize_u8" => image::posterize(&mut pixels, self.size("bits") as u32),
            "rotate_bilinear" => pixels = image::rotate(&pixels, size, self.number("degrees"), self.number("fill")),
            "affine_shear_x" => {
                pixels = image::affine_shear_x(&pixels, size, self.number("degrees"), self.number("fill"))
            }
            "normalize" => image::normalize(&mut pixels, &self.numbers("mean"), &self.numbers("std")),
            _ => return None,
        }
        Some((size, pixels))
    }
}

#[test]
fn every_case_meets_torchvision() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/image_ops.json");
    let cases: Vec<Case> =
        serde_json::from_slice(&std::fs::read(path).expect("the golden file can be read")).expect("a list of cases");
    assert!(!cases.is_empty(), "the golden file holds cases");
    let mut short = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let (expected_size, expected) = case.outputs["image"].channel_last();
        let Some((size, found)) = case.run() else {
            short.push(format!("case {i} ({}): there is no such operation", case.case));
            continue;
        };
        if size != expected_size {
            short.push(format!(
                "case {i} ({}): made {size:?}, expected {expected_size:?}",
                case.case
            ));
            continue;
        }
        let error = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0.0, worse);
        let tolerance = if case.case == "hue" { HUE_TOLERANCE } else { TOLERANCE };
        println!("{:28} {error:.2e}", case.case);
        if error.is_nan() || error > tolerance {
            short.push(format!(
                "case {i} ({}): off by {error}, at most {tolerance} is allowed",
                case.case
            ));
        }
    }
    assert!(short.is_empty(), "{}", short.join("\n"));
}

/// The larger error; an error that is no number stays.
fn worse(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }
}
