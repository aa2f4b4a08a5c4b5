//! The numbers behind a figure, as a table: on the page, and as CSV beside a file.

use flow_engine::figure::{
    Bars, Figure, Graph, Intervals, Line, Lines, Map, Matrices, Panels, Pictures, Schedule, Table, Words,
};

use super::drawing::short;
use super::{matrix, workflow};

/// All of them; none of what is drawn of something else.
pub(super) fn table(figure: &Figure) -> Option<Table> {
    Some(match figure {
        Figure::Words(words) => of_words(words),
        Figure::Lines(lines) => of_lines(lines),
        Figure::Intervals(plot) => of_intervals(plot),
        Figure::Table(table) => table.clone(),
        Figure::Panels(panels) => of_panels(panels, &|value| value.to_string()),
        Figure::Bars(bars) => of_bars(bars),
        Figure::Matrices(all) => of_matrices(all),
        Figure::Pictures(pictures) => of_pictures(pictures),
        Figure::Map(map) => of_map(map),
        Figure::Graph(graph) => of_graph(graph),
        Figure::Schedule(schedule) => of_schedule(schedule),
        Figure::Judged(_) => return None,
    })
}

/// For eyes: of curves the ends, in place of every point.
pub(super) fn summary(figure: &Figure) -> Option<Table> {
    match figure {
        Figure::Panels(panels) if panels.panels.iter().any(|panel| !panel.marks) => Some(of_curves(panels)),
        Figure::Panels(panels) => Some(of_panels(panels, &short)),
        // As many rows as examples say nothing to a reader.
        Figure::Words(_) | Figure::Table(_) | Figure::Pictures(_) | Figure::Map(_) => None,
        other => table(other),
    }
}

fn made(title: &str, head: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table {
        title: title.to_owned(),
        head: head.iter().map(|&name| name.to_owned()).collect(),
        rows,
    }
}

fn of_words(words: &Words) -> Table {
    let rows = words
        .sentences
        .iter()
        .map(|(about, said)| vec![about.clone(), said.clone()]);
    made(&words.title, &["about", "sentence"], rows.collect())
}

fn of_lines(lines: &Lines) -> Table {
    let row = |line: &Line| -> Vec<Vec<String>> {
        let points = line.points.iter().map(|point| {
            let value = point.value;
            let numbers = [point.x, value.mean, value.low, value.high].map(short);
            let runs: Vec<String> = point.runs.iter().map(|run| short(*run)).collect();
            [line.name.clone()]
                .into_iter()
                .chain(numbers)
                .chain([runs.join(" ")])
                .collect()
        });
        points.collect()
    };
    let rows = lines.lines.iter().chain(&lines.levels).flat_map(row).collect();
    made(
        &lines.title,
        &["of", &lines.x, &lines.y, "low", "high", "single runs"],
        rows,
    )
}

fn of_intervals(plot: &Intervals) -> Table {
    let row = |row: &flow_engine::figure::IntervalRow| {
        let value = row.value;
        vec![
            row.name.clone(),
            short(value.mean),
            short(value.low),
            short(value.high),
            row.note.clone(),
        ]
    };
    made(
        &plot.title,
        &["of", &plot.x, "low", "high", "note"],
        plot.rows.iter().map(row).collect(),
    )
}

fn of_panels(panels: &Panels, number: &dyn Fn(f64) -> String) -> Table {
    let mut rows = Vec::new();
    for panel in &panels.panels {
        for curve in &panel.curves {
            let point = |(x, y): &(f64, f64)| {
                vec![
                    panel.group.clone(),
                    panel.title.clone(),
                    curve.name.clone(),
                    number(*x),
                    number(*y),
                ]
            };
            rows.extend(curve.points.iter().map(point));
        }
    }
    let (x, y) = panels
        .panels
        .first()
        .map_or(("x", "y"), |panel| (panel.x.as_str(), panel.y.as_str()));
    // Panels may be of different things.
    let same = panels.panels.iter().all(|panel| panel.x == x && panel.y == y);
    let (x, y) = if same { (x, y) } else { ("x", "y") };
    let mut table = made(&panels.title, &["group", "panel", "of", x, y], rows);
    if panels.panels.iter().all(|panel| panel.group.is_empty()) {
        table.head.remove(0);
        table.rows.iter_mut().for_each(|row| drop(row.remove(0)));
    }
    table
}

