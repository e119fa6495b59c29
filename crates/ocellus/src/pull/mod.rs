//! Published weights, fetched by name from their own publishers.
//!
//! ```text
//! is the file in the cache, with the right SHA-256?  then nothing is fetched
//! GET, from where an earlier try broke off (Range), into FILE.part
//! is its SHA-256 the one that is pinned?  no: it is thrown away;  yes: FILE.part becomes FILE in one step
//! ```
//!
//! Only HTTPS is spoken, also behind redirections; plain HTTP to this very machine (127.0.0.1, ::1, localhost) is allowed, for
//! mirrors and tests.

mod address;
mod catalogue;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

pub use catalogue::{PUBLISHED, Published, published};

/// Redirections that are followed.
const MOST_REDIRECTIONS: usize = 5;

/// How often a broken connection is taken up again.
const TRIES: usize = 3;

/// How long a server may send nothing before its connection counts as broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest file that is fetched, in bytes.
const LARGEST: u64 = 8 << 30;

/// A file to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where it lies.
    pub url: String,
    /// What it is called in the cache: no folders.
    pub file: String,
    /// Its SHA-256 in hex, or at least the first eight digits of it.
    pub sha256: String,
}

impl From<&Published> for Wanted {
    fn from(known: &Published) -> Self {
        Wanted { url: known.url(), file: known.file.into(), sha256: known.sha256.into() }
    }
}

/// How far a file is: bytes here, and of how many if the server says so.
pub type Told<'t> = dyn FnMut(u64, Option<u64>) + 't;

/// A file that could not be had. Each message is one sentence: what, where, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PullError(String);

impl PullError {
    fn new(what: impl Into<String>) -> Self {
        PullError(what.into())
    }

    fn file(path: &Path, cause: &std::io::Error) -> Self {
        PullError(format!(
            "{}: {cause}; choose a folder you may write to, with room: --cache FOLDER",
            path.display()
        ))
    }
}

/// Fetches `wanted` into the folder `cache`, unless it is there; gives the file's path.
///
/// Errors, one sentence each: no connection, an answer that is no file, a connection that broke (what came stays, and
/// the next try goes on there), a server that sends nothing for a minute (likewise), a file with another SHA-256 (nothing
/// stays), a folder that cannot be written.
pub fn pull(wanted: &Wanted, cache: &Path, told: &mut Told) -> Result<PathBuf, PullError> {
    pull_within(wanted, cache, PATIENCE, told)
}

/// As [`pull`], from a server that may send nothing for as long as `patience`.
pub fn pull_within(
    wanted: &Wanted,
    cache: &Path,
    patience: Duration,
    told: &mut Told,
) -> Result<PathBuf, PullError> {
    check(wanted)?;
    fs::create_dir_all(cache).map_err(|cause| PullError::file(cache, &cause))?;
    let path = cache.join(&wanted.file);
    let part = cache.join(format!("{}.part", wanted.file));
    if path.is_file() {
        let (digest, length) = digest_of(&path)?;
        if fits(&digest, wanted) {
            told(length, Some(length));
            return Ok(path);
        }
        // It was changed or damaged since: fetched again, and replaced only by the right one.
    }
    let mut tries = 0;
    loop {
        tries += 1;
        match fetch(wanted, &part, patience, told) {
            Ok(()) => break,
            Err(Broken::For(fault)) => return Err(fault),
            Err(Broken::Now(_)) if tries < TRIES => {}
            Err(Broken::Now(fault)) => return Err(fault),
        }
    }
    let (digest, length) = digest_of(&part)?;
    if !fits(&digest, wanted) {
        fs::remove_file(&part).map_err(|cause| PullError::file(&part, &cause))?;
        return Err(PullError::new(format!(
            "{}: its SHA-256 is {digest}, and {} is what its publisher says; nothing was kept ({length} bytes), try again later or another network",
            wanted.url, wanted.sha256
        )));
    }
    fs::rename(&part, &path).map_err(|cause| PullError::file(&path, &cause))?;
    Ok(path)
}

fn check(wanted: &Wanted) -> Result<(), PullError> {
    let digits = &wanted.sha256;
    if digits.len() < 8 || digits.len() > 64 || !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(PullError::new(format!("{digits} is no SHA-256; give 8 to 64 hex digits")));
    }
    let is_plain = !wanted.file.is_empty()
        && !wanted.file.starts_with('.')
        && wanted.file.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !is_plain {
        return Err(PullError::new(format!(
            "{:?} is no name for a file; give letters, digits and ._-",
            wanted.file
        )));
    }
    address::check(&wanted.url).map_err(PullError::new)
}

fn fits(digest: &str, wanted: &Wanted) -> bool {
    digest.starts_with(&wanted.sha256.to_ascii_lowercase())
}

/// The SHA-256 of a file in hex, and its length.
fn digest_of(path: &Path) -> Result<(String, u64), PullError> {
    let fault = |cause: std::io::Error| PullError::file(path, &cause);
    let mut file = File::open(path).map_err(fault)?;
    let (mut hash, mut buffer, mut length) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        let count = file.read(&mut buffer).map_err(fault)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        length += count as u64;
    }
    let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((digits, length))
}

