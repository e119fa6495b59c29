//! Layers that own parameters.

use ocellus_tensor::{Padding, Shape};

use super::{BatchNormSpec, Builder, Conv, ConvTranspose, Dense, Layer};
use crate::ops::{
    BatchNorm, BinaryKind, Conv2d, ConvTranspose2d, Linear, Lrn, Norm, NormAxes, Pad, PadMode, Prelu,
    Statistics,
};
use crate::{Init, Op, Role, ValueId};

const ZEROS: Init = Init::Constant(0.0);
const ONES: Init = Init::Constant(1.0);
const NORM_EPS: f32 = 1e-5;

impl Builder {
    /// Convolution of x `(N, C, H, W)` with `NAME.weight` `(O, C/groups, kh, kw)` and `NAME.bias` `(O)`.
    pub fn conv2d(&mut self, name: &str, x: ValueId, conv: Conv) -> ValueId {
        let channels = self.channels(x);
        if conv.groups == 0 || !channels.is_multiple_of(conv.groups) {
            // Without this check the weight would be made for another number of channels and blamed for it.
            let message =
                format!("input has {channels} channels, groups = {} does not divide it", conv.groups);
            return self.refuse(name, message);
        }
        let (x, window) = self.pad_unless_zeros(name, x, &conv);
        let [kh, kw] = window.kernel;
        let layer = Layer { name, shares: conv.params.as_deref() };
        let shape = Shape::from([conv.out_channels, channels / conv.groups, kh, kw]);
        let weight = self.layer_param(&layer, "weight", shape, conv.init);
        let mut inputs = vec![x, weight];
        if conv.bias {
            let shape = Shape::from([conv.out_channels]);
            inputs.push(self.layer_param(&layer, "bias", shape, conv.bias_init));
        }
        self.node(name, Op::Conv2d(Conv2d { window, groups: conv.groups }), &inputs)
    }

    /// Convolutions pad with zeros; any other padding is a node of its own.
    fn pad_unless_zeros(&mut self, name: &str, x: ValueId, conv: &Conv) -> (ValueId, ocellus_tensor::Window) {
        let mut window = conv.window;
        if conv.pad_mode == PadMode::Constant(0.0) {
            return (x, window);
        }
        let pad = Pad { padding: window.padding, channels: [0; 2], mode: conv.pad_mode };
        window.padding = Padding::all(0);
        (self.node(&format!("{name}.pad"), Op::Pad(pad), &[x]), window)
    }

    /// Transposed convolution of x `(N, C, H, W)` with `NAME.weight` `(C, O/groups, kh, kw)` and `NAME.bias` `(O)`.
    pub fn conv_transpose2d(&mut self, name: &str, x: ValueId, transpose: ConvTranspose) -> ValueId {
        let ConvTranspose { conv, output_padding } = transpose;
        if conv.groups == 0 || !conv.out_channels.is_multiple_of(conv.groups) {
            let message = format!(
                "output has {} channels, groups = {} does not divide it",
                conv.out_channels, conv.groups
            );
            return self.refuse(name, message);
        }
        if conv.pad_mode != PadMode::Constant(0.0) {
            return self
                .refuse(name, "padding of a transposed convolution crops, so nothing fills it".into());
        }
        let [kh, kw] = conv.window.kernel;
        let layer = Layer { name, shares: conv.params.as_deref() };
        let shape = Shape::from([self.channels(x), conv.out_channels / conv.groups, kh, kw]);
        let weight = self.layer_param(&layer, "weight", shape, conv.init);
        let mut inputs = vec![x, weight];
        if conv.bias {
            let shape = Shape::from([conv.out_channels]);
            inputs.push(self.layer_param(&layer, "bias", shape, conv.bias_init));
        }
        let op = ConvTranspose2d { window: conv.window, groups: conv.groups, output_padding };
        self.node(name, Op::ConvTranspose2d(op), &inputs)
    }

    /// Fully connected layer on x `(N, F)` with `NAME.weight` `(O, F)` and `NAME.bias` `(O)`.
    pub fn linear(&mut self, name: &str, x: ValueId, dense: Dense) -> ValueId {
        let layer = Layer { name, shares: dense.params.as_deref() };
        let shape = Shape::from([dense.out, self.channels(x)]);
        let mut inputs = vec![x, self.layer_param(&layer, "weight", shape, dense.init)];
        if dense.bias {
            inputs.push(self.layer_param(&layer, "bias", Shape::from([dense.out]), dense.bias_init));
        }
        self.node(name, Op::Linear(Linear), &inputs)
    }

