//! The acceptor: promises, accepts and reports (CASPaxos §2.2).

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_protocol::{HaltReason, LoadFailure, LoadRange, Loaded, NodeId, Ticket, ViewWriter};

use super::base::Base;
use super::codec::decode_accepted;
use super::content::{Content, Key};
use super::message::{Accept, Accepted, List, Listed, Nack, Prepare, Promise, Query, Remove, Report, RequireAges};
use super::table::{Slot, Table};
use super::{Ignored, Message};
use crate::Ballot;

/// The registers of a node, and the requests that wait for values from the log.
///
/// A node that is no acceptor has one too, without registers.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {
    pub(crate) table: Table,
    /// The loads under way, and the requests that wait for them. Bounded by `loads_max`.
    loading: BTreeMap<Ticket, Loading>,
    /// Number of values that could not be read from the log.
    unreadable: u64,
}

/// A value that is read from the log.
#[derive(Clone, Debug)]
struct Loading {
    key: Key,
    number: u64,
    asked: Vec<(NodeId, Asked)>,
}

/// A request whose answer contains what was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Promise(Ballot),
    Report { start: u64, number: u64 },
}

impl Acceptor {
    pub(crate) fn new(table: Table) -> Self {
        Self { table, loading: BTreeMap::new(), unreadable: 0 }
    }

    /// Handles a proposer's request for a promise.
    pub(crate) fn on_prepare(&mut self, base: &mut Base, from: NodeId, prepare: &Prepare) -> Result<(), Ignored> {
        check_request(base, from, prepare.ballot, prepare.age)?;
        let (key, ballot) = (&prepare.key, prepare.ballot);
        let promised = self.table.get(key).map_or(Ballot::ZERO, |slot| slot.promised);
        if ballot < promised {
            self.refuse(base, from, key, ballot);
            return Ok(());
        }
        // The proposers of a removal went on above it. One that came later must do so too, or versions would repeat.
        if promised == Ballot::ZERO && ballot.round <= base.state().removed {
            let promised = Ballot { round: base.state().removed + 1, node: base.node() };
            let nack = Nack { key: key.clone(), ballot, promised };
            base.post(base.state_ticket(), from, Message::Nack(nack));
            return Ok(());
        }
        self.check_loads(base, key)?;
        if ballot > promised {
            check_log(base)?;
            base.note_round(ballot.round);
            base.found();
            self.table.promise(&mut base.chassis.outbox, key, ballot);
        }
        self.answer(base, from, key, Asked::Promise(ballot));
        Ok(())
    }

    /// Handles a proposer's request to accept. Accepting is also a promise: lower ballots are refused from now on.
    pub(crate) fn on_accept(&mut self, base: &mut Base, from: NodeId, accept: Accept) -> Result<(), Ignored> {
        check_request(base, from, accept.ballot, accept.age)?;
        if accept.next.node != from || accept.next < accept.ballot {
            return Err(Ignored::ForeignBallot);
        }
        base.check_ballot(accept.next)?;
        let Accept { key, ballot, next, content, .. } = accept;
        let slot = self.table.get(&key);
        let accepted = slot.map_or(Ballot::ZERO, |slot| slot.accepted);
        if accepted == ballot {
            let known = slot.and_then(|slot| slot.content.as_deref());
            if known.is_some_and(|known| *known != content) {
                base.chassis.halt(HaltReason::LawBroken("two contents in one ballot"));
                return Ok(());
            }
        } else if ballot < slot.map_or(Ballot::ZERO, |slot| slot.promised) {
            self.refuse(base, from, &key, ballot);
            return Ok(());
        } else {
            check_log(base)?;
            base.note_round(next.round);
            base.found();
            self.table.accept(&mut base.chassis.outbox, &key, ballot, next, content);
        }
        let ticket = self.ticket(&key);
        base.post(ticket, from, Message::Accepted(Accepted { key, ballot }));
        Ok(())
    }

    /// Handles a reading proposer's query. It is answered whatever the sender's standing is, because a query has no
    /// effect.
    pub(crate) fn on_query(&mut self, base: &mut Base, from: NodeId, query: &Query) -> Result<(), Ignored> {
        if !base.in_force().is_proposer(from) {
            return Err(Ignored::NotMember);
        }
        check_acceptor(base)?;
        self.check_loads(base, &query.key)?;
        self.answer(base, from, &query.key, Asked::Report { start: query.start, number: query.number });
        Ok(())
    }

