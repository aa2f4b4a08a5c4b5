//! The two live pages: the frame of each, which its script fills.

use flow_engine::Run;
use maud::html;

use crate::commands::report::page::live;

pub(super) fn list() -> String {
    // What they are sorted by; none of texts.
    let titles = [
        ("workflow", "Workflow"),
        ("status", "Status"),
        ("", "Outcome"),
        ("started", "Started"),
        ("took", "Took"),
        ("ran", "Ran"),
        ("cached", "Cached"),
        ("", "Overrides"),
    ];
    let body = html! {
        header { h1 { "Runs" } p.quiet #count aria-live="polite" {} }
        form #filter role="search" {
            label { "Only runs with "
                input #where name="where" type="text" autocomplete="off" spellcheck="false" placeholder="status = failed and age < 2d";
            }
            p.problem.quiet #wrong role="alert" hidden="hidden" {}
        }
        section.broad {
            div.wide tabindex="0" role="region" aria-label="Runs" {
                table.live #runs {
                    thead { tr {
                        @for (by, title) in titles {
                            th scope="col" { @if by.is_empty() { (title) } @else { button type="button" data-sort=(by) { (title) } } }
                        }
                    } }
                    tbody {}
                }
            }
        }
        p.quiet { "Fields: id, workflow, status, override, headline, started, age, took, nodes, ran, cached, failed, metrics.<name>." }
    };
    live("Runs", body, include_str!("list.js"))
}

pub(super) fn run(run: &Run) -> String {
    let body = html! {
        nav aria-label="Pages" { a href="../../" { "All runs" } a #report href="report" { "Report" } }
        header {
            h1 { (run.workflow()) }
            p.quiet { (run.id) }
            p #state aria-live="polite" { "reading" }
            p {
                button #stop type="button" hidden="hidden" { "Stop at the next checkpoint" }
            }
            div.bar-ground { div.bar #bar style="width:0" {} }
        }
        section #chosen hidden="hidden" {
            h2 #chosen-name {}
            p.quiet #chosen-state {}
            div.small #curves {}
            details open="open" { summary { "Why it had to run" } pre #why tabindex="0" {} }
            details open="open" { summary { "Log" } pre.log #log tabindex="0" {} }
        }
        section {
            h2 { "Nodes" }
            div.wide tabindex="0" role="region" aria-label="Nodes" {
                table.live #nodes {
                    thead { tr { @for title in ["Node", "Kind", "State", "Progress", "Took", "Now"] { th scope="col" { (title) } } } }
                    tbody {}
                }
            }
        }
    };
    live(&run.id, body, include_str!("run.js"))
}
