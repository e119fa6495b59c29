//! What is an operation called?

use ocellus_tensor::Window;

use super::{Activation, BinaryKind, Interpolation, LossKind, NormAxes, Op, ReduceKind, Stepwise};

impl Op {
    /// A short lower-case name, as summaries and the text form show it: `conv2d`, `relu`, `softmax_cross_entropy`.
    /// A custom operation gives its own.
    pub fn name(&self) -> &str {
        match self {
            Op::Conv2d(_) => "conv2d",
            Op::Conv2dGradInput(_) => "conv2d_grad_input",
            Op::Conv2dGradWeight(_) => "conv2d_grad_weight",
            Op::ConvTranspose2d(_) => "conv_transpose2d",
            Op::Linear(_) => "linear",
            Op::LinearGradInput(_) => "linear_grad_input",
            Op::LinearGradWeight(_) => "linear_grad_weight",
            Op::MaxPool(op) => pooling(&op.window, "max_pool", "global_max_pool"),
            Op::MaxPoolGrad(op) => pooling(&op.pool.window, "max_pool_grad", "global_max_pool_grad"),
            Op::MaxPoolPlaces(op) => pooling(&op.pool.window, "max_pool_places", "global_max_pool_places"),
            Op::StochasticPool(op) => pooling(&op.window, "stochastic_pool", "global_stochastic_pool"),
            Op::StochasticPoolGrad(op) => {
                pooling(&op.pool.window, "stochastic_pool_grad", "global_stochastic_pool_grad")
            }
            Op::AvgPool(op) => pooling(&op.window, "avg_pool", "global_avg_pool"),
            Op::AvgPoolGrad(op) => pooling(&op.pool.window, "avg_pool_grad", "global_avg_pool_grad"),
            Op::BatchNorm(_) => "batch_norm",
            Op::BatchNormGrad(_) => "batch_norm_grad",
            Op::RunningUpdate(_) => "running_update",
            Op::Norm(op) => norm(op.axes, ["group_norm", "instance_norm", "layer_norm"]),
            Op::NormGrad(op) => {
                norm(op.norm.axes, ["group_norm_grad", "instance_norm_grad", "layer_norm_grad"])
            }
            Op::Lrn(_) => "lrn",
            Op::LrnGrad(_) => "lrn_grad",
            Op::Activation(op) => op.names()[0],
            Op::ActivationGrad(op) => op.activation.names()[1],
            Op::Stepwise(op) => match op {
                Stepwise::Floor => "floor",
                Stepwise::Round => "round",
                Stepwise::Held => "held",
                Stepwise::Above { .. } => "above",
            },
            Op::Prelu(_) => "prelu",
            Op::PreluGrad(_) => "prelu_grad",
            Op::Dropout(_) => "dropout",
            Op::Binary(op) => binary(op.kind),
            Op::MaximumGrad(_) => "maximum_grad",
            Op::SumTo(_) => "sum_to",
            Op::BroadcastTo(_) => "broadcast_to",
            Op::Concat(_) => "concat",
            Op::Slice(_) => "slice",
            Op::SliceGrad(_) => "slice_grad",
            Op::Reshape(_) => "reshape",
            Op::Transpose(_) => "transpose",
            Op::Pad(_) => "pad",
            Op::PadGrad(_) => "pad_grad",
            Op::Upsample(op) => interpolation(op.interpolation, ["upsample_nearest", "upsample_bilinear"]),
            Op::UpsampleGrad(op) => {
                interpolation(op.upsample.interpolation, ["upsample_nearest_grad", "upsample_bilinear_grad"])
            }
            Op::Softmax(op) => {
                if op.log {
                    "log_softmax"
                } else {
                    "softmax"
                }
            }
            Op::SoftmaxGrad(op) => {
                if op.softmax.log {
                    "log_softmax_grad"
                } else {
                    "softmax_grad"
                }
            }
            Op::Reduce(op) => match op.kind {
                ReduceKind::Sum => "reduce_sum",
                ReduceKind::Mean => "reduce_mean",
                ReduceKind::Max => "reduce_max",
            },
            Op::ArgMax(_) => "arg_max",
            Op::TopK(_) => "top_k",
            Op::OneHot(_) => "one_hot",
            Op::Loss(op) => op.kind.names()[0],
            Op::LossGrad(op) => op.kind.names()[1],
            Op::Accuracy(_) => "accuracy",
            Op::Accumulate(_) => "accumulate",
            Op::SgdUpdate(_) => "sgd_update",
            Op::AdamUpdate(_) => "adam_update",
            Op::MuonUpdate(_) => "muon_update",
            Op::Custom(op) => op.op.name(),
            Op::CustomGrad(_) => "custom_grad",
        }
    }
}

