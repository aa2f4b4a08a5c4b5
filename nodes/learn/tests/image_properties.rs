//! What image operations promise at any size and number of channels, beyond the sizes of the golden values.

use flow_learn::image::{self, Crop, Resizer, Size};
use proptest::prelude::*;

/// A size and an image of that size in [0, 1].
fn images() -> impl Strategy<Value = (Size, Vec<f32>)> {
    (1usize..14, 1usize..14, prop::sample::select(vec![1usize, 3])).prop_flat_map(|(h, w, c)| {
        let size = Size { h, w, c };
        (Just(size), prop::collection::vec(0.0f32..=1.0, size.len()))
    })
}

fn close(a: &[f32], b: &[f32], tolerance: f32) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
}

proptest! {
    // Every image here is short enough to be printed whole; nothing is kept from run to run.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn four_quarter_turns_change_nothing((size, image) in images()) {
        let (mut now, mut turned) = (size, image.clone());
        for _ in 0..4 {
            let mut next = vec![f32::NAN; image.len()];
            image::rotate_90_ccw(&turned, now, &mut next);
            (now, turned) = (Size { h: now.w, w: now.h, c: now.c }, next);
        }
        prop_assert_eq!(turned, image);
    }

    #[test]
    fn a_quarter_turn_is_the_rotation_by_90_degrees(side in 1usize..12, seed in prop::collection::vec(0.0f32..=1.0, 144 * 3)) {
        let size = Size { h: side, w: side, c: 3 };
        let image = &seed[..size.len()];
        let mut turned = vec![f32::NAN; image.len()];
        image::rotate_90_ccw(image, size, &mut turned);
        prop_assert!(close(&turned, &image::rotate(image, size, 90.0, 0.0), 1e-4));
    }

    #[test]
    fn a_crop_that_flips_is_a_crop_then_a_flip((size, image) in images(), cut in any::<[prop::sample::Index; 4]>(), oh in 1usize..14, ow in 1usize..14) {
        let (top, left) = (cut[0].index(size.h), cut[1].index(size.w));
        let crop = Crop { top, left, height: 1 + cut[2].index(size.h - top), width: 1 + cut[3].index(size.w - left) };
        let made = |flip| {
            let mut out = vec![f32::NAN; oh * ow * size.c];
            Resizer::default().crop(&image, size, crop, flip, &mut out, (oh, ow));
            out
        };
        let mut expected = made(false);
        image::horizontal_flip(&mut expected, Size { h: oh, w: ow, c: size.c });
        prop_assert_eq!(made(true), expected);
    }

    #[test]
    fn a_resizer_remembers_nothing_of_earlier_images((size, image) in images(), (other, before) in images()) {
        let mut used = Resizer::default();
        used.crop(&before, other, Crop::whole(other), true, &mut vec![0.0; 5 * 9 * other.c], (5, 9));
        let mut out = vec![f32::NAN; 7 * 6 * size.c];
        used.crop(&image, size, Crop::whole(size), false, &mut out, (7, 6));
        prop_assert_eq!(out, image::resize(&image, size, (7, 6)));
    }

    #[test]
    fn rows_first_or_columns_first_is_the_same_but_for_rounding(h in 1usize..40, w in 1usize..40, c in 1usize..6, to in (1usize..14, 1usize..14), seed in prop::collection::vec(any::<u8>(), 40 * 40 * 5)) {
        let size = Size { h, w, c };
        let values = &seed[..size.len()];
        let floats: Vec<f32> = values.iter().map(|v| f32::from(*v)).collect();
        let expected = image::resize(&floats, size, to);
        let whole = Crop::whole(Size { h: to.0, w: to.1, c });
        let found = image::resize_part(&floats, size, to, whole);
        prop_assert!(close(&found, &expected, 1e-3));
        let nearest: Vec<u8> = found.iter().map(|v| (v + 0.5).min(255.0) as u8).collect();
        prop_assert_eq!(image::resize_part(values, size, to, whole), nearest.clone());
        let sixteen: Vec<u16> = values.iter().map(|v| u16::from(*v)).collect();
        let nearest: Vec<u16> = nearest.into_iter().map(u16::from).collect();
        prop_assert_eq!(image::resize_part(&sixteen, size, to, whole), nearest);
        // A part is that part of the whole, to the bit.
        let part = Crop { top: whole.height / 3, left: whole.width / 4, height: whole.height.div_ceil(2), width: whole.width.div_ceil(2) };
        let rows = (part.top..part.top + part.height).flat_map(|y| &found[(y * to.1 + part.left) * c..][..part.width * c]);
        prop_assert_eq!(image::resize_part(&floats, size, to, part), rows.copied().collect::<Vec<f32>>());
    }

    #[test]
    fn resizing_to_the_same_size_changes_nothing((size, image) in images()) {
        prop_assert!(close(&image::resize(&image, size, (size.h, size.w)), &image, 1e-6));
    }

    #[test]
    fn even_images_stay_even(h in 3usize..12, w in 3usize..12, value in 0.0f32..=1.0, sigma in 0.1f32..3.0, oh in 1usize..20, ow in 1usize..20) {
        let size = Size { h, w, c: 3 };
        let image = vec![value; size.len()];
        prop_assert!(close(&image::gaussian_blur(&image, size, 3, sigma), &image, 1e-5));
        prop_assert!(close(&image::resize(&image, size, (oh, ow)), &vec![value; oh * ow * 3], 1e-5));
    }

    #[test]
    fn a_turned_or_sheared_image_keeps_its_middle_and_takes_the_fill_from_outside(half in 4usize..10, value in 0.0f32..=1.0, fill in 0.0f32..=1.0) {
        let side = 2 * half + 1;
        let size = Size { h: side, w: side, c: 1 };
        let image = vec![value; size.len()];
        for out in [image::rotate(&image, size, 45.0, fill), image::affine_shear_x(&image, size, 45.0, fill)] {
            prop_assert!((out[half * side + half] - value).abs() < 1e-5);
            prop_assert!((out[0] - fill).abs() < 1e-5, "{} instead of {fill}", out[0]);
        }
    }

    #[test]
    fn colours_stay_within_range((size, image) in images(), factor in 0.0f32..3.0, turn in -0.5f32..=0.5) {
        let changed = |change: &dyn Fn(&mut [f32])| {
            let mut image = image.clone();
            change(&mut image);
            image
        };
        for out in [
            changed(&|i| image::brightness(i, factor)),
            changed(&|i| image::contrast(i, size.c, factor)),
            changed(&|i| image::saturation(i, size.c, factor)),
            changed(&|i| image::hue(i, size.c, turn)),
            changed(&|i| image::grayscale(i, size.c)),
        ] {
            prop_assert!(out.iter().all(|v| (0.0..=1.0).contains(v)), "{out:?}");
        }
    }

    #[test]
    fn gray_images_have_no_colour_to_change(image in prop::collection::vec(0.0f32..=1.0, 12), factor in 0.0f32..3.0) {
        let mut changed = image.clone();
        image::saturation(&mut changed, 1, factor);
        image::hue(&mut changed, 1, 0.3);
        image::grayscale(&mut changed, 1);
        prop_assert_eq!(changed, image);
    }

    #[test]
    fn hue_turned_forth_and_back_is_the_same(image in prop::collection::vec(0.0f32..=1.0, 30), turn in -0.5f32..=0.5) {
        let mut changed = image.clone();
        image::hue(&mut changed, 3, turn);
        image::hue(&mut changed, 3, -turn);
        prop_assert!(close(&changed, &image, 1e-3), "{changed:?} from {image:?}");
    }

    #[test]
    fn a_shift_mirrors_the_border((size, image) in images(), down in -3isize..=3, right in -3isize..=3) {
        let mut out = vec![f32::NAN; image.len()];
        image::shift_reflect(&image, size, down, right, &mut out);
        for y in 0..size.h {
            for x in 0..size.w {
                let from = (mirrored(y as isize - down, size.h) * size.w + mirrored(x as isize - right, size.w)) * size.c;
                prop_assert_eq!(&out[(y * size.w + x) * size.c..][..size.c], &image[from..from + size.c]);
            }
        }
    }

    #[test]
    fn erasing_touches_the_rectangle_only((size, image) in images(), area in [0usize..16, 0usize..16, 0usize..16, 0usize..16]) {
        let [top, left, height, width] = area;
        let mut out = image.clone();
        image::erase(&mut out, size, Crop { top, left, height, width }, -1.0);
        for (i, (found, before)) in out.iter().zip(&image).enumerate() {
            let (y, x) = (i / size.c / size.w, i / size.c % size.w);
            let inside = (top..top + height).contains(&y) && (left..left + width).contains(&x);
            prop_assert_eq!(*found, if inside { -1.0 } else { *before });
        }
    }

    #[test]
    fn all_bits_kept_change_nothing(bytes in prop::collection::vec(any::<u8>(), 1..30)) {
        let image: Vec<f32> = bytes.iter().map(|b| f32::from(*b) / 255.0).collect();
        let mut changed = image.clone();
        image::posterize(&mut changed, 8);
        prop_assert_eq!(changed, image);
    }
}

/// Walks back and forth between the first and the last place, one step at a time.
fn mirrored(i: isize, n: usize) -> usize {
    let (mut at, mut step) = (0isize, 1isize);
    for _ in 0..i.unsigned_abs() {
        if n > 1 {
            if !(0..n as isize).contains(&(at + step)) {
                step = -step;
            }
            at += step;
        }
    }
    at as usize
}
