//! How else may an image be looked at when it is judged? Several views of each, and the mean over them (test-time
//! augmentation).

use serde::{Deserialize, Serialize};

/// Sets of views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Views {
    /// As it is and mirrored.
    Mirror,
    /// As it is and shifted by a sixteenth along both diagonals: five views.
    Shifts,
    /// Both: ten views.
    Both,
}

impl Views {
    /// The views of images of this height and width.
    pub fn of(self, size: [u32; 2]) -> Vec<View> {
        let shift = i64::from((size[0].min(size[1]) / 16).max(1));
        match self {
            Views::Mirror => View::set(true, 0),
            Views::Shifts => View::set(false, shift),
            Views::Both => View::set(true, shift),
        }
    }
}

/// What a model is worth by the mean of several views of each image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ByViews {
    /// Views of each image.
    pub views: usize,
    /// Share of images whose class was the most probable.
    pub top1: f64,
    /// Share of images whose class was among the first five.
    pub top5: f64,
    /// Mean cross-entropy in nats.
    pub loss: f64,
}

/// Another look at an image: mirrored left to right or not, then shifted, its edges repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Mirrored.
    pub mirrored: bool,
    /// Pixels to the right.
    pub right: i64,
    /// Pixels down.
    pub down: i64,
}

impl View {
    /// The image as it is.
    pub const PLAIN: View = View { mirrored: false, right: 0, down: 0 };

    /// The plain view; with `mirrored`, each also mirrored; with a `shift`, each also that far along both diagonals.
    pub fn set(mirrored: bool, shift: i64) -> Vec<View> {
        let flips: &[bool] = if mirrored { &[false, true] } else { &[false] };
        let corners = [(0, 0), (-1, -1), (1, -1), (-1, 1), (1, 1)];
        let places = if shift > 0 { &corners[..] } else { &corners[..1] };
        let at = |mirrored: bool| {
            places.iter().map(move |&(x, y)| View { mirrored, right: x * shift, down: y * shift })
        };
        flips.iter().flat_map(|&mirrored| at(mirrored)).collect()
    }

    /// Writes this view of `images`, planes of `height` by `width`.
    pub(crate) fn show(self, images: &[f32], [height, width]: [usize; 2], out: &mut [f32]) {
        let area = (height * width).max(1);
        let clamp = |at: i64, size: usize| at.clamp(0, size as i64 - 1) as usize;
        for (from, to) in images.chunks_exact(area).zip(out.chunks_exact_mut(area)) {
            for (y, row) in to.chunks_exact_mut(width).enumerate() {
                let source = &from[clamp(y as i64 - self.down, height) * width..][..width];
                for (x, value) in row.iter_mut().enumerate() {
                    let x = clamp(x as i64 - self.right, width);
                    *value = source[if self.mirrored { width - 1 - x } else { x }];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_mirror_and_shift_with_repeated_edges() {
        let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let shown = |view: View| {
            let mut out = [0.0; 6];
            view.show(&image, [2, 3], &mut out);
            out
        };
        assert_eq!(shown(View::PLAIN), image);
        assert_eq!(shown(View { mirrored: true, ..View::PLAIN }), [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
        assert_eq!(shown(View { right: 1, ..View::PLAIN }), [1.0, 1.0, 2.0, 4.0, 4.0, 5.0]);
        assert_eq!(shown(View { down: -1, ..View::PLAIN }), [4.0, 5.0, 6.0, 4.0, 5.0, 6.0]);
        assert_eq!(View::set(true, 0).len(), 2);
        assert_eq!(View::set(true, 2).len(), 10);
        assert_eq!(View::set(false, 0), [View::PLAIN]);
    }
}