/// Why a try ended.
enum Broken {
    /// Another try will not help.
    For(PullError),
    /// The connection broke; what came is kept.
    Now(PullError),
}

/// One try: asks for what is missing in `part` and appends it.
fn fetch(wanted: &Wanted, part: &Path, patience: Duration, told: &mut Told) -> Result<(), Broken> {
    let fault = |cause: std::io::Error| Broken::For(PullError::file(part, &cause));
    let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(fault)?;
    let mut have = file.seek(SeekFrom::End(0)).map_err(fault)?;
    let url = &wanted.url;
    let (status, answer) = ask(url, have, patience)?;
    match status {
        206 if begins_at(&answer) == Some(have) => {}
        200 | 206 => {
            // The server does not go on where we were: from the beginning.
            if status == 206 {
                return Err(restart(part, url, "it sends another part of the file than was asked for"));
            }
            file.set_len(0).map_err(fault)?;
            have = 0;
        }
        416 if have > 0 => {
            // All of it may be here already; if it is not, the checksum says so.
            return match total_beyond(&answer) {
                Some(total) if total == have => Ok(()),
                _ => Err(restart(part, url, "it has less of the file than was fetched before")),
            };
        }
        404 | 410 => {
            let what = format!(
                "{url}: the server says {status}, there is no such file; its publisher may have moved it"
            );
            return Err(Broken::For(PullError::new(what)));
        }
        status => {
            let what =
                format!("{url}: the server says {status} instead of sending the file; try again later");
            return Err(Broken::For(PullError::new(what)));
        }
    }
    let length = header(&answer, "content-length").and_then(|text| text.parse::<u64>().ok());
    let total = length.and_then(|length| length.checked_add(have));
    if total.is_some_and(|total| total > LARGEST) {
        let what = format!("{url}: it has {} bytes, more than weights ever do", total.unwrap_or(0));
        return Err(Broken::For(PullError::new(what)));
    }
    let mut body = answer.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    told(have, total);
    loop {
        let count = match body.read(&mut buffer) {
            Ok(count) => count,
            Err(cause) => return Err(broken(url, have, total, &cause.to_string())),
        };
        if count == 0 {
            break;
        }
        have += count as u64;
        if have > LARGEST {
            return Err(Broken::For(PullError::new(format!("{url}: it does not end after {LARGEST} bytes"))));
        }
        file.write_all(&buffer[..count]).map_err(fault)?;
        told(have, total);
    }
    file.sync_all().map_err(fault)?;
    match total {
        Some(total) if have < total => Err(broken(url, have, Some(total), "it closed the connection")),
        _ => Ok(()),
    }
}

fn broken(url: &str, have: u64, total: Option<u64>, cause: &str) -> Broken {
    let of = total.map_or(String::new(), |total| format!(" of {total}"));
    Broken::Now(PullError::new(format!(
        "{url}: the connection broke after {have}{of} bytes ({cause}); say it again to go on from there"
    )))
}

/// What was fetched does not go with what the server has: the next try begins anew.
fn restart(part: &Path, url: &str, why: &str) -> Broken {
    match fs::remove_file(part) {
        Ok(()) => Broken::Now(PullError::new(format!("{url}: {why}; say it again to fetch it anew"))),
        Err(cause) => Broken::For(PullError::file(part, &cause)),
    }
}

type Answer = ureq::http::Response<ureq::Body>;

/// Asks for the file from byte `from` on, following redirections to addresses that are allowed.
fn ask(url: &str, from: u64, patience: Duration) -> Result<(u16, Answer), Broken> {
    let mut url = url.to_string();
    for _ in 0..=MOST_REDIRECTIONS {
        let mut request = agent_for(&url, patience).get(&url);
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        let answer = request.call().map_err(|cause| {
            Broken::Now(PullError::new(format!(
                "{url}: it cannot be reached ({cause}); check the connection"
            )))
        })?;
        let status = answer.status().as_u16();
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Ok((status, answer));
        }
        let refuse = |what: String| Broken::For(PullError::new(what));
        let to = header(&answer, "location").ok_or_else(|| {
            refuse(format!("{url}: the server sends us on, and does not say where; try again later"))
        })?;
        let next = address::join(&url, to);
        address::check_redirection(&url, &next).map_err(refuse)?;
        url = next;
    }
    let what = format!("{url}: the server sends us on more than {MOST_REDIRECTIONS} times; try again later");
    Err(Broken::For(PullError::new(what)))
}

/// Who asks at `url`: through the proxy that the system names, but this very machine directly.
fn agent_for(url: &str, patience: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience))
        .user_agent(concat!("ocellus/", env!("CARGO_PKG_VERSION")));
    let config = if url.starts_with("http://") { config.proxy(None) } else { config };
    config.build().into()
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

/// The first byte of `content-range: bytes 100-199/200`.
fn begins_at(answer: &Answer) -> Option<u64> {
    let range = header(answer, "content-range")?.strip_prefix("bytes ")?;
    range.split('-').next()?.trim().parse().ok()
}

/// The length in `content-range: bytes */200`.
fn total_beyond(answer: &Answer) -> Option<u64> {
    header(answer, "content-range")?.rsplit('/').next()?.trim().parse().ok()
}
