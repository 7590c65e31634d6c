//! The gate between the connections of one peer and the inboxes: once a newer connection stands, no frame of an older
//! one passes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_protocol::Incarnation;
use tokio::task::AbortHandle;

use crate::frame::Lane;
use crate::link::Refusal;

/// The connections of a peer that may deliver frames: the newest of each lane, all of one start of the peer.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    life: Option<Life>,
    /// The epoch of the newest connection of any lane.
    newest: u64,
    lanes: [Option<Open>; 2],
    closed: bool,
}

/// One start of one incarnation of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) incarnation: Incarnation,
    pub(super) start: u32,
}

#[derive(Debug)]
struct Open {
    epoch: u64,
    task: AbortHandle,
}

/// The right to deliver frames, held while a batch is delivered.
pub(super) struct Pass<'a> {
    _state: MutexGuard<'a, State>,
}

impl Inbound {
    /// Admits a connection and ends those that it replaces. Epochs grow in the order in which connections were
    /// accepted, so that a connection with a slow handshake does not replace a newer one. A connection of an earlier
    /// start of the peer does not replace one of a later start.
    pub(super) fn open(&self, lane: Lane, life: Life, epoch: u64, task: AbortHandle) -> Result<(), Refusal> {
        let mut state = self.lock();
        let same_life = state.life == Some(life);
        let followed =
            if same_life { state.lanes[slot(lane)].as_ref().map_or(0, |open| open.epoch) } else { state.newest };
        if state.closed || epoch < followed {
            return Err(Refusal::Superseded);
        }
        if state.is_outlived(life) {
            return Err(Refusal::OlderStart);
        }
        if !same_life {
            state.end_all();
            state.life = Some(life);
        }
        state.newest = state.newest.max(epoch);
        if let Some(older) = state.lanes[slot(lane)].replace(Open { epoch, task }) {
            older.task.abort();
        }
        Ok(())
    }

    /// Gives the right to deliver frames of the connection with this epoch, unless a newer connection took over.
    pub(super) fn pass(&self, lane: Lane, epoch: u64) -> Result<Pass<'_>, Refusal> {
        let state = self.lock();
        let is_newest = state.lanes[slot(lane)].as_ref().is_some_and(|open| open.epoch == epoch);
        if is_newest { Ok(Pass { _state: state }) } else { Err(Refusal::Superseded) }
    }

    /// True if a connection of a later start of this incarnation stands.
    pub(super) fn is_outlived(&self, life: Life) -> bool {
        self.lock().is_outlived(life)
    }

    /// Refuses all further frames and ends the connections.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.end_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_outlived(&self, life: Life) -> bool {
        let is_later = |known: Life| known.incarnation == life.incarnation && known.start > life.start;
        self.life.is_some_and(is_later) && self.lanes.iter().flatten().any(|open| !open.task.is_finished())
    }

    fn end_all(&mut self) {
        for open in self.lanes.iter_mut().filter_map(Option::take) {
            open.task.abort();
        }
    }
}

fn slot(lane: Lane) -> usize {
    match lane {
        Lane::Control => 0,
        Lane::Bulk => 1,
    }
}
