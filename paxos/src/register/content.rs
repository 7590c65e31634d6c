//! The content of a register, as acceptors keep it and messages carry it.

use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::{NodeId, ProposalId, crc32c};

use super::{Found, PROPOSERS_MAX, Trace, Version};
use crate::Ballot;

/// Key of a register, shared by all that name it.
pub(crate) type Key = Arc<[u8]>;

/// Key of the register of the roles, which no application can name.
pub(crate) const ROLES_KEY: &[u8] = b"";

/// A change that took effect: its id, and the version that it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Past {
    /// Id of the change.
    pub id: ProposalId,
    /// The version that it made.
    pub version: Version,
}

/// Number of changes that a register remembers by their ids, besides the last one of each proposer.
pub const CHANGES_REMEMBERED: usize = 4;

/// Largest number of changes that a register remembers. As long as the proposers are the same, there are fewer. A
/// register that once had as many keeps as many, because it may have forgotten the last change of a proposer.
pub(crate) const PAST_MAX: usize = CHANGES_REMEMBERED + PROPOSERS_MAX;

impl Past {
    /// The node that made the change.
    fn proposer(&self) -> NodeId {
        self.version.0.node
    }
}

/// Content of a register: its value, and the last changes that led to it. A deleted register keeps its content without
/// a value, a tombstone, until its traces are removed everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    /// Version of the last change.
    pub version: Version,
    /// The value; `None` if the register does not exist.
    pub value: Option<Bytes>,
    /// The last [`CHANGES_REMEMBERED`] changes and the last one of each proposer, oldest first.
    pub past: Vec<Past>,
    /// Checksum of the key and all of the above, as the proposer of the change made it.
    pub checksum: u32,
}

impl Content {
    /// The content of a register that does not exist.
    pub(crate) fn absent(key: &[u8]) -> Self {
        Self { version: Version::ZERO, value: None, past: Vec::new(), checksum: 0 }.sealed(key)
    }

    /// The content after a change of this one.
    pub(crate) fn changed(before: Option<&Self>, key: &[u8], change: Past, value: Option<Bytes>) -> Self {
        let mut past: Vec<Past> = before.map(|before| before.past.clone()).unwrap_or_default();
        past.push(change);
        let recent = past.len().saturating_sub(CHANGES_REMEMBERED);
        let is_last = |at: usize| !past[at + 1..].iter().any(|later| later.proposer() == past[at].proposer());
        let is_kept = |at: &usize| *at >= recent || is_last(*at);
        if before.is_some_and(|before| before.past.len() >= PAST_MAX) {
            // What is of no use goes first, then what is oldest.
            let gone = (0..past.len()).find(|at| !is_kept(at)).unwrap_or(0);
            past.remove(gone);
        } else {
            past = (0..past.len()).filter(is_kept).map(|at| past[at]).collect();
        }
        Self { version: change.version, value, past, checksum: 0 }.sealed(key)
    }

    fn sealed(self, key: &[u8]) -> Self {
        Self { checksum: self.computed(key), ..self }
    }

    /// True if key and content match the checksum.
    pub fn is_intact(&self, key: &[u8]) -> bool {
        self.computed(key) == self.checksum
    }

    fn computed(&self, key: &[u8]) -> u32 {
        let mut name = Vec::with_capacity(64 + key.len());
        name.extend_from_slice(key);
        let put = |name: &mut Vec<u8>, ballot: Ballot| {
            name.extend_from_slice(&ballot.round.to_le_bytes());
            name.extend_from_slice(&ballot.node.0.to_le_bytes());
        };
        put(&mut name, self.version.0);
        let length = self.value.as_ref().map_or(u64::MAX, |value| value.len() as u64);
        name.extend_from_slice(&length.to_le_bytes());
        for Past { id, version } in &self.past {
            name.extend_from_slice(&id.session.incarnation.0.to_le_bytes());
            name.extend_from_slice(&id.session.start.to_le_bytes());
            name.extend_from_slice(&id.sequence.to_le_bytes());
            put(&mut name, version.0);
        }
        crc32c(&name) ^ self.value.as_ref().map_or(0, |value| crc32c(value))
    }

    /// The content for the application.
    pub(crate) fn found(&self) -> Found {
        Found { version: self.version, value: self.value.clone() }
    }

    /// The version that a change with this id made, if it is remembered.
    pub(crate) fn version_of(&self, id: ProposalId) -> Option<Version> {
        self.past.iter().find(|past| past.id == id).map(|past| past.version)
    }

