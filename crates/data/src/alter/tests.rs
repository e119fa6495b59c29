//! Single changes as reckoned by hand, and that choices depend on their place alone.

use super::ops::{Change, Picture};
use super::*;
use crate::AugmentKind;
use crate::image::Image;

fn picture(bytes: &[u8], height: usize, width: usize) -> Picture {
    let mut picture = Picture::default();
    picture.fill(bytes.iter().copied(), height, width);
    picture
}

fn changed(bytes: &[u8], size: (usize, usize), change: Change, amount: f32) -> Vec<u8> {
    let mut picture = picture(bytes, size.0, size.1);
    picture.change(change, amount);
    picture.bytes().to_vec()
}

#[test]
fn values_change_by_their_formulas() {
    let row = |change, amount| changed(&[0, 100, 200, 255], (1, 4), change, amount);
    assert_eq!(row(Change::Brightness, 0.5), [0, 50, 100, 128]);
    assert_eq!(row(Change::Brightness, 2.0), [0, 200, 255, 255]);
    // The mean is 139 (138.75).
    assert_eq!(row(Change::Contrast, 0.0), [139; 4]);
    assert_eq!(row(Change::Contrast, 1.0), [0, 100, 200, 255]);
    assert_eq!(row(Change::Invert, 0.0), [255, 155, 55, 0]);
    assert_eq!(row(Change::Solarize, 200.0), [0, 100, 55, 0]);
    assert_eq!(row(Change::Posterize, 2.0), [0, 64, 192, 192]);
    assert_eq!(row(Change::Posterize, 8.0), [0, 100, 200, 255]);
    assert_eq!(changed(&[50, 100, 150], (1, 3), Change::AutoContrast, 0.0), [0, 128, 255]);
    assert_eq!(changed(&[7; 3], (1, 3), Change::AutoContrast, 0.0), [7; 3]);
}

#[test]
fn equalizing_spreads_values_evenly() {
    // 510 bytes of 100, 101, ..., each twice but the last: step 1 or more, so ranks become values.
    let bytes: Vec<u8> = (0..16 * 64).map(|i| 100 + (i % 4) as u8).collect();
    let flat = changed(&bytes, (16, 64), Change::Equalize, 0.0);
    // 256 of each; 768 / 255 = 3 a step: (1 + 256 n) / 3.
    assert_eq!(flat[..4], [0, 85, 171, 255]);
    assert_eq!(changed(&[9, 8], (1, 2), Change::Equalize, 0.0), [9, 8], "too few to spread");
}

#[test]
fn colours_turn_and_fade() {
    let red = [255, 0, 0];
    assert_eq!(changed(&red, (1, 1), Change::Hue, 1.0 / 3.0), [0, 255, 0]);
    assert_eq!(changed(&red, (1, 1), Change::Hue, -1.0 / 3.0), [0, 0, 255]);
    assert_eq!(changed(&[10, 200, 77], (1, 1), Change::Hue, 0.0), [10, 200, 77]);
    assert_eq!(changed(&red, (1, 1), Change::Color, 0.0), [76; 3]);
    assert_eq!(changed(&[9], (1, 1), Change::Color, 0.0), [9], "grey has no colour to lose");
}

#[test]
fn shapes_move_the_right_way() {
    let dot = [0, 0, 0, 0, 0, 200, 0, 0, 0];
    let right = changed(&dot, (3, 3), Change::TranslateX, -1.0);
    assert_eq!((right[4], right[5]), (200, 128));
    // A quarter turn counter-clockwise takes the right middle to the top middle.
    let turned = changed(&dot, (3, 3), Change::Rotate, 90.0);
    assert_eq!((turned[1], turned[5]), (200, 0), "{turned:?}");
    let sheared = changed(&dot, (3, 3), Change::ShearY, 1.0);
    assert_eq!(sheared[2], 200, "{sheared:?}");
    assert_eq!(changed(&dot, (3, 3), Change::Rotate, 0.0), dot);
    // Sharpness 0: (200 5 + 0) / 13 in the middle, the border stays.
    let mut middle = [0; 9];
    middle[4] = 130;
    assert_eq!(changed(&middle, (3, 3), Change::Sharpness, 0.0)[4], 50);
}

