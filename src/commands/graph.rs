//! `flow graph`: the workflow as a drawing.

use flow_engine::graph::Detail;

use super::load;
use crate::cli::{GraphArgs, GraphFormat};
use crate::exit::{Exit, Failure};
use crate::output::print;

pub(crate) fn graph(args: &GraphArgs) -> Result<Exit, Failure> {
    let workflow = load(&args.workflow)?;
    let detail = if args.expanded {
        Detail::Instances
    } else {
        Detail::Nodes
    };
    print(&match args.format {
        GraphFormat::Dot => flow_engine::graph::dot(&workflow, detail),
        GraphFormat::Mermaid => flow_engine::graph::mermaid(&workflow, detail),
    });
    Ok(Exit::Ok)
}
