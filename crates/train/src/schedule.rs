//! Which learning rate does each step get?
//!
//! Every schedule is a pure function of the step, so a resumed run needs nothing but its step number.
//!
//! - Constant: the peak, always.
//! - Cosine: up in a straight line for `warmup_epochs`, then half a cosine down to `floor` x peak (Loshchilov and
//!   Hutter 2017, "SGDR", eq. 5, one period; the warm-up is Goyal et al. 2017, section 2.2).
//! - One-cycle: up in a straight line from `start` x peak until `rise` of the run is over, then in a straight line
//!   down to `end` x peak (Smith and Topin 2018, "Super-Convergence", section 3). Momentum is not cycled.
//! - Step, multi-step, exponential, polynomial, inverse: Caffe's and PyTorch's policies of these names, formulas below.
//! - Plateau: the peak, times `factor` whenever validation has not got better for a while: a function of the finished
//!   epochs, which a checkpoint holds.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How the learning rate moves over a run. Shares are of the peak rate, unless they say "of the run".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// The peak rate at every step.
    Constant,
    /// Warm-up, then half a cosine.
    Cosine {
        /// Epochs of linear warm-up (may be a fraction).
        warmup_epochs: f64,
        /// Share of the peak left at the end.
        floor: f64,
    },
    /// Up, then down.
    OneCycle {
        /// Share of the run spent rising, 0 to 1.
        rise: f64,
        /// Share of the peak at the first step.
        start: f64,
        /// Share of the peak at the last step.
        end: f64,
    },
    /// `factor ^ floor(epoch / every)`.
    Step {
        /// Epochs between changes.
        every: f64,
        /// What the rate is multiplied by.
        factor: f64,
    },
    /// `factor ^ (marks passed)`.
    MultiStep {
        /// Epochs at which the rate changes.
        marks: Vec<f64>,
        /// What it is multiplied by.
        factor: f64,
    },
    /// `factor ^ epoch`, from step to step.
    Exponential {
        /// What the rate is multiplied by in the course of an epoch.
        factor: f64,
    },
    /// `(1 - step / steps) ^ power`.
    Polynomial {
        /// 1 is a straight line.
        power: f64,
    },
    /// `(1 + gamma step) ^ -power`.
    Inverse {
        /// How soon it falls.
        gamma: f64,
        /// How steeply.
        power: f64,
    },
    /// `factor ^ (times that validation stood still)`.
    Plateau {
        /// What the rate is multiplied by.
        factor: f64,
        /// Epochs without a lower validation loss before that happens.
        patience: usize,
    },
}

impl Schedule {
    /// One-cycle with a rise over the first quarter, from a tenth of the peak, down to nothing.
    pub fn one_cycle() -> Self {
        Schedule::OneCycle { rise: 0.25, start: 0.1, end: 0.0 }
    }

    /// Cosine to zero after `warmup_epochs` of warm-up.
    pub fn cosine(warmup_epochs: f64) -> Self {
        Schedule::Cosine { warmup_epochs, floor: 0.0 }
    }

    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Schedule::Constant => "constant",
            Schedule::Cosine { .. } => "cosine",
            Schedule::OneCycle { .. } => "one-cycle",
            Schedule::Step { .. } => "step",
            Schedule::MultiStep { .. } => "multi-step",
            Schedule::Exponential { .. } => "exponential",
            Schedule::Polynomial { .. } => "polynomial",
            Schedule::Inverse { .. } => "inverse",
            Schedule::Plateau { .. } => "plateau",
        }
    }

    /// Checks the constants of the kinds that have them from the command line.
    pub fn validate(&self) -> Result<(), TrainError> {
        let fault = |what: String| Err(TrainError::setting(format!("schedule {}: {what}", self.name())));
        let factor_is_sound = |factor: f64| factor > 0.0 && factor <= 1.0;
        match *self {
            Schedule::Step { factor, .. }
            | Schedule::MultiStep { factor, .. }
            | Schedule::Exponential { factor }
            | Schedule::Plateau { factor, .. }
                if !factor_is_sound(factor) =>
            {
                fault(format!("--gamma must lie above 0 and up to 1, got {factor}"))
            }
            Schedule::Step { every, .. } if !(every.is_finite() && every > 0.0) => {
                fault(format!("the epochs between changes must be above 0, got {every}"))
            }
            Schedule::MultiStep { ref marks, .. }
                if marks.iter().any(|mark| mark.is_nan())
                    || marks.windows(2).any(|pair| pair[0] > pair[1]) =>
            {
                fault(format!("--milestones must rise, got {marks:?}"))
            }
            Schedule::Polynomial { power } if !(power.is_finite() && power >= 0.0) => {
                fault(format!("--power must be 0 or more, got {power}"))
            }
            Schedule::Inverse { gamma, power }
                if !(gamma >= 0.0 && power >= 0.0 && (gamma + power).is_finite()) =>
            {
                fault(format!("--gamma and --power must be 0 or more, got {gamma} and {power}"))
            }
            Schedule::Plateau { patience: 0, .. } => fault("its patience must be at least 1 epoch".into()),
            _ => Ok(()),
        }
    }

    /// What validation has made of the rate after epochs of these `losses`, as a share: 1 for all but a plateau's.
    pub fn share_after(&self, losses: impl Iterator<Item = f64>) -> f64 {
        let Schedule::Plateau { factor, patience } = *self else { return 1.0 };
        let (mut share, mut best, mut waited) = (1.0, f64::INFINITY, 0);
        for loss in losses {
            // A gain below one in ten thousand is none (PyTorch's ReduceLROnPlateau).
            if loss < best * (1.0 - 1e-4) {
                (best, waited) = (loss, 0);
            } else {
                waited += 1;
            }
            if waited >= patience {
                (share, waited) = (share * factor, 0);
            }
        }
        share
    }
}

