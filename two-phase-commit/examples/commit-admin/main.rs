//! Shows what a transaction manager has left in doubt, and ends what a resource never will.
//!
//! ```text
//! cargo run --example commit-admin -- --name bank --data data/bank list    # its log, if it does not run
//! cargo run --example commit-admin -- --at 127.0.0.1:4700 list             # while it runs
//! ```
//!
//! Exit codes: 0 done, and nothing is in doubt; 1 something is in doubt; 2 wrong use; 3 the log cannot be opened, for
//! example because the manager runs, or nobody answers at the port; 4 refused.

mod operator;
mod run;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut out = String::new();
    let code = run::run(std::env::args().collect(), &mut confirm, &mut out).await;
    print!("{out}");
    ExitCode::from(code)
}

fn confirm(question: &str) -> bool {
    print!("{question}\nType yes to go on: ");
    let mut answer = String::new();
    io::stdout().flush().is_ok() && io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == "yes"
}
