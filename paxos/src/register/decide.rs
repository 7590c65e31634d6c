//! What a change makes of a register: pure functions.

use bytes::Bytes;
use quorate_protocol::ProposalId;

use super::content::{Content, Past, ROLES_KEY, Verdict, judge};
use super::{Change, ChangeOutcome, CommandRefusal, Config, Expected, Found, ResolveOutcome, Trace, Version};
use crate::Ballot;

/// The content of a register that a proposer may build on: that of the highest ballot that a quorum reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Basis {
    /// `None` if no acceptor of the quorum has accepted anything.
    pub(crate) content: Option<Content>,
    /// The highest round in which a register was deleted whose traces an acceptor of the quorum has removed.
    pub(crate) removed: u64,
}

/// The result of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// This content is to be accepted, and the outcome is known once it is chosen.
    Write(Content, ChangeOutcome),
    /// Nothing is changed. The outcome holds once the present content is chosen in a ballot.
    Keep(ChangeOutcome),
    /// Nothing is changed and nothing is written: the command ends.
    End(ChangeOutcome),
}

impl Basis {
    pub(crate) fn found(&self) -> Found {
        self.content.as_ref().map(Content::found).unwrap_or_default()
    }

    /// The version on which a change would be based.
    pub(crate) fn version(&self) -> Version {
        self.content.as_ref().map_or(Version::ZERO, |content| content.version)
    }

    /// The content to write if nothing is changed.
    pub(crate) fn kept(&self, key: &[u8]) -> Content {
        self.content.clone().unwrap_or_else(|| Content::absent(key))
    }

    /// The content of the register of the roles after a change.
    pub(crate) fn of_roles(&self, ballot: Ballot, value: &Bytes) -> Content {
        let version = Version(ballot);
        let change = Past { id: ProposalId::default(), version };
        Content::changed(self.content.as_ref(), ROLES_KEY, change, Some(value.clone()))
    }

    /// Applies a change that may have been tried before.
    pub(crate) fn decide(
        &self,
        config: &Config,
        key: &[u8],
        ballot: Ballot,
        (id, change, trace): (ProposalId, &Change, Option<&Trace>),
    ) -> Decision {
        match judge(self.content.as_ref(), self.removed, id, trace) {
            Verdict::Absent => {}
            Verdict::TookEffect(version) if self.version() == version && trace.is_some() => {
                return Decision::Keep(ChangeOutcome::Done(self.found()));
            }
            Verdict::TookEffect(version) => {
                return Decision::Keep(ChangeOutcome::DoneBefore { version, found: self.found() });
            }
            Verdict::Forgotten => return Decision::End(unknown_or(trace, CommandRefusal::TimedOut)),
        }
        let value = match self.evaluate(config, change) {
            Ok(value) => value,
            Err(outcome) => return Decision::Keep(outcome),
        };
        if value.as_ref().is_some_and(|value| value.len() > config.settings().value_bytes_max) {
            return Decision::End(unknown_or(trace, CommandRefusal::TooLarge));
        }
        let version = Version(ballot);
        let content = Content::changed(self.content.as_ref(), key, Past { id, version }, value);
        let found = content.found();
        Decision::Write(content, ChangeOutcome::Done(found))
    }

    /// The new value, or the reason why the change does not apply.
    fn evaluate(&self, config: &Config, change: &Change) -> Result<Option<Bytes>, ChangeOutcome> {
        let found = self.found();
        match change {
            Change::Set(value) => Ok(Some(value.clone())),
            Change::Delete => Ok(None),
            Change::CompareAndSet { expected, value } => {
                let is_expected = match expected {
                    Expected::Version(version) => *version == found.version,
                    Expected::Value(value) => *value == found.value,
                };
                if is_expected { Ok(value.clone()) } else { Err(ChangeOutcome::Conflict(found)) }
            }
            Change::Apply { function, argument } => match config.functions().get(function) {
                Some(function) => {
                    function(found.value.as_ref(), argument).map_err(|reason| ChangeOutcome::Declined { reason, found })
                }
                None => Err(ChangeOutcome::NotTried(CommandRefusal::UnknownFunction)),
            },
        }
    }

    /// What became of a change, once the present content is chosen in a ballot above all its tries.
    pub(crate) fn resolve(&self, trace: &Trace) -> ResolveOutcome {
        let found = self.found();
        match judge(self.content.as_ref(), self.removed, trace.id, Some(trace)) {
            Verdict::TookEffect(version) => ResolveOutcome::TookEffect { version, found },
            Verdict::Absent => ResolveOutcome::NotApplied(found),
            Verdict::Forgotten => ResolveOutcome::Forgotten(found),
        }
    }
}

/// The outcome of a change that ends here: if it was tried, it may have taken effect.
pub(crate) fn unknown_or(trace: Option<&Trace>, reason: CommandRefusal) -> ChangeOutcome {
    trace.map_or(ChangeOutcome::NotTried(reason), |trace| ChangeOutcome::Unknown(*trace))
}
