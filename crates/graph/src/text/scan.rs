//! Names and punctuation of one line.

/// Whether a name can stand without quotes.
pub(super) fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_bare_char)
}

fn is_bare_char(c: char) -> bool {
    c.is_alphanumeric() || "_.:/-+".contains(c)
}

/// A name, in quotes if it needs them.
pub(super) fn quoted(name: &str) -> String {
    if is_bare(name) {
        return name.to_string();
    }
    let mut text = String::from('"');
    for c in name.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// What is left of a line.
pub(super) struct Scanner<'t> {
    rest: &'t str,
}

impl<'t> Scanner<'t> {
    pub fn new(line: &'t str) -> Self {
        Scanner { rest: line.trim() }
    }

    /// All that is left.
    pub fn rest(&self) -> &'t str {
        self.rest
    }

    /// Takes `sign` if it comes next.
    pub fn skip(&mut self, sign: char) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    /// Takes `sign`, which must come next.
    pub fn expect(&mut self, sign: char) -> Result<(), String> {
        if self.skip(sign) { Ok(()) } else { Err(format!("expected {sign} before {}", self.found())) }
    }

    /// Takes a name, bare or in quotes.
    pub fn name(&mut self) -> Result<String, String> {
        if let Some(inside) = self.rest.strip_prefix('"') {
            return self.quoted_name(inside);
        }
        let end = self.rest.find(|c| !is_bare_char(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(format!("expected a name before {}", self.found()));
        }
        let name = self.rest[..end].to_string();
        self.rest = self.rest[end..].trim_start();
        Ok(name)
    }

    fn quoted_name(&mut self, inside: &'t str) -> Result<String, String> {
        let mut name = String::new();
        let mut chars = inside.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = inside[at + 1..].trim_start();
                    return Ok(name);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => name.push('\n'),
                    Some((_, 'r')) => name.push('\r'),
                    Some((_, c @ ('"' | '\\'))) => name.push(c),
                    _ => return Err("after \\ in a name comes \", \\, n or r".into()),
                },
                c => name.push(c),
            }
        }
        Err("a name in quotes does not end".into())
    }

    /// Takes a shape such as (1, 3, 8, 8).
    pub fn shape(&mut self) -> Result<Vec<usize>, String> {
        self.expect('(')?;
        let mut sizes = Vec::new();
        if self.skip(')') {
            return Ok(sizes);
        }
        loop {
            let size = self.name()?;
            sizes.push(size.parse().map_err(|_| format!("expected a size, found {size}"))?);
            if !self.skip(',') {
                self.expect(')')?;
                return Ok(sizes);
            }
        }
    }

    /// Refuses anything that is left.
    pub fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("expected the end before {}", self.found())) }
    }

    /// What comes next, for messages; no more than a few words of it.
    fn found(&self) -> String {
        match self.rest.char_indices().nth(24) {
            None if self.rest.is_empty() => "the end of the line".into(),
            None => format!("`{}`", self.rest),
            Some((end, _)) => format!("`{}...`", &self.rest[..end]),
        }
    }
}
