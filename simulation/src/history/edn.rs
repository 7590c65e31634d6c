//! EDN, the notation of Clojure, as far as histories use it: every value becomes the [`Datum`] with the same meaning.
//!
//! Keywords, symbols, characters and ratios keep their notation and are not texts. The tag of a tagged value is
//! dropped.

use super::datum::Datum;

/// Reads forms one after another.
pub(super) struct Forms<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    /// The character that ends the list that was entered.
    end: u8,
}

impl<'a> Forms<'a> {
    /// Reads a text whose first line has this number.
    pub(super) fn new(text: &'a str, line: usize) -> Self {
        Self { text, at: 0, line, end: b']' }
    }

    /// The line number of the next form.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The next form; `None` at the end of the text.
    pub(super) fn next_form(&mut self) -> Result<Option<Datum>, String> {
        self.skip_blanks(0)?;
        if self.peek().is_none() { Ok(None) } else { self.form(0).map(Some) }
    }

    /// Enters the list or vector that begins here. Returns false if none does.
    pub(super) fn enter(&mut self) -> Result<bool, String> {
        self.skip_blanks(0)?;
        self.end = match self.peek() {
            Some(b'[') => b']',
            Some(b'(') => b')',
            _ => return Ok(false),
        };
        self.step();
        Ok(true)
    }

    /// The next form of the list that was entered. At the end of the list it returns `None` and leaves the list.
    pub(super) fn next_in_list(&mut self) -> Result<Option<(usize, Datum)>, String> {
        self.skip_blanks(0)?;
        match self.peek() {
            None => Err("a list has no end".to_owned()),
            Some(byte) if byte == self.end => {
                self.step();
                Ok(None)
            }
            Some(_) => Ok(Some((self.line, self.form(0)?))),
        }
    }

    fn form(&mut self, depth: usize) -> Result<Datum, String> {
        if depth > DEPTH_MAX {
            return Err(format!("a value is nested more than {DEPTH_MAX} deep"));
        }
        self.skip_blanks(depth)?;
        match self.peek() {
            Some(b'[') => self.list(b']', depth).map(Datum::List),
            Some(b'(') => self.list(b')', depth).map(Datum::List),
            Some(b'{') => self.list(b'}', depth).and_then(map),
            Some(b'#') => {
                self.step();
                match self.peek() {
                    Some(b'{') => self.list(b'}', depth).and_then(set),
                    // ##Inf, ##-Inf and ##NaN.
                    Some(b'#') => Ok(Datum::Symbol(format!("#{}", self.token()).into())),
                    // A tag, or a value that Clojure's reader would construct: the form after it is the value.
                    Some(_) => {
                        self.token();
                        self.form(depth + 1)
                    }
                    None => Err("a tag without a value".to_owned()),
                }
            }
            Some(b'"') => self.string(),
            Some(b'\\') => {
                let start = self.at;
                self.step();
                self.step_char();
                self.token();
                Ok(Datum::Symbol(self.text[start..self.at].into()))
            }
            Some(b']' | b')' | b'}') | None => Err("a value is missing".to_owned()),
            Some(_) => self.atom(),
        }
    }

    fn list(&mut self, end: u8, depth: usize) -> Result<Vec<Datum>, String> {
        self.step();
        let mut list = Vec::new();
        loop {
            self.skip_blanks(depth)?;
            match self.peek() {
                None => return Err("a list has no end".to_owned()),
                Some(byte) if byte == end => {
                    self.step();
                    return Ok(list);
                }
                Some(_) => list.push(self.form(depth + 1)?),
            }
        }
    }

