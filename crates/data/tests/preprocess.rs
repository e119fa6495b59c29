//! Preprocessing and augmentation.
#![allow(missing_docs)]

mod common;

use ocellus_data::{Augment, AugmentKind, Fit, Image, Preprocess, Preprocessor, RandomPlace};

fn image(width: u32, height: u32) -> Image {
    let pixels = common::picture(width, height, 1).into_raw();
    Image { width, height, channels: 3, pixels }
}

/// Grey, every pixel its column.
fn columns(width: u32, height: u32) -> Image {
    let pixels = (0..height).flat_map(|_| (0..width).map(|x| x as u8)).collect();
    Image { width, height, channels: 1, pixels }
}

fn raw(channels: usize, size: [u32; 2]) -> Preprocess {
    Preprocess::new(channels, size).normalised(vec![0.0; channels], vec![1.0 / 255.0; channels])
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().map(|v| v.round() as u8).collect()
}

#[test]
fn an_image_of_the_wanted_size_is_only_normalised() {
    let settings = Preprocess { resize: Some(300), ..Preprocess::new(3, [4, 5]) }
        .normalised(vec![0.1, 0.2, 0.3], vec![0.5, 0.6, 0.7]);
    let image = image(5, 4);
    let out = settings.apply(&image).unwrap();
    for (i, value) in out.iter().enumerate() {
        let (channel, pixel) = (i / 20, i % 20);
        let byte = f32::from(image.pixels[pixel * 3 + channel]);
        assert_eq!(*value, (byte / 255.0 - settings.mean[channel]) / settings.std[channel]);
    }
}

#[test]
fn the_middle_is_cut_out() {
    // Shorter side 10 already, so nothing is resized; (20 - 6) / 2 = 7.
    let settings = Preprocess { resize: Some(10), ..raw(1, [6, 6]) };
    let out = settings.apply(&columns(20, 10)).unwrap();
    assert_eq!(bytes(&out[..6]), [7, 8, 9, 10, 11, 12]);
    // Odd excess is rounded down: (21 - 6) / 2 = 7.
    assert_eq!(bytes(&settings.apply(&columns(21, 10)).unwrap()[..6]), [7, 8, 9, 10, 11, 12]);
}

#[test]
fn grey_and_colour_convert() {
    let out = raw(3, [1, 2]).apply(&columns(2, 1)).unwrap();
    assert_eq!(bytes(&out), [0, 1, 0, 1, 0, 1]);
    let red = Image { width: 1, height: 1, channels: 3, pixels: vec![255, 0, 0] };
    assert_eq!(bytes(&raw(1, [1, 1]).apply(&red).unwrap()), [76]);
}

#[test]
fn constant_images_stay_constant_in_every_fit() {
    for fit in [Fit::Crop, Fit::Stretch] {
        for (width, height) in [(7, 50), (50, 7), (3, 3), (300, 200)] {
            for resize in [None, Some(20), Some(64)] {
                let settings = Preprocess { fit, resize, ..raw(1, [16, 24]) };
                let pixels = vec![77; (width * height) as usize];
                let out = settings.apply(&Image { width, height, channels: 1, pixels }).unwrap();
                assert!(bytes(&out).iter().all(|&b| b == 77), "{fit:?} {width}x{height} {resize:?}");
            }
        }
    }
}

