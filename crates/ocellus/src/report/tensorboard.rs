//! A run's curves as a TensorBoard event file.
//!
//! The file is a sequence of records: u64 length, masked CRC-32C of those bytes, the bytes, their masked CRC-32C (all
//! little-endian); the mask is `(crc rotated right by 15) + 0xa282ead8`. Each record is an `Event` message: wall time 1
//! (double), step 2, file version 3, summary 5 of values 1 with tag 1 and simple value 2 (TensorFlow's `record_writer.cc`,
//! `event.proto`, `summary.proto`).

use std::path::{Path, PathBuf};

use ocellus_formats::write_atomically;

use super::history::Epoch;
use crate::load::LoadError;

/// Writes the curves into `folder`; gives the file. `began` is the run's beginning in seconds since 1970.
///
/// Errors: the file cannot be written.
pub fn write_events(history: &[Epoch], folder: &Path, began: f64) -> Result<PathBuf, LoadError> {
    let path = folder.join(format!("events.out.tfevents.{:010}.ocellus", began.max(0.0) as u64));
    let mut out = Vec::new();
    let mut first = double(1, began);
    first.extend(bytes(3, b"brain.Event:2"));
    record(&mut out, &first);
    let mut now = began;
    for epoch in history {
        if epoch.seconds.is_finite() {
            now += epoch.seconds;
        }
        let values = [
            ("loss/train", epoch.train_loss),
            ("loss/val", epoch.val_loss),
            ("top1/train", epoch.train_top1),
            ("top1/val", epoch.val_top1),
            ("top5/val", epoch.val_top5),
            ("learning rate", epoch.lr),
        ];
        let finite = values.into_iter().filter(|(_, value)| value.is_finite());
        let summary: Vec<u8> = finite.flat_map(|(tag, value)| bytes(1, &scalar(tag, value))).collect();
        let mut event = double(1, now);
        event.push(2 << 3);
        varint(&mut event, epoch.epoch.max(0.0) as u64);
        event.extend(bytes(5, &summary));
        record(&mut out, &event);
    }
    write_atomically(&path, |file| file.write_all(&out))?;
    Ok(path)
}

fn scalar(tag: &str, value: f64) -> Vec<u8> {
    let mut out = bytes(1, tag.as_bytes());
    out.push(2 << 3 | 5);
    out.extend((value as f32).to_le_bytes());
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    varint(&mut out, content.len() as u64);
    out.extend(content);
    out
}

fn double(field: u8, value: f64) -> Vec<u8> {
    let mut out = vec![field << 3 | 1];
    out.extend(value.to_le_bytes());
    out
}

fn record(out: &mut Vec<u8>, content: &[u8]) {
    let length = (content.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(content);
    out.extend(masked(content).to_le_bytes());
}

fn masked(content: &[u8]) -> u32 {
    crc32c(content).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli's polynomial, RFC 3720, appendix B.4), a bit at a time: these files are small.
fn crc32c(content: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !content.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_castagnoli_s() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn records_are_framed_and_hold_the_values() {
        let place = tempfile::tempdir().unwrap();
        let epoch = Epoch {
            epoch: 1.0,
            step: 9.0,
            lr: 0.1,
            train_loss: 2.0,
            train_top1: 0.5,
            val_loss: f64::NAN,
            val_top1: 0.25,
            val_top5: 1.0,
            seconds: 2.0,
        };
        let path = write_events(&[epoch], place.path(), 1000.0).unwrap();
        let all = std::fs::read(path).unwrap();
        let (mut at, mut records) = (0, Vec::new());
        while at < all.len() {
            let length = u64::from_le_bytes(all[at..at + 8].try_into().unwrap()) as usize;
            assert_eq!(all[at + 8..at + 12], masked(&all[at..at + 8]).to_le_bytes());
            let content = &all[at + 12..at + 12 + length];
            assert_eq!(all[at + 12 + length..at + 16 + length], masked(content).to_le_bytes());
            records.push(content.to_vec());
            at += 16 + length;
        }
        assert_eq!(records.len(), 2);
        let holds = |what: &[u8]| records[1].windows(what.len()).any(|w| w == what);
        assert!(holds(b"top1/val") && holds(&0.25_f32.to_le_bytes()) && !holds(b"loss/val"));
        assert!(holds(&1002.0_f64.to_le_bytes()));
    }
}
