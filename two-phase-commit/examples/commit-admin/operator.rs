//! What an operator asks of a manager, and the port at which a running one is asked.
//!
//! A question is one line, its words separated by tabs. The answer is the exit code in a line of its own, and text.

use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use quorate_two_phase_commit::manager::core::{Hazard, InDoubt, ManagerStatus};
use quorate_two_phase_commit::manager::{Manager, OutcomeError, ResourceId, TransactionName};
use quorate_two_phase_commit::{Decision, TransactionNumber};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Something that an operator asks for.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Action {
    /// Lists the transactions in doubt, those that a branch did not follow, and the work that is stuck.
    List,
    /// Shows the outcome of a transaction, and who is waited for.
    Show {
        /// Name of the transaction.
        transaction: TransactionName,
    },
    /// Says how the only resource of a transaction decided.
    Resolve {
        /// Name of the transaction.
        transaction: TransactionName,
        /// The decision that the resource has carried out.
        decision: Choice,
    },
    /// Without resources: a transaction that a branch did not follow was dealt with, and is kept no longer. With
    /// resources: their commit is no longer waited for, which lasts once all that are waited for are named.
    Forget {
        /// Name of the transaction.
        transaction: TransactionName,
        /// Names of the resources.
        resources: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Choice {
    Commit,
    Abort,
}

/// The answer to an operator.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) code: u8,
    pub(crate) text: String,
}

/// The words of a question.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Question {
    #[command(subcommand)]
    action: Action,
}

impl Action {
    /// What the operator should know before it is done. `None` if nothing is changed.
    pub(crate) fn risk(&self) -> Option<String> {
        match self {
            Self::List | Self::Show { .. } => None,
            Self::Resolve { transaction, decision } => {
                let word = match decision {
                    Choice::Commit => "committed",
                    Choice::Abort => "aborted",
                };
                Some(format!(
                    "Transaction {transaction} will be told as {word} for ever. Its resource is not asked. If it decided\n\
                     otherwise, everybody who asks gets a wrong answer."
                ))
            }
            Self::Forget { transaction, resources } if resources.is_empty() => {
                Some(format!("That transaction {transaction} is not the same everywhere will be known no more."))
            }
            Self::Forget { transaction, resources } => Some(format!(
                "The commit of transaction {transaction} will not be asked of {resources:?} again. If a branch is still\n\
                 prepared there, it may be rolled back later, although the transaction is committed."
            )),
        }
    }

    fn words(&self) -> Vec<String> {
        match self {
            Self::List => vec!["list".to_owned()],
            Self::Show { transaction } => vec!["show".to_owned(), transaction.to_string()],
            Self::Resolve { transaction, decision } => {
                let decision = decision.to_possible_value().expect("none is skipped");
                vec!["resolve".to_owned(), transaction.to_string(), decision.get_name().to_owned()]
            }
            Self::Forget { transaction, resources } => {
                [vec!["forget".to_owned(), transaction.to_string()], resources.clone()].concat()
            }
        }
    }

    /// Carries it out on a manager.
    pub(crate) async fn carry_out(&self, manager: &Manager) -> Answer {
        let mut answer = Answer::default();
        answer.code = match self {
            Self::List => list(manager, &mut answer.text).await,
            Self::Show { transaction } => show(manager, *transaction, &mut answer.text).await,
            Self::Resolve { transaction, decision } => {
                let decision = match decision {
                    Choice::Commit => Decision::Commit,
                    Choice::Abort => Decision::Abort,
                };
                ended(manager.resolve(*transaction, decision).await, &mut answer.text)
            }
            Self::Forget { transaction, resources } if resources.is_empty() => {
                ended(manager.forget(*transaction).await, &mut answer.text)
            }
            Self::Forget { transaction, resources } => forget(manager, *transaction, resources, &mut answer.text).await,
        };
        answer
    }

    /// Asks the running manager at this address.
    ///
    /// # Errors
    /// When nobody answers there, or not in time.
    pub(crate) async fn ask(&self, address: SocketAddr) -> io::Result<Answer> {
        let asked = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(format!("{}\n", self.words().join("\t")).as_bytes()).await?;
            let mut said = String::new();
            stream.read_to_string(&mut said).await?;
            let (code, text) = said.split_once('\n').ok_or(ErrorKind::UnexpectedEof)?;
            let code = code.parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "not the port of a manager"))?;
            Ok(Answer { code, text: text.to_owned() })
        };
        tokio::time::timeout(PATIENCE, asked).await?
    }
}

/// Answers operators at this port until the listener fails. Only programs on this machine reach it, because it asks
/// nobody who they are.
///
/// # Errors
/// When the port is one that other machines reach, or connections cannot be accepted any more.
#[cfg_attr(not(test), allow(dead_code, reason = "commit-admin asks, and other programs answer"))]
pub(crate) async fn serve(listener: TcpListener, manager: Manager) -> io::Result<()> {
    if !listener.local_addr()?.ip().is_loopback() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "operators are served on a loopback address only"));
    }
    loop {
        let (stream, _) = listener.accept().await?;
        let manager = manager.clone();
        // Whoever is slow or goes away keeps nobody else waiting.
        tokio::spawn(async move { tokio::time::timeout(PATIENCE, answer(stream, &manager)).await });
    }
}

