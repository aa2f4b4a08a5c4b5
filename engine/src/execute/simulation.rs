//! Runs of simulated workflows in simulated processes on a simulated store: a virtual clock, no threads, no sleeping. A seed says
//! everything: which workflow, who starts when, what fails, is damaged, edited, stopped or killed. After each step it is checked that
//! no key is worked on twice, nothing is granted twice and nothing that fits waits; at the end of a run that it ended for a reason.

mod shapes;
mod universe;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Once;
use std::time::{Duration, Instant};

use flow_cache::{ActionKey, panic_text};
use rayon::prelude::*;

use self::shapes::{Random, SHAPES, shapes};
use self::universe::{Happening, Has, ProcessId, RunId, Shared, Simulated, Universe, Work, corrupt};
use super::{Execution, PUBLISHING_TOGETHER, Step};
use crate::events::{RunStatus, StoppedBy};
use crate::gpus::{Gpu, GpuNeed};
use crate::machine::Machine;
use crate::node::{NodeError, Resources};
use crate::outcome::NodeStatus;
use crate::plan::{Plan, PlanState, PlannedNode};
use crate::room::Room;
use crate::stop::StopFlag;
use crate::worker::{Failure, Message};
use crate::workflow::{InstanceId, Workflow};

/// Seeds that are tried in a test run; `FLOW_SIMULATIONS` says another number.
const SEEDS: u64 = 100_000;

/// A simulation that takes more events than this is taken for one that never ends.
const MOST_EVENTS: usize = 50_000;

/// Everything of one seed.
struct Simulation<'a> {
    universe: Shared<'a>,
    workflow: &'a Workflow,
    rooms: &'a [Room],
    /// Runs under way.
    runs: BTreeMap<RunId, Execution<'a, Simulated<'a>>>,
    process_of: Vec<ProcessId>,
    /// What each run waits for at most.
    due: HashMap<RunId, u64>,
    superseded: HashSet<RunId>,
    versions: Vec<u64>,
    dead: HashSet<ProcessId>,
    ends_early: bool,
}

/// The machine of a process: one to three threads, at most two GPUs, little memory.
fn machine(random: &mut Random) -> Machine {
    Machine {
        threads: 1 + random.below(3) as usize,
        memory: Some(1_000_000 + random.below(1_500_000)),
        gpus: (0..random.below(3)).map(gpu).collect(),
    }
}

/// Two parts of a megabyte fit on it.
fn gpu(number: u64) -> Gpu {
    Gpu {
        name: number.to_string(),
        memory: Some(2_500_000),
    }
}

/// Whether a need can be met beside what others have of the GPUs.
fn gpus_have(gpus: &[Gpu], others: &[&Has], need: GpuNeed) -> bool {
    let on = |gpu: &Gpu| {
        let has = |other: &&&Has| other.1.contains(&gpu.name);
        let needs = others.iter().filter(has).map(|(need, _)| need.gpu_need());
        needs.collect::<Vec<_>>()
    };
    let has_part = |gpu: &Gpu, bytes: u64| {
        let parts = on(gpu).into_iter().map(|need| match need {
            GpuNeed::Part(bytes) => bytes,
            GpuNeed::Whole(_) => u64::MAX / 8,
        });
        parts.sum::<u64>() + bytes <= gpu.memory.unwrap_or(0)
    };
    match need {
        GpuNeed::Whole(count) => gpus.iter().filter(|gpu| on(gpu).is_empty()).count() >= count,
        GpuNeed::Part(bytes) => gpus.iter().any(|gpu| has_part(gpu, bytes)),
    }
}

