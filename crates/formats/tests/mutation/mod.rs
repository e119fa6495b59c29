//! A fuzzer that does the same every time: damages sound files in every way that readers trip over, and holds each reader
//! to its promise: an answer or one sentence, no panic, no more memory than the file and 64 MiB, no more time than a
//! few seconds.
//!
//! The seed and the time of each test are the environment's: `FUZZ_SECONDS=600 FUZZ_SEED=7 cargo test -p ocellus-formats
//! --test mutations -- --nocapture`. A file that breaks a promise is left in the temporary folder, under the name that
//! the failure tells.
#![allow(dead_code)] // each test file uses a part of it

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Time for each test unless the environment says otherwise, in seconds.
const SECONDS: u64 = 1;
/// The most work that one file may make (in a build for tests): time of this thread, whatever runs beside it.
const SLOW: Duration = Duration::from_secs(10);
/// Memory beyond the file's own size, in bytes, and what the test's own copies and the allocator may add.
const BEYOND: u64 = (64 << 20) + (24 << 20);

/// One format is tried at a time in a process, so that memory can be told.
static ALONE: Mutex<()> = Mutex::new(());

/// Steele, Lea and Flood's SplitMix64 (2014).
pub struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// What a file is made of, which says how it is best damaged.
#[derive(Clone, Copy, PartialEq)]
pub enum Made {
    OfText,
    OfBytes,
}

/// Sound files of one format and how they are read; the reader gives the sentence of a refusal.
pub struct Target<'t> {
    pub name: &'static str,
    pub made: Made,
    pub seeds: Vec<Vec<u8>>,
    /// Damages what lies inside, a container's member for instance, before it is packed again.
    pub pack: &'t dyn Fn(&[u8]) -> Vec<u8>,
    pub read: &'t dyn Fn(&[u8]) -> Result<(), String>,
}

/// The bytes themselves.
pub fn as_they_are(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// A file of ../shared/data, if it is there.
pub fn shared(name: &str) -> Option<Vec<u8>> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        println!("skipped: {} is not there", path.display());
    }
    bytes
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Holds each reader to its promise on every truncation at a 64th byte, and on as many damaged files as the time allows,
/// which the targets share.
pub fn hold(targets: &[Target]) {
    let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (seed, seconds) = (setting("FUZZ_SEED", 0x0ce1_1005), setting("FUZZ_SECONDS", SECONDS));
    let time = Duration::from_secs(seconds) / targets.len().max(1) as u32;
    for target in targets {
        for sound in &target.seeds {
            let read = (target.read)(&(target.pack)(sound));
            assert!(read.is_ok(), "{}: a sound file is refused: {read:?}", target.name);
        }
        let begun = Instant::now();
        let cuts = cut(target, time / 3);
        let mut tried = 0_u64;
        let name = target.name.bytes().fold(0, |hash: u64, byte| hash.wrapping_mul(31) ^ u64::from(byte));
        let mut random = Random(seed ^ name);
        while begun.elapsed() < time {
            let start = random.0;
            let mut bytes = target.seeds[random.below(target.seeds.len())].clone();
            let other = random.below(target.seeds.len());
            for _ in 0..=random.below(4) {
                damage(&mut bytes, &target.seeds[other], target.made, &mut random);
            }
            attempt(target, &(target.pack)(&bytes), &format!("state {start:#x}"));
            tried += 1;
        }
        let sound = target.seeds.len();
        println!(
            "{}: {cuts} cut and {tried} damaged files from {sound} sound ones, seed {seed}",
            target.name
        );
    }
    drop(alone);
}

/// Tries truncations, in turn from the front and from the back, so that little time is spread over all of it.
fn cut(target: &Target, time: Duration) -> u64 {
    let begun = Instant::now();
    let sound: Vec<Vec<u8>> = target.seeds.iter().map(|sound| (target.pack)(sound)).collect();
    let longest = sound.iter().map(|bytes| bytes.len().div_ceil(64)).max().unwrap_or(0);
    let mut tried = 0;
    for step in 0..longest {
        for bytes in &sound {
            let cuts = bytes.len().div_ceil(64);
            if step < cuts {
                let cut = if step % 2 == 0 { step / 2 } else { cuts - 1 - step / 2 };
                attempt(target, &bytes[..cut * 64], &format!("cut at {}", cut * 64));
                tried += 1;
            }
        }
        if begun.elapsed() > time {
            break;
        }
    }
    tried
}

/// Reads one damaged file.
fn attempt(target: &Target, bytes: &[u8], what: &str) {
    reset_peak();
    let (before, begun) = (memory("VmRSS:"), worked());
    let result = catch_unwind(AssertUnwindSafe(|| (target.read)(bytes)));
    let (peak, took) = (memory("VmHWM:"), worked().saturating_sub(begun));
    let fault = match (&result, before, peak) {
        (Err(_), ..) => Some("panics".to_string()),
        _ if took > SLOW => Some(format!("takes {took:?}")),
        (_, Some(before), Some(peak)) if peak.saturating_sub(before) > bytes.len() as u64 + BEYOND => {
            Some(format!("takes {} bytes for a file of {}", peak.saturating_sub(before), bytes.len()))
        }
        (Ok(Err(sentence)), ..) if !is_sentence(sentence) => Some(format!("says {sentence:?}")),
        _ => None,
    };
    if let Some(fault) = fault {
        let path: PathBuf = std::env::temp_dir().join(format!("ocellus-{}.damaged", target.name));
        std::fs::write(&path, bytes).expect("a place for the damaged file");
        panic!("{}: the reader {fault} ({what}); the file is {}", target.name, path.display());
    }
}