fn of_curves(panels: &Panels) -> Table {
    let mut rows = Vec::new();
    for panel in &panels.panels {
        for curve in &panel.curves {
            let values = || curve.points.iter().map(|point| point.1);
            let ends = [curve.points.first(), curve.points.last()].map(|end| end.map_or(f64::NAN, |end| end.1));
            let (least, most) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), v| (l.min(v), m.max(v)));
            let mut row = vec![curve.name.clone(), panel.title.clone(), panel.x.clone()];
            row.extend([ends[0], ends[1], least, most].map(short));
            rows.push(row);
        }
    }
    made(
        &panels.title,
        &["of", "what", "over", "first", "last", "least", "most"],
        rows,
    )
}

fn of_bars(bars: &Bars) -> Table {
    let head: Vec<&str> = std::iter::once("")
        .chain(bars.series.iter().map(String::as_str))
        .collect();
    let row = |(name, values): &(String, Vec<f64>)| {
        std::iter::once(name.clone())
            .chain(values.iter().map(|value| short(*value)))
            .collect()
    };
    made(&bars.title, &head, bars.rows.iter().map(row).collect())
}

fn of_matrices(all: &Matrices) -> Table {
    let mut rows = Vec::new();
    for shown in &all.matrices {
        for (t, row) in shown.counts.iter().enumerate() {
            let shares = (0..row.len()).map(|p| format!("{:.1}", 100.0 * matrix::share(row, p)));
            let named = [shown.group.clone(), shown.name.clone(), all.classes[t].clone()];
            rows.push(named.into_iter().chain(shares).collect());
        }
    }
    let head: Vec<&str> = ["at", "of", "class, % taken for:"]
        .into_iter()
        .chain(all.classes.iter().map(String::as_str))
        .collect();
    made(&all.title, &head, rows)
}

fn of_pictures(pictures: &Pictures) -> Table {
    let rows = pictures
        .groups
        .iter()
        .flat_map(|(group, all)| all.iter().map(|picture| vec![group.clone(), picture.alt.clone()]));
    made(&pictures.title, &["group", "picture"], rows.collect())
}

fn of_map(map: &Map) -> Table {
    let mut rows = Vec::new();
    for (layout, points) in &map.layouts {
        for (i, (x, y)) in points.iter().enumerate() {
            let class = map
                .class_of
                .get(i)
                .and_then(|class| map.classes.get(*class))
                .cloned()
                .unwrap_or_default();
            rows.push(vec![layout.clone(), i.to_string(), class, x.to_string(), y.to_string()]);
        }
    }
    made(&map.title, &["layout", "example", "class", "x", "y"], rows)
}

fn of_graph(graph: &Graph) -> Table {
    let row = |(i, drawn): (usize, &flow_engine::figure::GraphBox)| {
        let from: Vec<&str> = graph
            .edges
            .iter()
            .filter(|(_, to)| *to == i)
            .map(|(from, _)| graph.boxes[*from].name.as_str())
            .collect();
        vec![
            drawn.name.clone(),
            drawn.kind.clone(),
            workflow::state(drawn),
            from.join(", "),
        ]
    };
    made(
        &graph.title,
        &["node", "kind", "state and time", "made from"],
        graph.boxes.iter().enumerate().map(row).collect(),
    )
}

fn of_schedule(schedule: &Schedule) -> Table {
    let row = |span: &flow_engine::figure::Span| {
        let times = [span.start_s, span.end_s - span.start_s].map(|seconds| format!("{seconds:.1}"));
        let [from, took] = times;
        vec![
            span.node.clone(),
            span.kind.clone(),
            from,
            took,
            span.threads.to_string(),
            span.ended.clone(),
        ]
    };
    made(
        &schedule.title,
        &["node", "kind", "from, s", "took, s", "threads", "ended"],
        schedule.spans.iter().map(row).collect(),
    )
}

/// As CSV (RFC 4180, but with the line ends of this system).
pub(super) fn csv(table: &Table) -> String {
    let cell = |text: &String| match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.clone(),
    };
    let line = |row: &Vec<String>| format!("{}\n", row.iter().map(cell).collect::<Vec<_>>().join(","));
    std::iter::once(&table.head).chain(&table.rows).map(line).collect()
}
