use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Change {
    Append { step: u64, texts: Vec<Vec<u8>> },
    Remove(usize),
    RemoveFront(usize),
    Deliver { consumer: u8, count: usize, is_final: bool },
    Acknowledge(usize),
    Claim { entry: usize, consumer: u8 },
    RemoveConsumer(u8),
    RemoveGroup,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let text = || prop::collection::vec(any::<u8>(), 0..200);
    let change = prop_oneof![
        8 => (1..3_u64, prop::collection::vec(text(), 2)).prop_map(|(step, texts)| Change::Append { step, texts }),
        2 => any::<usize>().prop_map(Change::Remove),
        1 => (0..4_usize).prop_map(Change::RemoveFront),
        4 => (0..4_u8, 1..5_usize, prop::bool::weighted(0.2))
            .prop_map(|(consumer, count, is_final)| Change::Deliver { consumer, count, is_final }),
        3 => any::<usize>().prop_map(Change::Acknowledge),
        2 => (any::<usize>(), 0..4_u8).prop_map(|(entry, consumer)| Change::Claim { entry, consumer }),
        1 => (0..4_u8).prop_map(Change::RemoveConsumer),
        1 => Just(Change::RemoveGroup),
    ];
    prop::collection::vec(change, 1..200)
}

/// A stream with one group, as maps.
#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<StreamId, Vec<Vec<u8>>>,
    delivered: StreamId,
    /// Consumer, time and number of deliveries.
    pending: BTreeMap<StreamId, (u8, u64, u64)>,
    consumers: BTreeSet<u8>,
}

fn any_of<T: Copy>(mut all: impl ExactSizeIterator<Item = T>, number: usize) -> Option<T> {
    let count = all.len();
    (count > 0).then(|| all.nth(number % count)).flatten()
}

impl Model {
    fn apply(&mut self, stream: &mut Stream, change: &Change, now: u64) {
        match change {
            Change::Append { step, texts } => {
                let last = stream.last_id();
                let id = if step % 2 == 0 { StreamId { ms: last.ms + step, seq: 0 } } else { last.next().unwrap() };
                let parts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
                stream.append(id, &parts);
                self.entries.insert(id, texts.clone());
            }
            Change::Remove(number) => {
                if let Some(id) = any_of(self.entries.keys(), *number).copied() {
                    self.entries.remove(&id);
                    assert!(stream.remove(id));
                    assert!(!stream.remove(id));
                }
            }
            Change::RemoveFront(count) => {
                let count = self.entries.len().min(*count);
                (0..count).for_each(|_| drop(self.entries.pop_first()));
                stream.remove_front(count);
            }
            Change::Deliver { consumer, count, is_final } => self.deliver(stream, *consumer, (*count, *is_final), now),
            Change::Acknowledge(number) => {
                let id = any_of(self.pending.keys(), *number).copied().unwrap_or(StreamId::MAX);
                let was_there = self.pending.remove(&id).is_some();
                assert_eq!(stream.change_group(b"g", |group| group.acknowledge(id)), Some(was_there));
            }
            Change::Claim { entry, consumer } => {
                if let Some(id) = any_of(self.entries.keys(), *entry).copied() {
                    self.consumers.insert(*consumer);
                    self.pending.insert(id, (*consumer, now, 9));
                    stream.change_group(b"g", |group| {
                        group.see(&[*consumer], now);
                        group.assign(Pending { id, delivered: now, deliveries: 9, consumer: &[*consumer] });
                    });
                }
            }
            Change::RemoveConsumer(consumer) => {
                let before = self.pending.len();
                self.pending.retain(|_, (owner, ..)| owner != consumer);
                self.consumers.remove(consumer);
                let removed = stream.change_group(b"g", |group| group.remove_consumer(&[*consumer]));
                assert_eq!(removed, Some(before - self.pending.len()));
            }
            Change::RemoveGroup => {
                *self = Self { entries: std::mem::take(&mut self.entries), ..Self::default() };
                assert!(stream.remove_group(b"g"));
                assert!(stream.add_group(b"g", Group::default()));
            }
        }
    }

    fn deliver(&mut self, stream: &mut Stream, consumer: u8, (count, is_final): (usize, bool), now: u64) {
        let new = self.entries.keys().copied().filter(|id| *id > self.delivered);
        let ids: Vec<StreamId> = new.take(count).collect();
        let ends = stream.deliver(b"g", &[consumer], count, is_final, now);
        assert_eq!(ends, ids.first().copied().zip(ids.last().copied()));
        for id in ids {
            self.delivered = id;
            self.consumers.insert(consumer);
            if !is_final {
                self.pending.insert(id, (consumer, now, 1));
            }
        }
    }

