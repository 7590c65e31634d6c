//! Patterns of `KEYS` and `CONFIG GET`.

/// Returns true if `text` matches: `*` stands for any bytes, `?` for one byte, `[a-c]` and `[^a-c]` for one of a set,
/// and a backslash for the next byte itself.
///
/// Takes time proportional to the product of both lengths at worst, for any pattern.
///
/// ```
/// use quorate_kv::command::matches;
///
/// assert!(matches(b"user:[0-9]*", b"user:17"));
/// assert!(!matches(b"user:?", b"user:17"));
/// ```
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // The place to go on if the text fails to match after the latest `*`, which then takes a byte more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = pattern {
            retry = Some((after, text));
            pattern = after;
            continue;
        }
        match (one(pattern, text.first().copied()), text) {
            (Some(after), [_, rest @ ..]) => (pattern, text) = (after, rest),
            (_, []) if pattern.is_empty() => return true,
            _ => match retry {
                Some((after, [_, rest @ ..])) => {
                    retry = Some((after, rest));
                    (pattern, text) = (after, rest);
                }
                _ => return false,
            },
        }
    }
}

/// The rest of a pattern after its first element, which is no `*`, has matched `byte`.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<&[u8]> {
    let byte = byte?;
    match pattern {
        [] => None,
        [b'?', after @ ..] => Some(after),
        [b'[', after @ ..] => set(after, byte),
        [b'\\', literal, after @ ..] | [literal, after @ ..] => (*literal == byte).then_some(after),
    }
}

/// The rest of a pattern after a set that contains `byte`. A set that is not closed ends with the pattern.
fn set(mut pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let negated = pattern.first() == Some(&b'^');
    if negated {
        pattern = &pattern[1..];
    }
    let mut found = false;
    loop {
        match pattern {
            [] | [b']', ..] => break,
            [b'\\', literal, after @ ..] => {
                found |= *literal == byte;
                pattern = after;
            }
            [from, b'-', to, after @ ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                pattern = after;
            }
            [literal, after @ ..] => {
                found |= *literal == byte;
                pattern = after;
            }
        }
    }
    let after = pattern.get(1..).unwrap_or_default();
    (found != negated).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_redis() {
        let cases: [(&str, &str, bool); 22] = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbcd", false),
            ("a*b*c", "a-b-b-c", true),
            ("**a", "bca", true),
            ("?", "", false),
            ("??", "ab", true),
            ("[abc]", "b", true),
            ("[^abc]", "b", false),
            ("[^abc]", "d", true),
            ("[a-c]x", "bx", true),
            ("[c-a]x", "bx", true),
            ("[a\\]]", "]", true),
            ("[a", "a", true),
            ("[]", "a", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("*[ab]", "xxa", true),
            ("a?*", "a", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        assert!(!matches(&b"a*".repeat(200), &b"a".repeat(199)));
    }
}
