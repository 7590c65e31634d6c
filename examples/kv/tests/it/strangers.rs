//! Clients that have to log in or to encrypt, and do not: they cost bounded memory and time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quorate_kv::certs;
use quorate_kv::client::{Answer, Client};
use quorate_kv::server::ServerLimits;
use quorate_kv::tls::{ClientsNeed, NodeTls, TlsFiles};

use crate::server::{Server, call, is_ended, ok};

const LONG: Duration = Duration::from_hours(1);
const SHORT: Duration = Duration::from_millis(50);

/// A server whose clients have to log in, and a client that needed not.
fn server(limits: ServerLimits) -> (Server, Client) {
    let server = Server::start(limits);
    let mut first = server.client();
    assert_eq!(call(&mut first, "ACL SETUSER default >secret"), ok());
    (server, first)
}

/// A client that has said something and did not log in.
fn stranger(server: &Server) -> Client {
    let mut client = server.client();
    assert!(matches!(call(&mut client, "GET key"), Answer::Error(text) if text.starts_with("NOAUTH")));
    client
}

/// Waits until the server has closed a connection.
fn is_closed(mut stream: TcpStream) -> bool {
    match stream.read(&mut [0; 100]) {
        Ok(count) => count == 0,
        error => is_ended(error),
    }
}

#[test]
fn a_client_that_does_not_log_in_is_ended_and_one_that_does_is_not() {
    let (server, mut first) = server(ServerLimits { login_patience: SHORT, ..ServerLimits::default() });
    let mut known = server.client();
    assert_eq!(call(&mut known, "AUTH secret"), ok());
    assert!(is_closed(server.stream()));
    // Whoever logs in is in time for ever, until he begins anew.
    assert_eq!(call(&mut known, "SET key value"), ok());
    assert_eq!(call(&mut first, "SET key value"), ok());
    assert_eq!(call(&mut known, "RESET"), Answer::Status("RESET".to_owned()));
    assert!(is_ended(known.receive()));
}

#[test]
fn one_stranger_too_many_takes_the_place_of_the_oldest_and_of_nobody_else() {
    let limits = ServerLimits { strangers_max: 2, login_patience: LONG, ..ServerLimits::default() };
    let (server, mut first) = server(limits);
    let mut oldest = stranger(&server);
    let mut second = stranger(&server);
    let mut third = stranger(&server);
    assert!(is_ended(oldest.ask(&[b"AUTH", b"secret"])), "it is closed");
    for client in [&mut second, &mut third] {
        assert_eq!(call(client, "AUTH secret"), ok());
    }
    // Nobody who has logged in is ended for the sake of strangers.
    let _strangers: Vec<_> = (0..5).map(|_| stranger(&server)).collect();
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(call(client, "SET key value"), ok());
    }
    let Answer::Bulk(info) = call(&mut first, "INFO stats") else { panic!("INFO answers text") };
    assert!(String::from_utf8_lossy(&info).contains("rejected_connections:4\r\n"), "{info:?}");
}

#[test]
fn strangers_do_not_keep_out_who_logs_in() {
    let (server, mut first) =
        server(ServerLimits { connections_max: 3, login_patience: LONG, ..ServerLimits::default() });
    let _strangers = [stranger(&server), stranger(&server)];
    let mut known = server.client();
    assert_eq!(call(&mut known, "AUTH secret"), ok());
    let mut other = server.client();
    assert_eq!(call(&mut other, "AUTH secret"), ok());
    // All three places are taken by clients that have logged in.
    let mut told = String::new();
    while !told.starts_with("-ERR max number of clients") {
        told.clear();
        server.stream().read_to_string(&mut told).unwrap_or_default();
    }
    assert_eq!(call(&mut first, "SET key value"), ok());
}

#[test]
fn a_stranger_that_takes_no_replies_is_given_up() {
    let limits = ServerLimits { patience: SHORT, login_patience: LONG, ..ServerLimits::default() };
    let (server, _first) = server(limits);
    let mut stream = server.stream();
    let pipeline = b"GET key\r\n".repeat(1_000);
    // Ends with the connection.
    while stream.write_all(&pipeline).is_ok() {}
}

fn tls(folder: &Path) -> Arc<NodeTls> {
    let files = folder.join("certs");
    certs::make(&files, &BTreeMap::from([(1, vec!["127.0.0.1".to_owned()])])).unwrap();
    let [ca, cert, key] = ["ca.pem", "node-1.pem", "node-1.key"].map(|file| files.join(file));
    NodeTls::load(TlsFiles { ca, cert, key, clients: ClientsNeed::Tls }).unwrap()
}

#[test]
fn a_client_that_does_not_encrypt_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let limits = ServerLimits { handshake_patience: SHORT, ..ServerLimits::default() };
    let server = Server::start_encrypted(limits, tls(folder.path()));
    assert!(is_closed(server.stream()), "one that says nothing");
    let mut stream = server.stream();
    // The beginning of a greeting whose rest never comes.
    stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    assert!(is_closed(stream));
}

#[test]
fn of_clients_that_do_not_encrypt_the_last_stay() {
    let folder = tempfile::tempdir().unwrap();
    let limits = ServerLimits { strangers_max: 2, handshake_patience: LONG, ..ServerLimits::default() };
    let server = Server::start_encrypted(limits, tls(folder.path()));
    let streams: Vec<_> = (0..5).map(|_| server.stream()).collect();
    for stream in streams.into_iter().take(3) {
        assert!(is_closed(stream));
    }
}
