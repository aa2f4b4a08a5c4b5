//! Image operations. Golden images are channel-first, ours channel-last.

use flow_learn::augment::RandOp;
use flow_learn::image::{self, Crop, Resizer, Size};

use super::Outcome;
use super::case::{Case, CaseError, Check, swap};

/// Absolute tolerance of values in [0, 1].
const PIXEL: f64 = 1e-3;
/// Hue goes through a cylinder and back.
const HUE: f64 = 2.0 / 255.0;

/// RandAugment's operations, on an image of bytes.
pub(super) fn rand_augment(case: &Case) -> Result<Outcome, CaseError> {
    let [c, h, w] = case.dims::<3>("image")?;
    let name = case.params.get("op").and_then(|op| op.as_str()).unwrap_or_default();
    let Some(op) = RandOp::ALL.into_iter().find(|op| format!("{op:?}") == name) else {
        return Ok(Outcome::NotBuilt);
    };
    let mut pixels = swap(&case.input("image")?.f32(), 1, c, h * w);
    pixels.iter_mut().for_each(|v| *v /= 255.0);
    op.apply(&mut pixels, Size { h, w, c }, case.number("strength")? as f32);
    let mut check = Check::default();
    check.absolute("image", &swap(&pixels, 1, h * w, c), case.output("image")?, PIXEL);
    Ok(check.outcome())
}

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    let [c, h, w] = case.dims::<3>("image")?;
    let size = Size { h, w, c };
    let mut pixels = swap(&case.input("image")?.f32(), 1, c, h * w);
    let number = |name: &str| case.number(name).map(|v| v as f32);
    let mut out_size = (h, w);
    let mut tolerance = PIXEL;
    match case.case.as_str() {
        "resize_bilinear_antialias" => {
            out_size = (case.size("height")?, case.size("width")?);
            pixels = image::resize(&pixels, size, out_size);
        }
        "resized_crop" => {
            out_size = (case.size("out_height")?, case.size("out_width")?);
            let crop = Crop {
                top: case.size("top")?,
                left: case.size("left")?,
                height: case.size("height")?,
                width: case.size("width")?,
            };
            let mut out = vec![0.0; out_size.0 * out_size.1 * c];
            Resizer::default().crop(&pixels, size, crop, false, &mut out, out_size);
            pixels = out;
        }
        "horizontal_flip" => image::horizontal_flip(&mut pixels, size),
        "brightness" => image::brightness(&mut pixels, number("factor")?),
        "contrast" => image::contrast(&mut pixels, c, number("factor")?),
        "saturation" => image::saturation(&mut pixels, c, number("factor")?),
        "hue" => {
            tolerance = HUE;
            image::hue(&mut pixels, c, number("factor")?);
        }
        "grayscale" => image::grayscale(&mut pixels, c),
        "gaussian_blur" => pixels = image::gaussian_blur(&pixels, size, case.size("kernel")?, number("sigma")?),
        "solarize" => image::solarize(&mut pixels, number("threshold")?),
        "posterize_u8" => image::posterize(&mut pixels, case.size("bits")? as u32),
        "rotate_bilinear" => pixels = image::rotate(&pixels, size, number("degrees")?, number("fill")?),
        "rotate_90_ccw" => {
            let mut out = vec![0.0; pixels.len()];
            image::rotate_90_ccw(&pixels, size, &mut out);
            (pixels, out_size) = (out, (w, h));
        }
        "affine_shear_x" => pixels = image::affine_shear_x(&pixels, size, number("degrees")?, number("fill")?),
        "normalize" => image::normalize(&mut pixels, &case.numbers("mean")?, &case.numbers("std")?),
        _ => return Ok(Outcome::NotBuilt),
    }
    let name = case.outputs.keys().next().cloned().unwrap_or_default();
    let mut check = Check::default();
    check.absolute(
        &name,
        &swap(&pixels, 1, out_size.0 * out_size.1, c),
        case.output(&name)?,
        tolerance,
    );
    Ok(check.outcome())
}
