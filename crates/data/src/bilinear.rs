//! How is a picture resized from the four nearest pixels, to the bytes that OpenCV makes?
//!
//! Caffe's tools prepare pictures by `cv::resize` with `INTER_LINEAR`, and networks that were trained so are used to its
//! numbers. Pixel centres lie at halves; weights are rounded to 2048ths, and sums to 8 bits once, at the end:
//!
//! ```text
//! at = (i + 1/2) scale - 1/2;  weights = 2048 (1 - fraction), 2048 fraction
//! y  = ((b0 (row0 >> 4) >> 16) + (b1 (row1 >> 4) >> 16) + 2) >> 2;  row = a0 x[at] + a1 x[at + 1]
//! ```
//!
//! Source: the fixed-point path for bytes in modules/imgproc/src/resize.cpp of OpenCV 4.

use crate::image::ImageView;
use crate::preprocess::SourceBox;

/// What 1 is in weights.
const ONE: f32 = 2048.0;

/// The two neighbours of an output along an axis, and their weights.
struct Tap {
    at: [usize; 2],
    weights: [i32; 2],
}

/// The taps of `count` outputs over the part of an axis of `length` pixels that begins at `start` and is `extent` long.
/// Neighbours outside are those at the edge.
fn taps(count: u32, length: u32, (start, extent): (f64, f64)) -> Vec<Tap> {
    let (scale, last) = (extent / f64::from(count), length as isize - 1);
    let tap = |i: u32| {
        let at = (start + (f64::from(i) + 0.5) * scale - 0.5) as f32;
        let (first, fraction) = (at.floor() as isize, at - at.floor());
        let weights = [1.0 - fraction, fraction].map(|weight| (weight * ONE).round_ties_even() as i32);
        Tap { at: [first, first + 1].map(|pixel| pixel.clamp(0, last) as usize), weights }
    };
    (0..count).map(tap).collect()
}

/// Resizes the part `source` of an image, which has pixels, to `width` times `height`; `out` holds that many.
pub(crate) fn resize(image: ImageView<'_>, source: SourceBox, (width, height): (u32, u32), out: &mut [u8]) {
    let channels = usize::from(image.channels);
    let columns = taps(width, image.width, (source.left, source.width));
    let lines = taps(height, image.height, (source.top, source.height));
    let (pitch, row_len) = (image.width as usize * channels, width as usize * channels);
    // The two source rows that were read last, resized along the row.
    let mut rows: [(usize, Vec<i32>); 2] = std::array::from_fn(|_| (usize::MAX, vec![0; row_len]));
    for (line, out) in lines.iter().zip(out.chunks_exact_mut(row_len)) {
        if rows[1].0 == line.at[0] {
            rows.swap(0, 1);
        }
        for (at, (known, row)) in line.at.into_iter().zip(&mut rows) {
            if *known == at {
                continue;
            }
            *known = at;
            let from = &image.pixels[at * pitch..][..pitch];
            for (tap, row) in columns.iter().zip(row.chunks_exact_mut(channels)) {
                let [a, b] = tap.at.map(|pixel| &from[pixel * channels..][..channels]);
                for ((row, &a), &b) in row.iter_mut().zip(a).zip(b) {
                    *row = i32::from(a) * tap.weights[0] + i32::from(b) * tap.weights[1];
                }
            }
        }
        let part = |weight: i32, sum: i32| (weight * (sum >> 4)) >> 16;
        for ((out, &a), &b) in out.iter_mut().zip(&rows[0].1).zip(&rows[1].1) {
            *out = ((part(line.weights[0], a) + part(line.weights[1], b) + 2) >> 2).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What OpenCV makes of a picture of 7x5 pixels: smaller in colour, larger in grey.
    #[test]
    fn the_bytes_are_those_of_opencv() {
        let colour: Vec<u8> = (0..105u32).map(|i| (i * 37 + i * i * 3) as u8).collect();
        let grey: Vec<u8> = colour.iter().step_by(3).copied().collect();
        let whole = SourceBox { left: 0.0, top: 0.0, width: 7.0, height: 5.0 };
        let resized = |channels: u8, pixels: &[u8], (width, height)| {
            let mut out = vec![0; width as usize * height as usize * usize::from(channels)];
            resize(ImageView { width: 7, height: 5, channels, pixels }, whole, (width, height), &mut out);
            out
        };
        let smaller = [
            52, 141, 86, 91, 126, 145, 117, 184, 85, 131, 165, 162, 141, 184, 73, 237, 56, 136, 246, 96, 208,
            168, 145, 32, 157, 154, 104, 215, 72, 117, 206, 95, 171, 131, 116, 149,
        ];
        assert_eq!(resized(3, &colour, (4, 3)), smaller);
        let larger = [
            0, 92, 110, 72, 64, 98, 162, 171, 102, 23, 75, 97, 101, 135, 123, 142, 143, 109, 61, 57, 85, 145,
            225, 161, 118, 107, 124, 147, 88, 122, 205, 220, 215, 143, 120, 188, 180, 119, 149, 212, 162,
            217, 159, 133, 199, 160, 149, 168, 166, 51, 165, 166, 147, 156, 188, 133, 156, 200, 132, 193,
            142, 112, 162, 212, 117, 145, 230, 204, 219, 123, 85, 170,
        ];
        assert_eq!(resized(1, &grey, (9, 8)), larger);
        assert_eq!(resized(1, &grey, (7, 5)), grey);
    }
}
