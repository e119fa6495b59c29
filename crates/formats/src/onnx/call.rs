//! One node as its operation's function sees it: its attributes and inputs, checked as they are asked for.

use ocellus_graph::ValueId;

use super::fault::Fault;
use super::literal::{Kind, Literal};
use super::proto::{AttributeValue, NodeProto};

/// No list of axes, sizes or parts is longer.
const LONGEST_LIST: usize = 1 << 16;

/// What a tensor's name stands for.
#[derive(Clone, Debug)]
pub(in crate::onnx) enum Item {
    /// Computed when the network runs.
    Value(ValueId, Kind),
    /// Known now.
    Constant(Literal),
}

impl Item {
    pub(in crate::onnx) fn kind(&self) -> Kind {
        match self {
            Item::Value(_, kind) => *kind,
            Item::Constant(literal) => literal.kind,
        }
    }
}

/// A node, the version of its operator set, and what its inputs are.
pub(in crate::onnx) struct Call<'c> {
    pub node: &'c NodeProto,
    /// What it and its parts are called in the graph.
    pub label: String,
    pub opset: i64,
    pub inputs: Vec<Option<Item>>,
}

impl Call<'_> {
    pub(in crate::onnx) fn op(&self) -> &str {
        &self.node.op
    }

    /// A fault of this node.
    pub(in crate::onnx) fn fault(&self, what: impl AsRef<str>) -> Fault {
        self.fault_with(what, "export the network in another way, or cut it before this node")
    }

    /// A fault of this node, and what to do.
    pub(in crate::onnx) fn fault_with(&self, what: impl AsRef<str>, next: &str) -> Fault {
        let name = if self.node.name.is_empty() {
            format!("that makes {:?}", self.node.outputs.first().map_or("", String::as_str))
        } else {
            format!("{:?}", self.node.name)
        };
        let domain =
            if self.node.domain.is_empty() { String::new() } else { format!("{}.", self.node.domain) };
        Fault::new(format!("node {name} ({domain}{}): {}", self.node.op, what.as_ref()), next)
    }

    /// Input `i`, if it is there.
    pub(in crate::onnx) fn item(&self, i: usize) -> Option<&Item> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    /// Input `i`.
    pub(in crate::onnx) fn need(&self, i: usize) -> Result<&Item, Fault> {
        self.item(i).ok_or_else(|| {
            let count = self.inputs.iter().flatten().count();
            self.fault(format!("its input {i} is missing, it has {count}"))
        })
    }

    /// Input `i`, whose numbers must be known now; `None` if it is left out.
    pub(in crate::onnx) fn constant(&self, i: usize, what: &str) -> Result<Option<&Literal>, Fault> {
        match self.item(i) {
            None => Ok(None),
            Some(Item::Constant(literal)) => Ok(Some(literal)),
            Some(Item::Value(..)) => {
                let input = self.node.inputs.get(i).map_or("", String::as_str);
                let what = format!("its {what} ({input:?}) depend on what the network is fed");
                Err(self.fault_with(
                    what,
                    "give a value for it when the model is read, or export it with fixed sizes",
                ))
            }
        }
    }

    /// The whole numbers of input `i`; `None` if it is left out.
    pub(in crate::onnx) fn list(&self, i: usize, what: &str) -> Result<Option<Vec<i64>>, Fault> {
        let Some(literal) = self.constant(i, what)? else { return Ok(None) };
        if literal.rank() > 1 || literal.len() > LONGEST_LIST {
            return Err(
                self.fault(format!("its {what} must be a short list, got the shape {:?}", literal.dims))
            );
        }
        Ok(Some(literal.to_wholes()))
    }

    /// The one number of input `i`; `None` if it is left out.
    pub(in crate::onnx) fn number(&self, i: usize, what: &str) -> Result<Option<f32>, Fault> {
        let Some(literal) = self.constant(i, what)? else { return Ok(None) };
        let number = literal.single();
        number.map(Some).ok_or_else(|| {
            self.fault(format!("its {what} must be one number, got the shape {:?}", literal.dims))
        })
    }

    /// How many outputs are wanted: up to the last that has a name.
    pub(in crate::onnx) fn wanted(&self) -> usize {
        self.node.outputs.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1)
    }

    /// Whether output `i` is wanted.
    pub(in crate::onnx) fn wants(&self, i: usize) -> bool {
        self.node.outputs.get(i).is_some_and(|name| !name.is_empty())
    }

    pub(in crate::onnx) fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        let found = self.node.attributes.iter().find(|attribute| attribute.name == name);
        found.map(|attribute| &attribute.value).filter(|value| !matches!(value, AttributeValue::None))
    }

    fn wrong(&self, name: &str, expected: &str) -> Fault {
        self.fault(format!("its attribute {name} must be {expected}"))
    }

    pub(in crate::onnx) fn whole(&self, name: &str, default: i64) -> Result<i64, Fault> {
        match self.attribute(name) {
            None => Ok(default),
            Some(AttributeValue::Whole(number)) => Ok(*number),
            Some(_) => Err(self.wrong(name, "a whole number")),
        }
    }

    pub(in crate::onnx) fn flag(&self, name: &str, default: bool) -> Result<bool, Fault> {
        Ok(self.whole(name, i64::from(default))? != 0)
    }

    pub(in crate::onnx) fn float(&self, name: &str, default: f32) -> Result<f32, Fault> {
        match self.attribute(name) {
            None => Ok(default),
            Some(AttributeValue::Float(number)) => Ok(*number),
            Some(AttributeValue::Whole(number)) => Ok(*number as f32),
            Some(_) => Err(self.wrong(name, "a number")),
        }
    }

    pub(in crate::onnx) fn text(&self, name: &str, default: &'static str) -> Result<&str, Fault> {
        match self.attribute(name) {
            None => Ok(default),
            Some(AttributeValue::Text(text)) => Ok(text),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    pub(in crate::onnx) fn wholes(&self, name: &str) -> Result<Option<Vec<i64>>, Fault> {
        match self.attribute(name) {
            None => Ok(None),
            Some(AttributeValue::Wholes(numbers)) => Ok(Some(numbers.clone())),
            Some(AttributeValue::Whole(number)) => Ok(Some(vec![*number])),
            Some(_) => Err(self.wrong(name, "a list of whole numbers")),
        }
    }

    pub(in crate::onnx) fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, Fault> {
        match self.attribute(name) {
            None => Ok(None),
            Some(AttributeValue::Floats(numbers)) => Ok(Some(numbers.clone())),
            Some(AttributeValue::Wholes(numbers)) => Ok(Some(numbers.iter().map(|&n| n as f32).collect())),
            Some(_) => Err(self.wrong(name, "a list of numbers")),
        }
    }

    /// An axis of a tensor of `rank` axes; negative ones count from the last.
    pub(in crate::onnx) fn axis(&self, axis: i64, rank: usize) -> Result<usize, Fault> {
        let from_first = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        let found = usize::try_from(from_first).ok().filter(|&axis| axis < rank);
        found.ok_or_else(|| self.fault(format!("its axis is {axis}, but the tensor has {rank} axes")))
    }

    /// Axes of a tensor of `rank` axes, ascending, each once.
    pub(in crate::onnx) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, Fault> {
        let mut found = axes.iter().map(|&axis| self.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
        found.sort_unstable();
        found.dedup();
        if found.len() != axes.len() {
            return Err(self.fault(format!("its axes {axes:?} name one of {rank} axes twice")));
        }
        Ok(found)
    }

    /// A size that is at least 0 and no larger than any tensor's.
    pub(in crate::onnx) fn size(&self, size: i64, what: &str) -> Result<usize, Fault> {
        let fits = usize::try_from(size).ok().filter(|&size| size <= i32::MAX as usize);
        fits.ok_or_else(|| self.fault(format!("its {what} must be from 0 to {}, got {size}", i32::MAX)))
    }

    /// Sizes that are.
    pub(in crate::onnx) fn sizes(&self, sizes: &[i64], what: &str) -> Result<Vec<usize>, Fault> {
        sizes.iter().map(|&size| self.size(size, what)).collect()
    }
}
