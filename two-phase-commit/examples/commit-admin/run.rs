//! The commands, apart from the terminal.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use quorate_two_phase_commit::manager::core::{Hazard, InDoubt, ManagerStatus};
use quorate_two_phase_commit::manager::{Manager, OutcomeError, ResourceId, TransactionName};
use quorate_two_phase_commit::{Decision, TransactionNumber};

/// Shows what a transaction manager has left in doubt, and ends what a resource never will. The manager must not run.
#[derive(Parser)]
#[command(name = "commit-admin")]
struct Arguments {
    /// Name of the manager.
    #[arg(long)]
    name: String,
    /// Directory of its log.
    #[arg(long)]
    data: PathBuf,
    /// Do not ask before something is changed.
    #[arg(long)]
    yes: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Lists the transactions in doubt, and those that a branch did not follow.
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

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    Commit,
    Abort,
}

/// Carries out one command, and returns the exit code.
pub(crate) async fn run(arguments: Vec<String>, confirm: &mut dyn FnMut(&str) -> bool, out: &mut String) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            out.push_str(&error.to_string());
            return if error.use_stderr() { WRONG_USE } else { DONE };
        }
    };
    if !arguments.data.is_dir() {
        say(out, &format!("there is no log in {}", arguments.data.display()));
        return NOT_OPENED;
    }
    // Without resources the manager asks nobody anything.
    let manager = match Manager::builder(&arguments.name, &arguments.data).open().await {
        Ok(manager) => manager,
        Err(error) => {
            say(out, &format!("the log cannot be opened: {error}"));
            return NOT_OPENED;
        }
    };
    let code = match arguments.action {
        Action::List => list(&manager, out).await,
        Action::Show { transaction } => show(&manager, transaction, out).await,
        Action::Resolve { transaction, decision } => {
            let (decision, word) = match decision {
                Choice::Commit => (Decision::Commit, "committed"),
                Choice::Abort => (Decision::Abort, "aborted"),
            };
            let risk = format!(
                "Transaction {transaction} will be told as {word} for ever. Its resource is not asked. If it decided\n\
                 otherwise, everybody who asks gets a wrong answer."
            );
            if !arguments.yes && !confirm(&risk) {
                return refused(&manager, "nothing was changed", out).await;
            }
            ended(manager.resolve(transaction, decision).await, out)
        }
        Action::Forget { transaction, resources } if resources.is_empty() => {
            let risk = format!("That transaction {transaction} is not the same everywhere will be known no more.");
            if !arguments.yes && !confirm(&risk) {
                return refused(&manager, "nothing was changed", out).await;
            }
            ended(manager.forget(transaction).await, out)
        }
        Action::Forget { transaction, resources } => {
            let risk = format!(
                "The commit of transaction {transaction} will not be asked of {resources:?} again. If a branch is still\n\
                 prepared there, it may be rolled back later, although the transaction is committed."
            );
            if !arguments.yes && !confirm(&risk) {
                return refused(&manager, "nothing was changed", out).await;
            }
            forget(&manager, transaction, &resources, out).await
        }
    };
    manager.close().await;
    code
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

async fn refused(manager: &Manager, why: &str, out: &mut String) -> u8 {
    say(out, why);
    manager.close().await;
    REFUSED
}

async fn list(manager: &Manager, out: &mut String) -> u8 {
    let Some(status) = manager.status().await else { return stopped(out) };
    say(out, &format!("manager {}, start {}", status.manager, status.epoch));
    for (number, doubt) in &status.in_doubt {
        describe(manager, *number, doubt, out);
    }
    for number in status.hazards.keys() {
        describe_hazards(manager, *number, &status, out);
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
        let resource = status.names.get(resource).cloned().unwrap_or_else(|| resource.to_string());
        let what = match hazard {
            Hazard::RolledBack => "committed, and rolled back by somebody else in",
            Hazard::Lost => "committed, and lost in",
            Hazard::Committed => "aborted, and committed by somebody else in",
        };
        say(out, &format!("{transaction}: {what} {resource}"));
    }
}

fn describe(manager: &Manager, number: TransactionNumber, doubt: &InDoubt, out: &mut String) {
    let transaction = TransactionName { manager: manager.id(), number };
    let state = if doubt.is_committed { "committed, and perhaps not yet in" } else { "left to the decision of" };
    let name = |(id, name): (&ResourceId, &Option<String>)| name.clone().unwrap_or_else(|| id.to_string());
    let resources: Vec<String> = doubt.resources.iter().map(name).collect();
    say(out, &format!("{transaction}: {state} {}", resources.join(", ")));
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
    say(out, "the manager has stopped");
    NOT_OPENED
}

fn say(out: &mut String, line: &str) {
    writeln!(out, "{line}").expect("a string takes everything");
}

const DONE: u8 = 0;
const IN_DOUBT: u8 = 1;
const WRONG_USE: u8 = 2;
const NOT_OPENED: u8 = 3;
const REFUSED: u8 = 4;
