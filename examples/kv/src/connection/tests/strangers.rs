//! A client that has to log in.

use std::sync::Arc;

use super::*;
use crate::command::hash_password;
use crate::store::Users;

/// A client of a store whose user `default` has a password.
fn stranger() -> Client {
    let mut client = Client::new();
    let users = Users::default().with_first_password(Some(&hash_password(b"secret")));
    client.connection.admit(KnownUsers::current(&Arc::new(users)));
    client
}

fn request(arguments: &[&[u8]]) -> String {
    let text = |argument: &&[u8]| format!("${}\r\n{}\r\n", argument.len(), String::from_utf8_lossy(argument));
    format!("*{}\r\n", arguments.len()) + &arguments.iter().map(text).collect::<String>()
}

#[test]
fn large_requests_wait_for_the_login() {
    let many = request(&[&[&b"EXISTS"[..]][..], &[&b"key"[..]; 10]].concat());
    let mut client = stranger();
    assert_eq!(client.ask(&many), "-ERR Protocol error: unauthenticated multibulk length\r\n");
    assert!(client.connection.is_done());

    // In one piece with the login it is read after that.
    let mut client = stranger();
    assert_eq!(client.ask(&(request(&[b"AUTH", b"secret"]) + &many)), "+OK\r\n:0\r\n");
    assert_eq!(client.ask("RESET\r\n"), "+RESET\r\n");
    assert_eq!(client.ask(&many), "-ERR Protocol error: unauthenticated multibulk length\r\n");
}

#[test]
fn few_replies_wait_for_a_stranger() {
    let mut client = stranger();
    client.send(&"PING\r\n".repeat(150));
    assert!(client.connection.next_work().is_none());
    let waiting = client.connection.replies_bytes();
    assert!((1000..1100).contains(&waiting), "{waiting} bytes of replies wait");
    assert!(client.connection.waits_for_client() && !client.connection.wants_input());
    // Those that were not answered are, as soon as the replies are taken.
    let received = client.received() + &client.ask("") + &client.ask("") + &client.ask("") + &client.ask("");
    assert_eq!(received.matches("NOAUTH").count(), 150);
}
