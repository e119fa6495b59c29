//! Optimisers that give each number, or each parameter, a rate of its own.
//!
//! With g the gradient, w the weight, d the decay, r the rate, t the step from 1:
//!
//! ```text
//! Adam      g += d w;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  w -= r (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)
//! RMSProp   g += d w;  v = b2 v + (1-b2) g^2;                        w -= r g / (sqrt v + eps)
//! AdaGrad   g += d w;  v += g^2;                                     w -= r g / (sqrt v + eps)
//! AdaDelta  g += d w;  v = b2 v + (1-b2) g^2;  u = g sqrt(m + eps) / sqrt(v + eps);  m = b2 m + (1-b2) u^2;  w -= r u
//! LARS      l = trust |w| / (|g| + d |w|);  m = b1 m + r l (g + d w);                w -= m
//! LAMB      m, v as Adam without decay;  u = (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps) + d w;  w -= r |w| / |u| u
//! ```
//!
//! where |x| is the Euclidean length of a whole parameter. Biases and norms (rank below 2) have l and |w| / |u| at 1,
//! as the papers' own programs do. Sources: Kingma and Ba 2015; Tieleman and Hinton 2012, lecture 6.5; Duchi et al.
//! 2011; Zeiler 2012; You et al. 2017, "Large Batch Training of Convolutional Networks"; You et al. 2020, "Large Batch
//! Optimization for Deep Learning", algorithm 2.
//!
//! They run on the gradients that a step has gathered, one pass or two over memory, and allocate nothing.

use serde::{Deserialize, Serialize};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Adam with an L2 penalty; its decoupled form is AdamW.
    Adam,
    /// Divides by the root of a running mean of squares.
    #[serde(rename = "rmsprop")]
    RmsProp,
    /// Divides by the root of the sum of squares.
    #[serde(rename = "adagrad")]
    AdaGrad,
    /// Units of the weights by a running mean of squared steps.
    #[serde(rename = "adadelta")]
    AdaDelta,
    /// SGD with momentum, each parameter's step in proportion to its length.
    Lars,
    /// Adam, each parameter's step in proportion to its length.
    Lamb,
}

impl Rule {
    /// Names of the state that it keeps for each parameter, as prefixes.
    pub fn state(self) -> &'static [&'static str] {
        match self {
            Rule::RmsProp | Rule::AdaGrad => &["second/"],
            Rule::Lars => &["velocity/"],
            Rule::Adam | Rule::AdaDelta | Rule::Lamb => &["second/", "first/"],
        }
    }
}

/// One step of one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveStep {
    /// Which rule.
    pub rule: Rule,
    /// Learning rate, the parameter's own multiplier included.
    pub rate: f64,
    /// Number of this step, from 1.
    pub step: u64,
    /// b1: share of the old first moment or velocity kept.
    pub momentum: f64,
    /// b2: share of the old second moment kept.
    pub decay: f64,
    /// Added to roots.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// LARS's and LAMB's factor of the length; 0 leaves lengths out.
    pub trust: f64,
}

impl AdaptiveStep {
    /// Updates `w` and its state, of which `first` is empty where the rule has one list alone.
    pub fn run(&self, gradient: &[f32], w: &mut [f32], second: &mut [f32], first: &mut [f32]) {
        match self.rule {
            Rule::RmsProp | Rule::AdaGrad => self.root(gradient, w, second),
            Rule::AdaDelta => self.delta(gradient, w, second, first),
            Rule::Adam => {
                self.moments(gradient, w, second, first);
                self.descend(w, second, first, 1.0, 0.0);
            }
            Rule::Lars => self.lars(gradient, w, second),
            Rule::Lamb => self.lamb(gradient, w, second, first),
        }
    }

    fn penalised(&self, g: f32, w: f32) -> f64 {
        f64::from(g) + self.weight_decay * f64::from(w)
    }

