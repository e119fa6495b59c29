//! Protocol Buffers' text format, read into a tree that remembers lines.
//!
//! Source: the "Text Format Language Specification" of protobuf.dev. Fields are `name: value`, `name { ... }` or
//! `name: [a, b]`, messages may be bracketed by `< >`, strings next to each other are one string, `#` starts a
//! comment. A parser bound to a compiled schema would not tell later where a layer stood, which every error here does;
//! so the tree is free of types, and the readers of each message say which fields they know.

use std::borrow::Cow;

use super::message::{Fault, Field, Message, Value};

/// Larger texts are refused: the tree takes some fifteen times the text's size.
pub(in crate::caffe) const LARGEST_TEXT: usize = 4 << 20;

/// Deeper messages are refused; Caffe's own are seven deep.
const DEEPEST: usize = 64;

/// Reads a whole text.
pub(in crate::caffe) fn parse(text: &str) -> Result<Message<'_>, Fault> {
    if text.len() > LARGEST_TEXT {
        let what = format!("{} bytes are more than a network's description has ({LARGEST_TEXT})", text.len());
        return Err(Fault::new(1, what, "give the .prototxt, not the weights"));
    }
    let mut parser = Parser { text, at: 0, line: 1 };
    parser.message(None, 0)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl<'a> Parser<'a> {
    /// Fields up to `close`, or up to the end of the text.
    fn message(&mut self, close: Option<char>, depth: usize) -> Result<Message<'a>, Fault> {
        let mut message = Message { line: self.line, ..Message::default() };
        let start = self.at;
        if depth > DEEPEST {
            return Err(self.fault(format!("messages lie more than {DEEPEST} deep in each other")));
        }
        loop {
            self.skip_blanks();
            match (self.peek(), close) {
                (None, None) => {
                    message.body = &self.text[start..];
                    return Ok(message);
                }
                (None, Some(close)) => {
                    let what = format!("the text ends before the {close} of line {}", message.line);
                    return Err(self.fault(what));
                }
                (Some(c), Some(close)) if c == close => {
                    message.body = &self.text[start..self.at];
                    self.step();
                    return Ok(message);
                }
                (Some(',' | ';'), _) => self.step(),
                _ => self.field(&mut message, depth)?,
            }
        }
    }

    /// One field, which is several values if they stand in a list.
    fn field(&mut self, into: &mut Message<'a>, depth: usize) -> Result<(), Fault> {
        let line = self.line;
        let name = self.word();
        if name.is_empty() {
            let found = self.peek().unwrap_or(' ');
            return Err(self.fault(format!("a field's name was expected, found {found:?}")));
        }
        self.skip_blanks();
        let colon = self.peek() == Some(':');
        if colon {
            self.step();
            self.skip_blanks();
        }
        if self.peek() != Some('[') {
            let value = self.value(name, colon, depth)?;
            into.fields.push(Field { name, line, value });
            return Ok(());
        }
        self.step();
        loop {
            self.skip_blanks();
            match self.peek() {
                Some(']') => {
                    self.step();
                    return Ok(());
                }
                Some(',') => self.step(),
                _ => {
                    let line = self.line;
                    let value = self.value(name, true, depth)?;
                    into.fields.push(Field { name, line, value });
                }
            }
        }
    }

    fn value(&mut self, name: &str, colon: bool, depth: usize) -> Result<Value<'a>, Fault> {
        match self.peek() {
            Some('{') => {
                self.step();
                Ok(Value::Message(self.message(Some('}'), depth + 1)?))
            }
            Some('<') => {
                self.step();
                Ok(Value::Message(self.message(Some('>'), depth + 1)?))
            }
            Some('"' | '\'') if colon => self.strings().map(Value::Text),
            _ if !colon => Err(self.fault(format!("after {name} a colon or an opening brace was expected"))),
            _ => {
                let negative = self.peek() == Some('-');
                let start = self.at;
                if negative {
                    self.step();
                    self.skip_blanks();
                }
                let word = self.word();
                match (word.is_empty(), negative && self.at - start == word.len() + 1) {
                    (true, _) => Err(self.fault(format!("{name} has no value"))),
                    (false, true) => Ok(Value::Word(&self.text[start..self.at])),
                    (false, false) if negative => {
                        Err(self.fault(format!("{name}: a blank stands after the minus")))
                    }
                    (false, false) => Ok(Value::Word(word)),
                }
            }
        }
    }

    /// One string, written as one or more literals.
    fn strings(&mut self) -> Result<Cow<'a, str>, Fault> {
        let mut whole = self.literal()?;
        loop {
            self.skip_blanks();
            if !matches!(self.peek(), Some('"' | '\'')) {
                return Ok(whole);
            }
            let next = self.literal()?;
            whole.to_mut().push_str(&next);
        }
    }

    fn literal(&mut self) -> Result<Cow<'a, str>, Fault> {
        let quote = self.peek();
        self.step();
        let start = self.at;
        let mut bytes: Option<Vec<u8>> = None;
        loop {
            let before = self.at;
            match self.peek() {
                None | Some('\n') => return Err(self.fault("a string does not end on its line".into())),
                c if c == quote => {
                    self.step();
                    let raw = &self.text[start..before];
                    return match bytes {
                        None => Ok(Cow::Borrowed(raw)),
                        Some(bytes) => Ok(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())),
                    };
                }
                Some('\\') => {
                    self.step();
                    let escaped = self.escape()?;
                    let known = || self.text.as_bytes()[start..before].to_vec();
                    bytes.get_or_insert_with(known).push(escaped);
                }
                Some(c) => {
                    self.step();
                    if let Some(bytes) = &mut bytes {
                        bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
                    }
                }
            }
        }
    }

    /// The byte that stands for what follows a backslash.
    fn escape(&mut self) -> Result<u8, Fault> {
        let c = self.peek().ok_or_else(|| self.fault("a string does not end".into()))?;
        if c.is_digit(8) {
            let digits = self.digits(8, 3);
            return Ok(u32::from_str_radix(digits, 8).unwrap_or(0) as u8);
        }
        self.step();
        Ok(match c {
            'n' => b'\n',
            't' => b'\t',
            'r' => b'\r',
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'v' => 11,
            'x' | 'X' => u8::from_str_radix(self.digits(16, 2), 16)
                .map_err(|_| self.fault("a \\x in a string has no digits".into()))?,
            '\\' | '\'' | '"' | '?' => c as u8,
            _ => return Err(self.fault(format!("a string holds the unknown escape \\{c}"))),
        })
    }

    fn digits(&mut self, radix: u32, most: usize) -> &'a str {
        let start = self.at;
        while self.at - start < most && self.peek().is_some_and(|c| c.is_digit(radix)) {
            self.step();
        }
        &self.text[start..self.at]
    }

    /// Letters, digits and what stands in numbers.
    fn word(&mut self) -> &'a str {
        let start = self.at;
        let mut before = ' ';
        while let Some(c) = self.peek() {
            let exponent_sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E');
            let numeric = self.text[start..self.at].starts_with(|c: char| c.is_ascii_digit() || c == '.');
            if !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.') || exponent_sign && numeric) {
                break;
            }
            before = c;
            self.step();
        }
        &self.text[start..self.at]
    }

    fn skip_blanks(&mut self) {
        while let Some(c) = self.peek() {
            if c == '#' {
                let rest = &self.text[self.at..];
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if c.is_whitespace() || c == '\u{feff}' {
                self.step();
            } else {
                return;
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn step(&mut self) {
        if let Some(c) = self.peek() {
            self.at += c.len_utf8();
            self.line += u32::from(c == '\n');
        }
    }

    fn fault(&self, what: String) -> Fault {
        Fault::new(self.line, what, "mend that line; the text follows protobuf's text format")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_field_is_read_with_its_line() {
        let text = "a: 1 b: -2.5e-3f # comment\nc: \"x\" 'y\\n\\x41\\101' d < e: TRUE; > f: [1, 2] g {}\nh: { i: -1 }";
        let message = parse(text).unwrap();
        assert_eq!(message.f32("b", 0.0).unwrap(), -0.0025);
        assert_eq!(message.text("c").unwrap().unwrap(), "xy\nAA");
        assert_eq!(message.message("d").unwrap().unwrap().word("e").unwrap(), Some("TRUE"));
        assert_eq!(message.usizes("f").unwrap(), [1, 2]);
        assert_eq!(message.get("h").unwrap().line, 3);
        assert_eq!(message.get("f").unwrap().line, 2);
    }

    #[test]
    fn faults_tell_the_line() {
        for (text, line) in
            [("a: 1\nb {", 2), ("\n\na ?", 3), ("a: \"x\n\"", 1), ("a:", 1), ("a 1", 1), ("}", 1)]
        {
            assert_eq!(parse(text).unwrap_err().line, line, "{text}");
        }
        assert!(parse(&"a{".repeat(100_000)).is_err());
        assert!(parse(&"a:[".repeat(1000)).is_err());
        assert!(parse("a: [").is_err());
        assert!(parse("a: \"\\").is_err());
    }
}
