//! `flow doctor`: is this machine fit, and are the numerics right?

use std::path::Path;

use flow_nodes::measure::Gpu as Card;
use flow_reference::{CaseResult, Outcome, run_reference};
use serde_json::json;

use crate::cli::{Cli, DoctorArgs};
use crate::exit::{Exit, Failure};
use crate::output::{print, print_json_lines, say};

/// A GPU in a line, with what it takes of the kernels, or why it takes none.
pub(crate) fn described(card: &Card) -> String {
    let (major, minor) = card.capability;
    let takes = match card.code {
        Some(code) => format!("takes {code}"),
        None => flow_nodes::measure::TOO_OLD.to_owned(),
    };
    let memory = card.memory >> 20;
    format!(
        "{}, {memory} MiB, compute capability {major}.{minor}, driver for CUDA {}, {takes}",
        card.name, card.driver
    )
}

pub(crate) fn doctor(cli: &Cli, args: &DoctorArgs) -> Result<Exit, Failure> {
    match &args.reference {
        Some(folder) => reference(folder, args.json),
        None => machine(cli, args.json),
    }
}

/// A line for each golden case; fails if any falls short. What is not built is no failure, and no pass either.
fn reference(folder: &Path, json: bool) -> Result<Exit, Failure> {
    let results = run_reference(folder).map_err(|e| Failure::failed(e.to_string()))?;
    if json {
        print_json_lines(results.iter().map(|r| {
            let (outcome, error, _) = line(r);
            let error = error.is_finite().then_some(error);
            json!({ "version": 1, "file": r.file, "place": r.place, "case": r.case, "outcome": outcome.to_lowercase(), "error": error })
        }))?;
    } else {
        for result in &results {
            print(&shown(result));
        }
    }
    let count = |wanted: fn(&Outcome) -> bool| results.iter().filter(|r| wanted(&r.outcome)).count();
    let failed = count(|o| matches!(o, Outcome::Fail { .. }));
    let built = count(|o| !matches!(o, Outcome::NotBuilt));
    say(&sum([built - failed, built, results.len() - built]));
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failed })
}

/// How a case ended: in a word, by how much, and why.
fn line(result: &CaseResult) -> (&'static str, f64, String) {
    match &result.outcome {
        Outcome::Pass { error } => ("pass", *error, String::new()),
        Outcome::Fail { what, error, tolerance } => ("FAIL", *error, format!("  {what}, tolerance {tolerance:.0e}")),
        Outcome::NotBuilt => ("not built", f64::NAN, String::new()),
    }
}

fn shown(result: &CaseResult) -> String {
    let (outcome, error, more) = line(result);
    let error = match error.is_nan() {
        true => String::new(),
        false => format!("  largest error {error:.1e}"),
    };
    format!(
        "{outcome:9} {} {} {}{error}{more}\n",
        result.file, result.place, result.case
    )
}

fn sum([passed, built, not_built]: [usize; 3]) -> String {
    format!("{passed} of {built} built cases pass, {not_built} cases not built")
}

/// What matters of this machine for training, and whether the cache can be used.
fn machine(cli: &Cli, json: bool) -> Result<Exit, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let vectors = flow_nodes::instruction_set();
    let cache = match super::open_store(cli) {
        Ok(_) => "can be used".to_owned(),
        Err(Failure::Other { message, .. }) => message,
        Err(Failure::Workflow(_)) => unreachable!("BUG: opening the cache reads no workflow"),
    };
    let sound = cache == "can be used";
    let (gpus, no_gpu) = match flow_nodes::device::cards() {
        Ok(cards) => (cards, None),
        Err(why) => (&[][..], Some(why)),
    };
    if json {
        let gpu = |card: &Card| {
            let (major, minor) = card.capability;
            json!({
                "number": card.number, "name": card.name, "memory_bytes": card.memory, "driver": card.driver,
                "capability": format!("{major}.{minor}"), "code": card.code.map(|code| code.to_string()),
            })
        };
        let gpus: Vec<_> = gpus.iter().map(gpu).collect();
        let found = json!({
            "version": 1, "flow": env!("CARGO_PKG_VERSION"), "cores": cores, "vectors": vectors, "cache": cache, "gpus": gpus,
            "no_gpu": no_gpu,
        });
        print_json_lines([found])?;
    } else {
        print(&format!(
            "flow     {}\ncores    {cores}\nvectors  {vectors}\ncache    {} {cache}\n",
            env!("CARGO_PKG_VERSION"),
            cli.cache.display()
        ));
        no_gpu.iter().for_each(|why| print(&format!("gpu      none: {why}\n")));
        gpus.iter()
            .for_each(|card| print(&format!("gpu      {}: {}\n", card.number, described(card))));
    }
    Ok(if sound { Exit::Ok } else { Exit::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_and_golden_cases_are_told_in_a_line_each() {
        let card = |capability, code| Card {
            number: 0,
            name: "NVIDIA H100".to_owned(),
            memory: 80 << 30,
            capability,
            driver: "13.0".to_owned(),
            code,
        };
        let of = |outcome| CaseResult {
            file: "losses.json".into(),
            place: 1,
            case: "nt_xent".into(),
            outcome,
        };
        let failed = Outcome::Fail {
            what: "gradient".into(),
            error: 1e-2,
            tolerance: 1e-5,
        };
        let cases = [Outcome::Pass { error: 1e-7 }, failed, Outcome::NotBuilt].map(|outcome| shown(&of(outcome)));
        let old = described(&card((7, 0), None));
        insta::assert_snapshot!(format!("{old}\n{}{}", cases.concat(), sum([1, 2, 1])));
    }
}
