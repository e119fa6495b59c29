//! How many images a second the loader makes from CIFAR-10 decoded in memory.
//!
//! `cargo run --release -p ocellus-data --example loader_throughput -- cifar10-jpeg.tar.gz [THREADS]`
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use ocellus_data::{
    Augment, AugmentKind, DataError, Dataset, Loader, LoaderConfig, OpenOptions, Preprocess, VerifyOptions,
    statistics,
};

fn main() -> Result<(), DataError> {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: loader_throughput DATA [THREADS]");
        return Ok(());
    };
    let threads = arguments.next().and_then(|t| t.parse().ok()).unwrap_or(1);
    let start = Instant::now();
    let mut dataset = Dataset::open(path, &OpenOptions::default())?;
    println!("open: {:.2} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let excluded = dataset.train.verify(&VerifyOptions::default())?;
    println!("verify: {} images in {:.2} s", excluded.checked, start.elapsed().as_secs_f64());
    let start = Instant::now();
    let (mean, std) = statistics(&dataset.train, 3, 0)?;
    println!("statistics: {mean:?} {std:?} in {:.2} s", start.elapsed().as_secs_f64());

    let preprocess = Preprocess::new(3, [32, 32]).normalised(mean, std);
    let train = Arc::new(dataset.train);
    let kinds = [
        ("none", AugmentKind::None, false),
        ("pad-crop and flip", AugmentKind::PadCrop { pad: 4 }, true),
        ("random resized crop and flip", AugmentKind::random_resized_crop(), true),
    ];
    for (name, kind, flip) in kinds {
        let augment = Augment { kind, flip };
        let config = LoaderConfig { threads, ..LoaderConfig::training(preprocess.clone(), augment, 128, 0) };
        let mut images = 0;
        let start = Instant::now();
        for epoch in 0..2 {
            for batch in Loader::start(train.clone(), &config, epoch, 0)? {
                images += batch?.count;
            }
        }
        println!("{name}: {:.0} images/s", f64::from(images as u32) / start.elapsed().as_secs_f64());
    }
    Ok(())
}