/// Whether nobody has a GPU that another has for itself, and parts come to no more than there is.
fn gpus_are_shared_rightly(gpus: &[Gpu], used: &[&Has]) -> bool {
    gpus.iter().all(|gpu| {
        let needs = used.iter().filter(|(_, names)| names.contains(&gpu.name));
        let needs: Vec<GpuNeed> = needs.map(|(need, _)| need.gpu_need()).collect();
        let part = |need: &GpuNeed| match need {
            GpuNeed::Part(bytes) => Some(*bytes),
            GpuNeed::Whole(_) => None,
        };
        match needs.iter().map(part).collect::<Option<Vec<u64>>>() {
            Some(parts) => parts.iter().sum::<u64>() <= gpu.memory.unwrap_or(0),
            None => needs.len() == 1,
        }
    })
}

impl<'a> Simulation<'a> {
    fn new(seed: u64, rooms: &'a [Room], ends_early: bool) -> Self {
        let mut random = Random(seed);
        let workflow = &shapes()[random.below(SHAPES) as usize];
        let mut universe = Universe {
            random,
            now: Instant::now(),
            store: HashMap::new(),
            claims: HashMap::new(),
            count: 0,
            events: BTreeMap::new(),
            stops: rooms.iter().map(|_| StopFlag::new()).collect(),
            used: rooms.iter().map(|_| HashMap::new()).collect(),
            hurt: HashSet::new(),
            started: Vec::new(),
            working: HashSet::new(),
        };
        for process in 0..rooms.len() {
            let mut at = |percent, most, happening| {
                if universe.random.percent(percent) {
                    let wait = universe.random.ms(most);
                    universe.after(wait, happening);
                }
            };
            at(100, 200, Happening::Start(process));
            at(25, 1500, Happening::Edit(process));
            at(15, 1500, Happening::Edit(process));
            at(10, 1500, Happening::Stop(process));
            at(10, 1500, Happening::Kill(process));
            at(20, 1500, Happening::Damage);
        }
        Self {
            universe: Rc::new(RefCell::new(universe)),
            workflow,
            rooms,
            runs: BTreeMap::new(),
            process_of: Vec::new(),
            due: HashMap::new(),
            superseded: HashSet::new(),
            versions: vec![0; workflow.instances().len()],
            dead: HashSet::new(),
            ends_early,
        }
    }

    /// Until nothing happens any more.
    fn go(mut self) {
        for _ in 0..MOST_EVENTS {
            let Some(((now, _), happening)) = self.universe.borrow_mut().events.pop_first() else {
                assert!(
                    self.runs.is_empty(),
                    "runs wait for what never comes: {:?}",
                    self.runs.keys()
                );
                return;
            };
            self.universe.borrow_mut().now = now;
            self.happen(happening);
        }
        panic!("it does not end");
    }

    fn happen(&mut self, happening: Happening<'a>) {
        match happening {
            Happening::Start(process) => self.start(process),
            Happening::Edit(process) => self.edit(process),
            Happening::Stop(process) => self.universe.borrow().stops[process].request(),
            Happening::Kill(process) => self.kill(process),
            Happening::Damage => {
                let universe = &mut *self.universe.borrow_mut();
                let count = universe.store.len() as u64;
                if count > 0 {
                    let keys: BTreeSet<ActionKey> = universe.store.keys().copied().collect();
                    let key = keys.into_iter().nth(universe.random.below(count) as usize);
                    universe.store.extend(key.map(|key| (key, false)));
                }
            }
            Happening::Due(run, number) if self.due.get(&run) == Some(&number) => self.step(run),
            Happening::Due(..) => {}
            Happening::Computed(work) => self.computed(work),
            Happening::Published(work) => self.published(work),
            Happening::Deliver(run, message) => {
                if let Some(execution) = self.runs.get_mut(&run) {
                    execution.hear(message);
                    self.step(run);
                }
            }
        }
    }

