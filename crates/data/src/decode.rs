//! Encoded bytes to pixels, refusing what is not whole and sound.
//!
//! ```text
//! sniff the format -> check that it is whole -> check the size -> decode -> to RGB8 or Grey8 -> turn upright
//! ```
//!
//! JPEG: the decoder's strict mode refuses broken Huffman data, but a file cut within its last rows or
//! between the scans of a progressive image can pass it. So [`jpeg_is_whole`] first walks the markers
//! (ITU-T T.81, annex B) to the end-of-image marker. PNG chunks carry checksums, and the decoder checks them.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, Limits};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::error::{DataError, DecodeError};
use crate::image::Image;
use crate::palette_tiff::Indexed;

/// The largest image, in pixels.
const MAX_PIXELS: u64 = 64 << 20;
/// The largest encoded file, in bytes: an incompressible 16-bit RGBA image of `MAX_PIXELS`.
const MAX_FILE_BYTES: u64 = MAX_PIXELS * 8;
/// More pixels in a byte than any picture has in the formats without a bound of their own here: LZW's best is some
/// 2,700, and WebP's flat pictures some 10,000.
const MOST_PIXELS_A_BYTE: u64 = 1 << 15;

/// Reads a file, unless it is larger than any image within the limits.
pub(crate) fn read_limited(path: &Path) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| DataError::io(path, e))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let reason = format!("the file is larger than {} MiB", MAX_FILE_BYTES >> 20);
        return Err(DecodeError::new(&path.display().to_string(), reason).into());
    }
    Ok(bytes)
}

/// Reads a part of a file, unless it is larger than any image within the limits.
pub(crate) fn read_range(path: &Path, start: u64, length: u64) -> Result<Vec<u8>, DataError> {
    if length > MAX_FILE_BYTES {
        let reason = format!("the file is larger than {} MiB", MAX_FILE_BYTES >> 20);
        return Err(DecodeError::new(&path.display().to_string(), reason).into());
    }
    let mut file = File::open(path).map_err(|e| DataError::io(path, e))?;
    file.seek(SeekFrom::Start(start)).map_err(|e| DataError::io(path, e))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(|e| DataError::io(path, e))?;
    Ok(bytes)
}

pub(crate) fn decode(bytes: &[u8], name: &str) -> Result<Image, DecodeError> {
    // The decoders are other people's code under hostile input: a panic there is a bad image, not our end.
    let result = catch_unwind(AssertUnwindSafe(|| {
        if bytes.starts_with(&[0xFF, 0xD8]) {
            decode_jpeg(bytes)
        } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            decode_png(bytes)
        } else {
            decode_other(bytes)
        }
    }));
    result
        .unwrap_or_else(|_| Err("the decoder gave up on it".to_owned()))
        .map_err(|r| DecodeError::new(name, r))
}

/// GIF (its first frame), WebP, BMP, TIFF (its first page) and the PNM family.
fn decode_other(bytes: &[u8]) -> Result<Image, String> {
    if let Some(indexed) = Indexed::find(bytes) {
        let image = decode_known(&indexed.grey)?;
        let of_one = image.channels == 1;
        let indices = of_one.then_some(&image.pixels).ok_or("its colours are no indices; save it as RGB")?;
        return Ok(Image { channels: 3, pixels: indexed.look_up(indices), ..image });
    }
    decode_known(bytes)
}

fn decode_known(bytes: &[u8]) -> Result<Image, String> {
    let format = image::guess_format(bytes).map_err(|_| describe_other(bytes).to_owned())?;
    let mut reader = image::ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 8 + (64 << 20));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| plain(&e))?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    if bytes.len() as u64 * MOST_PIXELS_A_BYTE < u64::from(width) * u64::from(height) {
        return Err(format!("{} bytes cannot hold {width}x{height} pixels", bytes.len()));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let grey =
        matches!(decoder.color_type(), ColorType::L8 | ColorType::L16 | ColorType::La8 | ColorType::La16);
    let decoded = DynamicImage::from_decoder(decoder).map_err(|e| plain(&e))?;
    let (channels, pixels) = flatten(decoded, grey);
    upright(Image { width, height, channels, pixels }, orientation)
}

fn describe_other(bytes: &[u8]) -> &'static str {
    let head = &bytes[..bytes.len().min(512)];
    match head {
        [] => "the file is empty",
        _ if head.get(4..8) == Some(b"ftyp") => "it is a HEIC, AVIF or video file; convert it to PNG or JPEG",
        _ if std::str::from_utf8(head).is_ok() => "it is text, not an image",
        _ => "it is no image of a known kind (JPEG, PNG, GIF, WebP, BMP, TIFF, PNM)",
    }
}

