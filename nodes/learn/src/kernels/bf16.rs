//! Numbers of 16 bits: the upper half of an f32, rounded to nearest, ties to even.

/// The nearest bf16; NaN stays NaN.
#[inline(always)]
fn nearest(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // Rounding could carry a NaN's last bits into infinity, or past it.
    let quiet = bits >> 16 | 0x40;
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        quiet
    } else {
        rounded
    }
}

/// Overwrites `to` with the nearest values. Same lengths.
pub(super) fn round(from: &[f32], to: &mut [u16]) {
    pulp::Arch::new().dispatch(|| {
        let pairs = to.iter_mut().zip(from);
        pairs.for_each(|(to, from)| *to = nearest(*from) as u16);
    });
}

/// Overwrites `to` with the nearest values beside zero. Same lengths.
pub(super) fn round_words(from: &[f32], to: &mut [u32]) {
    pulp::Arch::new().dispatch(|| {
        let pairs = to.iter_mut().zip(from);
        pairs.for_each(|(to, from)| *to = nearest(*from));
    });
}

/// Overwrites `to` with pairs, the first in the lower half. Same lengths.
pub(super) fn pairs(first: &[f32], second: &[f32], to: &mut [u32]) {
    pulp::Arch::new().dispatch(|| {
        let pairs = to.iter_mut().zip(first.iter().zip(second));
        pairs.for_each(|(to, (first, second))| *to = nearest(*first) | nearest(*second) << 16);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_go_to_even_and_what_is_no_number_stays_none() {
        let rounded = |bits: u32| nearest(f32::from_bits(bits));
        assert_eq!(rounded(0x3f80_8000), 0x3f80, "a tie, even below");
        assert_eq!(rounded(0x3f81_8000), 0x3f82, "a tie, even above");
        assert_eq!(rounded(0x3f80_8001), 0x3f81);
        assert_eq!(rounded(0x7f7f_ffff), 0x7f80, "the largest becomes infinite");
        assert_eq!(rounded(0xff80_0000), 0xff80);
        assert!(f32::from_bits(rounded(0x7fff_ffff) << 16).is_nan());
        assert!(f32::from_bits(rounded(0x7f80_0001) << 16).is_nan());
    }

    proptest! {
        #[test]
        fn a_rounded_number_is_within_half_a_unit(values in prop::collection::vec(-1e30f32..1e30, 1..70)) {
            let mut rounded = vec![0; values.len()];
            round(&values, &mut rounded);
            let mut both = vec![0; values.len()];
            pairs(&values, &values, &mut both);
            for ((value, rounded), both) in values.iter().zip(rounded).zip(both) {
                let back = f32::from_bits(u32::from(rounded) << 16);
                prop_assert!((back - value).abs() <= value.abs() / 256.0);
                prop_assert_eq!(both, u32::from(rounded) | u32::from(rounded) << 16);
            }
        }
    }
}