    /// Answers with what is accepted, once it is read from the log.
    fn answer(&mut self, base: &mut Base, to: NodeId, key: &[u8], asked: Asked) {
        let Some(slot) = self.table.get(key) else { return tell(base, to, key, None, asked) };
        if slot.accepted == Ballot::ZERO || slot.content.is_some() {
            return tell(base, to, key, Some(slot), asked);
        }
        let number = slot.number;
        if let Some(loading) = self.loading.values_mut().find(|loading| *loading.key == *key) {
            return loading.asked.push((to, asked));
        }
        let ticket = base.chassis.outbox.load(LoadRange::Keys { range: number * 2..number * 2 + 1 });
        self.loading.insert(ticket, Loading { key: key.into(), number, asked: vec![(to, asked)] });
    }

    /// Checks that the value of a register is in memory, or that there is room for one more load.
    fn check_loads(&self, base: &Base, key: &[u8]) -> Result<(), Ignored> {
        let is_in_memory =
            self.table.get(key).is_none_or(|slot| slot.accepted == Ballot::ZERO || slot.content.is_some());
        let waiting: usize = self.loading.values().map(|loading| loading.asked.len()).sum();
        if is_in_memory || waiting < base.config.settings().loads_max { Ok(()) } else { Err(Ignored::LoadsBehind) }
    }

    /// A load has ended. Returns false if it was not one of a value.
    pub(crate) fn on_loaded(
        &mut self,
        base: &mut Base,
        ticket: Ticket,
        result: &Result<Loaded, LoadFailure>,
    ) -> Option<Result<(), Ignored>> {
        let Loading { key, number, asked } = self.loading.remove(&ticket)?;
        let content = match result {
            Ok(Loaded::Keys(records)) => content_of(records, &key, number),
            Ok(Loaded::Entries(_)) | Err(_) => None,
        };
        match content {
            Some((ballot, content)) => self.table.keep_loaded(&key, ballot, content),
            // The record may have been removed, or replaced by one that is in memory.
            None if self.table.get(&key).is_some_and(|slot| slot.content.is_none() && slot.number == number) => {
                self.unreadable += 1;
                return Some(Err(Ignored::LoadFailed));
            }
            None => {}
        }
        for (to, asked) in asked {
            // A promise that was overtaken meanwhile is none any more.
            let promised = self.table.get(&key).map_or(Ballot::ZERO, |slot| slot.promised);
            match asked {
                Asked::Promise(ballot) if promised > ballot => self.refuse(base, to, &key, ballot),
                Asked::Promise(ballot) if promised < ballot => {}
                asked => self.answer(base, to, &key, asked),
            }
        }
        self.table.evict(&base.chassis.outbox, base.config.settings().cache_bytes_max);
        Some(Ok(()))
    }

    /// Handles a request to remove deleted registers. A register that was used since its deletion stays: another
    /// proposer relies on what was promised.
    pub(crate) fn on_remove(&mut self, base: &mut Base, from: NodeId, message: &Remove) -> Result<(), Ignored> {
        base.check_proposer(from)?;
        check_acceptor(base)?;
        check_log(base)?;
        let mut erased = Vec::new();
        let mut round = 0;
        for (key, ballot) in &message.deleted {
            let is_unused = |slot: &Slot| slot.is_tombstone && slot.accepted == *ballot && slot.promised == *ballot;
            if self.table.get(key).is_some_and(is_unused) {
                erased.extend(self.table.remove(key));
                round = round.max(ballot.round);
            }
        }
        if !erased.is_empty() {
            let ticket = base.note_removed(round, erased.clone());
            self.table.note_erased(ticket, &erased);
        }
        let ticket = base.state_ticket();
        base.post(ticket, from, Message::Removed { removal: message.removal });
        Ok(())
    }

    /// Handles a request for the keys of registers, because the roles change.
    pub(crate) fn on_list(&self, base: &mut Base, from: NodeId, list: &List) -> Result<(), Ignored> {
        base.check_proposer(from)?;
        check_acceptor(base)?;
        let settings = base.config.settings();
        let count_max = LIST_MAX.min(settings.batch_bytes_max / (2 * settings.key_bytes_max)).max(1);
        let mut found = self.table.keys_after(&list.after).map(|key| Bytes::copy_from_slice(key));
        let keys: Vec<Bytes> = found.by_ref().take(count_max).collect();
        let is_end = found.next().is_none();
        let (system, removed) = (base.system(), base.state().removed);
        let listed = Listed { system, after: list.after.clone(), keys, is_end, removed };
        // The roles under which this acceptor answers no more are durable with the newest ones.
        base.post(base.state_ticket(), from, Message::Listed(listed));
        Ok(())
    }

    /// Erases some of what this node had as an acceptor before it was none. Returns true if all of it is gone, durably.
    pub(crate) fn erase_some(&mut self, base: &mut Base) -> bool {
        if base.chassis.outbox.queued_writes().count() < QUEUED_WRITES_MAX {
            let erased = self.table.remove_some(ERASE_MAX);
            if !erased.is_empty() {
                let ticket = base.chassis.outbox.persist(erased.clone());
                self.table.note_erased(ticket, &erased);
            }
        }
        self.table.is_erased()
    }

