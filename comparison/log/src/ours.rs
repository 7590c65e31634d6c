//! Our two logs.

use bytes::Bytes;
use quorate_paxos::log::AnyLog;
use quorate_protocol::replication::Election;
use quorate_protocol::replication::testing::CoreLoop;
use quorate_raft::UpToDateLog;

use crate::cores::Cores;

pub fn paxos() -> Box<dyn Cores> {
    Box::new(CoreLoop::<AnyLog>::start())
}

pub fn raft() -> Box<dyn Cores> {
    Box::new(CoreLoop::<UpToDateLog>::start())
}

impl<E: Election> Cores for CoreLoop<E> {
    fn commit(&mut self, number: u64, payload: &Bytes) {
        CoreLoop::commit(self, number, payload);
    }

    fn committed(&self) -> u64 {
        CoreLoop::committed(self).0
    }

    fn trim(&mut self, _kept: usize) {}
}
