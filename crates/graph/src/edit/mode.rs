//! From a description to a network for training, and back to one for inference.

use super::rebuild::{Changes, Replay};
use crate::ops::{BatchNorm, Dropout, RunningUpdate, Statistics, StochasticPool};
use crate::{Graph, GraphError, NodeId, Op, Output, ValueId};

/// Choices of [`Graph::for_training_with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TrainingOptions {
    /// Every BatchNorm keeps its running statistics, as in fine-tuning with small batches.
    pub frozen_statistics: bool,
}

impl Graph {
    /// The network as it is trained: dropout and stochastic pooling active, BatchNorms by the batch's statistics, which
    /// are gathered into the running ones by `NAME.update` nodes at the end. A BatchNorm with a frozen parameter keeps its running
    /// statistics.
    ///
    /// Refused: batch statistics of a single value per channel.
    pub fn for_training(&self) -> Result<Graph, GraphError> {
        self.for_training_with(TrainingOptions::default())
    }

    /// As [`Graph::for_training`], with options.
    pub fn for_training_with(&self, options: TrainingOptions) -> Result<Graph, GraphError> {
        let mut gathered = Vec::new();
        let replay = Changes::none(self).apply_with(|replay, id| match self.node(id).op {
            Op::Dropout(dropout) => replay.copy_as(id, Op::Dropout(Dropout { active: true, ..dropout })),
            Op::StochasticPool(pool) => {
                replay.copy_as(id, Op::StochasticPool(StochasticPool { active: true, ..pool }))
            }
            Op::BatchNorm(norm) if !options.frozen_statistics && self.learns_statistics(id, norm) => {
                let made = to_batch_statistics(replay, id, norm)?;
                gathered.push((id, made.clone()));
                Ok(made)
            }
            _ => replay.copy(id),
        })?;
        gathered.into_iter().try_fold(replay, gather).map(|replay| replay.graph)
    }

    /// Whether a BatchNorm now uses running statistics that none of its parameters, by being frozen, keeps as is.
    fn learns_statistics(&self, id: NodeId, norm: BatchNorm) -> bool {
        let params = self.node(id).inputs[1..].iter().filter_map(|&input| self.param_of(input));
        norm.statistics == Statistics::Running && !params.into_iter().any(|param| self.param(param).frozen)
    }

    /// The network as it predicts: BatchNorms by running statistics, nothing drawn at random, no losses, no accuracies, no
    /// auxiliary outputs, and nothing that only they needed.
    ///
    /// Refused: a network without any other output, and batch statistics that were never gathered.
    pub fn for_inference(&self) -> Result<Graph, GraphError> {
        let scores = self.made_of_scores();
        let mut changes = Changes::none(self);
        changes.losses.fill(false);
        let stays = |output: &Output| !scores[output.value.index()] && output.auxiliary.is_none();
        changes.outputs = self.outputs().iter().map(stays).collect();
        if !changes.outputs.contains(&true) {
            let message = "no output is left for inference but losses and accuracies".to_string();
            return Err(GraphError::Name { name: self.name.clone(), message });
        }
        self.keep_needed(&mut changes);
        self.keep_statistics(&mut changes);
        let replay = changes.apply_with(|replay, id| match self.node(id).op {
            Op::Dropout(dropout) => replay.copy_as(id, Op::Dropout(Dropout { active: false, ..dropout })),
            Op::StochasticPool(pool) => {
                replay.copy_as(id, Op::StochasticPool(StochasticPool { active: false, ..pool }))
            }
            Op::BatchNorm(norm) if norm.statistics == Statistics::Batch => self.to_running(replay, id, norm),
            _ => replay.copy(id),
        })?;
        Ok(replay.graph)
    }

    /// By value: whether it is a loss or an accuracy, or made of one.
    fn made_of_scores(&self) -> Vec<bool> {
        let mut scores = vec![false; self.values().len()];
        for node in self.nodes() {
            let is_score = matches!(node.op, Op::Loss(_) | Op::Accuracy(_));
            if is_score || node.inputs.iter().any(|input| scores[input.index()]) {
                node.outputs.iter().for_each(|output| scores[output.index()] = true);
            }
        }
        scores
    }

    /// Drops updates, but keeps the statistics of the BatchNorms that stay.
    fn keep_statistics(&self, changes: &mut Changes) {
        for index in 0..self.nodes().len() {
            let node = &self.nodes()[index];
            let kept_statistics = changes.nodes[index] && matches!(node.op, Op::RunningUpdate(_));
            if kept_statistics {
                for param in node.inputs[..node.op.writes()].iter().filter_map(|&input| self.param_of(input))
                {
                    changes.params[param.index()] = true;
                }
            }
            changes.nodes[index] &= node.op.writes() == 0;
        }
    }

    /// A BatchNorm that used the batch's statistics, by the running ones that its update names.
    fn to_running(
        &self,
        replay: &mut Replay,
        id: NodeId,
        norm: BatchNorm,
    ) -> Result<Vec<ValueId>, GraphError> {
        let node = self.node(id);
        let update = self.nodes().iter().find(|other| {
            matches!(other.op, Op::RunningUpdate(_)) && other.inputs.get(2) == node.outputs.get(1)
        });
        let Some(update) = update else {
            let message = "its batch statistics were never gathered, so inference has none to use";
            return Err(GraphError::node(&node.name, message));
        };
        let mut inputs = replay.inputs(id)?;
        inputs.extend([replay.now(update.inputs[0])?, replay.now(update.inputs[1])?]);
        let op = Op::BatchNorm(BatchNorm { statistics: Statistics::Running, ..norm });
        replay.graph.add_node(&node.name, op, inputs)
    }
}

/// Copies a BatchNorm without its running statistics.
fn to_batch_statistics(replay: &mut Replay, id: NodeId, norm: BatchNorm) -> Result<Vec<ValueId>, GraphError> {
    let mut inputs = replay.inputs(id)?;
    inputs.truncate(inputs.len() - 2);
    let op = Op::BatchNorm(BatchNorm { statistics: Statistics::Batch, ..norm });
    replay.graph.add_node(&replay.old.node(id).name, op, inputs)
}

/// Appends the update of one BatchNorm's running statistics.
fn gather<'g>(mut replay: Replay<'g>, (id, made): (NodeId, Vec<ValueId>)) -> Result<Replay<'g>, GraphError> {
    let node = replay.old.node(id);
    let Op::BatchNorm(norm) = node.op else { return Ok(replay) };
    let statistics = &node.inputs[node.inputs.len() - 2..];
    let inputs = vec![replay.now(statistics[0])?, replay.now(statistics[1])?, made[1], made[2]];
    let x = replay.graph.shape(made[0]);
    let update = RunningUpdate { momentum: norm.momentum, count: x.elements() / x[1] };
    replay.graph.add_node(format!("{}.update", node.name), Op::RunningUpdate(update), inputs)?;
    Ok(replay)
}
