//! Operations that stretch what is there: automatic contrast, equalised histograms, sharpness (torchvision's functions of these names).

use super::Size;

/// Stretches each channel so that its darkest value is 0 and its brightest 1; a channel of one value stays.
pub fn autocontrast(image: &mut [f32], channels: usize) {
    for channel in 0..channels {
        let values = image.iter().skip(channel).step_by(channels);
        let (least, most) = values.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, m), v| (l.min(*v), m.max(*v)));
        if most > least {
            let scale = 1.0 / (most - least);
            let values = image.iter_mut().skip(channel).step_by(channels);
            values.for_each(|v| *v = ((*v - least) * scale).clamp(0.0, 1.0));
        }
    }
}

/// Spreads each channel's values, as bytes, evenly.
pub fn equalize(image: &mut [f32], channels: usize) {
    let byte = |v: f32| (v * 255.0).round().clamp(0.0, 255.0) as usize;
    for channel in 0..channels {
        let mut histogram = [0usize; 256];
        image
            .iter()
            .skip(channel)
            .step_by(channels)
            .for_each(|v| histogram[byte(*v)] += 1);
        let brightest = histogram.iter().rposition(|count| *count > 0).unwrap_or(0);
        let step = histogram[..brightest].iter().sum::<usize>() / 255;
        if step == 0 {
            continue;
        }
        let mut below = 0;
        let table: Vec<f32> = histogram
            .iter()
            .map(|count| {
                let level = ((below + step / 2) / step).min(255);
                below += count;
                level as f32 / 255.0
            })
            .collect();
        let values = image.iter_mut().skip(channel).step_by(channels);
        values.for_each(|v| *v = table[byte(*v)]);
    }
}

/// Blends with a smoothed image, or away from it: 0 smooths, 1 changes nothing, 2 sharpens. The border stays.
pub fn sharpness(image: &[f32], size: Size, factor: f32) -> Vec<f32> {
    let Size { h, w, c } = size;
    let mut out = image.to_vec();
    for y in 1..h.saturating_sub(1) {
        for x in 1..w.saturating_sub(1) {
            for i in 0..c {
                let at = |dy: usize, dx: usize| image[((y + dy - 1) * w + x + dx - 1) * c + i];
                let around: f32 = (0..9).map(|k| at(k / 3, k % 3)).sum();
                let here = at(1, 1);
                let smooth = (around + 4.0 * here) / 13.0;
                out[(y * w + x) * c + i] = (here + (1.0 - factor) * (smooth - here)).clamp(0.0, 1.0);
            }
        }
    }
    out
}
