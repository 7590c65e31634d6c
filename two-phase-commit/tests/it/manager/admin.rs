//! The operator's tool on a log whose manager does not run.

#[path = "../../../examples/commit-admin/run.rs"]
mod run;

use std::path::Path;

use quorate_two_phase_commit::Knowledge;
use quorate_two_phase_commit::manager::{Manager, Outcome, TransactionName};

use super::shipped::{Setting, begun};

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
    while manager.outcome(name).await != Ok(Knowledge::Committed) {
        tokio::task::yield_now().await;
    }
    while !manager.status().await.expect("it runs").in_doubt.contains_key(&name.number)
        || setting.plain.get().value("a").is_none()
    {
        tokio::task::yield_now().await;
    }
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
    let mut listed = admin(directory, &["list"]).await;
    while listed.0 == 3 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        listed = admin(directory, &["list"]).await;
    }
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
