//! One call of a layer: its settings, its numbers, and how it is complained of.

use ocellus_graph::GraphError;
use ocellus_tensor::{Shape, Tensor};
use serde_json::{Map, Value};

use super::describe::{Argument, Spec};
use super::fault::Fault;
use super::net::Item;
use super::stored::{Place, Stored, Trouble};

/// No setting of a layer is larger: products of two never overflow.
const LARGEST: u64 = i32::MAX as u64;

/// A layer as it is called.
pub(in crate::keras) struct Layer<'a> {
    pub spec: &'a Spec,
    /// Its name, behind those of the models around it: what its node and parameters are called.
    pub label: String,
    pub place: Place,
    pub stored: Option<&'a Stored>,
    /// Whether the layer is called more than once, so that its parameters must suit every call.
    pub is_shared: bool,
    /// Keras's major version.
    pub version: u32,
    /// The arguments of the call, those that are results as values.
    pub args: Vec<Given>,
    pub kwargs: Vec<(String, Given)>,
}

/// An argument of a call.
#[derive(Clone, Debug)]
pub(in crate::keras) enum Given {
    Item(Item),
    List(Vec<Given>),
    Value(Value),
}

impl Given {
    /// What `argument` stands for, results by `item`.
    pub fn of(
        argument: &Argument,
        item: &mut dyn FnMut(&super::describe::Port) -> Result<Item, Fault>,
    ) -> Result<Given, Fault> {
        Ok(match argument {
            Argument::Port(port) => Given::Item(item(port)?),
            Argument::List(list) => {
                Given::List(list.iter().map(|argument| Given::of(argument, item)).collect::<Result<_, _>>()?)
            }
            Argument::Value(value) => Given::Value(value.clone()),
        })
    }

    fn items(&self) -> Vec<&Item> {
        match self {
            Given::Item(item) => vec![item],
            Given::List(list) => list.iter().flat_map(Given::items).collect(),
            Given::Value(_) => Vec::new(),
        }
    }
}

