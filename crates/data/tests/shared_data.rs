//! The sources over real data.

mod common;

use common::shared;
use ocellus_data::{
    ChannelOrder, Dataset, Fit, Image, ImageShape, OpenOptions, Preprocess, VerifyOptions, statistics,
};

fn open(path: impl AsRef<std::path::Path>) -> Dataset {
    Dataset::open(path, &OpenOptions::default()).unwrap()
}

#[test]
fn mnist_labels_occur_as_often_as_published() {
    let Some(path) = shared("mnist") else { return };
    let d = open(&path);
    assert_eq!(d.train.class_counts(), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    assert_eq!(d.val.class_counts(), [460, 571, 530, 500, 500, 456, 462, 512, 489, 520]);
    assert_eq!(d.classes().as_ref(), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(d.train.uniform_shape(), Some(ImageShape { width: 28, height: 28, channels: 1 }));
    let (mean, std) = statistics(&d.train, 1, 0).unwrap();
    assert!((mean[0] - 0.1307).abs() < 2e-3 && (std[0] - 0.3081).abs() < 2e-3, "{mean:?} {std:?}");
    let one = open(path.join("t10k5k-images-idx3-ubyte.gz"));
    assert_eq!((one.train.len(), one.val.len()), (0, 5000));
}

#[test]
fn lossless_cifar_is_the_source_of_the_jpegs() {
    let (Some(bin), Some(tar)) = (shared("cifar10-lossless-test1000.bin.gz"), shared("cifar10-jpeg.tar.gz"))
    else {
        return;
    };
    let (exact, lossy) = (open(bin), open(tar));
    assert_eq!((exact.train.len(), exact.val.len()), (0, 1000));
    assert_eq!(exact.val.class_counts(), [100; 10]);
    assert_eq!(exact.classes(), lossy.classes());
    // Record 10 k + c is test/CLASS[c]/(2k as 4 digits).jpg.
    for record in [0, 1, 17, 503, 999] {
        let sample = &exact.val.samples()[record];
        assert_eq!(sample.class as usize, record % 10);
        let name = format!("test/{}/{:04}.jpg", exact.classes()[record % 10], record / 10 * 2);
        let index = lossy.val.samples().iter().position(|s| s.name == name).unwrap();
        let (a, b) = (exact.val.image(record).unwrap(), lossy.val.image(index).unwrap());
        let squares: f64 = a.pixels.iter().zip(&b.pixels).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum();
        let rms = (squares / a.pixels.len() as f64).sqrt();
        assert!(rms < 20.0, "{name}: {rms} grey levels apart");
    }
}

#[test]
fn the_cifar_archive_opens_as_it_is_and_every_image_decodes() {
    let Some(path) = shared("cifar10-jpeg.tar.gz") else { return };
    let mut d = open(path);
    assert_eq!((d.train.len(), d.val.len(), d.drawn), (50_000, 5_000, false));
    assert_eq!(d.train.class_counts(), [5000; 10]);
    assert_eq!(d.val.class_counts(), [500; 10]);
    assert_eq!(d.classes()[0], "airplane");
    assert_eq!(d.train.samples()[0].name, "train/airplane/0000.jpg");
    for split in [&mut d.train, &mut d.val] {
        let excluded = split.verify(&VerifyOptions::default()).unwrap();
        assert_eq!((excluded.images.len(), excluded.checked), (0, split.len()));
        assert_eq!(split.uniform_shape(), Some(ImageShape { width: 32, height: 32, channels: 3 }));
    }
    let (mean, std) = statistics(&d.train, 3, 0).unwrap();
    for (value, known) in mean.iter().chain(&std).zip([0.4914, 0.4822, 0.4465, 0.247, 0.2435, 0.2616]) {
        assert!((value - known).abs() < 1.5e-2, "{mean:?} {std:?}");
    }
}

#[test]
fn photos_decode() {
    let Some(folder) = shared("photos") else { return };
    let sizes = [
        ("cat.jpg", 480, 360, 3),
        ("cat_gray.jpg", 480, 360, 1),
        ("fish-bike.jpg", 481, 323, 3),
        ("dog.jpg", 400, 266, 3),
        ("kitten_224.png", 224, 224, 3),
    ];
    for (name, width, height, channels) in sizes {
        let image = Image::open(folder.join(name)).unwrap();
        assert_eq!((image.width, image.height, image.channels), (width, height, channels), "{name}");
    }
}

#[test]
fn a_progressive_jpeg_cut_anywhere_is_refused() {
    let Some(path) = shared("photos/dog.jpg") else { return };
    let bytes = std::fs::read(path).unwrap();
    for length in (0..bytes.len()).step_by(97).chain(bytes.len() - 40..bytes.len()) {
        assert!(Image::decode(&bytes[..length], "dog.jpg").is_err(), "cut at {length} of {}", bytes.len());
    }
}

/// The reference is made by OpenCV: stretched to 256x256 without anti-aliasing, the middle 227x227.
#[test]
fn stretched_preprocessing_agrees_with_opencv() {
    let (Some(tar), Some(crop)) =
        (shared("squeezenet/imagenet60.tar"), shared("squeezenet/reference_crop.png"))
    else {
        return;
    };
    let reference = Image::open(crop).unwrap();
    let settings = Preprocess {
        resize: Some(256),
        fit: Fit::Stretch,
        antialias: false,
        order: ChannelOrder::Bgr,
        ..Preprocess::new(3, [227, 227])
    }
    .normalised(vec![104.0 / 255.0, 117.0 / 255.0, 123.0 / 255.0], vec![1.0 / 255.0; 3]);
    let wanted = settings.apply(&reference).unwrap();
    assert!((wanted[0] - (f32::from(reference.pixels[2]) - 104.0)).abs() < 1e-4);
    let mut best = f32::INFINITY;
    let mut archive = tar::Archive::new(std::fs::File::open(tar).unwrap());
    for member in archive.entries().unwrap() {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut member.unwrap(), &mut bytes).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let got = settings.apply(&Image::decode(&bytes, "member").unwrap()).unwrap();
        let apart = got.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).sum::<f32>() / got.len() as f32;
        best = best.min(apart);
    }
    eprintln!("nearest: {best} grey levels apart");
    assert!(best < 1.0, "the nearest picture is {best} grey levels apart");
}
