//! Which learning rate does each step get?
//!
//! Every schedule is a pure function of the step, so a resumed run needs nothing but its step number.
//!
//! - Constant: the peak, always.
//! - Cosine: up in a straight line for `warmup_epochs`, then half a cosine down to `floor` x peak (Loshchilov and
//!   Hutter 2017, "SGDR", eq. 5, one period; the warm-up is Goyal et al. 2017, section 2.2).
//! - One-cycle: up in a straight line from `start` x peak until `rise` of the run is over, then in a straight line
//!   down to `end` x peak (Smith and Topin 2018, "Super-Convergence", section 3). Momentum is not cycled.

use serde::{Deserialize, Serialize};

/// How the learning rate moves over a run. Shares are of the peak rate, unless they say "of the run".
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
        match *self {
            Schedule::Constant => 1.0,
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
