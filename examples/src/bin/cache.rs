//! `cache`: which caches hold a key, and what moves when one more joins.
//!
//! Six caches in three zones keep a copy of each key in every zone. The ring says where, by the names and weights of
//! the caches alone, so every process that knows these finds the same places. When a seventh joins, a plan names the
//! ranges of keys that move, and no other copy changes its place.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use quorate_consistent_hash::{
    KeyHash, Movement, MovementPlan, Node, Nodes, Placement, Ring, Weight, WeightError, ZoneReplicas,
};

/// Six caches in three zones; a seventh joins, and exactly the copies that are its own move.
///
/// Exit codes: 0 so it was; 1 a copy is missing or moved in vain; 2 the command line is wrong.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The number of keys
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    keys: u32,
    /// The weight of the cache that joins; those in its zone have 1 and 2
    #[arg(long, default_value = "3", value_parser = |text: &str| Weight::new(text.parse().unwrap_or(f64::NAN)))]
    weight: Weight,
}

/// The copies in each cache: keys by their hashes.
type Caches<'a> = BTreeMap<&'a str, BTreeMap<KeyHash, &'a str>>;

/// Puts a copy of each key where the ring says.
fn fill<'a>(places: &'a ZoneReplicas<Ring>, keys: &'a [String]) -> Caches<'a> {
    let ring = places.placement();
    let mut caches: Caches<'a> = ring.nodes().iter().map(|(_, node)| (node.name(), BTreeMap::new())).collect();
    for key in keys {
        for node in places.replicas(key.as_bytes()) {
            caches.entry(node.name()).or_default().insert(ring.hash(key.as_bytes()), key);
        }
    }
    caches
}

fn run(keys: u32, weight: Weight) -> Result<(), Box<dyn Error>> {
    let nodes = CACHES.map(|(name, zone, weight)| Ok(Node::new(name).with_zone(zone).with_weight(weight.try_into()?)));
    let ring = Ring::new(Nodes::new(nodes.into_iter().collect::<Result<Vec<_>, WeightError>>()?)?)?;
    let mut grown = ring.clone();
    grown.add(Node::new(JOINS).with_zone("north").with_weight(weight))?;
    let one_a_zone = |ring| ZoneReplicas::new(ring, ["north", "east", "west"].map(|zone| (zone, 1)));
    let (before, after) = (one_a_zone(ring)?, one_a_zone(grown)?);

    let keys: Vec<String> = (0..keys).map(|number| format!("user:{number}")).collect();
    let old = fill(&before, &keys);
    let mut caches = old.clone();

    // A plan names ranges of hashes, each with the cache that has them now and the one that gets them.
    let plan = MovementPlan::between_zones(&before, &after)?;
    let mut moved = 0;
    for Movement { range, from, to } in plan.movements() {
        let held = caches.get_mut(from.name()).ok_or("the plan names a cache that is not there")?;
        let leaving: Vec<_> = held.extract_if(.., |hash, _| range.contains(*hash)).collect();
        moved += leaving.len();
        caches.entry(to.name()).or_default().extend(leaving);
    }

    println!("{} keys, a copy of each in each zone. {JOINS} joins with weight {}.\n", keys.len(), weight.as_f64());
    println!("cache    zone   weight  promised  copies before      after");
    let nodes = after.placement().nodes();
    for (_, node) in nodes.iter() {
        let zone = nodes.iter().filter(|(_, other)| other.zone() == node.zone());
        let share = node.weight().as_f64() / zone.map(|(_, other)| other.weight().as_f64()).sum::<f64>();
        let [old, new] = [&old, &caches].map(|caches| caches.get(node.name()).map_or(0, BTreeMap::len));
        let (name, zone, weight) = (node.name(), node.zone(), node.weight().as_f64());
        println!(
            "{name:<8} {zone:<5} {weight:>7} {:>8.1}% {old:>14} {new:>10} = {:.1}%",
            share * 100.0,
            percent(new as u128, keys.len() as u128)
        );
    }
    // What most programs did before there were rings: the hash modulo the number of caches.
    let of = |key: &String, caches: u64| after.placement().hash(key.as_bytes()).0 % caches;
    let by_modulo = keys.iter().filter(|key| of(key, 6) != of(key, 7)).count();
    println!(
        "\n{moved} copies moved, all to {JOINS}: {:.2}% of those in a zone.",
        percent(moved as u128, keys.len() as u128)
    );
    println!("The plan moves {:.2}% of all hashes.", percent(plan.moved(), 1 << 64));
    println!(
        "By hash modulo the number of caches {:.1}% of all keys would have moved.",
        percent(by_modulo as u128, keys.len() as u128)
    );

    if moved != caches[JOINS].len() {
        return Err("copies moved that need not".into());
    }
    if caches != fill(&after, &keys) {
        return Err("a copy is not where the ring says".into());
    }
    println!("Each copy is where the ring says, and none moved that need not.");
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
fn percent(part: u128, whole: u128) -> f64 {
    part as f64 / whole as f64 * 100.0
}

fn main() -> ExitCode {
    let Arguments { keys, weight } = Arguments::parse();
    let Err(error) = run(keys, weight) else { return ExitCode::SUCCESS };
    eprintln!("cache: {error}");
    ExitCode::FAILURE
}

/// The caches, their zones and weights. One with weight 2 gets twice the keys of one with weight 1.
const CACHES: [(&str, &str, f64); 6] = [
    ("cache-1", "north", 1.0),
    ("cache-2", "north", 2.0),
    ("cache-3", "east", 1.0),
    ("cache-4", "east", 1.0),
    ("cache-5", "west", 1.0),
    ("cache-6", "west", 1.0),
];
/// The cache that joins.
const JOINS: &str = "cache-7";
