//! The members of a running cluster change, by `kv member`.

use std::fs;
use std::process::Stdio;

use quorate_kv::client::Answer;

use crate::cluster::{Cluster, Writers, assert_all_there};

/// Nodes that begin the cluster, and further ones that were started to join it.
fn start(nodes: u64, joining: u64) -> Cluster {
    let mut cluster = Cluster::describe_with_joining(nodes, joining, "");
    for id in 1..=nodes {
        cluster.launch(id);
    }
    cluster.leader();
    cluster
}

/// The voters, as a node knows them.
fn voters(cluster: &Cluster, id: u64) -> Vec<u64> {
    let members = cluster.group(id).map(|group| group.members).unwrap_or_default();
    members.into_iter().filter(|member| member.role == "voter").map(|member| member.node).collect()
}

fn set(cluster: &Cluster, id: u64, key: &str) {
    let ok = Answer::Status("OK".to_owned());
    assert_eq!(cluster.client(id).ask(&[b"SET", key.as_bytes(), b"value"]).unwrap(), ok);
}

#[test]
fn one_node_becomes_four_and_no_acknowledged_write_is_lost() {
    let mut cluster = start(1, 3);
    let writers = Writers::start(4, &cluster.clients());
    cluster.wait("writes", || writers.count() > 100);
    for id in 2..=4 {
        cluster.launch(id);
        let said = cluster.change(&format!("add {id}"));
        assert!(said.contains(&format!("node {id} votes")), "{said}");
    }
    let before = writers.count();
    cluster.wait("writes go on", || writers.count() > before + 100);
    let keys = writers.stop();
    cluster.converge();
    for id in cluster.ids() {
        assert_eq!(voters(&cluster, id), [1, 2, 3, 4]);
        assert_all_there(&mut cluster.client(id), &keys);
    }
    assert!(cluster.change("add 4").contains("node 4 votes"), "a second time changes nothing");
    let listed = cluster.change("list");
    assert_eq!(listed.matches("voter").count(), 4, "{listed}");
}

#[test]
fn the_leader_and_a_follower_are_removed_and_say_so() {
    let mut cluster = start(3, 0);
    let leader = cluster.leader();
    let said = cluster.change(&format!("remove {leader}"));
    assert!(said.contains(&format!("node {leader} is no member")), "{said}");
    let is_removed = |cluster: &Cluster, id| cluster.group(id).is_some_and(|group| group.role == "removed");
    cluster.wait("it says so", || is_removed(&cluster, leader));
    cluster.terminate(leader);
    let next = cluster.leader();
    let follower = cluster.another_than(next);
    assert_eq!(voters(&cluster, next), [follower.min(next), follower.max(next)]);
    cluster.change(&format!("remove {follower}"));
    cluster.wait("it says so", || is_removed(&cluster, follower));
    set(&cluster, next, "key");
    // A node that was removed is not in the way of the others, also after a restart.
    cluster.launch(leader);
    cluster.wait("it says so again", || is_removed(&cluster, leader));
    set(&cluster, next, "other");
}

#[test]
fn nodes_that_were_never_started_are_not_in_the_way() {
    let mut cluster = start(2, 2);
    for id in 1..=2 {
        cluster.terminate(id);
    }
    for id in 1..=2 {
        cluster.launch(id);
    }
    cluster.leader();
    set(&cluster, 1, "key");
    let (code, said) = cluster.member("add 3");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nothing was changed: node 3 does not answer: start it"), "{said}");
}

#[test]
fn a_learner_has_the_data_and_becomes_a_voter_and_a_learner_again() {
    let mut cluster = start(3, 1);
    set(&cluster, 1, "key");
    cluster.launch(4);
    let said = cluster.change("add 4 --learner");
    assert!(said.contains("node 4 is a learner and has caught up"), "{said}");
    let got = cluster.client(4).ask(&[b"GET", b"key"]).unwrap();
    assert_eq!(got, Answer::Bulk("value".to_owned().into()));
    assert_eq!(voters(&cluster, cluster.leader()), [1, 2, 3]);
    cluster.change("promote 4");
    assert_eq!(voters(&cluster, cluster.leader()), [1, 2, 3, 4]);
    cluster.change("demote 4");
    assert_eq!(voters(&cluster, cluster.leader()), [1, 2, 3]);
}

