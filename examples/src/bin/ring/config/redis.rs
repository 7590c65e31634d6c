//! Redis: the answer to `CLUSTER NODES`.

use quorate_consistent_hash::compat::{REDIS_SLOTS, RedisSlots};
use quorate_consistent_hash::{Node, NodeIndex, Nodes};

use super::file::File;
use crate::algorithm::Built;
use crate::error::Failure;

/// Each master with slots is a node, named by its address `ip:port`, or by its id if it has none.
pub(super) fn read(file: &File<'_>) -> Result<Built, Failure> {
    let mut owners: Vec<Option<u32>> = vec![None; usize::from(REDIS_SLOTS)];
    let mut names: Vec<String> = Vec::new();
    for (line, text) in file.lines()? {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.is_empty() {
            continue;
        }
        let [id, address, flags, _, _, _, _, _, slots @ ..] = &fields[..] else {
            return Err(file.fail(line, "this is no line of CLUSTER NODES: fields are missing"));
        };
        // A slot in migration stays with its owner until it is assigned to the other node.
        let owned: Vec<_> = slots.iter().filter(|range| !range.starts_with('[')).collect();
        if owned.is_empty() || !flags.split(',').any(|flag| flag == "master") {
            continue;
        }
        // A node that does not know its own address yet has only a port, `:7000`.
        let has_host = |address: &&str| address.rsplit_once(':').is_some_and(|(host, _)| !host.is_empty());
        let address = address.split(['@', ',']).next().filter(has_host).unwrap_or(id);
        let number = u32::try_from(names.len()).map_err(|_| file.fail(line, "there are too many nodes"))?;
        names.push(address.to_owned());
        for range in owned {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let slot = |text: &str| text.parse::<u16>().ok().filter(|slot| *slot < REDIS_SLOTS);
            let (Some(first), Some(last)) = (slot(first), slot(last)) else {
                return Err(file.fail(line, format!("{range:?} is no range of slots")));
            };
            for slot in first..=last {
                let place = &mut owners[usize::from(slot)];
                if let Some(other) = place.replace(number) {
                    return Err(file.fail(line, format!("slot {slot} is on {} as well", names[other as usize])));
                }
            }
        }
    }
    let unowned = owners.iter().filter(|owner| owner.is_none()).count();
    if unowned > 0 {
        return Err(file.refuse(format!("{unowned} of {REDIS_SLOTS} slots are on no master")));
    }
    let mut slots = RedisSlots::even(Nodes::new(names.iter().map(|name| Node::new(name.as_str())))?)?;
    let indexes: Vec<NodeIndex> = names.iter().filter_map(|name| slots_index(&slots, name)).collect();
    for (slot, owner) in (0..REDIS_SLOTS).zip(owners) {
        if let Some(owner) = owner {
            slots.set_owner(slot, indexes[owner as usize]);
        }
    }
    Ok(Built::Slots(slots))
}

fn slots_index(slots: &RedisSlots, name: &str) -> Option<NodeIndex> {
    use quorate_consistent_hash::Placement;
    slots.nodes().index_of(name)
}
