//! Colour operations, in place: each blends the image with something plainer, `ratio * image + (1 - ratio) * plain`, and
//! clamps to [0, 1] (torchvision's adjust_* functions).

/// Blends with black. `factor` at least 0; 1 changes nothing.
pub fn brightness(image: &mut [f32], factor: f32) {
    image.iter_mut().for_each(|v| *v = (*v * factor).clamp(0.0, 1.0));
}

/// Blends with the mean of the image's gray values.
pub fn contrast(image: &mut [f32], channels: usize, factor: f32) {
    let sum: f32 = image.chunks_exact(channels).map(luma).sum();
    let mean = sum / (image.len() / channels).max(1) as f32;
    image
        .iter_mut()
        .for_each(|v| *v = (*v * factor + mean * (1.0 - factor)).clamp(0.0, 1.0));
}

/// Blends with the gray image. Changes nothing on one channel.
pub fn saturation(image: &mut [f32], channels: usize, factor: f32) {
    if channels != 3 {
        return;
    }
    for pixel in image.chunks_exact_mut(3) {
        let gray = luma(pixel) * (1.0 - factor);
        pixel.iter_mut().for_each(|v| *v = (*v * factor + gray).clamp(0.0, 1.0));
    }
}

/// Gray in all channels. Changes nothing on one channel.
pub fn grayscale(image: &mut [f32], channels: usize) {
    if channels == 3 {
        for pixel in image.chunks_exact_mut(3) {
            let gray = luma(pixel);
            pixel.fill(gray);
        }
    }
}

/// Turns the hue by `factor` of the full circle, in [-0.5, 0.5]. Changes nothing on one channel.
pub fn hue(image: &mut [f32], channels: usize, factor: f32) {
    if channels != 3 {
        return;
    }
    for pixel in image.chunks_exact_mut(3) {
        let (h, s, v) = to_hsv(pixel[0], pixel[1], pixel[2]);
        pixel.copy_from_slice(&from_hsv((h + factor).rem_euclid(1.0), s, v));
    }
}

/// The gray value of a pixel: ITU-R 601-2 luma, or the value itself on one channel.
fn luma(pixel: &[f32]) -> f32 {
    match pixel {
        [r, g, b] => 0.2989 * r + 0.587 * g + 0.114 * b,
        _ => pixel[0],
    }
}

fn to_hsv(r: f32, g: f32, b: f32) -> (f32, f32, f32) {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let range = most - least;
    if range <= 0.0 {
        return (0.0, 0.0, most);
    }
    let (rc, gc, bc) = ((most - r) / range, (most - g) / range, (most - b) / range);
    let sector = if most == r {
        bc - gc
    } else if most == g {
        2.0 + rc - bc
    } else {
        4.0 + gc - rc
    };
    ((sector / 6.0 + 1.0).rem_euclid(1.0), range / most, most)
}

fn from_hsv(h: f32, s: f32, v: f32) -> [f32; 3] {
    let sector = (h * 6.0).floor();
    let f = h * 6.0 - sector;
    let clamp = |x: f32| x.clamp(0.0, 1.0);
    let (p, q, t) = (
        clamp(v * (1.0 - s)),
        clamp(v * (1.0 - s * f)),
        clamp(v * (1.0 - s * (1.0 - f))),
    );
    match sector as i32 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

/// The full colour of a hue, given as a share of the wheel (0 red, 1/3 green, 2/3 blue): red, green and blue in [0, 1].
pub fn of_hue(hue: f32) -> [f32; 3] {
    from_hsv(hue.rem_euclid(1.0), 1.0, 1.0)
}