#[test]
fn a_lost_node_is_replaced_under_another_id() {
    let mut cluster = start(3, 1);
    let lost = cluster.another_than(cluster.leader());
    set(&cluster, lost, "key");
    cluster.kill(lost);
    cluster.launch(4);
    let said = cluster.change(&format!("replace {lost} 4"));
    assert!(said.contains("node 4 votes"), "{said}");
    let members: Vec<u64> = (1..=4).filter(|id| *id != lost).collect();
    assert_eq!(voters(&cluster, 4), members);
    // The new node counts: with it, one more of the old ones may go.
    let leader = cluster.leader();
    let other = members.into_iter().find(|id| *id != leader && *id != 4).unwrap();
    cluster.kill(other);
    set(&cluster, 4, "other");
}

#[test]
fn a_node_whose_disk_was_lost_votes_again_once_it_is_admitted() {
    let mut cluster = start(3, 0);
    let lost = cluster.another_than(cluster.leader());
    set(&cluster, lost, "key");
    cluster.kill(lost);
    fs::remove_dir_all(cluster.data(lost)).unwrap();
    cluster.launch(lost);
    cluster.wait("it is a stranger", || {
        cluster.group(lost).is_some_and(|group| group.vote == "its disk was wiped, or belongs to another node")
    });
    let said = cluster.change(&format!("replace {lost} {lost}"));
    assert!(said.contains(&format!("node {lost} votes with the disk that it has now")), "{said}");
    cluster.wait("it votes", || cluster.group(lost).is_some_and(|group| group.vote.is_empty()));
    // It counts: with it, one of the others may go. It is also after a restart the node that it is.
    let leader = cluster.leader();
    let other = (1..=3).find(|id| *id != leader && *id != lost).unwrap();
    cluster.kill(other);
    set(&cluster, leader, "other");
    cluster.terminate(lost);
    cluster.launch(lost);
    cluster.leader();
    set(&cluster, lost, "more");
    cluster.launch(other);
    cluster.converge();
    assert!(cluster.change(&format!("replace {lost} {lost}")).contains("votes"), "a second time changes nothing");
}

#[test]
fn what_does_not_fit_the_members_is_refused_and_changes_nothing() {
    let mut cluster = start(3, 1);
    cluster.launch(4);
    let cases = [
        ("add 5", "there is no node 5 in the file"),
        ("promote 4", "node 4 is not a member"),
        ("demote 4", "node 4 is not a member"),
        ("replace 4 4", "node 4 is not a member"),
        ("replace 1 2", "node 2 votes already"),
        ("replace 3 3", "there is nothing to replace"),
        ("add 1 --learner", "`demote 1` makes it a learner"),
    ];
    for (command, expected) in cases {
        let (code, said) = cluster.member(command);
        assert_eq!(code, Some(1), "{command}: {said}");
        assert!(said.contains("kv: refused: ") && said.contains(expected), "{command}: {said}");
    }
    assert_eq!(voters(&cluster, 1), [1, 2, 3]);
    let (code, said) = Cluster::describe(1, "").member("list");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no node leads"), "{said}");
}

#[test]
fn the_last_voter_stays() {
    let cluster = start(1, 0);
    let (code, said) = cluster.member("remove 1");
    assert_eq!((code, said.contains("kv: refused: ")), (Some(1), true), "{said}");
    set(&cluster, 1, "key");
}

/// The command dies while the new node catches up. The change goes on, and the same command waits for its end.
#[test]
fn an_interrupted_add_is_taken_up_again() {
    let mut cluster = start(3, 1);
    cluster.launch(4);
    let mut adding = cluster.member_command("add 4").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    cluster.wait("it is a member", || {
        cluster.group(cluster.leader()).is_some_and(|group| group.members.iter().any(|member| member.node == 4))
    });
    adding.kill().unwrap();
    adding.wait().unwrap();
    let said = cluster.change("add 4");
    assert!(said.contains("node 4 votes"), "{said}");
    assert_eq!(voters(&cluster, cluster.leader()), [1, 2, 3, 4]);
}
