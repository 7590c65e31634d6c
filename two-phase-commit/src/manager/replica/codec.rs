//! The commands of a state machine with branches, their responses, and its part of a snapshot, byte by byte.
//!
//! Every command begins with "QBr", every command and response with a version (1), and all numbers are little-endian. A
//! branch is its manager (cluster 16, log 8), its number (epoch 8, sequence 8) and its resource (8).
//!
//! Bytes without the three letters were never a command of any version, such as work that was proposed by itself: they
//! are refused, on every replica alike. A command of a newer version is not refused, because another replica may know
//! it.
//!
//! ```text
//! prepare:          version | 1 | branch | 1, work (the rest), or 0 if the work is lost
//! commit:           version | 2 | branch
//! commit one phase: version | 3 | branch | as prepare
//! roll back:        version | 4 | branch
//! forget:           version | 5 | manager | resource | below (number) | the unfinished numbers (the rest), ascending
//! outside:          version | 6 | work (the rest)
//!
//! responses:        version | 1 | vote: 0 no, 1 yes, 2 read-only
//!                   version | 2 | 0 lost, 1 committed, 2 rolled back
//!                   version | 3 | 0 aborted, 1 committed
//!                   version | 4 | 0 rolled back, 1 committed
//!                   version | 5
//!                   version | 6 | 0, response (the rest); 1, branch that holds a key
//!                   version | 7, to bytes that are no command
//!
//! snapshot:         length (8) of: version | prepared: count (8), each branch, length (4), work
//!                   | ended: count (8), each branch, 0 aborted or 1 committed
//!                   | finished: count (8), each manager, resource, below (number), count (8), numbers
//! ```

use std::collections::BTreeSet;
use std::io::{self, Read as _};

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use quorate_protocol::ClusterId;

use super::state::{Branches, Finished, OutsideEnd};
use crate::codec::{put_number, take_number};
use crate::manager::{BranchId, CommitEnd, ManagerId, ResourceId, RollBackEnd};
use crate::{Decision, TransactionNumber, Vote};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Prepare {
        branch: BranchId,
        work: Option<Bytes>,
    },
    Commit {
        branch: BranchId,
    },
    CommitOnePhase {
        branch: BranchId,
        work: Option<Bytes>,
    },
    RollBack {
        branch: BranchId,
    },
    Forget {
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: BTreeSet<TransactionNumber>,
    },
    Outside {
        work: Bytes,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Response {
    Voted(Vote),
    Committed(CommitEnd),
    Decided(Decision),
    RolledBack(RollBackEnd),
    Forgotten,
    Outside(OutsideEnd),
    NoCommand,
}

/// Reason why bytes are not a command that this program can carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnknownCommand {
    /// They are no command of any version.
    Never,
    /// They are a command of a newer version, or a damaged one.
    Newer,
}

/// A response of another version, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not a response, or one of a newer version")]
pub struct UnknownResponse;

/// The command for work outside of any transaction, for programs that propose it by themselves. Its response is decoded
/// by [`OutsideEnd::decode`].
pub fn work_outside(work: &[u8]) -> Bytes {
    Command::Outside { work: Bytes::copy_from_slice(work) }.encode()
}

impl OutsideEnd {
    /// Decodes the response to [`work_outside`].
    ///
    /// # Errors
    /// When the bytes are something else, for example the response to work that was proposed as it is. Such work is
    /// refused.
    pub fn decode(response: Bytes) -> Result<Self, UnknownResponse> {
        match Response::decode(response)? {
            Response::Outside(end) => Ok(end),
            _ => Err(UnknownResponse),
        }
    }
}

