use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::kv::members::{MemberAnswer, MemberRequest, send};
use crate::kv::status::{GroupStatus, fetch};

fn group(role: &str) -> GroupStatus {
    GroupStatus {
        group: 0,
        founding: "1f".to_owned(),
        founded_with: vec![1, 2, 3],
        role: role.to_owned(),
        leader: Some(1),
        term: 3,
        first_index: 1,
        last_index: 9,
        commit_index: 9,
        applied_index: 9,
        snapshot_index: 0,
        caught_up_by_log: 0,
        caught_up_by_snapshot: 0,
        peers_caught_up_by_log: 0,
        peers_caught_up_by_snapshot: 0,
        digest: "2a".to_owned(),
        incarnation: "2b".to_owned(),
        members: Vec::new(),
        is_settled: true,
        vote: "it is no voter of the group".to_owned(),
        progress: Vec::new(),
        keys: 2,
        bytes: 20,
        trouble: if role == "stopped" { "the log is poisoned".to_owned() } else { String::new() },
    }
}

fn serve(role: &'static str) -> HttpServer {
    serve_with(role, HttpLimits::default())
}

fn serve_with(role: &'static str, limits: HttpLimits) -> HttpServer {
    let recorder = PrometheusBuilder::new().build_recorder();
    let status = move || {
        let groups = vec![group(role)];
        std::future::ready((role != "gone").then(|| NodeStatus { node: 1, cluster: "demo".to_owned(), groups }))
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let serves = move || std::future::ready(role == "leader");
    let change = move |request| {
        let reason = format!("{request:?}");
        let leads = role == "leader";
        std::future::ready(if leads { MemberAnswer::Refused { reason } } else { MemberAnswer::NotLeader })
    };
    HttpServer::start(listener, Pages::new(recorder.handle(), status, serves, change), limits).unwrap()
}

fn get(server: &HttpServer, path: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_change_of_members_is_passed_on_and_answered() {
    let answer = send(&serve("leader").address().into(), &MemberRequest::Remove(3)).unwrap();
    assert_eq!(answer, MemberAnswer::Refused { reason: "Remove(3)".to_owned() });
    assert_eq!(send(&serve("follower").address().into(), &MemberRequest::Demote(3)).unwrap(), MemberAnswer::NotLeader);
}

#[test]
fn status_is_what_the_node_says() {
    let server = serve("leader");
    let fetched = fetch(&server.address().into()).unwrap();
    assert_eq!(fetched.groups, [group("leader")]);
    let page = get(&server, "/status");
    assert!(page.contains("content-type: application/json"), "{page}");
    let founded = r#"{"node":1,"cluster":"demo","groups":[{"group":0,"founding":"1f","founded_with":[1,2,3],"#;
    assert!(page.contains(&format!(r#"{founded}"role":"leader","leader":1,"term":3,"#)), "{page}");
}

#[test]
fn health_fails_only_when_a_group_stopped() {
    assert!(get(&serve("follower"), "/healthz").starts_with("HTTP/1.1 200 "));
    let page = get(&serve("stopped"), "/healthz");
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    assert!(page.ends_with("the log is poisoned\n"), "{page}");
    let page = get(&serve("gone"), "/healthz");
    assert!(page.ends_with("the node does not answer\n"), "{page}");
    assert!(get(&serve("gone"), "/status").starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_node_is_ready_while_it_would_answer_a_client() {
    assert!(get(&serve("leader"), "/readyz").starts_with("HTTP/1.1 200 "));
    let cut_off = serve("candidate");
    assert!(get(&cut_off, "/readyz").starts_with("HTTP/1.1 503 "));
    assert!(get(&cut_off, "/healthz").starts_with("HTTP/1.1 200 "), "restarting it would not help");
    let page = get(&serve("stopped"), "/readyz");
    assert!(page.starts_with("HTTP/1.1 503 ") && page.ends_with("the log is poisoned\n"), "{page}");
}

/// A connection that begins a request and does not end it.
fn unfinished(server: &HttpServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n").unwrap();
    stream
}

/// Waits for the end of a connection without a complete request.
fn is_given_up(mut stream: TcpStream) {
    let mut answer = Vec::new();
    // The end comes as a reset if sent bytes were not read.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty(), "nothing was asked");
}

/// Each such connection holds a descriptor until its time is over.
#[test]
fn heads_that_never_end_are_given_up() {
    let limits = HttpLimits { connections_max: 3, connection_timeout: Duration::from_millis(100) };
    let server = serve_with("leader", limits);
    let silent: Vec<_> = (0..limits.connections_max).map(|_| unfinished(&server)).collect();
    silent.into_iter().for_each(is_given_up);
}

/// A supervisor would take a node for dead if its port were full of idle connections.
#[test]
fn who_says_nothing_keeps_nobody_from_being_answered() {
    let limits = HttpLimits { connections_max: 3, connection_timeout: Duration::from_hours(1) };
    let server = serve_with("leader", limits);
    let mut silent: Vec<_> = (0..2 * limits.connections_max).map(|_| unfinished(&server)).collect();
    assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200 "));
    // The newest connections are still open.
    silent.truncate(limits.connections_max + 1);
    silent.into_iter().for_each(is_given_up);
}

#[test]
fn metrics_are_in_prometheus_format_and_other_pages_are_not_there() {
    let server = serve("leader");
    assert!(get(&server, "/metrics").contains("content-type: text/plain; version=0.0.4"));
    assert!(get(&server, "/elsewhere").starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_node_that_is_down_is_an_error() {
    let address = serve("leader").address();
    let error = fetch(&address.into()).unwrap_err();
    assert!(error.to_string().starts_with("not reached"), "{error}");
}
