//! One figure as a part of the page: heading, legend, drawing, numbers.

use std::collections::BTreeSet;

use flow_engine::figure::{Figure, Graph, Map, Matrices, Panels, Picture, Pictures, Table};
use maud::{Markup, html};

use super::drawing::{Drawing, Key, NARROW, WIDE, legend};
use super::{bars, chart, forest, map, matrix, numbers, panel, schedule, workflow};

/// What a figure is called in a link and on the command line.
pub(super) fn name(title: &str) -> String {
    let letters = title.chars().map(|c| {
        if c.is_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    });
    let words: String = letters.collect();
    words
        .split('-')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

/// What is drawn of a figure at a width, with its legend; nothing of words, tables and pictures.
pub(super) fn drawings(figure: &Figure, width: f64) -> (Vec<Key>, Vec<Drawing>) {
    match figure {
        Figure::Lines(lines) => (chart::keys(lines), vec![chart::draw(lines, width)]),
        Figure::Intervals(plot) => (Vec::new(), vec![forest::draw(plot, width)]),
        Figure::Panels(panels) => (panel::keys(panels), panel::draw(panels)),
        Figure::Bars(shown) => (bars::keys(shown), vec![bars::draw(shown, width)]),
        Figure::Matrices(all) => (Vec::new(), matrix::draw(all)),
        Figure::Map(shown) => (map::keys(shown), map::draw(shown)),
        Figure::Graph(graph) => (workflow::keys(graph), vec![workflow::draw(graph)]),
        Figure::Schedule(shown) => (schedule::keys(shown), vec![schedule::draw(shown, width)]),
        Figure::Words(_) | Figure::Table(_) | Figure::Pictures(_) | Figure::Judged(_) => (Vec::new(), Vec::new()),
    }
}

/// A figure with its name, which is what links lead to.
pub(super) fn section(name: &str, figure: &Figure) -> Markup {
    let title = figure.title();
    html! {
        section.broad[matches!(figure, Figure::Graph(_))] id=(name) {
            h2 { (title) }
            @match figure {
                Figure::Words(words) => {
                    @for (about, said) in &words.sentences {
                        p.answer { @if !about.is_empty() { b { (about) ":" } " " } (emphasised(said)) }
                    }
                }
                Figure::Table(shown) => (table(shown)),
                Figure::Pictures(shown) => (pictures(shown)),
                Figure::Panels(panels) => (folded_panels(panels, figure)),
                Figure::Matrices(all) => (matrices(all, figure)),
                Figure::Map(shown) => (mapped(shown, figure)),
                Figure::Graph(shown) => (graph(shown)),
                other => (both(other)),
            }
            (note(figure))
            @if let Some(behind) = numbers::summary(figure) {
                details.numbers { summary { "The numbers" } (table(&behind)) }
            }
        }
    }
}

/// As large as it can be read; a wide one is moved sideways in its frame.
fn graph(shown: &Graph) -> Markup {
    let drawing = workflow::draw(shown);
    html! {
        (legend(&workflow::keys(shown)))
        div.wide tabindex="0" role="region" aria-label=(shown.title) {
            div style=(format!("min-width:{:.0}px;max-width:{:.0}px", 0.72 * drawing.width, 1.1 * drawing.width)) { (drawing.on_page()) }
        }
    }
}

fn note(figure: &Figure) -> Markup {
    let note = match figure {
        Figure::Lines(lines) => lines.note.as_str(),
        Figure::Panels(panels) => panels.note.as_str(),
        Figure::Bars(bars) => bars.note.as_str(),
        Figure::Map(map) => map.note.as_str(),
        Figure::Pictures(pictures) => pictures.note.as_str(),
        Figure::Matrices(_) => {
            "Rows: what an image is; columns: what it was taken for; each row adds up to 100 %, all draws together. Mistakes have another colour \
             than what is right."
        }
        Figure::Graph(_) => {
            "Nodes as written, with how many instances of each ran or came from the cache, and the seconds of work when they were made."
        }
        _ => "",
    };
    html! { @if !note.is_empty() { p.quiet { (note) } } }
}

/// As it fits a screen, and as it fits a phone: one of them is shown.
fn both(figure: &Figure) -> Markup {
    let (keys, wide) = drawings(figure, WIDE);
    let (_, narrow) = drawings(figure, NARROW);
    html! {
        (legend(&keys))
        div.screen { @for drawing in &wide { (drawing.on_page()) } }
        div.phone { @for drawing in &narrow { (drawing.on_page()) } }
    }
}

/// Small drawings by group, each with its legend; of several groups all but the first are folded.
fn folded(groups: &[&str], drawings: &[Drawing], keys: &dyn Fn(&str) -> Vec<Key>) -> Markup {
    let mut parts: Vec<(&str, Vec<&Drawing>)> = Vec::new();
    for (group, drawing) in groups.iter().zip(drawings) {
        match parts.iter_mut().find(|(known, _)| known == group) {
            Some((_, part)) => part.push(drawing),
            None => parts.push((group, vec![drawing])),
        }
    }
    let one = parts.len() == 1;
    html! {
        @for (i, (group, part)) in parts.iter().enumerate() {
            @let shown = html! { (legend(&keys(group))) div.small { @for drawing in part { (drawing.on_page()) } } };
            @if one { (shown) } @else { details open[i == 0] { summary { (group) } (shown) } }
        }
    }
}

fn folded_panels(panels: &Panels, figure: &Figure) -> Markup {
    let groups: Vec<&str> = panels.panels.iter().map(|panel| panel.group.as_str()).collect();
    let keys = |group: &str| panel::keys_of_group(panels, group);
    folded(&groups, &drawings(figure, WIDE).1, &keys)
}

fn matrices(all: &Matrices, figure: &Figure) -> Markup {
    let groups: Vec<&str> = all.matrices.iter().map(|matrix| matrix.group.as_str()).collect();
    html! {
        p.sort hidden="hidden" {
            "Classes in order of: "
            button type="button" data-order="set" aria-pressed="true" { "the data set" } " "
            button type="button" data-order="right" aria-pressed="false" { "how many are right" } " "
            button type="button" data-order="like" aria-pressed="false" { "likeness" }
        }
        (folded(&groups, &drawings(figure, WIDE).1, &|_| Vec::new()))
    }
}

/// Dots, with the picture of the one under the pointer.
fn mapped(shown: &Map, figure: &Figure) -> Markup {
    let (keys, drawings) = drawings(figure, WIDE);
    html! {
        (legend(&keys))
        div.small.map {
            @for drawing in &drawings { (drawing.on_page()) }
            div.thumbs hidden="hidden" {
                @for picture in &shown.pictures {
                    img src=(format!("data:image/png;base64,{}", picture.png)) alt=(picture.alt) width="72" height="72";
                }
            }
        }
    }
}

fn pictures(shown: &Pictures) -> Markup {
    let one = |picture: &Picture| {
        html! {
            figure {
                img src=(format!("data:image/png;base64,{}", picture.png)) alt=(picture.alt) width=(picture.size.0) height=(picture.size.1) loading="lazy";
                @if !picture.caption.is_empty() { figcaption { (picture.caption) } }
            }
        }
    };
    html! {
        @for (i, (group, all)) in shown.groups.iter().enumerate() {
            details open[i < 2] {
                summary { (group) }
                div.pictures.large[all.iter().any(|picture| picture.size.0 > 72)] { @for picture in all { (one(picture)) } }
            }
        }
    }
}

/// Text in which `**` and backticks stand in pairs, as in Markdown.
fn emphasised(text: &str) -> Markup {
    html! {
        @for (i, bold) in text.split("**").enumerate() {
            @for (j, part) in bold.split('`').enumerate() {
                @match (i % 2 == 1, j % 2 == 1) {
                    (_, true) => { code { (part) } }
                    (true, false) => { b { (part) } }
                    (false, false) => { (part) }
                }
            }
        }
    }
}

/// Longer cells are broken into lines.
const WORDS: usize = 28;
/// Likewise titles of columns.
const HEAD: usize = 12;

pub(super) fn table(shown: &Table) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label=(shown.title) {
            table {
                thead { tr { @for title in &shown.head { th.words[title.chars().count() > HEAD] scope="col" { (title) } } } }
                tbody {
                    @for row in &shown.rows {
                        tr {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" { (cell) } } @else { td.words[cell.chars().count() > WORDS] { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The names of figures, each once: a second of the same title has a number.
pub(super) fn named<'a>(figures: impl Iterator<Item = &'a Figure>) -> Vec<(String, &'a Figure)> {
    let mut known = BTreeSet::new();
    let mut all = Vec::new();
    for figure in figures.filter(|figure| !figure.title().is_empty()) {
        let base = name(figure.title());
        let mut numbered = (2..).map(|n| format!("{base}-{n}"));
        let mut name = base.clone();
        while !known.insert(name.clone()) {
            name = numbered.next().unwrap_or_default();
        }
        all.push((name, figure));
    }
    all
}
