//! From a decoded image to the numbers a network reads.
//!
//! ```text
//! channels -> resize -> crop (or pad) -> (value * scale - mean) / std, channel by channel; value is 0 to 255
//! ```

use std::ops::Range;

use fast_image_resize as fir;

use crate::alter::Bench;
use crate::bilinear;
use crate::error::DataError;
use crate::image::{Image, ImageView};

/// The largest side that may be asked for, in pixels.
const MAX_SIDE: u32 = 8192;
/// The largest image that a resize may make on the way to a crop, in pixels.
const MAX_RESIZED_PIXELS: u64 = 64 << 20;

/// How an image of another shape is made to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Keep the aspect, cover the size, cut off what stands over on both sides.
    #[default]
    Crop,
    /// Give up the aspect.
    Stretch,
    /// Keep the aspect, show all of the image, fill the rest with the mean (0 after normalisation).
    Letterbox,
}

/// The order of the colour channels that the network expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, as Caffe's networks mostly expect.
    Bgr,
}

/// How an image becomes a network's input. It is stored with the model.
///
/// An image that already has the wanted `size` is neither resized nor cropped. All others, with sides
/// (w, h) and the wanted size (W, H):
///
/// - `Crop`: resized so that the shorter side is `resize` and the longer `floor(resize * longer / shorter)`; or,
///   where `resize` is `None` or that would not cover the size, to the smallest that covers it. Then the
///   middle is cut out, at offset `floor((side - wanted) / 2)`.
/// - `Stretch`: resized to `size`, or with `resize` to `size * resize / min(size)` and the middle cut out.
/// - `Letterbox`: resized to the largest that fits in `size`, and put in the middle. `resize` is not used.
///
/// Resizing is bilinear: a triangle filter as wide as the reduction, as Pillow and torchvision do, or over
/// the four nearest pixels only (to the bytes of OpenCV) without `antialias`. The result is rounded to 8 bits.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Preprocess {
    /// 1 (grey) or 3 (colour).
    pub channels: usize,
    /// Height and width of the network's input, in pixels.
    pub size: [u32; 2],
    /// The shorter side before the crop, in pixels.
    #[serde(default)]
    pub resize: Option<u32>,
    /// What to do with other shapes.
    #[serde(default)]
    pub fit: Fit,
    /// Whether reducing averages over all pixels.
    #[serde(default = "yes")]
    pub antialias: bool,
    /// The order of the channels.
    #[serde(default)]
    pub order: ChannelOrder,
    /// What a pixel's value, 0 to 255, is multiplied by before anything else: 1/255 unless told otherwise, so that
    /// pixels are 0 to 1; 1 for networks that read 0 to 255, as Caffe's do.
    #[serde(default = "to_one", skip_serializing_if = "is_to_one")]
    pub scale: f64,
    /// The mean of each channel, in the order of `order`, of scaled pixels.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel, likewise.
    pub std: Vec<f32>,
}

fn yes() -> bool {
    true
}

/// The scale that makes pixels 0 to 1.
const TO_ONE: f64 = 1.0 / 255.0;

fn to_one() -> f64 {
    TO_ONE
}

fn is_to_one(scale: &f64) -> bool {
    *scale == TO_ONE
}

impl Preprocess {
    /// Centre crop to `size` (height, width) without a prior resize, mean 0 and deviation 1: pixels are 0 to 1.
    pub fn new(channels: usize, size: [u32; 2]) -> Self {
        Self {
            channels,
            size,
            resize: None,
            fit: Fit::Crop,
            antialias: true,
            order: ChannelOrder::Rgb,
            scale: TO_ONE,
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
        }
    }

    /// The same with another mean and deviation, such as [`crate::statistics`] gives.
    #[must_use]
    pub fn normalised(mut self, mean: Vec<f32>, std: Vec<f32>) -> Self {
        (self.mean, self.std) = (mean, std);
        self
    }

