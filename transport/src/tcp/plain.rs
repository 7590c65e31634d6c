//! What stands in the place of TLS in a build without it: nothing of it can be made.

use std::io;

use bytes::{BufMut, Bytes};
use quorate_protocol::NodeId;

use crate::link::Refusal;

/// Certificates and keys of a node, which there are not without the feature `tls`.
#[derive(Debug)]
pub enum Tls {}

/// The encryption of one connection.
#[derive(Debug)]
pub(super) enum Session {}

impl Tls {
    pub(super) fn accept(&self) -> Result<Session, Refusal> {
        match *self {}
    }

    pub(super) fn dial(&self, _: NodeId) -> Result<Session, Refusal> {
        match *self {}
    }
}

impl Session {
    pub(super) fn is_handshaking(&self) -> bool {
        match *self {}
    }

    pub(super) fn take_output(&self) -> Bytes {
        match *self {}
    }

    pub(super) fn receive(&self, _: &[u8]) -> Result<(), Refusal> {
        match *self {}
    }

    pub(super) fn check_peer(&self, _: NodeId) -> Result<(), Refusal> {
        match *self {}
    }

    pub(super) fn read(&self, _: &mut impl BufMut) -> io::Result<Option<usize>> {
        match *self {}
    }

    pub(super) fn write(&self, _: &[io::IoSlice<'_>], _: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        match *self {}
    }
}
