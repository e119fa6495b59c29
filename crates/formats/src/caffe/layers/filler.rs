//! How parameters are filled before training: Caffe's `FillerParameter`.

use ocellus_graph::{Distribution, Fan, Init};

use crate::caffe::message::{Fault, Message};

const FIELDS: [&str; 8] = ["type", "value", "min", "max", "mean", "std", "sparse", "variance_norm"];

/// The filler in the field `name` of a layer's settings; zeros if there is none, as in Caffe.
///
/// A gaussian's `sparse` (how many inputs of each output are not zero) is not kept.
pub(in crate::caffe) fn filler(settings: &Message, name: &str) -> Result<Init, Fault> {
    let Some(filler) = settings.message(name)? else { return Ok(Init::Constant(0.0)) };
    filler.only(name, &FIELDS)?;
    let fan = [Fan::In, Fan::Out, Fan::Average]
        [filler.choice("variance_norm", &["FAN_IN", "FAN_OUT", "AVERAGE"])?];
    let scaled = |gain, distribution| Init::VarianceScaling { gain, fan, distribution };
    Ok(match filler.text("type")?.unwrap_or("constant") {
        "constant" => Init::Constant(filler.f32("value", 0.0)?),
        "uniform" => Init::Uniform { low: filler.f32("min", 0.0)?, high: filler.f32("max", 1.0)? },
        "gaussian" => Init::Normal { mean: filler.f32("mean", 0.0)?, std: filler.f32("std", 1.0)? },
        "xavier" => scaled(1.0, Distribution::Uniform),
        "msra" => scaled(std::f32::consts::SQRT_2, Distribution::Normal),
        "bilinear" => Init::Bilinear,
        other => {
            let what = format!("the filler {other} of {name} is not supported");
            let next = "known are constant, uniform, gaussian, xavier, msra, bilinear";
            return Err(Fault::new(filler.line, what, next));
        }
    })
}