fn check_size(width: u64, height: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("its size is {width}x{height}"));
    }
    if width * height > MAX_PIXELS {
        return Err(format!("its size is {width}x{height}, above the limit of {} Mpixel", MAX_PIXELS >> 20));
    }
    Ok(())
}

fn decode_jpeg(bytes: &[u8]) -> Result<Image, String> {
    let whole = &bytes[..jpeg_is_whole(bytes)?];
    match decode_jpeg_strictly(whole, true) {
        // Stray bytes between header segments harm nothing.
        Err(reason) if reason.contains("Extra bytes between headers") => decode_jpeg_strictly(whole, false),
        result => result,
    }
}

fn decode_jpeg_strictly(bytes: &[u8], strict: bool) -> Result<Image, String> {
    let options = DecoderOptions::default()
        .set_strict_mode(strict)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| one_line(&e))?;
    let (width, height) = decoder.dimensions().ok_or("it has no image header")?;
    check_size(width as u64, height as u64)?;
    // Each 8x8 block takes at least one bit: a cheap guard against tiny files that claim to be huge.
    if (bytes.len() as u64) * 8 < (width * height / 64) as u64 {
        return Err(format!("{} bytes cannot hold {width}x{height} pixels", bytes.len()));
    }
    let grey = matches!(decoder.input_colorspace(), Some(ColorSpace::Luma | ColorSpace::LumaA));
    let (space, channels) = if grey { (ColorSpace::Luma, 1) } else { (ColorSpace::RGB, 3) };
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let mut pixels = vec![0; width * height * usize::from(channels)];
    if decoder.output_buffer_size() != Some(pixels.len()) {
        return Err("its colour space is not supported; save it as RGB".to_owned());
    }
    decoder.decode_into(&mut pixels).map_err(|e| one_line(&e))?;
    let image = Image { width: width as u32, height: height as u32, channels, pixels };
    upright(image, orientation.unwrap_or(Orientation::NoTransforms))
}

/// Where the image ends, just past its end-of-image marker; an error if the file ends before that.
///
/// Walks marker segments by their lengths; after a start of scan, skips entropy-coded bytes, in which
/// 0xFF is followed by 0 or a restart marker, to the next marker.
fn jpeg_is_whole(bytes: &[u8]) -> Result<usize, String> {
    const TRUNCATED: &str = "the JPEG is truncated: it ends before its end marker";
    let mut at = 2;
    let mut scans = 0;
    loop {
        // To the next marker: 0xFF, fill bytes 0xFF, then its code.
        at += bytes.get(at..).unwrap_or_default().iter().position(|&b| b == 0xFF).ok_or(TRUNCATED)?;
        at += bytes[at..].iter().position(|&b| b != 0xFF).ok_or(TRUNCATED)?;
        let code = bytes[at];
        at += 1;
        match code {
            0xD9 if scans == 0 => return Err("the JPEG holds no image data".to_owned()),
            0xD9 => return Ok(at),
            // A stuffed 0, temporary marker, restarts and start of image stand alone.
            0x00 | 0x01 | 0xD0..=0xD8 => {}
            _ => {
                let length = bytes.get(at..at + 2).ok_or(TRUNCATED)?;
                at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
                scans += usize::from(code == 0xDA);
            }
        }
    }
}

fn decode_png(bytes: &[u8]) -> Result<Image, String> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 8 + (64 << 20));
    let mut decoder =
        image::codecs::png::PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(|e| plain(&e))?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    // Deflate packs at most 1032 to 1, so a tiny file that claims to be huge is a lie. (One bit a pixel
    // is the least a PNG needs.)
    if (bytes.len() as u64) * 1032 * 8 < u64::from(width) * u64::from(height) {
        return Err(format!("{} bytes cannot hold {width}x{height} pixels", bytes.len()));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let grey =
        matches!(decoder.color_type(), ColorType::L8 | ColorType::L16 | ColorType::La8 | ColorType::La16);
    let decoded = DynamicImage::from_decoder(decoder).map_err(|e| plain(&e))?;
    let (channels, pixels) = flatten(decoded, grey);
    upright(Image { width, height, channels, pixels }, orientation)
}

/// To 8 bits, with transparency composed over white.
fn flatten(decoded: DynamicImage, grey: bool) -> (u8, Vec<u8>) {
    match (decoded.color().has_alpha(), grey) {
        (false, true) => (1, decoded.into_luma8().into_raw()),
        (false, false) => (3, decoded.into_rgb8().into_raw()),
        (true, true) => {
            let pixels = decoded.into_luma_alpha8().into_raw();
            (1, pixels.as_chunks::<2>().0.iter().map(|&[v, a]| over_white(v, a)).collect())
        }
        (true, false) => {
            let pixels = decoded.into_rgba8().into_raw();
            let opaque = pixels.as_chunks::<4>().0.iter();
            (3, opaque.flat_map(|&[r, g, b, a]| [r, g, b].map(|v| over_white(v, a))).collect())
        }
    }
}

