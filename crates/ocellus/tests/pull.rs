//! Published weights from a server on this machine, which misbehaves as told.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ocellus::pull::{Wanted, pull, pull_within};

/// 300,000 bytes and their SHA-256, as any other program computes it.
const SHA256: &str = "136f334d647619879743ff33fde1ac6547f40e314692441f2a125e087cad47c9";

fn bytes() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// What the server does with its next request.
#[derive(Clone, Copy)]
enum Manner {
    /// Sends what was asked for.
    Whole,
    /// Breaks off after so many bytes, having promised all.
    BreakAfter(usize),
    /// Sends so many bytes, then nothing, and keeps the connection.
    StallAfter(usize),
    /// Ignores Range.
    FromTheBeginning,
    /// Sends us on.
    Redirect(&'static str),
    Status(&'static str),
    /// Sends as many bytes, others.
    Forged,
}

/// Serves one connection in each manner; gives its address and the Range of each request.
fn server(manners: Vec<Manner>) -> (String, Receiver<Option<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for manner in manners {
            let Ok((stream, _)) = listener.accept() else { return };
            let range = answer(stream, manner);
            let _ = tell.send(range);
        }
    });
    (address, told)
}

fn answer(mut stream: TcpStream, manner: Manner) -> Option<usize> {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let range = head.iter().find_map(|line| {
        line.to_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
    });
    let mut all = bytes();
    let mut send = |head: String, body: &[u8]| {
        let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes());
        let _ = stream.write_all(body);
    };
    match manner {
        Manner::Redirect(to) => send(format!("302 Found\r\nlocation: {to}\r\ncontent-length: 0"), b""),
        Manner::Status(status) => send(format!("{status}\r\ncontent-length: 0"), b""),
        Manner::FromTheBeginning => send(format!("200 OK\r\ncontent-length: {}", all.len()), &all),
        Manner::Whole | Manner::BreakAfter(_) | Manner::StallAfter(_) | Manner::Forged => {
            if matches!(manner, Manner::Forged) {
                all[1000] ^= 1;
            }
            let from = range.unwrap_or(0);
            let rest = &all[from..];
            let head = match range {
                Some(from) => {
                    format!(
                        "206 Partial Content\r\ncontent-range: bytes {from}-{}/{}",
                        all.len() - 1,
                        all.len()
                    )
                }
                None => "200 OK".to_string(),
            };
            let sent = match manner {
                Manner::BreakAfter(count) | Manner::StallAfter(count) => &rest[..count],
                _ => rest,
            };
            send(format!("{head}\r\ncontent-length: {}", rest.len()), sent);
            if matches!(manner, Manner::StallAfter(_)) {
                std::mem::forget(stream); // open until the test ends
            }
        }
    }
    range
}

fn wanted(address: &str) -> Wanted {
    Wanted { url: format!("{address}/net-1234.pth"), file: "net-1234.pth".into(), sha256: SHA256[..8].into() }
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_fetched_once_and_told_of() {
    let cache = tempfile::tempdir().unwrap();
    let (address, ranges) = server(vec![Manner::Whole]);
    let mut seen = Vec::new();
    let path = pull(&wanted(&address), cache.path(), &mut |have, total| seen.push((have, total))).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes());
    assert_eq!(seen.first(), Some(&(0, Some(300_000))));
    assert_eq!(seen.last(), Some(&(300_000, Some(300_000))));
    assert_eq!(ranges.recv().unwrap(), None);
    // The server is gone; what is here is right.
    assert_eq!(pull(&wanted(&address), cache.path(), &mut |_, _| {}).unwrap(), path);
    assert_eq!(files(cache.path()), ["net-1234.pth"]);
    // A damaged file is not taken for the right one.
    std::fs::write(&path, b"damaged").unwrap();
    assert!(pull(&wanted(&address), cache.path(), &mut |_, _| {}).is_err());
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let cache = tempfile::tempdir().unwrap();
    // Two tries break within one call, so do two more; the next call ends it.
    let breaks = [100_000, 50_000, 25_000, 5_000].map(Manner::BreakAfter);
    let (address, ranges) = server([&breaks[..], &[Manner::Whole]].concat());
    let said = pull(&wanted(&address), cache.path(), &mut |_, _| {}).unwrap_err().to_string();
    assert!(said.contains("175000 of 300000") && said.contains("to go on"), "{said}");
    assert_eq!(files(cache.path()), ["net-1234.pth.part"]);
    let path = pull(&wanted(&address), cache.path(), &mut |_, _| {}).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), bytes());
    let asked: Vec<_> = ranges.iter().take(5).collect();
    assert_eq!(asked, [None, Some(100_000), Some(150_000), Some(175_000), Some(180_000)]);
    assert_eq!(files(cache.path()), ["net-1234.pth"]);
}

