//! How are parameters filled before training?
//!
//! Variance scaling draws with variance `gain^2 / fan` (uniform: half-width `gain sqrt(3 / fan)`); Xavier is gain 1
//! over the average fan (Glorot and Bengio 2010, eq. 12 and 16), He is gain sqrt(2) over fan-in (He et al. 2015,
//! eq. 10). Fans are counted in [`fans`].

mod fans;
mod fill;
mod philox;

pub use fans::{Fans, fans};
pub use fill::{initialise, initialise_param};

/// Which fan divides the variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fan {
    /// Inputs that each output sums over.
    In,
    /// Outputs that each input reaches.
    Out,
    /// The mean of the two.
    Average,
}

/// The shape of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Gaussian.
    Normal,
    /// Gaussian cut at two standard deviations, rescaled to keep its variance.
    TruncatedNormal,
    /// Even between two bounds.
    Uniform,
}

/// An initialiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element the same.
    Constant(f32),
    /// Even between `low` and `high`.
    Uniform {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
    },
    /// Gaussian.
    Normal {
        /// Mean.
        mean: f32,
        /// Standard deviation.
        std: f32,
    },
    /// Gaussian with a probability of `count` over the size of the first axis, else 0: each input of a layer reaches about
    /// `count` of its outputs (Martens 2010, section 5).
    SparseNormal {
        /// Mean of those that are not 0.
        mean: f32,
        /// Standard deviation of those.
        std: f32,
        /// How many.
        count: u32,
    },
    /// Gaussian, redrawn outside two standard deviations.
    TruncatedNormal {
        /// Mean.
        mean: f32,
        /// Standard deviation before the cut.
        std: f32,
    },
    /// Variance `gain^2 / fan`.
    VarianceScaling {
        /// sqrt(2) for ReLU, 1 for linear and tanh.
        gain: f32,
        /// Which fan.
        fan: Fan,
        /// Which distribution.
        distribution: Distribution,
    },
    /// Rows (or columns) orthonormal, times `gain` (Saxe et al. 2014).
    Orthogonal {
        /// Scale.
        gain: f32,
    },
    /// Bilinear interpolation, for transposed convolutions that enlarge (Long et al. 2015, section 3.3). Every kernel is
    /// the same: give each channel a group of its own, lest all be added up.
    Bilinear,
    /// Even between 0 and 1, then each part along axis 0 divided by its sum.
    PositiveUnitBall,
}

impl Init {
    /// The same with fan-in and fan-out exchanged; what is not scaled by a fan stays as it is.
    pub fn with_fans_exchanged(self) -> Self {
        match self {
            Init::VarianceScaling { gain, fan, distribution } => {
                let fan = match fan {
                    Fan::In => Fan::Out,
                    Fan::Out => Fan::In,
                    Fan::Average => Fan::Average,
                };
                Init::VarianceScaling { gain, fan, distribution }
            }
            other => other,
        }
    }

    /// He et al. 2015 for ReLU networks: normal with variance 2 / fan-in.
    pub fn he_normal() -> Self {
        let gain = std::f32::consts::SQRT_2;
        Init::VarianceScaling { gain, fan: Fan::In, distribution: Distribution::Normal }
    }

    /// He et al. 2015: uniform with variance 2 / fan-in.
    pub fn he_uniform() -> Self {
        let gain = std::f32::consts::SQRT_2;
        Init::VarianceScaling { gain, fan: Fan::In, distribution: Distribution::Uniform }
    }

    /// Glorot and Bengio 2010: normal with variance 2 / (fan-in + fan-out).
    pub fn xavier_normal() -> Self {
        Init::VarianceScaling { gain: 1.0, fan: Fan::Average, distribution: Distribution::Normal }
    }

    /// Glorot and Bengio 2010: uniform with variance 2 / (fan-in + fan-out).
    pub fn xavier_uniform() -> Self {
        Init::VarianceScaling { gain: 1.0, fan: Fan::Average, distribution: Distribution::Uniform }
    }

    /// LeCun et al. 1998: normal with variance 1 / fan-in.
    pub fn lecun_normal() -> Self {
        Init::VarianceScaling { gain: 1.0, fan: Fan::In, distribution: Distribution::Normal }
    }

    /// Uniform between -1/sqrt(fan-in) and 1/sqrt(fan-in), PyTorch's default for linear layers.
    pub fn inverse_root_fan_in() -> Self {
        // The half-width is gain sqrt(3 / fan).
        let gain = 1.0 / 3.0_f32.sqrt();
        Init::VarianceScaling { gain, fan: Fan::In, distribution: Distribution::Uniform }
    }
}
