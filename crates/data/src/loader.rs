//! Batches made ahead of their use by worker threads.
//!
//! ```text
//! worker: claim the next batch b, wait while b >= next_out + prefetch, make it, put it in slot b % prefetch
//! next(): wait for slot next_out % prefetch, take it, next_out += 1
//! ```
//!
//! What a batch holds depends on (seed, epoch, its index) only; threads decide only when it is made. A
//! dropped [`Batch`] gives its buffers back, so that a running loader allocates nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::alter::Alter;
use crate::augment::{Augment, RandomPlace};
use crate::companions::{Companions, Grouping, Place};
use crate::error::DataError;
use crate::image::ImageView;
use crate::preprocess::{Preprocess, Preprocessor};
use crate::sampler::Sampler;
use crate::split::Split;

/// The largest batch in memory, in values.
const MAX_BATCH_VALUES: usize = 1 << 32;
const MAX_THREADS: usize = 256;
/// An image up to this many pixels costs so little that one thread keeps up.
const SMALL_PIXELS: u32 = 64 * 64;

/// What a [`Loader`] makes.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderConfig {
    /// How an image becomes the network's input.
    pub preprocess: Preprocess,
    /// The random changes; none for validation.
    pub augment: Augment,
    /// Changes to colours and shape besides; none for validation.
    pub alter: Alter,
    /// Images in a batch (groups of them, if they are grouped), at least 1.
    pub batch: usize,
    /// Whether each image brings others along.
    pub grouping: Grouping,
    /// Whether each epoch has a random order.
    pub shuffle: bool,
    /// Whether a last batch that is not full is left out.
    pub drop_last: bool,
    /// The seed of orders and changes.
    pub seed: u64,
    /// Worker threads; 0 makes each batch when it is asked for.
    pub threads: usize,
    /// How many batches are made ahead, at least 1.
    pub prefetch: usize,
}

impl LoaderConfig {
    /// For training: shuffled, the last batch left out if it is not full, three batches ahead.
    pub fn training(preprocess: Preprocess, augment: Augment, batch: usize, seed: u64) -> Self {
        Self { augment, shuffle: true, drop_last: true, seed, ..Self::evaluation(preprocess, batch) }
    }

    /// For evaluation: every image once, in order, unchanged.
    pub fn evaluation(preprocess: Preprocess, batch: usize) -> Self {
        Self {
            preprocess,
            augment: Augment::default(),
            alter: Alter::default(),
            batch,
            grouping: Grouping::Single,
            shuffle: false,
            drop_last: false,
            seed: 0,
            threads: 1,
            prefetch: 3,
        }
    }

    /// The same with changes to colours and shape.
    #[must_use]
    pub fn altered(mut self, alter: Alter) -> Self {
        self.alter = alter;
        self
    }

    /// The same with companions for each image.
    #[must_use]
    pub fn grouped(mut self, grouping: Grouping) -> Self {
        self.grouping = grouping;
        self
    }

    /// The same with the number of threads that suits the split: one for small images decoded in memory
    /// (a network's own threads need the cores), else half of the cores.
    #[must_use]
    pub fn with_threads_for(mut self, split: &Split) -> Self {
        let small = split.uniform_shape().is_some_and(|s| s.width.saturating_mul(s.height) <= SMALL_PIXELS);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.threads = if small { 1 } else { (cores / 2).max(1) };
        self
    }

    /// The order and division into batches of a split of `len` samples.
    pub fn sampler(&self, len: usize) -> Sampler {
        Sampler { len, batch: self.batch, shuffle: self.shuffle, drop_last: self.drop_last, seed: self.seed }
    }

    fn validate(&self, split: &Split) -> Result<(), DataError> {
        self.preprocess.validate()?;
        self.augment.validate()?;
        self.alter.validate()?;
        let fault = |message: String| Err(DataError::Setting(message));
        let images = self.batch.checked_mul(self.grouping.images());
        let values = images.and_then(|images| images.checked_mul(self.preprocess.output_len()));
        if self.batch == 0 || values.is_none_or(|v| v > MAX_BATCH_VALUES) {
            let len = self.preprocess.output_len();
            return fault(format!("a batch of {} images of {len} values cannot be made", self.batch));
        }
        if self.prefetch == 0 || self.threads > MAX_THREADS {
            return fault(format!(
                "prefetch must be at least 1 and threads at most {MAX_THREADS}, not {} and {}",
                self.prefetch, self.threads
            ));
        }
        if u32::try_from(split.len()).is_err() {
            return fault(format!("{} samples are more than 2^32", split.len()));
        }
        Ok(())
    }
}

