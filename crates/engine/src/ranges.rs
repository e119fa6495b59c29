//! Between which bounds do a network's values lie, and which bytes do they become?

use std::collections::BTreeMap;

use ocellus_graph::{Graph, Op, ValueId};
use ocellus_kernels::narrow::Coding;

/// The range of each value, by its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranges(BTreeMap<String, [f32; 2]>);

impl Ranges {
    /// Ranges of values: lower and upper bound. Those that are not finite, or the wrong way round, are left out.
    pub fn new(ranges: impl IntoIterator<Item = (String, [f32; 2])>) -> Self {
        let usable = |[low, high]: &[f32; 2]| low.is_finite() && high.is_finite() && low <= high;
        Ranges(ranges.into_iter().filter(|(_, range)| usable(range)).collect())
    }

    /// The range of a value.
    pub fn get(&self, value: &str) -> Option<[f32; 2]> {
        self.0.get(value).copied()
    }

    /// All of them, in order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, [f32; 2])> {
        self.0.iter().map(|(name, &range)| (name.as_str(), range))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How each value of `graph` is written in bytes, if it has a range. Values that a step joins or copies without
/// computing have one range: the smallest that holds all of theirs.
pub fn codings(graph: &Graph, ranges: &Ranges) -> Vec<Option<Coding>> {
    let mut groups = Groups { parents: (0..graph.values().len()).collect() };
    for node in graph.nodes() {
        let copies = match &node.op {
            Op::MaxPool(_) | Op::Reshape(_) | Op::Concat(_) => true,
            Op::AvgPool(pool) => pool.window.is_some(),
            Op::Dropout(dropout) => !dropout.active || dropout.rate == 0.0,
            _ => false,
        };
        for &input in node.inputs.iter().filter(|_| copies) {
            groups.join(input.index(), node.outputs[0].index());
        }
    }
    let mut of_group: Vec<Option<[f32; 2]>> = vec![None; graph.values().len()];
    for index in 0..graph.values().len() {
        let id = ValueId(index as u32);
        let range = ranges.get(&graph.value(id).name).filter(|_| graph.param_of(id).is_none());
        if let Some([low, high]) = range {
            let all = &mut of_group[groups.root(index)];
            *all = Some(all.map_or([low, high], |[l, h]| [l.min(low), h.max(high)]));
        }
    }
    (0..graph.values().len()).map(|index| of_group[groups.root(index)].map(coding)).collect()
}

/// The bytes for a range: evenly spaced, with one that is exactly 0.
fn coding([low, high]: [f32; 2]) -> Coding {
    let (low, high) = (low.min(0.0), high.max(0.0));
    let scale = ((high - low) / 255.0).max(f32::MIN_POSITIVE);
    Coding::U8 { scale, zero: (-low / scale).round().clamp(0.0, 255.0) as u8 }
}

/// Disjoint sets of values.
struct Groups {
    parents: Vec<usize>,
}

impl Groups {
    fn root(&self, mut value: usize) -> usize {
        while self.parents[value] != value {
            value = self.parents[value];
        }
        value
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_graph::{Builder, Conv};

    #[test]
    fn joined_values_share_a_range() {
        let mut b = Builder::new("joined");
        let x = b.input("input", [1, 16, 4, 4]);
        let left = b.conv2d("left", x, Conv::new(16, 1));
        let right = b.conv2d("right", x, Conv::new(16, 1));
        let y = b.concat("whole", &[left, right]);
        b.output("output", y);
        let graph = b.finish().unwrap();
        let ranges = [("input", [-1.0, 1.0]), ("left", [0.0, 2.0]), ("right", [-0.5, 1.0])];
        let ranges = Ranges::new(ranges.map(|(name, range)| (name.to_string(), range)));
        let codings = codings(&graph, &ranges);
        let of = |value: ValueId| codings[value.index()].unwrap();
        assert_eq!(of(left), of(right));
        assert_eq!(of(left), of(y));
        assert_eq!(of(y).scale(), 2.5 / 255.0);
        assert_eq!(of(y).zero(), 51.0);
        assert_ne!(of(x), of(y));
    }

    #[test]
    fn zero_is_exact_and_a_range_may_be_empty() {
        assert_eq!(coding([1.0, 51.0]), Coding::U8 { scale: 0.2, zero: 0 });
        let Coding::U8 { scale, .. } = coding([0.0, 0.0]) else { panic!("bytes") };
        assert!(scale > 0.0);
        assert!(Ranges::new([("x".into(), [f32::NAN, 1.0]), ("y".into(), [2.0, 1.0])]).is_empty());
    }
}
