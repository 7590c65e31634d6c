//! The checks, in the order of [`Clause`](super::Clause).
//!
//! A check that an event does not happen ends with a barrier: a later frame whose arrival shows that the event can no
//! longer come.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_protocol::{Incarnation, NodeId};

use super::end::{
    CHANNEL, CheckResult, End, READ_MAX, await_number, connect, ensure, identity, identity_of_life, introduce,
    number_of, numbered, pair, send, set_peer,
};
use super::harness::{Harness, LIMITS};
use crate::claims::ClaimError;
use crate::counters::Count;
use crate::frame::{ChannelId, Frame, Sender};
use crate::inbox::Inbox;
use crate::link::{LinkEvent, Refusal, RefusedBy};
use crate::queue::Incoming;
use crate::transport::{Peer, PeerError, SendError};

pub(super) fn at_most_once(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    for round in 0..ROUNDS {
        for number in round * BURST..(round + 1) * BURST {
            send(&one, &two, number)?;
        }
        await_number(harness, &mut two, (round + 1) * BURST - 1)?;
    }
    send(&one, &two, BARRIER)?;
    await_number(harness, &mut two, BARRIER)?;
    let numbers = two.numbers();
    let distinct: BTreeSet<_> = numbers.iter().collect();
    ensure(distinct.len() == numbers.len(), || format!("a frame arrived twice: {numbers:?}"))
}

pub(super) fn never_corrupt(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    let pattern = |length: usize| (0..=250).cycle().take(length).collect::<Bytes>();
    let shapes: &[&[usize]] =
        &[&[], &[0], &[1], &[0, 0, 3], &[100], &[4096], &[8191, 8193], &[33_000], &[60_000], &[20_000, 5, 30_000]];
    for (shape, lengths) in (0..).zip(shapes) {
        for (lane, channel) in (0..).zip([CHANNEL, ChannelId::SNAPSHOTS]) {
            let raw = lengths.iter().map(|length| pattern(*length)).collect();
            let number = 2 * shape + lane;
            let frame = numbered(channel, number, raw);
            one.transport.send(two.node(), frame.clone()).map_err(|error| error.to_string())?;
            await_number(harness, &mut two, number)?;
            let arrived = two.seen.iter().rfind(|received| received.frame.group() == frame.group());
            ensure(arrived.is_some_and(|received| received.frame == frame), || {
                format!("a frame with sections of {lengths:?} bytes arrived changed on channel {channel}")
            })?;
        }
    }
    Ok(())
}

pub(super) fn never_misattributed(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    let mut three = End::join(harness, identity(3))?;
    introduce(harness, &three, &two)?;
    introduce(harness, &two, &three)?;
    connect(harness, &mut three, &mut two)?;
    for number in 0..BURST {
        let sender = if number % 2 == 0 { &one } else { &three };
        send(sender, &two, number)?;
    }
    await_number(harness, &mut two, BURST - 2)?;
    await_number(harness, &mut two, BURST - 1)?;
    for received in &two.seen {
        let sender = identity(if received.frame.group().0.is_multiple_of(2) { 1 } else { 3 });
        ensure(received.from == Sender { node: sender.node, incarnation: sender.incarnation }, || {
            format!("a frame of {sender:?} arrived as one of {}", received.from)
        })?;
    }
    Ok(())
}

pub(super) fn order_within_connection(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    for round in 0..ROUNDS {
        for number in round * BURST..(round + 1) * BURST {
            let raw = Bytes::from(number.to_le_bytes().repeat(if number % 3 == 0 { 200 } else { 1 }));
            let sent = one.transport.send(two.node(), numbered(CHANNEL, number, vec![raw]));
            sent.map_err(|error| format!("frame {number} is refused: {error}"))?;
        }
        for number in round * BURST..(round + 1) * BURST {
            await_number(harness, &mut two, number)?;
        }
    }
    let numbers = two.numbers();
    ensure(numbers.is_sorted(), || format!("frames of one lane arrived out of order: {numbers:?}"))
}

pub(super) fn nothing_old(harness: &mut dyn Harness) -> CheckResult {
    let (mut one, mut two) = pair(harness)?;
    for number in 0..BURST {
        send(&one, &two, number)?;
    }
    one.transport.remove_peer(two.node());
    introduce(harness, &one, &two)?;
    connect(harness, &mut one, &mut two)?;
    two.read();
    let before = two.seen.len();
    send(&one, &two, BARRIER)?;
    await_number(harness, &mut two, BARRIER)?;
    send(&one, &two, BARRIER + 1)?;
    await_number(harness, &mut two, BARRIER + 1)?;
    let after = &two.numbers()[before..];
    ensure(after.iter().all(|number| *number >= BARRIER), || {
        format!("a frame of the older connection arrived over the newer one: {after:?}")
    })
}

