//! Compares replies with those of Redis, byte for byte.
//!
//! `tests/golden/*.txt` hold requests and the answers of redis-server 7.0. To record them again (needs `redis-server`
//! on the path; it is started on a free port and stopped afterwards):
//!
//! ```text
//! KV_GOLDEN_RECORD=all cargo test -p quorate-kv --test it golden::record
//! ```
//!
//! `KV_GOLDEN_RECORD=sets,lists` records only files whose names contain one of these words.
//!
//! `rdb_theirs.txt` has values as Redis dumps them, `rdb_old.txt` in the forms of its earlier versions, and
//! `rdb_ours.txt` those of the first as this program dumps them, which recording writes again.
//!
//! A line that begins with `>` is a request as typed into `redis-cli`, sent as an array; `>>` is sent unchanged, with
//! escapes resolved; `<` is the whole answer to it; `< EOF` means that the server closed the connection; and
//! `! reconnect` opens a new one. Each file starts with an empty store and a fresh connection.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quorate_kv::clients::answer;
use quorate_kv::command::{At, ServerInfo, apply};
use quorate_kv::connection::{Connection, ConnectionLimits, KnownUsers, Work, Written};
use quorate_kv::pubsub::Hub;
use quorate_kv::resp::split_inline;
use quorate_kv::store::Store;

/// A server: a real one, or the code under test.
trait Speaker {
    fn connect(&mut self);
    /// The answer, and true if the connection was closed.
    fn exchange(&mut self, request: &[u8]) -> (Vec<u8>, bool);
}

#[test]
fn record() {
    let Ok(wanted) = std::env::var("KV_GOLDEN_RECORD") else {
        return;
    };
    let is_wanted = |path: &Path| wanted.split(',').any(|word| word == "all" || path.to_string_lossy().contains(word));
    let mut server = RedisServer::start();
    if is_wanted(Path::new("rdb_ours.txt")) {
        std::fs::write(golden("rdb_ours.txt"), our_dumps()).unwrap();
    }
    for path in files().into_iter().filter(|path| is_wanted(path)) {
        let text = std::fs::read_to_string(&path).unwrap();
        server.connect();
        server.exchange(b"FLUSHALL\r\n");
        std::fs::write(&path, play(&text, &mut server)).unwrap();
    }
}

/// The requests of `rdb_theirs.txt`, with the dumps that this program makes of the same values.
fn our_dumps() -> String {
    let theirs = std::fs::read_to_string(golden("rdb_theirs.txt")).unwrap();
    let mut store = OneStore::new();
    store.connect();
    let mut ours = String::new();
    for line in theirs.lines().filter_map(|line| line.strip_prefix("> ")) {
        let arguments = split_inline(line.as_bytes()).unwrap();
        let (reply, _) = store.exchange(&array(&arguments));
        if arguments[0] != b"RESTORE" {
            writeln!(ours, "> {line}").unwrap();
            continue;
        }
        assert_eq!(reply, b"+OK\r\n");
        let key = &arguments[1];
        let (dump, _) = store.exchange(&array(&[b"DUMP".to_vec(), key.clone()]));
        let start = dump.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let dump = &dump[start..dump.len() - 2];
        let digits: String = dump.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        writeln!(ours, "> RESTORE {} 0 \"{digits}\"", String::from_utf8_lossy(key)).unwrap();
    }
    ours
}

#[test]
fn dumps_have_the_bytes_that_redis_was_given() {
    let recorded = std::fs::read_to_string(golden("rdb_ours.txt")).unwrap();
    let requests: String =
        recorded.lines().filter(|line| line.starts_with('>')).map(|line| format!("{line}\n")).collect();
    assert!(requests == our_dumps(), "record rdb_ours again");
    assert!(requests.matches("RESTORE").count() > 20);
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "txt")).collect();
    files.sort();
    assert!(files.len() > 5);
    files
}

/// Plays a file's requests and returns the file with the answers.
fn play(text: &str, speaker: &mut dyn Speaker) -> String {
    speaker.connect();
    let mut played = String::new();
    for line in text.lines().filter(|line| !line.starts_with('<')) {
        writeln!(played, "{line}").unwrap();
        let request = if let Some(raw) = line.strip_prefix(">> ") {
            unescape(raw)
        } else if let Some(arguments) = line.strip_prefix("> ") {
            array(&split_inline(arguments.as_bytes()).unwrap())
        } else {
            if line == "! reconnect" {
                speaker.connect();
            }
            continue;
        };
        let (reply, closed) = speaker.exchange(&request);
        if !reply.is_empty() {
            writeln!(played, "< {}", escape(&mask_id(reply))).unwrap();
        }
        if closed {
            writeln!(played, "< EOF").unwrap();
        }
    }
    played
}

fn array(arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        request.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        request.extend_from_slice(argument);
        request.extend_from_slice(b"\r\n");
    }
    request
}

