//! Which instance is next: those whose inputs are done, the one with the longest way still to go first.

use std::collections::BTreeSet;

use crate::plan::{Plan, PlanState};
use crate::workflow::{InstanceId, Workflow};

/// How far the schedule is with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// So many of its inputs are not done.
    Waiting(usize),
    /// All inputs are done; it was not handed out.
    Ready,
    /// Handed out: being looked up, queued for threads, or running.
    Taken,
    /// Its artifact is there.
    Done,
    /// It, or something that it depends on, failed or stopped.
    Lost,
}

/// The order of a run. Holds no artifacts and runs nothing.
pub(crate) struct Schedule<'a> {
    workflow: &'a Workflow,
    /// Places in the order of urgency: the longest remaining way first, then by name.
    rank: Vec<usize>,
    turns: Vec<Turn>,
    ready: BTreeSet<(usize, InstanceId)>,
}

impl<'a> Schedule<'a> {
    pub(crate) fn new(workflow: &'a Workflow, plan: &Plan) -> Self {
        let instances = workflow.instances();
        let inputs: Vec<usize> = distinct_input_counts(workflow);
        let turns: Vec<Turn> = inputs
            .iter()
            .map(|count| {
                if *count == 0 {
                    Turn::Ready
                } else {
                    Turn::Waiting(*count)
                }
            })
            .collect();
        let rank = ranks(workflow, plan);
        let ready = (0..instances.len())
            .filter(|id| turns[*id] == Turn::Ready)
            .map(|id| (rank[id], id))
            .collect();
        Self {
            workflow,
            rank,
            turns,
            ready,
        }
    }

    /// Hands out the most urgent instance that is ready.
    pub(crate) fn take(&mut self) -> Option<InstanceId> {
        let (_, id) = self.ready.pop_first()?;
        self.turns[id] = Turn::Taken;
        Some(id)
    }

    /// The place in the order of urgency.
    pub(crate) fn rank(&self, id: InstanceId) -> usize {
        self.rank[id]
    }

    /// An instance that was handed out will be handed out again.
    pub(crate) fn put_back(&mut self, id: InstanceId) {
        self.turns[id] = Turn::Ready;
        self.ready.insert((self.rank[id], id));
    }

    /// An instance is done: what waited for it alone is ready.
    pub(crate) fn done(&mut self, id: InstanceId) {
        self.turns[id] = Turn::Done;
        for &user in self.workflow.users(id) {
            match self.turns[user] {
                Turn::Waiting(1) => self.put_back(user),
                Turn::Waiting(count) => self.turns[user] = Turn::Waiting(count - 1),
                Turn::Ready | Turn::Taken | Turn::Done | Turn::Lost => {}
            }
        }
    }

    /// An instance will not be done; gives everything that depends on it and is not lost already. If it `failed`, users that can do
    /// without it wait for their other inputs only.
    pub(crate) fn lose(&mut self, id: InstanceId, failed: bool) -> Vec<InstanceId> {
        self.turns[id] = Turn::Lost;
        let mut lost = Vec::new();
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            for &user in self.workflow.users(id) {
                if failed && self.goes_on_without(id, user) {
                    continue;
                }
                if matches!(self.turns[user], Turn::Waiting(_) | Turn::Ready) {
                    self.ready.remove(&(self.rank[user], user));
                    self.turns[user] = Turn::Lost;
                    lost.push(user);
                    stack.push(user);
                }
            }
        }
        lost.sort_unstable();
        lost
    }

    /// Whether `user` can do without `input`, which failed: then it waits for one less, unless there is nothing else.
    fn goes_on_without(&mut self, input: InstanceId, user: InstanceId) -> bool {
        let instance = &self.workflow.instances()[user];
        let needed = instance
            .ports()
            .iter()
            .any(|port| !port.partial && port.inputs.iter().any(|edge| edge.instance == input));
        let Turn::Waiting(count) = self.turns[user] else {
            return !needed;
        };
        if needed || (count == 1 && !instance.inputs().any(|other| self.is_done(other))) {
            return false;
        }
        match count {
            1 => self.put_back(user),
            _ => self.turns[user] = Turn::Waiting(count - 1),
        }
        true
    }

    /// `input` turned out to be damaged when `user` read it: it is made again (unless that is under way), and `user` after it.
    pub(crate) fn redo(&mut self, input: InstanceId, user: InstanceId) {
        if self.turns[input] == Turn::Done {
            self.put_back(input);
            for &other in self.workflow.users(input) {
                match self.turns[other] {
                    Turn::Ready => {
                        self.ready.remove(&(self.rank[other], other));
                        self.turns[other] = Turn::Waiting(1);
                    }
                    Turn::Waiting(count) => self.turns[other] = Turn::Waiting(count + 1),
                    Turn::Taken | Turn::Done | Turn::Lost => {}
                }
            }
        }
        self.turns[user] = Turn::Waiting(1);
    }

    /// Whether an instance is done.
    pub(crate) fn is_done(&self, id: InstanceId) -> bool {
        self.turns[id] == Turn::Done
    }
}

fn distinct_input_counts(workflow: &Workflow) -> Vec<usize> {
    let mut counts = vec![0; workflow.instances().len()];
    for id in 0..counts.len() {
        workflow.users(id).iter().for_each(|user| counts[*user] += 1);
    }
    counts
}

/// Critical path first: the way from an instance to the end, in seconds where earlier runs tell them, in steps of a
/// typical one where not.
fn ranks(workflow: &Workflow, plan: &Plan) -> Vec<usize> {
    let known: Vec<f64> = plan.nodes.iter().filter_map(|n| n.estimate_s).collect();
    let typical = if known.is_empty() {
        1.0
    } else {
        known.iter().sum::<f64>() / known.len() as f64
    };
    let mut way: Vec<f64> = vec![0.0; plan.nodes.len()];
    for (id, node) in plan.nodes.iter().enumerate().rev() {
        let own = match node.state {
            PlanState::Cached { .. } | PlanState::Shared { .. } => 0.0,
            PlanState::WillRun { .. } | PlanState::Unknown { .. } => node.estimate_s.unwrap_or(typical),
        };
        let after = workflow.users(id).iter().map(|user| way[*user]).fold(0.0, f64::max);
        way[id] = own + after;
    }
    let mut order: Vec<InstanceId> = (0..way.len()).collect();
    order.sort_by(|a, b| {
        way[*b]
            .total_cmp(&way[*a])
            .then_with(|| plan.nodes[*a].name.cmp(&plan.nodes[*b].name))
    });
    let mut rank = vec![0; order.len()];
    order.into_iter().enumerate().for_each(|(place, id)| rank[id] = place);
    rank
}
