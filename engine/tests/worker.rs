//! What a worker process may do to the engine.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod toys;

use flow_engine::{RunStatus, WorkerProgram};
use toys::{Bench, Ran, text_of};

#[test]
fn a_worker_that_says_that_it_is_done_and_does_not_exit_is_ended_and_its_result_kept() {
    let bench = Bench::new();
    let late = bench.path("late");
    // Its manifest, one line, names the folder that outputs are left in.
    let script = format!(
        r#"read -r manifest
folder=$(printf %s "$manifest" | sed 's/.*"staging":"\([^"]*\)".*/\1/')
printf hello > "$folder/0"
echo '{{"done":{{"files":["text"],"large":[],"metrics":{{}},"wall_s":0.1,"peak_rss_bytes":null}}}}'
sleep 600
touch {}"#,
        late.display()
    );
    let mut options = bench.options();
    options.worker = Some(WorkerProgram {
        program: "sh".into(),
        arguments: vec!["-c".into(), script],
    });
    let workflow = bench.load("[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"const\"\nvalue = \"x\"\nisolate = true\n");
    let mut events = Vec::new();
    let outcome = flow_engine::run(&workflow, &bench.store, &options, &mut events).unwrap();
    assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.failures);
    assert_eq!(text_of(&bench, &Ran { outcome, events }, "a"), "hello");
    assert!(!late.exists(), "it was waited for to the end");
}