impl Command {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(LETTERS);
        out.put_u8(VERSION);
        match self {
            Self::Prepare { branch, work } => put_work(&mut out, 1, *branch, work.as_ref()),
            Self::Commit { branch } => put_kind(&mut out, 2, *branch),
            Self::CommitOnePhase { branch, work } => put_work(&mut out, 3, *branch, work.as_ref()),
            Self::RollBack { branch } => put_kind(&mut out, 4, *branch),
            Self::Forget { manager, resource, below, unfinished } => {
                out.put_u8(5);
                put_manager(&mut out, *manager);
                out.put_u64_le(resource.0);
                put_number(&mut out, *below);
                put_numbers(&mut out, unfinished);
            }
            Self::Outside { work } => {
                out.put_u8(6);
                out.put_slice(work);
            }
        }
        out.freeze()
    }

    /// Decodes a command from all of `bytes`.
    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, UnknownCommand> {
        if !bytes.starts_with(LETTERS) {
            return Err(UnknownCommand::Never);
        }
        bytes.advance(LETTERS.len());
        Self::read(bytes).ok_or(UnknownCommand::Newer)
    }

    fn read(mut bytes: Bytes) -> Option<Self> {
        let rest = &mut bytes;
        if take(rest.try_get_u8())? != VERSION {
            return None;
        }
        let command = match take(rest.try_get_u8())? {
            1 => {
                let branch = take_branch(rest)?;
                Self::Prepare { branch, work: take_work(rest).ok()? }
            }
            2 => Self::Commit { branch: take_branch(rest)? },
            3 => {
                let branch = take_branch(rest)?;
                Self::CommitOnePhase { branch, work: take_work(rest).ok()? }
            }
            4 => Self::RollBack { branch: take_branch(rest)? },
            5 => {
                let (manager, resource) = (take_manager(rest)?, ResourceId(take(rest.try_get_u64_le())?));
                let below = take_number(rest).ok()?;
                let mut unfinished = BTreeSet::new();
                while rest.has_remaining() {
                    unfinished.insert(take_number(rest).ok()?);
                }
                Self::Forget { manager, resource, below, unfinished }
            }
            6 => Self::Outside { work: rest.split_to(rest.len()) },
            _ => return None,
        };
        bytes.is_empty().then_some(command)
    }
}

impl Response {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        match self {
            Self::Voted(vote) => out.put_slice(&[1, vote_code(*vote)]),
            Self::Committed(end) => out.put_slice(&[
                2,
                match end {
                    CommitEnd::Lost => 0,
                    CommitEnd::Committed => 1,
                    CommitEnd::RolledBack => 2,
                },
            ]),
            Self::Decided(decision) => out.put_slice(&[3, decision_code(*decision)]),
            Self::RolledBack(end) => out.put_slice(&[4, u8::from(*end == RollBackEnd::Committed)]),
            Self::Forgotten => out.put_u8(5),
            Self::NoCommand => out.put_u8(7),
            Self::Outside(OutsideEnd::Done(response)) => {
                out.put_slice(&[6, 0]);
                out.put_slice(response);
            }
            Self::Outside(OutsideEnd::Locked(holder)) => {
                out.put_slice(&[6, 1]);
                put_branch(&mut out, *holder);
            }
        }
        out.freeze()
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Self, UnknownResponse> {
        Self::read(bytes).ok_or(UnknownResponse)
    }

    fn read(mut bytes: Bytes) -> Option<Self> {
        let rest = &mut bytes;
        let (version, kind) = (take(rest.try_get_u8())?, take(rest.try_get_u8())?);
        if version != VERSION {
            return None;
        }
        if let 5 | 7 = kind {
            let response = if kind == 5 { Self::Forgotten } else { Self::NoCommand };
            return bytes.is_empty().then_some(response);
        }
        let response = match (kind, take(rest.try_get_u8())?) {
            (1, 0) => Self::Voted(Vote::No),
            (1, 1) => Self::Voted(Vote::Yes),
            (1, 2) => Self::Voted(Vote::ReadOnly),
            (2, 0) => Self::Committed(CommitEnd::Lost),
            (2, 1) => Self::Committed(CommitEnd::Committed),
            (2, 2) => Self::Committed(CommitEnd::RolledBack),
            (3, code) => Self::Decided(decision_of(code)?),
            (4, 0) => Self::RolledBack(RollBackEnd::RolledBack),
            (4, 1) => Self::RolledBack(RollBackEnd::Committed),
            (6, 0) => return Some(Self::Outside(OutsideEnd::Done(bytes))),
            (6, 1) => Self::Outside(OutsideEnd::Locked(take_branch(rest)?)),
            _ => return None,
        };
        bytes.is_empty().then_some(response)
    }
}