    fn root(&self, gradient: &[f32], w: &mut [f32], second: &mut [f32]) {
        let (old, new) = match self.rule {
            Rule::AdaGrad => (1.0, 1.0),
            _ => (self.decay, 1.0 - self.decay),
        };
        for ((w, v), &g) in w.iter_mut().zip(second).zip(gradient) {
            let g = self.penalised(g, *w);
            let square = old * f64::from(*v) + new * g * g;
            *v = square as f32;
            *w = (f64::from(*w) - self.rate * g / (square.sqrt() + self.eps)) as f32;
        }
    }

    fn delta(&self, gradient: &[f32], w: &mut [f32], second: &mut [f32], first: &mut [f32]) {
        let blend = |old: f32, new: f64| self.decay * f64::from(old) + (1.0 - self.decay) * new;
        for (((w, v), m), &g) in w.iter_mut().zip(second).zip(first).zip(gradient) {
            let g = self.penalised(g, *w);
            let square = blend(*v, g * g);
            let step = g * ((f64::from(*m) + self.eps) / (square + self.eps)).sqrt();
            (*v, *m) = (square as f32, blend(*m, step * step) as f32);
            *w = (f64::from(*w) - self.rate * step) as f32;
        }
    }

    /// Adam's two moments; with the penalty in the gradient unless decay is decoupled (LAMB).
    fn moments(&self, gradient: &[f32], w: &[f32], second: &mut [f32], first: &mut [f32]) {
        for (((&w, v), m), &g) in w.iter().zip(second).zip(first).zip(gradient) {
            let g = if self.rule == Rule::Lamb { f64::from(g) } else { self.penalised(g, w) };
            *m = (self.momentum * f64::from(*m) + (1.0 - self.momentum) * g) as f32;
            *v = (self.decay * f64::from(*v) + (1.0 - self.decay) * g * g) as f32;
        }
    }

    /// Adam's direction for one number, with `decay` of the weight added.
    fn direction(&self, w: f32, v: f32, m: f32, unbias: [f64; 2], decay: f64) -> f64 {
        let root = (f64::from(v) * unbias[1]).sqrt() + self.eps;
        f64::from(m) * unbias[0] / root + decay * f64::from(w)
    }

    fn unbias(&self) -> [f64; 2] {
        [self.momentum, self.decay].map(|share| 1.0 / (1.0 - share.powf(self.step as f64)))
    }

    fn descend(&self, w: &mut [f32], second: &[f32], first: &[f32], ratio: f64, decay: f64) {
        let unbias = self.unbias();
        for ((w, &v), &m) in w.iter_mut().zip(second).zip(first) {
            let step = self.direction(*w, v, m, unbias, decay);
            *w = (f64::from(*w) - self.rate * ratio * step) as f32;
        }
    }

    fn lars(&self, gradient: &[f32], w: &mut [f32], velocity: &mut [f32]) {
        let (own, of_gradient) = (length(w), length(gradient));
        let ratio = match self.trust > 0.0 && own > 0.0 && of_gradient > 0.0 {
            true => self.trust * own / (of_gradient + self.weight_decay * own),
            false => 1.0,
        };
        for ((w, v), &g) in w.iter_mut().zip(velocity).zip(gradient) {
            let speed = self.momentum * f64::from(*v) + self.rate * ratio * self.penalised(g, *w);
            *v = speed as f32;
            *w = (f64::from(*w) - speed) as f32;
        }
    }

    fn lamb(&self, gradient: &[f32], w: &mut [f32], second: &mut [f32], first: &mut [f32]) {
        self.moments(gradient, w, second, first);
        let unbias = self.unbias();
        let squares = w.iter().zip(&*second).zip(&*first).map(|((&w, &v), &m)| {
            let step = self.direction(w, v, m, unbias, self.weight_decay);
            step * step
        });
        let (own, of_step) = (length(w), squares.sum::<f64>().sqrt());
        let scaled = self.trust > 0.0 && own > 0.0 && of_step > 0.0;
        let ratio = if scaled { self.trust * own / of_step } else { 1.0 };
        self.descend(w, second, first, ratio, self.weight_decay);
    }
}