/// A batch of inputs and their labels. Dropping it gives its buffers back to the loader.
///
/// Grouped images stand in as many blocks as a group has: first the leading image of each group, then the second of each,
/// and so on.
#[derive(Debug)]
pub struct Batch {
    /// (N, C, H, W), normalised; N is `count`.
    pub images: Vec<f32>,
    /// The class index of each image, as a number.
    pub labels: Vec<f32>,
    /// The index of each image in its split.
    pub ids: Vec<u32>,
    /// How many images there are; fewer than the batch size only in the last batch.
    pub count: usize,
    /// The batch's index within its epoch.
    pub index: usize,
    pool: Arc<Pool>,
}

#[derive(Debug, Default)]
struct Buffers {
    images: Vec<f32>,
    labels: Vec<f32>,
    ids: Vec<u32>,
}

/// Buffers of dropped batches.
#[derive(Debug, Default)]
struct Pool {
    spare: Mutex<Vec<Buffers>>,
    /// More than this are never in use at once, unless the caller hoards batches.
    keep: usize,
}

impl Drop for Batch {
    fn drop(&mut self) {
        let buffers = Buffers {
            images: std::mem::take(&mut self.images),
            labels: std::mem::take(&mut self.labels),
            ids: std::mem::take(&mut self.ids),
        };
        let mut spare = lock(&self.pool.spare);
        if buffers.images.capacity() > 0 && spare.len() < self.pool.keep {
            spare.push(buffers);
        }
    }
}

/// Makes the batches of one epoch.
struct Maker {
    split: Arc<Split>,
    config: LoaderConfig,
    sampler: Sampler,
    epoch: u32,
    order: Vec<u32>,
    companions: Option<Companions>,
    pool: Arc<Pool>,
}

impl Maker {
    /// `None` when told to stop.
    fn make(
        &self,
        index: usize,
        preprocessor: &mut Preprocessor,
        stop: &AtomicBool,
    ) -> Option<Result<Batch, DataError>> {
        let mut buffers = lock(&self.pool.spare).pop().unwrap_or_default();
        let ids = self.ids(index);
        let length = self.config.preprocess.output_len();
        buffers.images.resize(ids.len() * length, 0.0);
        buffers.labels.clear();
        buffers.ids.clear();
        buffers.ids.extend_from_slice(&ids);
        let Buffers { images, labels, ids } = buffers;
        let pool = self.pool.clone();
        let mut batch = Batch { count: ids.len(), images, labels, ids, index, pool };
        for (&id, out) in batch.ids.iter().zip(batch.images.chunks_exact_mut(length)) {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            if let Err(error) = self.make_one(id, preprocessor, out) {
                return Some(Err(error));
            }
            batch.labels.push(self.split.samples()[id as usize].class as f32);
        }
        Some(Ok(batch))
    }

    /// The images of a batch, block by block.
    fn ids(&self, index: usize) -> Vec<u32> {
        let range = self.sampler.range(index);
        let mut ids = self.order[range.clone()].to_vec();
        let Some(companions) = &self.companions else { return ids };
        let (seed, epoch, grouping) = (self.config.seed, self.epoch, self.config.grouping);
        let draw = |(group, &lead): (usize, &u32)| {
            companions.draw(grouping, lead, Place { seed, epoch, group: group as u32 })
        };
        let groups: Vec<Vec<u32>> = range.clone().zip(&self.order[range]).map(draw).collect();
        for other in 0..grouping.images() - 1 {
            ids.extend(groups.iter().map(|group| group[other]));
        }
        ids
    }

    fn make_one(&self, id: u32, preprocessor: &mut Preprocessor, out: &mut [f32]) -> Result<(), DataError> {
        let decoded;
        let view: ImageView<'_> = match self.split.pixels(id as usize) {
            Some(view) => view,
            None => {
                decoded = self.split.image(id as usize)?;
                decoded.view()
            }
        };
        let place = RandomPlace { seed: self.config.seed, epoch: self.epoch, sample: id };
        self.config.alter.apply(&self.config.augment, preprocessor, view, place, out)
    }
}

/// What workers and the consumer share.
struct Shared {
    maker: Maker,
    progress: Mutex<Progress>,
    /// Told of every change of the progress.
    changed: Condvar,
    stop: AtomicBool,
}

struct Progress {
    /// The next batch to be claimed by a worker.
    claimed: usize,
    /// The next batch to be given out.
    next_out: usize,
    /// Batches `next_out..next_out + prefetch` that are ready, each in slot `b % prefetch`.
    slots: Vec<Option<Result<Batch, DataError>>>,
}

