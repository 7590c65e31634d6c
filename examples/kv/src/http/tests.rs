use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::credentials::Credentials;
use crate::members::{MemberAnswer, MemberRequest, send};
use crate::status::{GroupStatus, StatusError, fetch};
use crate::store::Store;

/// Who neither encrypts nor logs in.
const NOBODY: Credentials = Credentials { login: Login { user: None, password: None }, tls: None };

pub(super) fn group(role: &str) -> GroupStatus {
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
    HttpServer::start(listener, Pages::new(recorder.handle(), status, serves, change), limits, None).unwrap()
}

/// A server whose store has as many keys as `keys`, each of 100 KB.
fn serve_backups(keys: u8, limits: HttpLimits) -> HttpServer {
    let recorder = PrometheusBuilder::new().build_recorder();
    let pages = Pages::new(
        recorder.handle(),
        || std::future::ready(None),
        || std::future::ready(true),
        |_| std::future::ready(MemberAnswer::NotLeader),
    );
    let cut = move || {
        let mut store = Store::new();
        (0..keys).for_each(|key| store.put_text(&[key], &[&vec![key; 100_000]], None));
        std::future::ready(Ok(vec![store.cut(1)]))
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    HttpServer::start(listener, pages.with_backup("demo".to_owned(), cut), limits, None).unwrap()
}

fn backup_of(server: &HttpServer, folder: &tempfile::TempDir) -> Result<backup::Content, backup::BackupError> {
    backup::fetch(&NOBODY, &server.address().into(), &folder.path().join("dump.rdb"), |_| ())
}

#[test]
fn a_backup_is_a_whole_file_of_all_keys() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve_backups(20, HttpLimits::default());
    let content = backup_of(&server, &folder).unwrap();
    let file = std::fs::read(folder.path().join("dump.rdb")).unwrap();
    assert_eq!((content.keys, content.bytes), (20, file.len() as u64));
    assert!(file.starts_with(b"REDIS0010") && file.len() > 2_000_000, "{}", file.len());
    assert!(matches!(backup_of(&server, &folder), Err(backup::BackupError::Exists)));
}

/// The time limit of connections is for those that ask for a page.
#[test]
fn a_backup_may_take_longer_than_a_page() {
    let limits = HttpLimits { connection_timeout: Duration::from_millis(1), ..HttpLimits::default() };
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(backup_of(&serve_backups(200, limits), &folder).unwrap().keys, 200);
}

#[test]
fn one_backup_is_made_at_a_time_and_one_that_nobody_reads_ends() {
    let server = serve_backups(200, HttpLimits::default());
    let mut slow = TcpStream::connect(server.address()).unwrap();
    slow.write_all(b"GET /backup HTTP/1.0\r\n\r\n").unwrap();
    slow.read_exact(&mut [0; 1]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let refused = backup_of(&server, &folder).unwrap_err();
    assert_eq!(refused.to_string(), "another backup is being made here");
    drop(slow);
    while backup_of(&server, &folder).is_err() {}
}

#[test]
fn a_backup_that_is_cut_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("dump.rdb");
    for part in [&b""[..], b"REDIS0010", b"REDIS0010\xfe\0\0\x01k\x05value", b"other"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // The whole request is read, so that the end does not come as a reset.
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            stream.write_all(&[b"HTTP/1.0 200 OK\r\n\r\n", part].concat()).unwrap();
        });
        let error = backup::fetch(&NOBODY, &address.into(), &out, |_| ()).unwrap_err();
        assert!(matches!(error, backup::BackupError::Damaged(_)), "{error}");
        answer.join().unwrap();
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no file is left");
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
    let answer = send(&NOBODY, &serve("leader").address().into(), &MemberRequest::Remove(3)).unwrap();
    assert_eq!(answer, MemberAnswer::Refused { reason: "Remove(3)".to_owned() });
    assert_eq!(
        send(&NOBODY, &serve("follower").address().into(), &MemberRequest::Demote(3)).unwrap(),
        MemberAnswer::NotLeader
    );
}

