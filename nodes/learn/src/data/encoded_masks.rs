//! Masks as COCO's files write them: run lengths, also packed into text, and polygons. What comes out is row by row, `[height][width]`.

/// Parts of a pixel that a polygon's border is drawn in.
const FINENESS: f64 = 5.0;

/// What is encoded is no mask of the size.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EncodingError {
    /// A character that is none of the code, or an end within a number.
    #[error("the packed run lengths end within a number or have a character that is none of theirs")]
    Packed,
    /// A length is below zero, or they are not as long as the image.
    #[error("the run lengths cover {covered} pixels, the image has {pixels}")]
    Length {
        /// What they add up to.
        covered: i64,
        /// Height times width.
        pixels: usize,
    },
    /// Two points or fewer, or half a point.
    #[error("a polygon of {0} coordinates found, expected at least 6, in pairs")]
    Points(usize),
    /// A coordinate that is no number, or far outside of any image.
    #[error("a polygon has a coordinate that is no number within a million pixels")]
    Coordinate,
}

/// The run lengths in COCO's packed text: five bits a character, the lowest first; from the third length on, differences to the last but one.
///
/// # Errors
/// If it is not such a text.
pub fn unpacked(text: &str) -> Result<Vec<i64>, EncodingError> {
    let (mut runs, mut value, mut shift) = (Vec::<i64>::new(), 0i64, 0u32);
    for byte in text.bytes() {
        let bits = i64::from(byte) - 48;
        if !(0..64).contains(&bits) || shift > 50 {
            return Err(EncodingError::Packed);
        }
        value |= (bits & 31) << shift;
        shift += 5;
        if bits & 32 != 0 {
            continue;
        }
        if bits & 16 != 0 {
            value -= 1 << shift;
        }
        let before = if runs.len() > 2 { runs[runs.len() - 2] } else { 0 };
        runs.push(value.saturating_add(before));
        (value, shift) = (0, 0);
    }
    if shift == 0 {
        Ok(runs)
    } else {
        Err(EncodingError::Packed)
    }
}

/// The mask of run lengths: pixels outside and inside in turn, column by column.
///
/// # Errors
/// If they do not cover the image exactly.
pub fn from_runs(runs: &[i64], [height, width]: [usize; 2]) -> Result<Vec<bool>, EncodingError> {
    let pixels = height * width;
    let covered = runs.iter().fold(0i64, |sum, run| sum.saturating_add(*run));
    if runs.iter().any(|run| *run < 0) || usize::try_from(covered) != Ok(pixels) {
        return Err(EncodingError::Length { covered, pixels });
    }
    let (mut mask, mut at) = (vec![false; pixels], 0);
    for (place, run) in runs.iter().enumerate() {
        let end = at + *run as usize;
        if place % 2 == 1 {
            (at..end).for_each(|at| mask[at % height * width + at / height] = true);
        }
        at = end;
    }
    Ok(mask)
}

/// The mask of a polygon, `x, y` of each corner in turn, as pycocotools draws it: the border is drawn in fifths of pixels, and a pixel is inside if the
/// border was crossed an odd number of times above it.
///
/// # Errors
/// If it has fewer than three corners, or they are not numbers.
pub fn from_polygon(corners: &[f64], [height, width]: [usize; 2]) -> Result<Vec<bool>, EncodingError> {
    if corners.len() < 6 || !corners.len().is_multiple_of(2) {
        return Err(EncodingError::Points(corners.len()));
    }
    if !corners.iter().all(|v| v.abs() < 1e6) {
        return Err(EncodingError::Coordinate);
    }
    // Towards zero, as C's conversion.
    let fine: Vec<(i64, i64)> = corners
        .chunks_exact(2)
        .map(|c| ((FINENESS * c[0] + 0.5) as i64, (FINENESS * c[1] + 0.5) as i64))
        .collect();
    let ends = fine.iter().zip(fine.iter().cycle().skip(1));
    let border: Vec<(i64, i64)> = ends.flat_map(|(from, to)| line(*from, *to)).collect();
    // Where the border goes from one column of pixels to the next, the pixels below change sides.
    let mut changes = vec![false; height * width + 1];
    for pair in border.windows(2).filter(|pair| pair[0].0 != pair[1].0) {
        let ((before, above), (u, v)) = (pair[0], pair[1]);
        let left = if u < before { u } else { u - 1 };
        let x = (left as f64 + 0.5) / FINENESS - 0.5;
        if x.floor() != x || x < 0.0 || x > width as f64 - 1.0 {
            continue;
        }
        let y = ((v.min(above) as f64 + 0.5) / FINENESS - 0.5)
            .clamp(0.0, height as f64)
            .ceil();
        let at = x as usize * height + y as usize;
        changes[at] = !changes[at];
    }
    let (mut mask, mut inside) = (vec![false; height * width], false);
    for at in 0..height * width {
        inside ^= changes[at];
        mask[at % height * width + at / height] = inside;
    }
    Ok(mask)
}

/// The points of a line, both ends included.
fn line((x, y): (i64, i64), (to_x, to_y): (i64, i64)) -> Vec<(i64, i64)> {
    let (dx, dy) = ((to_x - x).abs(), (to_y - y).abs());
    let wide = dx >= dy;
    // Always drawn in the same direction, so that both directions have the same points.
    let turned = if wide { x > to_x } else { y > to_y };
    let ((xs, ys), (xe, ye)) = if turned {
        ((to_x, to_y), (x, y))
    } else {
        ((x, y), (to_x, to_y))
    };
    let slope = match (wide, dx, dy) {
        (true, 0, _) => 0.0,
        (true, ..) => (ye - ys) as f64 / dx as f64,
        (false, ..) => (xe - xs) as f64 / dy as f64,
    };
    let point = |step: i64| match wide {
        true => (xs + step, (ys as f64 + slope * step as f64 + 0.5) as i64),
        false => ((xs as f64 + slope * step as f64 + 0.5) as i64, ys + step),
    };
    let steps = 0..=dx.max(dy);
    if turned {
        steps.rev().map(point).collect()
    } else {
        steps.map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_mask_of_the_image_is_refused() {
        let of_length = |covered| EncodingError::Length { covered, pixels: 6 };
        assert_eq!(from_runs(&[2, 3], [2, 3]), Err(of_length(5)));
        assert_eq!(from_runs(&[7, -1], [2, 3]), Err(of_length(6)));
        assert_eq!(
            from_polygon(&[0.0, 0.0, 3.0, 3.0], [4, 4]),
            Err(EncodingError::Points(4))
        );
        assert_eq!(from_polygon(&[0.0; 7], [4, 4]), Err(EncodingError::Points(7)));
        assert_eq!(from_polygon(&[f64::NAN; 6], [4, 4]), Err(EncodingError::Coordinate));
        assert_eq!(unpacked("\u{7f}"), Err(EncodingError::Packed));
        assert_eq!(unpacked("P"), Err(EncodingError::Packed), "an end within a number");
    }

    proptest! {
        #[test]
        fn no_text_and_no_polygon_panics(text in ".{0,40}", corners in proptest::collection::vec(any::<f64>(), 0..12)) {
            if let Ok(runs) = unpacked(&text) {
                let _ = from_runs(&runs, [5, 7]);
            }
            let _ = from_polygon(&corners, [5, 7]);
        }
    }
}
