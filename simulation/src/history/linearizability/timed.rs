//! The question of a search and its answer.

/// A call with its answer, and the times of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed<O> {
    /// The call with its answer.
    pub operation: O,
    /// Time of the call.
    pub invoked: u64,
    /// Time of the answer. `None` if the outcome is unknown: the call may have taken effect at any time since, or
    /// never. A call made at exactly the time of an answer counts as made before that answer.
    pub returned: Option<u64>,
}

/// Result of the search for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linearization {
    /// There is an order, and this is one: positions in the input. Calls of unknown outcome that are not in it need not
    /// have taken effect.
    Possible {
        /// The order.
        order: Vec<usize>,
    },
    /// There is no order.
    Impossible,
    /// The budget ran out.
    Undecided,
}