    fn start(&mut self, process: ProcessId) {
        if self.dead.contains(&process) {
            return;
        }
        let run = self.process_of.len();
        self.process_of.push(process);
        let count = self.workflow.instances().len();
        let mut world = Simulated {
            universe: Rc::clone(&self.universe),
            workflow: self.workflow,
            run,
            process,
            versions: self.versions.clone(),
            planned: vec![None; count],
            keys: vec![None; count],
            kept: vec![None; count],
        };
        world.plan();
        let keep_going = self.universe.borrow_mut().random.percent(40);
        let plan = plan(self.workflow, &mut self.universe.borrow_mut().random);
        let mut execution = Execution::new(self.workflow, &plan, &self.rooms[process], keep_going, world);
        execution.ends_early = self.ends_early;
        self.runs.insert(run, execution);
        self.step(run);
    }

    /// Some nodes are changed, the next run takes over from those of the process.
    fn edit(&mut self, process: ProcessId) {
        let universe = &mut *self.universe.borrow_mut();
        for version in &mut self.versions {
            *version += u64::from(universe.random.percent(30));
        }
        for run in self.runs.keys().filter(|run| self.process_of[**run] == process) {
            self.superseded.insert(*run);
            let running: BTreeSet<ActionKey> = self.runs[run].running.values().map(|running| running.key).collect();
            let wanted = running.into_iter().filter(|_| universe.random.percent(50)).collect();
            universe.count += 1;
            let place = (universe.now, universe.count);
            universe
                .events
                .insert(place, Happening::Deliver(*run, Message::Superseded { wanted }));
        }
        universe.after(Duration::ZERO, Happening::Start(process));
    }

    fn kill(&mut self, process: ProcessId) {
        self.dead.insert(process);
        let of_process = &self.process_of;
        self.runs.retain(|run, _| of_process[*run] != process);
        let universe = &mut *self.universe.borrow_mut();
        let (claims, working) = (&mut universe.claims, &mut universe.working);
        claims.retain(|key, (_, holder)| {
            if *holder == process {
                working.remove(key);
            }
            *holder != process
        });
    }

    fn computed(&mut self, mut work: Box<Work<'a>>) {
        if self.dead.contains(&work.process) {
            return;
        }
        let damaged: Vec<ActionKey> = {
            let universe = self.universe.borrow();
            let is_damaged = |key: &&ActionKey| universe.store.get(key) != Some(&true);
            work.inputs.iter().filter(is_damaged).copied().collect()
        };
        let dice = self.universe.borrow_mut().random.below(100);
        let stopping = work.stops.iter().any(StopFlag::is_requested);
        let error = match dice {
            _ if stopping && dice < 60 => Some(Failure::Node(NodeError::Stopped)),
            _ if !damaged.is_empty() => Some(Failure::Node(corrupt(damaged[0]))),
            0..6 => Some(Failure::Node(NodeError::failed("it failed, or took too long"))),
            6 => Some(Failure::Panic("it panicked".to_owned())),
            // Nobody asked it to.
            7 => Some(Failure::Node(NodeError::Stopped)),
            _ => None,
        };
        self.universe.borrow_mut().used[work.process].remove(&(work.run, work.id));
        drop(work.grant.take());
        if let Some(error) = error {
            self.universe.borrow_mut().working.remove(&work.key);
            drop(work.claim.take());
            if !(stopping && error.is_stopped()) {
                self.universe.borrow_mut().hurt.insert(work.run);
            }
            return self.deliver(work.run, Message::Finished(work.id, Err(error)));
        }
        self.deliver(work.run, Message::Computed(work.id));
        let universe = &mut *self.universe.borrow_mut();
        let takes = Duration::from_millis(5) + universe.random.ms(20);
        universe.after(takes, Happening::Published(work));
    }

    fn published(&mut self, mut work: Box<Work<'a>>) {
        if self.dead.contains(&work.process) {
            return;
        }
        self.universe.borrow_mut().store.insert(work.key, true);
        self.universe.borrow_mut().working.remove(&work.key);
        drop(work.claim.take());
        self.deliver(work.run, Message::Finished(work.id, Ok(work.key)));
    }

