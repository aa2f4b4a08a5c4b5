//! From sections to nodes: defaults put in, parameters read by their kinds, names and files looked up.

use rayon::prelude::*;

use super::defaults;
use super::diagnose::{Diagnostics, Problem};
use super::names;
use super::node_table::NodeTable;
use super::parse::Document;
use super::template::{self, Template};
use crate::registry::Registry;

/// Reads every node's parameters, and checks that all names in them lead somewhere and that nothing depends on itself.
///
/// # Errors
/// All problems of all nodes, together with those that were found before.
pub(crate) fn resolve(
    mut document: Document,
    registry: &Registry,
    mut diagnostics: Diagnostics,
) -> Result<Vec<Template>, Diagnostics> {
    defaults::apply(&document.defaults, &mut document.nodes, registry, &mut diagnostics);
    let rounds_of = |node: &NodeTable| (node.name.clone(), node.rounds.as_ref().map_or(0, |r| r.count));
    let mut rounds: Vec<(String, u32)> = document.nodes.iter().map(rounds_of).collect();
    rounds.extend(document.broken.into_iter().map(|name| (name, 0)));
    let matrix = &document.matrix;
    let read = |table: NodeTable| {
        let mut found = Diagnostics::default();
        (template::read(table, matrix, registry, &mut found), found)
    };
    let read: Vec<(Template, Diagnostics)> = document.nodes.into_par_iter().with_min_len(64).map(read).collect();
    let mut templates = Vec::with_capacity(read.len());
    for (template, found) in read {
        templates.push(template);
        diagnostics.extend(found.problems);
    }
    names::check(&templates, &rounds, &mut diagnostics);
    for template in &templates {
        check_files(template, &mut diagnostics);
    }
    diagnostics.ok(templates)
}

fn check_files(template: &Template, diagnostics: &mut Diagnostics) {
    for variant in &template.variants {
        for file in &variant.files {
            let path = template.table.dir.join(&file.path);
            let Err(error) = std::fs::metadata(&path) else { continue };
            let written = file.path.display();
            // The parameter that leads to it comes before a slash, if there is one.
            let parameter = file.role.split('/').next().unwrap_or_default();
            let span = template.span_of(parameter);
            let message = format!("cannot read `{written}`: {error}");
            diagnostics.push(
                Problem::at(
                    "workflow::file",
                    &span,
                    message,
                    format!("read by `{}`", template.table.name),
                )
                .help(format!(
                    "searched at {}: paths are relative to the file that they are written in",
                    path.display()
                )),
            );
        }
    }
}
