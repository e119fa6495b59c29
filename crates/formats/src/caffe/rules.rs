//! Which layers belong to a phase: Caffe's `include` and `exclude` rules.

use super::message::{Fault, Message};
use super::options::{NetOptions, Phase};

/// Whether a layer with these rules is part of the network under `options`.
pub(in crate::caffe) fn included(layer: &Message, options: &NetOptions) -> Result<bool, Fault> {
    if let (Some(field), Some(_)) = (layer.get("include"), layer.get("exclude")) {
        return Err(field.fault("a layer has include or exclude rules, not both".to_string()));
    }
    let meets = |name: &str| -> Result<Option<bool>, Fault> {
        let mut any = None;
        for field in layer.all(name) {
            let met = meets_rule(field.as_message()?, options)?;
            any = Some(any.unwrap_or(false) || met);
        }
        Ok(any)
    };
    Ok(match (meets("include")?, meets("exclude")?) {
        (Some(met), _) => met,
        (None, Some(met)) => !met,
        (None, None) => true,
    })
}

fn meets_rule(rule: &Message, options: &NetOptions) -> Result<bool, Fault> {
    rule.only("the rule", &["phase", "min_level", "max_level", "stage", "not_stage"])?;
    if rule.get("phase").is_some() {
        let phase = [Phase::Train, Phase::Test][rule.choice("phase", &["TRAIN", "TEST"])?];
        if phase != options.phase {
            return Ok(false);
        }
    }
    let level = i64::from(options.level);
    let levels = rule.i64("min_level", i64::MIN)?..=rule.i64("max_level", i64::MAX)?;
    let has = |stage: &String| options.stages.contains(stage);
    let stages = rule.texts("stage")?.iter().all(has);
    let no_other = !rule.texts("not_stage")?.iter().any(has);
    Ok(levels.contains(&level) && stages && no_other)
}
