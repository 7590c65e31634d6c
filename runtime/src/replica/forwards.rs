//! Proposals that go to the leader and answers that come back, each gathered into few frames.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use quorate_protocol::{EntryKind, GroupId, LogIndex, NodeId, SessionId, Term};
use quorate_transport::{ChannelId, Frame, codec};

use super::message::{Answer, Forwarded, ForwardedKind, ReplicaEnvelope, ReplicaMessage, Verdict};

/// Proposals and answers that are gathered until the end of a turn, and the proposals that this node made for others.
#[derive(Debug)]
pub(super) struct Forwards {
    group: GroupId,
    session: SessionId,
    outgoing: Option<Outgoing>,
    /// One for each node that is being answered. Emptied in each turn.
    answering: Vec<Answering>,
    /// The node that proposes under each session: the newest session of each node that forwarded something here.
    proposers: Vec<(SessionId, NodeId)>,
    /// Proposals of other nodes that this node appended, in that order. The caller bounds their number.
    awaiting: VecDeque<Awaiting>,
    frames: VecDeque<(NodeId, Frame)>,
}

#[derive(Debug)]
struct Outgoing {
    to: NodeId,
    level: u32,
    proposals: Vec<Forwarded>,
    payloads: Gathered,
}

#[derive(Debug)]
struct Answering {
    to: NodeId,
    level: u32,
    session: SessionId,
    answers: Vec<Answer>,
    payloads: Gathered,
}

/// A proposal of another node that is in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaiting {
    pub(super) index: LogIndex,
    pub(super) term: Term,
    pub(super) session: SessionId,
    pub(super) sequence: u64,
    pub(super) to: NodeId,
}

/// Payloads in a row. A single one is not copied.
#[derive(Debug, Default)]
enum Gathered {
    #[default]
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Forwards {
    pub(super) fn new(group: GroupId, session: SessionId) -> Self {
        Self {
            group,
            session,
            outgoing: None,
            answering: Vec::new(),
            proposers: Vec::new(),
            awaiting: VecDeque::new(),
            frames: VecDeque::new(),
        }
    }

    /// Adds one of this node's proposals to the frame for the leader.
    pub(super) fn forward(&mut self, to: NodeId, level: u32, proposal: Forwarded, payload: Bytes) {
        let is_other = |outgoing: &Outgoing| {
            outgoing.to != to || outgoing.level != level || outgoing.payloads.is_full(outgoing.proposals.len())
        };
        if self.outgoing.as_ref().is_some_and(is_other) {
            self.finish_outgoing();
        }
        let fresh = || Outgoing { to, level, proposals: Vec::new(), payloads: Gathered::None };
        let outgoing = self.outgoing.get_or_insert_with(fresh);
        outgoing.proposals.push(proposal);
        outgoing.payloads.push(payload);
    }

    /// Adds an answer to the frame for the node that forwarded the proposal.
    pub(super) fn answer(
        &mut self,
        (to, session, sequence): (NodeId, SessionId, u64),
        level: u32,
        verdict: Verdict,
        response: Bytes,
    ) {
        let place = self.answering.iter().position(|one| (one.to, one.session, one.level) == (to, session, level));
        let place = place.unwrap_or_else(|| {
            let payloads = Gathered::None;
            self.answering.push(Answering { to, level, session, answers: Vec::new(), payloads });
            self.answering.len() - 1
        });
        let answering = &mut self.answering[place];
        answering.answers.push(Answer { sequence, verdict });
        answering.payloads.push(response);
        if answering.payloads.is_full(answering.answers.len()) {
            let answering = self.answering.swap_remove(place);
            self.finish_answering(answering);
        }
    }

    /// Notes the node that proposes under a session.
    pub(super) fn note_proposer(&mut self, session: SessionId, node: NodeId) {
        match self.proposers.iter_mut().find(|(_, known)| *known == node) {
            Some((known, _)) => *known = session,
            None => self.proposers.push((session, node)),
        }
    }

    /// Returns the node that proposes under a session, if it forwarded something here.
    pub(super) fn proposer(&self, session: SessionId) -> Option<NodeId> {
        self.proposers.iter().find(|(known, _)| *known == session).map(|(_, node)| *node)
    }

    /// Notes a proposal of another node that is in the log.
    pub(super) fn await_outcome(&mut self, awaiting: Awaiting) {
        self.awaiting.push_back(awaiting);
    }

    /// Takes the proposal of another node at this index and term, if there is one.
    pub(super) fn take_at(&mut self, index: LogIndex, term: Term) -> Option<Awaiting> {
        self.awaiting.pop_front_if(|awaiting| awaiting.index == index && awaiting.term == term)
    }

    /// Takes the proposals of other nodes for which a test holds.
    pub(super) fn take_if(&mut self, mut test: impl FnMut(&Awaiting) -> bool) -> Vec<Awaiting> {
        let taken = self.awaiting.iter().filter(|awaiting| test(awaiting)).copied().collect();
        self.awaiting.retain(|awaiting| !test(awaiting));
        taken
    }

    /// Number of proposals of other nodes in the log without an outcome.
    pub(super) fn awaiting(&self) -> usize {
        self.awaiting.len()
    }

    /// Returns the gathered frames at the end of a turn.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = (NodeId, Frame)> + '_ {
        self.finish_outgoing();
        for answering in std::mem::take(&mut self.answering) {
            self.finish_answering(answering);
        }
        self.frames.drain(..)
    }

