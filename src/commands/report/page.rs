//! A report as one HTML page that loads nothing. Templates are maud's: checked while compiling, and what is put in is escaped.

use std::sync::LazyLock;

use base64::Engine;
use flow_engine::figure::Figure;
use maud::{DOCTYPE, Markup, html};
use sha2::{Digest, Sha256};

use super::compare::Comparison;
use super::content::Content;
use super::drawing::{raw, style};
use super::section::{named, section};
use crate::output::duration;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What a page may run: its own scripts. Whatever a workflow's text may hold, it loads nothing and runs nothing else.
fn policy(scripts: &[&str], connect: &str) -> String {
    let digest = |script: &&str| {
        format!(
            "'sha256-{}'",
            base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script))
        )
    };
    let scripts: Vec<String> = scripts.iter().map(digest).collect();
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; connect-src {connect}; script-src {}",
        scripts.join(" ")
    )
}

fn page(title: &str, body: Markup) -> String {
    static POLICY: LazyLock<String> = LazyLock::new(|| policy(&[SCRIPT], "'none'"));
    around(title, body, &POLICY, None)
}

/// The first of each sort of figures: `Gain over scratch, labels 40` and `Gain over scratch, labels 100` are of one.
fn sorts<'a>(figures: &[(String, &'a Figure)]) -> Vec<(String, &'a str)> {
    let mut sorts: Vec<(String, &str)> = Vec::new();
    for (name, figure) in figures {
        let title = figure.title();
        let sort = title.split([',', ':']).next().unwrap_or(title);
        if !sorts.iter().any(|(_, known)| *known == sort) {
            sorts.push((name.clone(), sort));
        }
    }
    sorts
}

/// A page that talks to the server that it came from, by a script of its own.
pub(crate) fn live(title: &str, body: Markup, script: &str) -> String {
    around(title, body, &policy(&[SCRIPT, script], "'self'"), Some(script))
}

fn around(title: &str, body: Markup, policy: &str, script: Option<&str>) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy);
                title { (title) }
                style { (raw(&style())) (raw(STYLE)) }
            }
            body {
                button.theme type="button" hidden="hidden" { "Theme" }
                main { (body) }
                div.tip role="status" hidden="hidden" {}
                script { (raw(SCRIPT)) }
                @if let Some(script) = script { script { (raw(script)) } }
            }
        }
    };
    page.into_string()
}

pub(super) fn html(content: &Content) -> String {
    let figures = named(content.all());
    let body = html! {
        header { h1 { (content.title()) } p.quiet { (content.ended().replace('`', "")) } }
        nav aria-label="On this page" {
            @for (name, sort) in sorts(&figures) { a href=(format!("#{name}")) { (sort) } }
            a href="#provenance" { "Provenance" }
        }
        (problems(content))
        @for (name, figure) in &figures { (section(name, figure)) }
        (time(content))
        (provenance(content))
    };
    page(content.title(), body)
}

pub(super) fn of_comparison(comparison: &Comparison) -> String {
    let names = std::iter::once(&comparison.first).chain(comparison.others.iter().map(|other| &other.run));
    let body = html! {
        header { h1 { (comparison.title) } p.quiet { (names.cloned().collect::<Vec<_>>().join(" beside ")) } }
        @for other in &comparison.others {
            @if comparison.others.len() > 1 { h2.run { (other.run) " beside " (comparison.first) } }
            @for (name, figure) in named(other.figures.iter()) { (section(&format!("{}-{name}", other.run), figure)) }
            section {
                h2 { "What changed in the workflow" }
                @if other.workflow.is_empty() { p { "Its text is the same." } }
                @else { pre.diff tabindex="0" { @for line in other.workflow.lines() { (diff_line(line)) } } }
            }
        }
    };
    page(&comparison.title, body)
}

fn diff_line(line: &str) -> Markup {
    html! {
        @match line.chars().next() {
            Some('+') => { ins { (line) } }
            Some('-') => { del { (line) } }
            _ => { span { (line) } }
        }
        "\n"
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
        @if content.figures.is_empty() { p.quiet { "There is no verdict: nothing is compared in this run, or it has not come to that." } }
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
        section #provenance {
            h2 { "Provenance" }
            dl { @for (name, value) in content.provenance() { dt { (name) } dd { code { (value) } } } }
            h3 { "To cite" }
            p.cite { (content.citation()) }
            details { summary { "Workflow" } pre tabindex="0" { (content.workflow) } }
            @if let Some(summary) = &content.summary {
                details.numbers {
                    summary { "Nodes and keys" }
                    div.wide tabindex="0" role="region" aria-label="nodes" { table {
                        thead { tr { @for head in ["node", "", "took", "key"] { th scope="col" { (head) } } } }
                        tbody {
                            @for node in &summary.nodes {
                                tr {
                                    th scope="row" { (node.name) }
                                    td { (format!("{:?}", node.status).to_lowercase()) }
                                    td { @if let Some(cost) = node.cost { (duration(cost.wall_s)) } }
                                    td { @if let Some(key) = node.key { code { (key.short()) } } }
                                }
                            }
                        }
                    } }
                }
            }
        }
    }
}
