//! The two live pages: the frame of each, which its script fills.

use flow_engine::Run;
use maud::html;

use crate::commands::report::page::live;

pub(super) fn list() -> String {
    let titles = [
        ("started", "Run"),
        ("status", "Status"),
        ("took", "Took"),
        ("ran", "Ran"),
        ("cached", "Cached"),
    ];
    let body = html! {
        header { h1 { "Runs" } p.quiet #count aria-live="polite" {} }
        form #filter role="search" {
            label { "Only those for which "
                input #where name="where" type="text" autocomplete="off" spellcheck="false" placeholder="status = failed and age < 2d";
            }
            p.problem.quiet #wrong role="alert" hidden="hidden" {}
        }
        section {
            div.wide tabindex="0" role="region" aria-label="Runs" {
                table.live #runs {
                    thead { tr {
                        @for (by, title) in titles { th scope="col" { button type="button" data-sort=(by) { (title) } } }
                        th scope="col" { "Overrides" } th scope="col" { "Outcome" }
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
        p { a href="../../" { "All runs" } }
        header {
            h1 { (run.id) }
            p.quiet #state aria-live="polite" { "reading" }
            p {
                a #report href="report" { "Report" } " "
                button #stop type="button" hidden="hidden" { "Stop at the next checkpoint" }
            }
            div.bar-ground { div.bar #bar style="width:0" {} }
        }
        section #chosen hidden="hidden" {
            h2 #chosen-name {}
            p.quiet #chosen-state {}
            div.small #curves {}
            details open="open" { summary { "Why it runs" } pre #why tabindex="0" {} }
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
