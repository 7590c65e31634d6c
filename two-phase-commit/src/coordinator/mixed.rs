//! Mixed transactions: a participant did not do what was decided, because an operator or somebody else ended its
//! branch, or because it lost the branch. They are kept until an operator says that they were dealt with, and block
//! nothing.

use std::collections::BTreeMap;

use quorate_protocol::{NodeId, RecoverError, Ticket};

use crate::base::Base;
use crate::codec::Record;
use crate::error::Ignored;
use crate::journal::KeyedRecord;
use crate::recovery::TWO_RECORDS;
use crate::{Decision, Deviation, Event, TransactionNumber};

/// The mixed transactions of a coordinator: at most `transactions_max`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mixed {
    of: BTreeMap<TransactionNumber, Deviations>,
}

/// What was decided, and the participants that did not do it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Deviations {
    pub(crate) decision: Decision,
    pub(crate) by: BTreeMap<NodeId, Deviation>,
    pub(crate) key: u64,
}

impl Mixed {
    pub(crate) fn of(&self) -> &BTreeMap<TransactionNumber, Deviations> {
        &self.of
    }

    /// Takes one up from its record.
    pub(crate) fn adopt(&mut self, number: TransactionNumber, it: Deviations) -> Result<(), RecoverError> {
        if self.of.insert(number, it).is_some() { Err(TWO_RECORDS) } else { Ok(()) }
    }

    /// Every record that counts.
    pub(crate) fn records(&self) -> impl Iterator<Item = KeyedRecord> + '_ {
        self.of.iter().map(|(number, it)| KeyedRecord { key: it.key, record: it.record(*number) })
    }

    /// Notes what a participant did. Returns the write that makes it durable.
    pub(super) fn note(
        &mut self,
        base: &mut Base,
        number: TransactionNumber,
        decision: Decision,
        participant: NodeId,
        deviation: Deviation,
    ) -> Result<Ticket, Ignored> {
        let settings = base.config.settings();
        let is_full = !self.of.contains_key(&number) && self.of.len() >= settings.transactions_max;
        let known = self.of.get(&number).map(|it| &it.by);
        let is_known = known.is_some_and(|known| known.contains_key(&participant));
        if is_known {
            return Ok(base.chassis.outbox.newest_write());
        }
        if is_full || known.is_some_and(|known| known.len() >= settings.participants_max) {
            return Err(Ignored::Unready);
        }
        let new = || Deviations { decision, by: BTreeMap::new(), key: base.journal.new_key() };
        let it = self.of.entry(number).or_insert_with(new);
        it.by.insert(participant, deviation);
        let written = base.write(it.key, &it.record(number), None);
        let transaction = base.id_of(number);
        base.chassis.outbox.event_after(written, Event::Mixed { transaction, decision, participant, deviation });
        Ok(written)
    }

    /// An operator has dealt with it. Returns false if there is none.
    pub(crate) fn forget(&mut self, base: &mut Base, number: TransactionNumber) -> bool {
        let Some(it) = self.of.remove(&number) else { return false };
        base.erase_lazily(it.key, None);
        true
    }

    /// Another node shows them now.
    pub(super) fn clear(&mut self) {
        self.of.clear();
    }
}

impl Deviations {
    fn record(&self, number: TransactionNumber) -> Record {
        Record::Mixed { number, decision: self.decision, deviations: self.by.clone() }
    }
}
