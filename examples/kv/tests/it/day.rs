//! A day's work of an operator, in one go, while clients write: at its end no acknowledged write is lost.
//!
//! The steps are those of `OPERATIONS.md`, by the commands that stand there.

use std::fs;
use std::path::Path;
use std::process::Command;

use quorate_kv::client::Answer;

use crate::cluster::{Cluster, Writers, assert_all_there};
use crate::tls::{certs, reload};

const FILES: &str = "ca = \"certs/ca.pem\"\ncert = \"certs/node-{node}.pem\"\nkey = \"certs/node-{node}.key\"";

#[test]
fn a_day_of_an_operator_loses_no_acknowledged_write() {
    let mut cluster = Cluster::describe_with_joining(3, 1, &format!("[tls]\n{FILES}\nclients = \"nothing\""));
    certs(&cluster, "certs");
    for id in 1..=3 {
        cluster.launch(id);
    }
    cluster.leader();
    let writers = Writers::start(4, &cluster.clients());
    let go_on = |cluster: &Cluster, what: &str| {
        let before = writers.count();
        cluster.wait(&format!("writes go on: {what}"), || writers.count() > before + 100);
    };
    go_on(&cluster, "three nodes run");

    cluster.launch(4);
    let said = cluster.change("add 4");
    assert!(said.contains("node 4 votes"), "{said}");
    go_on(&cluster, "a node was added");

    replace_a_disk(&mut cluster);
    go_on(&cluster, "a disk was replaced");

    fill_a_disk(&mut cluster);
    go_on(&cluster, "a disk was full");

    roll(&mut cluster);
    go_on(&cluster, "all nodes were restarted");

    back_up_and_restore(&cluster, || writers.count());
    go_on(&cluster, "a backup was made");

    rotate_certificates(&mut cluster);
    go_on(&cluster, "certificates were rotated");

    let keys = writers.stop();
    cluster.converge();
    for id in cluster.ids() {
        assert_all_there(&mut cluster.client(id), &keys);
    }
}

/// A follower loses its folder, comes back as a stranger, and is admitted.
fn replace_a_disk(cluster: &mut Cluster) {
    let lost = cluster.another_than(cluster.leader());
    cluster.kill(lost);
    fs::remove_dir_all(cluster.data(lost)).unwrap();
    cluster.launch(lost);
    cluster.wait("it is a stranger", || {
        cluster.group(lost).is_some_and(|group| group.vote == "its disk was wiped, or belongs to another node")
    });
    cluster.change(&format!("replace {lost} {lost}"));
    is_well(cluster, lost);
}

/// No more can be written to the disk of a node: it ends and names the reason. Once there is room it starts again.
fn fill_a_disk(cluster: &mut Cluster) {
    let full = cluster.another_than(cluster.leader());
    cluster.terminate(full);
    cluster.launch_limited(full);
    is_well(cluster, full);
    cluster.refuse_writes(full);
    let (code, said) = cluster.end(full);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("stopped by itself: its group has stopped: the log"), "{said}");
    cluster.launch(full);
    is_well(cluster, full);
}

/// Restarts every node, the leader last, each once the one before is well.
fn roll(cluster: &mut Cluster) {
    let leader = cluster.leader();
    let others: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    for id in others.into_iter().chain([leader]) {
        cluster.terminate(id);
        cluster.launch(id);
        is_well(cluster, id);
    }
}

/// Waits until a node follows or leads, votes, has no trouble, and has what was committed when this began.
fn is_well(cluster: &Cluster, id: u64) {
    let others = cluster.running();
    let commits = others.into_iter().filter_map(|id| cluster.group(id)).map(|group| group.commit_index);
    let committed = commits.max().unwrap_or(0);
    cluster.wait(&format!("node {id} is well"), || {
        cluster.group(id).is_some_and(|group| {
            let takes_part = group.role == "follower" || group.role == "leader";
            takes_part && group.vote.is_empty() && group.trouble.is_empty() && group.applied_index >= committed
        })
    });
}

/// A backup has what was acknowledged before, and makes a new cluster.
fn back_up_and_restore(cluster: &Cluster, acknowledged: impl Fn() -> u64) {
    let mut client = cluster.client(1);
    assert_eq!(client.ask(&[b"SET", b"marker", b"value"]).unwrap(), Answer::Status("OK".to_owned()));
    let before = acknowledged();
    let file = cluster.folder().join("day.rdb");
    kv(&["backup", &file.display().to_string()], &cluster.config_path());
    let mut other = Cluster::describe(1, "shards = 2");
    other.start_all();
    drop(other.client(1));
    kv(&["restore", &file.display().to_string()], &other.config_path());
    let mut client = other.client(1);
    assert_eq!(client.ask(&[b"GET", b"marker"]).unwrap(), Answer::Bulk("value".into()));
    let Answer::Integer(keys) = client.ask(&[b"DBSIZE"]).unwrap() else { panic!("DBSIZE answers a number") };
    assert!(u64::try_from(keys).unwrap() > before, "{keys} keys, and {before} writes were acknowledged before");
}

/// Another authority: first it is trusted too, then its certificates are shown, then the old one is trusted no more.
fn rotate_certificates(cluster: &mut Cluster) {
    let folder = cluster.folder().to_owned();
    certs(cluster, "next");
    let text = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
    fs::write(folder.join("certs/ca.pem"), text("certs/ca.pem") + &text("next/ca.pem")).unwrap();
    reload(cluster);
    for id in cluster.ids() {
        for end in ["pem", "key"] {
            let file = format!("node-{id}.{end}");
            fs::copy(folder.join("next").join(&file), folder.join("certs").join(&file)).unwrap();
        }
    }
    reload(cluster);
    fs::copy(folder.join("next/ca.pem"), folder.join("certs/ca.pem")).unwrap();
    reload(cluster);
    // All connections of a node that starts anew begin with the new certificates.
    let follower = cluster.another_than(cluster.leader());
    cluster.terminate(follower);
    cluster.launch(follower);
    is_well(cluster, follower);
}

/// Runs a command of `kv`, which must succeed.
fn kv(words: &[&str], config: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_kv")).args(words).arg("--config").arg(config).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{words:?}: {said}");
}