/// How long a run is, in optimiser steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Steps in one epoch, at least 1.
    pub steps_per_epoch: usize,
    /// Epochs in the run.
    pub epochs: usize,
}

impl Length {
    /// Steps in the whole run.
    pub fn steps(&self) -> usize {
        self.steps_per_epoch * self.epochs
    }
}

impl Schedule {
    /// The learning rate of step `step` (from 0) of a run of `length` whose highest rate is `peak`.
    ///
    /// ```
    /// use ocellus_train::schedule::{Length, Schedule};
    /// let length = Length { steps_per_epoch: 10, epochs: 4 };
    /// let schedule = Schedule::one_cycle();
    /// assert!(schedule.rate(0, length, 0.1) < 0.02);
    /// assert_eq!(schedule.rate(10, length, 0.1), 0.1);
    /// assert!(schedule.rate(39, length, 0.1) < 0.01);
    /// ```
    pub fn rate(&self, step: usize, length: Length, peak: f64) -> f32 {
        (peak * self.share(step as f64, length)) as f32
    }

    /// The rate at `step` as a share of the peak.
    fn share(&self, step: f64, length: Length) -> f64 {
        let total = length.steps() as f64;
        let epoch = step / length.steps_per_epoch.max(1) as f64;
        match *self {
            Schedule::Constant | Schedule::Plateau { .. } => 1.0,
            Schedule::Step { every, factor } => factor.powf((epoch / every).floor()),
            Schedule::MultiStep { ref marks, factor } => {
                factor.powi(marks.iter().filter(|&&mark| epoch >= mark).count() as i32)
            }
            Schedule::Exponential { factor } => factor.powf(epoch),
            Schedule::Polynomial { power } => (1.0 - step / total.max(1.0)).max(0.0).powf(power),
            Schedule::Inverse { gamma, power } => (1.0 + gamma * step).powf(-power),
            Schedule::Cosine { warmup_epochs, floor } => {
                let warmup = (warmup_epochs * length.steps_per_epoch as f64).min(total);
                if step < warmup {
                    return (step + 1.0) / (warmup + 1.0);
                }
                let done = (step - warmup) / (total - warmup).max(1.0);
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
            }
            Schedule::OneCycle { rise, start, end } => {
                let top = (rise.clamp(0.0, 1.0) * total).max(1.0);
                if step < top {
                    return start + (1.0 - start) * step / top;
                }
                let down = (total - top).max(1.0);
                1.0 + (end - 1.0) * ((step - top) / down).min(1.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Length = Length { steps_per_epoch: 100, epochs: 10 };

    fn rates(schedule: Schedule) -> Vec<f32> {
        (0..LENGTH.steps()).map(|s| schedule.rate(s, LENGTH, 0.2)).collect()
    }

    fn peak_of(rates: &[f32]) -> usize {
        (0..rates.len()).max_by(|&a, &b| rates[a].total_cmp(&rates[b])).unwrap()
    }

    #[test]
    fn constant_never_moves() {
        assert!(rates(Schedule::Constant).iter().all(|&r| r == 0.2));
    }

    #[test]
    fn cosine_warms_up_then_falls_to_its_floor() {
        let r = rates(Schedule::Cosine { warmup_epochs: 2.0, floor: 0.1 });
        assert_eq!(peak_of(&r), 200);
        assert!((r[200] - 0.2).abs() < 1e-7);
        assert!(r[0] > 0.0 && r[0] < 0.01);
        assert!((r[600] - 0.11).abs() < 1e-6, "half way down lies the mean of peak and floor: {}", r[600]);
        assert!((r[999] - 0.02).abs() < 1e-4);
    }

    #[test]
    fn one_cycle_rises_and_falls_in_straight_lines() {
        let r = rates(Schedule::OneCycle { rise: 0.3, start: 0.1, end: 0.0 });
        assert_eq!(peak_of(&r), 300);
        assert!((r[0] - 0.02).abs() < 1e-7);
        assert!((r[150] - 0.11).abs() < 1e-6);
        assert!((r[650] - 0.1).abs() < 1e-6);
        assert!(r[999] > 0.0 && r[999] < 3e-4);
    }

    #[test]
    fn policies_follow_their_formulas() {
        let at = |schedule: &Schedule, step: usize| schedule.rate(step, LENGTH, 1.0);
        let close = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-6, "{a} is not {b}");
        let step = Schedule::Step { every: 3.0, factor: 0.1 };
        [(0, 1.0), (299, 1.0), (300, 0.1), (999, 1e-3)].into_iter().for_each(|(s, r)| close(at(&step, s), r));
        let marks = Schedule::MultiStep { marks: vec![5.0, 7.5], factor: 0.5 };
        [(499, 1.0), (500, 0.5), (749, 0.5), (750, 0.25)]
            .into_iter()
            .for_each(|(s, r)| close(at(&marks, s), r));
        close(at(&Schedule::Exponential { factor: 0.5 }, 200), 0.25);
        close(at(&Schedule::Polynomial { power: 2.0 }, 500), 0.25);
        close(at(&Schedule::Inverse { gamma: 0.01, power: 0.5 }, 300), 0.5);
    }

    #[test]
    fn a_plateau_is_told_by_the_losses_alone() {
        let plateau = Schedule::Plateau { factor: 0.1, patience: 2 };
        let share = |losses: &[f64]| plateau.share_after(losses.iter().copied());
        assert_eq!(share(&[]), 1.0);
        assert_eq!(share(&[1.0, 0.9, 0.95]), 1.0);
        assert_eq!(share(&[1.0, 0.9, 0.95, 0.9]), 0.1);
        assert_eq!(share(&[1.0, 0.9, 0.95, 0.8, 0.8, 0.7]), 1.0);
        assert!((share(&[1.0, 1.0, 1.0, 1.0, 1.0]) - 0.01).abs() < 1e-12);
        assert_eq!(Schedule::Constant.share_after([1.0; 9].into_iter()), 1.0);
    }

    #[test]
    fn impossible_policies_are_refused() {
        let refusal = |schedule: Schedule| schedule.validate().unwrap_err().to_string();
        assert!(refusal(Schedule::Step { every: 0.0, factor: 0.1 }).contains("epochs between"));
        assert!(refusal(Schedule::Exponential { factor: 0.0 }).contains("--gamma"));
        assert!(refusal(Schedule::MultiStep { marks: vec![3.0, 2.0], factor: 0.1 }).contains("--milestones"));
        assert!(refusal(Schedule::Inverse { gamma: f64::NAN, power: 1.0 }).contains("--gamma"));
        assert!(refusal(Schedule::Plateau { factor: 0.1, patience: 0 }).contains("patience"));
    }

    #[test]
    fn short_and_odd_runs_stay_finite_and_within_the_peak() {
        for epochs in 1..3 {
            for steps_per_epoch in 1..4 {
                let length = Length { steps_per_epoch, epochs };
                for schedule in [Schedule::one_cycle(), Schedule::cosine(5.0), Schedule::cosine(0.0)] {
                    for step in 0..length.steps() {
                        let rate = schedule.rate(step, length, 0.1);
                        assert!((0.0..=0.1).contains(&rate), "{schedule:?} {length:?} step {step}: {rate}");
                    }
                }
            }
        }
    }
}