    fn string(&mut self) -> Result<Datum, String> {
        self.step();
        let mut text = String::new();
        loop {
            let Some(character) = self.step_char() else { return Err("a text has no end".to_owned()) };
            match character {
                '"' => return Ok(Datum::Text(text.into())),
                '\\' => text.push(self.escaped()?),
                other => text.push(other),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        match self.step_char() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some('u') => {
                let digits: String = (0..4).filter_map(|_| self.step_char()).collect();
                let code = u32::from_str_radix(&digits, 16).map_err(|_| format!("\\u{digits} is no character"))?;
                Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            Some(other @ ('"' | '\\')) => Ok(other),
            other => Err(format!("{other:?} is escaped for no reason")),
        }
    }

    fn atom(&mut self) -> Result<Datum, String> {
        let token = self.token();
        Ok(match token {
            "" => return Err(format!("{:?} begins no value", self.step_char())),
            "nil" => Datum::Null,
            "true" => Datum::Boolean(true),
            "false" => Datum::Boolean(false),
            _ if !begins_number(token) || is_ratio(token) => Datum::Symbol(token.into()),
            _ => number(token).map(Datum::number).ok_or_else(|| format!("{token} is no number"))?,
        })
    }

    /// The text up to the next blank or bracket.
    fn token(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let is_end = |character: char| character.is_whitespace() || ",;\"()[]{}".contains(character);
        let token = &rest[..rest.find(is_end).unwrap_or(rest.len())];
        self.at += token.len();
        token
    }

    /// Skips blanks, commas, comments, and forms that are commented out.
    fn skip_blanks(&mut self, depth: usize) -> Result<(), String> {
        loop {
            match self.peek() {
                Some(b';') => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.step_char();
                    }
                }
                Some(b'#') if self.text[self.at..].starts_with("#_") => {
                    self.at += 2;
                    self.form(depth + 1)?;
                }
                Some(b',') => self.step(),
                Some(byte) if byte.is_ascii_whitespace() => self.step(),
                _ => return Ok(()),
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn step(&mut self) {
        self.step_char();
    }

    fn step_char(&mut self) -> Option<char> {
        let character = self.text[self.at..].chars().next()?;
        self.at += character.len_utf8();
        self.line += usize::from(character == '\n');
        Some(character)
    }
}

fn begins_number(token: &str) -> bool {
    token.strip_prefix(['+', '-']).unwrap_or(token).starts_with(|first: char| first.is_ascii_digit())
}

fn is_ratio(token: &str) -> bool {
    let is_whole = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = token.strip_prefix(['+', '-']).unwrap_or(token).split_once('/');
    parts.is_some_and(|(above, below)| is_whole(above) && is_whole(below))
}

/// The number in a token, without the letters for its type: `12`, `12N`, `-1.50M`, `1e3`.
fn number(token: &str) -> Option<&str> {
    let token = token.strip_suffix(['N', 'M']).unwrap_or(token);
    let token = token.strip_prefix('+').unwrap_or(token);
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let absolute = token.strip_prefix('-').unwrap_or(token);
    let (mantissa, exponent) = absolute.split_once(['e', 'E']).unwrap_or((absolute, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    // A zero before a whole number would make it octal.
    let is_octal = whole.len() > 1 && whole.starts_with('0');
    let has_all = !whole.is_empty() && !exponent.is_empty();
    (has_all && !is_octal && [whole, fraction, exponent].into_iter().all(is_digits)).then_some(token)
}

fn map(parts: Vec<Datum>) -> Result<Datum, String> {
    let mut parts = parts.into_iter();
    let mut pairs = Vec::with_capacity(parts.len() / 2);
    while let Some(name) = parts.next() {
        pairs.push((name, parts.next().ok_or("a map has a key without a value")?));
    }
    pairs.sort_unstable();
    match pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(format!("a map has the key {} twice", pair[0].0)),
        None => Ok(Datum::Map(pairs)),
    }
}

fn set(mut members: Vec<Datum>) -> Result<Datum, String> {
    members.sort_unstable();
    match members.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("a set has {} twice", pair[0])),
        None => Ok(Datum::Set(members)),
    }
}

const DEPTH_MAX: usize = 127;

#[cfg(test)]
mod tests {
    use super::Forms;

    fn json(text: &str) -> Result<String, String> {
        let mut forms = Forms::new(text, 1);
        let form = forms.next_form()?.map_or_else(String::new, |form| form.to_string());
        forms.next_form().map(|rest| rest.map_or(form, |rest| format!("more: {rest}")))
    }

    #[test]
    fn values_are_read() {
        for (text, expected) in [
            ("nil", "null"),
            ("[1 -2.50M 3N, +4 1/2 1e2]", "[1,-2.5,3,4,1/2,100]"),
            (r#"(:a ":a" :b/c sym true false)"#, r#"[:a,":a",:b/c,sym,true,false]"#),
            (r#"{:b 1, :a #{3 2}, 3 4, "3" 5}"#, r#"{3:4,"3":5,:a:#{2,3},:b:1}"#),
            ("[##Inf ##NaN -]", "[##Inf,##NaN,-]"),
            (r#""a\"\\\n\u0041é""#, r#""a\"\\\nAé""#),
            ("; a comment\n[1 ; more ]\n #_ [2 3] 4]", "[1,4]"),
            ("#jepsen.history.Op{:index 1}", "{:index:1}"),
            (r"[\a \newline]", r"[\a,\newline]"),
            ("", ""),
        ] {
            assert_eq!(json(text).as_deref(), Ok(expected), "{text}");
        }
        for text in
            ["[1", "{:a}", "\"a", "]", r#""\q""#, "#", "#_", "1.2.3", "017", "1-2", "{:a 1 :a 2}", "#{1 1.0}", "[1)"]
        {
            assert!(json(text).is_err(), "{text}");
        }
        assert!(json(&"[".repeat(100_000)).is_err());
        assert!(json(&"#_".repeat(100_000)).is_err());
    }

    #[test]
    fn lines_are_counted() {
        let mut forms = Forms::new("[1\n\n 2 \"a\nb\"\n{:a\n 1}]", 5);
        assert!(forms.enter().expect("a list"));
        let mut lines = Vec::new();
        while let Some((line, _)) = forms.next_in_list().expect("forms") {
            lines.push(line);
        }
        assert_eq!(lines, [5, 7, 7, 9]);
    }
}
