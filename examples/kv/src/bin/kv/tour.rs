//! The tour of `kv`: a cluster of three in one process, shown at work and during a failure.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use indicatif::{ProgressBar, ProgressStyle};
use quorate_kv::client::{Answer, Client};
use quorate_kv::cluster::LocalCluster;
use quorate_kv::config::Engine;
use quorate_kv::status::GroupStatus;
use tokio::signal::unix::{SignalKind, signal};

use crate::load::{Load, Tally, measure};

/// The state after the tour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All nodes are shut down.
    Stop,
    /// All nodes keep serving, until the process is interrupted.
    Serve,
}

/// Runs the tour. An error describes a result that differs from the expected one.
pub(crate) fn run(folder: Option<&Path>, engine: Engine, shards: u16, end: End) -> Result<(), Box<dyn Error>> {
    let temporary = if folder.is_none() { Some(tempfile::Builder::new().prefix("kv-").tempdir()?) } else { None };
    let folder = match (folder, &temporary) {
        (Some(folder), _) => folder,
        (None, Some(temporary)) => temporary.path(),
        (None, None) => unreachable!("one of the two is there"),
    };
    fs::create_dir_all(folder)?;
    let started = Instant::now();
    let mut tour = Tour { cluster: start(folder, engine, shards)?, step: 0 };
    tour.elect()?;
    tour.write_and_read()?;
    tour.transfer()?;
    tour.measure()?;
    let tally = tour.kill_leader()?;
    tour.bring_back(&tally)?;
    println!("\nAll of it held, in {:.1} s.", started.elapsed().as_secs_f64());
    if end == End::Serve {
        println!("Still serving on {}; interrupt it to stop.", list(&tour.cluster.clients()));
        println!("kv status --config {}", folder.join("cluster.toml").display());
        wait_for_interrupt()?;
    }
    Ok(tour.cluster.shutdown()?)
}

struct Tour {
    cluster: LocalCluster,
    step: u32,
}

fn start(folder: &Path, engine: Engine, shards: u16) -> Result<LocalCluster, Box<dyn Error>> {
    let cluster = LocalCluster::start(folder, NODES, shards, engine)?;
    println!(
        "Three nodes in this process, over TCP on loopback, each with a log that it syncs before it says anything."
    );
    println!("The keys are divided among {shards} shards, each of which has a log on every node.");
    println!("Data: {}", folder.display());
    println!("Any Redis client may look in: redis-cli -p {}", cluster.clients()[0].port());
    Ok(cluster)
}

impl Tour {
    fn say(&mut self, text: &str) {
        self.step += 1;
        println!("\n{}. {text}", self.step);
    }

    fn elect(&mut self) -> Result<(), Box<dyn Error>> {
        self.say("Each shard elects a leader");
        let leaders = self.await_leaders(None)?;
        for node in self.cluster.running() {
            println!("   node {node} leads {}", led_by(node, &leaders));
        }
        // A node takes a moment longer to learn which shard has which keys.
        let mut client = connect(self.cluster.clients()[0])?;
        let bar = spinner("   waiting for the shards");
        wait_until(&bar, "the shards did not serve", || matches!(probe(&mut client), Ok(Answer::Status(_))))?;
        bar.finish_and_clear();
        Ok(())
    }

    fn write_and_read(&mut self) -> Result<(), Box<dyn Error>> {
        self.say("What is written at one node is read at every other");
        let clients = self.cluster.clients();
        let mut writer = connect(clients[0])?;
        show(&mut writer, 1, &["SET", "greeting", "hello"], &Answer::Status("OK".to_owned()))?;
        for (number, client) in clients.iter().enumerate().skip(1) {
            let expected = Answer::Bulk("hello".into());
            show(&mut connect(*client)?, number + 1, &["GET", "greeting"], &expected)?;
        }
        show(&mut writer, 1, &["SET", "counter", "41"], &Answer::Status("OK".to_owned()))?;
        show(&mut connect(clients[1])?, 2, &["INCR", "counter"], &Answer::Integer(42))
    }

    fn transfer(&mut self) -> Result<(), Box<dyn Error>> {
        self.say("A transaction takes effect as a whole, also if its keys are in different shards");
        let clients = self.cluster.clients();
        let ok = Answer::Status("OK".to_owned());
        let mut client = connect(clients[0])?;
        show(&mut client, 1, &["MSET", "alice", "100", "bob", "100"], &ok)?;
        show(&mut client, 1, &["MULTI"], &ok)?;
        let queued = Answer::Status("QUEUED".to_owned());
        show(&mut client, 1, &["DECRBY", "alice", "30"], &queued)?;
        show(&mut client, 1, &["INCRBY", "bob", "30"], &queued)?;
        show(&mut client, 1, &["EXEC"], &Answer::Array(vec![Answer::Integer(70), Answer::Integer(130)]))?;
        let both = Answer::Array(vec![Answer::Bulk("70".into()), Answer::Bulk("130".into())]);
        show(&mut connect(clients[2])?, 3, &["MGET", "alice", "bob"], &both)
    }