impl Branches {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        put_count(&mut out, self.prepared.len());
        for (branch, work) in &self.prepared {
            put_branch(&mut out, *branch);
            out.put_u32_le(u32::try_from(work.len()).expect("a command is shorter than 4 GiB"));
            out.put_slice(work);
        }
        put_count(&mut out, self.ended.len());
        for (branch, decision) in &self.ended {
            put_branch(&mut out, *branch);
            out.put_u8(decision_code(*decision));
        }
        put_count(&mut out, self.finished.len());
        for ((manager, resource), finished) in &self.finished {
            put_manager(&mut out, *manager);
            out.put_u64_le(resource.0);
            put_number(&mut out, finished.below);
            put_count(&mut out, finished.unfinished.len());
            put_numbers(&mut out, &finished.unfinished);
        }
        out.freeze()
    }

    /// Reads what [`Branches::encode`] made, with its length before it.
    pub(super) fn read(from: &mut dyn io::Read) -> io::Result<Self> {
        let mut length = [0; 8];
        from.read_exact(&mut length)?;
        let mut bytes = Vec::new();
        // A length that is too large ends with the content and takes no room before.
        let length = u64::from_le_bytes(length);
        io::Read::take(&mut *from, length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the branches of the snapshot cannot be read");
        Self::decode(bytes.into()).ok_or_else(malformed)
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let (rest, mut branches) = (&mut bytes, Self::default());
        if take(rest.try_get_u8())? != VERSION {
            return None;
        }
        for _ in 0..take(rest.try_get_u64_le())? {
            let (branch, length) = (take_branch(rest)?, take(rest.try_get_u32_le())? as usize);
            if rest.remaining() < length {
                return None;
            }
            branches.prepared.insert(branch, rest.split_to(length));
        }
        for _ in 0..take(rest.try_get_u64_le())? {
            let branch = take_branch(rest)?;
            branches.ended.insert(branch, decision_of(take(rest.try_get_u8())?)?);
        }
        for _ in 0..take(rest.try_get_u64_le())? {
            let place = (take_manager(rest)?, ResourceId(take(rest.try_get_u64_le())?));
            let mut finished = Finished { below: take_number(rest).ok()?, unfinished: BTreeSet::new() };
            for _ in 0..take(rest.try_get_u64_le())? {
                finished.unfinished.insert(take_number(rest).ok()?);
            }
            branches.finished.insert(place, finished);
        }
        bytes.is_empty().then_some(branches)
    }
}

fn put_kind(out: &mut BytesMut, kind: u8, branch: BranchId) {
    out.put_u8(kind);
    put_branch(out, branch);
}

fn put_work(out: &mut BytesMut, kind: u8, branch: BranchId, work: Option<&Bytes>) {
    put_kind(out, kind, branch);
    out.put_u8(u8::from(work.is_some()));
    out.put_slice(work.map_or(&[], |work| work));
}

/// Takes the rest as work, or none if the work is lost.
fn take_work(rest: &mut Bytes) -> Result<Option<Bytes>, UnknownCommand> {
    match rest.try_get_u8() {
        Ok(0) => Ok(None),
        Ok(1) => Ok(Some(rest.split_to(rest.len()))),
        _ => Err(UnknownCommand::Newer),
    }
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u64_le(u64::try_from(count).expect("a count fits"));
}

fn put_branch(out: &mut BytesMut, branch: BranchId) {
    put_manager(out, branch.manager);
    put_number(out, branch.number);
    out.put_u64_le(branch.resource.0);
}

fn take_branch(rest: &mut Bytes) -> Option<BranchId> {
    let (manager, number) = (take_manager(rest)?, take_number(rest).ok()?);
    Some(BranchId { manager, number, resource: ResourceId(take(rest.try_get_u64_le())?) })
}

fn put_manager(out: &mut BytesMut, manager: ManagerId) {
    out.put_u128_le(manager.cluster.0);
    out.put_u64_le(manager.log);
}

fn take_manager(rest: &mut Bytes) -> Option<ManagerId> {
    Some(ManagerId { cluster: ClusterId(take(rest.try_get_u128_le())?), log: take(rest.try_get_u64_le())? })
}

fn put_numbers(out: &mut BytesMut, numbers: &BTreeSet<TransactionNumber>) {
    for number in numbers {
        put_number(out, *number);
    }
}

fn take<T>(taken: Result<T, TryGetError>) -> Option<T> {
    taken.ok()
}

fn vote_code(vote: Vote) -> u8 {
    match vote {
        Vote::No => 0,
        Vote::Yes => 1,
        Vote::ReadOnly => 2,
    }
}

fn decision_code(decision: Decision) -> u8 {
    u8::from(decision == Decision::Commit)
}

fn decision_of(code: u8) -> Option<Decision> {
    match code {
        0 => Some(Decision::Abort),
        1 => Some(Decision::Commit),
        _ => None,
    }
}

const LETTERS: &[u8] = b"QBr";
const VERSION: u8 = 1;
