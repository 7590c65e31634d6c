//! The socket shell, over a store that is not replicated.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use quorate_kv::client::{Answer as Reply, Client};
use quorate_kv::command::{About, Answer, At, ReadBatch, Role, ServerInfo, apply};
use quorate_kv::connection::{ConnectionLimits, Freshness, KnownUsers, Reason, Written};
use quorate_kv::pubsub::{self, Hub, HubLimits, Request};
use quorate_kv::server::{Backend, ServerLimits, serve};
use quorate_kv::shards::layout::{Layout, Target};
use quorate_kv::store::{Store, Wait};
use quorate_kv::tls::NodeTls;
use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, oneshot};

/// Answers everything at the next turn of the loop.
#[derive(Clone)]
struct OneStore(Rc<RefCell<Store>>, fn() -> At);

const AT: At = At { log_time: 1_000, now: 1_000 };

impl Backend for OneStore {
    fn layout(&self) -> Arc<Layout> {
        Arc::new(Layout::single())
    }

    fn write(&self, _: Target, entry: Bytes) -> impl Future<Output = Written> + 'static {
        let (store, at) = (Rc::clone(&self.0), (self.1)());
        async move {
            tokio::task::yield_now().await;
            Written::Applied(apply(&mut store.borrow_mut(), at.log_time, &entry).unwrap())
        }
    }

    fn read(
        &self,
        _: Target,
        _: Freshness,
        batch: ReadBatch,
        server: ServerInfo,
    ) -> impl Future<Output = Result<Answer, Reason>> + 'static {
        let (store, at) = (Rc::clone(&self.0), (self.1)());
        async move {
            tokio::task::yield_now().await;
            Ok(batch.answer(&store.borrow(), at, &server))
        }
    }

    fn read_or_wait(
        &self,
        _: Target,
        _: Freshness,
        batch: ReadBatch,
        wake: impl Fn() + Clone + Send + Sync + 'static,
    ) -> impl Future<Output = Result<Answer, Reason>> + 'static {
        let (store, at) = (Rc::clone(&self.0), (self.1)());
        async move {
            tokio::task::yield_now().await;
            Ok(batch.answer_or_wait(&store.borrow(), at, wake))
        }
    }

    fn ask_others(&self, _: &Request) -> impl Future<Output = Vec<pubsub::Answer>> + 'static {
        std::future::ready(Vec::new())
    }

    fn wait(
        &self,
        keys: Vec<Box<[u8]>>,
        wake: impl Fn() + Clone + Send + Sync + 'static,
    ) -> impl Future<Output = Result<Vec<Wait>, Reason>> + 'static {
        std::future::ready(Ok(vec![self.0.borrow().waiters().wait(keys, wake)]))
    }

    fn users(&self) -> KnownUsers {
        KnownUsers::current(self.0.borrow().users())
    }

    fn users_changed(&self) -> impl Future<Output = ()> + 'static {
        let changed = Arc::new(Notify::new());
        let wake = Arc::clone(&changed);
        let wait = self.0.borrow().wait_for_users(move || wake.notify_one());
        async move {
            changed.notified().await;
            drop(wait);
        }
    }

    fn refresh_users(&self) -> impl Future<Output = ()> + 'static {
        std::future::ready(())
    }

    fn about(&self) -> impl Future<Output = About> + 'static {
        std::future::ready(About { role: Role::Master, quorum: 1, lines: vec![("quorate_node", "1".to_owned())] })
    }
}

