//! Replica sets across zones and racks.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quorate_consistent_hash::{Hasher, Maglev, Node, NodeIndex, Nodes, Placement, Rendezvous, Ring, ZoneReplicas};

/// Cassandra's loop, as its source states it: for each zone the replicas left, the racks seen and the repeats that are
/// acceptable.
fn reference(placement: &dyn Placement, key: &[u8], zones: &BTreeMap<String, usize>) -> Vec<String> {
    let mut order = vec![NodeIndex::default(); placement.nodes().len()];
    placement.fill_replicas(placement.hash(key), &mut order).unwrap();
    let racks_of = |zone: &str| -> BTreeSet<String> {
        let nodes = placement.nodes().iter().filter(|(_, node)| node.zone() == zone);
        nodes.map(|(_, node)| node.rack().to_owned()).collect()
    };
    let mut left = zones.clone();
    let mut repeats: BTreeMap<_, _> =
        zones.iter().map(|(zone, &replicas)| (zone, replicas.saturating_sub(racks_of(zone).len()))).collect();
    let mut seen = BTreeSet::new();
    let mut taken = Vec::new();
    for index in order {
        let node = placement.nodes().node(index);
        let Some(left) = left.get_mut(node.zone()).filter(|left| **left > 0) else {
            continue;
        };
        let new_rack = seen.insert((node.zone(), node.rack()));
        let repeats = repeats.get_mut(&node.zone().to_owned()).unwrap();
        if !new_rack && *repeats == 0 {
            continue;
        }
        *repeats -= usize::from(!new_rack);
        *left -= 1;
        taken.push(node.name().to_owned());
    }
    taken
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn follow_the_rules(
        layout in prop::collection::vec((0_usize..3, 0_usize..4), 3..25),
        wanted in prop::collection::vec(1_usize..5, 3),
        seed: u64,
    ) {
        let nodes = layout.iter().enumerate().map(|(i, (zone, rack))| {
            Node::new(format!("n{i}")).with_zone(format!("z{zone}")).with_rack(format!("r{rack}"))
        });
        let nodes = Nodes::new(nodes).unwrap();
        let mut zones = BTreeMap::new();
        for (zone, &wanted) in wanted.iter().enumerate() {
            let zone = format!("z{zone}");
            let there = nodes.iter().filter(|(_, node)| node.zone() == zone).count();
            if there > 0 {
                zones.insert(zone, wanted.min(there));
            }
        }
        check(&Ring::new(nodes.clone()).unwrap(), &zones, seed)?;
        check(&Rendezvous::new(nodes.clone()).unwrap(), &zones, seed)?;
        check(&Maglev::builder().table_size(997).build(nodes).unwrap(), &zones, seed)?;
    }
}

fn check<P: Placement + Clone>(placement: &P, zones: &BTreeMap<String, usize>, seed: u64) -> Result<(), TestCaseError> {
    let wanted = zones.iter().map(|(zone, &replicas)| (zone.as_str(), replicas));
    let replicas = ZoneReplicas::new(placement.clone(), wanted).unwrap();
    for i in 0..20_u64 {
        let key = Hasher::STABLE.hash_u64(seed.wrapping_add(i)).0.to_le_bytes();
        let nodes: Vec<_> = replicas.replicas(&key).collect();
        let names: Vec<_> = nodes.iter().map(|node| node.name().to_owned()).collect();
        prop_assert_eq!(&names, &reference(placement, &key, zones));
        prop_assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for (zone, &count) in zones {
            let here: Vec<_> = nodes.iter().filter(|node| node.zone() == zone).collect();
            prop_assert_eq!(here.len(), count);
            let racks: BTreeSet<_> = here.iter().map(|node| node.rack()).collect();
            let all = placement.nodes().iter().filter(|(_, node)| node.zone() == zone);
            let all: BTreeSet<_> = all.map(|(_, node)| node.rack()).collect();
            prop_assert_eq!(racks.len(), count.min(all.len()));
        }
    }
    Ok(())
}
