//! Registers and lists as a replicated service, for the same clients that run on bare cores.

use std::io;
use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::ReplicatedLog;
use quorate_runtime::group::Hostable;
use quorate_runtime::{ApplyContext, StateMachine};

use super::{Ask, Service};
use crate::registers::{Registers, Request, Response};
use crate::world::Answer;

/// [`Registers`] on the log `L`.
pub struct RegisterService<L>(PhantomData<fn(L)>);

impl<L: ReplicatedLog + Hostable> Service for RegisterService<L> {
    type Log = L;
    type State = Registers;
    type Call = Request;
    type Answer = Response;

    fn ask(call: &Request) -> Ask {
        match call {
            Request::Read { .. } => Ask::Read,
            _ => Ask::Propose(call.encode()),
        }
    }

    fn response(_: &Request, response: Bytes) -> Answer<Response> {
        decode(response)
    }

    fn read(call: &Request, state: &Registers) -> Answer<Response> {
        let Request::Read { key } = call else { return Answer::NotDone };
        Answer::Done(Response { value: state.register(*key), lists: Vec::new() })
    }
}

impl StateMachine for Registers {
    type Snapshot = Registers;

    /// # Panics
    /// When the command was not made by [`Request::encode`].
    fn apply(&mut self, _: ApplyContext, command: Bytes) -> Bytes {
        encode(&Registers::apply(self, &Request::decode(&command).expect("a request")))
    }

    fn snapshot(&self) -> Registers {
        self.clone()
    }

    fn write(snapshot: Registers, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(&snapshot.encode())
    }

    fn restore(from: &mut dyn io::Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        Registers::decode(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no registers"))
    }

    fn digest(&self) -> u64 {
        Registers::digest(self)
    }
}

fn encode(answer: &Answer<Response>) -> Bytes {
    let Answer::Done(Response { value, lists }) = answer else { return Bytes::new() };
    let mut out = BytesMut::new();
    out.put_u64_le(*value);
    for list in lists {
        out.put_u64_le(list.len() as u64);
        for element in list {
            out.put_u64_le(*element);
        }
    }
    out.freeze()
}

fn decode(mut bytes: Bytes) -> Answer<Response> {
    if bytes.is_empty() {
        return Answer::NotDone;
    }
    let value = bytes.get_u64_le();
    let mut lists = Vec::new();
    while bytes.has_remaining() {
        let length = bytes.get_u64_le();
        lists.push((0..length).map(|_| bytes.get_u64_le()).collect());
    }
    Answer::Done(Response { value, lists })
}
