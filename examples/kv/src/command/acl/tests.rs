use super::*;
use crate::command::apply;
use crate::entry::{EntryWriter, encode_arguments};
use crate::resp::Version;
use crate::store::Store;

fn words(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(str::as_bytes).collect()
}

fn user(line: &str) -> User {
    rules::change(&User::new(), &words(line)).unwrap()
}

fn may(user: &User, line: &str) -> bool {
    let arguments = words(line);
    check(user, Spec::find(arguments[0]).unwrap(), &arguments).is_ok()
}

#[test]
fn every_grant_is_looked_at_and_the_nearest_refusal_is_told() {
    let user = user("~a +get (~b* +set) (&c +publish)");
    assert!(may(&user, "get a") && may(&user, "set b1 v") && may(&user, "publish c m"));
    let denied = |line: &str| {
        let arguments = words(line);
        check(&user, Spec::find(arguments[0]).unwrap(), &arguments).unwrap_err()
    };
    assert_eq!(denied("del a"), Denied::Command("del".to_owned()));
    assert_eq!(denied("set a v"), Denied::Key(b"a".to_vec()));
    assert_eq!(denied("publish d m"), Denied::Channel(b"d".to_vec()));
}

#[test]
fn a_command_whose_keys_cannot_be_told_is_for_those_who_may_have_all() {
    assert!(!may(&user("~a +@all"), "eval script 3 a"));
    assert!(may(&user("~* +@all"), "eval script 3 a"));
}

#[test]
fn the_last_rule_about_a_command_decides() {
    let user = user("~* +@all -@dangerous -config|get +config|get -client|kill +flushall");
    assert!(may(&user, "config get x") && !may(&user, "config set x y"));
    assert!(may(&user, "client setname x") && !may(&user, "client kill x") && !may(&user, "client list"));
    assert!(may(&user, "flushall") && !may(&user, "flushdb"));
}

#[test]
fn a_rule_may_name_what_redis_has_and_this_has_not() {
    assert!(rules::change(&User::new(), &words("+@all -debug -shutdown +replicaof -client|pause")).is_ok());
}

/// Texts of a change are refused or taken as a whole, whatever they are.
#[test]
fn wrong_words_change_nothing() {
    let mut store = Store::new();
    let before = store.digest();
    for line in ["acl setuser u +get -nosuch", "acl setuser u (+get", "acl deluser x default", "acl setuser u #12"] {
        let mut entry = EntryWriter::new(Version::Resp2, 0, 0, 0);
        entry.command(&words(line));
        assert!(apply(&mut store, 0, &entry.finish()).unwrap().starts_with(b"-ERR"), "{line}");
        assert_eq!(store.digest(), before);
    }
}

#[test]
fn scripts_of_a_transaction_do_what_its_user_may() {
    let mut store = Store::new();
    let mut entry = EntryWriter::for_grants(Version::Resp2, 0, 0, &user("~a +@all").encoded_grants(), 0);
    let script = |text: &str| encode_arguments(&[b"eval", text.as_bytes(), b"0"]);
    entry.transaction(&[], &[script("return redis.call('set','a','1')"), script("return redis.call('set','b','1')")]);
    let replies = apply(&mut store, 0, &entry.finish()).unwrap();
    let replies = String::from_utf8(replies.to_vec()).unwrap();
    assert!(replies.starts_with("*2\r\n+OK\r\n-ERR The user executing the script can't access"), "{replies}");
    assert!(store.get(0, b"a").is_some() && store.get(0, b"b").is_none());
}

#[test]
fn passwords_are_hidden_and_the_first_one_is_kept() {
    let stored = Users::default();
    let hash = hash_password(b"first");
    let known = stored.with_first_password(Some(&hash));
    let rewritten = rewrite(&words("acl setuser default -@dangerous"), &known, &stored);
    let expected = format!("#{}", rules::hex(&hash));
    assert_eq!(rewritten[3..], [expected.clone().into_bytes(), b"-@dangerous".to_vec()]);
    let rewritten = rewrite(&words("acl setuser u >first <first"), &known, &stored);
    assert_eq!(rewritten[3..], [expected.into_bytes(), format!("!{}", rules::hex(&hash)).into_bytes()]);
}

#[test]
fn generated_passwords_differ_and_have_the_wanted_length() {
    let text = |bits| match generate_password(bits) {
        Reply::Bulk(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!((text(256).len(), text(5).len()), (64, 2));
    assert_ne!(text(256), text(256));
}

#[test]
fn users_survive_a_snapshot() {
    let mut store = Store::new();
    let mut entry = EntryWriter::new(Version::Resp2, 0, 0, 0);
    entry.command(&words("acl setuser u on ~a %R~b &c +get (+set ~d)"));
    assert_eq!(&apply(&mut store, 0, &entry.finish()).unwrap()[..], b"+OK\r\n");
    let mut bytes = Vec::new();
    store.snapshot().write(&mut bytes).unwrap();
    let restored = Store::restore(&mut &bytes[..]).unwrap();
    assert_eq!(restored.users().get(b"u"), store.users().get(b"u"));
}
