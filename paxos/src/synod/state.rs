//! The state that survives a crash.

use quorate_protocol::{RecoverError, Recovery};

use super::codec::{ACCEPTED_KEY, CHOSEN_KEY, decode_accepted, decode_chosen, decode_state};
use super::{Config, Proposal};
use crate::Ballot;

/// The state that must survive a crash, besides the journal. It is safe to adopt without the record written beside it:
/// it then promises more than was accepted, and skips a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DurableState {
    /// The highest ballot promised: nothing below it is accepted any more. Never decreases.
    pub(crate) promised: Ballot,
    /// The last round of this node's own ballots. Never decreases.
    pub(crate) round: u64,
}

/// The proposal accepted last, with its ballot, which is never above the promised one. It is one journal record,
/// complete or absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AcceptedValue {
    pub(crate) ballot: Ballot,
    pub(crate) proposal: Proposal,
}

/// The content of the log.
pub(crate) struct Found {
    pub(crate) state: DurableState,
    pub(crate) accepted: Option<AcceptedValue>,
    pub(crate) chosen: Option<Proposal>,
}

impl Found {
    pub(crate) fn read(config: &Config, recovery: Recovery) -> Result<Self, RecoverError> {
        let mut found = Self { state: DurableState::default(), accepted: None, chosen: None };
        if let Some(bytes) = &recovery.state {
            let (quorums, state) = decode_state(bytes).map_err(RecoverError::State)?;
            if quorums != *config.group().quorums() {
                return Err(RecoverError::Inconsistent("the quorum system is another than the group was founded with"));
            }
            found.state = state;
        }
        for record in recovery.journal.into_iter().flatten() {
            let (key, bytes) = record?;
            match key {
                ACCEPTED_KEY => found.accepted = Some(decode_accepted(&bytes).map_err(RecoverError::State)?),
                CHOSEN_KEY => found.chosen = Some(decode_chosen(&bytes).map_err(RecoverError::State)?),
                _ => return Err(RecoverError::Inconsistent("the journal has a key that no release writes")),
            }
        }
        if found.accepted.as_ref().is_some_and(|accepted| accepted.ballot > found.state.promised) {
            return Err(RecoverError::Inconsistent("a ballot was accepted above the one that was promised"));
        }
        Ok(found)
    }
}
