//! Registers and lists as a replicated service, for the same clients that run on bare cores.

use std::io;
use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::{Random, ReplicatedLog};
use quorate_runtime::group::Hostable;
use quorate_runtime::{ApplyContext, StateMachine};

use super::{Ask, Service};
use crate::registers::{RegisterRequest, RegisterState, Response};
use crate::world::ClientAnswer;

/// [`RegisterState`] on the log `L`.
pub struct RegisterService<L>(PhantomData<fn(L)>);

impl<L: ReplicatedLog + Hostable> Service for RegisterService<L> {
    type Log = L;
    type State = RegisterState;
    type Call = RegisterRequest;
    type Answer = Response;

    fn ask(call: &RegisterRequest) -> Ask {
        match call {
            RegisterRequest::Read { .. } => Ask::Read,
            _ => Ask::Propose(call.encode()),
        }
    }

    fn response(_: &RegisterRequest, response: Bytes) -> ClientAnswer<Response> {
        decode(response)
    }

    fn write_beside(random: &mut Random) -> Option<Bytes> {
        Some(RegisterRequest::Write { key: 0, value: random.between(1, u64::MAX) }.encode())
    }

    fn read(call: &RegisterRequest, state: &RegisterState) -> ClientAnswer<Response> {
        let RegisterRequest::Read { key } = call else { return ClientAnswer::NotDone };
        ClientAnswer::Done(Response { value: state.register(*key), lists: Vec::new() })
    }
}

impl StateMachine for RegisterState {
    type Snapshot = RegisterState;

    /// # Panics
    /// When the command was not made by [`RegisterRequest::encode`].
    fn apply(&mut self, _: ApplyContext, command: Bytes) -> io::Result<Bytes> {
        Ok(encode(&RegisterState::apply(self, &RegisterRequest::decode(&command).expect("a request"))))
    }

    fn snapshot(&self) -> RegisterState {
        self.clone()
    }

    fn write(snapshot: RegisterState, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(&snapshot.encode())
    }

    fn restore(from: &mut dyn io::Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        RegisterState::decode(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no registers"))
    }

    fn digest(&self) -> u64 {
        RegisterState::digest(self)
    }
}

fn encode(answer: &ClientAnswer<Response>) -> Bytes {
    let ClientAnswer::Done(Response { value, lists }) = answer else { return Bytes::new() };
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

fn decode(mut bytes: Bytes) -> ClientAnswer<Response> {
    if bytes.is_empty() {
        return ClientAnswer::NotDone;
    }
    let value = bytes.get_u64_le();
    let mut lists = Vec::new();
    while bytes.has_remaining() {
        let length = bytes.get_u64_le();
        lists.push((0..length).map(|_| bytes.get_u64_le()).collect());
    }
    ClientAnswer::Done(Response { value, lists })
}