    /// The number of values of one input: `channels * height * width`.
    pub fn output_len(&self) -> usize {
        self.channels * self.size[0] as usize * self.size[1] as usize
    }

    /// Checks all settings, which may come from a file.
    ///
    /// # Errors
    /// Names the setting and its value.
    pub fn validate(&self) -> Result<(), DataError> {
        let fault = |message: String| Err(DataError::Setting(message));
        if self.channels != 1 && self.channels != 3 {
            return fault(format!("preprocessing: channels must be 1 or 3, not {}", self.channels));
        }
        if self.size.iter().chain(&self.resize).any(|&side| side == 0 || side > MAX_SIDE) {
            return fault(format!(
                "preprocessing: size {:?} and resize {:?} must lie between 1 and {MAX_SIDE}",
                self.size, self.resize
            ));
        }
        if self.mean.len() != self.channels || self.std.len() != self.channels {
            return fault(format!(
                "preprocessing: {} means and {} deviations for {} channels",
                self.mean.len(),
                self.std.len(),
                self.channels
            ));
        }
        if !(self.scale.is_finite() && self.scale > 0.0) {
            return fault(format!("preprocessing: scale must be finite and above 0, not {}", self.scale));
        }
        if self.std.iter().any(|&s| !(s.is_finite() && s > 0.0)) || self.mean.iter().any(|m| !m.is_finite()) {
            return fault(format!(
                "preprocessing: mean {:?} must be finite and std {:?} above 0",
                self.mean, self.std
            ));
        }
        Ok(())
    }

    /// One image as (C, H, W). For many, keep a [`Preprocessor`].
    ///
    /// # Errors
    /// The settings are invalid.
    pub fn apply(&self, image: &Image) -> Result<Vec<f32>, DataError> {
        let mut out = vec![0.0; self.output_len()];
        Preprocessor::new(self)?.evaluate(image.view(), &mut out)?;
        Ok(out)
    }
}

/// [`Preprocess`] made ready: lookup tables and buffers, for use by one thread.
pub struct Preprocessor {
    settings: Preprocess,
    /// For each output channel, the normalised value of each byte.
    tables: Vec<[f32; 256]>,
    resizer: fir::Resizer,
    grey: Vec<u8>,
    resized: Vec<u8>,
    /// What the mean is after normalisation, by channel.
    blank: [f32; 3],
    /// For changes to colours and shape, once there are any.
    pub(crate) bench: Option<Box<Bench>>,
}

/// A part of an image, in source pixels, to be resized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SourceBox {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// Where the output lies on the (resized) image; it may reach outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Placement {
    /// Resize this part of the source (all of it if `None`) to this width and height first.
    pub(crate) resize: Option<(u32, u32)>,
    pub(crate) source: Option<SourceBox>,
    /// The output's left and top edge on that.
    pub(crate) left: i64,
    pub(crate) top: i64,
    pub(crate) flip: bool,
    pub(crate) fill: Fill,
}

/// What lies outside the image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fill {
    Black,
    Mean,
    /// The image mirrored at its edge, the edge itself not repeated.
    Mirror,
}

impl Preprocessor {
    /// Checks the settings and makes the tables.
    ///
    /// # Errors
    /// The settings are invalid.
    pub fn new(settings: &Preprocess) -> Result<Self, DataError> {
        settings.validate()?;
        // Scaled in f64 and rounded once: 1/255 gives the same bits as dividing by 255.
        let scaled = |v: usize| (v as f64 * settings.scale) as f32;
        let channel = |(mean, std): (&f32, &f32)| std::array::from_fn(|v| (scaled(v) - mean) / std);
        Ok(Self {
            tables: settings.mean.iter().zip(&settings.std).map(channel).collect(),
            settings: settings.clone(),
            resizer: fir::Resizer::new(),
            grey: Vec::new(),
            resized: Vec::new(),
            blank: [0.0; 3],
            bench: None,
        })
    }

