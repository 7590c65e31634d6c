//! Finds the errors among replies.

/// The errors among encoded replies, each with its place. Replies within lists are not looked at.
///
/// ```
/// use quorate_kv::resp::errors_among;
///
/// let errors: Vec<_> = errors_among(b"+OK\r\n*1\r\n-ERR a\r\n-ERR b\r\n").collect();
/// assert_eq!(errors, [(2, &b"ERR b"[..])]);
/// ```
pub fn errors_among(replies: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = replies;
    let replies = std::iter::from_fn(move || {
        let (first, behind) = take_reply(rest)?;
        rest = behind;
        Some(first)
    });
    replies.enumerate().filter_map(|(place, line)| Some((place, line.strip_prefix(b"-")?)))
}

/// The first line of the first reply, and what follows that reply.
fn take_reply(replies: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, mut rest) = take_line(replies)?;
    let mut inner = elements(line);
    rest = rest.get(text_bytes(line)..)?;
    while inner > 0 {
        let (line, behind) = take_line(rest)?;
        rest = behind.get(text_bytes(line)..)?;
        inner = inner - 1 + elements(line);
    }
    Some((line, rest))
}

fn take_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\r')?;
    Some((&bytes[..end], bytes.get(end + 2..)?))
}

/// Number of replies that are the elements of this one.
fn elements(line: &[u8]) -> usize {
    match line.first() {
        Some(b'*' | b'~' | b'>') => number(line),
        Some(b'%') => 2 * number(line),
        _ => 0,
    }
}

/// Bytes of the text behind a line that tells its length, with their end.
fn text_bytes(line: &[u8]) -> usize {
    match line {
        [b'$', b'-', ..] => 0,
        [b'$' | b'=', ..] => number(line) + 2,
        _ => 0,
    }
}

fn number(line: &[u8]) -> usize {
    let digits = line[1..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_usize, |number, digit| number.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_behind_replies_of_all_shapes() {
        let before = [
            "+OK\r\n",
            ":1\r\n",
            "$3\r\n-a\r\r\n",
            "$-1\r\n",
            "*-1\r\n",
            "_\r\n",
            ",1.5\r\n",
            "*0\r\n",
            "*2\r\n*1\r\n-ERR in\r\n$1\r\na\r\n",
            "%1\r\n+a\r\n~1\r\n:1\r\n",
            "=8\r\ntxt:-a\r\n\r\n",
            ">1\r\n+x\r\n",
            "#t\r\n",
        ];
        for (count, _) in before.iter().enumerate() {
            let replies = before[..=count].concat() + "-WRONGTYPE x\r\n:2\r\n-ERR\r\n";
            let errors: Vec<_> = errors_among(replies.as_bytes()).collect();
            assert_eq!(errors, [(count + 1, &b"WRONGTYPE x"[..]), (count + 3, b"ERR")], "{replies:?}");
        }
        assert_eq!(errors_among(b"").count(), 0);
        assert_eq!(errors_among(b"$100\r\nshort").count(), 0);
    }
}