    /// Approximate number of bytes in memory.
    pub(crate) fn weight(&self) -> usize {
        CONTENT_BYTES + self.value.as_ref().map_or(0, Bytes::len) + self.past.len() * size_of::<Past>()
    }
}

/// What a content says of an earlier change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It took effect, and made this version.
    TookEffect(Version),
    /// It is not part of the content.
    Absent,
    /// It may have taken effect, followed by more changes than are remembered.
    Forgotten,
}

/// Finds whether a change is part of what led to this content. `removed` is the highest round in which a register was
/// removed on any acceptor that told the content. Without a trace the change was not tried before, as far as is known.
pub(crate) fn judge(content: Option<&Content>, removed: u64, id: ProposalId, trace: Option<&Trace>) -> Verdict {
    if let Some(version) = content.and_then(|content| content.version_of(id)) {
        return Verdict::TookEffect(version);
    }
    let Some(trace) = trace else { return Verdict::Absent };
    let past = content.map_or(&[][..], |content| &content.past);
    // Every change after the base is among the recent ones if an older one is, or the base itself.
    let recent = past.get(past.len().saturating_sub(CHANGES_REMEMBERED)..).unwrap_or_default();
    let reaches_base = recent.first().is_some_and(|oldest| oldest.version <= trace.base);
    let last = past.iter().rfind(|past| past.proposer() == trace.first.node);
    let is_absent = match last {
        // The proposer has changed nothing since before the first try.
        Some(last) => last.version.0 < trace.first,
        // It has changed nothing since the register was made anew, and that was before the first try.
        None => removed < trace.first.round && past.len() < PAST_MAX,
    };
    if reaches_base || is_absent { Verdict::Absent } else { Verdict::Forgotten }
}

/// Bytes of a content without its value.
const CONTENT_BYTES: usize = size_of::<Content>() + 32;

#[cfg(test)]
mod tests {
    use quorate_protocol::{NodeId, ProposalId};

    use super::{Content, PAST_MAX, PROPOSERS_MAX, Past, Trace, Verdict, Version, judge};
    use crate::Ballot;

    fn ballot(round: u64, node: u64) -> Ballot {
        Ballot { round, node: NodeId(node) }
    }

    /// The content after changes by these nodes, one a round.
    fn changed_by(nodes: impl IntoIterator<Item = u64>) -> Content {
        let mut content = Content::absent(b"key");
        for (round, node) in (1..).zip(nodes) {
            let id = ProposalId { sequence: round, ..ProposalId::default() };
            content =
                Content::changed(Some(&content), b"key", Past { id, version: Version(ballot(round, node)) }, None);
        }
        content
    }

    fn verdict(content: &Content, round: u64, node: u64) -> Verdict {
        let id = ProposalId { sequence: round, ..ProposalId::default() };
        let trace = Trace { id, base: Version(ballot(round - 1, 1)), first: ballot(round, node) };
        judge(Some(content), 0, id, Some(&trace))
    }

    #[test]
    fn of_proposers_that_stay_each_has_its_last_change() {
        let proposers = PROPOSERS_MAX as u64;
        let content = changed_by((1..=proposers * 3).map(|round| round % proposers));
        assert!(content.past.len() < PAST_MAX, "{}", content.past.len());
        assert_eq!(verdict(&content, proposers * 2 + 1, 1), Verdict::TookEffect(Version(ballot(proposers * 2 + 1, 1))));
        assert_eq!(verdict(&content, proposers + 1, 1), Verdict::Forgotten, "it made a later change");
        assert_eq!(verdict(&content, 10, 99), Verdict::Absent, "it made none");
    }

    /// Proposers come and go. What is remembered of them is bounded, and what is forgotten is not taken for absent.
    #[test]
    fn of_many_proposers_the_oldest_are_forgotten() {
        let content = changed_by(1..=100);
        assert_eq!(content.past.len(), PAST_MAX);
        assert_eq!(verdict(&content, 100, 100), Verdict::TookEffect(Version(ballot(100, 100))));
        assert_eq!(verdict(&content, 5, 5), Verdict::Forgotten);
        let later = changed_by((1..=100).chain([100, 99, 100, 99, 100]));
        assert_eq!((later.past.len(), verdict(&later, 5, 5)), (PAST_MAX, Verdict::Forgotten));
    }
}
