//! Transposed 2-D convolution: the input gradient of a convolution, used forwards, plus a bias.
//!
//! ```text
//! y = b;  for each n,c,i,j and o,p,q:  y[n, o, i sh + p dh - top, j sw + q dw - left] += x[n,c,i,j] w[c,o,p,q]
//! ```
//!
//! Source: Dumoulin and Visin 2016, section 4. Its gradients are the other two corners of the same convolution:
//! `dx = conv2d(dy, w)`, `dw = conv2d_grad_weight(dy, x)`, with one geometry for all.

use ocellus_tensor::{ConvGeometry, Element};

use super::conv2d::conv2d_grad_input;

/// The transposed convolution whose matching convolution is `g`: from `g`'s output to `g`'s input.
///
/// x `(N, C, H, W)` with C = `g.out_channels` and H, W = `g.output`; w `(C, O/groups, kh, kw)`; b `(O)`;
/// y `(N, O, H', W')` with O = `g.in_channels` and H', W' = `g.input`.
pub fn conv_transpose2d<T: Element>(g: &ConvGeometry, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T]) {
    conv2d_grad_input(g, x, w, y);
    let Some(b) = b else { return };
    let pixels = g.input[0] * g.input[1];
    for (i, y) in y.iter_mut().enumerate() {
        *y += b[i / pixels % g.in_channels];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_tensor::Window;

    #[test]
    fn each_pixel_stamps_its_kernel() {
        // x (1, 1, 1, 2), stride 2, kernel 1x3: y has (2 - 1) 2 + 3 = 5 columns.
        let window = Window { kernel: [1, 3], stride: [1, 2], ..Window::square(1) };
        let (input, output) = ([1, 5], [1, 2]);
        let g = ConvGeometry { batch: 1, in_channels: 1, out_channels: 1, groups: 1, input, output, window };
        let mut y = [f64::NAN; 5];
        conv_transpose2d(&g, &[1., 10.], &[1., 2., 3.], Some(&[0.5]), &mut y);
        assert_eq!(y, [1.5, 2.5, 13.5, 20.5, 30.5]);
    }
}
