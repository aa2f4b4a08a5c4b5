//! Whole runs on GPUs, without one: NVIDIA's driver is the emulator's, which does all that a stream is asked for as late as it may.

#![cfg(target_os = "linux")]

mod common;

use std::thread;

use common::{Ended, Place, SMALL, flat};

/// Every kind of node, in few nodes and steps: the emulator takes a second for what a GPU does in a millisecond.
fn small() -> String {
    SMALL
        .replace("labels = [20, 40]", "labels = [20]")
        .replace("seed = [0, 1]", "seed = [0]")
        .replace("epochs = 3", "epochs = 2")
        .replace("steps = 6", "steps = 2")
}

/// Its pre-training alone.
fn pretraining() -> String {
    let workflow = small();
    let start = workflow.find("[nodes.scratch]").expect("the fixture has it");
    workflow[..start].replace("arm = ", "# arm = ")
}

/// What the emulated driver shows, as environment variables.
type Machine<'a> = &'a [(&'a str, &'a str)];

/// Runs flow where it finds the emulated driver, on a machine as these variables tell.
fn on_gpus(place: &Place, machine: Machine<'_>, arguments: &[&str]) -> Ended {
    let mut command = place.command(arguments);
    command
        .env("LD_LIBRARY_PATH", flow_emulator::DRIVER)
        .env_remove("CUDA_VISIBLE_DEVICES")
        .envs(machine.iter().copied());
    Ended::from(command.output().expect("flow can be started"))
}

