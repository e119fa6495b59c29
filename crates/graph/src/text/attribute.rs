//! How is each kind of attribute written and read?

use ocellus_tensor::{ConvGeometry, Padding, Rounding, Shape, Window};

use crate::ops::{LrnRegion, PadMode, Statistics};
use crate::{Distribution, Fan, Init};

/// Attributes as `key=value` pairs, in order.
pub(super) type Written = Vec<(&'static str, String)>;

/// The attributes of a line that are still to be read.
pub(super) struct Fields {
    /// What they belong to: an operation's name, or `param`.
    pub of: String,
    pairs: Vec<(String, String)>,
}

impl Fields {
    /// Splits `key=value key=value ...`.
    pub fn parse(of: &str, text: &str) -> Result<Fields, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for word in text.split_whitespace() {
            let (key, value) =
                word.split_once('=').ok_or_else(|| format!("expected key=value, found {word}"))?;
            if pairs.iter().any(|(known, _)| known == key) {
                return Err(format!("the attribute {key} stands twice"));
            }
            pairs.push((key.to_string(), value.to_string()));
        }
        Ok(Fields { of: of.to_string(), pairs })
    }

    /// Takes out the value of `key`.
    pub fn value(&mut self, key: &str) -> Result<String, String> {
        match self.pairs.iter().position(|(known, _)| known == key) {
            Some(index) => Ok(self.pairs.remove(index).1),
            None => Err(format!("{} needs the attribute {key}", self.of)),
        }
    }

    /// Whether `key` was given and nobody took it yet.
    pub fn has(&self, key: &str) -> bool {
        self.pairs.iter().any(|(known, _)| known == key)
    }

    /// Refuses attributes that nobody took.
    pub fn finish(self) -> Result<(), String> {
        match self.pairs.first() {
            Some((key, _)) => Err(format!("{} has no attribute named {key}", self.of)),
            None => Ok(()),
        }
    }
}