/// The number of a connection in `HELLO`'s reply depends on the number of earlier ones.
fn mask_id(reply: Vec<u8>) -> Vec<u8> {
    let before = b"$2\r\nid\r\n:";
    let Some(start) = reply.windows(before.len()).position(|window| window == before) else {
        return reply;
    };
    let digits = start + before.len();
    let end = digits + reply[digits..].iter().position(|byte| *byte == b'\r').unwrap();
    [&reply[..digits], b"0", &reply[end..]].concat()
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => write!(text, "\\x{byte:02x}").unwrap(),
        }
    }
    text
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, mut after)) = rest.split_first() {
        let mut byte = *byte;
        if byte == b'\\' {
            (byte, after) = (after[0], &after[1..]);
            byte = match byte {
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => {
                    let digits = std::str::from_utf8(&after[..2]).unwrap();
                    after = &after[2..];
                    u8::from_str_radix(digits, 16).unwrap()
                }
                other => other,
            };
        }
        bytes.push(byte);
        rest = after;
    }
    bytes
}

/// A redis-server process without persistence, stopped when dropped.
pub(crate) struct RedisServer {
    process: Child,
    pub(crate) port: u16,
    stream: Option<TcpStream>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(more: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--enable-debug-command", "yes"])
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is on the path");
        let mut server = Self { process, port, stream: None };
        while server.try_connect().is_err() {
            std::thread::yield_now();
        }
        server
    }

    fn try_connect(&mut self) -> io::Result<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_millis(30)))?;
        self.stream = Some(stream);
        Ok(())
    }
}

impl Speaker for RedisServer {
    fn connect(&mut self) {
        self.try_connect().unwrap();
    }

    /// Reads until the server has been silent for a while, then checks that it still answers.
    fn exchange(&mut self, request: &[u8]) -> (Vec<u8>, bool) {
        let stream = self.stream.as_mut().unwrap();
        stream.write_all(request).unwrap();
        let mut reply = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return (reply, true),
                Ok(count) => reply.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("redis-server went away: {error}"),
            }
        }
        (reply, false)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// The code under test: a connection and a store in one process, which answers at once.
struct OneStore {
    store: Store,
    hub: Hub,
    connection: Connection,
    connections: i64,
}

impl OneStore {
    fn new() -> Self {
        let connection = Connection::new(0, ConnectionLimits::default());
        Self { store: Store::new(), hub: Hub::default(), connection, connections: 0 }
    }
}

impl Speaker for OneStore {
    fn connect(&mut self) {
        self.hub.leave(self.connections);
        self.connections += 1;
        self.connection = Connection::new(self.connections, ConnectionLimits::default());
        self.connection.set_moment(NOW, 0);
        self.connection.admit(KnownUsers::current(self.store.users()));
    }

    fn exchange(&mut self, request: &[u8]) -> (Vec<u8>, bool) {
        self.connection.input().extend_from_slice(request);
        let connection = &mut self.connection;
        loop {
            connection.set_subscriptions_room(self.hub.room(connection.subscriptions_bytes()));
            let Some(work) = connection.next_work() else { break };
            match work {
                Work::Ask { slot, request } => {
                    let answer = self.hub.answer(&request);
                    std::iter::from_fn(|| self.hub.take(self.connections)).for_each(|it| connection.on_message(&it));
                    connection.on_asked(slot, answer);
                }
                Work::Clients { slot, request } => {
                    let row = connection.row(0);
                    let (reply, killed) = answer(&request, &[row], self.connections);
                    if !killed.is_empty() {
                        connection.close_after_replies();
                    }
                    connection.on_clients(slot, &reply);
                }
                Work::Subscriptions(changes) => self.hub.change(self.connections, changes),
                Work::Write { slot, entry, .. } => {
                    let replies = apply(&mut self.store, NOW, &entry).unwrap();
                    connection.on_written(slot, Written::Applied(replies));
                    if !connection.set_users(&KnownUsers::current(self.store.users())) {
                        connection.close_after_replies();
                    }
                }
                Work::Read { slot, batch, .. } => {
                    let answer = batch.answer(&self.store, At { log_time: NOW, now: NOW }, &ServerInfo::default());
                    connection.on_read(slot, Ok(answer));
                }
            }
        }
        let replies = connection.output().split().to_vec();
        (replies, connection.is_done())
    }
}

/// A moment of 2026.
const NOW: u64 = 1_790_000_000_000;

#[test]
fn replies_are_those_of_redis() {
    let mut commands = 0;
    let mut differences = String::new();
    for path in files() {
        let recorded = std::fs::read_to_string(&path).unwrap();
        let played = play(&recorded, &mut OneStore::new());
        for (number, (played, recorded)) in played.lines().zip(recorded.lines()).enumerate() {
            if played != recorded {
                writeln!(differences, "{}:{}\n  ours   {played}\n  redis  {recorded}", path.display(), number + 1)
                    .unwrap();
            }
        }
        if played.lines().count() != recorded.lines().count() {
            writeln!(differences, "{}: a reply too few or too many", path.display()).unwrap();
        }
        commands += recorded.lines().filter(|line| line.starts_with('>')).count();
    }
    assert!(differences.is_empty(), "{differences}");
    assert!(commands >= 200, "only {commands} commands are recorded");
}
