//! Inputs that wait for a node's loop.

use std::collections::VecDeque;

use super::{Machine, MachineInput};

/// Inputs that wait for a node's loop, in the order in which a round hands them in. The deadline comes last.
pub(super) struct Ready<M: Machine> {
    /// Messages and changes of links, in the order of arrival.
    pub(super) frames: VecDeque<MachineInput<M::Message, M::Call>>,
    /// Completed disk operations: the token, and whether it was a write.
    pub(super) news: VecDeque<(u64, bool)>,
    /// Calls of clients and operators.
    pub(super) calls: VecDeque<MachineInput<M::Message, M::Call>>,
    /// True once the round has handed in the deadline.
    pub(super) is_timed_out: bool,
}

impl<M: Machine> Default for Ready<M> {
    fn default() -> Self {
        Self { frames: VecDeque::new(), news: VecDeque::new(), calls: VecDeque::new(), is_timed_out: false }
    }
}
