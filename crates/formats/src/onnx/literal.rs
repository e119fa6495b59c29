//! A tensor whose numbers are known while a network is read: weights, shapes, axes.

use std::borrow::Cow;
use std::rc::Rc;

use crate::numbers::checked_elements;

/// What the element type of this number is called.
pub(in crate::onnx) fn element_name(code: i64) -> &'static str {
    const NAMES: [&str; 27] = [
        "undefined",
        "float32",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "float64",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
        "float8e4m3fn",
        "float8e4m3fnuz",
        "float8e5m2",
        "float8e5m2fnuz",
        "uint4",
        "int4",
        "float4e2m1",
        "float8e8m0",
        "uint2",
        "int2",
    ];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code)).copied().unwrap_or("unknown")
}

/// Element types of `TensorProto.DataType` that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::onnx) enum Kind {
    F32,
    U8,
    I8,
    U16,
    I16,
    I32,
    I64,
    Bool,
    F16,
    F64,
    U32,
    U64,
    Bf16,
    U4,
    I4,
}

impl Kind {
    /// The type of this number, or what it is called.
    pub(in crate::onnx) fn of(code: i64) -> Result<Kind, String> {
        Ok(match code {
            1 => Kind::F32,
            2 => Kind::U8,
            3 => Kind::I8,
            4 => Kind::U16,
            5 => Kind::I16,
            6 => Kind::I32,
            7 => Kind::I64,
            9 => Kind::Bool,
            10 => Kind::F16,
            11 => Kind::F64,
            12 => Kind::U32,
            13 => Kind::U64,
            16 => Kind::Bf16,
            21 => Kind::U4,
            22 => Kind::I4,
            _ => {
                let name = element_name(code);
                return Err(format!("the element type {name} ({code}) is not supported"));
            }
        })
    }

    pub(in crate::onnx) fn is_float(self) -> bool {
        matches!(self, Kind::F32 | Kind::F16 | Kind::F64 | Kind::Bf16)
    }

    /// The least and the largest number of an integer type.
    pub(in crate::onnx) fn range(self) -> Option<(i64, i64)> {
        Some(match self {
            Kind::Bool => (0, 1),
            Kind::U4 => (0, 15),
            Kind::I4 => (-8, 7),
            Kind::U8 => (0, 255),
            Kind::I8 => (-128, 127),
            Kind::U16 => (0, 65_535),
            Kind::I16 => (-32_768, 32_767),
            Kind::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            Kind::U32 => (0, i64::from(u32::MAX)),
            Kind::I64 | Kind::U64 => (i64::MIN, i64::MAX),
            _ => return None,
        })
    }

    /// Whether numbers of this type are kept as one byte each.
    pub(in crate::onnx) fn is_byte(self) -> bool {
        matches!(self, Kind::U8 | Kind::I8 | Kind::Bool | Kind::U4 | Kind::I4)
    }
}

/// How the numbers are kept.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::onnx) enum Numbers {
    Float(Vec<f32>),
    Whole(Vec<i64>),
    /// Types of one byte, signed ones as their two's complement.
    Bytes(Vec<u8>),
    /// One number everywhere.
    Same(f64),
}

/// A constant tensor. Its numbers are shared, so copies and other shapes of it cost nothing.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::onnx) struct Literal {
    pub kind: Kind,
    pub dims: Vec<usize>,
    pub numbers: Rc<Numbers>,
    /// The initialiser that it comes from.
    pub name: Option<String>,
    /// Whether it is one of the network's own weights: an initialiser, whole, at most rearranged.
    pub is_weight: bool,
}

impl Literal {
    pub(in crate::onnx) fn new(kind: Kind, dims: Vec<usize>, numbers: Numbers) -> Self {
        Literal { kind, dims, numbers: Rc::new(numbers), name: None, is_weight: false }
    }

    pub(in crate::onnx) fn wholes(dims: Vec<usize>, numbers: Vec<i64>) -> Self {
        Literal::new(Kind::I64, dims, Numbers::Whole(numbers))
    }

    /// A list of whole numbers.
    pub(in crate::onnx) fn list(numbers: Vec<i64>) -> Self {
        Literal::wholes(vec![numbers.len()], numbers)
    }

    pub(in crate::onnx) fn floats(dims: Vec<usize>, numbers: Vec<f32>) -> Self {
        Literal::new(Kind::F32, dims, Numbers::Float(numbers))
    }

    /// One number.
    pub(in crate::onnx) fn scalar(number: f32) -> Self {
        Literal::floats(vec![], vec![number])
    }

    /// How many numbers there are.
    pub(in crate::onnx) fn len(&self) -> usize {
        checked_elements(&self.dims).unwrap_or(usize::MAX)
    }

    pub(in crate::onnx) fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Number `i` in row-major order.
    pub(in crate::onnx) fn float_at(&self, i: usize) -> f32 {
        match &*self.numbers {
            Numbers::Float(numbers) => numbers[i],
            Numbers::Same(number) => *number as f32,
            _ => self.whole_at(i) as f32,
        }
    }

    /// Number `i`, cut to a whole one.
    pub(in crate::onnx) fn whole_at(&self, i: usize) -> i64 {
        match &*self.numbers {
            Numbers::Float(numbers) => numbers[i] as i64,
            Numbers::Whole(numbers) => numbers[i],
            Numbers::Bytes(numbers) if matches!(self.kind, Kind::I8 | Kind::I4) => {
                i64::from(numbers[i] as i8)
            }
            Numbers::Bytes(numbers) => i64::from(numbers[i]),
            Numbers::Same(number) => *number as i64,
        }
    }

    /// All numbers.
    pub(in crate::onnx) fn to_floats(&self) -> Cow<'_, [f32]> {
        match &*self.numbers {
            Numbers::Float(numbers) => Cow::Borrowed(numbers),
            _ => Cow::Owned((0..self.len()).map(|i| self.float_at(i)).collect()),
        }
    }

    /// All numbers, owned.
    pub(in crate::onnx) fn into_floats(self) -> Vec<f32> {
        match Rc::try_unwrap(self.numbers) {
            Ok(Numbers::Float(numbers)) => numbers,
            Ok(numbers) => Literal { numbers: Rc::new(numbers), ..self }.to_floats().into_owned(),
            Err(shared) => Literal { numbers: shared, ..self }.to_floats().into_owned(),
        }
    }

    /// All numbers, cut to whole ones.
    pub(in crate::onnx) fn to_wholes(&self) -> Vec<i64> {
        (0..self.len()).map(|i| self.whole_at(i)).collect()
    }

    /// The only number, if there is exactly one.
    pub(in crate::onnx) fn single(&self) -> Option<f32> {
        (self.len() == 1).then(|| self.float_at(0))
    }

    /// The number that all numbers are, if they are.
    pub(in crate::onnx) fn uniform(&self) -> Option<f32> {
        if let Numbers::Same(number) = *self.numbers {
            return Some(number as f32);
        }
        let first = (self.len() > 0).then(|| self.float_at(0))?;
        (1..self.len()).all(|i| self.float_at(i).to_bits() == first.to_bits()).then_some(first)
    }

    /// The same numbers under another shape of as many.
    pub(in crate::onnx) fn with_dims(&self, dims: Vec<usize>) -> Self {
        Literal { dims, ..self.clone() }
    }
}
