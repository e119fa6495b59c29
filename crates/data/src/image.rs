//! A decoded image: bytes, row by row, the channels of a pixel side by side.

use std::path::Path;

use crate::decode;
use crate::error::{DataError, DecodeError};
use crate::sources::input::is_image_name;

/// A decoded image of 8-bit pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: u8,
    /// (H, W, C): `height * width * channels` bytes.
    pub pixels: Vec<u8>,
}

/// A borrowed image; the fields are those of [`Image`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageView<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: u8,
    /// (H, W, C) bytes.
    pub pixels: &'a [u8],
}

impl Image {
    /// Reads and decodes an image file; see [`Image::decode`].
    ///
    /// # Errors
    /// The file cannot be read, or [`Image::decode`] fails.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let bytes = decode::read_limited(path)?;
        Ok(Self::decode(&bytes, &path.display().to_string())?)
    }

    /// Whether a file's name ends as those of images do that [`Image::open`] knows.
    ///
    /// ```
    /// use ocellus_data::Image;
    /// assert!(Image::has_ending("a/Cat.JPEG") && !Image::has_ending("notes.txt"));
    /// ```
    pub fn has_ending(path: impl AsRef<Path>) -> bool {
        is_image_name(&path.as_ref().to_string_lossy())
    }

    /// Decodes a JPEG, PNG, GIF (its first frame), WebP, BMP, TIFF (its first page) or PNM, told apart by content and not
    /// by name.
    ///
    /// Grey sources give 1 channel, all others 3. 16-bit values are rounded to 8 bits, palettes are looked
    /// up, CMYK is converted, transparency is composed over white, and the EXIF orientation is applied.
    ///
    /// # Errors
    /// Anything but a whole, sound image of at most 64 Mpixel: also a JPEG that ends before its end
    /// marker, which many decoders fill up with grey.
    pub fn decode(bytes: &[u8], name: &str) -> Result<Self, DecodeError> {
        decode::decode(bytes, name)
    }

    /// The image with 1 or 3 channels: grey is repeated; colour becomes ITU-R BT.601 luma,
    /// `(19595 R + 38470 G + 7471 B + 32768) / 65536`.
    ///
    /// # Errors
    /// `channels` is neither 1 nor 3.
    pub fn into_channels(self, channels: usize) -> Result<Self, DataError> {
        if channels != 1 && channels != 3 {
            return Err(DataError::Setting(format!("an image has 1 or 3 channels, not {channels}")));
        }
        if usize::from(self.channels) == channels {
            return Ok(self);
        }
        let mut pixels = Vec::new();
        self.view().convert(channels as u8, &mut pixels);
        Ok(Self { channels: channels as u8, pixels, ..self })
    }

    /// Writes the image as a PNG.
    ///
    /// # Errors
    /// The file cannot be written, or the fields contradict each other.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<(), DataError> {
        let path = path.as_ref();
        let kind = if self.channels == 1 { image::ColorType::L8 } else { image::ColorType::Rgb8 };
        self.check(&path.display().to_string())?;
        let saved = image::save_buffer_with_format(
            path,
            &self.pixels,
            self.width,
            self.height,
            kind,
            image::ImageFormat::Png,
        );
        saved.map_err(|cause| {
            DataError::Setting(format!("{} cannot be written: {cause}; check its folder", path.display()))
        })
    }

    /// Refuses fields that contradict each other; `name` is for the message.
    pub(crate) fn check(&self, name: &str) -> Result<(), DataError> {
        let Image { width, height, channels, pixels } = self;
        let expected = u64::from(*width) * u64::from(*height) * u64::from(*channels);
        if expected == 0 || expected != pixels.len() as u64 || !matches!(channels, 1 | 3) {
            return Err(DataError::Setting(format!(
                "{name}: an image of {width}x{height} with {channels} channels cannot have {} bytes",
                pixels.len()
            )));
        }
        Ok(())
    }

    /// The image as a PNG file's bytes.
    ///
    /// # Errors
    /// The fields contradict each other.
    pub fn to_png(&self) -> Result<Vec<u8>, DataError> {
        self.check("an image")?;
        let kind =
            if self.channels == 1 { image::ExtendedColorType::L8 } else { image::ExtendedColorType::Rgb8 };
        let mut out = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut out);
        image::ImageEncoder::write_image(encoder, &self.pixels, self.width, self.height, kind)
            .map_err(|cause| DataError::Setting(format!("a PNG cannot be made: {cause}")))?;
        Ok(out)
    }

    /// The image resized to `width` x `height`, averaging where it becomes smaller; `sharp` repeats pixels instead.
    ///
    /// # Errors
    /// The fields contradict each other, or a side is 0.
    pub fn resized(&self, width: u32, height: u32, sharp: bool) -> Result<Image, DataError> {
        use fast_image_resize as fir;
        self.check("an image")?;
        let fault = |e: &dyn std::fmt::Display| DataError::Setting(format!("cannot resize an image: {e}"));
        let kind = if self.channels == 1 { fir::PixelType::U8 } else { fir::PixelType::U8x3 };
        let mut pixels = vec![0; width as usize * height as usize * usize::from(self.channels)];
        let from =
            fir::images::ImageRef::new(self.width, self.height, &self.pixels, kind).map_err(|e| fault(&e))?;
        let mut to =
            fir::images::Image::from_slice_u8(width, height, &mut pixels, kind).map_err(|e| fault(&e))?;
        let algorithm = match sharp {
            true => fir::ResizeAlg::Nearest,
            false => fir::ResizeAlg::Convolution(fir::FilterType::Bilinear),
        };
        let options = fir::ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
        fir::Resizer::new().resize(&from, &mut to, &options).map_err(|e| fault(&e))?;
        Ok(Image { width, height, channels: self.channels, pixels })
    }

    /// The image, borrowed.
    pub fn view(&self) -> ImageView<'_> {
        ImageView { width: self.width, height: self.height, channels: self.channels, pixels: &self.pixels }
    }
}

impl ImageView<'_> {
    /// Writes the pixels with 1 or 3 channels to `out`, which is cleared first.
    pub(crate) fn convert(&self, channels: u8, out: &mut Vec<u8>) {
        out.clear();
        match (self.channels, channels) {
            (1, 3) => out.extend(self.pixels.iter().flat_map(|&v| [v, v, v])),
            (3, 1) => out.extend(self.pixels.as_chunks::<3>().0.iter().map(|&p| luma(p))),
            _ => out.extend_from_slice(self.pixels),
        }
    }

    /// A copy that owns its pixels.
    pub fn to_image(&self) -> Image {
        Image {
            width: self.width,
            height: self.height,
            channels: self.channels,
            pixels: self.pixels.to_vec(),
        }
    }
}

fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + 32768) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_convert_both_ways() {
        let grey = Image { width: 2, height: 1, channels: 1, pixels: vec![7, 255] };
        let rgb = grey.clone().into_channels(3).unwrap();
        assert_eq!(rgb.pixels, [7, 7, 7, 255, 255, 255]);
        assert_eq!(rgb.into_channels(1).unwrap(), grey);
        let red = Image { width: 1, height: 1, channels: 3, pixels: vec![255, 0, 0] };
        assert_eq!(red.into_channels(1).unwrap().pixels, [76]);
        assert!(grey.into_channels(4).is_err());
    }
}
