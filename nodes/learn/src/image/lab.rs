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

/// The sRGB colour of `[L, a, b]`: outside of [0, 1] where a screen cannot show it.
pub fn lab_to_rgb([l, a, b]: [f32; 3]) -> [f32; 3] {
    let y = (l + 16.0) / 116.0;
    let of_f = |f: f32| {
        if f > EDGE {
            f.powi(3)
        } else {
            3.0 * EDGE * EDGE * (f - 4.0 / 29.0)
        }
    };
    let [x, y, z] = [y + a / 500.0, y, y - b / 200.0].map(of_f);
    let [x, z] = [x * WHITE[0], z * WHITE[2]];
    let linear = [
        3.240_454_2 * x - 1.537_138_5 * y - 0.498_531_4 * z,
        -0.969_266 * x + 1.876_010_8 * y + 0.041_556 * z,
        0.055_643_4 * x - 0.204_025_9 * y + 1.057_225_2 * z,
    ];
    linear.map(|v| {
        if v <= 0.003_130_8 {
            12.92 * v
        } else {
            1.055 * v.powf(1.0 / 2.4) - 0.055
        }
    })
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

    #[test]
    fn a_colour_there_and_back_is_the_same() {
        for i in 0..125 {
            let rgb = [i / 25, i / 5 % 5, i % 5].map(|v| v as f32 / 4.0);
            let back = lab_to_rgb(rgb_to_lab(rgb));
            let far = rgb.iter().zip(back).map(|(v, b)| (v - b).abs()).fold(0.0, f32::max);
            assert!(far < 1e-3, "{rgb:?} became {back:?}");
        }
    }
}
