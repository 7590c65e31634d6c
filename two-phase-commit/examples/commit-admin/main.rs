//! Shows what a transaction manager that does not run has left in doubt, and ends what a resource never will.
//!
//! ```text
//! cargo run --example commit-admin -- --name bank --data data/bank list
//! ```
//!
//! Exit codes: 0 done, and nothing is in doubt; 1 something is in doubt; 2 wrong use; 3 the log cannot be opened, for
//! example because the manager runs; 4 refused.

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