    fn refuse(&self, base: &mut Base, to: NodeId, key: &[u8], ballot: Ballot) {
        let Some(slot) = self.table.get(key) else { return };
        let nack = Nack { key: Bytes::copy_from_slice(key), ballot, promised: slot.promised };
        base.post(slot.ticket, to, Message::Nack(nack));
    }

    fn ticket(&self, key: &[u8]) -> Ticket {
        self.table.get(key).map_or(Ticket(0), |slot| slot.ticket)
    }

    /// A write is durable.
    pub(crate) fn on_persisted(&mut self, base: &Base) {
        self.table.persisted(&base.chassis.outbox);
        self.table.evict(&base.chassis.outbox, base.config.settings().cache_bytes_max);
    }

    /// Number of values that could not be read from the log.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The loads under way.
    pub(crate) fn loads(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.loading.keys().copied()
    }

    pub(crate) fn check_invariants(&self, base: &Base) {
        let waiting: usize = self.loading.values().map(|loading| loading.asked.len()).sum();
        assert!(waiting <= base.config.settings().loads_max, "requests that wait for the log are bounded");
        self.table.check_invariants();
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        self.table.view(writer);
        for (ticket, loading) in &self.loading {
            writer.put(&(writer.ticket(*ticket), &loading.key, loading.number, &loading.asked));
        }
    }
}

/// Handles a request to ignore messages of old ages.
pub(crate) fn on_require_ages(base: &mut Base, from: NodeId, message: &RequireAges) -> Result<(), Ignored> {
    base.check_proposer(from)?;
    check_acceptor(base)?;
    if message.ages.iter().any(|(node, _)| !base.in_force().is_proposer(*node)) {
        return Err(Ignored::NotMember);
    }
    check_log(base)?;
    let ticket = base.require_ages(&message.ages);
    base.post(ticket, from, Message::AgesRequired { removal: message.removal });
    Ok(())
}

/// Tells what is accepted, once that and the promise are durable.
fn tell(base: &mut Base, to: NodeId, key: &[u8], slot: Option<&Slot>, asked: Asked) {
    let content = slot.and_then(|slot| slot.content.as_deref().map(|content| (slot.accepted, content.clone())));
    // A register that is not there may have been removed by a write that is not durable yet.
    let after = slot.map_or(base.state_ticket(), |slot| slot.ticket);
    let key = Bytes::copy_from_slice(key);
    let message = match asked {
        Asked::Promise(ballot) => {
            let removed = base.state().removed;
            Message::Promise(Promise { key, ballot, removed, accepted: content })
        }
        Asked::Report { start, number } => Message::Report(Report { start, number, key, accepted: content }),
    };
    base.post(after.max(base.state_ticket()), to, message);
}

/// The content of a register among the loaded records.
fn content_of(records: &[(u64, Bytes)], key: &Key, number: u64) -> Option<(Ballot, Content)> {
    let (_, bytes) = records.iter().find(|(journal_key, _)| *journal_key == number * 2)?;
    let record = decode_accepted(bytes).ok().filter(|record| *record.key == **key)?;
    Some((record.accepted, record.content))
}

/// The checks for every request to promise or accept.
fn check_request(base: &Base, from: NodeId, ballot: Ballot, age: u64) -> Result<(), Ignored> {
    if !base.in_force().is_proposer(from) {
        return Err(Ignored::NotMember);
    }
    if ballot.node != from {
        return Err(Ignored::ForeignBallot);
    }
    base.check_ballot(ballot)?;
    // A proposer that lost its disk may have forgotten the ballots that it used.
    base.check_proposer(from)?;
    check_acceptor(base)?;
    base.check_age(from, age)
}

/// Checks that this node is an acceptor that may answer. An acceptor that lost its disk has forgotten what it promised
/// and accepted.
fn check_acceptor(base: &Base) -> Result<(), Ignored> {
    if !base.is_acceptor() {
        return Err(Ignored::NotInRole);
    }
    if base.is_counting() && !base.state().is_erasing { Ok(()) } else { Err(Ignored::Barred) }
}

/// While the log does not advance, refuses requests that it could not write down in a few writes.
fn check_log(base: &Base) -> Result<(), Ignored> {
    let queued = base.chassis.outbox.queued_writes().count();
    if queued >= QUEUED_WRITES_MAX { Err(Ignored::LogBehind) } else { Ok(()) }
}

/// Number of keys in one message.
const LIST_MAX: usize = 256;
/// Number of registers that are erased in one write.
const ERASE_MAX: usize = 64;
/// Number of writes that may wait behind the one under way.
const QUEUED_WRITES_MAX: usize = 4;
