//! The program `simulate`, as a process.

use std::path::Path;
use std::process::Command;

/// The exit code and output of `simulate check`.
fn judge(file: &Path) -> (Option<i32>, String) {
    let judged = Command::new(env!("CARGO_BIN_EXE_simulate")).arg("check").arg(file).output().expect("it runs");
    let said = [judged.stdout, judged.stderr].concat();
    (judged.status.code(), String::from_utf8(said).expect("text"))
}

#[test]
fn a_history_is_judged_by_exit_code_and_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("history.jsonl");
    let written = r#"{"process":1,"type":"invoke","f":"write","key":"x","value":1,"time":1}
{"process":1,"type":"ok","f":"write","key":"x","value":1,"time":2}
{"process":2,"type":"invoke","f":"read","key":"x","value":null,"time":3}
"#;
    for (found, code, verdict) in [("1", 0, ": linearizable"), ("null", 1, "is not linearizable")] {
        let read = format!(r#"{{"process":2,"type":"ok","f":"read","key":"x","value":{found},"time":4}}"#);
        std::fs::write(&file, format!("{written}{read}")).expect("written");
        let (judged, said) = judge(&file);
        assert_eq!(judged, Some(code), "{said}");
        assert!(said.contains(verdict), "{said}");
    }
    let (unreadable, said) = judge(Path::new("/nowhere/to/be/found"));
    assert_eq!(unreadable, Some(2), "{said}");
}
