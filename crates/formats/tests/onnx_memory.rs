//! Reading a malicious ONNX file takes no more memory than the file and 64 MiB. (Alone in its program, so that nothing
//! else counts.)

mod onnx_support;

use ocellus_formats::onnx::{self, ReadOptions};
use onnx_support::*;

/// Bytes that were resident at most; `None` where the system does not tell.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

#[test]
fn memory_stays_bounded() {
    let refuse = |bytes: &[u8]| {
        let error = onnx::read(bytes, None, &ReadOptions::default()).map(|_| ()).unwrap_err();
        println!("{error}");
    };
    let Some(before) = peak() else {
        println!("skipped: no /proc/self/status");
        return;
    };
    // Two bytes each, hundreds in memory.
    let empty = Proto::default().bytes(1, &[]).0.repeat(1_000_000);
    refuse(&Proto::default().bytes(7, &empty).0);
    // A few bytes that ask for a million million numbers, or for many times a few thousand.
    let full = node("full", "ConstantOfShape", &["s"], &["c"]);
    let mut nodes = vec![full];
    for i in 0..40_000 {
        nodes.push(node("", "Add", &["c", "one"], &[&format!("c{i}")]));
    }
    let names: Vec<String> = (0..40_000).map(|i| format!("c{i}")).collect();
    let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
    nodes.push(node("all", "Sum", &inputs, &["sum"]));
    nodes.push(node("n", "Add", &["x", "sum"], &["y"]));
    let net = Net::new(nodes).with([longs("s", &[4096]), floats("one", &[], &[1.0])]);
    refuse(&net.bytes());
    let length = net.bytes().len() as u64;
    let after = peak().unwrap();
    let taken = after.saturating_sub(before);
    println!("{taken} bytes for files of up to {length}");
    // The test itself holds each file several times over while it makes it.
    assert!(taken < 8 * length + (64 << 20), "{taken} bytes for files of up to {length}");
}
