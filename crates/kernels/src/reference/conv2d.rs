//! 2-D convolution (cross-correlation) and its two gradients.
//!
//! ```text
//! y[n,o,i,j] = b[o] + sum over c,p,q of x[n, c, i sh + p dh - top, j sw + q dw - left] w[o,c,p,q]
//! ```
//!
//! Every product `x w` contributes to one `y`. All three kernels walk over the same products and accumulate into one
//! of the three tensors: the closed triangle. Source: Dumoulin and Visin 2016, section 2; the gradients are the chain
//! rule on the sum above.

use ocellus_tensor::{ConvGeometry, Element};

/// Calls `product(x, w, y)` with the flat offsets of each multiply-accumulate of the convolution, in the order
/// n, o, i, j, c, p, q.
fn for_each_product(g: &ConvGeometry, mut product: impl FnMut(usize, usize, usize)) {
    let [height, width] = g.output;
    for n in 0..g.batch {
        for o in 0..g.out_channels {
            for i in 0..height {
                for j in 0..width {
                    let y = ((n * g.out_channels + o) * height + i) * width + j;
                    window_products(g, [n, o, i, j], |x, w| product(x, w, y));
                }
            }
        }
    }
}

/// Calls `product(x, w)` for each tap inside the image of the output at `[n, o, i, j]`.
fn window_products(g: &ConvGeometry, [n, o, i, j]: [usize; 4], mut product: impl FnMut(usize, usize)) {
    let first = o / g.group_out() * g.group_in();
    for c in 0..g.group_in() {
        for p in 0..g.window.kernel[0] {
            let Some(row) = g.window.pixel(i, p, 0, g.input[0]) else { continue };
            for q in 0..g.window.kernel[1] {
                let Some(column) = g.window.pixel(j, q, 1, g.input[1]) else { continue };
                let x = ((n * g.in_channels + first + c) * g.input[0] + row) * g.input[1] + column;
                let w = ((o * g.group_in() + c) * g.window.kernel[0] + p) * g.window.kernel[1] + q;
                product(x, w);
            }
        }
    }
}

/// `y = x * w (+ b)`. x `(N, C, H, W)`, w `(O, C/groups, kh, kw)`, b `(O)`, y `(N, O, H', W')`.
pub fn conv2d<T: Element>(g: &ConvGeometry, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T]) {
    fill_bias(g.out_channels, g.output, b, y);
    for_each_product(g, |xi, wi, yi| y[yi] += x[xi] * w[wi]);
}

/// The gradient with respect to x. dy `(N, O, H', W')`, w `(O, C/groups, kh, kw)`, dx `(N, C, H, W)`.
pub fn conv2d_grad_input<T: Element>(g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    for_each_product(g, |xi, wi, yi| dx[xi] += dy[yi] * w[wi]);
}

/// The gradient with respect to w. x `(N, C, H, W)`, dy `(N, O, H', W')`, dw `(O, C/groups, kh, kw)`.
pub fn conv2d_grad_weight<T: Element>(g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    dw.fill(T::ZERO);
    for_each_product(g, |xi, wi, yi| dw[wi] += x[xi] * dy[yi]);
}

/// Fills y `(N, channels, H, W)` with each channel's bias, or zeros.
fn fill_bias<T: Element>(channels: usize, [height, width]: [usize; 2], b: Option<&[T]>, y: &mut [T]) {
    match b {
        None => y.fill(T::ZERO),
        Some(b) => {
            for (i, y) in y.iter_mut().enumerate() {
                *y = b[i / (height * width) % channels];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_tensor::{Padding, Rounding, Window};

    fn geometry(
        batch: usize,
        channels: [usize; 2],
        groups: usize,
        input: [usize; 2],
        window: Window,
    ) -> ConvGeometry {
        let output = window.output(input, Rounding::Floor).unwrap();
        let [in_channels, out_channels] = channels;
        ConvGeometry { batch, in_channels, out_channels, groups, input, output, window }
    }

    #[test]
    fn a_small_convolution_by_hand() {
        let g = geometry(1, [1, 1], 1, [3, 3], Window::square(2));
        let x = [1., 2., 3., 4., 5., 6., 7., 8., 9.];
        let mut y = [f64::NAN; 4];
        conv2d(&g, &x, &[1., 0., 0., -1.], Some(&[10.]), &mut y);
        assert_eq!(y, [6., 6., 6., 6.]); // x[i,j] - x[i+1,j+1] + 10
        let mut dx = [f64::NAN; 9];
        conv2d_grad_input(&g, &[1., 2., 3., 4.], &[1., 0., 0., -1.], &mut dx);
        assert_eq!(dx, [1., 2., 0., 3., 4. - 1., -2., 0., -3., -4.]);
        let mut dw = [f64::NAN; 4];
        conv2d_grad_weight(&g, &x, &[1., 0., 0., 1.], &mut dw);
        assert_eq!(dw, [6., 8., 12., 14.]); // x[p,q] + x[p+1,q+1]
    }

    #[test]
    fn asymmetric_padding_stride_and_dilation() {
        let padding = Padding { top: 0, left: 2, bottom: 0, right: 1 };
        let window = Window { kernel: [1, 2], stride: [1, 2], padding, dilation: [1, 3] };
        let g = geometry(1, [1, 1], 1, [1, 5], window);
        assert_eq!(g.output, [1, 3]); // (5 + 3 - 4) / 2 + 1
        let mut y = [f32::NAN; 3];
        conv2d(&g, &[1., 2., 3., 4., 5.], &[10., 1.], None, &mut y);
        assert_eq!(y, [2., 14., 30.]); // taps at (-2, 1), (0, 3), (2, 5: padding)
    }

    #[test]
    fn groups_see_only_their_channels() {
        let g = geometry(2, [4, 2], 2, [1, 1], Window::square(1));
        let x = [1., 2., 3., 4., 5., 6., 7., 8.];
        let mut y = [f32::NAN; 4];
        conv2d(&g, &x, &[1., 10., 100., 1000.], None, &mut y);
        assert_eq!(y, [21., 4300., 65., 8700.]);
        let mut dx = [f32::NAN; 8];
        conv2d_grad_input(&g, &[1., 2., 3., 4.], &[1., 10., 100., 1000.], &mut dx);
        assert_eq!(dx, [1., 10., 200., 2000., 3., 30., 400., 4000.]);
        let mut dw = [f32::NAN; 4];
        conv2d_grad_weight(&g, &x, &[1., 2., 3., 4.], &mut dw);
        assert_eq!(dw, [16., 20., 34., 40.]);
    }
}
