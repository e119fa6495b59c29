//! How much memory does this process really use? (Linux tells; elsewhere nothing is known.)

use std::fs;

/// Resident bytes now (`VmRSS`).
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// The most that was ever resident (`VmHWM`), since [`forget_peak`] where that is permitted.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// Lets the peak begin again at what is resident now. Not permitted everywhere; then the old peak stays.
pub fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Bytes that this machine could still give out without writing to disk (`MemAvailable`).
pub fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn status(key: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