    /// Where this gives bytes for what `settings` will normalise: what fills a letterbox is their mean.
    pub(crate) fn fill_with_mean_of(&mut self, settings: &Preprocess) {
        let means =
            settings.mean.iter().map(|&mean| (f64::from(mean) / settings.scale).clamp(0.0, 255.0) as f32);
        self.blank.iter_mut().zip(means).for_each(|(blank, mean)| *blank = mean);
        if settings.order == ChannelOrder::Bgr {
            self.blank.reverse();
        }
    }

    /// Normalises bytes (C, H, W), red first, to (C, H, W) in the network's order.
    pub(crate) fn normalise(&self, bytes: &[u8], out: &mut [f32]) {
        let channels = self.settings.channels;
        let area = self.settings.output_len() / channels;
        for (channel, (plane, table)) in out.chunks_exact_mut(area).zip(&self.tables).enumerate() {
            let source = self.source_channel(channel);
            let from = &bytes[source * area..(source + 1) * area];
            plane.iter_mut().zip(from).for_each(|(to, &v)| *to = table[usize::from(v)]);
        }
    }

    /// Which channel of an image, red first, becomes channel `channel` of the network's input.
    fn source_channel(&self, channel: usize) -> usize {
        match self.settings.order {
            ChannelOrder::Rgb => channel,
            ChannelOrder::Bgr => self.settings.channels - 1 - channel,
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Preprocess {
        &self.settings
    }

    /// Writes one image as (C, H, W), `output_len` values, with no random change.
    ///
    /// # Errors
    /// The output has another length, or the image's fields contradict each other.
    pub fn evaluate(&mut self, image: ImageView<'_>, out: &mut [f32]) -> Result<(), DataError> {
        let placement = self.placement(image.width, image.height);
        self.write(image, &placement, out)
    }

    /// Where the output of an image of this size lies without augmentation.
    pub(crate) fn placement(&self, width: u32, height: u32) -> Placement {
        let [target_height, target_width] = self.settings.size;
        let target = (target_width, target_height);
        let (resized, fill) = match self.settings.fit {
            _ if (width, height) == target => ((width, height), Fill::Black),
            Fit::Crop => (self.cover((width, height), target), Fill::Black),
            Fit::Stretch => (self.stretch(target), Fill::Black),
            Fit::Letterbox => (fit_inside((width, height), target), Fill::Mean),
        };
        if u64::from(resized.0) * u64::from(resized.1) > MAX_RESIZED_PIXELS {
            return whole(target, Some(middle_box((width, height), resized, target)));
        }
        Placement {
            resize: (resized != (width, height)).then_some(resized),
            source: None,
            left: offset(resized.0, target.0),
            top: offset(resized.1, target.1),
            flip: false,
            fill,
        }
    }

    /// Where the place (x, y) of an image of this width and height (the first pixel's middle is (0.5, 0.5)) lies in the
    /// input of evaluation, 0 to 1 across and down; `None` if a crop cut it away.
    pub fn input_position(&self, [width, height]: [u32; 2], [x, y]: [f64; 2]) -> Option<[f64; 2]> {
        let placement = self.placement(width, height);
        let [target_height, target_width] = self.settings.size.map(f64::from);
        let along = |at: f64, [start, length]: [f64; 2], resized: u32, left: i64, target: f64| {
            let place = ((at - start) / length * f64::from(resized) - left as f64) / target;
            (0.0..=1.0).contains(&place).then_some(place)
        };
        let whole = SourceBox { left: 0.0, top: 0.0, width: f64::from(width), height: f64::from(height) };
        let part = placement.source.unwrap_or(whole);
        let resized = placement.resize.unwrap_or((width, height));
        let u = along(x, [part.left, part.width], resized.0, placement.left, target_width)?;
        let v = along(y, [part.top, part.height], resized.1, placement.top, target_height)?;
        Some([u, v])
    }

    /// The picture that an input `(C, H, W)` shows: normalisation undone, rounded to bytes, red first.
    ///
    /// # Errors
    /// The input has another length.
    pub fn picture(&self, input: &[f32]) -> Result<Image, DataError> {
        let settings = &self.settings;
        if input.len() != settings.output_len() {
            let wanted = settings.output_len();
            return Err(DataError::Setting(format!("an input takes {wanted} values, not {}", input.len())));
        }
        let [height, width] = settings.size;
        let plane = height as usize * width as usize;
        let value = |i: usize| {
            let (at, channel) = (i / settings.channels, i % settings.channels);
            let channel = match settings.order {
                ChannelOrder::Rgb => channel,
                ChannelOrder::Bgr => settings.channels - 1 - channel,
            };
            let x = input[channel * plane + at] * settings.std[channel] + settings.mean[channel];
            (f64::from(x) / settings.scale).round().clamp(0.0, 255.0) as u8
        };
        let pixels = (0..plane * settings.channels).map(value).collect();
        Ok(Image { width, height, channels: settings.channels as u8, pixels })
    }

    /// The share of an image's pixels that evaluation shows, 0 to 1: less than 1 where a crop cuts some away.
    pub fn share_shown(&self, width: u32, height: u32) -> f64 {
        let [target_height, target_width] = self.settings.size.map(f64::from);
        let (full_width, full_height) = match self.settings.fit {
            _ if [height, width] == self.settings.size => return 1.0,
            Fit::Crop => self.cover((width, height), (self.settings.size[1], self.settings.size[0])),
            Fit::Stretch => self.stretch((self.settings.size[1], self.settings.size[0])),
            Fit::Letterbox => return 1.0,
        };
        let share = |target: f64, full: u32| (target / f64::from(full.max(1))).min(1.0);
        share(target_width, full_width) * share(target_height, full_height)
    }

    fn cover(&self, size: (u32, u32), target: (u32, u32)) -> (u32, u32) {
        let (width, height) = size;
        if let Some(shorter) = self.settings.resize {
            let resized = if width <= height {
                (shorter, scale(height, shorter, width))
            } else {
                (scale(width, shorter, height), shorter)
            };
            if resized.0 >= target.0 && resized.1 >= target.1 {
                return resized;
            }
        }
        // The side that is the scarcer decides: w/W against h/H.
        if u64::from(width) * u64::from(target.1) <= u64::from(height) * u64::from(target.0) {
            (target.0, scale(height, target.0, width).max(target.1))
        } else {
            (scale(width, target.1, height).max(target.0), target.1)
        }
    }

    fn stretch(&self, target: (u32, u32)) -> (u32, u32) {
        let shorter = target.0.min(target.1);
        match self.settings.resize.filter(|&r| r > shorter) {
            Some(resize) => (scale(target.0, resize, shorter), scale(target.1, resize, shorter)),
            None => target,
        }
    }

    /// Writes the part of the image that the placement shows.
    pub(crate) fn write(
        &mut self,
        image: ImageView<'_>,
        placement: &Placement,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        check_view(&image)?;
        if out.len() != self.settings.output_len() {
            let wanted = self.settings.output_len();
            return Err(DataError::Setting(format!("an input takes {wanted} values, not {}", out.len())));
        }
        let mut grey = std::mem::take(&mut self.grey);
        let mut image = image;
        if image.channels == 3 && self.settings.channels == 1 {
            image.convert(1, &mut grey);
            image = ImageView { channels: 1, pixels: &grey, ..image };
        }
        let mut resized = std::mem::take(&mut self.resized);
        let result = match placement.resize {
            Some(size) => self.resize(image, placement.source, size, &mut resized).map(|()| {
                image = ImageView { width: size.0, height: size.1, pixels: &resized, ..image };
            }),
            None => Ok(()),
        };
        if result.is_ok() {
            self.project(image, placement, out);
        }
        (self.grey, self.resized) = (grey, resized);
        result
    }

    fn resize(
        &mut self,
        image: ImageView<'_>,
        source: Option<SourceBox>,
        (width, height): (u32, u32),
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        out.resize(width as usize * height as usize * usize::from(image.channels), 0);
        if !self.settings.antialias {
            let (width_of_all, height_of_all) = (f64::from(image.width), f64::from(image.height));
            let all = SourceBox { left: 0.0, top: 0.0, width: width_of_all, height: height_of_all };
            bilinear::resize(image, source.unwrap_or(all), (width, height), out);
            return Ok(());
        }
        let kind = if image.channels == 1 { fir::PixelType::U8 } else { fir::PixelType::U8x3 };
        let algorithm = fir::ResizeAlg::Convolution(fir::FilterType::Bilinear);
        let mut options = fir::ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
        if let Some(b) = source {
            options = options.crop(b.left, b.top, b.width, b.height);
        }
        let fault = |e: &dyn std::fmt::Display| DataError::Setting(format!("cannot resize an image: {e}"));
        let from = fir::images::ImageRef::new(image.width, image.height, image.pixels, kind)
            .map_err(|e| fault(&e))?;
        let mut to = fir::images::Image::from_slice_u8(width, height, out, kind).map_err(|e| fault(&e))?;
        self.resizer.resize(&from, &mut to, &options).map_err(|e| fault(&e))
    }

    /// Normalises the window of the image that the output shows: (H, W, C) bytes to (C, H, W).
    fn project(&self, image: ImageView<'_>, placement: &Placement, out: &mut [f32]) {
        let [height, width] = self.settings.size.map(|side| side as usize);
        let columns = overlap(placement.left, width, image.width);
        // Mirrored, the part that lies on the image is at the other end of the row.
        let from = if placement.flip { width - columns.from - columns.count } else { columns.from };
        let inside = from..from + columns.count;
        let rows = overlap(placement.top, height, image.height);
        let rows = rows.from..rows.from + rows.count;
        for (channel, plane) in out.chunks_exact_mut(height * width).enumerate() {
            let table = &self.tables[channel];
            let source_channel = self.source_channel(channel);
            let fill = if placement.fill == Fill::Mean { self.blank[channel] } else { table[0] };
            for (y, row) in plane.chunks_exact_mut(width).enumerate() {
                let source_y = placement.top + y as i64;
                if source_y < 0 || source_y >= i64::from(image.height) {
                    row.fill(fill);
                    continue;
                }
                row[..inside.start].fill(fill);
                row[inside.end..].fill(fill);
                let start = source_y as usize * image.width as usize + columns.source;
                let stride = usize::from(image.channels);
                let pixels = &image.pixels[start * stride..(start + columns.count) * stride];
                let pixels = Row { pixels, grey: stride == 1, channel: source_channel };
                project_row(&mut row[inside.clone()], pixels, table, placement.flip);
                if placement.fill == Fill::Mirror {
                    mirror(row, 1, &inside);
                }
            }
            if placement.fill == Fill::Mirror {
                mirror(plane, width, &rows);
            }
        }
    }
}

/// Fills what lies before and after `inside` with its mirror image, in units of `stride` numbers (a number of a row, or
/// a row of a plane).
fn mirror(values: &mut [f32], stride: usize, inside: &Range<usize>) {
    let period = 2 * inside.len().saturating_sub(1) as i64;
    if inside.is_empty() {
        return;
    }
    let outside = (0..inside.start).chain(inside.end..values.len() / stride);
    for to in outside {
        // A walk over the inside and back, and so on: where is it after so many units?
        let way = (to as i64 - inside.start as i64).rem_euclid(period.max(1));
        let from = inside.start + way.min(period - way).max(0) as usize;
        values.copy_within(from * stride..(from + 1) * stride, to * stride);
    }
}

/// One channel of a part of a row: (W) grey or (W, 3) colour bytes.
struct Row<'a> {
    pixels: &'a [u8],
    grey: bool,
    channel: usize,
}

fn project_row(target: &mut [f32], row: Row<'_>, table: &[f32; 256], flip: bool) {
    if row.grey {
        return look_up(target, row.pixels.iter().copied(), table, flip);
    }
    let pixels = row.pixels.as_chunks::<3>().0.iter();
    match row.channel {
        0 => look_up(target, pixels.map(|p| p[0]), table, flip),
        1 => look_up(target, pixels.map(|p| p[1]), table, flip),
        _ => look_up(target, pixels.map(|p| p[2]), table, flip),
    }
}

#[inline(always)]
fn look_up(target: &mut [f32], pixels: impl Iterator<Item = u8>, table: &[f32; 256], flip: bool) {
    if flip {
        target.iter_mut().rev().zip(pixels).for_each(|(t, p)| *t = table[usize::from(p)]);
    } else {
        target.iter_mut().zip(pixels).for_each(|(t, p)| *t = table[usize::from(p)]);
    }
}

/// The columns of the output that lie on the image.
struct Overlap {
    /// The first such column of the output, and of the image.
    from: usize,
    source: usize,
    count: usize,
}

fn overlap(left: i64, width: usize, image_width: u32) -> Overlap {
    let from = (-left).clamp(0, width as i64);
    let end = (i64::from(image_width) - left).clamp(from, width as i64);
    // A shift beyond the image shows none of it; the source stays inside so that an empty part can be cut out.
    let source = (left + from).clamp(0, i64::from(image_width));
    Overlap { from: from as usize, source: source as usize, count: (end - from) as usize }
}

/// All of a source box, resized to the target.
pub(crate) fn whole(target: (u32, u32), source: Option<SourceBox>) -> Placement {
    Placement { resize: Some(target), source, left: 0, top: 0, flip: false, fill: Fill::Black }
}

/// The part of the source that the middle `target` of the `resized` image shows.
fn middle_box(size: (u32, u32), resized: (u32, u32), target: (u32, u32)) -> SourceBox {
    let side = |full: u32, resized: u32, target: u32| {
        let length = f64::from(full) * f64::from(target) / f64::from(resized);
        ((f64::from(full) - length) / 2.0, length)
    };
    let (left, width) = side(size.0, resized.0, target.0);
    let (top, height) = side(size.1, resized.1, target.1);
    SourceBox { left, top, width, height }
}

fn fit_inside(size: (u32, u32), target: (u32, u32)) -> (u32, u32) {
    let rounded = |side: u32, to: u32, from: u32| {
        ((u64::from(side) * u64::from(to) + u64::from(from) / 2) / u64::from(from)).max(1) as u32
    };
    if u64::from(size.0) * u64::from(target.1) >= u64::from(size.1) * u64::from(target.0) {
        (target.0, rounded(size.1, target.0, size.0).min(target.1))
    } else {
        (rounded(size.0, target.1, size.1).min(target.0), target.1)
    }
}

/// `floor(side * to / from)`, at most 2^32 - 1.
fn scale(side: u32, to: u32, from: u32) -> u32 {
    u32::try_from(u64::from(side) * u64::from(to) / u64::from(from.max(1))).unwrap_or(u32::MAX)
}

/// Half of what stands over, rounded down; negative where the image is the smaller.
fn offset(side: u32, target: u32) -> i64 {
    (i64::from(side) - i64::from(target)).div_euclid(2)
}

/// The fields of an [`Image`] are open, so they are checked before they are trusted.
fn check_view(image: &ImageView<'_>) -> Result<(), DataError> {
    let ImageView { width, height, channels, pixels } = *image;
    let expected = u64::from(width) * u64::from(height) * u64::from(channels);
    if expected == 0 || (channels != 1 && channels != 3) || expected != pixels.len() as u64 {
        let held = pixels.len();
        let message =
            format!("an image of {width}x{height} with {channels} channels cannot have {held} bytes");
        return Err(DataError::Setting(message));
    }
    Ok(())
}
