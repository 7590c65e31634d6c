//! `work`: runs a command over many items on three nodes, each item once, though nodes are killed.
//!
//! - `queue.rs` is the replicated queue, with leases and their tokens.
//! - `node.rs` is a node, with workers that take items from the queue.
//! - This file places the items by a ring, starts the nodes, and shows the results. This process is node 1. Nodes 2 and
//!   3 are processes of their own, and are started again when they die.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command as Program, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use clap::Parser;
use indicatif::ProgressBar;
use quorate_consistent_hash::{Nodes, Placement, Ring};
use quorate_examples::local::free_addresses;

use queue::{Command, Queue};

mod node;
mod queue;

/// Runs a command over many items on three nodes, each once, though nodes are killed.
///
/// Exit codes: 0 all is done; 1 the command failed for an item, or nodes do not run; 2 the command line is wrong.
#[derive(Clone, Parser)]
#[command(version)]
struct Arguments {
    /// The items; a directory stands for the files in it
    #[arg(default_value = ".")]
    items: Vec<PathBuf>,
    /// The command for the shell, in which "$1" is the item and "$WORK_NODE" the node
    #[arg(long, default_value = r#"wc -w < "$1""#)]
    command: String,
    /// The number of items that a node works on at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=100))]
    workers: u64,
    /// The time in milliseconds after which the item of a node that died is given to another
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    lease_ms: u64,
    // What a process needs that is another node than 1.
    #[arg(long, hide = true, default_value_t = 1)]
    node: u64,
    #[arg(long, hide = true, default_value = "work-data")]
    data: PathBuf,
    #[arg(long, hide = true, value_delimiter = ',')]
    addresses: Vec<SocketAddr>,
}

/// Starts a node in a process of its own, which ends with this one.
fn start(arguments: &Arguments, node: u64) -> io::Result<Child> {
    let mut program = Program::new(env::current_exe()?);
    let addresses: Vec<_> = arguments.addresses.iter().map(ToString::to_string).collect();
    program.args(["--node", &node.to_string(), "--addresses", &addresses.join(",")]);
    program.arg("--data").arg(&arguments.data).args(env::args_os().skip(1)).stdin(Stdio::piped());
    let child = program.spawn()?;
    println!("node {node} is process {}", child.id());
    Ok(child)
}

/// The items, each behind the node that the ring names for it.
fn place(given: &[PathBuf]) -> Result<BTreeSet<(u64, String)>, Box<dyn Error>> {
    let mut items = Vec::new();
    for item in given {
        match fs::read_dir(item) {
            Ok(entries) => items.extend(entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?),
            Err(_) => items.push(item.clone()),
        }
    }
    let ring = Ring::new(Nodes::named(["1", "2", "3"])?)?;
    let place = |item: PathBuf| {
        let item = item.into_os_string().into_string().map_err(|name| format!("{} is not UTF-8", name.display()))?;
        Ok((ring.owner(item.as_bytes()).name().parse()?, item))
    };
    items.into_iter().filter(|item| !item.is_dir()).map(place).collect()
}

fn run(mut arguments: Arguments) -> Result<bool, Box<dyn Error>> {
    let items: Vec<_> = place(&arguments.items)?.into_iter().collect();
    let folder = tempfile::tempdir()?;
    (arguments.data, arguments.addresses) = (folder.path().to_owned(), free_addresses(3)?);
    let mut others = [(2, start(&arguments, 2)?), (3, start(&arguments, 3)?)];
    let queue = node::start(&arguments)?;
    for items in items.chunks(ITEMS_AN_ENTRY) {
        let (add, start) = (Command::Add { items: items.to_vec() }, Instant::now());
        // Until a leader is elected.
        while let Err(error) = queue.execute(&add).wait() {
            if start.elapsed() > PATIENCE {
                return Err(error.into());
            }
        }
    }
    let bar = ProgressBar::new(items.len() as u64);
    let mut deaths = 0;
    while bar.position() < items.len() as u64 {
        thread::sleep(GLANCE);
        bar.set_position(queue.read_local(|queue, _| queue.0.done.len() as u64).wait()?);
        for (node, child) in &mut others {
            if child.try_wait()?.is_some() {
                deaths += 1;
                if deaths > DEATHS_MAX {
                    return Err("nodes end again and again".into());
                }
                *child = bar.suspend(|| start(&arguments, *node))?;
            }
        }
    }
    bar.finish_and_clear();
    let queue = queue.read(|queue, _| queue.0.clone()).wait()?;
    for (_, mut child) in others {
        child.kill()?;
        child.wait()?;
    }
    print(&queue);
    Ok(queue.done.values().all(|done| done.result.is_ok()))
}

fn print(queue: &Queue) {
    println!("\n    result  node  item");
    for (item, done) in &queue.done {
        let result = done.result.clone().unwrap_or_else(|error| format!("failed: {error}"));
        println!("{result:>10}  {:>4}  {item}", done.node);
    }
    let (items, own) = (queue.done.len(), queue.done.values().filter(|done| done.node == done.owner).count());
    println!("\n{items} items, {own} of them done by the node that the ring names.");
    println!("{} leases were lost, and {} late results refused.", queue.leased - items as u64, queue.refused);
}

/// Runs another node than 1, until the process that started it is gone.
fn serve(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let _queue = node::start(arguments)?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(true)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = if arguments.node == 1 { run(arguments) } else { serve(&arguments) };
    if let Err(error) = &result {
        eprintln!("work: {error}");
    }
    if result.is_ok_and(|is_well| is_well) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const ITEMS_AN_ENTRY: usize = 100;
const DEATHS_MAX: u32 = 20;
/// Time for which a leader is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(50);
