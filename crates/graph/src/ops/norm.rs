//! Group, layer and instance normalisation: statistics of one image, in training and inference alike.

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// What one mean and variance are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormAxes {
    /// Each image's channels in this many groups, over H and W (Wu and He 2018).
    Groups(usize),
    /// Each channel of each image alone, over H and W (Ulyanov et al. 2016).
    Instance,
    /// All channels, at each position of each image (Ba et al. 2016, as ConvNeXt uses it; on `(N, C)`, over C).
    Channels,
}

/// `y = gamma (x - mean) / sqrt(var + eps) + beta`, gamma and beta per channel, biased variance.
///
/// Inputs: x `(N, C, H, W)` or `(N, C)`; gamma `(C)`, beta `(C)` if `affine`. Output: y like x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// What the statistics are taken over.
    pub axes: NormAxes,
    /// Added to the variance.
    pub eps: f32,
    /// Whether there are gamma and beta.
    pub affine: bool,
}

impl Norm {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let x = if self.affine {
            let [x, gamma, beta] = expect::inputs(inputs, ["x", "gamma", "beta"])?;
            let [_, channels, _, _] = expect::channels(x, "x")?;
            expect::vector(gamma, "gamma", channels)?;
            expect::vector(beta, "beta", channels)?;
            x
        } else {
            let [x] = expect::inputs(inputs, ["x"])?;
            x
        };
        let [_, channels, _, _] = expect::channels(x, "x")?;
        if let NormAxes::Groups(groups) = self.axes {
            expect::divides(groups, channels, "input")?;
        }
        Ok(vec![x.clone()])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (x, dy) = (context.input(0), context.dy()?);
        let grad = Op::NormGrad(NormGrad { norm: *self });
        if !self.affine {
            let gradients = context.add_all("", grad, &[x, dy])?;
            return Ok(vec![Some(gradients[0])]);
        }
        let gamma = context.input(1);
        Ok(context.add_all("", grad, &[x, dy, gamma])?.into_iter().map(Some).collect())
    }
}

/// The gradient of [`Norm`]; statistics are computed again.
///
/// Inputs: x, dy, gamma (if affine). Outputs: dx, dgamma `(C)`, dbeta `(C)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormGrad {
    /// The normalisation this is a gradient of.
    pub norm: Norm,
}

impl NormGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let (x, dy) = if self.norm.affine {
            let [x, dy, gamma] = expect::inputs(inputs, ["x", "dy", "gamma"])?;
            self.norm.shape(&[x, gamma, gamma])?;
            (x, dy)
        } else {
            let [x, dy] = expect::inputs(inputs, ["x", "dy"])?;
            self.norm.shape(&[x])?;
            (x, dy)
        };
        expect::same(x, "x", dy, "dy")?;
        let [_, channels, _, _] = expect::channels(x, "x")?;
        Ok(vec![x.clone(), Shape::from([channels]), Shape::from([channels])])
    }
}
