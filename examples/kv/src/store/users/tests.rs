use super::*;

fn user() -> User {
    let keys = vec![
        KeyPattern { pattern: Box::from(&b"a*"[..]), reads: true, writes: false },
        KeyPattern { pattern: Box::from(&b"b"[..]), reads: true, writes: true },
    ];
    let mut grant = Grant { keys, channels: vec![Box::from(&b"c"[..])], ..Grant::default() };
    grant.add_rule(true, "@read");
    grant.add_rule(false, "config|get");
    User { is_on: true, passwords: vec![[7; 32]], sanitizes: Some(true), grants: vec![grant], ..User::default() }
}

#[test]
fn users_have_the_bytes_of_the_first_release() {
    let mut users = Users::default();
    assert_eq!(users.digest(), 0);
    users.put(b"u", user()).unwrap();
    let mut bytes = Vec::new();
    users.write(&mut bytes).unwrap();
    let mut golden = b"\x01\0\0\0\x01\0\0\0u\x01\0\x02\x01\0\0\0".to_vec();
    golden.extend_from_slice(&[7; 32]);
    golden.extend_from_slice(b"\x01\0\0\0\x02\0\0\0\x01\x02\0\0\0a*\x03\x01\0\0\0b\x01\0\0\0\x01\0\0\0c\0");
    golden.extend_from_slice(b"\x02\0\0\0\x01\x05\0\0\0@read\0\x0a\0\0\0config|get");
    assert_eq!(bytes, golden);
    let read = Users::read(&mut &bytes[..]).unwrap();
    assert_eq!(read.get(b"u").map(|user| &**user), Some(&user()));
    assert_eq!((read.bytes, read.digest()), (users.bytes, users.digest()));
    for length in 0..bytes.len() {
        assert!(Users::read(&mut &bytes[..length]).is_err());
    }
}

#[test]
fn grants_travel_alone_and_a_part_of_them_is_refused() {
    let bytes = user().encoded_grants();
    assert_eq!(User::grants_from(&bytes).unwrap().grants, user().grants);
    for length in 0..bytes.len() {
        assert!(User::grants_from(&bytes[..length]).is_err());
    }
    assert!(User::grants_from(&[bytes, vec![0]].concat()).is_err());
    assert!(Users::default().get(DEFAULT_USER).unwrap().encoded_grants().is_empty());
}

#[test]
fn users_are_bounded_and_counted() {
    let mut users = Users::default();
    let large = |length| User { passwords: vec![[0; 32]; length], ..user() };
    assert_eq!(users.put(b"u", large(100_000)), Err(TooManyUsers));
    users.put(b"u", large(1_000)).unwrap();
    users.put(b"u", user()).unwrap();
    assert!(users.remove(b"u") && !users.remove(b"u"));
    assert_eq!(users.bytes, 0);
}

#[test]
fn the_first_password_counts_until_the_default_user_is_changed() {
    let mut users = Users::default();
    let admits = |users: &Users, password| users.get(DEFAULT_USER).unwrap().admits(&password);
    assert!(admits(&users, [1; 32]));
    let closed = users.with_first_password(Some(&[2; 32]));
    assert!(!admits(&closed, [1; 32]) && admits(&closed, [2; 32]));
    assert!(!closed.get(DEFAULT_USER).unwrap().takes_any_password);
    users.put(DEFAULT_USER, user()).unwrap();
    let changed = users.with_first_password(Some(&[2; 32]));
    assert!(!admits(&changed, [2; 32]) && admits(&changed, [7; 32]));
    let names: Vec<_> = changed.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [DEFAULT_USER]);
}

#[test]
fn a_rule_takes_the_place_of_those_it_makes_void() {
    let words = |grant: &Grant| {
        let word = |rule: &CommandRule| format!("{}{}", if rule.allows { '+' } else { '-' }, rule.name);
        grant.rules.iter().map(word).collect::<Vec<_>>().join(" ")
    };
    let mut grant = Grant::default();
    for (allows, name, expected) in [
        (true, "get", "+get"),
        (false, "get", ""),
        (false, "set", ""),
        (true, "config|get", "+config|get"),
        (true, "config", "+config"),
        (false, "config|set", "+config -config|set"),
        (true, "@read", "+config -config|set +@read"),
        (false, "get", "+config -config|set +@read -get"),
        (true, "get", "+config -config|set +@read +get"),
    ] {
        grant.add_rule(allows, name);
        assert_eq!(words(&grant), expected);
    }
}