pub(super) fn queue_bounded(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    let bounds = [(0, LIMITS.queue_frames_max), (30_000, LIMITS.queue_bytes_max / 30_000)];
    for (round, (bytes, taken_max)) in (0..).zip(bounds) {
        let mut taken = 0;
        let refusal = (0..=taken_max).find_map(|_| {
            let frame = numbered(CHANNEL, round, vec![Bytes::from(vec![7; bytes])]);
            let refusal = one.transport.send(two.node(), frame).err();
            taken += usize::from(refusal.is_none());
            refusal
        });
        ensure(refusal == Some(SendError::QueueFull(two.node())), || {
            format!("{taken} frames with {bytes} bytes each were queued, then came {refusal:?}")
        })?;
        await_number(harness, &mut two, round)?;
        let takes_again = harness.settle(&mut || {
            two.read();
            one.transport.send(two.node(), numbered(CHANNEL, round, Vec::new())).is_ok()
        });
        ensure(takes_again, || "the queue stays full after it was sent".to_owned())?;
        send(&one, &two, BARRIER + round)?;
        await_number(harness, &mut two, BARRIER + round)?;
    }
    Ok(())
}

pub(super) fn inbox_bounded(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    let mut markers = claim(&two, MARKERS)?;
    let (burst, bound) = (LIMITS.queue_frames_max as u64 / 2, LIMITS.inbox_frames_max as u64);
    for number in 0..2 * bound {
        send(&one, &two, number)?;
        if (number + 1).is_multiple_of(burst) {
            await_marker(harness, &one, &two, &mut markers)?;
        }
    }
    two.read();
    let numbers: BTreeSet<_> = two.numbers().into_iter().collect();
    ensure(two.seen.len() <= LIMITS.inbox_frames_max, || format!("{} frames waited in an inbox", two.seen.len()))?;
    let newest = numbers.last().copied().unwrap_or(0);
    ensure(numbers.len() as u64 == newest + 1, || "older frames than the newest were dropped".to_owned())
}

pub(super) fn claims_exclusive(harness: &mut dyn Harness) -> CheckResult {
    let one = harness.join(identity(1));
    let claim = |first: u16, last: u16| one.claim(ChannelId(first)..=ChannelId(last));
    let inbox = claim(16, 20).map_err(|error| error.to_string())?;
    for (first, last) in [(16, 20), (16, 16), (20, 30), (10, 16), (1, 100), (18, 19)] {
        let outcome = claim(first, last).map(drop);
        ensure(matches!(outcome, Err(ClaimError::Claimed(_))), || {
            format!("{first} to {last} overlap a claimed range, and the claim gave {outcome:?}")
        })?;
    }
    let empty = claim(2, 1).map(drop);
    ensure(empty == Err(ClaimError::Empty), || format!("an empty range was claimed with {empty:?}"))?;
    let beside = claim(15, 15).and_then(|low| claim(21, 21).map(|high| (low, high)));
    ensure(beside.is_ok(), || "a free channel cannot be claimed".to_owned())?;
    drop(inbox);
    let again = claim(16, 20).map(drop);
    ensure(again.is_ok(), || format!("a channel that was given back cannot be claimed: {again:?}"))
}

pub(super) fn claims_routed(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    let (beside, unclaimed) = (ChannelId(MARKERS.0 + 1), ChannelId(MARKERS.0 + 2));
    let (mut first, mut second) = (claim(&two, MARKERS)?, claim(&two, beside)?);
    // Each frame bears the number of its channel.
    for _ in 0..BURST {
        for channel in [CHANNEL, unclaimed, beside] {
            let sent = one.transport.send(two.node(), numbered(channel, channel.0.into(), Vec::new()));
            sent.map_err(|error| error.to_string())?;
        }
    }
    await_marker(harness, &one, &two, &mut first)?;
    two.read();
    let read = [
        (CHANNEL, two.numbers()),
        (beside, std::iter::from_fn(|| frame_of(&mut second)).filter_map(|frame| number_of(&frame)).collect()),
    ];
    for (channel, numbers) in read {
        ensure(numbers.len() as u64 >= BURST, || format!("only {} frames reached channel {channel}", numbers.len()))?;
        ensure(numbers.iter().all(|number| *number == u64::from(channel.0)), || {
            format!("the reader of channel {channel} got frames of {numbers:?}")
        })?;
    }
    Ok(())
}

