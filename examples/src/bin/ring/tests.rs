use std::fs;

use clap::{Parser, ValueEnum};

use super::{Algorithm, Cli, run};

/// What the tool prints, or its complaint. `@name` stands for a file made of what `files` gives under that name.
fn ring(files: &[(&str, &str)], command: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for (name, text) in files {
        fs::write(path(name), text).unwrap();
    }
    let arguments = command.split_whitespace().map(|word| match word.strip_prefix('@') {
        Some(name) => path(name),
        None => word.to_owned(),
    });
    let cli =
        Cli::try_parse_from(["ring".to_owned()].into_iter().chain(arguments)).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    run(&cli, &mut out)
        .map_err(|failure| failure.to_string().replace(&format!("{}/", directory.path().display()), "@"))?;
    Ok(String::from_utf8(out).unwrap())
}

const THREE: (&str, &str) = ("nodes", "a\nb 2\n\nc 1 zone rack\n");

#[test]
fn owners_of_slots_need_no_nodes() {
    let keys = ("keys", "123456789\n{user1000}.following\nfoo\n");
    let slots = ring(&[keys], "owners --algorithm redis-slot --keys @keys");
    assert_eq!(slots.unwrap(), "123456789\t12739\n{user1000}.following\t3443\nfoo\t12182\n");
}

#[test]
fn numbers_are_taken_as_they_are() {
    let nodes: String = (0..60).map(|i| format!("n{i}\n")).collect();
    let files = [("nodes", nodes.as_str()), ("keys", "0\n1\n2\n")];
    let owners = ring(&files, "owners --algorithm jump --nodes @nodes --keys @keys --numeric");
    assert_eq!(owners.unwrap(), "0\tn0\n1\tn55\n2\tn46\n");
}

#[test]
fn files_from_windows_place_the_same_keys() {
    let placed = |nodes, keys| {
        ring(&[("nodes", nodes), ("keys", keys)], "owners --algorithm ring --nodes @nodes --keys @keys").unwrap()
    };
    let expected = placed("a\nb 2\nc 1 z r\n", "k1\nk2\n\nk3\n");
    assert_eq!(placed("a\r\nb 2\r\nc 1 z r\r\n", "k1\r\nk2\r\n\r\nk3\r\n"), expected);
    assert_eq!(placed("\u{feff}a\r\nb 2\r\nc 1 z r", "\u{feff}k1\r\nk2\r\n\r\nk3"), expected);
    let numeric =
        ring(&[THREE, ("keys", "1\r\n2\r\n")], "owners --algorithm ring --nodes @nodes --keys @keys --numeric");
    assert!(numeric.unwrap().starts_with("1\t"));
}

#[test]
fn every_algorithm_owns_balances_moves_and_draws() {
    let keys: String = (0..50).map(|i| format!("key-{i}\n")).collect();
    let files = [("nodes", "a\nb\nc\n"), ("more", "a\nb\nc\nd\n"), ("keys", keys.as_str())];
    for algorithm in Algorithm::value_variants() {
        let placing = format!("--algorithm {algorithm} --samples 1000");
        let owners = ring(&files, &format!("owners --algorithm {algorithm} --nodes @nodes --keys @keys")).unwrap();
        assert_eq!(owners.lines().count(), 50);
        let balance = ring(&files, &format!("balance {placing} --nodes @nodes")).unwrap();
        assert!(balance.contains("1000 keys: peak/mean 1."), "{balance}");
        let plan = ring(&files, &format!("move {placing} --from @nodes --to @more")).unwrap();
        assert!(plan.contains("minimum"), "{plan}");
        let picture = ring(&files, &format!("plot {placing} --nodes @nodes --to @more")).unwrap();
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    }
}

#[test]
fn replicas_are_distinct_and_follow_the_zones() {
    let nodes = ("nodes", "a 1 east r1\nb 1 east r1\nc 1 east r2\nd 2 west r1\n");
    let keys = ("keys", "k\n");
    let line =
        ring(&[nodes, keys], "owners --algorithm ring --nodes @nodes --keys @keys --zones east=2,west=1").unwrap();
    let owners: Vec<_> = line.trim().strip_prefix("k\t").unwrap().split(',').collect();
    assert!(owners.contains(&"c") && owners.contains(&"d") && owners.len() == 3, "{line}");
    let line = ring(&[nodes, keys], "owners --algorithm maglev --nodes @nodes --keys @keys --replicas 4").unwrap();
    assert!(["a", "b", "c", "d"].iter().all(|node| line.contains(node)), "{line}");
}

#[test]
fn bad_input_is_refused_by_line() {
    let keys = ("keys", "1\nx\n4294967296\n");
    let owners =
        |nodes, options| ring(&[("nodes", nodes), keys], &format!("owners --nodes @nodes --keys @keys {options}"));
    let complaints = [
        ("", "--algorithm ring", "there are no nodes"),
        ("a\na\n", "--algorithm ring", "node \"a\" is given twice"),
        ("a\nb 0\n", "--algorithm ring", "@nodes, line 2: \"0\": weight is not above zero"),
        ("a NaN\n", "--algorithm ring", "@nodes, line 1: \"NaN\": weight is not a number"),
        ("a 1e10\n", "--algorithm ring", "@nodes, line 1: \"1e10\": weight is above 4294967295"),
        ("a\n", "--algorithm ring --replicas 18446744073709551615", "18446744073709551615 replicas wanted of 1 nodes"),
        ("a\nA\n", "--algorithm nginx", "nodes \"a\" and \"A\" mean the same server"),
        (
            "a\n",
            "--algorithm envoy --ring-size 8388609",
            "a ring of at least 8388609 and at most 8388608 tokens is not possible: both are at most 8388608, in this order",
        ),
        ("a x\n", "--algorithm ring", "@nodes, line 1: \"x\" is not a weight"),
        ("a 1 z r more\n", "--algorithm ring", "@nodes, line 1: \"more\" is one field too many"),
        ("a\nb 2\n", "--algorithm jump", "the algorithm knows no weights, and those given differ"),
        ("a\n", "--algorithm ring --replicas 2", "2 replicas wanted of 1 nodes"),
        ("a\n", "--algorithm jump --numeric", "@keys, line 2: \"x\" is not a number of 64 bits"),
        ("a\n", "--algorithm maglev --table-size 1000", "table size 1000 is not a prime that fits the nodes"),
        ("a 1.5\n", "--algorithm nginx", "the weight of node \"a\" is not a whole number"),
    ];
    for (nodes, options, complaint) in complaints {
        assert_eq!(owners(nodes, options).unwrap_err(), complaint);
    }
    let missing = ring(&[THREE], "owners --algorithm ring --nodes @nodes --keys @none").unwrap_err();
    assert!(missing.starts_with("@none: "), "{missing}");
    let large =
        ring(&[THREE, ("keys", "4294967296\n")], "owners --algorithm ketama --nodes @nodes --keys @keys --numeric");
    assert_eq!(large.unwrap_err(), "@keys, line 1: 4294967296 is above 32 bits, which is all ketama hashes to");
}
