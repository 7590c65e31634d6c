//! The operator's tool, on a log whose manager does not run, and on a running manager.

#[path = "../../../examples/commit-admin/operator.rs"]
mod operator;
#[path = "../../../examples/commit-admin/run.rs"]
mod run;

use std::path::Path;

use quorate_runtime::Stopped;
use quorate_two_phase_commit::Knowledge;
use quorate_two_phase_commit::manager::{Manager, Outcome, TransactionName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::shipped::{Setting, begun};
use super::until;

async fn admin(directory: &Path, words: &[&str]) -> (u8, String) {
    admin_with(directory, words, true).await
}

async fn admin_with(directory: &Path, words: &[&str], says_yes: bool) -> (u8, String) {
    let directory = directory.to_str().expect("plain letters");
    let before = ["commit-admin", "--name", "shipped", "--data", directory];
    let arguments = before.iter().chain(words);
    let mut out = String::new();
    let code = run::run(arguments.map(ToString::to_string).collect(), &mut |_| says_yes, &mut out).await;
    (code, out)
}

/// A committed transaction that one resource has not committed.
async fn left_in_doubt(setting: &Setting) -> TransactionName {
    let manager = setting.open().await;
    setting.set(|state| &state.holds_commit, true);
    let transaction = begun(setting, &manager).await;
    let name = transaction.name();
    let waits = tokio::spawn(transaction.commit());
    until("it is decided", async || manager.outcome(name).await == Ok(Knowledge::Committed)).await;
    until("one resource has committed", async || {
        let status = manager.status().await.expect("it runs");
        status.in_doubt.contains_key(&name.number) && setting.plain.get().value("a").is_some()
    })
    .await;
    kill(manager).await;
    waits.abort();
    name
}

/// Stops the node without waiting for the resource that hangs.
async fn kill(manager: Manager) {
    tokio::time::timeout(std::time::Duration::ZERO, manager.close()).await.ok();
    drop(manager);
}

#[tokio::test]
async fn what_is_in_doubt_is_listed_shown_and_forgotten() {
    let setting = Setting::new();
    let name = left_in_doubt(&setting).await;
    let directory = setting.directory.path();
    let text = name.to_string();
    // The thread of the log ends on its own.
    until("the log is free", async || admin(directory, &["list"]).await.0 != 3).await;
    let listed = admin(directory, &["list"]).await;
    assert_eq!(listed.0, 1, "{}", listed.1);
    assert!(listed.1.contains(&format!("{text}: committed, and perhaps not yet in ")), "{}", listed.1);
    let (code, out) = admin(directory, &["show", &text]).await;
    assert!(code == 1 && out.contains("Committed") && out.contains("gate"), "{code} {out}");
    let (code, out) = admin_with(directory, &["forget", &text, "gate"], false).await;
    assert_eq!((code, out.as_str()), (4, "nothing was changed\n"));
    let (code, out) = admin(directory, &["forget", &text, "nobody"]).await;
    assert_eq!(code, 4, "it took no part: {out}");
    let (code, out) = admin(directory, &["resolve", &text, "abort"]).await;
    assert_eq!(code, 4, "it is decided: {out}");
    // Which of them have committed is not in the log.
    let (code, out) = admin(directory, &["forget", &text, "gate"]).await;
    assert!(code == 4 && out.contains("name them as well"), "{code} {out}");
    assert_eq!(admin(directory, &["list"]).await.0, 1);
    let (code, out) = admin(directory, &["forget", &text, "gate", "plain"]).await;
    assert_eq!(code, 0, "{out}");
    assert_eq!(admin(directory, &["list"]).await.0, 0);
    let (code, out) = admin(directory, &["show", &text]).await;
    assert!(code == 0 && out.contains("Committed"), "{code} {out}");
}

/// The last transactions of a manager wait for no later write to be known as ended.
#[tokio::test]
async fn nothing_is_in_doubt_after_a_close_in_order() {
    let setting = Setting::new();
    let manager = setting.open().await;
    let transaction = begun(&setting, &manager).await;
    let text = transaction.name().to_string();
    assert!(matches!(transaction.commit().await, Outcome::Committed));
    assert_eq!(manager.close().await, Stopped::InOrder);
    let (code, out) = admin(setting.directory.path(), &["list"]).await;
    assert!(code == 0 && out.contains("nothing is in doubt"), "{code} {out}");
    let (code, out) = admin(setting.directory.path(), &["show", &text]).await;
    assert!(code == 0 && out.contains("Committed"), "{code} {out}");
}

#[tokio::test]
async fn wrong_use_and_a_log_that_is_in_use_are_told_apart() {
    let setting = Setting::new();
    let manager = setting.open().await;
    let directory = setting.directory.path();
    assert_eq!(admin(directory, &["list"]).await.0, 3, "the manager runs");
    assert_eq!(admin(&directory.join("nothing"), &["list"]).await.0, 3);
    assert!(!directory.join("nothing").exists(), "no log is made");
    assert_eq!(admin(directory, &["show", "it"]).await.0, 2);
    assert_eq!(admin(directory, &["--help"]).await.0, 0);
    manager.close().await;
    assert_eq!(admin(directory, &["list"]).await.0, 0);
}

#[tokio::test]
async fn what_a_resource_has_lost_is_listed_until_it_is_forgotten() {
    let setting = Setting::new();
    let manager = setting.open().await;
    setting.set(|state| &state.loses, true);
    let transaction = begun(&setting, &manager).await;
    let text = transaction.name().to_string();
    assert!(matches!(transaction.commit().await, Outcome::Mixed { .. }));
    manager.close().await;
    let directory = setting.directory.path();
    for words in [&["list"][..], &["show", &text]] {
        let (code, out) = admin(directory, words).await;
        assert!(code == 1 && out.contains(&format!("{text}: committed, and lost in gate")), "{code} {out}");
    }
    let (code, out) = admin_with(directory, &["forget", &text], false).await;
    assert_eq!((code, out.as_str()), (4, "nothing was changed\n"));
    assert_eq!(admin(directory, &["forget", &text]).await.0, 0);
    let (_, out) = admin(directory, &["list"]).await;
    assert!(!out.contains("lost"), "{out}");
    assert_eq!(admin(directory, &["forget", &text]).await.0, 4, "there is nothing more to forget");
}

/// A running manager is asked at its port, and answers the same.
#[tokio::test]
async fn a_running_manager_is_asked_at_its_port() {
    let setting = Setting::new();
    let manager = setting.open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let serving = tokio::spawn(operator::serve(listener, manager.clone()));
    let at = async |words: &[&str], says_yes: bool| {
        let words = ["commit-admin", "--at", &address].iter().chain(words).map(ToString::to_string).collect();
        let mut out = String::new();
        (run::run(words, &mut |_| says_yes, &mut out).await, out)
    };
    let (code, out) = at(&["list"], false).await;
    assert!(code == 0 && out.contains("nothing is in doubt"), "{code} {out}");

    setting.set(|state| &state.holds_commit, true);
    let transaction = begun(&setting, &manager).await;
    let (name, text) = (transaction.name(), transaction.name().to_string());
    let waits = tokio::spawn(transaction.commit());
    until("the plain resource has committed", async || setting.plain.get().value("a").is_some()).await;
    let is_stuck = async || at(&["list"], false).await.1.contains("gate: commit of ");
    until("the other one is stuck", is_stuck).await;
    let (code, out) = at(&["show", &text], false).await;
    assert!(code == 1 && out.contains("Committed") && out.contains("gate, for "), "{code} {out}");
    assert_eq!(at(&["forget", &text, "gate"], false).await, (4, "nothing was changed\n".to_owned()));
    let (code, out) = at(&["resolve", &text, "abort"], true).await;
    assert_eq!(code, 4, "it is decided: {out}");
    let (code, out) = at(&["forget", &text, "gate"], true).await;
    assert!(code == 0 && out.contains("Committed"), "{code} {out}");
    assert!(matches!(waits.await.expect("no panic"), Outcome::Mixed { .. }));
    assert_eq!(manager.outcome(name).await, Ok(Knowledge::Committed));
    assert_eq!(at(&["list"], false).await.0, 0);
    serving.abort();
    let _ = serving.await;
    assert_eq!(at(&["list"], false).await.0, 3, "nobody answers");
}

/// What is no question is answered, and keeps nobody else from an answer; and no other machine is served.
#[tokio::test]
async fn a_port_for_operators_bears_what_is_no_question() {
    let setting = Setting::new();
    let manager = setting.open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serving = tokio::spawn(operator::serve(listener, manager.clone()));
    let _silent = TcpStream::connect(address).await.expect("it listens");
    for bytes in [&b"\n"[..], b"drop everything\n", b"show\tnothing\n", b"\xff\xfe\n", b"list"] {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(bytes).await.expect("it listens");
        stream.shutdown().await.expect("it listens");
        let mut said = String::new();
        stream.read_to_string(&mut said).await.expect("it answers");
        let expected = if bytes == b"list" { "0" } else { "2" };
        assert!(said.is_empty() == (bytes == b"\xff\xfe\n"), "{said}");
        assert!(said.is_empty() || said.starts_with(expected), "{said}");
    }
    assert!(!serving.is_finished());
    let everywhere = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
    assert!(operator::serve(everywhere, manager).await.is_err());
}
