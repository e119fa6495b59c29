//! A step of Muon: how is a matrix brought near an orthogonal one, fast?
//!
//! ```text
//! v = b v + (1-b) g;  u = b v + (1-b) g;  X = u / |u|, turned over if it has more rows than columns
//! five times:  A = X X^T;  B = (b I + c A) A + a I;  X = B X
//! w = (1 - rate decay) w - rate sqrt(max(1, R/C)) X
//! ```
//!
//! Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". The three products are
//! those of fully connected layers, so the order of every sum follows from the sizes alone.

use crate::conv::Epilogue;
use crate::elementwise::flat::{self, Formula};
use crate::elementwise::operands::Read;
use crate::gemm::{LinearForward, LinearInputGrad};
use crate::isa::{Isa, Simd};
use crate::reference::update::{NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS};
use crate::threads::ThreadPool;

/// How to update a parameter of `rows` x `columns` numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Muon {
    isa: Isa,
    rows: usize,
    columns: usize,
    gram: LinearForward,
    square: LinearForward,
    turn: LinearInputGrad,
}

/// Constants of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonStep {
    /// Learning rate, the parameter's own multiplier included.
    pub rate: f32,
    /// Share of the old velocity kept.
    pub momentum: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
}

impl Muon {
    /// The recipe for a parameter of `rows` (outputs) x `columns` (all other axes) numbers.
    pub fn new(rows: usize, columns: usize, isa: Isa) -> Self {
        let (short, long) = (rows.min(columns), rows.max(columns));
        Muon {
            isa,
            rows,
            columns,
            gram: LinearForward::new(short, long, short, isa),
            square: LinearForward::new(short, short, short, isa),
            turn: LinearInputGrad::new(short, long, short, isa),
        }
    }

    /// Numbers of scratch, for any number of threads.
    pub fn scratch_len(&self) -> usize {
        self.parts().iter().sum()
    }

    /// Lengths of X, of the next X, of A, of B, of packed weights, and of the products' own scratch.
    fn parts(&self) -> [usize; 6] {
        let (whole, gram) = (self.rows * self.columns, self.rows.min(self.columns).pow(2));
        let packed = [self.gram.packed_len(), self.square.packed_len(), self.turn.packed_len()];
        let scratch = [self.gram.scratch_len(), self.square.scratch_len(), self.turn.scratch_len()];
        let most = |lens: [usize; 3]| lens.into_iter().max().unwrap_or(0);
        [whole, whole, gram, gram, most(packed), most(scratch)]
    }

    /// Updates w and its velocity. `scratch` has at least `scratch_len()` numbers of any value.
    pub fn run(
        &self,
        pool: &ThreadPool,
        step: MuonStep,
        gradient: &[f32],
        [w, velocity]: [&mut [f32]; 2],
        scratch: &mut [f32],
    ) {
        let mut rest = scratch;
        let [x, next, gram, square, packed, scratch] = self.parts().map(|len| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            part
        });
        let reads = [Read::Slice(gradient), Read::Output(0)];
        flat::run(pool, self.isa, reads, [velocity, next], Velocity { momentum: step.momentum });
        self.unit(next, x);
        let (mut x, mut next) = (x, next);
        for _ in 0..NEWTON_SCHULZ_STEPS {
            let packed_gram = &mut packed[..self.gram.packed_len()];
            self.gram.pack(pool, x, packed_gram);
            self.gram.run(pool, x, packed_gram, Epilogue::default(), scratch, gram);
            let packed_square = &mut packed[..self.square.packed_len()];
            self.square.pack(pool, gram, packed_square);
            self.square.run(pool, gram, packed_square, Epilogue::default(), scratch, square);
            self.polynomial(gram, square);
            let packed_turn = &mut packed[..self.turn.packed_len()];
            self.turn.pack(pool, x, packed_turn);
            self.turn.run(pool, gram, packed_turn, None, scratch, next);
            std::mem::swap(&mut x, &mut next);
        }
        let direction = if self.rows > self.columns {
            turn_over(x, self.rows, next);
            next
        } else {
            x
        };
        let ratio = (self.rows as f32 / self.columns as f32).max(1.0);
        let walk = Walk { keep: 1.0 - step.rate * step.weight_decay, length: step.rate * ratio.sqrt() };
        flat::run(pool, self.isa, [Read::Slice(direction), Read::Output(0)], [w], walk);
    }

    /// `x = u / |u|`, lying on its long side.
    fn unit(&self, u: &[f32], x: &mut [f32]) {
        // One thread and f64: a parameter has few numbers beside the products over them.
        let norm = u.iter().map(|&u| f64::from(u).powi(2)).sum::<f64>().sqrt().max(1e-30);
        if self.rows > self.columns {
            turn_over(u, self.columns, x);
        } else {
            x.copy_from_slice(u);
        }
        x.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }

    /// `gram = a I + b gram + c square`.
    fn polynomial(&self, gram: &mut [f32], square: &[f32]) {
        let [a, b, c] = NEWTON_SCHULZ.map(|k| k as f32);
        gram.iter_mut().zip(square).for_each(|(g, s)| *g = b * *g + c * s);
        gram.iter_mut().step_by(self.rows.min(self.columns) + 1).for_each(|g| *g += a);
    }
}

/// Writes `from`, of `columns` columns, as its transpose.
fn turn_over(from: &[f32], columns: usize, to: &mut [f32]) {
    let rows = from.len() / columns;
    for (i, row) in from.chunks_exact(columns).enumerate() {
        for (j, &x) in row.iter().enumerate() {
            to[j * rows + i] = x;
        }
    }
}

/// `v = b v + (1-b) g`, and `b v + (1-b) g` once more.
#[derive(Clone, Copy)]
struct Velocity {
    momentum: f32,
}

impl Formula<2, 2> for Velocity {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [gradient, v]: [S::F; 2]) -> [S::F; 2] {
        let (momentum, new) = (s.splat(self.momentum), s.mul(s.splat(1.0 - self.momentum), gradient));
        let v = s.fmadd(momentum, v, new);
        [v, s.fmadd(momentum, v, new)]
    }
}

/// `w = keep w - length direction`.
#[derive(Clone, Copy)]
struct Walk {
    keep: f32,
    length: f32,
}

impl Formula<2, 1> for Walk {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [direction, w]: [S::F; 2]) -> [S::F; 1] {
        [s.fmadd(s.splat(-self.length), direction, s.mul(s.splat(self.keep), w))]
    }
}