/// Something that stands among the attributes, under one key or as several of its own.
pub(super) trait Attribute: Sized {
    fn put(&self, key: &'static str, to: &mut Written);
    fn take(key: &str, from: &mut Fields) -> Result<Self, String>;
}

/// An attribute written as one word.
pub(super) trait Word: Sized {
    /// What is expected, for messages.
    const WHAT: &'static str;
    fn word(&self) -> String;
    fn read(word: &str) -> Option<Self>;
}

impl<T: Word> Attribute for T {
    fn put(&self, key: &'static str, to: &mut Written) {
        to.push((key, self.word()));
    }
    fn take(key: &str, from: &mut Fields) -> Result<Self, String> {
        let word = from.value(key)?;
        T::read(&word).ok_or_else(|| format!("{key}={word}: expected {}", T::WHAT))
    }
}

macro_rules! number {
    ($type:ty, $what:literal) => {
        impl Word for $type {
            const WHAT: &'static str = $what;
            fn word(&self) -> String {
                self.to_string()
            }
            fn read(word: &str) -> Option<Self> {
                word.parse().ok()
            }
        }
    };
}
number!(usize, "a whole number");
number!(u64, "a whole number");
number!(isize, "a whole number");
number!(bool, "true or false");

impl Word for f32 {
    const WHAT: &'static str = "a number";
    fn word(&self) -> String {
        // Both forms are the shortest that read back as the same number.
        let plain = self.abs() < 1e7 && self.abs() >= 1e-4 || *self == 0.0 || !self.is_finite();
        if plain { format!("{self}") } else { format!("{self:e}") }
    }
    fn read(word: &str) -> Option<Self> {
        word.parse().ok()
    }
}

/// Words joined by `separator`.
fn join<T: Word>(words: &[T], separator: &str) -> String {
    words.iter().map(Word::word).collect::<Vec<_>>().join(separator)
}

fn split<T: Word>(word: &str, separator: char) -> Option<Vec<T>> {
    word.split(separator).map(T::read).collect()
}

impl Word for [usize; 2] {
    const WHAT: &'static str = "two sizes such as 3x3";
    fn word(&self) -> String {
        join(self, "x")
    }
    fn read(word: &str) -> Option<Self> {
        split(word, 'x')?.try_into().ok()
    }
}

macro_rules! list {
    ($type:ty, $what:literal) => {
        impl Word for Vec<$type> {
            const WHAT: &'static str = $what;
            fn word(&self) -> String {
                format!("[{}]", join(self, ","))
            }
            fn read(word: &str) -> Option<Self> {
                let inside = word.strip_prefix('[')?.strip_suffix(']')?;
                if inside.is_empty() { Some(Vec::new()) } else { split(inside, ',') }
            }
        }
    };
}
list!(usize, "whole numbers such as [0,2,3]");
list!(isize, "whole numbers such as [0,-1]");

impl Word for Padding {
    const WHAT: &'static str = "top,left,bottom,right";
    fn word(&self) -> String {
        join(&[self.top, self.left, self.bottom, self.right], ",")
    }
    fn read(word: &str) -> Option<Self> {
        let [top, left, bottom, right] = split(word, ',')?.try_into().ok()?;
        Some(Padding { top, left, bottom, right })
    }
}

impl Word for Shape {
    const WHAT: &'static str = "a shape such as (1,3,8,8)";
    fn word(&self) -> String {
        format!("({})", join(self.dims(), ","))
    }
    fn read(word: &str) -> Option<Self> {
        let inside = word.strip_prefix('(')?.strip_suffix(')')?;
        if inside.is_empty() { Some(Shape::scalar()) } else { Some(Shape::new(split::<usize>(inside, ',')?)) }
    }
}

macro_rules! choice {
    ($type:ty, $what:literal, $($variant:path => $word:literal),+) => {
        impl Word for $type {
            const WHAT: &'static str = $what;
            fn word(&self) -> String {
                match self { $($variant => $word),+ }.to_string()
            }
            fn read(word: &str) -> Option<Self> {
                match word { $($word => Some($variant),)+ _ => None }
            }
        }
    };
}
choice!(Rounding, "floor or ceil", Rounding::Floor => "floor", Rounding::Ceil => "ceil");
choice!(Statistics, "running or batch", Statistics::Running => "running", Statistics::Batch => "batch");
choice!(LrnRegion, "across or within", LrnRegion::AcrossChannels => "across", LrnRegion::WithinChannel => "within");
choice!(Fan, "in, out or average", Fan::In => "in", Fan::Out => "out", Fan::Average => "average");
choice!(
    Distribution, "normal, truncated_normal or uniform",
    Distribution::Normal => "normal",
    Distribution::TruncatedNormal => "truncated_normal",
    Distribution::Uniform => "uniform"
);
choice!(
    crate::Role, "weight, statistic or state",
    crate::Role::Weight => "weight",
    crate::Role::Statistic => "statistic",
    crate::Role::State => "state"
);

impl Word for PadMode {
    const WHAT: &'static str = "constant:VALUE, reflect or replicate";
    fn word(&self) -> String {
        match self {
            PadMode::Constant(value) => format!("constant:{}", value.word()),
            PadMode::Reflect => "reflect".into(),
            PadMode::Replicate => "replicate".into(),
        }
    }
    fn read(word: &str) -> Option<Self> {
        match word {
            "reflect" => Some(PadMode::Reflect),
            "replicate" => Some(PadMode::Replicate),
            _ => f32::read(word.strip_prefix("constant:")?).map(PadMode::Constant),
        }
    }
}

impl Word for Init {
    const WHAT: &'static str = "an initialiser such as constant:0 or variance_scaling:1:in:normal";
    fn word(&self) -> String {
        match self {
            Init::Constant(value) => format!("constant:{}", value.word()),
            Init::Uniform { low, high } => format!("uniform:{}:{}", low.word(), high.word()),
            Init::Normal { mean, std } => format!("normal:{}:{}", mean.word(), std.word()),
            Init::SparseNormal { mean, std, count } => {
                format!("sparse_normal:{}:{}:{count}", mean.word(), std.word())
            }
            Init::TruncatedNormal { mean, std } => format!("truncated_normal:{}:{}", mean.word(), std.word()),
            Init::VarianceScaling { gain, fan, distribution } => {
                format!("variance_scaling:{}:{}:{}", gain.word(), fan.word(), distribution.word())
            }
            Init::Orthogonal { gain } => format!("orthogonal:{}", gain.word()),
            Init::Bilinear => "bilinear".into(),
            Init::PositiveUnitBall => "positive_unit_ball".into(),
        }
    }
    fn read(word: &str) -> Option<Self> {
        let words: Vec<&str> = word.split(':').collect();
        match words[..] {
            ["constant", value] => Some(Init::Constant(f32::read(value)?)),
            ["uniform", low, high] => Some(Init::Uniform { low: f32::read(low)?, high: f32::read(high)? }),
            ["normal", mean, std] => Some(Init::Normal { mean: f32::read(mean)?, std: f32::read(std)? }),
            ["sparse_normal", mean, std, count] => {
                let (mean, std) = (f32::read(mean)?, f32::read(std)?);
                Some(Init::SparseNormal { mean, std, count: count.parse().ok()? })
            }
            ["truncated_normal", mean, std] => {
                Some(Init::TruncatedNormal { mean: f32::read(mean)?, std: f32::read(std)? })
            }
            ["variance_scaling", gain, fan, distribution] => {
                let (gain, fan) = (f32::read(gain)?, Fan::read(fan)?);
                Some(Init::VarianceScaling { gain, fan, distribution: Distribution::read(distribution)? })
            }
            ["orthogonal", gain] => Some(Init::Orthogonal { gain: f32::read(gain)? }),
            ["bilinear"] => Some(Init::Bilinear),
            ["positive_unit_ball"] => Some(Init::PositiveUnitBall),
            _ => None,
        }
    }
}

/// A struct whose fields stand among the attributes, each under its own name.
macro_rules! fields {
    ($type:ident { $($field:ident),* }) => {
        impl $crate::text::attribute::Attribute for $type {
            fn put(&self, _key: &'static str, _to: &mut $crate::text::attribute::Written) {
                $($crate::text::attribute::Attribute::put(&self.$field, stringify!($field), _to);)*
            }
            fn take(_key: &str, _from: &mut $crate::text::attribute::Fields) -> Result<Self, String> {
                Ok($type { $($field: $crate::text::attribute::Attribute::take(stringify!($field), _from)?),* })
            }
        }
    };
}
pub(super) use fields;

fields!(Window { kernel, stride, padding, dilation });
fields!(ConvGeometry { batch, in_channels, out_channels, groups, input, output, window });
