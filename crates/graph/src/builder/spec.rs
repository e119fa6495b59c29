//! Options of the layers that own parameters, each with its usual defaults.

use ocellus_tensor::{Padding, Window};

use crate::Init;
use crate::ops::PadMode;

/// A convolution: output channels, window, groups, bias, initialisers.
///
/// Defaults: stride 1, no padding, no dilation, one group, a bias of zeros, He-normal weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    pub(super) out_channels: usize,
    pub(super) window: Window,
    pub(super) groups: usize,
    pub(super) bias: bool,
    pub(super) init: Init,
    pub(super) bias_init: Init,
    pub(super) params: Option<String>,
    pub(super) pad_mode: PadMode,
}

impl Conv {
    /// A convolution to `out_channels` with a square kernel of `kernel` taps.
    pub fn new(out_channels: usize, kernel: usize) -> Self {
        Conv {
            out_channels,
            window: Window::square(kernel),
            groups: 1,
            bias: true,
            init: Init::he_normal(),
            bias_init: Init::Constant(0.0),
            params: None,
            pad_mode: PadMode::Constant(0.0),
        }
    }

    /// The same step along both axes.
    pub fn stride(mut self, stride: usize) -> Self {
        self.window = self.window.stride(stride);
        self
    }

    /// The same padding on all four sides.
    pub fn padding(mut self, padding: usize) -> Self {
        self.window = self.window.padding(padding);
        self
    }

    /// Padding side by side, which need not be symmetric.
    pub fn padding_sides(mut self, padding: Padding) -> Self {
        self.window.padding = padding;
        self
    }

    /// What fills the padding, zeros unless said otherwise. Anything else becomes a node `NAME.pad` before it.
    pub fn pad_mode(mut self, mode: PadMode) -> Self {
        self.pad_mode = mode;
        self
    }

    /// The same distance between taps along both axes.
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.window = self.window.dilation(dilation);
        self
    }

    /// Independent groups of channels; as many as input channels for a depthwise convolution.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Kernel, stride, padding and dilation at once, each free along both axes.
    pub fn window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// Leaves the bias out.
    pub fn no_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Fills the weight.
    pub fn init(mut self, init: Init) -> Self {
        self.init = init;
        self
    }

    /// Fills the bias.
    pub fn bias_init(mut self, init: Init) -> Self {
        self.bias_init = init;
        self
    }

    /// Uses the parameters `NAME.weight` and `NAME.bias` for the full name given, and so shares them with any other
    /// layer of that name.
    pub fn params(mut self, name: impl Into<String>) -> Self {
        self.params = Some(name.into());
        self
    }
}

/// A transposed convolution: the options of a [`Conv`] and the output padding.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTranspose {
    pub(super) conv: Conv,
    pub(super) output_padding: [usize; 2],
}

impl ConvTranspose {
    /// A transposed convolution with these options and no output padding.
    pub fn new(conv: Conv) -> Self {
        ConvTranspose { conv, output_padding: [0; 2] }
    }

    /// Extra rows and columns at the bottom and right.
    pub fn output_padding(mut self, extra: usize) -> Self {
        self.output_padding = [extra; 2];
        self
    }
}

/// A fully connected layer: output features, bias, initialisers.
///
/// Defaults: a bias of zeros, and weights uniform between -1/sqrt(F) and 1/sqrt(F) for F input features (PyTorch's
/// default; variance scaling with gain 1/sqrt(3)).
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    pub(super) out: usize,
    pub(super) bias: bool,
    pub(super) init: Init,
    pub(super) bias_init: Init,
    pub(super) params: Option<String>,
}

impl Dense {
    /// A layer of `out` features.
    pub fn new(out: usize) -> Self {
        let (init, bias_init) = (Init::inverse_root_fan_in(), Init::Constant(0.0));
        Dense { out, bias: true, init, bias_init, params: None }
    }

    /// Leaves the bias out.
    pub fn no_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Fills the weight.
    pub fn init(mut self, init: Init) -> Self {
        self.init = init;
        self
    }

    /// Fills the bias.
    pub fn bias_init(mut self, init: Init) -> Self {
        self.bias_init = init;
        self
    }

    /// Uses the parameters `NAME.weight` and `NAME.bias` for the full name given, and so shares them.
    pub fn params(mut self, name: impl Into<String>) -> Self {
        self.params = Some(name.into());
        self
    }
}

/// A batch normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormSpec {
    /// Added to the variance; 1e-5.
    pub eps: f32,
    /// Share of the new batch in the running statistics; 0.1.
    pub momentum: f32,
    /// Whether there are gamma and beta; true.
    pub affine: bool,
    /// Fills gamma; ones. (Zeros in the last one of a residual branch starts the block as the identity.)
    pub gamma_init: Init,
    /// The full name of the layer whose parameters and statistics are shared; its own.
    pub params: Option<String>,
}

impl Default for BatchNormSpec {
    fn default() -> Self {
        BatchNormSpec {
            eps: 1e-5,
            momentum: 0.1,
            affine: true,
            gamma_init: Init::Constant(1.0),
            params: None,
        }
    }
}