    fn finish_outgoing(&mut self) {
        let Some(Outgoing { to, level, proposals, payloads }) = self.outgoing.take() else { return };
        let message = ReplicaMessage::Forward { level, session: self.session, proposals };
        self.encode(to, &ReplicaEnvelope { message, payloads: payloads.finish() });
    }

    fn finish_answering(&mut self, answering: Answering) {
        let Answering { to, level, session, answers, payloads } = answering;
        let message = ReplicaMessage::Answers { level, session, answers };
        self.encode(to, &ReplicaEnvelope { message, payloads: payloads.finish() });
    }

    fn encode(&mut self, to: NodeId, envelope: &ReplicaEnvelope) {
        let frame = codec::encode(ChannelId::REPLICA, self.group, envelope).expect("frames are bounded as they grow");
        self.frames.push_back((to, frame));
    }
}

impl Gathered {
    fn push(&mut self, payload: Bytes) {
        if payload.is_empty() {
            return;
        }
        match self {
            Self::None => *self = Self::One(payload),
            Self::One(first) => {
                let mut many = BytesMut::with_capacity((first.len() + payload.len()) * 2);
                many.extend_from_slice(first);
                many.extend_from_slice(&payload);
                *self = Self::Many(many);
            }
            Self::Many(many) => many.extend_from_slice(&payload),
        }
    }

    /// Returns true if the next payload belongs into another frame.
    fn is_full(&self, count: usize) -> bool {
        let bytes = match self {
            Self::None => 0,
            Self::One(one) => one.len(),
            Self::Many(many) => many.len(),
        };
        bytes >= FRAME_BYTES || count >= FRAME_COUNT
    }

    fn finish(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(one) => one,
            Self::Many(many) => many.freeze(),
        }
    }
}

impl ForwardedKind {
    /// Returns the kind as it is forwarded; `None` for kinds that only a leader proposes.
    pub(super) fn of(kind: EntryKind) -> Option<Self> {
        match kind {
            EntryKind::Command => Some(Self::Command),
            EntryKind::SessionOpen => Some(Self::SessionOpen),
            EntryKind::SessionClose => Some(Self::SessionClose),
            _ => None,
        }
    }

    /// Returns the kind as it is proposed.
    pub(super) fn entry_kind(self) -> EntryKind {
        match self {
            Self::Command => EntryKind::Command,
            Self::SessionOpen => EntryKind::SessionOpen,
            Self::SessionClose => EntryKind::SessionClose,
        }
    }
}

/// A frame accepts no more payloads once they have this many bytes.
const FRAME_BYTES: usize = 256 << 10;

/// Maximum number of proposals or answers in a frame.
const FRAME_COUNT: usize = 4096;