pub(super) fn unknown_refused(harness: &mut dyn Harness) -> CheckResult {
    let (one, _two) = pair(harness)?;
    for node in [NodeId(1), NodeId(3), NodeId(u64::MAX)] {
        let outcome = one.transport.send(node, numbered(CHANNEL, 0, Vec::new()));
        ensure(outcome == Err(SendError::UnknownPeer(node)), || format!("a send to {node} gave {outcome:?}"))?;
    }
    let own = one.transport.set_peer(Peer::new(NodeId(1), harness.address(NodeId(1))));
    ensure(own == Err(PeerError::Own), || format!("a node became its own peer with {own:?}"))
}

pub(super) fn stranger_unheard(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    let stranger = End::join(harness, identity(3))?;
    introduce(harness, &stranger, &two)?;
    for number in 0..BURST {
        // The frame may be refused here or lost on the way; this clause does not say which.
        let _ = stranger.transport.send(two.node(), numbered(CHANNEL, number, Vec::new()));
        send(&one, &two, BARRIER + number)?;
        await_number(harness, &mut two, BARRIER + number)?;
    }
    let numbers = two.numbers();
    ensure(numbers.iter().all(|number| *number >= BARRIER), || format!("a stranger was heard: {numbers:?}"))
}

pub(super) fn removed_unheard(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    let mut three = End::join(harness, identity(3))?;
    introduce(harness, &three, &two)?;
    introduce(harness, &two, &three)?;
    connect(harness, &mut three, &mut two)?;
    let known = two.transport.remove_peer(one.node());
    ensure(known && !two.transport.remove_peer(one.node()), || "a peer is removed once".to_owned())?;
    for number in 0..BURST {
        // Frames may still be accepted until the sender learns of the removal.
        let _ = one.transport.send(two.node(), numbered(CHANNEL, number, Vec::new()));
        send(&three, &two, BARRIER + number)?;
        await_number(harness, &mut two, BARRIER + number)?;
    }
    let numbers = two.numbers();
    ensure(numbers.iter().all(|number| *number >= BARRIER), || format!("a removed peer was heard: {numbers:?}"))
}

pub(super) fn removed_told(harness: &mut dyn Harness) -> CheckResult {
    let (mut one, mut two) = pair(harness)?;
    let mut links = one.transport.claim(ChannelId::TRANSPORT..=ChannelId::TRANSPORT).map_err(|e| e.to_string())?;
    two.transport.remove_peer(one.node());
    let (peer, refusal, by) = (Some(two.node()), Refusal::UnknownPeer, RefusedBy::Peer);
    let expected = LinkEvent::Refused { peer, refusal, by };
    await_link(harness, &mut links, |event| event == expected)
        .map_err(|()| "a removed node is not told that its peer refuses it".to_owned())?;
    introduce(harness, &two, &one)?;
    connect(harness, &mut one, &mut two)
}

pub(super) fn moved_reached(harness: &mut dyn Harness) -> CheckResult {
    let (mut one, mut two) = pair(harness)?;
    let (nobody, former) = (harness.address(NodeId(9)), harness.address(two.node()));
    let at = |addresses: &[&String]| {
        let addresses = addresses.iter().copied().cloned().collect();
        Peer { addresses, ..Peer::new(NodeId(2), "") }
    };
    set_peer(&one, at(&[&nobody]))?;
    set_peer(&one, at(&[&nobody, &former]))?;
    connect(harness, &mut one, &mut two)?;
    // The node ends, and begins again elsewhere.
    harness.shutdown(&*two.transport);
    let mut two = End::join(harness, identity(2))?;
    introduce(harness, &two, &one)?;
    set_peer(&one, at(&[&former, &harness.address(two.node())]))?;
    connect(harness, &mut one, &mut two)?;
    set_peer(&one, at(&[&harness.address(two.node())]))?;
    connect(harness, &mut one, &mut two)?;
    connect(harness, &mut two, &mut one)
}

pub(super) fn peers_independent(harness: &mut dyn Harness) -> CheckResult {
    let (mut one, mut two) = pair(harness)?;
    let mut three = End::join(harness, identity(3))?;
    introduce(harness, &three, &one)?;
    let addresses = [String::new(), "nowhere".to_owned(), harness.address(NodeId(9))];
    for (number, address) in (0..).zip(addresses) {
        let before = one.transport.peers();
        let outcome = one.transport.set_peer(Peer::new(three.node(), address.clone()));
        ensure(outcome == Ok(()) || (outcome == Err(PeerError::Address) && one.transport.peers() == before), || {
            format!("the address {address:?} gave {outcome:?}, and the peers are {:?}", one.transport.peers())
        })?;
        send(&one, &two, number)?;
        await_number(harness, &mut two, number)?;
    }
    introduce(harness, &one, &three)?;
    connect(harness, &mut one, &mut three)?;
    connect(harness, &mut one, &mut two)
}

