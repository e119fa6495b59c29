//! Ctrl-C and SIGTERM: the first asks the run to stop where it can go on from, the second ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);
/// What a shell reports for a process that Ctrl-C ended.
pub const INTERRUPTED: i32 = 130;

/// From now on signals are noted instead of ending the process at once.
pub fn listen() {
    // Where no handler can be set, a signal ends the process, and the last checkpoint is what is left.
    let _ = ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
    });
}

/// Whether one has come.
pub fn asked_to_stop() -> bool {
    ASKED.load(Ordering::SeqCst)
}
