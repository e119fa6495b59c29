//! How parameters are filled before training: Caffe's `FillerParameter`.

use ocellus_graph::{Distribution, Fan, Init};

use crate::caffe::message::{Fault, Message};

const FIELDS: [&str; 8] = ["type", "value", "min", "max", "mean", "std", "sparse", "variance_norm"];

/// The filler in the field `name` of a layer's settings; zeros if there is none, as in Caffe.
pub(in crate::caffe) fn filler(settings: &Message, name: &str) -> Result<Init, Fault> {
    let Some(filler) = settings.message(name)? else { return Ok(Init::Constant(0.0)) };
    filler.only(name, &FIELDS)?;
    let fan = [Fan::In, Fan::Out, Fan::Average]
        [filler.choice("variance_norm", &["FAN_IN", "FAN_OUT", "AVERAGE"])?];
    let scaled = |gain, distribution| Init::VarianceScaling { gain, fan, distribution };
    Ok(match filler.text("type")?.unwrap_or("constant") {
        "constant" => Init::Constant(filler.f32("value", 0.0)?),
        "uniform" => Init::Uniform { low: filler.f32("min", 0.0)?, high: filler.f32("max", 1.0)? },
        "gaussian" => {
            let (mean, std) = (filler.f32("mean", 0.0)?, filler.f32("std", 1.0)?);
            // -1 stands for a dense one.
            match filler.i64("sparse", -1)? {
                count if count < 0 => Init::Normal { mean, std },
                count => Init::SparseNormal { mean, std, count: u32::try_from(count).unwrap_or(u32::MAX) },
            }
        }
        "xavier" => scaled(1.0, Distribution::Uniform),
        "msra" => scaled(std::f32::consts::SQRT_2, Distribution::Normal),
        "bilinear" => Init::Bilinear,
        "positive_unitball" => Init::PositiveUnitBall,
        other => {
            let what = format!("the filler {other} of {name} is not supported");
            let next = "known are constant, uniform, gaussian, positive_unitball, xavier, msra, bilinear";
            return Err(Fault::new(filler.line, what, next));
        }
    })
}
