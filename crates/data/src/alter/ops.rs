//! The single changes, on bytes (C, H, W), grey or red, green, blue.

/// What a change does; what its amount means is said at [`Picture::change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Identity,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Hue,
    Posterize,
    Solarize,
    Invert,
    AutoContrast,
    Equalize,
    Rotate,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
}

/// What lies outside the image after it was moved: the grey of AutoAugment's own program.
const OUTSIDE: u8 = 128;

/// An image that is being changed.
#[derive(Debug, Default)]
pub(super) struct Picture {
    bytes: Vec<u8>,
    before: Vec<u8>,
    height: usize,
    width: usize,
}

impl Picture {
    /// Takes in an image.
    pub(super) fn fill(&mut self, bytes: impl Iterator<Item = u8>, height: usize, width: usize) {
        self.bytes.clear();
        self.bytes.extend(bytes);
        (self.height, self.width) = (height, width);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Height and width.
    pub(super) fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Applies one change. `amount` is, for brightness, colour, contrast and sharpness, a factor that leaves all as it is
    /// at 1; for hue a share of a full turn; for posterize the bits kept; for solarize the value from which bytes are
    /// inverted; for rotate degrees, counter-clockwise; for shears a slope; for translations pixels, right or down.
    pub(super) fn change(&mut self, change: Change, amount: f32) {
        match change {
            Change::Identity => {}
            Change::Brightness => self.map(|v| blend(0.0, v, amount)),
            Change::Contrast => {
                let mean = self.mean_grey();
                self.map(|v| blend(mean, v, amount));
            }
            Change::Color => self.saturate(amount),
            Change::Sharpness => self.sharpen(amount),
            Change::Hue => self.turn_hue(amount),
            Change::Posterize => {
                let kept = !(0xFF_u8.checked_shr(amount.clamp(0.0, 8.0) as u32).unwrap_or(0));
                self.bytes.iter_mut().for_each(|v| *v &= kept);
            }
            Change::Solarize => self.map(|v| if v >= amount { 255.0 - v } else { v }),
            Change::Invert => self.bytes.iter_mut().for_each(|v| *v = 255 - *v),
            Change::AutoContrast => self.by_table(auto_contrast),
            Change::Equalize => self.by_table(equalize),
            Change::Rotate => {
                let (sin, cos) = amount.to_radians().sin_cos();
                self.warp(|x, y| (cos * x - sin * y, sin * x + cos * y));
            }
            Change::ShearX => self.warp(|x, y| (x + amount * y, y)),
            Change::ShearY => self.warp(|x, y| (x, y + amount * x)),
            Change::TranslateX => self.warp(|x, y| (x - amount, y)),
            Change::TranslateY => self.warp(|x, y| (x, y - amount)),
        }
    }

    fn map(&mut self, change: impl Fn(f32) -> f32) {
        // A byte has few values: reckon each once.
        let table: [u8; 256] = std::array::from_fn(|v| to_byte(change(v as f32)));
        self.bytes.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
    }

    /// Replaces each channel's bytes by what `table` makes of how often each occurs.
    fn by_table(&mut self, table: impl Fn(&[u32; 256]) -> [u8; 256]) {
        for plane in self.bytes.chunks_exact_mut((self.height * self.width).max(1)) {
            let mut counts = [0; 256];
            plane.iter().for_each(|&v| counts[usize::from(v)] += 1);
            let table = table(&counts);
            plane.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
        }
    }

    /// The three planes of a colour image.
    fn planes(&mut self) -> Option<[&mut [u8]; 3]> {
        let area = self.height * self.width;
        if self.bytes.len() != 3 * area {
            return None;
        }
        let (red, rest) = self.bytes.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        Some([red, green, blue])
    }

    fn mean_grey(&mut self) -> f32 {
        let count = (self.height * self.width).max(1) as f64;
        let sum: f64 = match self.planes() {
            Some([red, green, blue]) => {
                let pixels = red.iter().zip(green).zip(blue);
                pixels.map(|((r, g), b)| f64::from(grey([*r, *g, *b].map(f32::from)))).sum()
            }
            None => self.bytes.iter().map(|&v| f64::from(v)).sum(),
        };
        (sum / count).round() as f32
    }

    fn saturate(&mut self, factor: f32) {
        self.for_pixels(|rgb| {
            let grey = grey(rgb);
            rgb.map(|v| blend(grey, v, factor))
        });
    }

    fn turn_hue(&mut self, turn: f32) {
        self.for_pixels(|rgb| to_rgb(to_hsv(rgb, turn)));
    }

    fn for_pixels(&mut self, change: impl Fn([f32; 3]) -> [f32; 3]) {
        let Some([red, green, blue]) = self.planes() else { return };
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            let changed = change([*r, *g, *b].map(f32::from));
            [*r, *g, *b] = changed.map(to_byte);
        }
    }

