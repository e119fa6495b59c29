//! Loads an ONNX file, classifies one image of zeros and ends: `rten_rival MODEL THREADS`.

use std::error::Error;

use rten::{Model, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().collect();
    let [_, path, threads] = &words[..] else { return Err("usage: rten_rival MODEL THREADS".into()) };
    // SAFETY: nobody changes the file while it is mapped.
    let model = unsafe { Model::load_mmap(path)? };
    let image = NdTensor::<f32, 4>::zeros([1, 3, 224, 224]);
    let pool = ThreadPool::with_num_threads(threads.parse()?);
    let options = RunOptions::default().with_thread_pool(Some(pool.into()));
    let scores = model.run_one(image.view().into(), Some(options))?;
    println!("{:?}", scores.shape());
    Ok(())
}
