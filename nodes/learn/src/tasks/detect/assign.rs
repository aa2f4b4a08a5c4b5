//! Which place of a pyramid learns which thing.

use crate::data::Object;
use crate::tasks::Frame;

/// How far from a thing's centre places learn it, in places.
const RADIUS: f32 = 1.5;

/// A thing's farthest reach from a place, in places: up to so much it is of this map, above of a coarser one.
const FARTHEST: f32 = 8.0;

/// What a place is to tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// No thing.
    Nothing,
    /// Either: it lies in a region that is left out.
    LeftOut,
    /// A thing.
    Thing {
        /// Its class.
        class: u16,
        /// How far it reaches to the left, up, right and down from here, in pixels.
        reach: [f32; 4],
        /// 1 at its centre, 0 at its border (centre-ness).
        nearness: f32,
        /// How sure the thing is ([`Object::sure`]).
        sure: f32,
    },
}

/// What each place of an image tells, finest map first, row by row; and how many pixels its map's places lie apart. Of several things the smallest.
pub fn assign(objects: &[Object], frame: &Frame) -> Vec<(Place, f32)> {
    let mut places = Vec::new();
    for (level, [h, w]) in frame.maps.iter().enumerate() {
        let stride = frame.height as f32 / *h as f32;
        let last = level + 1 == frame.maps.len();
        let least = if level == 0 { 0.0 } else { FARTHEST / 2.0 * stride };
        let most = if last { f32::INFINITY } else { FARTHEST * stride };
        for at in 0..h * w {
            let (x, y) = (((at % w) as f32 + 0.5) * stride, ((at / w) as f32 + 0.5) * stride);
            let place = at_place((x, y), objects, RADIUS * stride, [least, most]);
            places.push((place, stride));
        }
    }
    places
}

fn at_place((x, y): (f32, f32), objects: &[Object], radius: f32, [least, most]: [f32; 2]) -> Place {
    let mut best: Option<(f32, Place)> = None;
    let mut left_out = false;
    for object in objects {
        let [left, top, right, bottom] = object.bounds;
        let reach = [x - left, y - top, right - x, bottom - y];
        if reach.iter().any(|reach| *reach <= 0.0) {
            continue;
        }
        if object.ignore {
            left_out = true;
            continue;
        }
        let farthest = reach.iter().copied().fold(0.0, f32::max);
        let centre = (f32::midpoint(left, right), f32::midpoint(top, bottom));
        let near = (x - centre.0).abs() < radius && (y - centre.1).abs() < radius;
        if !near || farthest <= least || farthest > most {
            continue;
        }
        let area = (right - left) * (bottom - top);
        if best.is_none_or(|(smallest, _)| area < smallest) {
            let share = |a: f32, b: f32| a.min(b) / a.max(b);
            let nearness = (share(reach[0], reach[2]) * share(reach[1], reach[3])).sqrt();
            let Object { class, sure, .. } = *object;
            let thing = Place::Thing {
                class,
                reach,
                nearness,
                sure,
            };
            best = Some((area, thing));
        }
    }
    match best {
        Some((_, thing)) => thing,
        None if left_out => Place::LeftOut,
        None => Place::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(bounds: [f32; 4], class: u16, ignore: bool) -> Object {
        Object {
            class,
            bounds,
            area: 1.0,
            ignore,
            sure: 1.0,
        }
    }

    #[test]
    fn every_thing_is_learnt_by_some_place_of_the_map_of_its_size() {
        let frame = Frame {
            height: 64,
            width: 64,
            classes: 3,
            maps: vec![[32, 32], [16, 16], [8, 8]],
        };
        for side in [3.0f32, 6.0, 10.0, 14.0, 22.0, 30.0, 44.0, 60.0] {
            let places = assign(&[object([1.0, 2.0, 1.0 + side, 2.0 + side], 2, false)], &frame);
            let strides: Vec<f32> = places
                .iter()
                .filter(|(place, _)| matches!(place, Place::Thing { .. }))
                .map(|(_, s)| *s)
                .collect();
            assert!(!strides.is_empty(), "nothing learns a thing of {side} pixels");
            let expected = if side < 16.0 { 2.0 } else { 4.0 };
            assert!(strides[0] >= expected || side > 16.0, "{side}: {strides:?}");
        }
    }

    #[test]
    fn the_smallest_thing_wins_and_what_is_left_out_teaches_nothing() {
        let frame = Frame {
            height: 16,
            width: 16,
            classes: 3,
            maps: vec![[8, 8]],
        };
        let objects = [
            object([0.0, 0.0, 16.0, 16.0], 0, false),
            object([6.0, 6.0, 11.0, 11.0], 1, false),
            object([12.0, 0.0, 16.0, 4.0], 2, true),
        ];
        let places = assign(&objects, &frame);
        let at = |x: usize, y: usize| places[y * 8 + x].0;
        assert!(matches!(at(4, 4), Place::Thing { class: 1, .. }));
        assert_eq!(at(7, 0), Place::LeftOut);
        assert_eq!(at(0, 0), Place::Nothing, "too far from the centre of what it lies in");
    }
}