#[test]
fn status_is_what_the_node_says() {
    let server = serve("leader");
    let fetched = fetch(&NOBODY, &server.address().into()).unwrap();
    assert_eq!(fetched.groups, [group("leader")]);
    let page = get(&server, "/status");
    assert!(page.contains("content-type: application/json"), "{page}");
    let founded = r#"{"node":1,"cluster":"demo","groups":[{"group":0,"founding":"1f","founded_with":[1,2,3],"#;
    assert!(page.contains(&format!(r#"{founded}"role":"leader","leader":1,"term":3,"#)), "{page}");
}

#[test]
fn the_page_has_its_files_and_an_overview_of_all_nodes() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let own =
        || std::future::ready(Some(NodeStatus { node: 1, cluster: "demo".to_owned(), groups: vec![group("leader")] }));
    let pages = Pages::new(
        recorder.handle(),
        own,
        || std::future::ready(true),
        |_| std::future::ready(MemberAnswer::NotLeader),
    );
    // A port that nobody listens at.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let node = |http: std::net::SocketAddr| NodeAddresses { client: closed.into(), http: http.into() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nodes = BTreeMap::from([(1, node(listener.local_addr().unwrap())), (2, node(closed))]);
    let server = HttpServer::start(listener, pages.with_overview(1, nodes, None), HttpLimits::default(), None).unwrap();
    let page = get(&server, "/");
    assert!(page.contains("content-security-policy: default-src 'self'"), "{page}");
    for file in ["/page.css", "/page.js"] {
        assert!(page.contains(file) && get(&server, file).starts_with("HTTP/1.1 200 "), "{file}");
    }
    let seen = get(&server, "/overview");
    let seen: serde_json::Value = serde_json::from_str(seen.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&seen["shards"][0]["leader"], &seen["nodes"][0]["error"]), (&1.into(), &"".into()), "{seen}");
    assert!(seen["nodes"][1]["error"].as_str().unwrap().starts_with("not reached: "), "{seen}");
}

#[test]
fn health_fails_only_when_a_group_stopped() {
    assert!(get(&serve("follower"), "/livez").starts_with("HTTP/1.1 200 "));
    let page = get(&serve("stopped"), "/livez");
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    assert!(page.ends_with("the log is poisoned\n"), "{page}");
    let page = get(&serve("gone"), "/livez");
    assert!(page.ends_with("the node does not answer\n"), "{page}");
    assert!(get(&serve("gone"), "/status").starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_node_is_ready_while_it_would_answer_a_client() {
    assert!(get(&serve("leader"), "/readyz").starts_with("HTTP/1.1 200 "));
    let cut_off = serve("candidate");
    assert!(get(&cut_off, "/readyz").starts_with("HTTP/1.1 503 "));
    assert!(get(&cut_off, "/livez").starts_with("HTTP/1.1 200 "), "restarting it would not help");
    let page = get(&serve("stopped"), "/readyz");
    assert!(page.starts_with("HTTP/1.1 503 ") && page.ends_with("the log is poisoned\n"), "{page}");
}

/// A connection that begins a request and does not end it.
fn unfinished(server: &HttpServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: node\r\n").unwrap();
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
    assert!(get(&server, "/livez").starts_with("HTTP/1.1 200 "));
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
    let error = fetch(&NOBODY, &address.into()).unwrap_err();
    assert!(error.to_string().starts_with("not reached"), "{error}");
}

/// A server whose guard admits one user, and knows another.
fn serve_guarded() -> HttpServer {
    let recorder = PrometheusBuilder::new().build_recorder();
    let pages = Pages::new(
        recorder.handle(),
        || std::future::ready(None),
        || std::future::ready(true),
        |_| std::future::ready(MemberAnswer::NotLeader),
    );
    let admits = |login: Option<Login>| {
        let login = login.unwrap_or_default();
        std::future::ready(match (login.user.as_deref(), login.password.as_deref()) {
            (Some("ops"), Some("secret")) => Admission::Admitted,
            (Some("app"), Some("secret")) => Admission::Denied,
            _ => Admission::LoginNeeded,
        })
    };
    let cut = || std::future::ready(Ok(vec![Store::new().cut(1)]));
    let pages = pages.with_backup("demo".to_owned(), cut).guarded(admits);
    HttpServer::start(TcpListener::bind("127.0.0.1:0").unwrap(), pages, HttpLimits::default(), None).unwrap()
}

#[test]
fn data_and_changes_are_for_those_who_may_do_everything() {
    let server = serve_guarded();
    let as_user = |user: &str, password: &str| Credentials {
        login: Login { user: Some(user.to_owned()), password: Some(password.to_owned()) },
        tls: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let address = server.address().into();
    let backup =
        |credentials: &Credentials| backup::fetch(credentials, &address, &folder.path().join("dump.rdb"), |_| ());
    let change = |credentials: &Credentials| send(credentials, &address, &MemberRequest::Remove(3));
    for (credentials, why) in [
        (NOBODY, "log in as a user who may do everything"),
        (as_user("ops", "wrong"), "log in as a user who may do everything"),
        (as_user("app", "secret"), "the user may not do everything"),
    ] {
        let refused = change(&credentials).unwrap_err();
        assert!(matches!(&refused, StatusError::Refused(reason) if reason == why), "{refused}");
        let refused = backup(&credentials).unwrap_err();
        assert!(matches!(&refused, backup::BackupError::Refused(reason) if reason == why), "{refused}");
    }
    assert!(get(&server, "/backup").contains("www-authenticate: Basic realm="));
    assert_eq!(change(&as_user("ops", "secret")).unwrap(), MemberAnswer::NotLeader);
    assert_eq!(backup(&as_user("ops", "secret")).unwrap().keys, 0);
    // What shows how the node is stays open: it tells no key and no value.
    assert!(get(&server, "/readyz").starts_with("HTTP/1.1 200 "));
    assert!(get(&server, "/metrics").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_backup_is_not_ended_for_newer_connections() {
    let server = serve_backups(200, HttpLimits { connections_max: 3, ..HttpLimits::default() });
    let mut slow = TcpStream::connect(server.address()).unwrap();
    slow.write_all(b"GET /backup HTTP/1.0\r\n\r\n").unwrap();
    slow.read_exact(&mut [0; 1]).unwrap();
    let silent: Vec<_> = (0..6).map(|_| unfinished(&server)).collect();
    // The first of them had to go, so that all were accepted.
    for mut stream in silent.into_iter().take(4) {
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The place for the next one is free once the node has noticed the end of this one.
    let whole = loop {
        match backup_of(&server, &folder) {
            Ok(content) => break content.bytes,
            Err(error) => assert_eq!(error.to_string(), "another backup is being made here"),
        }
    };
    assert!(rest.len() as u64 > whole, "{} bytes with the head, and {whole} of the file", rest.len());
}