fn over_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

fn upright(image: Image, orientation: Orientation) -> Result<Image, String> {
    if orientation == Orientation::NoTransforms {
        return Ok(image);
    }
    let Image { width, height, channels, pixels } = image;
    let lost = || "its pixels do not fill its size".to_owned();
    let mut whole = if channels == 1 {
        DynamicImage::ImageLuma8(image::ImageBuffer::from_raw(width, height, pixels).ok_or_else(lost)?)
    } else {
        DynamicImage::ImageRgb8(image::ImageBuffer::from_raw(width, height, pixels).ok_or_else(lost)?)
    };
    whole.apply_orientation(orientation);
    Ok(Image { width: whole.width(), height: whole.height(), channels, pixels: whole.into_bytes() })
}

fn plain(error: &image::ImageError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn one_line(error: &dyn std::fmt::Debug) -> String {
    let text = format!("{error:?}").split_whitespace().collect::<Vec<_>>().join(" ");
    text.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> DynamicImage {
        DynamicImage::ImageRgb8(image::RgbImage::from_fn(40, 30, |x, y| {
            image::Rgb([(x * 6) as u8, (y * 8) as u8, ((x * y) % 251) as u8])
        }))
    }

    fn encode(image: &DynamicImage, format: image::ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn a_jpeg_cut_anywhere_is_refused() {
        let bytes = encode(&picture(), image::ImageFormat::Jpeg);
        assert_eq!(decode(&bytes, "a").unwrap().pixels.len(), 40 * 30 * 3);
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], "cut.jpg").is_err(), "cut at {length} of {}", bytes.len());
        }
    }

    #[test]
    fn bytes_after_the_end_marker_do_no_harm() {
        let mut bytes = encode(&picture(), image::ImageFormat::Jpeg);
        let clean = decode(&bytes, "a").unwrap();
        bytes.extend_from_slice(b"trailing junk \xFF\xD8\xFF");
        assert_eq!(decode(&bytes, "a").unwrap(), clean);
    }

    #[test]
    fn a_png_cut_before_its_data_ends_is_refused() {
        let bytes = encode(&picture(), image::ImageFormat::Png);
        assert_eq!(decode(&bytes, "a").unwrap().pixels, picture().into_rgb8().into_raw());
        for length in 0..bytes.len() - 16 {
            assert!(decode(&bytes[..length], "cut.png").is_err(), "cut at {length} of {}", bytes.len());
        }
    }

    #[test]
    fn flipped_bytes_never_panic() {
        use image::ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP};
        for format in [Jpeg, Png, Gif, WebP, Bmp, Tiff, Pnm] {
            let bytes = encode(&picture(), format);
            for at in 0..bytes.len() {
                let mut broken = bytes.clone();
                broken[at] ^= 0xFF;
                let _ = decode(&broken, "broken");
            }
        }
    }

    #[test]
    fn further_formats_decode_to_the_same_pixels_and_cut_ones_are_refused() {
        use image::ImageFormat::{Bmp, Gif, Pnm, Tiff, WebP};
        for format in [Gif, WebP, Bmp, Tiff, Pnm] {
            let bytes = encode(&picture(), format);
            let decoded = decode(&bytes, "a").unwrap();
            assert_eq!((decoded.width, decoded.height, decoded.channels), (40, 30, 3), "{format:?}");
            if format == Gif {
                // 256 colours of its own choice.
                let off = decoded.pixels.iter().zip(picture().into_rgb8().into_raw());
                let most = off.map(|(&a, b)| a.abs_diff(b)).max().unwrap();
                assert!(most < 64, "{most}");
            } else {
                assert_eq!(decoded.pixels, picture().into_rgb8().into_raw(), "{format:?}");
            }
            for length in [0, 3, 11, 30, bytes.len() / 2] {
                assert!(decode(&bytes[..length], "cut").is_err(), "{format:?} cut at {length}");
            }
        }
        let grey = DynamicImage::ImageLuma8(picture().into_luma8());
        assert_eq!(decode(&encode(&grey, Pnm), "a").unwrap().channels, 1);
    }

    #[test]
    fn jpegs_of_four_inks_and_in_scans_decode() {
        use jpeg_encoder::{ColorType, Encoder};
        let rgb = picture().into_rgb8();
        let encoded = |pixels: &[u8], kind, progressive| {
            let mut out = Vec::new();
            let mut encoder = Encoder::new(&mut out, 95);
            encoder.set_progressive(progressive);
            encoder.encode(pixels, 40, 30, kind).unwrap();
            out
        };
        let near = |bytes: &[u8]| {
            let decoded = decode(bytes, "a").unwrap();
            let off: u32 =
                decoded.pixels.iter().zip(rgb.as_raw()).map(|(&a, &b)| u32::from(a.abs_diff(b))).sum();
            assert!(off / (40 * 30 * 3) < 12, "mean difference {}", off / (40 * 30 * 3));
        };
        near(&encoded(rgb.as_raw(), ColorType::Rgb, true));
        // Without black, an ink is what its light lacks.
        let inks: Vec<u8> = rgb.pixels().flat_map(|p| [255 - p[0], 255 - p[1], 255 - p[2], 0]).collect();
        near(&encoded(&inks, ColorType::Cmyk, false));
        near(&encoded(&inks, ColorType::CmykAsYcck, true));
    }

    #[test]
    fn other_content_is_named() {
        let reason = |bytes: &[u8]| decode(bytes, "x.jpg").unwrap_err().to_string();
        assert_eq!(reason(b"hello"), "cannot decode image x.jpg: it is text, not an image");
        assert!(reason(b"").contains("empty"));
        assert!(reason(b"GIF89a").contains("cannot decode"));
        assert!(reason(b"\0\0\0\x20ftypheic").contains("HEIC"));
        assert!(reason(&[0, 159, 146, 150]).contains("no image of a known kind"));
    }

    #[test]
    fn every_png_colour_kind_decodes() {
        let kinds = [
            (DynamicImage::ImageLuma8(picture().into_luma8()), 1),
            (DynamicImage::ImageLuma16(picture().into_luma16()), 1),
            (DynamicImage::ImageRgb16(picture().into_rgb16()), 3),
            (DynamicImage::ImageRgba8(picture().into_rgba8()), 3),
            (DynamicImage::ImageRgba16(picture().into_rgba16()), 3),
        ];
        for (image, channels) in kinds {
            let decoded = decode(&encode(&image, image::ImageFormat::Png), "a").unwrap();
            assert_eq!((decoded.width, decoded.height, decoded.channels), (40, 30, channels));
            if channels == 3 {
                assert_eq!(decoded.pixels, picture().into_rgb8().into_raw());
            }
        }
    }

    #[test]
    fn transparency_is_composed_over_white() {
        let clear = image::RgbaImage::from_pixel(1, 1, image::Rgba([10, 20, 30, 0]));
        let half = image::RgbaImage::from_pixel(1, 1, image::Rgba([0, 0, 255, 128]));
        let pixels =
            |i| decode(&encode(&DynamicImage::ImageRgba8(i), image::ImageFormat::Png), "a").unwrap().pixels;
        assert_eq!(pixels(clear), [255, 255, 255]);
        assert_eq!(pixels(half), [127, 127, 255]);
    }

    #[test]
    fn exif_orientation_is_applied() {
        let plain = encode(&picture(), image::ImageFormat::Jpeg);
        let upright = decode(&plain, "a").unwrap();
        // APP1 after the start marker: "Exif\0\0", big-endian TIFF, one entry: orientation (0x0112) = 6.
        let tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let mut bytes = plain[..2].to_vec();
        bytes.extend([0xFF, 0xE1, 0, (2 + 6 + tiff.len()) as u8]);
        bytes.extend(b"Exif\0\0");
        bytes.extend(tiff);
        bytes.extend(&plain[2..]);
        let turned = decode(&bytes, "a").unwrap();
        assert_eq!((turned.width, turned.height), (upright.height, upright.width));
        // Orientation 6 is shown turned clockwise: the top-right pixel is the stored top-left.
        let corner = (turned.width as usize - 1) * 3;
        assert_eq!(turned.pixels[corner..corner + 3], upright.pixels[..3]);
    }

    #[test]
    fn a_tiny_file_that_claims_to_be_huge_is_refused() {
        let mut bytes = encode(&picture(), image::ImageFormat::Jpeg);
        let header = bytes.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        bytes[header + 5..header + 9].copy_from_slice(&[0x1F, 0, 0x1F, 0]);
        assert!(decode(&bytes, "a").unwrap_err().reason.contains("cannot hold"));
        bytes[header + 5..header + 9].copy_from_slice(&[0xFF, 0, 0xFF, 0]);
        assert!(decode(&bytes, "a").unwrap_err().reason.contains("Mpixel"));
    }
}
