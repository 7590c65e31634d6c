//! The state as far as it decides behaviour.

use crate::Raft;

/// What [`model_view`](quorate_protocol::Protocol::model_view) gives: equal views answer every input equally.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    text: String,
}

impl View {
    pub(crate) fn of(core: &Raft) -> Self {
        Self { text: format!("{:?}", (&core.state, &core.role, &core.leader, &core.log, core.commit_index)) }
    }
}
