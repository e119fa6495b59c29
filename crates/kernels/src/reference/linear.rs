//! The fully connected layer `y = x w^T + b` and its gradients `dx = dy w`, `dw = dy^T x`.

use ocellus_tensor::Element;

/// Sizes of a fully connected layer: x `(rows, inputs)`, w `(outputs, inputs)`, y `(rows, outputs)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinearSizes {
    /// Rows (N).
    pub rows: usize,
    /// Features going in (F).
    pub inputs: usize,
    /// Features coming out (O).
    pub outputs: usize,
}

impl LinearSizes {
    /// Calls `product(x, w, y)` with the flat offsets of each multiply-accumulate.
    fn for_each_product(&self, mut product: impl FnMut(usize, usize, usize)) {
        for n in 0..self.rows {
            for o in 0..self.outputs {
                for f in 0..self.inputs {
                    product(n * self.inputs + f, o * self.inputs + f, n * self.outputs + o);
                }
            }
        }
    }
}

/// `y = x w^T + b`. x `(N, F)`, w `(O, F)`, b `(O)`, y `(N, O)`.
pub fn linear<T: Element>(sizes: LinearSizes, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T]) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = b.map_or(T::ZERO, |b| b[i % sizes.outputs]);
    }
    sizes.for_each_product(|xi, wi, yi| y[yi] += x[xi] * w[wi]);
}

/// `dx = dy w`. dy `(N, O)`, w `(O, F)`, dx `(N, F)`.
pub fn linear_grad_input<T: Element>(sizes: LinearSizes, dy: &[T], w: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    sizes.for_each_product(|xi, wi, yi| dx[xi] += dy[yi] * w[wi]);
}

/// `dw = dy^T x`. x `(N, F)`, dy `(N, O)`, dw `(O, F)`.
pub fn linear_grad_weight<T: Element>(sizes: LinearSizes, x: &[T], dy: &[T], dw: &mut [T]) {
    dw.fill(T::ZERO);
    sizes.for_each_product(|xi, wi, yi| dw[wi] += x[xi] * dy[yi]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rows_by_hand() {
        let sizes = LinearSizes { rows: 2, inputs: 3, outputs: 2 };
        let (x, w) = ([1., 2., 3., 4., 5., 6.], [1., 0., -1., 2., 1., 0.]);
        let mut y = [f32::NAN; 4];
        linear(sizes, &x, &w, Some(&[10., 20.]), &mut y);
        assert_eq!(y, [8., 24., 8., 33.]);
        let dy = [1., 2., 3., 4.];
        let mut dx = [f32::NAN; 6];
        linear_grad_input(sizes, &dy, &w, &mut dx);
        assert_eq!(dx, [5., 2., -1., 11., 4., -3.]);
        let mut dw = [f32::NAN; 6];
        linear_grad_weight(sizes, &x, &dy, &mut dw);
        assert_eq!(dw, [13., 17., 21., 18., 24., 30.]);
    }
}