    fn check(&self, stream: &Stream) {
        let shown = |entry: StreamEntry<'_>| (entry.id, entry.texts().map(<[u8]>::to_vec).collect::<Vec<_>>());
        let model = || self.entries.iter().map(|(id, texts)| (*id, texts.clone()));
        assert!(stream.range(StreamId::MIN, StreamId::MAX).map(shown).eq(model()));
        assert!(stream.range_back(StreamId::MIN, StreamId::MAX).map(shown).eq(model().rev()));
        let middle = any_of(self.entries.keys(), self.entries.len() / 2).copied().unwrap_or_default();
        assert!(
            stream
                .range(middle, stream.last_id())
                .map(|entry| entry.id)
                .eq(self.entries.range(middle..).map(|(id, _)| *id))
        );
        assert!(stream.range_back(StreamId::MIN, middle).next().map(|entry| entry.id).unwrap_or_default() == middle);
        assert_eq!(stream.count_before(middle), self.entries.range(..middle).count());
        assert_eq!(stream.end_id(), self.entries.last_key_value().map_or(StreamId::MIN, |(id, _)| *id));
        let group = stream.group(b"g").unwrap();
        let listed = |pending: Pending<'_>| (pending.id, (pending.consumer[0], pending.delivered, pending.deliveries));
        assert!(group.iter_from(StreamId::MIN).map(listed).eq(self.pending.iter().map(|(id, it)| (*id, *it))));
        assert!(group.consumers().map(|(name, _)| name[0]).eq(self.consumers.iter().copied()));
        for (name, consumer) in group.consumers() {
            let its = self.pending.iter().filter(|(_, (owner, ..))| *owner == name[0]);
            assert!(group.iter_of(consumer, StreamId::MIN).map(|pending| pending.id).eq(its.map(|(id, _)| *id)));
        }
        let built = stream.parts().build(stream.items().clone()).unwrap();
        assert_eq!((built.digest(), built.bytes()), (stream.digest(), stream.bytes()));
        assert!(built.parts().build(built.items().clone()).is_some());
    }
}

proptest! {
    #[test]
    fn a_stream_holds_what_maps_hold(changes in changes()) {
        let (mut stream, mut model) = (Stream::default(), Model::default());
        stream.add_group(b"g", Group::default());
        for (now, change) in changes.iter().enumerate() {
            let copy = stream.clone();
            let digest = copy.digest();
            model.apply(&mut stream, change, now as u64);
            model.check(&stream);
            let again = copy.parts().build(copy.items().clone()).map(|copy| copy.digest());
            prop_assert_eq!(again, Some(digest), "a copy changed");
        }
    }
}

#[test]
fn whatever_is_part_of_a_stream_changes_its_digest() {
    let mut stream = Stream::default();
    let mut known = BTreeSet::from([stream.digest()]);
    let mut check = |change: &dyn Fn(&mut Stream)| {
        change(&mut stream);
        assert!(known.insert(stream.digest()));
    };
    let id = StreamId { ms: 1, seq: 2 };
    check(&|stream| stream.append(id, &[b"a", b"b"]));
    check(&|stream| {
        stream.add_group(b"g", Group::default());
    });
    check(&|stream| {
        stream.deliver(b"g", b"c", 1, false, 5);
    });
    check(&|stream| {
        stream.change_group(b"g", |group| group.see(b"c", 6));
    });
    check(&|stream| {
        stream.change_group(b"g", |group| group.acknowledge(id));
    });
    check(&|stream| {
        stream.change_group(b"g", |group| group.entries_read = None);
    });
    check(&|stream| {
        stream.change_group(b"g", |group| group.remove_consumer(b"c"));
    });
    check(&|stream| {
        stream.remove(id);
    });
    check(&|stream| stream.set_ids(StreamId::MAX, None, None));
    check(&|stream| stream.set_ids(StreamId::MAX, Some(7), None));
    check(&|stream| stream.set_ids(StreamId::MAX, None, Some(StreamId { ms: 9, seq: 9 })));
}

#[test]
fn parts_that_no_stream_has_are_refused() {
    let mut stream = Stream::default();
    stream.append(StreamId { ms: 1, seq: 0 }, &[b"a", b"b"]);
    stream.add_group(b"g", Group::default());
    stream.deliver(b"g", b"c", 1, false, 5);
    let refuses = |damage: &dyn Fn(&mut Parts), entries: Sequence| {
        let mut parts = stream.parts();
        damage(&mut parts);
        assert!(parts.build(entries).is_none());
    };
    let entries = stream.items();
    assert!(stream.parts().build(entries.clone()).is_some());
    let one = entries.get(0).unwrap();
    refuses(&|_| (), [one, one].into_iter().collect());
    refuses(&|_| (), std::iter::once(&one[..one.len() - 1]).collect());
    refuses(&|_| (), std::iter::once(&one[..10]).collect());
    refuses(&|parts| parts.head.truncate(20), entries.clone());
    refuses(&|parts| parts.head[7] = 0, entries.clone());
    refuses(&|parts| parts.groups[0].0.truncate(5), entries.clone());
    refuses(&|parts| parts.groups[0].1 = Sequence::default(), entries.clone());
    refuses(&|parts| parts.groups[0].2 = std::iter::once(&[1_u8; 20][..]).collect(), entries.clone());
    refuses(&|parts| parts.groups.extend(stream.parts().groups), entries.clone());
}
