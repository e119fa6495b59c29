//! Each operation's attributes, and which operation a name means.
//!
//! Kinds (which activation, which loss, global or windowed) are in the operation's name; all else is an attribute.

use ocellus_tensor::Window;

use super::attribute::{Attribute, Fields, Written, fields};
use crate::Op;
use crate::ops::*;

fields!(Conv2d { window, groups });
fields!(Conv2dGradInput { geometry });
fields!(Conv2dGradWeight { geometry });
fields!(ConvTranspose2d { window, groups, output_padding });
fields!(Linear {});
fields!(LinearGradInput {});
fields!(LinearGradWeight {});
fields!(MaxPool { window, rounding });
fields!(MaxPoolGrad { pool });
fields!(MaxPoolPlaces { pool });
fields!(StochasticPool { window, rounding, active, stream });
fields!(StochasticPoolGrad { pool });
fields!(AvgPool { window, rounding, count_include_pad });
fields!(AvgPoolGrad { pool, input });
fields!(BatchNorm { eps, momentum, affine, statistics });
fields!(BatchNormGrad { norm });
fields!(RunningUpdate { momentum, count });
fields!(Norm { axes, eps, affine });
fields!(NormGrad { norm });
fields!(Lrn { size, alpha, beta, k, region });
fields!(LrnGrad { lrn });
fields!(ActivationGrad { activation });
fields!(Prelu {});
fields!(PreluGrad {});
fields!(Dropout { rate, active, stream });
fields!(Binary { kind });
fields!(MaximumGrad {});
fields!(SumTo { shape });
fields!(BroadcastTo { shape });
fields!(Concat { axis });
fields!(Slice { axis, start, step, count });
fields!(SliceGrad { slice, input });
fields!(Reshape { dims });
fields!(Transpose { order });
fields!(Pad { padding, channels, mode });
fields!(PadGrad { pad, input });
fields!(Upsample { factor, interpolation });
fields!(UpsampleGrad { upsample, input });
fields!(SoftmaxGrad { softmax });
fields!(Reduce { kind, axes, keep });
fields!(ArgMax { axis, keep, last });
fields!(TopK { axis, count, last });
fields!(OneHot { classes });
fields!(LossOp { kind });
fields!(LossGrad { kind });
fields!(Accuracy { top });
fields!(Accumulate { scale });
fields!(SgdUpdate { momentum, nesterov, weight_decay, lr_mult });
fields!(AdamUpdate { beta1, beta2, eps, weight_decay, lr_mult });
fields!(MuonUpdate { momentum, weight_decay, lr_mult });

/// An enum whose variant is the operation's name (less `_grad`) and whose fields are attributes.
macro_rules! kinds {
    ($type:ident { $($variant:ident $({ $($field:ident),+ })? = $name:literal),+ $(,)? }) => {
        impl Attribute for $type {
            fn put(&self, _key: &'static str, _to: &mut Written) {
                match self {
                    $($type::$variant $({ $($field),+ })? => { $($($field.put(stringify!($field), _to);)+)? })+
                }
            }
            fn take(_key: &str, from: &mut Fields) -> Result<Self, String> {
                match from.of.strip_suffix("_grad").unwrap_or(&from.of) {
                    $($name => Ok($type::$variant $({ $($field: Attribute::take(stringify!($field), from)?),+ })?),)+
                    other => Err(format!("there is no operation named {other}")),
                }
            }
        }
    };
}

kinds!(Activation {
    Relu = "relu",
    LeakyRelu { slope } = "leaky_relu",
    Clip { low, high } = "clip",
    Elu { alpha } = "elu",
    Sigmoid = "sigmoid",
    Tanh = "tanh",
    Gelu = "gelu",
    GeluTanh = "gelu_tanh",
    Silu = "silu",
    HardSwish = "hard_swish",
    HardSigmoid { alpha, beta } = "hard_sigmoid",
    Softplus = "softplus",
    Exp = "exp",
    Log = "log",
    Abs = "abs",
    Sqrt = "sqrt",
    Affine { scale, shift } = "affine",
    Power { exponent } = "power",
});

kinds!(Stepwise { Floor = "floor", Round = "round", Held = "held", Above { threshold } = "above" });

kinds!(LossKind {
    SoftmaxCrossEntropy { smoothing } = "softmax_cross_entropy",
    SigmoidCrossEntropy = "sigmoid_cross_entropy",
    MeanSquaredError = "mean_squared_error",
    Hinge { squared } = "hinge",
    Contrastive { margin } = "contrastive",
    Triplet { margin } = "triplet",
});

kinds!(BinaryKind { Add = "add", Sub = "sub", Mul = "mul", Div = "div", Maximum = "maximum" });
kinds!(ReduceKind { Sum = "reduce_sum", Mean = "reduce_mean", Max = "reduce_max" });
kinds!(Interpolation { Nearest = "upsample_nearest", Bilinear = "upsample_bilinear" });

