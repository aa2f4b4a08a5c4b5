//! A workflow as boxes and arrows, from left to right. Layers by longest path, with a bend for each layer that an arrow passes (Sugiyama, Tagawa &
//! Toda 1981); within a layer, each lies near the mean of what it is joined to.

use flow_engine::figure::{Graph, GraphBox};
use maud::{Markup, html};

use super::drawing::{Drawing, Key, cut, kind_colour, place, tip};
use crate::output::duration;

/// Width and height.
const BOX: (f64, f64) = (142.0, 42.0);
/// Height of an arrow that passes a layer.
const BEND: f64 = 6.0;
const GAP: f64 = 9.0;
/// From one layer to the next.
const LAYER: f64 = 190.0;
/// How often the order within layers is mended.
const SWEEPS: usize = 8;

/// A box, or a bend of an arrow.
struct Point {
    layer: usize,
    /// The box; none of a bend.
    of: Option<usize>,
    /// Of its middle, from the top.
    y: f64,
}

impl Point {
    fn height(&self) -> f64 {
        if self.of.is_some() { BOX.1 } else { BEND }
    }

    /// Where arrows come in and go out.
    fn ends(&self) -> (f64, f64) {
        let left = self.layer as f64 * LAYER + 2.0;
        (left, left + BOX.0)
    }
}

struct Layout {
    points: Vec<Point>,
    /// Between neighbouring layers.
    joins: Vec<(usize, usize)>,
    /// In order, from the top.
    layers: Vec<Vec<usize>>,
    height: f64,
}

impl Layout {
    fn of(graph: &Graph) -> Self {
        let count = graph.boxes.len();
        let mut layer = vec![0; count];
        // As often as the longest path could be long: a graph from a file may have a cycle.
        for _ in 0..count {
            for (from, to) in &graph.edges {
                layer[*to] = layer[*to].max((layer[*from] + 1).min(count));
            }
        }
        // What nothing feeds lies just above what it feeds.
        for (index, _) in graph.boxes.iter().enumerate() {
            if graph.edges.iter().all(|(_, to)| *to != index) {
                let fed = graph
                    .edges
                    .iter()
                    .filter(|(from, _)| *from == index)
                    .map(|(_, to)| layer[*to]);
                layer[index] = fed.min().map_or(0, |first| first.saturating_sub(1));
            }
        }
        let point = |(index, layer): (usize, &usize)| Point {
            layer: *layer,
            of: Some(index),
            y: 0.0,
        };
        let mut points: Vec<Point> = layer.iter().enumerate().map(point).collect();
        let mut joins = Vec::new();
        for (from, to) in &graph.edges {
            let mut last = *from;
            for between in layer[*from] + 1..layer[*to] {
                points.push(Point {
                    layer: between,
                    of: None,
                    y: 0.0,
                });
                joins.push((last, points.len() - 1));
                last = points.len() - 1;
            }
            joins.push((last, *to));
        }
        let mut layers = vec![Vec::new(); layer.iter().max().map_or(0, |last| last + 1)];
        points
            .iter()
            .enumerate()
            .for_each(|(i, point)| layers[point.layer].push(i));
        let mut layout = Self {
            points,
            joins,
            layers,
            height: 0.0,
        };
        layout.settle();
        layout
    }

    fn settle(&mut self) {
        let needs = |layer: &Vec<usize>| layer.iter().map(|i| self.points[*i].height() + GAP).sum::<f64>();
        self.height = self.layers.iter().map(needs).fold(2.0 * BOX.1, f64::max) + GAP;
        self.spread();
        for sweep in 0..SWEEPS {
            let down = sweep % 2 == 0;
            let order: Vec<usize> = if down {
                (0..self.layers.len()).collect()
            } else {
                (0..self.layers.len()).rev().collect()
            };
            for layer in order {
                let wanted = |i: usize| {
                    let others = self.joins.iter().filter_map(|(from, to)| match (i == *to, i == *from) {
                        (true, _) if down => Some(self.points[*from].y),
                        (_, true) if !down => Some(self.points[*to].y),
                        _ => None,
                    });
                    let others: Vec<f64> = others.collect();
                    if others.is_empty() {
                        self.points[i].y
                    } else {
                        others.iter().sum::<f64>() / others.len() as f64
                    }
                };
                let mut wanted: Vec<(f64, usize)> = self.layers[layer].iter().map(|i| (wanted(*i), *i)).collect();
                wanted.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.layers[layer] = wanted.iter().map(|(_, i)| *i).collect();
                self.put(&wanted);
            }
        }
    }

    /// All layers from the top, in the middle.
    fn spread(&mut self) {
        for layer in &self.layers {
            let needs: f64 = layer.iter().map(|i| self.points[*i].height() + GAP).sum();
            let mut y = 0.5 * (self.height - needs + GAP);
            for i in layer {
                let height = self.points[*i].height();
                self.points[*i].y = y + 0.5 * height;
                y += height + GAP;
            }
        }
    }

