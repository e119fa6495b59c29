//! Stochastic pooling (Zeiler and Fergus 2013) and its gradient.
//!
//! ```text
//! drawn: y[i,j] = x[k], k the first pixel of window (i,j) with x[0] + .. + x[k] >= u sum, u even in (0, 1];
//!        dx[k] += dy[i,j]
//! mean:  y[i,j] = sum of x^2 / sum of x, or 0 where that sum is not above 0;
//!        dx[each] += dy[i,j] (2 x - y[i,j]) / sum of x
//! ```
//!
//! A window wholly in the padding gives 0.

use ocellus_tensor::Element;

use super::pool::PoolGeometry;
use crate::random::Draws;

/// Draws a pixel under each window. x `(planes, H, W)`, y `(planes, H', W')`.
pub fn drawn_pool<T: Element>(g: &PoolGeometry, draws: &Draws, x: &[T], y: &mut [T]) {
    g.for_each_output(|yi, at| y[yi] = drawn(g, draws, x, (yi, at)).map_or(T::ZERO, |xi| x[xi]));
}

/// The gradient of [`drawn_pool`]. x `(planes, H, W)`, dy `(planes, H', W')`, dx like x.
pub fn drawn_pool_grad<T: Element>(g: &PoolGeometry, draws: &Draws, x: &[T], dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    g.for_each_output(|yi, at| {
        if let Some(xi) = drawn(g, draws, x, (yi, at)) {
            dx[xi] += dy[yi];
        }
    });
}

/// The flat offset of the pixel drawn for output number `yi`; the last one where rounding leaves none.
fn drawn<T: Element>(
    g: &PoolGeometry,
    draws: &Draws,
    x: &[T],
    (yi, at): (usize, [usize; 3]),
) -> Option<usize> {
    let goal = draws.uniform(yi as u64) * sum(g, at, |xi| x[xi].to_f64());
    let (mut reached, mut found, mut last) = (0.0, None, None);
    g.for_each_pixel(at, |xi| {
        reached += x[xi].to_f64();
        last = Some(xi);
        if found.is_none() && reached >= goal {
            found = last;
        }
    });
    found.or(last)
}

/// The mean of the pixels under each window, weighted by themselves. x `(planes, H, W)`, y `(planes, H', W')`.
pub fn weighted_pool<T: Element>(g: &PoolGeometry, x: &[T], y: &mut [T]) {
    g.for_each_output(|yi, at| y[yi] = T::from_f64(weighted(g, at, x).0));
}

/// The gradient of [`weighted_pool`]. x `(planes, H, W)`, dy `(planes, H', W')`, dx like x.
pub fn weighted_pool_grad<T: Element>(g: &PoolGeometry, x: &[T], dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    g.for_each_output(|yi, at| {
        let (mean, total) = weighted(g, at, x);
        if total > 0.0 {
            let share = dy[yi].to_f64() / total;
            g.for_each_pixel(at, |xi| dx[xi] += T::from_f64(share * (2.0 * x[xi].to_f64() - mean)));
        }
    });
}

/// The weighted mean under a window, and the sum of its pixels.
fn weighted<T: Element>(g: &PoolGeometry, at: [usize; 3], x: &[T]) -> (f64, f64) {
    let total = sum(g, at, |xi| x[xi].to_f64());
    let squares = sum(g, at, |xi| x[xi].to_f64() * x[xi].to_f64());
    (if total > 0.0 { squares / total } else { 0.0 }, total)
}

fn sum(g: &PoolGeometry, at: [usize; 3], of: impl Fn(usize) -> f64) -> f64 {
    let mut sum = 0.0;
    g.for_each_pixel(at, |xi| sum += of(xi));
    sum
}

#[cfg(test)]
mod tests {
    use ocellus_tensor::Window;

    use super::*;
    use crate::reference::check::close;

    fn one_window(pixels: usize, count: usize) -> PoolGeometry {
        let window = Window { kernel: [1, pixels], stride: [1, pixels], ..Window::square(1) };
        PoolGeometry { planes: count, input: [1, pixels], output: [1, 1], window }
    }

    #[test]
    fn pixels_are_drawn_as_often_as_they_are_large_and_get_the_gradient() {
        let count = 20_000;
        let g = one_window(4, count);
        let x: Vec<f64> = [0.0, 1.0, 3.0, 4.0].repeat(count);
        let draws = Draws::new(1, 2, 3);
        let (mut y, mut dx) = (vec![f64::NAN; count], vec![f64::NAN; 4 * count]);
        drawn_pool(&g, &draws, &x, &mut y);
        drawn_pool_grad(&g, &draws, &x, &vec![1.0; count], &mut dx);
        for (i, &value) in x[..4].iter().enumerate() {
            let often = y.iter().filter(|&&y| y == value).count() as f64 / count as f64;
            assert!((often - value / 8.0).abs() < 0.01, "{value} is drawn {often} of the time");
            let hits: f64 = dx.iter().skip(i).step_by(4).sum();
            assert!((hits / count as f64 - often).abs() < 1e-9, "{value} gets {hits} gradients");
        }
        let mut again = vec![f64::NAN; count];
        drawn_pool(&g, &Draws::new(1, 3, 3), &x, &mut again);
        assert_ne!(y, again, "every step draws anew");
    }

    #[test]
    fn nothing_to_draw_from_is_the_first_pixel_and_nan_the_last() {
        let draws = Draws::new(0, 0, 0);
        let (mut y, mut dx) = ([f32::NAN; 3], [f32::NAN; 6]);
        let x = [0.0, 0.0, -1.0, -2.0, f32::NAN, 7.0];
        let g = one_window(2, 3);
        drawn_pool_grad(&g, &draws, &x, &[1.0, 1.0, 1.0], &mut dx);
        assert_eq!([dx[0], dx[1], dx[4], dx[5]], [1.0, 0.0, 0.0, 1.0]);
        drawn_pool(&g, &draws, &x, &mut y);
        assert_eq!([y[0], y[2]], [0.0, 7.0]);
        weighted_pool(&one_window(2, 2), &x[..4], &mut y[..2]);
        assert_eq!(y[..2], [0.0, 0.0]);
    }

    #[test]
    fn means_are_weighted_by_the_values() {
        let g = one_window(4, 1);
        let x = [1.0, 2.0, 3.0, 4.0];
        let (mut y, mut dx) = ([f64::NAN], [f64::NAN; 4]);
        weighted_pool(&g, &x, &mut y);
        close(&y, &[3.0]);
        weighted_pool_grad(&g, &x, &[10.0], &mut dx);
        close(&dx, &[-1.0, 1.0, 3.0, 5.0]);
    }
}