    fn deliver(&mut self, run: RunId, message: Message<ActionKey>) {
        let universe = &mut *self.universe.borrow_mut();
        let lag = universe.random.ms(3);
        universe.after(lag, Happening::Deliver(run, message));
    }

    fn step(&mut self, run: RunId) {
        let Some(execution) = self.runs.get_mut(&run) else {
            return;
        };
        let step = execution.step();
        self.check_room(run);
        match step {
            Step::Ended(status) => {
                if let Some(execution) = self.runs.remove(&run) {
                    self.check_end(run, status, &execution);
                }
            }
            Step::Wait(until) => {
                let universe = &mut *self.universe.borrow_mut();
                universe.count += 1;
                let number = universe.count;
                self.due.insert(run, number);
                if let Some(until) = until {
                    universe
                        .events
                        .insert((until.max(universe.now), number), Happening::Due(run, number));
                }
            }
        }
    }

    /// Nothing is granted twice, nothing that fits waits, and nothing more urgent waits for what was just given to another.
    fn check_room(&self, run: RunId) {
        // Asks the universe whether it is stopped.
        let execution = &self.runs[&run];
        let may_start = execution.may_begin() && execution.publishing() < PUBLISHING_TOGETHER;
        let universe = &mut *self.universe.borrow_mut();
        let process = self.process_of[run];
        let used = &universe.used[process];
        let machine = &self.rooms[process].machine;
        let free = |but: Option<(RunId, InstanceId)>, need: &Resources| {
            let others: Vec<_> = used
                .iter()
                .filter(|(who, _)| Some(**who) != but)
                .map(|(_, has)| has)
                .collect();
            let gpus = gpus_have(&machine.gpus, &others, need.gpu_need());
            let others = || others.iter().map(|(need, _)| need);
            others().map(Resources::threads).sum::<usize>() < machine.threads
                && gpus
                && others().map(Resources::memory).sum::<u64>() + need.memory() <= machine.memory.unwrap_or(u64::MAX)
                && !others().any(|n| n.mutex.iter().any(|name| need.mutex.contains(name)))
        };
        for (who, (need, _)) in used {
            assert!(free(Some(*who), need), "more was granted than there is: {used:?}");
        }
        let all: Vec<_> = used.values().collect();
        assert!(gpus_are_shared_rightly(&machine.gpus, &all), "of GPUs too: {used:?}");
        let instances = self.workflow.instances();
        if may_start && let Some((_, _, id)) = execution.queue.keys().next() {
            assert!(!free(None, &instances[*id].resources()), "n{id} fits, and waits");
        }
        for started in universe.started.drain(..) {
            let priority = |id: InstanceId| instances[id].policy().priority;
            // What is free of GPUs may be kept for one that is more urgent still.
            let mut kept = false;
            for (_, _, id) in execution.queue.keys().filter(|_| may_start) {
                let need = instances[*id].resources();
                let for_gpus = need.gpu_need() != GpuNeed::Whole(0);
                let passed = priority(*id) > priority(started.1) && !(kept && for_gpus) && free(Some(started), &need);
                kept |= for_gpus;
                assert!(!passed, "n{} was started before n{id}, which is more urgent", started.1);
            }
        }
    }

