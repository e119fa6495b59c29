//! A node's attributes.

use super::encode::Message;

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute<'a> {
    Whole(i64),
    Wholes(Vec<i64>),
    Float(f32),
    Text(&'a str),
}

impl From<usize> for Attribute<'_> {
    fn from(number: usize) -> Self {
        Attribute::Whole(number as i64)
    }
}

impl From<bool> for Attribute<'_> {
    fn from(flag: bool) -> Self {
        Attribute::Whole(i64::from(flag))
    }
}

impl From<f32> for Attribute<'_> {
    fn from(number: f32) -> Self {
        Attribute::Float(number)
    }
}

impl From<Vec<i64>> for Attribute<'_> {
    fn from(numbers: Vec<i64>) -> Self {
        Attribute::Wholes(numbers)
    }
}

impl<'a> From<&'a str> for Attribute<'a> {
    fn from(text: &'a str) -> Self {
        Attribute::Text(text)
    }
}

/// `AttributeProto`.
pub(super) fn encoded(name: &str, value: &Attribute) -> Message {
    let message = Message::new().text(1, name);
    match value {
        Attribute::Float(number) => message.float(2, *number).whole(20, 1),
        Attribute::Whole(number) => message.whole(3, *number).whole(20, 2),
        Attribute::Text(text) => message.text(4, text).whole(20, 3),
        // In this list alone numbers stand one by one, not packed.
        Attribute::Wholes(numbers) => {
            let message = numbers.iter().fold(message, |message, &number| message.whole(8, number));
            message.whole(20, 7)
        }
    }
}
