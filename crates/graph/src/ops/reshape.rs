//! The same numbers in another shape.

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// Row-major order kept. Each entry: a size, `0` to keep the input's size at that position, `-1` (once) for what
/// remains; so `[0, -1]` flattens each image, whatever the batch.
///
/// Input: x. Output: y.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reshape {
    /// The sizes.
    pub dims: Vec<isize>,
}

impl Reshape {
    /// The reshape to exactly this shape.
    pub fn to(shape: &Shape) -> Self {
        Reshape { dims: shape.iter().map(|&size| size as isize).collect() }
    }

    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        let mut sizes = Vec::with_capacity(self.dims.len());
        for (position, &dim) in self.dims.iter().enumerate() {
            sizes.push(match dim {
                0 => Some(*x.get(position).ok_or_else(|| kept_axis_missing(position, x))?),
                -1 => None,
                size if size > 0 => Some(size as usize),
                size => return Err(format!("sizes are at least 0, or -1 for what remains; got {size}")),
            });
        }
        self.fill_in(x, &sizes)
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let back = Reshape::to(&context.shape(0));
        let dy = context.dy()?;
        Ok(vec![Some(context.add("", Op::Reshape(back), &[dy])?)])
    }

    /// Puts what remains in the one open place, if there is one.
    fn fill_in(&self, x: &Shape, sizes: &[Option<usize>]) -> Result<Vec<Shape>, Refusal> {
        let open = sizes.iter().filter(|size| size.is_none()).count();
        if open > 1 {
            return Err(format!("-1 may stand once, {:?} has it {open} times", self.dims));
        }
        let cannot = || format!("{} elements of {x} do not fit {:?}", x.elements(), self.dims);
        let known = sizes.iter().flatten().try_fold(1usize, |product, &size| product.checked_mul(size));
        let known = known.filter(|&known| known > 0).ok_or_else(cannot)?;
        let remaining = x.elements() / known;
        if known.checked_mul(remaining) != Some(x.elements()) || (open == 0 && remaining != 1) {
            return Err(cannot());
        }
        Ok(vec![Shape::new(sizes.iter().map(|size| size.unwrap_or(remaining)).collect::<Vec<_>>())])
    }
}

fn kept_axis_missing(position: usize, x: &Shape) -> Refusal {
    format!("0 at position {position} keeps the input's size there, but {x} has only {} axes", x.rank())
}
