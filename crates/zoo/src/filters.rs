//! Fixed filter banks as numbers: applying one is an ordinary (depthwise) convolution.
//!
//! Each bank is `(O, 1, k, k)`: O filters over one channel. As everywhere in Ocellus a filter is laid over the image
//! as it is, not mirrored (cross-correlation); x runs to the right, y downwards, both from the filter's middle.

use std::f64::consts::PI;

use ocellus_tensor::Tensor;

use crate::ZooError;

/// The largest filter that is made, in pixels along a side.
const MAX_SIZE: usize = 4096;

/// A Gaussian that smooths: `exp(-(x^2 + y^2) / (2 sigma^2))`, scaled to sum to 1. Shape `(1, 1, size, size)`.
///
/// `sigma` is in pixels; a size of `6 sigma + 1` holds 99.7% of the weight along each axis. An error if `sigma` is
/// not above 0 or `size` is 0 (or above 4096).
///
/// ```
/// let blur = ocellus_zoo::filters::gaussian(1.0, 7)?;
/// assert_eq!(blur.shape().dims(), [1, 1, 7, 7]);
/// assert!((blur.data().iter().sum::<f32>() - 1.0).abs() < 1e-6);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn gaussian(sigma: f64, size: usize) -> Result<Tensor, ZooError> {
    positive("gaussian", "sigma", sigma)?;
    check_size("gaussian", size)?;
    // Separable: the filter is the outer product of one line with itself.
    let line: Vec<f64> = offsets(size).map(|x| (-x * x / (2.0 * sigma * sigma)).exp()).collect();
    let sum: f64 = line.iter().sum();
    Ok(Tensor::from_fn([1, 1, size, size], |i| (line[i / size] * line[i % size] / (sum * sum)) as f32))
}

/// Sobel's two 3x3 filters: how fast the image brightens to the right (filter 0) and downwards (filter 1), times 8
/// per pixel. Shape `(2, 1, 3, 3)`.
///
/// Source: Sobel and Feldman, "A 3x3 isotropic gradient operator for image processing" (1968), as printed in Duda
/// and Hart, "Pattern Classification and Scene Analysis" (1973), p. 271.
///
/// ```
/// let sobel = ocellus_zoo::filters::sobel();
/// assert_eq!(sobel.data()[..3], [-1.0, 0.0, 1.0]);
/// ```
pub fn sobel() -> Tensor {
    const SMOOTH: [f32; 3] = [1.0, 2.0, 1.0];
    const SLOPE: [f32; 3] = [-1.0, 0.0, 1.0];
    Tensor::from_fn([2, 1, 3, 3], |i| {
        let (filter, row, column) = (i / 9, i / 3 % 3, i % 3);
        if filter == 0 { SMOOTH[row] * SLOPE[column] } else { SLOPE[row] * SMOOTH[column] }
    })
}

/// A bank of Gabor filters, one for each orientation; see [`gabor`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gabor {
    /// Rows and columns of each filter.
    pub size: usize,
    /// How many orientations, evenly over half a turn: filter i stands at `theta = i pi / orientations`.
    pub orientations: usize,
    /// Pixels from crest to crest, `lambda`.
    pub wavelength: f64,
    /// Standard deviation of the envelope across the crests, in pixels, `sigma`.
    pub sigma: f64,
    /// Width of the envelope across the crests over its length along them, `gamma` (1 = round).
    pub aspect: f64,
    /// Where on the wave the middle lies, in radians, `psi`: 0 for lines, `pi / 2` for edges.
    pub phase: f64,
}

impl Default for Gabor {
    /// Eight orientations, 11x11, one octave of bandwidth (`sigma = 0.56 lambda`) at 5 pixels a wave, for lines.
    fn default() -> Self {
        Gabor { size: 11, orientations: 8, wavelength: 5.0, sigma: 2.8, aspect: 0.5, phase: 0.0 }
    }
}

/// Gabor filters: waves under a Gaussian, which answer to lines or edges of one width and direction. Shape
/// `(orientations, 1, size, size)`.
///
/// ```text
/// g(x, y) = exp(-(x'^2 + gamma^2 y'^2) / (2 sigma^2)) cos(2 pi x' / lambda + psi)
/// x' =  x cos theta + y sin theta        y' = -x sin theta + y cos theta
/// ```
///
/// Not scaled: the middle of a line filter (`psi = 0`) is 1. At `theta = 0` the crests stand upright. An error if a
/// length or the aspect is not above 0, or a count is 0.
///
/// Source: Daugman, "Uncertainty relation for resolution in space, spatial frequency, and orientation optimized by
/// two-dimensional visual cortical filters", JOSA A 2(7), 1985; in these parameters Petkov and Kruizinga, "Computational
/// models of visual neurons specialised in the detection of periodic and aperiodic oriented visual stimuli",
/// Biological Cybernetics 76(2), 1997, eq. 1.
///
/// ```
/// use ocellus_zoo::filters::{Gabor, gabor};
/// let bank = gabor(&Gabor { orientations: 4, ..Gabor::default() })?;
/// assert_eq!(bank.shape().dims(), [4, 1, 11, 11]);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn gabor(bank: &Gabor) -> Result<Tensor, ZooError> {
    for (what, value) in [("wavelength", bank.wavelength), ("sigma", bank.sigma), ("aspect", bank.aspect)] {
        positive("gabor", what, value)?;
    }
    check_size("gabor", bank.size)?;
    if bank.orientations == 0 || bank.orientations > MAX_SIZE {
        let message = format!("gabor: orientations must be 1 to {MAX_SIZE}, got {}", bank.orientations);
        return Err(ZooError::Option(message));
    }
    let offsets: Vec<f64> = offsets(bank.size).collect();
    let area = bank.size * bank.size;
    Ok(Tensor::from_fn([bank.orientations, 1, bank.size, bank.size], |i| {
        let theta = PI * (i / area) as f64 / bank.orientations as f64;
        let (x, y) = (offsets[i % bank.size], offsets[i / bank.size % bank.size]);
        wave(bank, theta, x, y) as f32
    }))
}

