//! The page of metrics, as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use quorate_kv::client::Answer;
use quorate_kv::exposition::{ASKED, COUNTED};

use crate::cluster::Cluster;

/// The page of a node.
fn page(cluster: &Cluster, node: u64) -> String {
    let mut stream = TcpStream::connect(cluster.node(node).http.resolve().unwrap()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
}

/// The families of a page, each with its kind and its samples: name with labels, and value.
type Families = BTreeMap<String, (String, Vec<(String, f64)>)>;

/// Reads a page strictly: every sample stands behind the `HELP` and `TYPE` of its family, and none twice.
fn families(page: &str) -> Families {
    let (mut families, mut helped) = (Families::new(), BTreeSet::new());
    let (mut family, mut seen) = (String::new(), BTreeSet::new());
    for line in page.lines().filter(|line| !line.is_empty()) {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            assert!(helped.insert(name.to_owned()) && !help.is_empty(), "{line}");
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{line}");
            assert!(families.insert(name.to_owned(), (kind.to_owned(), Vec::new())).is_none(), "{line}: twice");
            name.clone_into(&mut family);
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a name and a value");
            let name = sample.split('{').next().unwrap();
            let (kind, samples) = families.get_mut(&family).expect("a type stands first");
            let ends: &[&str] = match kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["", "_sum", "_count"],
                _ => &[""],
            };
            assert!(ends.iter().any(|end| *name == format!("{family}{end}")), "{line} is not of {family}");
            assert!(seen.insert(sample.to_owned()), "{line}: twice");
            samples.push((sample.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}: no number"))));
        }
    }
    for name in families.keys() {
        assert!(helped.contains(name), "{name} has no help");
    }
    families
}

fn value(families: &Families, sample: &str) -> f64 {
    let all = families.values().flat_map(|(_, samples)| samples);
    all.clone().find(|(name, _)| name == sample).unwrap_or_else(|| panic!("{sample} is not among {all:?}")).1
}

#[test]
fn every_metric_is_explained_and_measures_what_was_done() {
    let cluster = Cluster::start();
    let mut client = cluster.client(1);
    for _ in 0..3 {
        assert_eq!(client.ask(&[b"SET", b"key", b"value"]).unwrap(), Answer::Status("OK".to_owned()));
    }
    assert!(matches!(client.ask(&[b"INCR", b"key"]).unwrap(), Answer::Error(_)));
    assert!(matches!(client.ask(&[b"GET"]).unwrap(), Answer::Error(_)));
    let page = page(&cluster, 1);
    let families = families(&page);
    let always = COUNTED.iter().filter(|metric| metric.name != "kv_peer_requests_dropped_total").chain(ASKED);
    for metric in always {
        assert!(
            families.get(metric.name).is_some_and(|(_, samples)| !samples.is_empty()),
            "{} is missing",
            metric.name
        );
    }
    for (sample, expected) in [
        ("kv_command_duration_seconds_count{command=\"set\"}", 3.0),
        ("kv_command_duration_seconds_bucket{command=\"set\",le=\"+Inf\"}", 3.0),
        ("kv_commands_failed_total{command=\"incr\"}", 1.0),
        ("kv_commands_rejected_total{command=\"get\"}", 1.0),
        ("kv_errors_total{code=\"ERR\"}", 2.0),
        ("kv_may_vote{shard=\"0\"}", 1.0),
        ("kv_group_stopped{shard=\"0\"}", 0.0),
        ("kv_keys{shard=\"0\"}", 1.0),
        ("kv_connected_clients", 1.0),
        ("kv_connections_rejected_total", 0.0),
    ] {
        assert!((value(&families, sample) - expected).abs() < 1e-9, "{sample} is {}", value(&families, sample));
    }
    assert!(value(&families, "process_resident_memory_bytes") > 1e6);
    lint(&page);
}

/// Has Prometheus's own tool read the page. What it says about units is a matter of taste: names never change.
fn lint(page: &str) {
    let tool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut tool) = tool else {
        println!("skipped: no promtool is installed");
        return;
    };
    tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let is_taste = |line: &&str| line.contains("use base unit") || line.contains("should not contain the unit");
    let wrong: Vec<_> = said.lines().filter(|line| !line.is_empty() && !is_taste(line)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
