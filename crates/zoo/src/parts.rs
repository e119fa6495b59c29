//! What do many networks share? Initialisers, a normalised convolution, and heads of fully connected layers.

use std::f32::consts::SQRT_2;

use ocellus_graph::{BatchNormSpec, Builder, Conv, Distribution, Fan, Graph, Init, ValueId};

use ocellus_tensor::{Padding, Window};

use crate::options::Size;
use crate::registry::GLOBAL_POOLING;
use crate::{Options, ZooError};

/// ImageNet: a thousand classes, 224x224 colour.
pub(crate) const IMAGENET: Size = Size { classes: 1000, channels: 3, height: 224, width: 224 };

/// torchvision's `kaiming_normal_(mode="fan_out", nonlinearity="relu")`.
pub(crate) const HE_FAN_OUT: Init =
    Init::VarianceScaling { gain: SQRT_2, fan: Fan::Out, distribution: Distribution::Normal };

/// Gaussian around zero.
pub(crate) const fn normal(std: f32) -> Init {
    Init::Normal { mean: 0.0, std }
}

/// PyTorch's default for a bias: even between -1/sqrt(fan-in) and 1/sqrt(fan-in).
pub(crate) fn torch_bias(fan_in: usize) -> Init {
    let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
    Init::Uniform { low: -bound, high: bound }
}

/// A convolution without bias, and batch normalisation: the nodes `NAME` and `NAME.bn`, with the parameters of the
/// two full names.
pub(crate) fn conv_norm(
    b: &mut Builder,
    name: &str,
    x: ValueId,
    conv: Conv,
    [conv_params, norm_params]: [String; 2],
) -> ValueId {
    let x = b.conv2d(name, x, conv.no_bias().params(conv_params));
    let norm = BatchNormSpec { params: Some(norm_params), ..BatchNormSpec::default() };
    b.batch_norm(&format!("{name}.bn"), x, norm)
}

/// A convolution over `kernel` rows and columns, both odd, that keeps the image's size.
pub(crate) fn same(channels: usize, [rows, columns]: [usize; 2]) -> Conv {
    let (down, across) = (rows / 2, columns / 2);
    let padding = Padding { top: down, left: across, bottom: down, right: across };
    let window = Window { kernel: [rows, columns], padding, ..Window::square(1) };
    Conv::new(channels, 1).window(window)
}

/// What the Inception family is built of: convolution without bias, batch normalisation with eps 0.001, and ReLU, called
/// `NAME.conv`, `NAME.bn` and `NAME.relu`.
pub(crate) fn inception_unit(b: &mut Builder, name: &str, x: ValueId, conv: Conv) -> ValueId {
    let x = b.conv2d(&format!("{name}.conv"), x, conv.no_bias());
    let norm = BatchNormSpec { eps: 1e-3, ..BatchNormSpec::default() };
    let x = b.batch_norm(&format!("{name}.bn"), x, norm);
    b.relu(&format!("{name}.relu"), x)
}

/// A head whose first fully connected layer is made for one size of image.
pub(crate) struct FixedHead {
    /// The network's name.
    pub network: &'static str,
    /// Its first fully connected layer, and that layer's weight.
    pub layer: &'static str,
    pub weight: &'static str,
    /// Rows and columns that the layer is made for.
    pub side: usize,
    /// Fewest rows and columns that leave anything for global pooling.
    pub smallest: usize,
}

impl FixedHead {
    /// What the network is called: with `-gap` behind if it pools globally.
    pub fn name(&self, options: &Options) -> String {
        let suffix = if options.global_pooling { GLOBAL_POOLING } else { "" };
        format!("{}{suffix}", self.network)
    }

    /// x `(1, C, side, side)` as one row `(1, C side side)`; or any image as `(1, C)` by global average pooling, if that
    /// was chosen.
    pub fn flatten(&self, b: &mut Builder, x: ValueId, options: &Options) -> ValueId {
        let x = if options.global_pooling { b.global_avg_pool("global_pool", x) } else { x };
        b.flatten("flatten", x)
    }

    /// The finished network, unless its head does not take what is `left` of the image: the value that was flattened.
    pub fn finish(
        &self,
        b: Builder,
        left: ValueId,
        size: &Size,
        options: &Options,
    ) -> Result<Graph, ZooError> {
        let left = b.shape(left);
        if options.global_pooling {
            return size.explain(&self.name(options), self.smallest, b.finish());
        }
        let left = match *left.dims() {
            [_, _, height, width] if [height, width] == [self.side; 2] => return Ok(b.finish()?),
            [_, _, height, width] => Some([height, width]),
            _ if size.height.min(size.width) < self.smallest => None,
            _ => return Ok(b.finish()?),
        };
        Err(ZooError::FixedSize {
            network: self.name(options),
            layer: format!("{} ({})", self.layer, self.weight),
            side: self.side,
            image: [size.height, size.width],
            left: left.map_or_else(|| "nothing".to_string(), |[height, width]| format!("{height}x{width}")),
        })
    }
}