    /// Away from, or towards, the mean of a pixel (weight 5) and its eight neighbours; the border stays.
    fn sharpen(&mut self, factor: f32) {
        let (height, width) = (self.height, self.width);
        if height < 3 || width < 3 {
            return;
        }
        self.before.clone_from(&self.bytes);
        let planes =
            self.bytes.chunks_exact_mut(height * width).zip(self.before.chunks_exact(height * width));
        for (plane, before) in planes {
            for y in 1..height - 1 {
                for x in 1..width - 1 {
                    let row = |dy: usize| &before[(y + dy - 1) * width + x - 1..][..3];
                    let around: f32 = (0..3).flat_map(row).map(|&v| f32::from(v)).sum();
                    let own = f32::from(before[y * width + x]);
                    let smooth = ((around + 4.0 * own) / 13.0).round();
                    plane[y * width + x] = to_byte(blend(smooth, own, factor));
                }
            }
        }
    }

    /// Each pixel becomes what lay at `from` of it, in coordinates from the middle, between pixels by bilinear weights.
    fn warp(&mut self, from: impl Fn(f32, f32) -> (f32, f32)) {
        let (height, width) = (self.height, self.width);
        self.before.clone_from(&self.bytes);
        let middle = [(width as f32 - 1.0) / 2.0, (height as f32 - 1.0) / 2.0];
        let area = (height * width).max(1);
        for y in 0..height {
            for x in 0..width {
                let (sx, sy) = from(x as f32 - middle[0], y as f32 - middle[1]);
                let (sx, sy) = (sx + middle[0], sy + middle[1]);
                for (plane, before) in self.bytes.chunks_exact_mut(area).zip(self.before.chunks_exact(area)) {
                    plane[y * width + x] = to_byte(between(before, [height, width], sx, sy));
                }
            }
        }
    }
}

fn between(plane: &[u8], [height, width]: [usize; 2], x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let at = |x: f32, y: f32| {
        let inside = x >= 0.0 && y >= 0.0 && x < width as f32 && y < height as f32;
        f32::from(if inside { plane[y as usize * width + x as usize] } else { OUTSIDE })
    };
    let (fx, fy) = (x - left, y - top);
    let row = |y: f32| at(left, y) * (1.0 - fx) + at(left + 1.0, y) * fx;
    row(top) * (1.0 - fy) + row(top + 1.0) * fy
}

fn blend(from: f32, to: f32, factor: f32) -> f32 {
    from + factor * (to - from)
}

fn to_byte(v: f32) -> u8 {
    v.round().clamp(0.0, 255.0) as u8
}

/// Luma of ITU-R BT.601.
fn grey([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// The least value becomes 0, the greatest 255.
fn auto_contrast(counts: &[u32; 256]) -> [u8; 256] {
    let low = counts.iter().position(|&n| n > 0).unwrap_or(0) as f32;
    let high = counts.iter().rposition(|&n| n > 0).unwrap_or(255) as f32;
    std::array::from_fn(
        |v| if high > low { to_byte((v as f32 - low) * 255.0 / (high - low)) } else { v as u8 },
    )
}

/// All values about as often: each by how many bytes are below it.
fn equalize(counts: &[u32; 256]) -> [u8; 256] {
    let total: u32 = counts.iter().sum();
    let last = counts.iter().rposition(|&n| n > 0).map_or(0, |v| counts[v]);
    let step = (total - last) / 255;
    if step == 0 {
        return std::array::from_fn(|v| v as u8);
    }
    let mut below = step / 2;
    std::array::from_fn(|v| {
        let value = (below / step).min(255) as u8;
        below += counts[v];
        value
    })
}

/// Hue (a share of a turn, `turn` added), saturation and value.
fn to_hsv(rgb: [f32; 3], turn: f32) -> [f32; 3] {
    let [r, g, b] = rgb;
    let high = r.max(g).max(b);
    let spread = high - r.min(g).min(b);
    if spread == 0.0 {
        return [0.0, 0.0, high];
    }
    let sixth = if high == r {
        (g - b) / spread
    } else if high == g {
        2.0 + (b - r) / spread
    } else {
        4.0 + (r - g) / spread
    };
    [(sixth / 6.0 + turn).rem_euclid(1.0), spread / high, high]
}

fn to_rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let channel = |n: f32| {
        let k = (n + hue * 6.0).rem_euclid(6.0);
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}