/// Gives the batches of one epoch, in order. An iterator.
///
/// After an error the following batches can still be had. Dropping the loader stops its threads.
///
/// ```
/// use std::sync::Arc;
/// use ocellus_data::{Augment, Dataset, Loader, LoaderConfig, Preprocess};
/// let digits = Dataset::digits(0)?;
/// let config = LoaderConfig::training(Preprocess::new(1, [8, 8]), Augment::default(), 32, 7);
/// for batch in Loader::start(Arc::new(digits.train), &config, 0, 0)? {
///     let batch = batch?;
///     assert_eq!(batch.images.len(), batch.count * 8 * 8);
/// }
/// # Ok::<(), ocellus_data::DataError>(())
/// ```
pub struct Loader {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// For making batches without workers.
    preprocessor: Preprocessor,
    batches: usize,
}

impl Loader {
    /// Starts an epoch at `first_batch`: with the same seed, the batches are those a loader started at 0
    /// would give from there on.
    ///
    /// # Errors
    /// A setting is invalid, or a thread cannot be started.
    pub fn start(
        split: Arc<Split>,
        config: &LoaderConfig,
        epoch: u32,
        first_batch: usize,
    ) -> Result<Self, DataError> {
        config.validate(&split)?;
        let sampler = config.sampler(split.len());
        let batches = sampler.batches();
        let pool = Arc::new(Pool { spare: Mutex::default(), keep: config.prefetch + config.threads + 2 });
        let companions = match config.grouping {
            Grouping::Single => None,
            _ => Some(Companions::of(&split)?),
        };
        let order = sampler.order(epoch);
        let maker = Maker { order, split, config: config.clone(), sampler, epoch, companions, pool };
        let slots = (0..config.prefetch).map(|_| None).collect();
        let shared = Arc::new(Shared {
            maker,
            progress: Mutex::new(Progress { claimed: first_batch, next_out: first_batch, slots }),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let preprocessor = Preprocessor::new(&config.preprocess)?;
        let mut loader = Self { shared, workers: Vec::new(), preprocessor, batches };
        for _ in 0..config.threads.min(batches.saturating_sub(first_batch)) {
            loader.start_worker(&config.preprocess)?;
        }
        Ok(loader)
    }

    /// How many batches the whole epoch has.
    pub fn batches(&self) -> usize {
        self.batches
    }

    fn start_worker(&mut self, preprocess: &Preprocess) -> Result<(), DataError> {
        let shared = self.shared.clone();
        let batches = self.batches;
        let preprocessor = Preprocessor::new(preprocess)?;
        let handle = std::thread::Builder::new()
            .name("ocellus-data".to_owned())
            .spawn(move || work(&shared, batches, preprocessor))
            .map_err(|e| DataError::Setting(format!("cannot start a data loading thread: {e}")))?;
        self.workers.push(handle);
        Ok(())
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let shared = &self.shared;
        let mut progress = lock(&shared.progress);
        let index = progress.next_out;
        if index >= self.batches {
            return None;
        }
        if self.workers.is_empty() {
            progress.next_out += 1;
            drop(progress);
            return shared.maker.make(index, &mut self.preprocessor, &shared.stop);
        }
        let slot = index % progress.slots.len();
        loop {
            if let Some(batch) = progress.slots[slot].take() {
                progress.next_out += 1;
                shared.changed.notify_all();
                return Some(batch);
            }
            progress = shared.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        {
            // Under the lock, so that no worker misses it between its check and its wait.
            let _progress = lock(&self.shared.progress);
            self.shared.stop.store(true, Ordering::Relaxed);
            self.shared.changed.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker catches its own panics.
            let _ = worker.join();
        }
    }
}

fn work(shared: &Shared, batches: usize, mut preprocessor: Preprocessor) {
    while let Some(index) = claim(shared, batches) {
        let made =
            catch_unwind(AssertUnwindSafe(|| shared.maker.make(index, &mut preprocessor, &shared.stop)));
        let result = match made {
            Ok(Some(result)) => result,
            Ok(None) => return,
            Err(_) => Err(DataError::Worker { batch: index }),
        };
        let mut progress = lock(&shared.progress);
        let slot = index % progress.slots.len();
        progress.slots[slot] = Some(result);
        shared.changed.notify_all();
    }
}

/// The next batch to make, once there is room for it; `None` at the end.
fn claim(shared: &Shared, batches: usize) -> Option<usize> {
    let mut progress = lock(&shared.progress);
    loop {
        if progress.claimed >= batches || shared.stop.load(Ordering::Relaxed) {
            return None;
        }
        if progress.claimed < progress.next_out + progress.slots.len() {
            progress.claimed += 1;
            return Some(progress.claimed - 1);
        }
        progress = shared.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
    }
}

/// A poisoned lock is still good here: no code that can panic runs while one is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
