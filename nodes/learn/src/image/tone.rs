//! Operations on single values: solarise, posterise, normalise.

/// Inverts what is at least `threshold`.
pub fn solarize(image: &mut [f32], threshold: f32) {
    image.iter_mut().for_each(|v| {
        if *v >= threshold {
            *v = 1.0 - *v;
        }
    });
}

/// Keeps the `bits` (1 to 8) highest bits of each value as a byte.
pub fn posterize(image: &mut [f32], bits: u32) {
    let mask = (0xff00u32 >> bits) as u8;
    image
        .iter_mut()
        .for_each(|v| *v = f32::from((*v * 255.0).round() as u8 & mask) / 255.0);
}

/// `(v - mean) / std` per channel.
pub fn normalize(image: &mut [f32], mean: &[f32], std: &[f32]) {
    for pixel in image.chunks_exact_mut(mean.len()) {
        pixel
            .iter_mut()
            .zip(mean)
            .zip(std)
            .for_each(|((v, m), s)| *v = (*v - m) / s);
    }
}
