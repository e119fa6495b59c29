//! How is one kernel's work spread over the cores, at a cost of about a microsecond?
//!
//! A fork-join pool. A job is a number of tasks; thread `t` of `T` does the contiguous tasks
//! `[t * tasks / T, (t + 1) * tasks / T)`, and the calling thread is thread 0:
//!
//! ```text
//! run:     write the job; epoch += 1; unpark sleepers; do part 0; wait until remaining = 0
//! worker:  wait until epoch changes (spin some thousand times, then park); do own part; remaining -= 1
//! ```
//!
//! Nothing is allocated per run. Which thread does which task must never decide a number: kernels split reductions
//! by the problem only.

use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Checks of the epoch before a waiting thread gives its core away: a few tens of microseconds.
const SPINS: usize = 4096;

/// What every task is given: the thread's index and the task's index.
type Body<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// The job of the present epoch.
#[derive(Clone, Copy)]
struct Job {
    /// The caller's closure, its lifetime erased; `run` does not return before every worker is done with it.
    body: Body<'static>,
    tasks: usize,
}

/// A value on a cache line of its own, so that threads writing neighbours do not slow each other.
#[repr(align(128))]
struct Line<T>(T);

struct Shared {
    epoch: Line<AtomicUsize>,
    remaining: Line<AtomicUsize>,
    stop: AtomicBool,
    /// A job is being run; a second caller works alone meanwhile.
    busy: Line<AtomicBool>,
    job: UnsafeCell<Option<Job>>,
    /// For each worker: it is parked, or about to be.
    asleep: Vec<Line<AtomicBool>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written only by the holder of `busy` while no worker runs (remaining = 0), and read by workers only
// after they saw the epoch change that follows the write; everything else is atomic or locked.
unsafe impl Sync for Shared {}
// SAFETY: the closure a `Job` refers to is `Sync`, so the reference may move between threads.
unsafe impl Send for Shared {}

/// Threads that wait to share a kernel's work. Dropping the pool ends them.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl ThreadPool {
    /// A pool of `threads` threads (at least 1), the calling thread among them.
    pub fn new(threads: usize) -> Self {
        let workers = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            epoch: Line(AtomicUsize::new(0)),
            remaining: Line(AtomicUsize::new(0)),
            stop: AtomicBool::new(false),
            busy: Line(AtomicBool::new(false)),
            job: UnsafeCell::new(None),
            asleep: (0..workers).map(|_| Line(AtomicBool::new(false))).collect(),
            panic: Mutex::new(None),
        });
        let workers = (0..workers)
            .map(|worker| {
                let shared = Arc::clone(&shared);
                let name = format!("ocellus-{}", worker + 1);
                let body = move || shared.work(worker);
                std::thread::Builder::new().name(name).spawn(body).expect("the system can start a thread")
            })
            .collect();
        ThreadPool { shared, workers }
    }

    /// A pool with one thread per core this process may use.
    pub fn for_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, |n| n.get()))
    }

    /// How many threads share the work.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `body(task)` once for each task in `0..tasks` and returns when all are done. A panic in a task is
    /// passed on after the others end. Called from inside a task, or while another thread uses the pool, it does
    /// all tasks on the calling thread.
    pub fn run(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        self.run_with_thread(tasks, &|_, task| body(task));
    }

    /// As [`ThreadPool::run`], with `body(thread, task)`: no two tasks of this run share a `thread`
    /// (`0..self.threads()`) at the same time, so it may choose scratch memory.
    pub fn run_with_thread(&self, tasks: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        let alone = self.workers.is_empty() || tasks <= 1;
        if alone || self.shared.busy.0.swap(true, Ordering::Acquire) {
            (0..tasks).for_each(|task| body(0, task));
            return;
        }
        let mine = catch_unwind(AssertUnwindSafe(|| self.fork(tasks, body)));
        self.join();
        let theirs = self.shared.panic.lock().unwrap_or_else(|e| e.into_inner()).take();
        self.shared.busy.0.store(false, Ordering::Release);
        if let Err(panic) = mine {
            resume_unwind(panic);
        }
        if let Some(panic) = theirs {
            resume_unwind(panic);
        }
    }

    /// Starts the workers on a job and does thread 0's part.
    fn fork(&self, tasks: usize, body: Body<'_>) {
        // SAFETY: only the lifetime changes; `run_with_thread` waits for every worker before it returns.
        let body = unsafe { std::mem::transmute::<Body<'_>, Body<'static>>(body) };
        let shared = &*self.shared;
        shared.remaining.0.store(self.workers.len(), Ordering::Relaxed);
        // SAFETY: `busy` is held and the workers wait for the epoch, so nobody else looks at the job.
        unsafe { *shared.job.get() = Some(Job { body, tasks }) };
        // Sequentially consistent, as are the sleeper's two accesses: one of us sees the other.
        shared.epoch.0.fetch_add(1, Ordering::SeqCst);
        for (worker, asleep) in self.workers.iter().zip(&shared.asleep) {
            if asleep.0.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        do_part(body, tasks, 0, self.threads());
    }

    /// Waits for the workers.
    fn join(&self) {
        let mut spins = 0;
        while self.shared.remaining.0.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.0.fetch_add(1, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches its tasks' panics, so it ends normally.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadPool").field("threads", &self.threads()).finish()
    }
}

/// Does the tasks of `thread`.
fn do_part(body: Body<'_>, tasks: usize, thread: usize, threads: usize) {
    for task in thread * tasks / threads..(thread + 1) * tasks / threads {
        body(thread, task);
    }
}

impl Shared {
    /// A worker's life.
    fn work(&self, worker: usize) {
        let mut seen = 0;
        loop {
            seen = self.wait(worker, seen);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: the epoch changed, so the job is written and stays until `remaining` reaches 0.
            let job = unsafe { *self.job.get() };
            if let Some(Job { body, tasks }) = job {
                let threads = self.asleep.len() + 1;
                let part = AssertUnwindSafe(|| do_part(body, tasks, worker + 1, threads));
                if let Err(panic) = catch_unwind(part) {
                    *self.panic.lock().unwrap_or_else(|e| e.into_inner()) = Some(panic);
                }
            }
            self.remaining.0.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits until the epoch is no longer `seen`, and returns it.
    fn wait(&self, worker: usize, seen: usize) -> usize {
        for _ in 0..SPINS {
            let epoch = self.epoch.0.load(Ordering::Acquire);
            if epoch != seen {
                return epoch;
            }
            std::hint::spin_loop();
        }
        let asleep = &self.asleep[worker].0;
        asleep.store(true, Ordering::SeqCst);
        loop {
            let epoch = self.epoch.0.load(Ordering::SeqCst);
            if epoch != seen {
                asleep.store(false, Ordering::Relaxed);
                return epoch;
            }
            std::thread::park();
        }
    }
}

/// A mutable slice that tasks of one run may write at the same time, each its own part.
#[derive(Clone, Copy)]
pub struct SharedMut<'a, T> {
    data: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `unsafe` methods whose callers promise disjoint parts, and `T` may be sent.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// Shares `slice` until the borrow ends.
    pub fn new(slice: &'a mut [T]) -> Self {
        SharedMut { data: slice.as_mut_ptr(), len: slice.len(), borrow: PhantomData }
    }

    /// Elements in the whole slice.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements `start..start + len`; panics if they do not lie in the slice.
    ///
    /// # Safety
    /// While the result lives, nothing else may access these elements.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start <= self.len && len <= self.len - start, "{start} + {len} of {}", self.len);
        // SAFETY: in bounds, and exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), len) }
    }

    /// The first element's address, for kernels that compute addresses themselves. Using it is subject to the
    /// promise of [`SharedMut::part`].
    pub fn as_ptr(&self) -> *mut T {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in 1..=5 {
            let pool = ThreadPool::new(threads);
            assert_eq!(pool.threads(), threads);
            for tasks in [0, 1, 2, 3, 7, 64] {
                let mut counts = vec![0u32; tasks];
                let shared = SharedMut::new(&mut counts);
                pool.run_with_thread(tasks, &|thread, task| {
                    assert!(thread < threads);
                    // SAFETY: each task has its own element.
                    unsafe { shared.part(task, 1)[0] += 1 };
                });
                assert!(counts.iter().all(|&c| c == 1), "{threads} threads, {tasks} tasks");
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        let pool = ThreadPool::new(3);
        for bad in [0, 8] {
            let job = AssertUnwindSafe(|| pool.run(9, &|task| assert_ne!(task, bad, "task fails")));
            assert!(catch_unwind(job).is_err());
        }
        let sum = AtomicUsize::new(0);
        pool.run(10, &|task| {
            sum.fetch_add(task, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }

    #[test]
    fn nested_and_concurrent_runs_finish() {
        let pool = ThreadPool::new(2);
        let sum = AtomicUsize::new(0);
        let inner = |_: usize| {
            pool.run(4, &|task| {
                sum.fetch_add(task, Ordering::Relaxed);
            })
        };
        pool.run(4, &inner);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..100).for_each(|_| pool.run(2, &inner)));
            }
        });
        assert_eq!(sum.into_inner(), 4 * 6 + 3 * 100 * 2 * 6);
    }

    #[test]
    fn parked_workers_wake() {
        let pool = ThreadPool::new(2);
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let count = AtomicUsize::new(0);
            pool.run(2, &|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 2);
        }
    }
}