#[test]
fn a_server_that_falls_silent_is_asked_again_and_then_told_of() {
    let cache = tempfile::tempdir().unwrap();
    let patience = Duration::from_millis(300);
    let (address, ranges) = server(vec![Manner::StallAfter(120_000), Manner::Whole]);
    let path = pull_within(&wanted(&address), cache.path(), patience, &mut |_, _| {}).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), bytes());
    assert_eq!(ranges.iter().take(2).collect::<Vec<_>>(), [None, Some(120_000)]);
    let cache = tempfile::tempdir().unwrap();
    let (address, _) = server([10_000, 20_000, 0].map(Manner::StallAfter).to_vec());
    let said =
        pull_within(&wanted(&address), cache.path(), patience, &mut |_, _| {}).unwrap_err().to_string();
    assert!(
        said.contains("30000 of 300000") && said.contains("timeout") && said.contains("to go on"),
        "{said}"
    );
    assert_eq!(files(cache.path()), ["net-1234.pth.part"]);
}

#[test]
fn a_server_that_cannot_go_on_is_asked_for_all() {
    let cache = tempfile::tempdir().unwrap();
    let (address, _) = server(vec![Manner::BreakAfter(70_000), Manner::FromTheBeginning]);
    let path = pull(&wanted(&address), cache.path(), &mut |_, _| {}).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), bytes());
}

#[test]
fn another_checksum_leaves_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let (address, _) = server(vec![Manner::Forged]);
    let said = pull(&wanted(&address), cache.path(), &mut |_, _| {}).unwrap_err().to_string();
    assert!(
        said.contains("SHA-256") && said.contains(&SHA256[..8]) && said.contains("nothing was kept"),
        "{said}"
    );
    assert!(files(cache.path()).is_empty());
}

#[test]
fn answers_that_are_no_file_are_told() {
    let cache = tempfile::tempdir().unwrap();
    let said = |manner| {
        let (address, _) = server(vec![manner]);
        pull(&wanted(&address), cache.path(), &mut |_, _| {}).unwrap_err().to_string()
    };
    assert!(said(Manner::Status("404 Not Found")).contains("says 404, there is no such file"));
    assert!(said(Manner::Status("503 Service Unavailable")).contains("says 503"));
    let led = said(Manner::Redirect("http://example.org/x"));
    assert!(led.contains("example.org") && led.contains("not https"), "{led}");
    let (address, _) = server(vec![Manner::Redirect("/elsewhere"), Manner::Redirect("there"), Manner::Whole]);
    assert!(pull(&wanted(&address), cache.path(), &mut |_, _| {}).is_ok());
    let (address, _) = server(vec![Manner::Redirect("/round"); 9]);
    let cache = tempfile::tempdir().unwrap();
    let said = pull(&wanted(&address), cache.path(), &mut |_, _| {}).unwrap_err().to_string();
    assert!(said.contains("more than 5 times"), "{said}");
    let unreachable =
        pull(&wanted("http://127.0.0.1:1"), cache.path(), &mut |_, _| {}).unwrap_err().to_string();
    assert!(unreachable.contains("cannot be reached"), "{unreachable}");
    let climbing = Wanted { file: "../x".into(), ..wanted(&address) };
    assert!(pull(&climbing, cache.path(), &mut |_, _| {}).unwrap_err().to_string().contains("no name"));
    let plain = Wanted { url: "http://example.org/x".into(), ..wanted(&address) };
    assert!(pull(&plain, cache.path(), &mut |_, _| {}).unwrap_err().to_string().contains("https"));
}