#[test]
fn a_letterbox_is_filled_with_the_mean() {
    let settings =
        Preprocess { fit: Fit::Letterbox, ..Preprocess::new(1, [8, 8]) }.normalised(vec![0.5], vec![0.5]);
    let out = settings.apply(&Image { width: 16, height: 8, channels: 1, pixels: vec![255; 128] }).unwrap();
    let rows: Vec<f32> = out.chunks(8).map(|row| row[0]).collect();
    assert_eq!(rows, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
}

/// Worked by hand from the definition of the triangle filter, which Pillow uses too.
#[test]
fn reducing_averages_like_pillow() {
    let ramp = Image { width: 8, height: 1, channels: 1, pixels: (0..8).map(|x| x * 10).collect() };
    let stretch = |antialias| {
        bytes(&Preprocess { fit: Fit::Stretch, antialias, ..raw(1, [1, 2]) }.apply(&ramp).unwrap())
    };
    // The triangle of radius 4 around 2.0 and 6.0, cut at the border: weights 5 7 7 5 3 1 of 28, 530 / 28 = 18.9.
    assert_eq!(stretch(true), [19, 51]);
    // The two nearest pixels only: between 10 and 20, between 50 and 60.
    assert_eq!(stretch(false), [15, 55]);
}

#[test]
fn extreme_shapes_cost_no_memory() {
    let settings = Preprocess { resize: Some(8192), ..raw(1, [224, 224]) };
    let out =
        settings.apply(&Image { width: 60_000, height: 1, channels: 1, pixels: vec![9; 60_000] }).unwrap();
    assert!(bytes(&out).iter().all(|&b| b == 9));
}

#[test]
fn invalid_settings_are_named() {
    let message = |p: Preprocess| p.apply(&columns(2, 2)).unwrap_err().to_string();
    assert!(message(Preprocess::new(2, [2, 2])).contains("channels must be 1 or 3, not 2"));
    assert!(message(Preprocess::new(1, [0, 2])).contains("[0, 2]"));
    assert!(message(raw(1, [2, 2]).normalised(vec![], vec![])).contains("0 means"));
    assert!(message(raw(1, [2, 2]).normalised(vec![0.0], vec![0.0])).contains("above 0"));
    let lie = Image { width: 9, height: 9, channels: 3, pixels: vec![0; 5] };
    assert!(raw(3, [2, 2]).apply(&lie).unwrap_err().to_string().contains("9x9"));
}

#[test]
fn scaled_pixels_meet_mean_and_deviation_as_caffe_counts_them() {
    let grey = Image { width: 256, height: 1, channels: 1, pixels: (0..=255).collect() };
    let plain = Preprocess::new(1, [1, 256]).apply(&grey).unwrap();
    assert!(plain.iter().enumerate().all(|(v, &x)| x == v as f32 / 255.0), "the bits of a division");
    let caffe = Preprocess { scale: 1.0, ..Preprocess::new(1, [1, 256]) }.normalised(vec![104.0], vec![2.0]);
    let exact = caffe.apply(&grey).unwrap();
    assert!(exact.iter().enumerate().all(|(v, &x)| x == (v as f32 - 104.0) / 2.0));
    let text = serde_json::to_string(&caffe).unwrap();
    assert_eq!(caffe, serde_json::from_str(&text).unwrap());
    assert!(!serde_json::to_string(&Preprocess::new(1, [1, 1])).unwrap().contains("scale"));
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Preprocess { scale, ..caffe.clone() }.validate().is_err());
    }
}

#[test]
fn settings_survive_json() {
    let settings = Preprocess { resize: Some(256), fit: Fit::Letterbox, ..Preprocess::new(3, [224, 224]) };
    let text = serde_json::to_string(&settings).unwrap();
    assert_eq!(settings, serde_json::from_str(&text).unwrap());
    let least = r#"{"channels": 1, "size": [8, 8], "mean": [0.5], "std": [0.5]}"#;
    let least: Preprocess = serde_json::from_str(least).unwrap();
    assert!(least.antialias && least.fit == Fit::Crop && least.resize.is_none());
    let augment = Augment { kind: AugmentKind::PadCrop { pad: 4 }, flip: true };
    let text = serde_json::to_string(&augment).unwrap();
    assert_eq!(augment, serde_json::from_str(&text).unwrap());
}

fn augmented(augment: Augment, settings: &Preprocess, image: &Image, sample: u32) -> Vec<u8> {
    let mut preprocessor = Preprocessor::new(settings).unwrap();
    let mut out = vec![f32::NAN; settings.output_len()];
    let place = RandomPlace { seed: 3, epoch: 1, sample };
    augment.apply(&mut preprocessor, image.view(), place, &mut out).unwrap();
    assert!(out.iter().all(|v| v.is_finite()));
    bytes(&out)
}

/// Every output of pad-crop-flip is one of the (2 pad + 1)^2 x 2 possible, and all of them occur.
#[test]
fn pad_crop_and_flip_give_all_shifts_and_no_others() {
    let (size, pad) = (5i64, 2i64);
    let pixels: Vec<u8> = (1..=25).collect();
    let image = Image { width: 5, height: 5, channels: 1, pixels: pixels.clone() };
    let mut possible = std::collections::BTreeSet::new();
    for (dy, dx) in (-pad..=pad).flat_map(|dy| (-pad..=pad).map(move |dx| (dy, dx))) {
        let at = |y: i64, x: i64| {
            let inside = (0..size).contains(&y) && (0..size).contains(&x);
            if inside { pixels[(y * size + x) as usize] } else { 0 }
        };
        let cells = (0..size).flat_map(|y| (0..size).map(move |x| (y, x)));
        possible.insert(cells.clone().map(|(y, x)| at(y + dy, x + dx)).collect::<Vec<_>>());
        possible.insert(cells.map(|(y, x)| at(y + dy, size - 1 - x + dx)).collect::<Vec<_>>());
    }
    assert_eq!(possible.len(), 50);
    let augment = Augment { kind: AugmentKind::PadCrop { pad: 2 }, flip: true };
    let got: std::collections::BTreeSet<_> =
        (0..1000).map(|sample| augmented(augment, &raw(1, [5, 5]), &image, sample)).collect();
    assert_eq!(got, possible);
}

