use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_protocol::{LogIndex, LogTime};
use quorate_transport::codec;

use super::{Typed, TypedStateMachine};
use crate::replica::state_machine::{ApplyContext, StateMachine};

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Tally(BTreeMap<String, u64>);

impl TypedStateMachine for Tally {
    type Command = (String, u64);
    type Response = u64;

    fn apply(&mut self, _: ApplyContext, (name, add): (String, u64)) -> u64 {
        let count = self.0.entry(name).or_default();
        *count += add;
        *count
    }
}

fn context() -> ApplyContext {
    ApplyContext { index: LogIndex(1), log_time: LogTime(1) }
}

fn command(name: &str, add: u64) -> Bytes {
    codec::encode_small(&(name, add)).expect("small")
}

#[test]
fn commands_and_responses_pass_through_serde() {
    let mut tally = Typed(Tally::default());
    tally.apply(context(), command("a", 2)).expect("in memory");
    let response = tally.apply(context(), command("a", 3)).expect("in memory");
    assert_eq!(codec::decode_small::<u64>(&response), Ok(5));
}

#[test]
fn a_snapshot_restores_an_equal_state_of_any_size() {
    let mut tally = Typed(Tally::default());
    for name in 0..100_000 {
        tally.apply(context(), command(&format!("a rather long name for a number: {name}"), 1)).expect("in memory");
    }
    let mut bytes = Vec::new();
    Typed::write(tally.snapshot(), &mut bytes).expect("a vector takes all");
    assert!(bytes.len() > codec::SMALL_BYTES_MAX);
    let restored = Typed::<Tally>::restore(&mut &bytes[..]).expect("just written");
    assert_eq!(restored, tally);
    assert_eq!(restored.digest(), tally.digest());
    let torn = Typed::<Tally>::restore(&mut &bytes[..bytes.len() - 1]).expect_err("a byte is missing");
    assert_eq!(torn.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn unequal_states_have_unequal_digests() {
    let mut tally = Typed(Tally::default());
    let empty = tally.digest();
    tally.apply(context(), command("a", 1)).expect("in memory");
    assert_ne!(tally.digest(), empty);
}

#[test]
#[should_panic(expected = "cannot be read")]
fn an_unreadable_command_panics() {
    let _ = Typed(Tally::default()).apply(context(), Bytes::from_static(b"\xff"));
}