fn wave(bank: &Gabor, theta: f64, x: f64, y: f64) -> f64 {
    let across = x * theta.cos() + y * theta.sin();
    let along = -x * theta.sin() + y * theta.cos();
    let squared = across * across + (bank.aspect * along).powi(2);
    let envelope = (-squared / (2.0 * bank.sigma * bank.sigma)).exp();
    envelope * (2.0 * PI * across / bank.wavelength + bank.phase).cos()
}

/// Distance of each of `size` pixels from the middle: -1, 0, 1 or -1.5, -0.5, 0.5, 1.5.
fn offsets(size: usize) -> impl Iterator<Item = f64> {
    (0..size).map(move |i| i as f64 - (size - 1) as f64 / 2.0)
}

fn positive(filter: &str, what: &str, value: f64) -> Result<(), ZooError> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(ZooError::Option(format!("{filter}: {what} must be above 0, got {value}")))
}

fn check_size(filter: &str, size: usize) -> Result<(), ZooError> {
    if (1..=MAX_SIZE).contains(&size) {
        return Ok(());
    }
    Err(ZooError::Option(format!("{filter}: size must be 1 to {MAX_SIZE} pixels, got {size}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaussian_is_the_formula_and_symmetric() {
        let filter = gaussian(0.8, 5).unwrap();
        let at = |row: usize, column: usize| f64::from(filter.data()[row * 5 + column]);
        let ratio = at(2, 3) / at(2, 2);
        assert!((ratio - (-1.0_f64 / (2.0 * 0.64)).exp()).abs() < 1e-6);
        assert_eq!(at(0, 1), at(4, 3));
        assert_eq!(at(1, 4), at(4, 1));
        let even = gaussian(2.0, 4).unwrap();
        assert_eq!(even.data()[5], even.data()[10]);
    }

    #[test]
    fn sobel_measures_the_slope_of_a_ramp() {
        let bank = sobel();
        let answer = |filter: usize, image: &dyn Fn(f32, f32) -> f32| -> f32 {
            (0..9).map(|i| bank.data()[filter * 9 + i] * image((i % 3) as f32, (i / 3) as f32)).sum()
        };
        assert_eq!([answer(0, &|x, _| x), answer(0, &|_, y| y)], [8.0, 0.0]);
        assert_eq!([answer(1, &|x, _| x), answer(1, &|_, y| y)], [0.0, 8.0]);
    }

    #[test]
    fn gabor_turns_with_its_orientation_and_flips_with_its_phase() {
        let bank = gabor(&Gabor { orientations: 2, ..Gabor::default() }).unwrap();
        let (upright, lying) = bank.data().split_at(121);
        assert_eq!(upright[60], 1.0);
        for (i, x) in upright.iter().enumerate() {
            let transposed = i % 11 * 11 + i / 11;
            assert!((x - lying[transposed]).abs() < 1e-6);
        }
        let edge = gabor(&Gabor { phase: PI / 2.0, orientations: 1, ..Gabor::default() }).unwrap();
        assert!(edge.data().iter().sum::<f32>().abs() < 1e-5);
        // At theta = 0, one pixel right of the middle: exp(-1 / (2 2.8^2)) cos(2 pi / 5).
        let expected = (-1.0_f64 / (2.0 * 2.8 * 2.8)).exp() * (2.0 * PI / 5.0).cos();
        assert!((f64::from(upright[61]) - expected).abs() < 1e-6);
    }

    #[test]
    fn impossible_filters_are_refused_with_the_number() {
        assert!(gaussian(0.0, 3).unwrap_err().to_string().contains("sigma must be above 0, got 0"));
        assert!(gaussian(f64::NAN, 3).is_err() && gaussian(1.0, 0).is_err());
        assert!(gabor(&Gabor { wavelength: -1.0, ..Gabor::default() }).is_err());
        assert!(gabor(&Gabor { orientations: 0, ..Gabor::default() }).is_err());
    }
}