    fn measure(&mut self) -> Result<(), Box<dyn Error>> {
        self.say("How fast that is here (each write is on two disks before it is acknowledged)");
        let leader = self.cluster.client_of(self.await_leaders(None)?[0]);
        let text = |text: String| text.into_bytes();
        let writes = measure(leader, MEASURED, |number| {
            vec![b"SET".to_vec(), text(format!("measured:{number}")), vec![b'x'; 256]]
        })?;
        println!("   one client, SET   {writes}");
        let reads = measure(leader, MEASURED, |number| vec![b"GET".to_vec(), text(format!("measured:{number}"))])?;
        println!("   one client, GET   {reads}");
        let load = Load::start(WRITERS, &[leader]);
        let bar = spinner("   32 clients write, each 16 at a time");
        let start = Instant::now();
        while start.elapsed() < MEASURED {
            bar.tick();
            thread::sleep(GLANCE);
        }
        #[allow(clippy::cast_precision_loss)]
        let rate = load.tally().count() as f64 / start.elapsed().as_secs_f64();
        let tally = load.stop();
        bar.finish_and_clear();
        println!("   {WRITERS} clients, pipelined by 16, SET   {rate:>8.0}/s");
        self.verify(&tally)
    }

    fn kill_leader(&mut self) -> Result<std::sync::Arc<Tally>, Box<dyn Error>> {
        self.say("A leader is killed in the midst of writes");
        let leaders = self.await_leaders(None)?;
        let leader = leaders[0];
        let survivors: Vec<_> = self
            .cluster
            .running()
            .into_iter()
            .filter(|id| *id != leader)
            .map(|id| self.cluster.client_of(id))
            .collect();
        let all = self.cluster.clients();
        let load = Load::start(8, &all);
        let bar = spinner("   writing at all three");
        wait_until(&bar, "no write was acknowledged", || load.tally().count() > 5_000)?;
        self.cluster.kill(leader);
        let before = load.tally().count();
        bar.set_message(format!("   node {leader} is dead"));
        let gap = first_acknowledged(survivors[0])?;
        let successors = self.await_leaders(Some(leader))?;
        wait_until(&bar, "the writers did not recover", || load.tally().count() > before + 5_000)?;
        let tally = load.stop();
        bar.finish_and_clear();
        println!(
            "   node {leader} died, which led {}; the next write to all shards was acknowledged {} ms later",
            led_by(leader, &leaders),
            gap.as_millis()
        );
        for node in self.cluster.running() {
            println!("   node {node} leads {}", led_by(node, &successors));
        }
        let count = |number: &std::sync::atomic::AtomicU64| number.load(std::sync::atomic::Ordering::Relaxed);
        println!(
            "   {} writes acknowledged, {} not applied, {} of which their clients cannot know",
            count(&tally.acknowledged),
            count(&tally.refused),
            count(&tally.unknown)
        );
        self.verify(&tally)?;
        Ok(tally)
    }

    fn bring_back(&mut self, tally: &Tally) -> Result<(), Box<dyn Error>> {
        let Some(dead) = self.cluster.stopped() else { return Err("no node was killed".into()) };
        self.say(&format!("Node {dead} comes back"));
        let bar = spinner("   catching up");
        let start = Instant::now();
        self.cluster.restart(dead)?;
        let cluster = &self.cluster;
        wait_until(&bar, "the node did not catch up", || {
            let groups = cluster.running().into_iter().filter_map(|id| cluster.groups_of(id));
            let state = |groups: Vec<GroupStatus>| -> Vec<_> {
                groups.into_iter().map(|group| (group.applied_index, group.digest)).collect()
            };
            let states: Vec<_> = groups.map(state).collect();
            states.len() == NODES && states.iter().all(|state| *state == states[0])
        })?;
        bar.finish_and_clear();
        let groups = self.cluster.groups_of(dead).ok_or("the node went away")?;
        println!(
            "   after {} ms all three have applied the same {} entries and hold the same {} keys, by the digest of each shard",
            start.elapsed().as_millis(),
            groups.iter().map(|group| group.applied_index).sum::<u64>(),
            groups.iter().map(|group| group.keys).sum::<u64>(),
        );
        let bar = bar_of(tally.count(), "   reading at the node that was dead");
        let verified = tally.verify(self.cluster.client_of(dead), |count| bar.set_position(count))?;
        bar.finish_and_clear();
        println!("   all {verified} acknowledged writes are there");
        Ok(())
    }

