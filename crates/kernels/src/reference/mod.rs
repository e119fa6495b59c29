//! Reference kernels: slow, obvious and complete. They are the definition of right for every operation, and the
//! fallback wherever no faster kernel applies.
//!
//! All are pure functions on row-major slices, generic over `f32` (for use) and `f64` (for checking gradients).
//! Each overwrites its whole output, whatever it held. Products are accumulated plainly in the element type;
//! statistics, losses and other long sums, and all transcendental functions, go through `f64`, so that in `f32` the
//! answer is the rounded true one.
//!
//! Slices must have the lengths that the documented shapes imply; otherwise a kernel panics on an index.
#![forbid(unsafe_code)]

pub mod activation;
pub mod arg_max;
pub mod arithmetic;
pub mod batch_norm;
pub mod concat;
pub mod conv2d;
pub mod conv_transpose2d;
pub mod dropout;
pub mod erf;
pub mod linear;
pub mod loss;
pub mod lrn;
pub mod narrow;
pub mod norm;
pub mod one_hot;
pub mod pad;
pub mod pool;
pub mod prelu;
pub mod reduce;
pub mod slice;
pub mod softmax;
pub mod stepwise;
pub mod stochastic_pool;
pub mod top_k;
pub mod transpose;
pub mod update;
pub mod upsample;

/// A tensor `(batch, channels, inner)`: what lies after the channels, H and W for an image, is one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelSizes {
    /// Images (N).
    pub batch: usize,
    /// Channels (C).
    pub channels: usize,
    /// Positions per channel (H W; 1 for a vector).
    pub inner: usize,
}

impl ChannelSizes {
    /// Elements of the whole tensor.
    pub fn elements(&self) -> usize {
        self.batch * self.channels * self.inner
    }

    /// Elements per channel, over the batch and all positions.
    pub fn per_channel(&self) -> usize {
        self.batch * self.inner
    }

    /// Which channel the element at flat offset `at` belongs to.
    pub fn channel(&self, at: usize) -> usize {
        at / self.inner % self.channels
    }

    /// Flat offset of `(image, channel, position)`.
    pub fn offset(&self, image: usize, channel: usize, position: usize) -> usize {
        (image * self.channels + channel) * self.inner + position
    }

    /// Flat offsets of all elements of one channel.
    pub fn of_channel(&self, channel: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let sizes = *self;
        (0..sizes.per_channel()).map(move |k| sizes.offset(k / sizes.inner, channel, k % sizes.inner))
    }
}

#[cfg(test)]
pub(crate) mod check {
    use ocellus_tensor::Element;

    /// Asserts that two slices agree within `1e-6` (1e-12 would be too strict for values computed in `f32`).
    #[track_caller]
    pub fn close<T: Element>(actual: &[T], expected: &[f64]) {
        assert_eq!(actual.len(), expected.len(), "{actual:?} is not {expected:?}");
        for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
            let error = (a.to_f64() - e).abs();
            assert!(error <= 1e-6 * e.abs().max(1.0), "element {i}: {actual:?} is not {expected:?}");
        }
    }
}
