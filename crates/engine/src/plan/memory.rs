//! Where does each buffer lie?
//!
//! A buffer inside another lives as long as that one and lies at its place there; below, only whole buffers count.
//! Persistent buffers come first, one after another. Of the others the largest is placed first, each at the lowest
//! offset where it overlaps nothing that lives at the same time (greedy by size; Pisarchyk and Lee, "Efficient Memory
//! Management for Deep Neural Net Inference", 2020, section 5).
//!
//! Threads share the rows of a map, the same ones from step to step. If maps of another size lay in the same place, lines
//! of memory would change hands between cores with every run. So, unless it takes much more memory, only maps of one size
//! share room; in training most of them live at the same time, and share none anyway.

use super::{Buffer, BufferId, Lifetime, Step};

/// Words that a plan may be longer because maps of different sizes do not share room.
const MOST_SPREAD: usize = 4 << 20;

/// Floats in a cache line: every buffer begins on one, so that vectors are aligned and threads do not share lines.
const LINE: usize = 16;

/// `len` rounded up to whole cache lines.
pub fn aligned(len: usize) -> usize {
    len.next_multiple_of(LINE)
}

/// Sets every buffer's offset and decides which steps write over what they read; returns the arena's length in
/// floats. What lives only while parameters are packed shares its room with what lives in a run. If it `may_spread`, maps of
/// different sizes share none.
pub fn place(buffers: &mut [Buffer], prepare: &[Step], steps: &mut [Step], may_spread: bool) -> usize {
    let persistent = place_persistent(buffers);
    let before = lifetimes(buffers, prepare, |lifetime| lifetime == Lifetime::Preparing);
    let mut lives = lifetimes(buffers, steps, |lifetime| lifetime != Lifetime::Preparing);
    let hosts = share(buffers, steps, &mut lives);
    let one_kind = |_: &Buffer| 0;
    let least = lay_out(buffers, &before, persistent, one_kind);
    let packed = least.max(lay_out(buffers, &lives, persistent, one_kind));
    let mut end = packed;
    if may_spread {
        end = least.max(lay_out(buffers, &lives, persistent, |buffer| buffer.map));
        if end > packed + MOST_SPREAD {
            lay_out(buffers, &lives, persistent, one_kind);
            end = packed;
        }
    }
    for (b, host) in hosts.iter().enumerate().filter_map(|(b, host)| host.map(|h| (b, h))) {
        buffers[b].offset = buffers[host].offset;
    }
    for b in 0..buffers.len() {
        if buffers[b].inside.is_some() {
            let (whole, start) = whole(buffers, b);
            buffers[b].offset = buffers[whole].offset + start;
        }
    }
    end
}

/// Places the buffers that live at all, from `start` on, those of one `kind` after those of another; returns where the
/// last one ends.
fn lay_out(
    buffers: &mut [Buffer],
    lives: &[Option<(usize, usize)>],
    start: usize,
    kind: impl Fn(&Buffer) -> usize,
) -> usize {
    let mut order: Vec<usize> = (0..buffers.len()).filter(|&b| lives[b].is_some()).collect();
    order.sort_by_key(|&b| (kind(&buffers[b]), std::cmp::Reverse(buffers[b].len), b));
    let (mut end, mut start_of_kind) = (start, start);
    let (mut placed, mut last_kind): (Vec<usize>, _) = (Vec::new(), None);
    for b in order {
        let this = Some(kind(&buffers[b]));
        if this != last_kind {
            (start_of_kind, last_kind) = (end, this);
            placed.clear();
        }
        let offset = lowest_gap(buffers, lives, &placed, b, start_of_kind);
        buffers[b].offset = offset;
        end = end.max(offset + aligned(buffers[b].len));
        let at = placed.partition_point(|&p| buffers[p].offset <= offset);
        placed.insert(at, b);
    }
    end
}

/// Lets a step's first write take the room of a read that dies with the step: the written buffer moves in with its
/// host, whose life is lengthened to cover both. Returns each buffer's host, if it has one.
fn share(buffers: &[Buffer], steps: &mut [Step], lives: &mut [Option<(usize, usize)>]) -> Vec<Option<usize>> {
    let mut hosts: Vec<Option<usize>> = vec![None; buffers.len()];
    for (index, step) in steps.iter_mut().enumerate() {
        step.shares = false;
        let Some(read) = step.may_share.and_then(|i| step.reads[i]).map(BufferId::index) else { continue };
        let written = step.writes[0].index();
        if is_split(buffers, read) || is_split(buffers, written) {
            continue;
        }
        let host = hosts[read].unwrap_or(read);
        let dies_here = lives[host].is_some_and(|(_, last)| last == index);
        let born_here = lives[written].is_some_and(|(first, _)| first == index);
        let read_once = step.buffers().filter(|b| hosts[b.index()].unwrap_or(b.index()) == host).count() == 1;
        if dies_here && born_here && read_once && buffers[host].len == buffers[written].len {
            let last = lives[written].take().map_or(index, |(_, last)| last);
            lives[host] = lives[host].map(|(first, _)| (first, last));
            hosts[written] = Some(host);
            step.shares = true;
        }
    }
    hosts
}

/// Whether a buffer is a part of another, or has parts.
fn is_split(buffers: &[Buffer], buffer: usize) -> bool {
    let inside = |b: &Buffer| b.inside.is_some_and(|(whole, _)| whole.index() == buffer);
    buffers[buffer].inside.is_some() || buffers.iter().any(inside)
}

/// The whole buffer that this one is a part of, and where in it it begins.
fn whole(buffers: &[Buffer], mut buffer: usize) -> (usize, usize) {
    let mut start = 0;
    while let Some((outer, offset)) = buffers[buffer].inside {
        buffer = outer.index();
        start += offset;
    }
    (buffer, start)
}

fn place_persistent(buffers: &mut [Buffer]) -> usize {
    let mut offset = 0;
    for buffer in buffers.iter_mut().filter(|b| b.lifetime == Lifetime::Persistent) {
        buffer.offset = offset;
        offset += aligned(buffer.len);
    }
    offset
}

/// First and last step of each buffer that does not persist and whose lifetime is `wanted`; `None` for the others and
/// the unused.
fn lifetimes(
    buffers: &[Buffer],
    steps: &[Step],
    wanted: impl Fn(Lifetime) -> bool,
) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; buffers.len()];
    for (index, step) in steps.iter().enumerate() {
        for buffer in step.buffers() {
            let (whole, _) = whole(buffers, buffer.index());
            let life = lives[whole].get_or_insert((index, index));
            life.1 = index;
        }
    }
    for (index, buffer) in buffers.iter().enumerate() {
        let life = &mut lives[whole(buffers, index).0];
        match buffer.lifetime {
            lifetime if lifetime == Lifetime::Persistent || !wanted(lifetime) => *life = None,
            Lifetime::ToTheEnd => *life = life.map(|(first, _)| (first, usize::MAX)),
            _ => {}
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
