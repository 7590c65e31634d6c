//! The tool, apart from the terminal.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use quorate_two_phase_commit::manager::Manager;

use super::operator::{Action, Answer, DONE, NOT_OPENED, REFUSED, WRONG_USE, say};

/// Shows what a transaction manager has left in doubt, and ends what a resource never will. A manager that does not run
/// is read from the directory of its log, and one that runs is asked at its port for operators.
#[derive(Parser)]
#[command(name = "commit-admin")]
struct Arguments {
    /// Name of a manager that does not run.
    #[arg(long, requires = "data", required_unless_present = "at")]
    name: Option<String>,
    /// Directory of its log.
    #[arg(long, requires = "name")]
    data: Option<PathBuf>,
    /// Address at which a running manager serves operators, such as 127.0.0.1:4700.
    #[arg(long, conflicts_with_all = ["name", "data"])]
    at: Option<SocketAddr>,
    /// Do not ask before something is changed.
    #[arg(long)]
    yes: bool,
    #[command(subcommand)]
    action: Action,
}

/// Carries out one command, and returns the exit code.
pub(crate) async fn run(arguments: Vec<String>, confirm: &mut dyn FnMut(&str) -> bool, out: &mut String) -> u8 {
    let Arguments { name, data, at, yes, action } = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            out.push_str(&error.to_string());
            return if error.use_stderr() { WRONG_USE } else { DONE };
        }
    };
    let mut agrees = || match action.risk() {
        Some(risk) => yes || confirm(&risk),
        None => true,
    };
    if let Some(address) = at {
        if !agrees() {
            return refused(out);
        }
        return match action.ask(address).await {
            Ok(Answer { code, text }) => {
                out.push_str(&text);
                code
            }
            Err(error) => {
                say(out, &format!("no manager answers at {address}: {error}"));
                NOT_OPENED
            }
        };
    }
    let (name, data) = (name.unwrap_or_default(), data.unwrap_or_default());
    if !data.is_dir() {
        say(out, &format!("there is no log in {}", data.display()));
        return NOT_OPENED;
    }
    // Without resources the manager asks nobody anything.
    let manager = match Manager::builder(&name, &data).open().await {
        Ok(manager) => manager,
        Err(error) => {
            say(out, &format!("the log cannot be opened: {error}"));
            return NOT_OPENED;
        }
    };
    let code = if agrees() {
        let Answer { code, text } = action.carry_out(&manager).await;
        out.push_str(&text);
        code
    } else {
        refused(out)
    };
    manager.close().await;
    code
}

fn refused(out: &mut String) -> u8 {
    say(out, "nothing was changed");
    REFUSED
}
