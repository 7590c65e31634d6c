//! Commands as plain text, as typed into a terminal.

/// A quote was opened and not closed, or closed in the middle of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unbalanced quotes in request")]
pub struct UnbalancedQuotes;

/// Splits a line into arguments as Redis does: at blanks, with `"..."` (and in it `\xhh`, `\n`, `\r`, `\t`, `\b`, `\a`,
/// and any other byte after a backslash as it is) and `'...'` (and in it `\'`). A zero byte ends the line.
///
/// ```
/// use quorate_kv::resp::split_inline;
///
/// let arguments = split_inline(br#"SET "a key" 'its value'"#).unwrap();
/// assert_eq!(arguments, [&b"SET"[..], b"a key", b"its value"]);
/// ```
///
/// # Errors
/// When quotes are unbalanced.
pub fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let end = line.iter().position(|byte| *byte == 0).unwrap_or(line.len());
    let mut arguments = Vec::new();
    let mut rest = skip_blanks(&line[..end]);
    while !rest.is_empty() {
        let (argument, after) = word(rest)?;
        arguments.push(argument);
        rest = skip_blanks(after);
    }
    Ok(arguments)
}

fn skip_blanks(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !is_blank(*byte));
    &line[start.unwrap_or(line.len())..]
}

/// Returns true for the blanks of C's `isspace`.
fn is_blank(byte: u8) -> bool {
    byte == 0x0b || byte.is_ascii_whitespace()
}

/// The first word of a line that does not begin with a blank, and what follows it.
fn word(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Ok((word, rest)),
            [quote @ (b'"' | b'\''), after @ ..] => {
                let after = quoted(after, &mut word, *quote)?;
                return Ok((word, after));
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

/// Adds the bytes up to the closing quote. A blank or the end must follow the quote.
fn quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>, quote: u8) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        let (byte, after) = match rest {
            [] => return Err(UnbalancedQuotes),
            [byte, after @ ..] if *byte == quote => {
                let ends = after.first().is_none_or(|byte| is_blank(*byte));
                return if ends { Ok(after) } else { Err(UnbalancedQuotes) };
            }
            [b'\\', b'\'', after @ ..] if quote == b'\'' => (b'\'', after),
            [b'\\', b'x', high, low, after @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), after)
            }
            [b'\\', escaped, after @ ..] if quote == b'"' => (unescape(*escaped), after),
            [byte, after @ ..] => (*byte, after),
        };
        word.push(byte);
        rest = after;
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
