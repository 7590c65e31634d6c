//! Typed handle to a decision.

use std::fmt;
use std::ops::ControlFlow;

use bytes::Bytes;
use quorate_protocol::{GroupId, Now, ProposalId};
use quorate_runtime::group::{CallId, Reply};
use quorate_runtime::shell::CallError;
use quorate_runtime::{NodeHandle, Pending};

use super::super::{CommandRefusal, DecisionObstacle, Proposal, ProposalOutcome, ReadOutcome, Status, Synod};
use super::Decision;

/// Reaches a decision that a node hosts, from any thread and any executor. Cheap to clone.
///
/// A call has started as soon as the method returns; dropping the returned future loses only the answer, and a proposal
/// goes on. Proposals and reads end within [`Settings::command_timeout`](super::super::Settings::command_timeout).
///
/// | What happens | A proposal ends as | A read ends as |
/// | --- | --- | --- |
/// | a value is chosen | `Chosen`, or `Superseded` with the chosen one | `Chosen` |
/// | no quorum answers in time, and no acceptor was asked to accept | `NotTried(TimedOut)` or a more precise reason | `Failed(TimedOut)` |
/// | no quorum answers in time, and an acceptor was asked | `Unknown` | |
/// | too many calls or bytes wait | `NotTried(Overloaded)` | `Failed(Overloaded)` |
/// | the node is asked to stop, before the call | `NotTried(ShuttingDown)` | `Failed(ShuttingDown)` |
/// | the node is asked to stop, after the call | as above, if it ends before the node has stopped | the same |
/// | the group or the node stops, before the call | `NotTried(Halted)`, `NotTried(NoGroup)` or `NotTried(Stopped)` | `Failed` with the same |
/// | the group or the node stops, after the call | `Unknown` | `Failed(Halted)` or `Failed(Stopped)` |
///
/// After `Unknown` the proposal may be chosen, now or later. [`decided`](Self::decided) tells which one was. A caller
/// that wants to try again draws the id first ([`draw_id`](Self::draw_id)) and proposes with
/// [`propose_again`](Self::propose_again), on any node and as often as needed.
#[derive(Clone)]
pub struct SynodHandle {
    node: NodeHandle,
    group: GroupId,
}

impl SynodHandle {
    /// Makes a handle to the decision of that group. Calls fail with `NoGroup` if the node hosts no decision there.
    #[must_use]
    pub fn new(node: NodeHandle, group: GroupId) -> Self {
        Self { node, group }
    }

    /// Proposes a value. The server draws the id.
    pub fn propose(&self, value: impl Into<Bytes>) -> Pending<ProposalOutcome> {
        let value = value.into();
        self.start(value.len(), |decision, now, call| decision.propose(now, call, value))
    }

    /// Draws an id for [`propose_again`](Self::propose_again). No other proposal has it, on any node.
    pub fn draw_id(&self) -> Pending<Result<ProposalId, CommandRefusal>> {
        let drawn = self.node.look(self.group, |decision: &mut Decision, _| Ok(decision.draw_id()));
        Pending::new(drawn, |error| Err(refusal(error)))
    }

    /// Makes a proposal that may have been made before, on any node: it is still one proposal.
    pub fn propose_again(&self, proposal: Proposal) -> Pending<ProposalOutcome> {
        self.start(proposal.value.len(), |decision, now, call| decision.propose_again(now, call, proposal))
    }

    /// Asks for the chosen value: a quorum is asked what it has accepted, and nothing is written. Linearizable.
    pub fn read(&self) -> Pending<ReadOutcome> {
        let answer = self.node.look_or_ask(self.group, 0, |decision: &mut Decision, now, call| {
            decision.read(now, call);
            ControlFlow::<ReadOutcome, _>::Continue(move |decision: Option<&mut Decision>, reply| {
                let decision = told(decision, &reply);
                decision.map_or(ReadOutcome::Failed(CommandRefusal::Halted), |decision| decision.take_read(call))
            })
        });
        Pending::new(answer, |error| ReadOutcome::Failed(refusal(error)))
    }

    /// Waits until a value is chosen and known to this node, without a message to any node and without a time-out.
    ///
    /// # Errors
    /// When the group or the node stops first, or more than [`WAITING_MAX`](super::WAITING_MAX) calls wait here.
    pub fn decided(&self) -> Pending<Result<Proposal, CommandRefusal>> {
        let answer = self.node.look_or_ask(self.group, 0, |decision: &mut Decision, _, call| {
            decision.wait(call);
            ControlFlow::<Result<Proposal, CommandRefusal>, _>::Continue(
                move |decision: Option<&mut Decision>, reply| {
                    told(decision, &reply).ok_or(CommandRefusal::Halted)?.take_decided(call)
                },
            )
        });
        Pending::new(answer, |error| Err(refusal(error)))
    }

    /// The state of this node's part in the decision, for an operator.
    pub fn status(&self) -> Pending<Result<Status, CommandRefusal>> {
        self.look(Synod::status)
    }

    /// The obstacles to this node's part in the decision, the most important first; see [`Synod::explain`].
    pub fn explain(&self) -> Pending<Result<Vec<DecisionObstacle>, CommandRefusal>> {
        self.look(Synod::explain)
    }

    fn look<T: Send + 'static>(&self, f: fn(&Synod) -> T) -> Pending<Result<T, CommandRefusal>> {
        let look = move |decision: &mut Decision, _| decision.core().map(f).ok_or(CommandRefusal::Halted);
        Pending::new(self.node.look(self.group, look), |error| Err(refusal(error)))
    }

    fn start(
        &self,
        bytes: usize,
        ask: impl FnOnce(&mut Decision, Now, CallId) + Send + 'static,
    ) -> Pending<ProposalOutcome> {
        let answer = self.node.look_or_ask(self.group, bytes, move |decision: &mut Decision, now, call| {
            ask(decision, now, call);
            ControlFlow::<ProposalOutcome, _>::Continue(move |decision: Option<&mut Decision>, reply| {
                told(decision, &reply).map_or(ProposalOutcome::Unknown, |decision| decision.take_outcome(call))
            })
        });
        Pending::new(answer, |error| match error {
            CallError::Lost | CallError::Panicked => ProposalOutcome::Unknown,
            _ => ProposalOutcome::NotTried(refusal(error)),
        })
    }
}

/// The group, if it has the answer.
fn told<'a>(decision: Option<&'a mut Decision>, reply: &Reply) -> Option<&'a mut Decision> {
    decision.filter(|_| *reply == Reply::Told)
}

fn refusal(error: CallError) -> CommandRefusal {
    match error {
        CallError::Overloaded => CommandRefusal::Overloaded,
        CallError::NoGroup => CommandRefusal::NoGroup,
        _ => CommandRefusal::Stopped,
    }
}

impl fmt::Debug for SynodHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SynodHandle").field("group", &self.group).finish_non_exhaustive()
    }
}