impl Layer<'_> {
    pub fn config(&self) -> &Map<String, Value> {
        &self.spec.config
    }

    /// Something is wrong with the layer.
    pub fn fault(&self, what: impl AsRef<str>) -> Fault {
        let Spec { class, .. } = self.spec;
        let what = format!("the layer {:?} ({class}) {}", self.label, what.as_ref());
        Fault::new(what, "save the model with layers that are supported (docs/formats.md lists them)")
    }

    /// The graph's refusal, told of the layer.
    pub fn explain(&self, cause: &GraphError) -> Fault {
        match cause {
            GraphError::Node { message, .. } => self.fault(format!("does not fit: {message}")),
            cause => self.fault(format!("does not fit: {cause}")),
        }
    }

    /// The values it is called with, the first argument's.
    pub fn items(&self) -> Result<Vec<Item>, Fault> {
        let items: Vec<Item> = self.args.first().into_iter().flat_map(Given::items).cloned().collect();
        if items.is_empty() { Err(self.fault("is called with no tensor")) } else { Ok(items) }
    }

    /// The one value it is called with.
    pub fn item(&self) -> Result<Item, Fault> {
        let mut items = self.items()?;
        match items.len() {
            1 => Ok(items.remove(0)),
            n => Err(self.fault(format!("is called with {n} tensors, it takes one"))),
        }
    }

    /// A setting; absent and `None` are the same.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.config().get(key).filter(|value| !value.is_null())
    }

    pub fn flag(&self, key: &str, usual: bool) -> Result<bool, Fault> {
        match self.get(key) {
            None => Ok(usual),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.fault(format!("has {key} = {other}, which is neither true nor false"))),
        }
    }

    pub fn text(&self, key: &str, usual: &'static str) -> Result<&str, Fault> {
        match self.get(key) {
            None => Ok(usual),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.fault(format!("has {key} = {other}, which is no text"))),
        }
    }

    pub fn float(&self, key: &str) -> Result<Option<f32>, Fault> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = number(value).filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| self.fault(format!("has {key} = {value}, which is no number")))
    }

    /// One number or a list of them.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, Fault> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let mut all = Vec::new();
        match flatten(value, &mut all) {
            true => Ok(Some(all)),
            false => Err(self.fault(format!("has a {key} that is no list of numbers"))),
        }
    }

    /// A whole number from 0 to 2^31.
    pub fn size(&self, key: &str) -> Result<usize, Fault> {
        let value = self.get(key).ok_or_else(|| self.fault(format!("says no {key}")))?;
        self.size_of(value, key)
    }

    fn size_of(&self, value: &Value, key: &str) -> Result<usize, Fault> {
        let size = value.as_u64().or_else(|| {
            let number = value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0)?;
            Some(number as u64)
        });
        let size = size.filter(|&size| size <= LARGEST);
        size.map(|size| size as usize)
            .ok_or_else(|| self.fault(format!("has {key} = {value}, which is no size from 0 to {LARGEST}")))
    }

    /// A size for each of `N` axes: one for all, or a list.
    pub fn sizes<const N: usize>(&self, key: &str, usual: usize) -> Result<[usize; N], Fault> {
        let Some(value) = self.get(key) else { return Ok([usual; N]) };
        self.each(value, key)
    }

    fn each<const N: usize>(&self, value: &Value, key: &str) -> Result<[usize; N], Fault> {
        match value {
            Value::Array(list) if list.len() == 1 => Ok([self.size_of(&list[0], key)?; N]),
            Value::Array(list) => {
                let all: Vec<usize> =
                    list.iter().map(|value| self.size_of(value, key)).collect::<Result<_, _>>()?;
                <[usize; N]>::try_from(all)
                    .map_err(|all| self.fault(format!("has {key} = {all:?}, it must be {N} sizes")))
            }
            value => Ok([self.size_of(value, key)?; N]),
        }
    }

    /// (before, after) for each of `N` axes: one number, one for each axis, or two for each.
    pub fn borders<const N: usize>(&self, key: &str) -> Result<[[usize; 2]; N], Fault> {
        let value = self.get(key).ok_or_else(|| self.fault(format!("says no {key}")))?;
        let list = match value {
            Value::Array(list) => list,
            value => return Ok([[self.size_of(value, key)?; 2]; N]),
        };
        if N == 1 && list.len() == 2 && !list[0].is_array() {
            return Ok([self.each::<2>(value, key)?; N]);
        }
        let all: Vec<[usize; 2]> =
            list.iter().map(|value| self.each(value, key)).collect::<Result<_, _>>()?;
        <[[usize; 2]; N]>::try_from(all)
            .map_err(|_| self.fault(format!("has {key} = {value}, it must be {N} pairs of sizes")))
    }

    /// An axis of a tensor of this rank, counted from the end if negative; a list may name one.
    pub fn axis(&self, key: &str, usual: i64, rank: usize) -> Result<usize, Fault> {
        let axes = self.axes(key, usual, rank)?;
        match axes.as_slice() {
            &[axis] => Ok(axis),
            axes => Err(self.fault(format!("has {} axes in {key}, one is supported", axes.len()))),
        }
    }

    /// Axes of a tensor of this rank, ascending.
    pub fn axes(&self, key: &str, usual: i64, rank: usize) -> Result<Vec<usize>, Fault> {
        let usual = Value::from(usual);
        self.axes_of(self.get(key).unwrap_or(&usual), key, rank)
    }

    pub fn axes_of(&self, value: &Value, key: &str, rank: usize) -> Result<Vec<usize>, Fault> {
        let one = |value: &Value| {
            let axis = value.as_i64().and_then(|axis| {
                let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
                usize::try_from(axis).ok().filter(|&axis| axis < rank)
            });
            axis.ok_or_else(|| {
                self.fault(format!("has {key} = {value}, which is no axis of a tensor of {rank}"))
            })
        };
        let mut axes: Vec<usize> = match value {
            Value::Array(list) => list.iter().map(one).collect::<Result<_, _>>()?,
            value => vec![one(value)?],
        };
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }

    /// Whether channels stand behind the batch.
    pub fn is_channels_first(&self) -> Result<bool, Fault> {
        match self.text("data_format", "channels_last")? {
            "channels_last" => Ok(false),
            "channels_first" => Ok(true),
            other => Err(self.fault(format!("has data_format = {other:?}, which Keras does not know"))),
        }
    }

    /// Refuses settings that are not what they usually are.
    pub fn only(&self, key: &str, usual: &[Value]) -> Result<(), Fault> {
        match self.get(key) {
            None => Ok(()),
            Some(value) if usual.contains(value) => Ok(()),
            Some(value) => Err(self.fault(format!("has {key} = {value}, which is not supported"))),
        }
    }

    /// The layer's numbers, called and shaped as told; nothing if the file holds a description alone.
    pub fn tensors<const N: usize>(
        &self,
        wanted: [(&str, Vec<usize>); N],
    ) -> Result<Option<[Tensor; N]>, Trouble> {
        let all = self.tensor_list(&wanted)?;
        Ok(all.and_then(|all| <[Tensor; N]>::try_from(all).ok()))
    }

    pub fn tensor_list(&self, wanted: &[(&str, Vec<usize>)]) -> Result<Option<Vec<Tensor>>, Trouble> {
        let Some(stored) = self.stored else { return Ok(None) };
        let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        let paths = stored.find(&self.place, &names)?;
        let count = stored.count(&self.place)?;
        // A Normalization also keeps how many examples it saw.
        if count > wanted.len() && self.spec.class != "Normalization" {
            let what = format!("has {count} arrays in the file, {} of which are known", wanted.len());
            return Err(self.fault(what).into());
        }
        let mut all = Vec::with_capacity(wanted.len());
        for ((name, dims), path) in wanted.iter().zip(&paths) {
            let shape = stored.shape(path)?;
            if shape != *dims {
                let (has, needs) = (Shape::new(shape), Shape::new(dims.clone()));
                let what = format!("has a {name} of the shape {has} in the file, where {needs} belongs");
                let Fault { what, .. } = self.fault(what);
                return Err(Fault::new(what, "give the weights of this very model").into());
            }
            all.push(stored.tensor(path)?);
        }
        Ok(Some(all))
    }
}

/// A number, also one that Keras wrapped.
pub(in crate::keras) fn number(value: &Value) -> Option<f32> {
    match value {
        Value::Number(number) => number.as_f64().map(|number| number as f32),
        Value::Object(map) => number(map.get("config")?.get("value")?),
        _ => None,
    }
}

fn flatten(value: &Value, all: &mut Vec<f32>) -> bool {
    match value {
        Value::Array(list) => list.iter().all(|value| flatten(value, all)),
        Value::Object(map) => match map.get("config").and_then(|config| config.get("value")) {
            Some(value) => flatten(value, all),
            None => false,
        },
        value => number(value).is_some_and(|number| {
            all.push(number);
            true
        }),
    }
}