fn pooling(window: &Option<Window>, windowed: &'static str, global: &'static str) -> &'static str {
    if window.is_some() { windowed } else { global }
}

fn norm(axes: NormAxes, [group, instance, layer]: [&'static str; 3]) -> &'static str {
    match axes {
        NormAxes::Groups(_) => group,
        NormAxes::Instance => instance,
        NormAxes::Channels => layer,
    }
}

fn interpolation(kind: Interpolation, [nearest, bilinear]: [&'static str; 2]) -> &'static str {
    match kind {
        Interpolation::Nearest => nearest,
        Interpolation::Bilinear => bilinear,
    }
}

fn binary(kind: BinaryKind) -> &'static str {
    match kind {
        BinaryKind::Add => "add",
        BinaryKind::Sub => "sub",
        BinaryKind::Mul => "mul",
        BinaryKind::Div => "div",
        BinaryKind::Maximum => "maximum",
    }
}

impl Activation {
    /// Its name and its gradient's.
    fn names(&self) -> [&'static str; 2] {
        match self {
            Activation::Relu => ["relu", "relu_grad"],
            Activation::LeakyRelu { .. } => ["leaky_relu", "leaky_relu_grad"],
            Activation::Clip { .. } => ["clip", "clip_grad"],
            Activation::Elu { .. } => ["elu", "elu_grad"],
            Activation::Sigmoid => ["sigmoid", "sigmoid_grad"],
            Activation::Tanh => ["tanh", "tanh_grad"],
            Activation::Gelu => ["gelu", "gelu_grad"],
            Activation::GeluTanh => ["gelu_tanh", "gelu_tanh_grad"],
            Activation::Silu => ["silu", "silu_grad"],
            Activation::HardSwish => ["hard_swish", "hard_swish_grad"],
            Activation::HardSigmoid { .. } => ["hard_sigmoid", "hard_sigmoid_grad"],
            Activation::Softplus => ["softplus", "softplus_grad"],
            Activation::Exp => ["exp", "exp_grad"],
            Activation::Log => ["log", "log_grad"],
            Activation::Abs => ["abs", "abs_grad"],
            Activation::Sqrt => ["sqrt", "sqrt_grad"],
            Activation::Affine { .. } => ["affine", "affine_grad"],
            Activation::Power { .. } => ["power", "power_grad"],
        }
    }
}

impl LossKind {
    /// Its name and its gradient's.
    fn names(&self) -> [&'static str; 2] {
        match self {
            LossKind::SoftmaxCrossEntropy { .. } => ["softmax_cross_entropy", "softmax_cross_entropy_grad"],
            LossKind::SigmoidCrossEntropy => ["sigmoid_cross_entropy", "sigmoid_cross_entropy_grad"],
            LossKind::MeanSquaredError => ["mean_squared_error", "mean_squared_error_grad"],
            LossKind::Hinge { .. } => ["hinge", "hinge_grad"],
            LossKind::Contrastive { .. } => ["contrastive", "contrastive_grad"],
            LossKind::Triplet { .. } => ["triplet", "triplet_grad"],
        }
    }
}