/// One line that says what, and what to do next.
fn is_sentence(text: &str) -> bool {
    // Parts of an archive have names of their own: "f, array w: ...".
    (text.starts_with("f: ") || text.starts_with("f, "))
        && text.contains("; ")
        && !text.contains('\n')
        && text.len() < 1500
}

/// Forgets the most memory that was resident so far (Linux, proc(5), `clear_refs`).
fn reset_peak() {
    // Where that cannot be, the peak is that of all files, and a test that should fail may pass.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// How long this thread has been at work (Linux, `Documentation/scheduler/sched-stats.rst`); elsewhere nothing is known.
fn worked() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0))
}

fn memory(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

/// Bytes that parsers trip over: signs, digits, brackets, quotes, extremes.
const SPITE: &[u8] = b"\x00\x01\x7f\x80\xff09-+eE.[]{}<>()\"',:;#\\LTF \n";
/// Numbers that do not fit, in text.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1e309",
    "nan",
    "1000000",
];
/// The same as integers.
const EXTREMES: &[u64] = &[
    0,
    1,
    0x7f,
    0xff,
    0xffff,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    (1 << 62) + 1,
    1 << 63,
    u64::MAX,
    u64::MAX - 7,
];

/// One random change.
fn damage(bytes: &mut Vec<u8>, other: &[u8], made: Made, random: &mut Random) {
    if bytes.is_empty() {
        return bytes.push(random.next() as u8);
    }
    if made == Made::OfText && random.below(3) > 0 {
        return damage_text(bytes, random);
    }
    // Structure lies in front more often than elsewhere, and sometimes at the end.
    let reach = if random.below(3) == 0 { bytes.len().min(512) } else { bytes.len() };
    let at = if random.below(6) == 0 { bytes.len() - 1 - random.below(reach) } else { random.below(reach) };
    let few = |random: &mut Random| {
        let most = 1 << random.below(8);
        random.below(most)
    };
    match random.below(12) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = random.of(SPITE),
        3 => bytes.truncate(random.below(bytes.len())),
        4 => bytes.insert(at, random.of(SPITE)),
        5 => {
            let end = (at + few(random)).min(bytes.len());
            bytes.drain(at..end);
        }
        6 => {
            let (number, size) = (random.of(EXTREMES), random.of(&[1, 2, 4, 8]));
            let raw = if random.below(4) == 0 { number.to_be_bytes() } else { number.to_le_bytes() };
            let end = (at + size).min(bytes.len());
            bytes[at..end].copy_from_slice(&raw[..end - at]);
        }
        7 => {
            let end = (at + few(random)).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        8 => {
            // What another sound file has there.
            let from = random.below(other.len());
            let part = &other[from..(from + few(random)).min(other.len())];
            let end = (at + part.len()).min(bytes.len());
            bytes.splice(at..end, part.iter().copied());
        }
        9 => {
            // A variable-length integer beyond everything (Protocol Buffers, pickles).
            let mut number = random.of(EXTREMES);
            let mut raw = Vec::new();
            while number >= 0x80 {
                raw.push(number as u8 | 0x80);
                number >>= 7;
            }
            raw.push(number as u8);
            let end = (at + random.below(3)).min(bytes.len());
            bytes.splice(at..end, raw);
        }
        10 => {
            // An offset or a length that is nearly right.
            let end = (at + 8).min(bytes.len());
            let mut raw = [0; 8];
            raw[..end - at].copy_from_slice(&bytes[at..end]);
            let moved = u64::from_le_bytes(raw).wrapping_add(random.below(17) as u64).wrapping_sub(8);
            bytes[at..end].copy_from_slice(&moved.to_le_bytes()[..end - at]);
        }
        _ => {
            let end = (at + few(random)).min(bytes.len());
            bytes[at..end].fill(random.of(&[0, 0xff, b' ', b'9']));
        }
    }
}

/// Numbers become others, words change places, lines come twice or go.
fn damage_text(bytes: &mut Vec<u8>, random: &mut Random) {
    let is_in_number = |byte: u8| byte.is_ascii_digit() || byte == b'.' || byte == b'-';
    let start = random.below(bytes.len());
    match random.below(5) {
        0 | 1 => {
            let Some(at) = bytes[start..].iter().position(|&byte| is_in_number(byte)) else { return };
            let at = start + at;
            let length = bytes[at..].iter().take_while(|&&byte| is_in_number(byte)).count();
            bytes.splice(at..at + length, random.of(NUMBERS).bytes());
        }
        2 => {
            let words: Vec<(usize, usize)> = words(bytes);
            if words.len() > 1 {
                let ((a, b), (from, to)) = (random.of(&words), random.of(&words));
                let copy = bytes[from..to].to_vec();
                bytes.splice(a..b, copy);
            }
        }
        kind => {
            let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
            let first = random.below(lines.len());
            let count = 1 + random.below(6).min(lines.len() - first - 1);
            let mut lines = lines;
            if kind == 3 {
                lines.drain(first..first + count);
            } else {
                let copy = lines[first..first + count].to_vec();
                let place = random.below(lines.len());
                lines.splice(place..place, copy);
            }
            *bytes = lines.join(&b'\n');
        }
    }
}

fn words(bytes: &[u8]) -> Vec<(usize, usize)> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let (mut found, mut from) = (Vec::new(), None);
    for (i, &byte) in bytes.iter().enumerate() {
        match (is_word(byte), from) {
            (true, None) => from = Some(i),
            (false, Some(start)) => {
                found.push((start, i));
                from = None;
            }
            _ => {}
        }
    }
    found
}
