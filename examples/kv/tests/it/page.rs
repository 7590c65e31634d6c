//! The page of the http port, as a browser shows it.

use std::process::Command;

use crate::cluster::Cluster;

#[test]
fn a_browser_shows_the_nodes_and_who_is_away() {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| is_there(name))
    else {
        println!("skipped: no Chromium is installed");
        return;
    };
    let mut cluster = Cluster::start();
    let leader = cluster.leader();
    let other = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    let mut seen = String::new();
    cluster.wait("the page shows that all is well", || {
        seen = shown(browser, &cluster, other);
        seen.contains(">all is well<")
    });
    for id in cluster.ids() {
        assert!(seen.contains(&format!("<td>{}</td>", cluster.node(id).client)), "{seen}");
    }
    assert!(seen.contains(&format!("node {leader}")), "{seen}");
    cluster.kill(leader);
    cluster.wait("the page shows that a node is away", || {
        shown(browser, &cluster, other).contains(">1 of 3 nodes do not answer<")
    });
}

fn is_there(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// What a browser makes of the page, after its scripts had some seconds of its own time.
fn shown(browser: &str, cluster: &Cluster, node: u64) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(browser);
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=5000"]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    let output = command.arg(format!("http://{}/", cluster.node(node).http)).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