    /// Batch normalisation by the running statistics; [`crate::Graph::for_training`] makes it use the batch's own.
    ///
    /// Parameters `NAME.weight` (gamma) and `NAME.bias` (beta), statistics `NAME.running_mean` and
    /// `NAME.running_var`, all `(C)`.
    pub fn batch_norm(&mut self, name: &str, x: ValueId, spec: BatchNormSpec) -> ValueId {
        let layer = Layer { name, shares: spec.params.as_deref() };
        let shape = Shape::from([self.channels(x)]);
        let mut inputs = vec![x];
        if spec.affine {
            inputs.push(self.layer_param(&layer, "weight", shape.clone(), spec.gamma_init));
            inputs.push(self.layer_param(&layer, "bias", shape.clone(), ZEROS));
        }
        inputs.push(self.layer_state(&layer, "running_mean", (shape.clone(), ZEROS, Role::Statistic)));
        inputs.push(self.layer_state(&layer, "running_var", (shape, ONES, Role::Statistic)));
        let BatchNormSpec { eps, momentum, affine, .. } = spec;
        self.node(
            name,
            Op::BatchNorm(BatchNorm { eps, momentum, affine, statistics: Statistics::Running }),
            &inputs,
        )
    }

    /// Any of the normalisations by one image's own statistics; `NAME.weight` and `NAME.bias` `(C)` if affine.
    pub fn norm(&mut self, name: &str, x: ValueId, norm: Norm) -> ValueId {
        let layer = Layer { name, shares: None };
        let shape = Shape::from([self.channels(x)]);
        let mut inputs = vec![x];
        if norm.affine {
            inputs.push(self.layer_param(&layer, "weight", shape.clone(), ONES));
            inputs.push(self.layer_param(&layer, "bias", shape, ZEROS));
        }
        self.node(name, Op::Norm(norm), &inputs)
    }

    /// Group normalisation, affine, eps 1e-5.
    pub fn group_norm(&mut self, name: &str, x: ValueId, groups: usize) -> ValueId {
        self.norm(name, x, Norm { axes: NormAxes::Groups(groups), eps: NORM_EPS, affine: true })
    }

    /// Layer normalisation over the channels of each position, affine, eps 1e-5.
    pub fn layer_norm(&mut self, name: &str, x: ValueId) -> ValueId {
        self.norm(name, x, Norm { axes: NormAxes::Channels, eps: NORM_EPS, affine: true })
    }

    /// Instance normalisation, affine, eps 1e-5.
    pub fn instance_norm(&mut self, name: &str, x: ValueId) -> ValueId {
        self.norm(name, x, Norm { axes: NormAxes::Instance, eps: NORM_EPS, affine: true })
    }

    /// Local response normalisation.
    pub fn lrn(&mut self, name: &str, x: ValueId, lrn: Lrn) -> ValueId {
        self.node(name, Op::Lrn(lrn), &[x])
    }

    /// A factor and an offset per channel: `NAME.weight` (ones) and `NAME.bias` (zeros), shaped `(C, 1, 1)` for images
    /// and `(C)` for vectors. The product is the node `NAME.mul`.
    pub fn scale(&mut self, name: &str, x: ValueId) -> ValueId {
        let layer = Layer { name, shares: None };
        let mut dims = vec![1; self.shape(x).rank().saturating_sub(1).max(1)];
        dims[0] = self.channels(x);
        let gamma = self.layer_param(&layer, "weight", Shape::new(dims.clone()), ONES);
        let beta = self.layer_param(&layer, "bias", Shape::new(dims), ZEROS);
        let product = self.binary(&format!("{name}.mul"), BinaryKind::Mul, [x, gamma]);
        self.binary(name, BinaryKind::Add, [product, beta])
    }

    /// ReLU with a learned slope per channel, `NAME.weight` `(C)`, 0.25 at first (He et al. 2015).
    pub fn prelu(&mut self, name: &str, x: ValueId) -> ValueId {
        let layer = Layer { name, shares: None };
        let shape = Shape::from([self.channels(x)]);
        let slope = self.layer_param(&layer, "weight", shape, Init::Constant(0.25));
        self.node(name, Op::Prelu(Prelu), &[x, slope])
    }
}
