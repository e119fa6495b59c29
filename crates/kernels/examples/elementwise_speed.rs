//! How near to the memory's bandwidth do the passes over a training ResNet-50's activations come?
//!
//! `cargo run --release -p ocellus-kernels --example elementwise_speed [batch] [threads]`
//!
//! Each pass is timed on tensors of the network's sizes, and the bytes it must move (each operand once) are divided
//! by the time. The yardstick is measured in the same run: a pass that only reads the same number of bytes.

use std::time::Instant;

use ocellus_kernels::elementwise::{self, Blocked, Source};
use ocellus_kernels::isa::{Isa, Simd, VectorOp};
use ocellus_kernels::norm::{
    AffineGrads, Moments, Normalisation, Normalise, NormaliseGrad, ReluMask, reduce_scratch_len, statistics,
    statistics_scratch_len,
};
use ocellus_kernels::pooling::{self, Pooling};
use ocellus_kernels::threads::ThreadPool;
use ocellus_tensor::{AlignedBuffer, Rounding, Window};

/// Seconds of the fastest of some runs.
fn fastest(mut run: impl FnMut()) -> f64 {
    run();
    let mut best = f64::INFINITY;
    let start = Instant::now();
    for repeat in 0.. {
        if repeat >= 5 && start.elapsed().as_secs_f64() > 0.12 {
            break;
        }
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// Adds a slice up in eight vectors: as fast as reading goes.
struct ReadAll<'a>(&'a [f32]);

impl VectorOp for ReadAll<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.zero(); 8];
        for chunk in self.0.chunks_exact(128) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = s.add(*sum, s.load(&chunk[16 * i..]));
            }
        }
        sums.into_iter().map(|sum| s.reduce_add(sum)).sum()
    }
}

/// The tensors of one size and the yardstick for it.
struct Bench {
    pool: ThreadPool,
    isa: Isa,
    size: Blocked,
    x: AlignedBuffer,
    y: AlignedBuffer,
    dy: AlignedBuffer,
    out: AlignedBuffer,
    scratch: Vec<f32>,
    per_channel: [Vec<f32>; 4],
}

impl Bench {
    fn new(pool: ThreadPool, isa: Isa, size: Blocked) -> Self {
        let buffer = |seed: usize| {
            let mut buffer = AlignedBuffer::zeroed(size.elements());
            buffer.iter_mut().enumerate().for_each(|(i, x)| *x = ((i * 7 + seed) % 23) as f32 - 11.0);
            buffer
        };
        let scratch = vec![0.0; reduce_scratch_len(size).max(statistics_scratch_len(size))];
        let per_channel = [0.0, 1.0, 1.0, 0.5].map(|value| vec![value; size.channels]);
        Bench {
            pool,
            isa,
            size,
            x: buffer(0),
            y: buffer(3),
            dy: buffer(5),
            out: buffer(7),
            scratch,
            per_channel,
        }
    }

    /// Bytes per second of reading `operands` tensors.
    fn bandwidth(&self, operands: usize) -> f64 {
        let tensors = [&self.x, &self.y, &self.dy, &self.out];
        let chunk = 16 * 1024;
        let tasks = self.x.len().div_ceil(chunk);
        let seconds = fastest(|| {
            for tensor in &tensors[..operands] {
                self.pool.run(tasks, &|task| {
                    let part = &tensor[task * chunk..][..chunk.min(tensor.len() - task * chunk)];
                    std::hint::black_box(self.isa.run(ReadAll(part)));
                });
            }
        });
        (operands * self.x.len() * 4) as f64 / seconds
    }

    fn report(&mut self, name: &str, operands: usize, mut run: impl FnMut(&mut Bench)) {
        let bandwidth = self.bandwidth(operands);
        let seconds = fastest(|| run(self));
        let speed = (operands * self.x.len() * 4) as f64 / seconds;
        println!(
            "  {name:<34} {:>9.1} us {:>7.1} GB/s  {:>4.0}% of reading at {:.1}",
            seconds * 1e6,
            speed * 1e-9,
            100.0 * speed / bandwidth,
            bandwidth * 1e-9
        );
    }
}

