//! Sequential models of objects.

use std::hash::Hash;

/// A sequential specification: the behaviour of an object when calls come one after another.
///
/// ```
/// use quorate_simulation::history::{SearchBudget, Linearization, Model, Timed, linearize};
///
/// /// A counter that answers its new value.
/// struct Counter;
///
/// impl Model for Counter {
///     type State = i64;
///     type Operation = (i64, Option<i64>);
///
///     fn initial(&self) -> i64 {
///         0
///     }
///
///     fn apply(&self, state: &i64, (added, told): &(i64, Option<i64>)) -> Option<i64> {
///         let sum = state + added;
///         told.is_none_or(|told| told == sum).then_some(sum)
///     }
/// }
///
/// let twice_the_same = [
///     Timed { operation: (1, Some(1)), invoked: 0, returned: Some(3) },
///     Timed { operation: (1, Some(1)), invoked: 1, returned: Some(2) },
/// ];
/// let judged = linearize(&Counter, &twice_the_same, &mut SearchBudget::default());
/// assert!(matches!(judged, Linearization::Impossible));
/// ```
pub trait Model {
    /// State of the object.
    type State: Clone + Eq + Hash;
    /// A call together with its answer, if the answer is known.
    type Operation;

    /// State before the first call.
    fn initial(&self) -> Self::State;

    /// State after the call; `None` if the object would not have given this answer in this state.
    fn apply(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;

    /// True if the call never changes the state. Such calls are put into the order as soon as they fit, which helps
    /// much.
    fn reads_only(&self, _operation: &Self::Operation) -> bool {
        false
    }

    /// True if the call leaves the same state and answer whatever the state was before. Then a call of unknown outcome
    /// need not come just before it.
    fn overwrites(&self, _operation: &Self::Operation) -> bool {
        false
    }

    /// The only state in which the call can have had this answer, if there is only one.
    fn wants(&self, _operation: &Self::Operation) -> Option<Self::State> {
        None
    }

    /// The state that the call leaves, if it does not depend on the state before. Together with [`Model::wants`] it
    /// shows which calls no other call can have seen, so that an explanation may leave them out.
    fn leaves(&self, _operation: &Self::Operation) -> Option<Self::State> {
        None
    }

    /// True if the call fits every state, so that it tells nothing of the state before it.
    fn is_blind(&self, operation: &Self::Operation) -> bool {
        self.overwrites(operation)
    }

    /// Whether calls that do not overwrite the state can still lead from this state to one in which the call gives its
    /// answer; `None` if that is not known. Must be `Some` for the same calls in all states. An answer that can be
    /// reached no more ends an attempt at once, which helps much where states grow.
    fn can_reach(&self, _state: &Self::State, _operation: &Self::Operation) -> Option<bool> {
        None
    }
}

/// A register: the model of `read`, `write` and `cas` of one key. Values are numbers that stand for the real values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// A call on a [`Register`]. Values stand for the real ones; [`RegisterOperation::ABSENT`] stands for no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterOperation {
    /// Found this value.
    Read(u32),
    /// Left this value.
    Write(u32),
    /// Found the first value and left the second.
    Cas(u32, u32),
}

impl RegisterOperation {
    /// The content of a register before it is first written.
    pub const ABSENT: u32 = 0;

    fn wants(self) -> Option<u32> {
        match self {
            Self::Read(value) | Self::Cas(value, _) => Some(value),
            Self::Write(_) => None,
        }
    }

    fn leaves(self) -> Option<u32> {
        match self {
            Self::Read(_) => None,
            Self::Write(value) | Self::Cas(_, value) => Some(value),
        }
    }
}

impl Model for Register {
    type State = u32;
    type Operation = RegisterOperation;

    fn initial(&self) -> u32 {
        RegisterOperation::ABSENT
    }

    fn apply(&self, state: &u32, operation: &RegisterOperation) -> Option<u32> {
        match operation.wants() {
            Some(wanted) if wanted != *state => None,
            _ => Some(operation.leaves().unwrap_or(*state)),
        }
    }

    fn reads_only(&self, operation: &RegisterOperation) -> bool {
        operation.leaves().is_none()
    }

    fn overwrites(&self, operation: &RegisterOperation) -> bool {
        operation.wants().is_none()
    }

    fn wants(&self, operation: &RegisterOperation) -> Option<u32> {
        operation.wants()
    }

    fn leaves(&self, operation: &RegisterOperation) -> Option<u32> {
        operation.leaves()
    }
}
