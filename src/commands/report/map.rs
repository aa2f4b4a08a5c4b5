//! Examples in the plane, told apart by colour and mark.

use flow_engine::figure::Map;
use maud::html;

use super::drawing::{Axis, Drawing, Key, NARROW, colour, marked_dot, tip};

const HEIGHT: f64 = 380.0;

pub(super) fn keys(map: &Map) -> Vec<Key> {
    let sample = |i| html! { g style=(colour(i)) { (marked_dot(i, 15.0, 7.0)) } };
    let key = |(i, name): (usize, &String)| Key::of_series(name, sample(i), i);
    map.classes.iter().enumerate().map(key).collect()
}

pub(super) fn draw(map: &Map) -> Vec<Drawing> {
    map.layouts
        .iter()
        .map(|(name, points)| one(map, name, points))
        .collect()
}

fn one(map: &Map, name: &str, points: &[(f64, f64)]) -> Drawing {
    let x = Axis::over(points.iter().map(|point| point.0), 0.03, (8.0, NARROW - 8.0), false);
    let y = Axis::over(points.iter().map(|point| point.1), 0.03, (HEIGHT - 8.0, 28.0), false);
    let class = |i: usize| map.class_of.get(i).copied().unwrap_or(0);
    let body = html! {
        text.strong x="6" y="15" { (name) }
        @for (i, (a, b)) in points.iter().enumerate() {
            g data-example=(i) data-series=(class(i)) style=(colour(class(i))) {
                (tip(map.classes.get(class(i)).map_or("", String::as_str)))
                (marked_dot(class(i), x.at(*a), y.at(*b)))
            }
        }
    };
    let near = nearest_of_same_class(map, points);
    Drawing {
        width: NARROW,
        height: HEIGHT,
        alt: format!(
            "{}, {name}: {} examples of {} classes; of {:.0} % the nearest other dot is of the same class",
            map.title,
            points.len(),
            map.classes.len(),
            100.0 * near
        ),
        body,
    }
}

/// The share of examples whose nearest neighbour in the plane is of their class: what an eye sees as tidy.
fn nearest_of_same_class(map: &Map, points: &[(f64, f64)]) -> f64 {
    let far = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).hypot(a.1 - b.1);
    let same = |i: &usize| {
        let others = (0..points.len()).filter(|j| j != i);
        let nearest = others.min_by(|a, b| far(points[*a], points[*i]).total_cmp(&far(points[*b], points[*i])));
        nearest.is_some_and(|j| map.class_of.get(j) == map.class_of.get(*i))
    };
    (0..points.len()).filter(same).count() as f64 / points.len().max(1) as f64
}