#[test]
fn every_kind_of_node_runs_on_a_gpu_and_gives_the_same_bits_on_another_machine_of_its_architecture() {
    let machines: [(Machine<'_>, &[&str]); 2] = [
        (&[], &["--device", "cuda"]),
        (
            &[("EMULATED_GPUS", "2"), ("EMULATED_MEMORY", "40000000000")],
            &["--device", "auto", "--jobs", "1"],
        ),
    ];
    let digests = thread::scope(|threads| {
        let runs = machines.map(|(machine, how)| {
            threads.spawn(move || {
                let place = Place::new(&small());
                let run = [&["run", "w.toml", "-q"], how].concat();
                let ended = on_gpus(&place, machine, &run);
                assert_eq!(ended.code, 0, "{}", ended.stderr);
                let ended = on_gpus(&place, machine, &run);
                assert_eq!((ended.code, place.ran()), (0, vec![]), "all is found again");
                // What was made on a GPU can be used there, and on the CPU.
                common::stripes((20, 20), 1, 3)
                    .save(place.path("a.png"))
                    .expect("written");
                for device in ["cuda", "cpu"] {
                    let ended = on_gpus(&place, machine, &["predict", "tuned", "a.png", "--device", device]);
                    assert_eq!(ended.code, 0, "{device}: {}", ended.stderr);
                }
                place.digests()
            })
        });
        runs.map(|run| run.join().expect("it runs"))
    });
    let [first, second] = digests;
    assert_eq!(first, second);
}

#[test]
fn a_training_whose_gpu_is_lost_names_the_drivers_error_and_goes_on_from_its_last_epoch_to_the_same_bits() {
    let (whole, lost) = (Place::new(&pretraining()), Place::new(&pretraining()));
    let run = ["run", "w.toml", "--device", "cuda", "-v"];
    let ended = on_gpus(&whole, &[], &run);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let ended = on_gpus(&lost, &[("EMULATED_FAILURE", "420")], &run);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        flat(&ended.stderr).contains("CUDA_ERROR_ILLEGAL_ADDRESS (700)"),
        "{}",
        ended.stderr
    );
    assert_eq!(lost.statuses()["simclr[seed=0]"], "failed");
    assert!(lost.logs().contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{}", lost.logs());
    let resumed = on_gpus(&lost, &[], &run);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    assert!(resumed.stderr.contains("resumes after epoch 1"), "{}", resumed.stderr);
    assert_eq!(whole.digests(), lost.digests());
}

#[test]
fn a_node_that_asks_for_more_memory_than_there_is_fails_by_itself_and_says_what_to_lower() {
    let place = Place::new(&pretraining().replace("lr = 0.005", "lr = 0.005\nresources = { gpu_memory = \"100kB\" }"));
    let machine = [("EMULATED_MEMORY", "200000")];
    let ended = on_gpus(&place, &machine, &["run", "w.toml", "--device", "cuda"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    for words in ["the GPU has no memory left", "lower `batch`"] {
        assert!(flat(&ended.stderr).contains(words), "{words}: {}", ended.stderr);
    }
    // By its own estimate it is refused before it runs.
    let place = Place::new(&pretraining());
    let ended = on_gpus(&place, &machine, &["run", "w.toml", "--device", "cuda"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        flat(&ended.stderr).contains("of a GPU's memory, and the largest GPU of this run has"),
        "{}",
        ended.stderr
    );
}

#[test]
fn parts_of_gpus_are_shared_by_their_names() {
    let place = Place::new(
        r#"
[workflow]
name = "parts"

[matrix]
which = ["a", "b"]

# Each waits until both have been given theirs.
[nodes.part]
kind = "command"
run = ["sh", "-c", """
echo $CUDA_VISIBLE_DEVICES > {outputs}/name.txt; cp {outputs}/name.txt $PLACE/${which}.txt
for i in $(seq 200); do test -e $PLACE/a.txt && test -e $PLACE/b.txt && exit 0; sleep 0.1; done; exit 1
"""]
outputs = ["name.txt"]
pass_env = ["PLACE"]
resources = { gpu_memory = "10GB", threads = 1 }
"#,
    );
    let directory = place.dir.path().display().to_string();
    let machine = [("CUDA_VISIBLE_DEVICES", "MIG-a1,MIG-b2"), ("PLACE", directory.as_str())];
    let ended = on_gpus(&place, &machine, &["run", "w.toml"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let mut given = ["a.txt", "b.txt"].map(|name| std::fs::read_to_string(place.path(name)).expect("it was written"));
    given.sort();
    assert_eq!(given, ["MIG-a1\n", "MIG-b2\n"]);
}

#[test]
fn the_benches_of_a_step_run_on_a_gpu() {
    let place = Place::new("");
    let step = [
        "--backbone",
        "conv3",
        "--batch",
        "4",
        "--image",
        "1x8x8",
        "--steps",
        "2",
    ];
    let bench = |more: &[&str]| {
        let arguments = [&["bench"], more, &step, &["--device", "cuda", "--json"]].concat();
        let ended = on_gpus(&place, &[], &arguments);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.json_lines().remove(0)
    };
    let steps = [
        bench(&["train-step", "--task", "simclr", "--precision", "bf16"]),
        bench(&["prefetch", "--recipe", "simclr-gray"]),
    ];
    assert_eq!(
        steps.map(|step| step["device"].as_str().map(str::to_owned)),
        ["cuda sm_90 bf16 k2", "cuda sm_90 tf32 k2"].map(|name| Some(name.to_owned()))
    );
}

#[test]
fn the_doctor_tells_every_gpu_what_it_takes_and_why_one_is_not_used() {
    let place = Place::new(&pretraining());
    let gpus = |machine: Machine<'_>| {
        let ended = on_gpus(&place, machine, &["doctor"]);
        let lines = ended
            .stdout
            .lines()
            .filter(|line| line.contains("GPU") || line.contains("gpu"));
        lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    let machines: [Machine<'_>; 6] = [
        &[],
        &[("EMULATED_GPUS", "3"), ("CUDA_VISIBLE_DEVICES", "2,0")],
        &[("EMULATED_CAPABILITY", "8.7")],
        &[("EMULATED_CAPABILITY", "13.0")],
        &[("EMULATED_CAPABILITY", "7.5")],
        &[("CUDA_VISIBLE_DEVICES", "")],
    ];
    let told = machines.map(|machine| format!("{machine:?}\n{}", gpus(machine)));
    insta::assert_snapshot!(told.join("\n"));
    let ended = on_gpus(
        &place,
        &[("EMULATED_CAPABILITY", "7.5")],
        &["plan", "w.toml", "--device", "cuda"],
    );
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(
        flat(&ended.stderr).contains("compute capability 8.0 or later"),
        "{}",
        ended.stderr
    );
}
