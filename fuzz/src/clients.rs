//! What clients and tools send to a store, and the log's entries that come of it.

use bytes::{Bytes, BytesMut};
use quorate_kv::client::Client;
use quorate_kv::command::{At, ServerInfo, apply};
use quorate_kv::connection::{Connection, ConnectionLimits, Work, Written};
use quorate_kv::credentials::Login;
use quorate_kv::entry::decode_arguments;
use quorate_kv::members::MemberRequest;
use quorate_kv::moves::LayoutRequest;
use quorate_kv::pubsub::{self, Hub};
use quorate_kv::resp::split_inline;
use quorate_kv::shards::layout::Layout;
use quorate_kv::shards::work;
use quorate_kv::store::Store;

/// A session: the first byte says how the bytes are cut, and the work is carried out by a store.
pub(crate) fn resp(bytes: &[u8]) {
    let [cut, rest @ ..] = bytes else { return };
    let limits = ConnectionLimits { command_bytes_max: 64 * 1024, ..ConnectionLimits::default() };
    let (mut connection, mut store, mut hub) = (Connection::new(1, limits), Store::new(), Hub::default());
    for piece in rest.chunks(usize::from(*cut) + 1) {
        if !connection.wants_input() {
            break;
        }
        connection.input().extend_from_slice(piece);
        while let Some(work) = connection.next_work() {
            carry_out(&mut connection, &mut store, &mut hub, work);
        }
        connection.output().clear();
    }
}

fn carry_out(connection: &mut Connection, store: &mut Store, hub: &mut Hub, work: Work) {
    match work {
        Work::Write { slot, entry, .. } => {
            let replies = apply(store, AT.log_time, &entry).expect("a connection makes entries that can be read");
            connection.on_written(slot, Written::Applied(replies));
        }
        Work::Read { slot, batch, .. } => {
            let answer = batch.answer(store, AT, &ServerInfo::default());
            connection.on_read(slot, Ok(answer));
        }
        Work::Ask { slot, request } => connection.on_asked(slot, hub.answer(&request)),
        Work::Clients { slot, .. } => connection.on_clients(slot, &quorate_kv::resp::Reply::OK),
        Work::Subscriptions(changes) => hub.change(1, changes),
    }
}

pub(crate) fn inline(bytes: &[u8]) {
    let _ = split_inline(bytes);
}

pub(crate) fn answer(bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    while let Ok(Some(_)) = Client::decode(&mut input) {}
}

pub(crate) fn login(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Login::of_header(text);
    }
}

pub(crate) fn changes(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<MemberRequest>(bytes) {
        let _ = request.into_change();
    }
    if let Ok(request) = serde_json::from_slice::<LayoutRequest>(bytes) {
        let _ = request.begin(&Layout::even(4));
    }
}

pub(crate) fn pubsub(bytes: &[u8]) {
    if let Ok(request) = pubsub::Request::decode(&Bytes::copy_from_slice(bytes)) {
        let _ = Hub::default().answer(&request);
    }
    let _ = pubsub::Answer::decode(bytes);
}

pub(crate) fn entry(bytes: &[u8]) {
    let _ = decode_arguments(bytes);
    let mut store = Store::new();
    store.put_text(b"key", &[b"value"], None);
    // An entry that cannot be read stops the group with an error.
    let _ = apply(&mut store, AT.log_time, bytes);
    assert!(store.len(AT.log_time) < 1 << 20);
}

pub(crate) fn work(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(work) = work::Work::decode(bytes) {
        let mut store = Store::new();
        let _ = work.keys();
        let _ = work.is_possible(&store, AT.log_time);
        let _ = work.carry_out(&mut store, AT.log_time);
    }
}

pub(crate) fn layout(bytes: &[u8]) {
    if let Ok(layout) = Layout::from_text(bytes) {
        let _ = layout.moves();
    }
}

const AT: At = At { log_time: 1_000, now: 1_000 };
