//! Where does each buffer lie?
//!
//! Persistent buffers come first, one after another. Of the others the largest is placed first, each at the lowest
//! offset where it overlaps nothing that lives at the same time (greedy by size; Pisarchyk and Lee, "Efficient Memory
//! Management for Deep Neural Net Inference", 2020, section 5).

use super::{Buffer, Lifetime, Step};

/// Floats in a cache line: every buffer begins on one, so that vectors are aligned and threads do not share lines.
const LINE: usize = 16;

/// `len` rounded up to whole cache lines.
pub fn aligned(len: usize) -> usize {
    len.next_multiple_of(LINE)
}

/// Sets every buffer's offset; returns the arena's length in floats.
pub fn place(buffers: &mut [Buffer], steps: &[Step]) -> usize {
    let persistent = place_persistent(buffers);
    let lives = lifetimes(buffers, steps);
    let mut order: Vec<usize> = (0..buffers.len()).filter(|&b| lives[b].is_some()).collect();
    order.sort_by_key(|&b| (std::cmp::Reverse(buffers[b].len), b));
    let mut placed: Vec<usize> = Vec::new();
    let mut end = persistent;
    for b in order {
        let offset = lowest_gap(buffers, &lives, &placed, b, persistent);
        buffers[b].offset = offset;
        end = end.max(offset + aligned(buffers[b].len));
        let at = placed.partition_point(|&p| buffers[p].offset <= offset);
        placed.insert(at, b);
    }
    end
}

fn place_persistent(buffers: &mut [Buffer]) -> usize {
    let mut offset = 0;
    for buffer in buffers.iter_mut().filter(|b| b.lifetime == Lifetime::Persistent) {
        buffer.offset = offset;
        offset += aligned(buffer.len);
    }
    offset
}

/// First and last step of each buffer that does not persist; `None` for the persistent and the unused.
fn lifetimes(buffers: &[Buffer], steps: &[Step]) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; buffers.len()];
    for (index, step) in steps.iter().enumerate() {
        for buffer in step.buffers() {
            let life = lives[buffer.index()].get_or_insert((index, index));
            life.1 = index;
        }
    }
    for (life, buffer) in lives.iter_mut().zip(buffers) {
        match buffer.lifetime {
            Lifetime::Persistent => *life = None,
            Lifetime::ToTheEnd => *life = life.map(|(first, _)| (first, usize::MAX)),
            Lifetime::Steps => {}
        }
    }
    lives
}

fn lowest_gap(
    buffers: &[Buffer],
    lives: &[Option<(usize, usize)>],
    placed: &[usize],
    buffer: usize,
    start: usize,
) -> usize {
    let overlaps = |a: Option<(usize, usize)>, b: Option<(usize, usize)>| match (a, b) {
        (Some(a), Some(b)) => a.0 <= b.1 && b.0 <= a.1,
        _ => false,
    };
    let needed = aligned(buffers[buffer].len);
    let mut offset = start;
    // `placed` is in order of offset, so the first gap wide enough is the lowest.
    for &other in placed.iter().filter(|&&p| overlaps(lives[p], lives[buffer])) {
        if buffers[other].offset >= offset + needed {
            break;
        }
        offset = offset.max(buffers[other].offset + aligned(buffers[other].len));
    }
    offset
}