#[test]
fn reflected_shifts_continue_the_image_backwards() {
    let (height, width) = (5, 7);
    let image = Image { width: 7, height: 5, channels: 1, pixels: (1..=35).collect() };
    // By the walk there and back over a side: ... 3 2 | 1 2 3 4 5 | 4 3 ...
    let reflect = |at: i64, side: i64| {
        let way = at.rem_euclid(2 * (side - 1));
        way.min(2 * (side - 1) - way)
    };
    let mut possible = std::collections::BTreeSet::new();
    for (dy, dx) in (-2..=2).flat_map(|dy| (-2..=2).map(move |dx| (dy, dx))) {
        let cells = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        let at = |(y, x)| image.pixels[(reflect(y + dy, height) * width + reflect(x + dx, width)) as usize];
        possible.insert(cells.map(at).collect::<Vec<_>>());
    }
    assert_eq!(possible.len(), 25);
    let augment = Augment { kind: AugmentKind::ReflectCrop { pad: 2 }, flip: false };
    let got: std::collections::BTreeSet<_> =
        (0..1000).map(|sample| augmented(augment, &raw(1, [5, 7]), &image, sample)).collect();
    assert_eq!(got, possible);
    // Further than the image reaches there is nothing to mirror, and nothing breaks.
    let far = Augment { kind: AugmentKind::ReflectCrop { pad: 40 }, flip: true };
    (0..200).for_each(|sample| drop(augmented(far, &raw(1, [5, 7]), &image, sample)));
}

#[test]
fn colour_channels_shift_together() {
    let image = image(9, 9);
    let grey = image.clone().into_channels(1).unwrap();
    let augment = Augment { kind: AugmentKind::PadCrop { pad: 3 }, flip: true };
    for sample in 0..50 {
        let out = augmented(augment, &raw(3, [9, 9]), &image, sample);
        let interleaved: Vec<u8> = (0..81).flat_map(|i| [out[i], out[81 + i], out[162 + i]]).collect();
        let colour = Image { width: 9, height: 9, channels: 3, pixels: interleaved };
        let expected = augmented(augment, &raw(1, [9, 9]), &grey, sample);
        assert_eq!(colour.into_channels(1).unwrap().pixels, expected);
    }
}

#[test]
fn random_resized_crops_vary_and_stay_inside() {
    let augment = Augment { kind: AugmentKind::random_resized_crop(), flip: false };
    let image = columns(200, 100);
    let mut first_columns = std::collections::BTreeSet::new();
    for sample in 0..200 {
        let out = augmented(augment, &raw(1, [16, 16]), &image, sample);
        assert!(out[..16].windows(2).all(|w| w[0] <= w[1]), "{:?}", &out[..16]);
        first_columns.insert(out[0]);
    }
    assert!(first_columns.len() > 50);
    for (width, height) in [(1, 1), (1, 100), (100, 1), (2, 3)] {
        augmented(augment, &raw(1, [4, 4]), &columns(width, height), 0);
    }
}

#[test]
fn the_share_that_a_crop_cuts_away_is_known() {
    let share = |fit, resize, width, height| {
        let settings = Preprocess { fit, resize, ..Preprocess::new(3, [224, 224]) };
        Preprocessor::new(&settings).unwrap().share_shown(width, height)
    };
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
    near(share(Fit::Crop, None, 448, 224), 0.5);
    near(share(Fit::Crop, Some(256), 256, 256), 224.0 * 224.0 / (256.0 * 256.0));
    near(share(Fit::Crop, None, 1000, 1000), 1.0);
    near(share(Fit::Stretch, None, 1000, 10), 1.0);
    near(share(Fit::Letterbox, Some(256), 1000, 10), 1.0);
}

#[test]
fn a_place_of_the_picture_is_found_in_the_input() {
    let place = |fit, at| {
        let settings = Preprocess { fit, ..Preprocess::new(3, [100, 100]) };
        Preprocessor::new(&settings).unwrap().input_position([400, 200], at)
    };
    assert_eq!(place(Fit::Crop, [200.0, 100.0]), Some([0.5, 0.5]));
    assert_eq!(place(Fit::Crop, [100.0, 0.0]), Some([0.0, 0.0]));
    assert_eq!(place(Fit::Crop, [99.0, 0.0]), None);
    assert_eq!(place(Fit::Stretch, [100.0, 50.0]), Some([0.25, 0.25]));
    assert_eq!(place(Fit::Letterbox, [0.0, 0.0]), Some([0.0, 0.25]));
}