    /// There is a reason for the end, and for each node that is not done.
    fn check_end(&self, run: RunId, status: RunStatus, execution: &Execution<'a, Simulated<'a>>) {
        let universe = self.universe.borrow();
        let is_done = |id: InstanceId| matches!(execution.statuses[id], NodeStatus::Ran | NodeStatus::Cached);
        let all_done = (0..execution.statuses.len()).all(is_done);
        let told = (0..execution.statuses.len()).find(|id| is_done(*id) && !execution.schedule.is_done(*id));
        assert_eq!(told, None, "it is told as done, and has nothing");
        assert!(execution.running.is_empty(), "it ended with nodes at work");
        let failures = &execution.failures;
        assert!(
            !failures.iter().any(|f| f.message.starts_with("BUG: the run ended")),
            "{failures:?}"
        );
        let stopped = universe.stops[self.process_of[run]].is_requested();
        match status {
            RunStatus::Finished => assert!(all_done && failures.is_empty()),
            RunStatus::Failed => {
                let machine = &self.rooms[self.process_of[run]].machine;
                let mut instances = self.workflow.instances().iter();
                let refuses = instances.any(|instance| machine.refuse(&instance.resources()).is_some());
                assert!(!failures.is_empty() && !all_done);
                assert!(
                    universe.hurt.contains(&run) || refuses,
                    "nothing failed, and it says: {failures:?}"
                );
            }
            RunStatus::Stopped(StoppedBy::Request) => assert!(stopped && !all_done),
            RunStatus::Stopped(StoppedBy::NextRun) => {
                assert!(self.superseded.contains(&run) && !all_done);
            }
        }
        if status == RunStatus::Failed && execution.keep_going && !stopped && !self.superseded.contains(&run) {
            for (id, status) in execution.statuses.iter().enumerate() {
                let instance = &self.workflow.instances()[id];
                let mut needs = instance.ports.iter().filter(|port| !port.partial);
                let lacks = needs.any(|port| port.inputs.iter().any(|edge| !is_done(edge.instance)));
                let has_none = || instance.inputs().next().is_some() && !instance.inputs().any(is_done);
                assert!(
                    is_done(id) || *status == NodeStatus::Failed || lacks || has_none(),
                    "n{id} has no reason: {status:?}"
                );
            }
        }
    }
}

fn plan(workflow: &Workflow, random: &mut Random) -> Plan {
    let nodes = workflow.instances().iter().map(|instance| PlannedNode {
        name: instance.name().to_owned(),
        kind: instance.kind(),
        state: PlanState::Unknown { reasons: Vec::new() },
        estimate_s: random.percent(50).then(|| random.below(100) as f64),
        gpu_memory: None,
    });
    Plan {
        accounts: Vec::new(),
        schema: 1,
        workflow: String::new(),
        nodes: nodes.collect(),
        resolved: Vec::new(),
    }
}

/// One to three processes.
fn simulate(seed: u64, ends_early: bool) {
    let mut random = Random(!seed);
    let rooms: Vec<Room> = (0..=random.below(3)).map(|_| Room::new(machine(&mut random))).collect();
    Simulation::new(seed, &rooms, ends_early).go();
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The seeds with a finding, each with what was found.
fn findings(seeds: impl IntoParallelIterator<Item = u64>, ends_early: bool) -> BTreeMap<u64, String> {
    static QUIETENED: Once = Once::new();
    QUIETENED.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                tell(panic);
            }
        }));
    });
    let finding = |seed: u64| {
        QUIET.set(true);
        let ended = std::panic::catch_unwind(|| simulate(seed, ends_early));
        QUIET.set(false);
        let payload = ended.err()?;
        Some((seed, panic_text(payload.as_ref()).to_owned()))
    };
    seeds.into_par_iter().filter_map(finding).collect()
}

#[test]
fn every_run_ends_because_all_is_done_or_something_failed_or_somebody_stopped_it() {
    let count = std::env::var("FLOW_SIMULATIONS")
        .ok()
        .and_then(|text| text.parse().ok());
    let found = findings(0..count.unwrap_or(SEEDS), false);
    let first: Vec<_> = found.iter().take(5).collect();
    assert!(
        found.is_empty(),
        "{} seeds have findings, such as {first:#?}",
        found.len()
    );
}

#[test]
fn the_simulation_finds_a_run_that_ends_with_nodes_queued() {
    let mut found = findings(0..700, true);
    found.retain(|_, finding| finding.contains("nodes not done, and nobody stopped it"));
    assert!(!found.is_empty(), "the fault is not found");
    let seeds: Vec<u64> = found.into_keys().collect();
    let others = findings(seeds, false);
    assert!(others.is_empty(), "found without the fault: {others:?}");
}
