//! The tree that a description is read into, and typed access to its fields.

use std::borrow::Cow;
use std::str::FromStr;

use crate::FormatError;

/// What is wrong with a description, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::caffe) struct Fault {
    /// Line of the file, from 1.
    pub line: u32,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub next: String,
}

impl Fault {
    pub(in crate::caffe) fn new(line: u32, what: impl Into<String>, next: impl Into<String>) -> Self {
        Fault { line, what: what.into(), next: next.into() }
    }

    /// The fault as an error about `file`.
    pub(in crate::caffe) fn of(self, file: &str) -> FormatError {
        FormatError::malformed(file, format!("line {}: {}", self.line, self.what), self.next)
    }
}

/// Named values in the order of the file; repeated fields are several of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::caffe) struct Message<'a> {
    /// Where it begins.
    pub line: u32,
    /// Its fields.
    pub fields: Vec<Field<'a>>,
    /// Itself as it stands in the file, without its braces; empty for one that was put together here.
    pub body: &'a str,
}

/// One named value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::caffe) struct Field<'a> {
    pub name: &'a str,
    pub line: u32,
    pub value: Value<'a>,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::caffe) enum Value<'a> {
    /// A quoted string.
    Text(Cow<'a, str>),
    /// A number or an enumerator, as it stands there.
    Word(&'a str),
    /// Further fields.
    Message(Message<'a>),
}

impl<'a> Field<'a> {
    pub(in crate::caffe) fn fault(&self, what: String) -> Fault {
        Fault::new(self.line, what, "mend that line")
    }

    fn as_word(&self) -> Result<&'a str, Fault> {
        match self.value {
            Value::Word(word) => Ok(word),
            _ => Err(self.fault(format!("{} must be a number or a name, without quotes", self.name))),
        }
    }

    pub(in crate::caffe) fn as_text(&self) -> Result<&str, Fault> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.fault(format!("{} must be a string in quotes", self.name))),
        }
    }

    pub(in crate::caffe) fn as_message(&self) -> Result<&Message<'a>, Fault> {
        match &self.value {
            Value::Message(message) => Ok(message),
            _ => Err(self.fault(format!("{} must be followed by fields in braces", self.name))),
        }
    }

    pub(in crate::caffe) fn as_f32(&self) -> Result<f32, Fault> {
        let word = self.as_word()?;
        let number = word.strip_suffix(['f', 'F']).filter(|number| !number.ends_with(['n', 'N', 'i', 'I']));
        f32::from_str(number.unwrap_or(word))
            .map_err(|_| self.fault(format!("{} must be a number, got {word}", self.name)))
    }

    pub(in crate::caffe) fn as_i64(&self) -> Result<i64, Fault> {
        let word = self.as_word()?;
        let (sign, digits) = word.strip_prefix('-').map_or((1, word), |digits| (-1, digits));
        let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
        let number = match hex {
            Some(hex) => i64::from_str_radix(hex, 16),
            None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(digits, 8),
            None => digits.parse(),
        };
        number
            .map(|number| sign * number)
            .map_err(|_| self.fault(format!("{} must be a whole number, got {word}", self.name)))
    }

    pub(in crate::caffe) fn as_usize(&self) -> Result<usize, Fault> {
        let number = self.as_i64()?;
        // The largest size that the graph's arithmetic is made for.
        usize::try_from(number).ok().filter(|&number| number <= i32::MAX as usize).ok_or_else(|| {
            self.fault(format!("{} must be a whole number from 0 to {}, got {number}", self.name, i32::MAX))
        })
    }

    /// An enumerator, by name or by number: its position in `names`.
    pub(in crate::caffe) fn as_choice(&self, names: &[&str]) -> Result<usize, Fault> {
        let word = self.as_word()?;
        let by_number = || word.parse::<usize>().ok().filter(|&number| number < names.len());
        names.iter().position(|known| *known == word).or_else(by_number).ok_or_else(|| {
            self.fault(format!("{} must be one of {}, got {word}", self.name, names.join(", ")))
        })
    }

    fn as_bool(&self) -> Result<bool, Fault> {
        match self.as_word()? {
            "true" | "True" | "t" | "1" => Ok(true),
            "false" | "False" | "f" | "0" => Ok(false),
            word => Err(self.fault(format!("{} must be true or false, got {word}", self.name))),
        }
    }
}

impl<'a> Message<'a> {
    /// The field of this name; the last one if there are several.
    pub(in crate::caffe) fn get(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().rev().find(|field| field.name == name)
    }

    /// All fields of this name.
    pub(in crate::caffe) fn all(&self, name: &str) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter().filter(move |field| field.name == name)
    }

    /// Refuses fields that are not among `known`: they would change what is computed without anyone noticing.
    pub(in crate::caffe) fn only(&self, what: &str, known: &[&str]) -> Result<(), Fault> {
        match self.fields.iter().find(|field| !known.contains(&field.name)) {
            None => Ok(()),
            Some(field) => {
                let next = format!("known are {}", known.join(", "));
                Err(Fault::new(field.line, format!("{what} has the unknown field {}", field.name), next))
            }
        }
    }

    pub(in crate::caffe) fn message(&self, name: &str) -> Result<Option<&Message<'a>>, Fault> {
        self.get(name).map(Field::as_message).transpose()
    }

    pub(in crate::caffe) fn text(&self, name: &str) -> Result<Option<&str>, Fault> {
        self.get(name).map(Field::as_text).transpose()
    }

    pub(in crate::caffe) fn texts(&self, name: &str) -> Result<Vec<String>, Fault> {
        self.all(name).map(|field| field.as_text().map(str::to_string)).collect()
    }

    pub(in crate::caffe) fn word(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        self.get(name).map(Field::as_word).transpose()
    }

    pub(in crate::caffe) fn f32(&self, name: &str, default: f32) -> Result<f32, Fault> {
        self.get(name).map_or(Ok(default), Field::as_f32)
    }

    pub(in crate::caffe) fn f32s(&self, name: &str) -> Result<Vec<f32>, Fault> {
        self.all(name).map(Field::as_f32).collect()
    }

    pub(in crate::caffe) fn usize(&self, name: &str, default: usize) -> Result<usize, Fault> {
        self.get(name).map_or(Ok(default), Field::as_usize)
    }

    pub(in crate::caffe) fn usizes(&self, name: &str) -> Result<Vec<usize>, Fault> {
        self.all(name).map(Field::as_usize).collect()
    }

    pub(in crate::caffe) fn i64(&self, name: &str, default: i64) -> Result<i64, Fault> {
        self.get(name).map_or(Ok(default), Field::as_i64)
    }

    pub(in crate::caffe) fn bool(&self, name: &str, default: bool) -> Result<bool, Fault> {
        self.get(name).map_or(Ok(default), Field::as_bool)
    }

    pub(in crate::caffe) fn bools(&self, name: &str) -> Result<Vec<bool>, Fault> {
        self.all(name).map(Field::as_bool).collect()
    }

    /// An enumerator, by name or by number: its position in `names`; 0 if the field is absent.
    pub(in crate::caffe) fn choice(&self, name: &str, names: &[&str]) -> Result<usize, Fault> {
        self.get(name).map_or(Ok(0), |field| field.as_choice(names))
    }
}
