//! A workflow as boxes and arrows, from top to bottom. Layers by longest path, with a bend for each layer that an arrow passes (Sugiyama, Tagawa &
//! Toda 1981); within a layer, each lies near the mean of what it is joined to.

use flow_engine::figure::{Graph, GraphBox};
use maud::{Markup, html};

use super::drawing::{Drawing, colour, cut, place, tip};
use crate::output::duration;

const BOX: (f64, f64) = (152.0, 58.0);
const BEND: f64 = 18.0;
const GAP: f64 = 14.0;
const LAYER: f64 = 92.0;
/// How often the order within layers is mended.
const SWEEPS: usize = 8;

/// A box, or a bend of an arrow.
struct Point {
    layer: usize,
    /// The box; none of a bend.
    of: Option<usize>,
    x: f64,
}

impl Point {
    fn width(&self) -> f64 {
        if self.of.is_some() { BOX.0 } else { BEND }
    }
}

struct Layout {
    points: Vec<Point>,
    /// Between neighbouring layers.
    joins: Vec<(usize, usize)>,
    /// In order, from the left.
    layers: Vec<Vec<usize>>,
    width: f64,
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
            x: 0.0,
        };
        let mut points: Vec<Point> = layer.iter().enumerate().map(point).collect();
        let mut joins = Vec::new();
        for (from, to) in &graph.edges {
            let mut last = *from;
            for between in layer[*from] + 1..layer[*to] {
                points.push(Point {
                    layer: between,
                    of: None,
                    x: 0.0,
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
            width: 0.0,
        };
        layout.settle();
        layout
    }

    fn settle(&mut self) {
        let needs = |layer: &Vec<usize>| layer.iter().map(|i| self.points[*i].width() + GAP).sum::<f64>();
        self.width = self.layers.iter().map(needs).fold(2.0 * BOX.0, f64::max) + GAP;
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
                        (true, _) if down => Some(self.points[*from].x),
                        (_, true) if !down => Some(self.points[*to].x),
                        _ => None,
                    });
                    let others: Vec<f64> = others.collect();
                    if others.is_empty() {
                        self.points[i].x
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

    /// All layers from the left, in the middle.
    fn spread(&mut self) {
        for layer in &self.layers {
            let needs: f64 = layer.iter().map(|i| self.points[*i].width() + GAP).sum();
            let mut x = 0.5 * (self.width - needs + GAP);
            for i in layer {
                let width = self.points[*i].width();
                self.points[*i].x = x + 0.5 * width;
                x += width + GAP;
            }
        }
    }

    /// A layer in its order, each as near to where it is wanted as there is room.
    fn put(&mut self, wanted: &[(f64, usize)]) {
        let mut least = GAP;
        for (x, i) in wanted {
            let half = 0.5 * self.points[*i].width();
            self.points[*i].x = x.max(least + half);
            least = self.points[*i].x + half + GAP;
        }
        let mut most = self.width - GAP;
        for (_, i) in wanted.iter().rev() {
            let half = 0.5 * self.points[*i].width();
            self.points[*i].x = self.points[*i].x.min(most - half);
            most = self.points[*i].x - half - GAP;
        }
    }
}

pub(super) fn draw(graph: &Graph) -> Drawing {
    let layout = Layout::of(graph);
    let mut kinds: Vec<&str> = graph.boxes.iter().map(|drawn| drawn.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let top = |point: &Point| point.layer as f64 * LAYER + 2.0;
    let body = html! {
        @for (from, to) in &layout.joins { (arrow(&layout.points[*from], &layout.points[*to], &top)) }
        @for point in &layout.points {
            @if let Some(drawn) = point.of.map(|of| &graph.boxes[of]) {
                @let x = point.x - 0.5 * BOX.0;
                g transform=(format!("translate({} {})", place(x), place(top(point)))) style=(colour(kinds.binary_search(&drawn.kind.as_str()).unwrap_or(0))) {
                    (tip(&format!("{} ({}): {}", drawn.name, drawn.kind, state(drawn))))
                    rect.ground width=(BOX.0) height=(BOX.1) rx="7" {}
                    rect.tint.failed[drawn.states.iter().any(|(state, _)| state == "failed")] width=(BOX.0) height=(BOX.1) rx="7" {}
                    text.strong x="10" y="19" { (cut(&drawn.name, 18)) }
                    text.tick x="10" y="35" { (drawn.kind) }
                    text.tick.small x="10" y="50" { (cut(&state(drawn), 24)) }
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
        width: layout.width,
        height: layout.layers.len() as f64 * LAYER - (LAYER - BOX.1) + 4.0,
        alt: format!("{}: {}", graph.title, said.collect::<Vec<_>>().join("; ")),
        body,
    }
}

fn arrow(from: &Point, to: &Point, top: &dyn Fn(&Point) -> f64) -> Markup {
    let start = top(from) + if from.of.is_some() { BOX.1 } else { 0.5 * BOX.1 };
    let end = top(to) + if to.of.is_some() { 0.0 } else { 0.5 * BOX.1 };
    let bend = 0.5 * (end - start);
    let line = format!(
        "M{:.1} {start:.1}C{:.1} {:.1} {:.1} {:.1} {:.1} {end:.1}",
        from.x,
        from.x,
        start + bend,
        to.x,
        end - bend,
        to.x
    );
    html! {
        path.flow d=(line) {}
        @if to.of.is_some() {
            path.flow d=(format!("M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}", to.x - 3.5, end - 6.0, to.x, end - 0.5, to.x + 3.5, end - 6.0)) {}
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
    fn boxes_of_a_layer_do_not_overlap_and_arrows_point_down() {
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
                let [left, right] = [&layout.points[pair[0]], &layout.points[pair[1]]];
                assert!(right.x - left.x >= 0.5 * (left.width() + right.width()), "they overlap");
            }
        }
        for (from, to) in &layout.joins {
            assert_eq!(layout.points[*from].layer + 1, layout.points[*to].layer);
        }
    }
}
