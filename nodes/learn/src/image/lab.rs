//! CIE L*a*b* colours (D65) of sRGB values in [0, 1]: lightness 0 to 100, and two axes of colour from about -110 to 110.

/// The white point.
const WHITE: [f32; 3] = [0.950_47, 1.0, 1.088_83];

/// Where the cube root becomes a line, and the line's slope.
const EDGE: f32 = 6.0 / 29.0;

/// `[L, a, b]` of an sRGB colour.
pub fn rgb_to_lab(rgb: [f32; 3]) -> [f32; 3] {
    let linear = rgb.map(|v| {
        if v <= 0.040_45 {
            v / 12.92
        } else {
            ((v + 0.055) / 1.055).powf(2.4)
        }
    });
    let [r, g, b] = linear;
    let xyz = [
        0.412_456_4 * r + 0.357_576_1 * g + 0.180_437_5 * b,
        0.212_672_9 * r + 0.715_152_2 * g + 0.072_175 * b,
        0.019_333_9 * r + 0.119_192 * g + 0.950_304_1 * b,
    ];
    let f = |t: f32| {
        if t > EDGE.powi(3) {
            t.cbrt()
        } else {
            t / (3.0 * EDGE * EDGE) + 4.0 / 29.0
        }
    };
    let [x, y, z] = [f(xyz[0] / WHITE[0]), f(xyz[1] / WHITE[1]), f(xyz[2] / WHITE[2])];
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours_have_their_values() {
        let close = |rgb: [f32; 3], lab: [f32; 3]| {
            let found = rgb_to_lab(rgb);
            assert!(
                found.iter().zip(lab).all(|(f, e)| (f - e).abs() < 0.05),
                "{found:?} for {lab:?}"
            );
        };
        close([1.0, 1.0, 1.0], [100.0, 0.0, 0.0]);
        close([1.0, 0.0, 0.0], [53.24, 80.09, 67.20]);
        close([0.0, 0.0, 1.0], [32.30, 79.19, -107.86]);
    }
}