fn passes(bench: &mut Bench) {
    bench.report("relu", 2, |b| elementwise::relu(&b.pool, b.isa, Source::Slice(&b.x), &mut b.y));
    bench.report("relu in place (read + write)", 2, |b| {
        elementwise::relu(&b.pool, b.isa, Source::InPlace, &mut b.y)
    });
    bench.report("add_relu", 3, |b| {
        elementwise::add_relu(&b.pool, b.isa, Source::Slice(&b.x), &b.dy, &mut b.y)
    });
    bench.report("statistics", 1, |b| {
        let [mean, var, ..] = &mut b.per_channel;
        statistics(&b.pool, b.isa, b.size, &b.x, Moments { mean, var }, &mut b.scratch);
    });
    bench.report("normalise + relu", 2, |b| {
        let [mean, var, gamma, beta] = &b.per_channel;
        let norm = Normalisation { mean, var, gamma: Some(gamma), beta: Some(beta), eps: 1e-5 };
        let op = Normalise { size: b.size, norm, residual: None, relu: true };
        op.run(&b.pool, b.isa, Source::Slice(&b.x), &mut b.y);
    });
    bench.report("normalise + add + relu", 3, |b| {
        let [mean, var, gamma, beta] = &b.per_channel;
        let norm = Normalisation { mean, var, gamma: Some(gamma), beta: Some(beta), eps: 1e-5 };
        let op = Normalise { size: b.size, norm, residual: Some(&b.dy), relu: true };
        op.run(&b.pool, b.isa, Source::Slice(&b.x), &mut b.y);
    });
    for (name, operands, kind) in [
        ("backward reduce, mask recomputed", 2, 0),
        ("backward reduce, mask from y", 3, 1),
        ("  the same, g in place", 4, 2),
    ] {
        bench.report(name, operands, |b| reduce(b, kind));
    }
    for (name, in_place) in [("backward apply, mask recomputed", false), ("  the same, in place", true)] {
        bench.report(name, 3, |b| {
            let [mean, var, gamma, beta] = &b.per_channel;
            let norm = Normalisation { mean, var, gamma: Some(gamma), beta: Some(beta), eps: 1e-5 };
            let op = NormaliseGrad { size: b.size, norm, mask: ReluMask::Recompute };
            let dy = if in_place { Source::InPlace } else { Source::Slice(&b.dy) };
            op.apply((&b.pool, b.isa), &b.x, dy, (beta, beta), &mut b.out);
        });
    }
}

fn reduce(b: &mut Bench, kind: usize) {
    let [mean, var, gamma, beta] = &b.per_channel;
    let norm = Normalisation { mean, var, gamma: Some(gamma), beta: Some(beta), eps: 1e-5 };
    let (mut dgamma, mut dbeta) = (vec![0.0; b.size.channels], vec![0.0; b.size.channels]);
    let grads = AffineGrads { dgamma: &mut dgamma, dbeta: &mut dbeta };
    let mask = if kind == 0 { ReluMask::Recompute } else { ReluMask::Output(&b.y) };
    let op = NormaliseGrad { size: b.size, norm, mask };
    if kind < 2 {
        op.reduce((&b.pool, b.isa), &b.x, &b.dy, grads, &mut b.scratch);
    } else {
        op.reduce_masking((&b.pool, b.isa), &b.x, (Source::InPlace, &mut b.out), grads, &mut b.scratch);
    }
}

fn pools(bench: &mut Bench) {
    let window = Window::square(3).stride(2).padding(1);
    let Ok(pooling) = Pooling::new(bench.size, window, Rounding::Floor) else { return };
    let outputs = pooling.output().elements();
    // In whole operands: the output is a quarter of one.
    bench.report("max pool 3x3/2 (x alone)", 1, |b| pooling.max(&b.pool, b.isa, &b.x, &mut b.y[..outputs]));
    bench.report("max pool gradient (x, dx alone)", 2, |b| {
        pooling.max_grad(&b.pool, b.isa, &b.x, &b.dy[..outputs], &mut b.out)
    });
    bench.report("mean pool 3x3/2 (x alone)", 1, |b| {
        pooling.avg(&b.pool, b.isa, false, &b.x, &mut b.y[..outputs])
    });
    bench.report("mean pool gradient (dx alone)", 1, |b| {
        pooling.avg_grad(&b.pool, b.isa, false, &b.dy[..outputs], &mut b.out)
    });
    let global = bench.size.batch * bench.size.blocks() * 16;
    bench.report("global mean", 1, |b| pooling::global_avg(&b.pool, b.isa, b.size, &b.x, &mut b.y[..global]));
    bench.report("global mean gradient", 1, |b| {
        pooling::global_avg_grad(&b.pool, b.isa, b.size, &b.dy[..global], &mut b.out)
    });
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>().expect("a whole number"));
    let batch = arguments.next().unwrap_or(16);
    let threads = arguments.next();
    let isa = Isa::detect();
    for [channels, side] in
        [[64, 112], [64, 56], [256, 56], [512, 28], [1024, 14], [2048, 7], [16, 32], [64, 8]]
    {
        let size = Blocked { batch, channels, height: side, width: side };
        let pool = threads.map_or_else(ThreadPool::for_this_machine, ThreadPool::new);
        let megabytes = size.elements() as f64 * 4e-6;
        println!(
            "{batch} x {channels} x {side} x {side}: {megabytes:.1} MB, {}, {} threads",
            isa.name(),
            pool.threads()
        );
        let mut bench = Bench::new(pool, isa, size);
        passes(&mut bench);
        pools(&mut bench);
    }
}