pub(super) fn oversize_refused(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    let empty = numbered(CHANNEL, 0, vec![Bytes::new()]).wire_bytes();
    let sized = |number, bytes| numbered(CHANNEL, number, vec![Bytes::from(vec![7; bytes - empty])]);
    let max = LIMITS.frame_bytes_max;
    for bytes in [max + 1, 2 * max, 100 * max] {
        let outcome = one.transport.send(two.node(), sized(0, bytes));
        let expected = SendError::TooLarge { bytes, bytes_max: max };
        ensure(outcome == Err(expected), || format!("a frame of {bytes} bytes met {outcome:?}"))?;
    }
    let fitting = one.transport.send(two.node(), sized(1, max));
    ensure(fitting.is_ok(), || format!("the longest frame met {fitting:?}"))?;
    await_number(harness, &mut two, 1)
}

pub(super) fn own_channel_reserved(harness: &mut dyn Harness) -> CheckResult {
    let (one, two) = pair(harness)?;
    let outcome = one.transport.send(two.node(), numbered(ChannelId::TRANSPORT, 0, Vec::new()));
    ensure(outcome == Err(SendError::Reserved), || format!("a frame on channel 0 met {outcome:?}"))
}

pub(super) fn nothing_kept(harness: &mut dyn Harness) -> CheckResult {
    let mut one = End::join(harness, identity(1))?;
    set_peer(&one, Peer::new(NodeId(2), harness.address(NodeId(2))))?;
    for number in 0..BURST {
        let outcome = one.transport.send(NodeId(2), numbered(CHANNEL, number, Vec::new()));
        ensure(outcome == Err(SendError::NotConnected(NodeId(2))), || {
            format!("a send without a connection gave {outcome:?}")
        })?;
    }
    let mut two = End::join(harness, identity(2))?;
    introduce(harness, &one, &two)?;
    introduce(harness, &two, &one)?;
    connect(harness, &mut one, &mut two)?;
    send(&one, &two, BARRIER)?;
    await_number(harness, &mut two, BARRIER)?;
    let numbers = two.numbers();
    ensure(numbers.iter().all(|number| *number == BARRIER), || format!("what was refused arrived: {numbers:?}"))
}

pub(super) fn incarnation_expected(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    let mut three = End::join(harness, identity_of_life(3, 2))?;
    let address = harness.address(NodeId(3));
    let expecting = |incarnation| Peer { incarnation, ..Peer::new(NodeId(3), address.clone()) };
    introduce(harness, &three, &two)?;
    set_peer(&two, expecting(Some(Incarnation(1))))?;
    for number in 0..BURST {
        let outcome = two.transport.send(NodeId(3), numbered(CHANNEL, number, Vec::new()));
        ensure(outcome == Err(SendError::NotConnected(NodeId(3))), || {
            format!("a send to another incarnation than expected gave {outcome:?}")
        })?;
        send(&one, &two, BARRIER + number)?;
        await_number(harness, &mut two, BARRIER + number)?;
    }
    for expectation in [None, Some(identity_of_life(3, 2).incarnation)] {
        set_peer(&two, expecting(expectation))?;
        connect(harness, &mut three, &mut two)?;
        connect(harness, &mut two, &mut three)?;
    }
    Ok(())
}

pub(super) fn links_told(harness: &mut dyn Harness) -> CheckResult {
    let one = End::join(harness, identity(1))?;
    let mut links = one.transport.claim(ChannelId::TRANSPORT..=ChannelId::TRANSPORT).map_err(|e| e.to_string())?;
    for life in [1, 2] {
        let two = End::join(harness, identity_of_life(2, life))?;
        introduce(harness, &two, &one)?;
        introduce(harness, &one, &two)?;
        let incarnation = two.transport.identity().incarnation;
        let peer = Sender { node: NodeId(2), incarnation };
        await_link(harness, &mut links, |event| matches!(event, LinkEvent::Up { peer: up } if up == peer))
            .map_err(|()| format!("it is not told that {peer} can be reached"))?;
        harness.shutdown(&*two.transport);
        await_link(harness, &mut links, |event| matches!(event, LinkEvent::Down { peer: down, .. } if down == peer))
            .map_err(|()| format!("it is not told that {peer} is gone"))?;
    }
    Ok(())
}

