//! The files of `deploy` fit the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use quorate_kv::config::{ClusterConfig, Exposure};
use quorate_kv::exposition::{ASKED, COUNTED};
use quorate_runtime::metrics::{METRICS, Metric, MetricKind};
use serde_json::Value;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(deploy(file)).unwrap()
}

#[test]
fn cluster_files_are_valid_and_listen_everywhere() {
    for file in ["cluster.toml", "kubernetes/cluster.toml"] {
        let config = ClusterConfig::read(&deploy(file)).unwrap();
        assert_eq!(config.nodes.keys().copied().collect::<Vec<_>>(), [1, 2, 3], "{file}");
        assert_eq!(config.data, Path::new("/var/lib/kv"), "{file}");
        for id in [1, 2, 3] {
            assert!(config.listeners(id, Exposure::Loopback).is_err(), "{file} needs --insecure");
            assert!(config.listeners(id, Exposure::Anywhere).unwrap().client.ip().is_unspecified(), "{file}");
        }
    }
}

#[test]
fn containers_and_pods_have_the_names_that_their_cluster_files_say() {
    let compose = text("compose.yaml");
    for (id, node) in ClusterConfig::read(&deploy("cluster.toml")).unwrap().nodes {
        assert!(compose.contains(&format!("\n  {}:\n", node.peer.host())), "{}", node.peer);
        assert!(compose.contains(&format!("\"--node\", \"{id}\"")), "node {id}");
    }
    let pods = text("kubernetes/statefulset.yaml");
    for (id, node) in ClusterConfig::read(&deploy("kubernetes/cluster.toml")).unwrap().nodes {
        // Pod kv-0 is node 1.
        assert_eq!(node.peer.host(), format!("kv-{}.kv-nodes", id - 1));
        for (port, name) in [(node.peer.port(), "peer"), (node.client.port(), "client"), (node.http.port(), "http")] {
            assert!(pods.contains(&format!("{{name: {name}, containerPort: {port}}}")), "{name}");
        }
    }
    assert!(pods.contains("serviceName: kv-nodes") && pods.contains("name: kv-nodes\n"), "the service of the pods");
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(&text("grafana.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    let asked: String = targets.flatten().map(|target| target["expr"].as_str().unwrap().to_owned() + "\n").collect();
    for (file, asked) in [("grafana.json", asked), ("alerts.yaml", text("alerts.yaml"))] {
        let names = metric_names(&asked);
        assert!(names.len() > 5, "{file} asks for {names:?}");
        let all = METRICS.iter().chain(COUNTED).chain(ASKED);
        let known: BTreeSet<String> = all.flat_map(series).collect();
        let unknown: Vec<_> = names.iter().filter(|name| !known.contains(*name)).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
}

fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| word.starts_with("quorate_") || word.starts_with("kv_")).map(str::to_owned).collect()
}

/// The names under which a metric stands on the page.
fn series(metric: &Metric) -> Vec<String> {
    match metric.kind {
        MetricKind::Histogram => ["bucket", "sum", "count"].map(|end| format!("{}_{end}", metric.name)).to_vec(),
        _ => vec![metric.name.to_owned()],
    }
}
