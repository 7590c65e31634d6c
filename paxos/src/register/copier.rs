//! Copies what counts to the end of the log, in bounded pieces, so that the log can delete its oldest part.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_protocol::{LoadFailure, LoadRange, Loaded, Operation, Ticket, ViewWriter};

use super::Ignored;
use super::base::Base;
use super::table::Table;

/// A checkpoint of the journal under way.
///
/// Once its mark is durable, every record before the mark can be read. A piece of them is read, and those that are
/// still the newest of their register are written again; newer ones come after the mark by themselves.
#[derive(Clone, Debug)]
pub(crate) struct Copier {
    next_id: u64,
    is_wanted: bool,
    run: Option<Run>,
}

#[derive(Clone, Debug)]
struct Run {
    id: u64,
    /// Registers below this number are copied.
    next: u64,
    /// Registers from this number on were made after the mark.
    end: u64,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// The mark, or a piece, or the end is being written.
    Writing(Ticket),
    /// A piece is being read.
    Reading(Ticket),
    /// A piece was read, and is written as the log advances.
    Copying(VecDeque<(u64, Bytes)>),
    /// The end is being written.
    Ending(Ticket),
}

impl Copier {
    pub(crate) fn new(checkpoint: Option<u64>) -> Self {
        Self { next_id: checkpoint.map_or(1, |id| id + 1), is_wanted: false, run: None }
    }

    /// The log asked to be compacted.
    pub(crate) fn begin(&mut self, _base: &mut Base) {
        self.is_wanted = true;
    }

    /// Goes on if nothing hinders it.
    pub(crate) fn pursue(&mut self, base: &mut Base, table: &Table) {
        let outbox = &mut base.chassis.outbox;
        if outbox.queued_writes().next().is_some() {
            return;
        }
        let Some(run) = &mut self.run else {
            if std::mem::take(&mut self.is_wanted) {
                let id = self.next_id;
                self.next_id += 1;
                let mark = outbox.persist([Operation::CheckpointBegin { id }]);
                self.run = Some(Run { id, next: 0, end: table.next_number(), stage: Stage::Writing(mark) });
            }
            return;
        };
        match &mut run.stage {
            Stage::Writing(ticket) if outbox.is_durable(*ticket) => {
                if run.next < run.end {
                    let until = run.next.saturating_add(base.config.settings().copy_max).min(run.end);
                    let ticket = base.chassis.outbox.load(LoadRange::Keys { range: run.next * 2..until * 2 });
                    run.stage = Stage::Reading(ticket);
                } else {
                    let id = run.id;
                    run.stage = Stage::Ending(base.end_checkpoint(id));
                }
            }
            Stage::Copying(records) => {
                let mut newest = outbox.newest_write();
                while outbox.queued_writes().count() < 2
                    && let Some((key, bytes)) = records.pop_front()
                {
                    if table.is_current(key, &bytes) {
                        newest = outbox.persist([Operation::Journal { key, bytes }]);
                    }
                }
                if records.is_empty() {
                    run.next = run.next.saturating_add(base.config.settings().copy_max).min(run.end);
                    run.stage = Stage::Writing(newest);
                    self.pursue(base, table);
                }
            }
            Stage::Ending(ticket) if outbox.is_durable(*ticket) => self.run = None,
            Stage::Writing(_) | Stage::Reading(_) | Stage::Ending(_) => {}
        }
    }

    /// A load has ended.
    pub(crate) fn on_loaded(
        &mut self,
        base: &mut Base,
        table: &Table,
        ticket: Ticket,
        result: Result<Loaded, LoadFailure>,
    ) -> Result<(), Ignored> {
        let run = self.run.as_mut().filter(|run| matches!(run.stage, Stage::Reading(load) if load == ticket));
        let Some(run) = run else { return Err(Ignored::Unasked) };
        match result {
            Ok(Loaded::Keys(records)) => {
                run.stage = Stage::Copying(records.into());
                self.pursue(base, table);
                Ok(())
            }
            // Nothing is lost without a checkpoint: the log keeps its oldest part, and asks again.
            Ok(Loaded::Entries(_)) | Err(_) => {
                self.abandon();
                Err(Ignored::LoadFailed)
            }
        }
    }

    /// A write is durable.
    pub(crate) fn on_persisted(&mut self, base: &mut Base, table: &Table) {
        self.pursue(base, table);
    }

    /// The log refused a write: the checkpoint begins anew.
    pub(crate) fn on_refused(&mut self) {
        self.is_wanted |= self.abandon();
    }

    /// Ends the checkpoint without a result. The next one has the same id, so that the log does not keep the marks of
    /// many. Returns true if there was one.
    fn abandon(&mut self) -> bool {
        let Some(run) = self.run.take() else { return false };
        self.next_id = run.id;
        true
    }

    /// The writes that it waits for.
    pub(crate) fn writes(&self) -> impl Iterator<Item = Ticket> {
        let write = self.run.as_ref().and_then(|run| match run.stage {
            Stage::Writing(ticket) | Stage::Ending(ticket) => Some(ticket),
            Stage::Reading(_) | Stage::Copying(_) => None,
        });
        write.into_iter()
    }

    /// The load under way.
    pub(crate) fn loads(&self) -> impl Iterator<Item = Ticket> {
        let load = self.run.as_ref().and_then(|run| match run.stage {
            Stage::Reading(ticket) => Some(ticket),
            _ => None,
        });
        load.into_iter()
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        writer.put(&(self.next_id, self.is_wanted));
        let Some(run) = &self.run else { return };
        writer.put(&(run.id, run.next, run.end));
        match &run.stage {
            Stage::Writing(ticket) => writer.put(&("writing", writer.ticket(*ticket))),
            Stage::Reading(ticket) => writer.put(&("reading", writer.ticket(*ticket))),
            Stage::Copying(records) => writer.put(&("copying", records)),
            Stage::Ending(ticket) => writer.put(&("ending", writer.ticket(*ticket))),
        }
    }
}