impl Attribute for Softmax {
    fn put(&self, _key: &'static str, _to: &mut Written) {}
    fn take(_key: &str, from: &mut Fields) -> Result<Self, String> {
        Ok(Softmax { log: from.of.starts_with("log") })
    }
}

impl Attribute for NormAxes {
    fn put(&self, _key: &'static str, to: &mut Written) {
        if let NormAxes::Groups(groups) = self {
            groups.put("groups", to);
        }
    }
    fn take(_key: &str, from: &mut Fields) -> Result<Self, String> {
        match from.of.strip_suffix("_grad").unwrap_or(&from.of) {
            "instance_norm" => Ok(NormAxes::Instance),
            "layer_norm" => Ok(NormAxes::Channels),
            _ => Ok(NormAxes::Groups(Attribute::take("groups", from)?)),
        }
    }
}

/// A pooling's window, absent in a global one.
impl Attribute for Option<Window> {
    fn put(&self, key: &'static str, to: &mut Written) {
        if let Some(window) = self {
            window.put(key, to);
        }
    }
    fn take(key: &str, from: &mut Fields) -> Result<Self, String> {
        if from.of.starts_with("global") { Ok(None) } else { Attribute::take(key, from).map(Some) }
    }
}

/// The attributes of an operation; a custom one has none that could be written.
pub(super) fn attributes(op: &Op) -> Result<Written, String> {
    let mut to = Written::new();
    macro_rules! put {
        ($($variant:ident)+) => {
            match op {
                $(Op::$variant(op) => op.put("", &mut to),)+
                Op::Custom(_) | Op::CustomGrad(_) => {
                    return Err("a custom operation is code, which the text form cannot hold".into());
                }
            }
        };
    }
    put!(
        Conv2d Conv2dGradInput Conv2dGradWeight ConvTranspose2d Linear LinearGradInput LinearGradWeight
        MaxPool MaxPoolGrad MaxPoolPlaces StochasticPool StochasticPoolGrad AvgPool AvgPoolGrad BatchNorm BatchNormGrad RunningUpdate Norm NormGrad Lrn LrnGrad
        Activation ActivationGrad Stepwise Prelu PreluGrad Dropout Binary MaximumGrad SumTo BroadcastTo Concat Slice SliceGrad
        Reshape Transpose Pad PadGrad Upsample UpsampleGrad Softmax SoftmaxGrad Reduce ArgMax TopK OneHot Loss LossGrad
        Accuracy Accumulate SgdUpdate AdamUpdate MuonUpdate
    );
    Ok(to)
}

/// The operation that `from.of` names, with its attributes.
pub(super) fn operation(from: &mut Fields) -> Result<Op, String> {
    macro_rules! named {
        ($($($name:literal)|+ => $variant:ident,)+) => {
            match from.of.as_str() {
                $($($name)|+ => Op::$variant(Attribute::take("", from)?),)+
                _ => return kind(from),
            }
        };
    }
    Ok(named! {
        "conv2d" => Conv2d,
        "conv2d_grad_input" => Conv2dGradInput,
        "conv2d_grad_weight" => Conv2dGradWeight,
        "conv_transpose2d" => ConvTranspose2d,
        "linear" => Linear,
        "linear_grad_input" => LinearGradInput,
        "linear_grad_weight" => LinearGradWeight,
        "max_pool" | "global_max_pool" => MaxPool,
        "max_pool_grad" | "global_max_pool_grad" => MaxPoolGrad,
        "max_pool_places" | "global_max_pool_places" => MaxPoolPlaces,
        "stochastic_pool" | "global_stochastic_pool" => StochasticPool,
        "stochastic_pool_grad" | "global_stochastic_pool_grad" => StochasticPoolGrad,
        "avg_pool" | "global_avg_pool" => AvgPool,
        "avg_pool_grad" | "global_avg_pool_grad" => AvgPoolGrad,
        "batch_norm" => BatchNorm,
        "batch_norm_grad" => BatchNormGrad,
        "running_update" => RunningUpdate,
        "group_norm" | "instance_norm" | "layer_norm" => Norm,
        "group_norm_grad" | "instance_norm_grad" | "layer_norm_grad" => NormGrad,
        "lrn" => Lrn,
        "lrn_grad" => LrnGrad,
        "floor" | "round" | "held" | "above" => Stepwise,
        "prelu" => Prelu,
        "prelu_grad" => PreluGrad,
        "dropout" => Dropout,
        "add" | "sub" | "mul" | "div" | "maximum" => Binary,
        "maximum_grad" => MaximumGrad,
        "sum_to" => SumTo,
        "broadcast_to" => BroadcastTo,
        "concat" => Concat,
        "slice" => Slice,
        "slice_grad" => SliceGrad,
        "reshape" => Reshape,
        "transpose" => Transpose,
        "pad" => Pad,
        "pad_grad" => PadGrad,
        "upsample_nearest" | "upsample_bilinear" => Upsample,
        "upsample_nearest_grad" | "upsample_bilinear_grad" => UpsampleGrad,
        "softmax" | "log_softmax" => Softmax,
        "softmax_grad" | "log_softmax_grad" => SoftmaxGrad,
        "reduce_sum" | "reduce_mean" | "reduce_max" => Reduce,
        "arg_max" => ArgMax,
        "top_k" => TopK,
        "one_hot" => OneHot,
        "accuracy" => Accuracy,
        "accumulate" => Accumulate,
        "sgd_update" => SgdUpdate,
        "adam_update" => AdamUpdate,
        "muon_update" => MuonUpdate,
    })
}

/// A loss or an activation, or the gradient of one.
fn kind(from: &mut Fields) -> Result<Op, String> {
    let is_gradient = from.of.ends_with("_grad");
    let is_loss = matches!(
        from.of.strip_suffix("_grad").unwrap_or(&from.of),
        "softmax_cross_entropy"
            | "sigmoid_cross_entropy"
            | "mean_squared_error"
            | "hinge"
            | "contrastive"
            | "triplet"
    );
    Ok(match (is_loss, is_gradient) {
        (true, false) => Op::Loss(Attribute::take("", from)?),
        (true, true) => Op::LossGrad(Attribute::take("", from)?),
        (false, false) => Op::Activation(Attribute::take("", from)?),
        (false, true) => Op::ActivationGrad(Attribute::take("", from)?),
    })
}