/// The Euclidean length, summed in order.
pub(crate) fn length(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rule: Rule) -> AdaptiveStep {
        AdaptiveStep {
            rule,
            rate: 0.1,
            step: 1,
            momentum: 0.9,
            decay: 0.99,
            eps: 0.0,
            weight_decay: 0.0,
            trust: 0.0,
        }
    }

    fn after(step: AdaptiveStep, w: [f32; 2], g: [f32; 2]) -> ([f32; 2], [f32; 2], [f32; 2]) {
        let (mut w, mut v, mut m) = (w, [0.0; 2], [0.0; 2]);
        step.run(&g, &mut w, &mut v, &mut m);
        (w, v, m)
    }

    fn close(a: [f32; 2], b: [f32; 2]) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} is not {b:?}");
    }

    #[test]
    fn the_first_step_of_each_as_reckoned_by_hand() {
        // Adam's first step is the sign of the gradient.
        close(after(step(Rule::Adam), [1.0, 1.0], [2.0, -3.0]).0, [0.9, 1.1]);
        // v = 0.01 g^2, so g / sqrt v = 10 sign g.
        close(after(step(Rule::RmsProp), [1.0, 1.0], [2.0, -3.0]).0, [0.0, 2.0]);
        // v = g^2.
        let (w, v, _) = after(step(Rule::AdaGrad), [1.0, 1.0], [2.0, -3.0]);
        close(w, [0.9, 1.1]);
        close(v, [4.0, 9.0]);
        // u = g sqrt(eps) / sqrt(0.01 g^2 + eps), with eps 1 and g 10: 10 / sqrt 2.
        let (w, v, m) = after(AdaptiveStep { eps: 1.0, ..step(Rule::AdaDelta) }, [1.0, 1.0], [10.0, -10.0]);
        let u = 10.0 / 2f32.sqrt();
        close(w, [1.0 - 0.1 * u, 1.0 + 0.1 * u]);
        close(v, [1.0, 1.0]);
        close(m, [0.5, 0.5]);
    }

    #[test]
    fn lengths_set_the_steps_of_lars_and_lamb() {
        // |w| = 5, |g| = 10: the step is 0.1 * 0.001 * 5 / 10 of the gradient.
        let (w, v, _) = after(AdaptiveStep { trust: 0.001, ..step(Rule::Lars) }, [3.0, 4.0], [6.0, 8.0]);
        close(v, [3e-4, 4e-4]);
        close(w, [3.0 - 3e-4, 4.0 - 4e-4]);
        // Adam's direction is (1, 1), of length sqrt 2; |w| = 5.
        let (w, ..) = after(AdaptiveStep { trust: 1.0, ..step(Rule::Lamb) }, [3.0, 4.0], [6.0, 8.0]);
        let move_by = 0.1 * 5.0 / 2f32.sqrt();
        close(w, [3.0 - move_by, 4.0 - move_by]);
        // Without lengths, plain steps.
        close(after(step(Rule::Lars), [3.0, 4.0], [6.0, 8.0]).0, [2.4, 3.2]);
        close(after(step(Rule::Lamb), [3.0, 4.0], [6.0, 8.0]).0, [2.9, 3.9]);
    }

    #[test]
    fn decay_pulls_towards_zero() {
        for rule in [Rule::Adam, Rule::RmsProp, Rule::AdaGrad, Rule::AdaDelta, Rule::Lars, Rule::Lamb] {
            let pull = AdaptiveStep { weight_decay: 0.5, eps: 1e-6, ..step(rule) };
            let (w, ..) = after(pull, [1.0, -1.0], [0.0, 0.0]);
            assert!(w[0] < 1.0 && w[1] > -1.0 && w.iter().all(|x| x.is_finite()), "{rule:?}: {w:?}");
        }
    }
}
