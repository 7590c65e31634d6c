//! What several tests need.

use quorate_protocol::{Input, LogCommand, NodeId, Now, Output, Protocol};
use quorate_raft::{Message, Raft};

/// A number from the environment, to run more of a test than by default.
pub(crate) fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Gives a core one input, completes its writes at once and gives what it says.
pub(crate) fn answers(core: &mut Raft, now: Now, input: Input<Raft>) -> Vec<(NodeId, Message)> {
    core.handle(now, input);
    let mut sent = Vec::new();
    while let Some(output) = core.poll_output() {
        match output {
            Output::Persist { ticket, .. } => core.handle(now, Input::Persisted(ticket)),
            Output::Send { to, message } => sent.push((to, message)),
            _ => {}
        }
        core.check_invariants();
    }
    sent
}

/// A message as an input.
pub(crate) fn message(from: u64, message: Message) -> Input<Raft> {
    Input::Message { from: NodeId(from), message }
}

/// A read as an input.
pub(crate) fn read(id: u64) -> Input<Raft> {
    Input::Command(LogCommand::Read { id: quorate_protocol::ReadId(id) })
}