fn photo() -> Image {
    let pixels = (0..12 * 12 * 3).map(|i| ((i * 37 + i / 7) % 256) as u8).collect();
    Image { width: 12, height: 12, channels: 3, pixels }
}

fn shown(alter: &Alter, place: RandomPlace) -> Vec<f32> {
    let settings = Preprocess::new(3, [12, 12]).normalised(vec![0.4, 0.5, 0.6], vec![0.2, 0.25, 0.3]);
    let mut preprocessor = Preprocessor::new(&settings).unwrap();
    let augment = Augment { kind: AugmentKind::PadCrop { pad: 2 }, flip: true };
    let mut out = vec![f32::NAN; 3 * 144];
    alter.apply(&augment, &mut preprocessor, photo().view(), place, &mut out).unwrap();
    out
}

#[test]
fn a_change_of_nothing_is_none_to_the_bit() {
    let place = RandomPlace { seed: 1, epoch: 2, sample: 3 };
    // A magnitude of zero draws changes, of which some (equalize) do something; turning by nothing does not.
    let still = Alter { rotate: f32::MIN_POSITIVE, ..Alter::default() };
    assert_eq!(shown(&still, place), shown(&Alter::default(), place));
}

#[test]
fn every_change_depends_on_its_place_alone() {
    let all = [
        Alter { jitter: [0.4, 0.4, 0.4, 0.1], ..Alter::default() },
        Alter { rotate: 30.0, ..Alter::default() },
        Alter { erase: 1.0, ..Alter::default() },
        Alter { rand_augment: Some([2, 9]), ..Alter::default() },
        Alter { auto_augment: Some(Policy::Cifar10), ..Alter::default() },
        Alter { auto_augment: Some(Policy::ImageNet), ..Alter::default() },
    ];
    for alter in all {
        alter.validate().unwrap();
        let at = |epoch, sample| shown(&alter, RandomPlace { seed: 5, epoch, sample });
        assert_eq!(at(0, 0), at(0, 0));
        assert!(at(0, 0).iter().all(|x| x.is_finite()));
        let plain = |epoch| shown(&Alter::default(), RandomPlace { seed: 5, epoch, sample: 0 });
        let differing = (0..40).filter(|&epoch| at(epoch, 0) != plain(epoch)).count();
        assert!(differing > 25, "{alter:?}: {differing} of 40");
    }
}

#[test]
fn erasing_leaves_the_rest() {
    let alter = Alter { erase: 1.0, ..Alter::default() };
    for epoch in 0..20 {
        let place = RandomPlace { seed: 5, epoch, sample: 9 };
        let (with, without) = (shown(&alter, place), shown(&Alter::default(), place));
        let gone = with.iter().zip(&without).filter(|(a, b)| a != b).count() / 3;
        assert!((1..=60).contains(&gone), "{gone} of 144 pixels");
        assert!(with.iter().zip(&without).all(|(a, b)| a == b || *a == 0.0));
    }
}

#[test]
fn impossible_changes_are_refused() {
    let refusal = |alter: Alter| alter.validate().unwrap_err().to_string();
    assert!(refusal(Alter { jitter: [0.1, 0.1, 0.1, 0.9], ..Alter::default() }).contains("hue"));
    assert!(refusal(Alter { rotate: f32::NAN, ..Alter::default() }).contains("rotation"));
    assert!(refusal(Alter { erase: 1.5, ..Alter::default() }).contains("erasing"));
    assert!(refusal(Alter { rand_augment: Some([2, 31]), ..Alter::default() }).contains("RandAugment"));
    let both = Alter { rand_augment: Some([2, 9]), auto_augment: Some(Policy::Cifar10), ..Alter::default() };
    assert!(refusal(both).contains("give one"));
}