    fn verify(&self, tally: &Tally) -> Result<(), Box<dyn Error>> {
        let reader = *self.cluster.running().last().ok_or("no node runs")?;
        let bar = bar_of(tally.count(), "   reading them back");
        let verified = tally.verify(self.cluster.client_of(reader), |count| bar.set_position(count))?;
        bar.finish_and_clear();
        println!("   all {verified} acknowledged writes are there, read at node {reader}");
        Ok(())
    }

    /// Waits until the running nodes agree on the leader of each shard, none of which is `but`.
    fn await_leaders(&self, but: Option<u64>) -> Result<Vec<u64>, Box<dyn Error>> {
        let bar = spinner("   waiting for leaders");
        let mut leaders = None;
        wait_until(&bar, "no leader was elected", || {
            leaders = self.cluster.leaders().filter(|leaders| leaders.iter().all(|leader| Some(*leader) != but));
            leaders.is_some()
        })?;
        bar.finish_and_clear();
        Ok(leaders.expect("they were waited for"))
    }
}

/// The shards that a node leads, in words.
fn led_by(node: u64, leaders: &[u64]) -> String {
    let led: Vec<String> =
        leaders.iter().enumerate().filter(|(_, leader)| **leader == node).map(|(shard, _)| shard.to_string()).collect();
    match &led[..] {
        [] => "none".to_owned(),
        [one] => format!("shard {one}"),
        [others @ .., last] => format!("shards {} and {last}", others.join(", ")),
    }
}

fn connect(address: SocketAddr) -> Result<Client, Box<dyn Error>> {
    Ok(Client::connect(address, PATIENCE)?)
}

/// Sends a command, prints it with its answer, and compares that with the expected one.
fn show(client: &mut Client, node: usize, command: &[&str], expected: &Answer) -> Result<(), Box<dyn Error>> {
    let arguments: Vec<&[u8]> = command.iter().map(|argument| argument.as_bytes()).collect();
    let answer = client.ask(&arguments)?;
    println!("   node {node}> {:<24} {}", command.join(" "), shown(&answer));
    if answer == *expected { Ok(()) } else { Err(format!("{} was expected", shown(expected)).into()) }
}

/// An answer as `redis-cli` prints it.
fn shown(answer: &Answer) -> String {
    match answer {
        Answer::Status(text) | Answer::Error(text) => text.clone(),
        Answer::Integer(number) => number.to_string(),
        Answer::Bulk(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        Answer::Nil => "(nil)".to_owned(),
        Answer::Array(answers) => answers.iter().map(shown).collect::<Vec<_>>().join(" "),
    }
}

/// Writes so many keys in one step that each of a few shards has some.
fn probe(client: &mut Client) -> io::Result<Answer> {
    let keys: Vec<String> = (0..16).map(|number| format!("probe:{number}")).collect();
    let mut command = vec![&b"MSET"[..]];
    command.extend(keys.iter().flat_map(|key| [key.as_bytes(), b"1"]));
    client.ask(&command)
}

/// Measures the time until a write is acknowledged that begins from now on. A write that was on its way to the old
/// leader waits until its timeout. A single client that retries would measure that instead.
fn first_acknowledged(node: SocketAddr) -> Result<Duration, Box<dyn Error>> {
    let (acknowledge, acknowledged) = mpsc::channel();
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let acknowledge = acknowledge.clone();
        thread::spawn(move || {
            let answer = Client::connect(node, PATIENCE).and_then(|mut client| probe(&mut client));
            if matches!(answer, Ok(Answer::Status(_))) {
                // Only the first result is used.
                let _ = acknowledge.send(start.elapsed());
            }
        });
        if let Ok(took) = acknowledged.recv_timeout(GLANCE * 5) {
            return Ok(took);
        }
    }
    Err("no write was acknowledged after the leader's death".into())
}

fn wait_until(bar: &ProgressBar, otherwise: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > PATIENCE {
            bar.finish_and_clear();
            return Err(format!("{otherwise} within {} s", PATIENCE.as_secs()).into());
        }
        bar.tick();
        thread::sleep(GLANCE);
    }
    Ok(())
}

fn spinner(message: &'static str) -> ProgressBar {
    ProgressBar::new_spinner().with_message(message)
}

fn bar_of(length: u64, message: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}").expect("the template is a constant");
    ProgressBar::new(length).with_style(style).with_message(message)
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn wait_for_interrupt() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    Ok(runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    })?)
}

const NODES: usize = 3;
const WRITERS: usize = 32;
const MEASURED: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(5);
