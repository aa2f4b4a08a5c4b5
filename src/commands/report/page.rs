//! A report as one HTML page that loads nothing. Templates are maud's: checked while compiling, and what is put in is escaped.

use flow_engine::figure::{Figure, Lines, Table};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Content, chart, forest};
use crate::output::duration;

const STYLE: &str = include_str!("style.css");

pub(super) fn html(content: &Content) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Whatever a workflow's text may hold, this page loads nothing and runs nothing.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                title { (content.title()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header { h1 { (content.title()) } p.quiet { (content.ended().replace('`', "")) } }
                    (problems(content))
                    @for figure in content.figures.iter().flat_map(|node| &node.figures) { (section(figure)) }
                    (time(content))
                    (provenance(content))
                }
            }
        }
    };
    page.into_string()
}

fn section(figure: &Figure) -> Markup {
    match figure {
        Figure::Words(words) => html! {
            section {
                h2 { (words.title) }
                @for (about, said) in &words.sentences {
                    p.answer { @if !about.is_empty() { b { (about) } " " } (emphasised(said)) }
                }
            }
        },
        Figure::Lines(lines) => html! {
            section {
                h2 { (lines.title) }
                (chart::draw(lines))
                p.quiet { "Lines: means; bands: 95 % intervals; faint dots: single runs; dashed: held against." }
                details { summary { "The numbers" } (table(&numbers(lines))) }
            }
        },
        Figure::Intervals(plot) => html! { section { h2 { (plot.title) } (forest::draw(plot)) } },
        Figure::Table(shown) => html! { section { h2 { (shown.title) } (table(shown)) } },
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

/// The table behind a chart.
fn numbers(lines: &Lines) -> Table {
    let row = |line: &flow_engine::figure::Line| -> Vec<Vec<String>> {
        let points = line.points.iter().map(|point| {
            let value = point.value;
            let numbers = [point.x, value.mean, value.low, value.high].map(chart::short);
            let runs: Vec<String> = point.runs.iter().map(|run| chart::short(*run)).collect();
            [line.name.clone()]
                .into_iter()
                .chain(numbers)
                .chain([runs.join(" ")])
                .collect()
        });
        points.collect()
    };
    let head = ["", &lines.x, &lines.y, "low", "high", "single runs"];
    Table {
        title: lines.title.clone(),
        head: head.map(ToOwned::to_owned).to_vec(),
        rows: lines.lines.iter().chain(&lines.levels).flat_map(row).collect(),
    }
}

fn table(shown: &Table) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label=(shown.title) {
            table {
                thead { tr { @for title in &shown.head { th scope="col" { (title) } } } }
                tbody {
                    @for row in &shown.rows {
                        tr {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn problems(content: &Content) -> Markup {
    let failures = content.summary.iter().flat_map(|summary| &summary.failures);
    let failures: Vec<_> = failures.collect();
    html! {
        @if !failures.is_empty() || !content.damaged.is_empty() {
            section.problem {
                h2 { "What is missing" }
                @for failure in failures { p { b { (failure.node) } " failed: " (failure.message) } }
                @for (file, why) in &content.damaged { p { b { (file) } " cannot be shown: " (why) } }
            }
        }
        @if content.figures.is_empty() { section { p { "No node of this run has written figures." } } }
    }
}

/// Where the time went.
fn time(content: &Content) -> Markup {
    let most = content.seconds.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    html! {
        @if most > 0.0 {
            section {
                h2 { "Where the time went" }
                div.bars {
                    @for (kind, seconds) in &content.seconds {
                        span { (kind) }
                        div.bar style=(format!("width:{:.1}%", 100.0 * seconds / most)) {}
                        span.quiet { (duration(*seconds)) }
                    }
                }
                p.quiet { "Work by node kind when it was done, results from the cache included." }
            }
        }
    }
}

fn provenance(content: &Content) -> Markup {
    html! {
        section {
            h2 { "Provenance" }
            dl { @for (name, value) in content.provenance() { dt { (name) } dd { code { (value) } } } }
            h3 { "To cite" }
            p.cite { (content.citation()) }
            details { summary { "Workflow" } pre tabindex="0" { (content.workflow) } }
            @if let Some(summary) = &content.summary {
                details {
                    summary { "Nodes and keys" }
                    div.wide tabindex="0" role="region" aria-label="nodes" { table { tbody {
                        @for node in &summary.nodes {
                            tr {
                                th scope="row" { (node.name) }
                                td { (format!("{:?}", node.status).to_lowercase()) }
                                td { @if let Some(cost) = node.cost { (duration(cost.wall_s)) } }
                                td { @if let Some(key) = node.key { code { (key.short()) } } }
                            }
                        }
                    } } }
                }
            }
        }
    }
}