    /// A layer in its order, each as near to where it is wanted as there is room.
    fn put(&mut self, wanted: &[(f64, usize)]) {
        let mut least = GAP;
        for (y, i) in wanted {
            let half = 0.5 * self.points[*i].height();
            self.points[*i].y = y.max(least + half);
            least = self.points[*i].y + half + GAP;
        }
        let mut most = self.height - GAP;
        for (_, i) in wanted.iter().rev() {
            let half = 0.5 * self.points[*i].height();
            self.points[*i].y = self.points[*i].y.min(most - half);
            most = self.points[*i].y - half - GAP;
        }
    }
}

/// The kinds of its nodes.
pub(super) fn keys(graph: &Graph) -> Vec<Key> {
    let mut kinds: Vec<&str> = graph.boxes.iter().map(|drawn| drawn.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let sample =
        |kind| html! { g style=(kind_colour(kind)) { rect.tint x="1" y="1" width="28" height="12" rx="3" {} } };
    kinds.into_iter().map(|kind| Key::new(kind, sample(kind))).collect()
}

pub(super) fn draw(graph: &Graph) -> Drawing {
    let layout = Layout::of(graph);
    let body = html! {
        @for (from, to) in &layout.joins { (arrow(&layout.points[*from], &layout.points[*to])) }
        @for point in &layout.points {
            @if let Some(drawn) = point.of.map(|of| &graph.boxes[of]) {
                g transform=(format!("translate({} {})", place(point.ends().0), place(point.y - 0.5 * BOX.1))) style=(kind_colour(&drawn.kind)) {
                    (tip(&format!("{} ({}): {}", drawn.name, drawn.kind, state(drawn))))
                    rect.ground width=(BOX.0) height=(BOX.1) rx="7" {}
                    rect.tint.failed[drawn.states.iter().any(|(state, _)| state == "failed")] width=(BOX.0) height=(BOX.1) rx="7" {}
                    text.strong x="10" y="18" { (cut(&drawn.name, 17)) }
                    text.tick.small x="10" y="34" { (cut(&state(drawn), 22)) }
                }
            }
        }
    };
    let said = graph.boxes.iter().enumerate().map(|(i, drawn)| {
        let from: Vec<&str> = graph
            .edges
            .iter()
            .filter(|(_, to)| *to == i)
            .map(|(from, _)| graph.boxes[*from].name.as_str())
            .collect();
        match from.is_empty() {
            true => drawn.name.clone(),
            false => format!("{} from {}", drawn.name, from.join(", ")),
        }
    });
    Drawing {
        width: layout.layers.len() as f64 * LAYER - (LAYER - BOX.0) + 4.0,
        height: layout.height,
        alt: format!("{}: {}", graph.title, said.collect::<Vec<_>>().join("; ")),
        body,
    }
}

fn arrow(from: &Point, to: &Point) -> Markup {
    // A bend is a straight line through its layer.
    let (start, end) = (from.ends().1, to.ends().0);
    let bend = 0.5 * (end - start);
    let through = if to.of.is_some() { end } else { to.ends().1 };
    let line = format!(
        "M{start:.1} {:.1}C{:.1} {:.1} {:.1} {:.1} {end:.1} {:.1}L{through:.1} {:.1}",
        from.y,
        start + bend,
        from.y,
        end - bend,
        to.y,
        to.y,
        to.y
    );
    html! {
        path.flow d=(line) {}
        @if to.of.is_some() {
            path.flow d=(format!("M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}", end - 6.0, to.y - 3.5, end - 0.5, to.y, end - 6.0, to.y + 3.5)) {}
        }
    }
}

/// `13 cached, 2 ran · 6 min 4 s`.
pub(super) fn state(drawn: &GraphBox) -> String {
    let states: Vec<String> = drawn
        .states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    match drawn.seconds >= 0.05 {
        true => format!("{} · {}", states.join(", "), duration(drawn.seconds)),
        false => states.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_of_a_layer_do_not_overlap_and_arrows_point_onwards() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let boxed = |name: &&str| GraphBox {
            name: (*name).to_owned(),
            kind: "k".into(),
            states: vec![("ran".into(), 1)],
            seconds: 0.0,
        };
        let graph = Graph {
            title: String::new(),
            boxes: names.iter().map(boxed).collect(),
            edges: vec![(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 5), (0, 5), (4, 5)],
        };
        let layout = Layout::of(&graph);
        for layer in &layout.layers {
            for pair in layer.windows(2) {
                let [upper, lower] = [&layout.points[pair[0]], &layout.points[pair[1]]];
                assert!(
                    lower.y - upper.y >= 0.5 * (upper.height() + lower.height()),
                    "they overlap"
                );
            }
        }
        for (from, to) in &layout.joins {
            assert_eq!(layout.points[*from].layer + 1, layout.points[*to].layer);
        }
    }
}