async fn answer(mut stream: TcpStream, manager: &Manager) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read).take(QUESTION_BYTES_MAX).read_line(&mut line).await?;
    let words = line.trim_end_matches(['\r', '\n']).split('\t').map(str::to_owned);
    let Answer { code, text } = match Question::try_parse_from(words) {
        Ok(Question { action }) => action.carry_out(manager).await,
        Err(error) => Answer { code: WRONG_USE, text: error.to_string() },
    };
    write.write_all(format!("{code}\n{text}").as_bytes()).await?;
    write.shutdown().await
}

async fn forget(manager: &Manager, transaction: TransactionName, resources: &[String], out: &mut String) -> u8 {
    for resource in resources {
        if let Err(error) = manager.release(transaction, ResourceId::of_name(resource)).await {
            return ended(Err(error), out);
        }
    }
    match show(manager, transaction, out).await {
        IN_DOUBT => {
            say(out, "other resources are waited for: name them as well, or nothing has changed");
            REFUSED
        }
        code => code,
    }
}

async fn list(manager: &Manager, out: &mut String) -> u8 {
    let Some(status) = manager.status().await else { return stopped(out) };
    say(out, &format!("manager {}, start {}, {} open", status.manager, status.epoch, status.open));
    for (number, doubt) in &status.in_doubt {
        describe(manager, *number, doubt, out);
    }
    for number in status.hazards.keys() {
        describe_hazards(manager, *number, &status, out);
    }
    for resource in status.resources.values().filter(|resource| !resource.has_listed) {
        say(out, &format!("{} has not said yet what it has prepared", resource.name));
    }
    for stuck in &status.stuck {
        let resource = name_of(&status, stuck.request.resource());
        let branch = stuck.request.branch().map(|branch| format!(" of {}", branch.number)).unwrap_or_default();
        let why = stuck.why.as_deref().unwrap_or("no answer");
        let (work, failures) = (stuck.request.name(), stuck.failures);
        say(out, &format!("{resource}: {work}{branch} for {:.1?}, {failures} failures: {why}", stuck.age));
    }
    if status.in_doubt.is_empty() && status.hazards.is_empty() {
        say(out, "nothing is in doubt");
        return DONE;
    }
    IN_DOUBT
}

async fn show(manager: &Manager, transaction: TransactionName, out: &mut String) -> u8 {
    let knowledge = match manager.outcome(transaction).await {
        Ok(knowledge) => knowledge,
        Err(error) => return ended(Err(error), out),
    };
    say(out, &format!("{transaction}: {knowledge:?}"));
    let Some(status) = manager.status().await else { return stopped(out) };
    describe_hazards(manager, transaction.number, &status, out);
    let Some(doubt) = status.in_doubt.get(&transaction.number) else {
        return if status.hazards.contains_key(&transaction.number) { IN_DOUBT } else { DONE };
    };
    describe(manager, transaction.number, doubt, out);
    IN_DOUBT
}

fn describe_hazards(manager: &Manager, number: TransactionNumber, status: &ManagerStatus, out: &mut String) {
    let transaction = TransactionName { manager: manager.id(), number };
    for (resource, hazard) in status.hazards.get(&number).into_iter().flatten() {
        let what = match hazard {
            Hazard::RolledBack => "committed, and rolled back by somebody else in",
            Hazard::Lost => "committed, and lost in",
            Hazard::Committed => "aborted, and committed by somebody else in",
        };
        say(out, &format!("{transaction}: {what} {}", name_of(status, *resource)));
    }
}

fn name_of(status: &ManagerStatus, resource: ResourceId) -> String {
    status.names.get(&resource).cloned().unwrap_or_else(|| resource.to_string())
}

fn describe(manager: &Manager, number: TransactionNumber, doubt: &InDoubt, out: &mut String) {
    let transaction = TransactionName { manager: manager.id(), number };
    let state = if doubt.is_committed { "committed, and perhaps not yet in" } else { "left to the decision of" };
    let name = |(id, name): (&ResourceId, &Option<String>)| name.clone().unwrap_or_else(|| id.to_string());
    let resources: Vec<String> = doubt.resources.iter().map(name).collect();
    say(out, &format!("{transaction}: {state} {}, for {:.1?}", resources.join(", "), doubt.age));
}

fn ended(result: Result<(), OutcomeError>, out: &mut String) -> u8 {
    match result {
        Ok(()) => {
            say(out, "done");
            DONE
        }
        Err(error) => {
            say(out, &error.to_string());
            REFUSED
        }
    }
}

fn stopped(out: &mut String) -> u8 {
    say(out, "the manager has stopped, or another node serves it");
    NOT_OPENED
}

pub(crate) fn say(out: &mut String, line: &str) {
    writeln!(out, "{line}").expect("a string takes everything");
}

/// Time within which a question is answered.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest question.
const QUESTION_BYTES_MAX: u64 = 64 << 10;

pub(crate) const DONE: u8 = 0;
pub(crate) const IN_DOUBT: u8 = 1;
pub(crate) const WRONG_USE: u8 = 2;
pub(crate) const NOT_OPENED: u8 = 3;
pub(crate) const REFUSED: u8 = 4;
