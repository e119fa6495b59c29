//! Pictures in a page, and on their own as sheets.

use std::fmt::Write;

use ocellus_data::{Image, Split};
use ocellus_train::{Attention, Item};

use super::svg::escaped;
use crate::load::LoadError;

/// The side of a picture in a gallery, in pixels.
const SIDE: u32 = 128;
/// Between the pictures of a sheet, in pixels.
const GAP: u32 = 4;

/// A picture that fits a gallery: small ones with their pixels repeated, large ones reduced.
pub(super) fn fitted(image: &Image) -> Result<Image, LoadError> {
    let longest = image.width.max(image.height).max(1);
    let times = SIDE / longest;
    if times >= 2 {
        return Ok(image.resized(image.width * times, image.height * times, true)?);
    }
    if longest <= SIDE {
        return Ok(image.clone());
    }
    let side = |side: u32| (u64::from(side) * u64::from(SIDE) / u64::from(longest)).max(1) as u32;
    Ok(image.resized(side(image.width), side(image.height), false)?)
}

/// The picture as text that a page can hold.
pub(super) fn data_url(image: &Image) -> Result<String, LoadError> {
    Ok(format!("data:image/png;base64,{}", base64(&image.to_png()?)))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

/// Figures of images with what they are and what they were taken for; with `attention` beside each where it looked.
pub(super) fn figures(
    split: &Split,
    items: &[&Item],
    classes: &[String],
    attention: Option<&mut Attention>,
) -> Result<String, LoadError> {
    let mut attention = attention;
    let mut out = String::from("<div class=\"gallery\">\n");
    let name = |class: usize| classes.get(class).map_or_else(|| class.to_string(), |name| escaped(name));
    for item in items {
        let image = split.image(item.index)?;
        let mut pictures = vec![(data_url(&fitted(&image)?)?, "the picture")];
        if let Some(attention) = attention.as_deref_mut() {
            let looked = attention.picture(&image, item.predicted)?;
            pictures.push((data_url(&fitted(&looked)?)?, "where it looked"));
        }
        out.push_str("<figure>");
        for (url, alt) in pictures {
            let _ = write!(out, "<img src=\"{url}\" alt=\"{alt}\" title=\"{alt}\" loading=\"lazy\">");
        }
        let right = if item.predicted == item.label { "right" } else { "wrong" };
        let _ = writeln!(
            out,
            "<figcaption title=\"{}\"><b>{}</b> → <span class=\"{right}\">{}</span> {:.0}%<br><small>loss {:.2}</small>\
             </figcaption></figure>",
            escaped(&item.image),
            name(item.label),
            name(item.predicted),
            100.0 * item.confidence,
            item.loss
        );
    }
    out.push_str("</div>\n");
    Ok(out)
}

/// Pictures side by side on one sheet.
pub(super) fn sheet(images: &[Image], columns: usize) -> Result<Option<Image>, LoadError> {
    let mut fitted_images = Vec::with_capacity(images.len());
    for image in images {
        fitted_images.push(fitted(image)?.into_channels(3)?);
    }
    let side = |f: fn(&Image) -> u32| fitted_images.iter().map(f).max().unwrap_or(0);
    let (cell_width, cell_height) = (side(|i| i.width) + GAP, side(|i| i.height) + GAP);
    if fitted_images.is_empty() || columns == 0 {
        return Ok(None);
    }
    let rows = fitted_images.len().div_ceil(columns);
    let columns = columns.min(fitted_images.len());
    let (width, height) = (cell_width * columns as u32 + GAP, cell_height * rows as u32 + GAP);
    let mut pixels = vec![255; width as usize * height as usize * 3];
    for (index, image) in fitted_images.iter().enumerate() {
        let (left, top) =
            (GAP + cell_width * (index % columns) as u32, GAP + cell_height * (index / columns) as u32);
        for (y, row) in image.pixels.chunks_exact(image.width as usize * 3).enumerate() {
            let start = ((top as usize + y) * width as usize + left as usize) * 3;
            pixels[start..start + row.len()].copy_from_slice(row);
        }
    }
    Ok(Some(Image { width, height, channels: 3, pixels }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_standard() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in cases {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_sheet_holds_every_picture() {
        let image = |v: u8| Image { width: 8, height: 8, channels: 1, pixels: vec![v; 64] };
        let sheet = sheet(&[image(10), image(20), image(30)], 2).unwrap().unwrap();
        assert_eq!((sheet.width, sheet.height), (2 * 132 + 4, 2 * 132 + 4));
        for value in [10, 20, 30] {
            assert_eq!(sheet.pixels.chunks(3).filter(|p| *p == [value; 3]).count(), 128 * 128);
        }
        assert!(super::sheet(&[], 3).unwrap().is_none());
    }
}