pub(super) fn shutdown_flushes(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    for number in 0..BURST {
        send(&one, &two, number)?;
    }
    harness.shutdown(&*one.transport);
    await_number(harness, &mut two, BURST - 1)
}

pub(super) fn shutdown_refuses(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    let mut markers = claim(&two, MARKERS)?;
    send(&one, &two, 1)?;
    await_marker(harness, &one, &two, &mut markers)?;
    harness.shutdown(&*two.transport);
    let sent = two.transport.send(one.node(), numbered(CHANNEL, 0, Vec::new()));
    ensure(sent == Err(SendError::Closed), || format!("a send after the shutdown gave {sent:?}"))?;
    let claimed = two.transport.claim(ChannelId::TRANSPORT..=ChannelId::TRANSPORT).map(drop);
    ensure(claimed == Err(ClaimError::Closed), || format!("a claim after the shutdown gave {claimed:?}"))?;
    let known = two.transport.set_peer(Peer::new(NodeId(3), harness.address(NodeId(3))));
    ensure(known == Err(PeerError::Closed), || format!("a new peer after the shutdown gave {known:?}"))?;
    two.read();
    ensure(two.numbers().contains(&1), || "what waited in the inbox was lost".to_owned())?;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let end = two.inbox.poll_recv(&mut context);
    ensure(end == std::task::Poll::Ready(None), || format!("the inbox does not end: {end:?}"))?;
    harness.shutdown(&*two.transport);
    Ok(())
}

pub(super) fn counted(harness: &mut dyn Harness) -> CheckResult {
    let (one, mut two) = pair(harness)?;
    let before = one.transport.counters();
    for number in 0..5 {
        send(&one, &two, number)?;
    }
    await_number(harness, &mut two, 4)?;
    for _ in 0..3 {
        // Both sends are refused, which other clauses check.
        let _ = one.transport.send(NodeId(9), numbered(CHANNEL, 0, Vec::new()));
        let _ = one.transport.send(two.node(), numbered(ChannelId::TRANSPORT, 0, Vec::new()));
    }
    let after = one.transport.counters();
    let bytes = 5 * (numbered(CHANNEL, 0, Vec::new()).wire_bytes() as u64);
    let expected =
        [(Count::FramesSent, 5), (Count::BytesSent, bytes), (Count::SendUnknownPeer, 3), (Count::SendReserved, 3)];
    for (count, amount) in expected {
        let counted = after.of(count) - before.of(count);
        ensure(counted == amount, || format!("{} grew by {counted}, and {amount} were made", count.name()))?;
    }
    let received = two.transport.counters().of(Count::FramesReceived);
    ensure(received >= 5, || format!("{received} frames were counted as received"))
}

/// Claims one more channel of this node.
fn claim(end: &End, channel: ChannelId) -> Result<Inbox, String> {
    end.transport.claim(channel..=channel).map_err(|error| error.to_string())
}

/// Waits until all frames sent before have reached the receiver's inboxes, read or not.
fn await_marker(harness: &mut dyn Harness, from: &End, to: &End, markers: &mut Inbox) -> CheckResult {
    let sent = from.transport.send(to.node(), numbered(MARKERS, BARRIER, Vec::new()));
    sent.map_err(|error| format!("a frame is refused: {error}"))?;
    let is_marker = |frame: Frame| number_of(&frame) == Some(BARRIER);
    let arrived = harness.settle(&mut || std::iter::from_fn(|| frame_of(markers)).any(is_marker));
    ensure(arrived, || "frames do not arrive on a connection that stands".to_owned())
}

/// Waits for a link event.
fn await_link(harness: &mut dyn Harness, links: &mut Inbox, wanted: impl Fn(LinkEvent) -> bool) -> Result<(), ()> {
    let arrived = harness.settle(&mut || {
        std::iter::from_fn(|| links.try_recv())
            .any(|incoming| matches!(incoming, Incoming::Link(event) if wanted(event)))
    });
    if arrived { Ok(()) } else { Err(()) }
}

fn frame_of(inbox: &mut Inbox) -> Option<Frame> {
    match inbox.try_recv()? {
        Incoming::Frame(received) => Some(received.frame),
        Incoming::Link(_) => None,
    }
}

/// A channel that the nodes do not read unless a check claims it, on the lane that most checks use.
const MARKERS: ChannelId = ChannelId(READ_MAX.0 + 1);

/// Number of frames that are sent at once: fewer than a queue holds.
const BURST: u64 = 16;
const ROUNDS: u64 = 8;

/// The number of the frame that is sent last.
const BARRIER: u64 = 1 << 32;
