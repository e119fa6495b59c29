//! Which of the networks that one description holds is meant?

use std::collections::BTreeMap;

use super::message::{Fault, Message};

/// What the network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Phase {
    /// Learning.
    Train,
    /// Testing and use.
    #[default]
    Test,
}

/// Caffe's `NetState`, and what stands in databases rather than in the description.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NetOptions {
    /// Which phase's layers are taken.
    pub phase: Phase,
    /// Stages that `stage` and `not_stage` rules ask for.
    pub stages: Vec<String>,
    /// The level that `min_level` and `max_level` rules ask for.
    pub level: i32,
    /// Sizes of one item, without the batch, by the name of the top it is: `("data", [3, 227, 227])`. Needed for
    /// layers that read a database, unless `crop_size` tells them.
    pub items: BTreeMap<String, Vec<usize>>,
    /// Sizes of one item of whatever database's first top has none of its own.
    pub any_item: Option<Vec<usize>>,
}

impl NetOptions {
    /// The network of one phase, at level 0 and without stages.
    pub fn phase(phase: Phase) -> Self {
        NetOptions { phase, ..NetOptions::default() }
    }

    /// The same, with the level and the stages of the description's own `state` beside those that were asked for.
    pub(super) fn with_state_of(&self, net: &Message) -> Result<Self, Fault> {
        let mut options = self.clone();
        if let Some(state) = net.message("state")? {
            state.only("the state", &["phase", "level", "stage"])?;
            options.stages.extend(state.texts("stage")?);
            if options.level == 0 {
                options.level = i32::try_from(state.i64("level", 0)?).unwrap_or(i32::MAX);
            }
        }
        Ok(options)
    }

    /// The same, where one item of the top `name` has these sizes.
    pub fn item(mut self, name: impl Into<String>, sizes: impl Into<Vec<usize>>) -> Self {
        self.items.insert(name.into(), sizes.into());
        self
    }

    /// The same, where one item of any database whose sizes are not known has these.
    pub fn any_item(mut self, sizes: impl Into<Vec<usize>>) -> Self {
        self.any_item = Some(sizes.into());
        self
    }
}
