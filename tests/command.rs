//! `kind = "command"`: programs of one's own as nodes.

mod common;

use std::time::{Duration, Instant};

use common::Place;

/// Two shell scripts, the second fed by the first.
const TWO: &str = r#"
[workflow]
name = "two"
[nodes.numbers]
kind = "command"
run = ["sh", "make.sh", "{outputs}/numbers.txt"]
code = ["make.sh"]
outputs = ["numbers.txt"]

[nodes.sum]
kind = "command"
run = ["sh", "-c", "awk -v k={params.factor} '{{ s += $1 }} END {{ printf \"{{ \\\"sum\\\": %d }}\", k * s }}' {inputs.from}/numbers.txt > {outputs}/metrics.json"]
inputs = { from = "numbers" }
params = { factor = 2 }
metrics = "metrics.json"
"#;

fn place() -> Place {
    let place = Place::new(TWO);
    place.write("make.sh", "for i in 1 2 3; do echo $i; done > \"$1\"\n");
    place
}

/// The error of a run of this one node, which must fail.
fn failure(node: &str) -> String {
    let place = Place::new(&format!(
        "[workflow]\nname = \"one\"\n[nodes.n]\nkind = \"command\"\n{node}\n"
    ));
    let ended = place.flow(&["run", "w.toml"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    ended.stderr
}

#[test]
fn a_program_gets_its_inputs_and_its_metrics_can_be_queried() {
    let place = place();
    place.run(&[]);
    let found = place
        .flow(&["cache", "query", "kind = command and metrics.sum = 12", "--json"])
        .json_lines();
    assert_eq!(found.len(), 1, "{found:?}");
    place.run(&[]);
    assert!(place.ran().is_empty(), "{:?}", place.ran());
}

#[test]
fn an_edit_of_the_code_runs_it_again_and_what_comes_out_the_same_ends_there() {
    let place = place();
    place.run(&[]);
    place.write("make.sh", "# the same in other words\nprintf '1\\n2\\n3\\n' > \"$1\"\n");
    place.run(&[]);
    assert_eq!(place.ran(), ["numbers"]);
    place.write("make.sh", "echo 5 > \"$1\"\n");
    place.run(&[]);
    assert_eq!(place.ran(), ["numbers", "sum"]);
}

#[test]
fn a_changed_parameter_is_the_reason_told() {
    let place = place();
    place.run(&[]);
    let plan = place.flow(&["plan", "w.toml", "--set", "nodes.sum.params.factor=3"]);
    assert!(plan.stdout.contains("params.factor: 2 -> 3"), "{}", plan.stdout);
}

#[test]
fn a_failing_program_shows_its_exit_status_and_its_last_words() {
    let error = failure(
        r#"run = ["sh", "-c", "echo before; echo the reason >&2; exit 3"]
outputs = ["x"]"#,
    );
    assert!(
        error.contains("exit status 3") && error.contains("the reason"),
        "{error}"
    );
}

#[test]
fn missing_and_undeclared_outputs_and_unknown_programs_are_errors() {
    let missing = failure("run = [\"true\"]\noutputs = [\"x.txt\"]");
    assert!(missing.contains("did not write `x.txt`"), "{missing}");
    let more = failure("run = [\"sh\", \"-c\", \"touch {outputs}/x {outputs}/y\"]\noutputs = [\"x\"]");
    assert!(more.contains("wrote `y`") && more.contains("not declared"), "{more}");
    let unknown = failure("run = [\"no-such-program\"]\noutputs = [\"x\"]");
    assert!(unknown.contains("cannot start `no-such-program`"), "{unknown}");
}

#[test]
fn a_program_sees_declared_variables_only() {
    let place = Place::new(
        "[workflow]\nname = \"one\"\n[nodes.n]\nkind = \"command\"\nrun = [\"env\"]\nstdout = \"env.txt\"\nenv = { GIVEN = \"1\" }\npass_env = [\"PASSED\"]\n",
    );
    let run = place
        .command(&["run", "w.toml"])
        .env("PASSED", "2")
        .env("SECRET", "3")
        .output()
        .expect("flow starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let paths = place.flow(&["cache", "query", "node = n", "--path"]).stdout;
    let seen = std::fs::read_to_string(place.path(paths.trim())).expect("what it printed");
    assert!(
        seen.contains("GIVEN=1") && seen.contains("PASSED=2") && !seen.contains("SECRET"),
        "{seen}"
    );
}

#[test]
fn a_program_that_takes_too_long_is_stopped_with_all_that_it_started() {
    let started = Instant::now();
    let error = failure("run = [\"sh\", \"-c\", \"sleep 300 & sleep 300\"]\nstdout = \"x\"\ntimeout_s = 0.2");
    assert!(error.contains("still running after 0.2 s"), "{error}");
    assert!(
        started.elapsed() < Duration::from_mins(1),
        "the program's own child held the run up"
    );
}

#[test]
fn an_unknown_placeholder_is_told_at_its_place_before_anything_runs() {
    let place = Place::new(
        "[workflow]\nname = \"one\"\n[nodes.n]\nkind = \"command\"\nrun = [\"cat\", \"{inputs.data}\"]\nstdout = \"x\"\n",
    );
    let ended = place.flow(&["run", "w.toml"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("{inputs.data}") && ended.stderr.contains("w.toml:5"),
        "{}",
        ended.stderr
    );
}