/// A server on a thread of its own, stopped when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(limits: ServerLimits) -> Self {
        Self::start_with(limits, Hub::default())
    }

    /// A server whose log's time is the wall clock's.
    pub(crate) fn start_on_time() -> Self {
        Self::start_at(ServerLimits::default(), Hub::default(), None, || {
            let ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            let ms = u64::try_from(ms).unwrap();
            At { log_time: ms, now: ms }
        })
    }

    fn start_with(limits: ServerLimits, hub: Hub) -> Self {
        Self::start_at(limits, hub, None, || AT)
    }

    /// A server whose clients encrypt.
    pub(crate) fn start_encrypted(limits: ServerLimits, tls: Arc<NodeTls>) -> Self {
        Self::start_at(limits, Hub::default(), Some(tls), || AT)
    }

    fn start_at(limits: ServerLimits, hub: Hub, tls: Option<Arc<NodeTls>>, clock: fn() -> At) -> Self {
        let (address_sender, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build_local(LocalOptions::default()).unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                address_sender.send(listener.local_addr().unwrap()).unwrap();
                let (_measures, requests) = tokio::sync::mpsc::unbounded_channel();
                let backend = OneStore(Rc::new(RefCell::new(Store::new())), clock);
                tokio::select! {
                    served = serve(listener, backend, Rc::new(RefCell::new(hub)), limits, tls, requests) => match served.unwrap() {},
                    _ = stopped => {}
                }
            });
        });
        Self { address: address.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address, Duration::from_secs(20)).unwrap()
    }

    pub(crate) fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

pub(crate) fn ok() -> Reply {
    Reply::Status("OK".to_owned())
}

#[test]
fn clients_share_a_store_and_keep_their_own_order() {
    let server = Server::start(ServerLimits::default());
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    for client in &mut clients {
        let commands: Vec<[&[u8]; 2]> = vec![[b"INCR", b"n"]; 50];
        let commands: Vec<&[&[u8]]> = commands.iter().map(|command| &command[..]).collect();
        client.send(&commands).unwrap();
        client.send(&[&[b"GET", b"n"], &[b"SET", b"last", b"1"], &[b"PING"]]).unwrap();
    }
    for client in &mut clients {
        let counts: Vec<_> = (0..50).map(|_| client.receive().unwrap()).collect();
        assert!(counts.is_sorted_by_key(|reply| match reply {
            Reply::Integer(count) => *count,
            other => panic!("{other:?}"),
        }));
        assert!(matches!(client.receive().unwrap(), Reply::Bulk(_)));
        assert_eq!(client.receive().unwrap(), ok());
        assert_eq!(client.receive().unwrap(), Reply::Status("PONG".to_owned()));
    }
    assert_eq!(server.client().ask(&[b"GET", b"n"]).unwrap(), Reply::Bulk(Bytes::from_static(b"1000")));
}

#[test]
fn keys_are_searched_and_the_server_tells_about_itself() {
    let server = Server::start(ServerLimits::default());
    let mut client = server.client();
    assert_eq!(client.ask(&[b"MSET", b"a1", b"x", b"a2", b"x", b"b", b"x"]).unwrap(), ok());
    let Reply::Array(found) = client.ask(&[b"KEYS", b"a*"]).unwrap() else { panic!("KEYS answers a list") };
    assert_eq!(found.len(), 2);
    let Reply::Bulk(info) = client.ask(&[b"INFO"]).unwrap() else { panic!("INFO answers text") };
    let info = String::from_utf8(info.to_vec()).unwrap();
    for line in ["redis_version:7.0.15", "connected_clients:1", "quorate_node:1", "db0:keys=3,expires=0,avg_ttl=0"] {
        assert!(info.lines().any(|found| found == line), "{line} is not in {info}");
    }
}

