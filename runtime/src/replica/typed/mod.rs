//! State machines whose commands, responses and state serde can encode.

use std::io;

use bytes::Bytes;
use quorate_protocol::LogTime;
use quorate_transport::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::replica::state_machine::{ApplyContext, StateMachine};

/// A state machine with commands and responses of its own types. [`Typed`] makes a [`StateMachine`] of it.
///
/// The rules are those of [`StateMachine`]: it depends on its arguments alone. Its snapshot is a clone, so a large
/// state should be cheap to clone (behind `Arc`s, or a persistent map). A small state needs no such care.
///
/// Commands and states are stored on disk in the order of their fields and variants. Append new variants, and never
/// change a field.
///
/// ```
/// use quorate_runtime::{ApplyContext, TypedStateMachine};
///
/// #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
/// struct Counter(i64);
///
/// impl TypedStateMachine for Counter {
///     type Command = i64;
///     type Response = i64;
///
///     fn apply(&mut self, _: ApplyContext, add: i64) -> i64 {
///         self.0 += add;
///         self.0
///     }
/// }
/// ```
pub trait TypedStateMachine: Clone + Serialize + DeserializeOwned + Send + 'static {
    /// Type of its commands.
    type Command: Serialize + DeserializeOwned;
    /// Type of its responses.
    type Response: Serialize + DeserializeOwned;

    /// As [`StateMachine::apply`].
    fn apply(&mut self, context: ApplyContext, command: Self::Command) -> Self::Response;

    /// As [`StateMachine::tick`].
    fn tick(&mut self, context: ApplyContext) {
        let _ = context;
    }

    /// As [`StateMachine::next_deadline`].
    fn next_deadline(&self) -> Option<LogTime> {
        None
    }
}

/// Makes a [`StateMachine`] of a [`TypedStateMachine`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed<S>(pub S);

impl<S: TypedStateMachine> StateMachine for Typed<S> {
    type Snapshot = S;

    /// # Panics
    /// When the command cannot be decoded, or the response cannot be encoded (above 1 MiB, or a value that serde
    /// refuses).
    fn apply(&mut self, context: ApplyContext, command: Bytes) -> io::Result<Bytes> {
        let command = match codec::decode_small(&command) {
            Ok(command) => command,
            Err(error) => panic!("the command cannot be read by this program: {error}"),
        };
        let response = self.0.apply(context, command);
        match codec::encode_small(&response) {
            Ok(bytes) => Ok(bytes),
            Err(error) => panic!("the response cannot be encoded: {error}"),
        }
    }

    fn tick(&mut self, context: ApplyContext) -> io::Result<()> {
        self.0.tick(context);
        Ok(())
    }

    fn snapshot(&self) -> S {
        self.0.clone()
    }

    fn write(snapshot: S, out: &mut dyn io::Write) -> io::Result<()> {
        codec::write_value(&snapshot, out)
    }

    fn restore(from: &mut dyn io::Read) -> io::Result<Self> {
        codec::read_value(from).map(Self)
    }

    /// Computes FNV-1a over the encoded state. A state that contains a hash map has another order on each node, so its
    /// digests differ.
    fn digest(&self) -> u64 {
        let mut hash = Fnv(FNV_OFFSET);
        match codec::write_value(&self.0, &mut hash) {
            Ok(()) => hash.0,
            Err(error) => panic!("the state cannot be encoded: {error}"),
        }
    }

    fn next_deadline(&self) -> Option<LogTime> {
        self.0.next_deadline()
    }
}

struct Fnv(u64);

impl io::Write for Fnv {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests;
