//! What the decisions of a run need from outside: a clock, a store, claims, workers, someone to tell. The real one is
//! [`super::real`]; the tests have one that is simulated.

use std::time::Instant;

use flow_cache::ActionKey;

use crate::events::Event;
use crate::node::NodeError;
use crate::room::Grant;
use crate::stop::StopFlag;
use crate::worker::Shown;
use crate::workflow::InstanceId;

/// What is known of an instance of which the inputs are done.
pub(crate) enum Prepared<A> {
    /// The plan has found it in the store.
    Published(A),
    /// To be looked for under this key.
    Action(ActionKey),
}

/// A key that was asked for, to work on it.
pub(crate) enum Claimed<C, A> {
    /// It is ours; with what has been published under it meanwhile.
    Ours(C, Option<A>),
    /// Another process, or another run of this one, has it.
    Held(String),
}

/// Everything outside of a run's decisions. Nothing here blocks.
pub(crate) trait World<'a> {
    /// What a node made.
    type Artifact;
    /// The right to work on a key, given back when dropped.
    type Claim;

    fn now(&self) -> Instant;
    /// Whether someone asked this run to stop.
    fn stop_requested(&self) -> bool;

    /// What is known of an instance of which all inputs are done.
    fn prepare(&mut self, id: InstanceId) -> Result<Prepared<Self::Artifact>, NodeError>;
    /// What is published under a key.
    fn lookup(&mut self, key: &ActionKey) -> Result<Option<Self::Artifact>, NodeError>;
    fn claim(&mut self, key: &ActionKey) -> Result<Claimed<Self::Claim, Self::Artifact>, NodeError>;
    /// Sets an entry aside as damaged.
    fn discard(&mut self, key: &ActionKey, why: &str) -> Result<(), NodeError>;

    /// Starts a worker, which gives its grant back when it has computed and its claim when it has published, and sends messages.
    fn start(
        &mut self,
        id: InstanceId,
        claim: Self::Claim,
        grant: Grant<'a>,
        drain: &StopFlag,
        cancel: &StopFlag,
    ) -> Result<(), NodeError>;

    /// The key of an artifact.
    fn key_of(artifact: &Self::Artifact) -> ActionKey;
    /// An instance has its artifact: it is kept for those that depend on it.
    fn keep(&mut self, id: InstanceId, artifact: Self::Artifact);
    /// The key of what an instance has.
    fn kept(&self, id: InstanceId) -> Option<ActionKey>;
    /// Writes the page for people of an instance that has its artifact.
    fn write_report(&mut self, id: InstanceId) -> Result<(), NodeError>;

    /// An instance ran and is published.
    fn tell_published(&mut self, id: InstanceId, artifact: &Self::Artifact);
    fn tell_progress(&mut self, id: InstanceId, shown: Shown);
    fn tell_note(&mut self, id: InstanceId, line: String);
    fn tell(&mut self, event: &Event);
    /// A line in a node's log.
    fn note(&mut self, id: InstanceId, line: &str);
}