/// From a client that sends more than the limit and takes no replies, no more is read. It gets all its replies in the
/// end.
#[test]
fn a_client_that_takes_no_replies_is_not_read_and_loses_nothing() {
    let connection =
        ConnectionLimits { pipeline_bytes_max: 10_000, replies_bytes_max: 10_000, ..ConnectionLimits::default() };
    let server = Server::start(ServerLimits { connection, ..ServerLimits::default() });
    server.client().ask(&[b"SET", b"key", &[b'x'; 1000]]).unwrap();
    let mut stream = server.stream();
    let mut reader = stream.try_clone().unwrap();
    let count = 100_000;
    let writer = std::thread::spawn(move || {
        stream.write_all(&b"GET key\r\n".repeat(count)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = 0;
    let mut buffer = vec![0; 100_000];
    loop {
        match reader.read(&mut buffer).unwrap() {
            0 => break,
            bytes => received += bytes,
        }
    }
    assert_eq!(received, count * "$1000\r\n\r\n".len() + count * 1000);
    writer.join().unwrap();
}

/// As pipelines of clients do: sends all requests, then reads all replies, which are more than the kernel's buffers
/// hold.
#[test]
fn a_long_pipeline_may_be_sent_before_a_reply_is_read() {
    let server = Server::start(ServerLimits::default());
    server.client().ask(&[b"SET", b"key", &[b'x'; 1000]]).unwrap();
    let mut stream = server.stream();
    stream.set_write_timeout(Some(Duration::from_mins(1))).unwrap();
    let count = 40_000;
    stream.write_all(&b"GET key\r\n".repeat(count)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).unwrap();
    assert_eq!(replies.len(), count * "$1000\r\n\r\n".len() + count * 1000);
}

#[test]
fn a_client_that_never_takes_its_replies_is_given_up() {
    let connection = ConnectionLimits { replies_bytes_max: 10_000, ..ConnectionLimits::default() };
    let limits = ServerLimits { connection, patience: Duration::from_millis(50), ..ServerLimits::default() };
    let server = Server::start(limits);
    server.client().ask(&[b"SET", b"key", &[b'x'; 1000]]).unwrap();
    let mut stream = server.stream();
    let pipeline = b"GET key\r\n".repeat(1_000);
    // Ends with the connection, since no replies are read.
    while stream.write_all(&pipeline).is_ok() {}
    let mut client = server.client();
    let alone = |client: &mut Client| {
        let Ok(Reply::Bulk(info)) = client.ask(&[b"INFO", b"clients"]) else { panic!("INFO answers text") };
        String::from_utf8_lossy(&info).contains("connected_clients:1\r\n")
    };
    while !alone(&mut client) {}
}

#[test]
fn a_connection_beyond_the_limit_is_told_so() {
    let server = Server::start(ServerLimits { connections_max: 1, ..ServerLimits::default() });
    let mut first = server.client();
    assert_eq!(first.ask(&[b"PING"]).unwrap(), Reply::Status("PONG".to_owned()));
    let mut told = String::new();
    server.stream().read_to_string(&mut told).unwrap();
    assert_eq!(told, "-ERR max number of clients reached\r\n");
    drop(first);
    // The place is free as soon as the server has noticed the end of the first connection.
    while !matches!(server.client().ask(&[b"PING"]), Ok(Reply::Status(_))) {}
}

/// Returns true if the server has closed the connection. That it says nothing for a long time is no end.
pub(crate) fn is_ended<T>(read: io::Result<T>) -> bool {
    read.err().is_some_and(|error| !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// Sends a command, whose arguments are separated by blanks, and returns the reply.
pub(crate) fn call(client: &mut Client, command: &str) -> Reply {
    let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    client.ask(&arguments).unwrap()
}

/// Reads replies until they are these.
fn expect(stream: &mut TcpStream, replies: &str) {
    let mut read = vec![0; replies.len()];
    stream.read_exact(&mut read).unwrap();
    assert_eq!(String::from_utf8_lossy(&read), replies);
}

#[test]
fn a_client_waits_until_there_is_something_to_take() {
    let server = Server::start(ServerLimits::default());
    let mut waiting = server.stream();
    waiting.write_all(b"BLPOP other queue 0\r\nPING\r\n").unwrap();
    let mut other = server.client();
    assert_eq!(call(&mut other, "RPUSH queue a b"), Reply::Integer(2));
    expect(&mut waiting, "*2\r\n$5\r\nqueue\r\n$1\r\na\r\n+PONG\r\n");
    waiting.write_all(b"BZPOPMIN scores 0\r\n").unwrap();
    call(&mut other, "ZADD scores 7 m");
    expect(&mut waiting, "*3\r\n$6\r\nscores\r\n$1\r\nm\r\n$1\r\n7\r\n");
    waiting.write_all(b"BLMOVE from to LEFT RIGHT 0\r\n").unwrap();
    call(&mut other, "RPUSH elsewhere x");
    call(&mut other, "RENAME elsewhere from");
    expect(&mut waiting, "$1\r\nx\r\n");
    assert_eq!(call(&mut other, "LLEN to"), Reply::Integer(1));
}

#[test]
fn a_client_waits_no_longer_than_it_said() {
    let server = Server::start(ServerLimits::default());
    let mut client = server.stream();
    client.write_all(b"BLPOP absent 0.01\r\nBRPOPLPUSH absent to 0.01\r\nXREAD BLOCK 1 STREAMS s $\r\n").unwrap();
    client
        .write_all(b"XGROUP CREATE s g $ MKSTREAM\r\nXREADGROUP GROUP g c BLOCK 1 STREAMS s >\r\nHELLO 3\r\n")
        .unwrap();
    expect(&mut client, "*-1\r\n*-1\r\n*-1\r\n+OK\r\n*-1\r\n%7\r\n");
}

#[test]
fn a_client_waits_until_a_stream_has_entries() {
    let server = Server::start(ServerLimits::default());
    let mut waiting = server.stream();
    let mut other = server.client();
    call(&mut other, "XADD s 1-1 old entry");
    call(&mut other, "XGROUP CREATE s g $");
    let found = |id: &str| format!("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n{id}\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    waiting.write_all(b"PING\r\nXREAD BLOCK 0 STREAMS none s 0 1-1\r\nPING\r\n").unwrap();
    expect(&mut waiting, "+PONG\r\n");
    call(&mut other, "XACK s g 1-1");
    call(&mut other, "XADD s 1-2 a b");
    expect(&mut waiting, &(found("1-2") + "+PONG\r\n"));
    waiting.write_all(b"XREADGROUP GROUP g c STREAMS s >\r\nXREADGROUP GROUP g c BLOCK 0 STREAMS s >\r\n").unwrap();
    expect(&mut waiting, &found("1-2"));
    call(&mut other, "XADD s 1-3 a b");
    expect(&mut waiting, &found("1-3"));
    waiting.write_all(b"XREADGROUP GROUP g c BLOCK 0 STREAMS s >\r\n").unwrap();
    call(&mut other, "XGROUP DESTROY s g");
    // Either the wait ends, or it does not begin.
    expect(&mut waiting, "-NOGROUP ");
}

#[test]
fn a_client_that_waits_takes_no_notice_of_another_kind_of_value() {
    let server = Server::start(ServerLimits::default());
    let mut waiting = server.stream();
    let mut other = server.client();
    waiting.write_all(b"PING\r\nXREAD BLOCK 0 STREAMS s 0\r\n").unwrap();
    expect(&mut waiting, "+PONG\r\n");
    let mut waiting_for_items = server.stream();
    waiting_for_items.write_all(b"PING\r\nBLPOP s 0\r\n").unwrap();
    expect(&mut waiting_for_items, "+PONG\r\n");
    while !blocked(&mut other).contains("blocked_clients:2\r\n") {}
    call(&mut other, "SADD s a");
    call(&mut other, "DEL s");
    call(&mut other, "XADD s 1-1 a b");
    expect(&mut waiting, "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n");
    call(&mut other, "DEL s");
    call(&mut other, "RPUSH s a");
    expect(&mut waiting_for_items, "*2\r\n$1\r\ns\r\n$1\r\na\r\n");
}

#[test]
fn a_client_that_waits_for_an_item_which_has_nowhere_to_go_is_told_and_the_item_stays() {
    let server = Server::start(ServerLimits::default());
    let mut waiting = server.stream();
    let mut other = server.client();
    call(&mut other, "SET target text");
    for command in ["BRPOPLPUSH list target 0", "BLMOVE list target LEFT RIGHT 0"] {
        waiting.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        while !blocked(&mut other).contains("blocked_clients:1\r\n") {}
        call(&mut other, "RPUSH list item");
        expect(&mut waiting, "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
        assert_eq!(call(&mut other, "DEL list"), Reply::Integer(1));
    }
}

fn blocked(client: &mut Client) -> String {
    match call(client, "INFO clients") {
        Reply::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
        reply => panic!("{reply:?}"),
    }
}

/// The other client may be served first, when nobody waits yet. So it adds entries until some have come.
#[test]
fn a_client_that_waits_for_the_next_entry_gets_the_first_that_comes() {
    let server = Server::start(ServerLimits::default());
    let mut waiting = server.stream();
    let mut other = server.client();
    waiting.write_all(b"XREAD BLOCK 0 STREAMS s $\r\n").unwrap();
    waiting.set_nonblocking(true).unwrap();
    // Entries come in pairs, so that neither is passed over.
    for _ in 0..10_000 {
        if waiting.peek(&mut [0]).is_ok() {
            break;
        }
        call(&mut other, "MULTI");
        call(&mut other, "XADD s * a 1");
        call(&mut other, "XADD s * a 2");
        call(&mut other, "EXEC");
    }
    waiting.set_nonblocking(false).unwrap();
    let mut reply = vec![0; 4096];
    let mut text = String::new();
    while text.matches("$1\r\n2\r\n").count() == 0 {
        let count = waiting.read(&mut reply).unwrap();
        text.push_str(&String::from_utf8_lossy(&reply[..count]));
    }
    assert!(text.find("$1\r\n1\r\n") < text.find("$1\r\n2\r\n") && text.contains("$1\r\n1\r\n"), "{text}");
    assert!(text.contains("*1\r\n*2\r\n$1\r\ns\r\n*2\r\n"), "{text}");
}

#[test]
fn each_of_many_clients_that_wait_gets_one_item() {
    let server = Server::start(ServerLimits::default());
    let waiting: Vec<_> = (0..20).map(|_| server.stream()).collect();
    for mut stream in &waiting {
        stream.write_all(b"BRPOP queue 0\r\n").unwrap();
    }
    let mut other = server.client();
    for item in 10..30_u8 {
        call(&mut other, &format!("LPUSH queue {item}"));
    }
    let mut taken: Vec<_> = waiting
        .into_iter()
        .map(|mut stream| {
            let mut reply = [0; 23];
            stream.read_exact(&mut reply).unwrap();
            String::from_utf8_lossy(&reply[19..21]).parse::<u8>().unwrap()
        })
        .collect();
    taken.sort_unstable();
    assert_eq!(taken, (10..30).collect::<Vec<_>>());
    assert_eq!(call(&mut other, "EXISTS queue"), Reply::Integer(0));
}

#[test]
fn nobody_takes_an_item_for_a_client_that_has_gone() {
    let server = Server::start(ServerLimits::default());
    let mut other = server.client();
    let mut gone = server.stream();
    gone.write_all(b"PING\r\nBLPOP queue 0\r\n").unwrap();
    expect(&mut gone, "+PONG\r\n");
    drop(gone);
    // A look at the server between the looks at its count, so that it goes on.
    let is_alone = |other: &mut Client| match call(other, "INFO clients") {
        Reply::Bulk(text) => String::from_utf8_lossy(&text).contains("connected_clients:1\r\n"),
        reply => panic!("{reply:?}"),
    };
    while !is_alone(&mut other) {}
    call(&mut other, "RPUSH queue a");
    assert_eq!(call(&mut other, "LLEN queue"), Reply::Integer(1));
}

#[test]
fn a_message_reaches_the_clients_that_listen_and_wakes_them() {
    let server = Server::start(ServerLimits::default());
    let mut listening: Vec<_> = (0..20).map(|_| server.stream()).collect();
    for stream in &mut listening {
        stream.write_all(b"SUBSCRIBE news\r\nPSUBSCRIBE n*\r\n").unwrap();
        expect(stream, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:2\r\n");
    }
    let mut other = server.client();
    assert_eq!(call(&mut other, "PUBLISH news hi"), Reply::Integer(40));
    for stream in &mut listening {
        expect(stream, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n");
        expect(stream, "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n");
    }
    drop(listening);
    while call(&mut other, "PUBLISH news hi") != Reply::Integer(0) {}
}

/// In RESP3 a client that waits for an item gets its messages meanwhile.
#[test]
fn messages_overtake_a_command_that_waits() {
    let server = Server::start(ServerLimits::default());
    let mut waiting = server.stream();
    waiting.write_all(b"HELLO 3\r\nSUBSCRIBE news\r\nBLPOP queue 0\r\n").unwrap();
    let mut other = server.client();
    while call(&mut other, "PUBLISH news hi") != Reply::Integer(1) {}
    call(&mut other, "RPUSH queue a");
    let mut replies = Vec::new();
    let end = b"$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n*2\r\n$5\r\nqueue\r\n$1\r\na\r\n";
    while !replies.ends_with(end) {
        let mut byte = [0];
        waiting.read_exact(&mut byte).unwrap();
        replies.extend(byte);
    }
}

#[test]
fn a_subscriber_that_takes_no_messages_is_given_up() {
    let limits = HubLimits { client_bytes_max: 1_000_000, ..HubLimits::default() };
    let server = Server::start_with(ServerLimits::default(), Hub::new(limits));
    let mut slow = server.stream();
    slow.write_all(b"SUBSCRIBE news\r\n").unwrap();
    expect(&mut slow, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    let mut quick = server.client();
    assert!(matches!(call(&mut quick, "SUBSCRIBE news"), Reply::Array(_)));
    let mut other = server.client();
    let text = "x".repeat(100_000);
    while call(&mut other, &format!("PUBLISH news {text}")) == Reply::Integer(2) {
        assert!(matches!(quick.receive().unwrap(), Reply::Array(_)));
    }
    let mut rest = Vec::new();
    // What was sent before may still be read; then the connection ends.
    while slow.read_to_end(&mut rest).is_ok_and(|count| count > 0) {}
    assert!(rest.len() > 1_000_000);
    assert_eq!(call(&mut other, "PUBLISH news last"), Reply::Integer(1));
}

/// The text of a reply.
fn text(reply: Reply) -> String {
    let Reply::Bulk(text) = reply else { panic!("{reply:?}") };
    String::from_utf8(text.to_vec()).unwrap()
}

#[test]
fn clients_are_listed_and_ended() {
    let server = Server::start(ServerLimits::default());
    let (mut first, mut second) = (server.client(), server.client());
    call(&mut first, "CLIENT SETNAME first");
    assert!(matches!(call(&mut second, "SUBSCRIBE news"), Reply::Array(_)));
    let listed = text(call(&mut first, "CLIENT LIST"));
    let rows: Vec<_> = listed.lines().collect();
    assert_eq!(rows.len(), 2, "{listed}");
    assert!(rows[0].starts_with("id=1 addr=127.0.0.1:") && rows[0].contains(" name=first "), "{listed}");
    assert!(rows[0].contains(" flags=N db=0 sub=0 ") && rows[0].contains(" cmd=client|list "), "{listed}");
    assert!(rows[1].contains(" flags=P db=0 sub=1 ") && rows[1].contains(" cmd=subscribe "), "{listed}");
    assert!(text(call(&mut first, "CLIENT INFO")).contains(" cmd=client|info "));
    assert_eq!(text(call(&mut first, "CLIENT LIST TYPE pubsub")).lines().count(), 1);
    assert_eq!(call(&mut first, "CLIENT KILL ID 2"), Reply::Integer(1));
    // It stood still, and notices.
    assert!(is_ended(second.receive()));
    while text(call(&mut first, "CLIENT LIST")).lines().count() > 1 {}
    assert_eq!(call(&mut first, "PUBSUB NUMSUB news"), Reply::Array(vec![bulk("news"), Reply::Integer(0)]));
    assert_eq!(call(&mut first, "CLIENT KILL TYPE normal SKIPME no"), Reply::Integer(1));
    assert!(is_ended(first.receive()));
}

fn bulk(text: &'static str) -> Reply {
    Reply::Bulk(Bytes::from(text))
}

#[test]
fn a_client_that_waits_is_ended_by_another() {
    let server = Server::start(ServerLimits::default());
    let mut waiting = server.stream();
    waiting.write_all(b"BLPOP queue 0\r\n").unwrap();
    let mut other = server.client();
    while !text(call(&mut other, "INFO clients")).contains("blocked_clients:1\r\n") {}
    assert!(text(call(&mut other, "CLIENT LIST")).contains(" flags=b "));
    assert_eq!(call(&mut other, "CLIENT KILL SKIPME yes"), Reply::Integer(1));
    assert_eq!(waiting.read(&mut [0]).unwrap(), 0);
    while !text(call(&mut other, "INFO clients")).contains("connected_clients:1\r\n") {}
    call(&mut other, "RPUSH queue a");
    assert_eq!(call(&mut other, "LLEN queue"), Reply::Integer(1));
}

#[test]
fn commands_and_errors_are_counted() {
    let server = Server::start(ServerLimits::default());
    let mut client = server.client();
    client.send(&[&[b"SET", b"a", b"x"], &[b"INCR", b"a"], &[b"SET", b"a", b"1"], &[b"GET", b"a"]]).unwrap();
    (0..4).for_each(|_| drop(client.receive().unwrap()));
    call(&mut client, "GET");
    call(&mut client, "NOSUCH");
    call(&mut client, "LPUSH a x");
    call(&mut client, "CONFIG SET slowlog-log-slower-than 0");
    call(&mut client, "SET slow 1");
    let info = text(call(&mut client, "INFO everything"));
    let has = |start: &str, end: &str| info.lines().any(|line| line.starts_with(start) && line.ends_with(end));
    assert!(has("cmdstat_set:calls=3,", "rejected_calls=0,failed_calls=0"), "{info}");
    assert!(has("cmdstat_incr:calls=1,", "rejected_calls=0,failed_calls=1"), "{info}");
    assert!(has("cmdstat_get:calls=1,", "rejected_calls=1,failed_calls=0"), "{info}");
    assert!(has("cmdstat_config|set:calls=1,", "failed_calls=0"), "{info}");
    assert!(has("errorstat_ERR:count=3", ""), "{info}");
    assert!(has("errorstat_WRONGTYPE:count=1", ""), "{info}");
    assert!(has("total_error_replies:4", ""), "{info}");
    assert!(!text(call(&mut client, "INFO")).contains("cmdstat_"));
    let Reply::Array(slow) = call(&mut client, "SLOWLOG GET -1") else { panic!("a list") };
    let Reply::Array(oldest) = slow.last().unwrap() else { panic!("a list") };
    assert_eq!(oldest[3], Reply::Array(vec![bulk("SET"), bulk("slow"), bulk("1")]));
    let Reply::Bulk(address) = &oldest[4] else { panic!("an address") };
    assert!(address.starts_with(b"127.0.0.1:"));
    assert_eq!(call(&mut client, "CONFIG RESETSTAT"), ok());
    assert!(!text(call(&mut client, "INFO everything")).contains("errorstat_"));
}
