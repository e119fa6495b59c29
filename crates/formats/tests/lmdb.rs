//! LMDB databases: written, read again, and damaged.

use ocellus_formats::lmdb::{self, Lmdb};

fn key(i: usize) -> Vec<u8> {
    format!("{i:08}").into_bytes()
}

/// Values of all sizes, from none to several pages.
fn value(i: usize) -> Vec<u8> {
    let length = [0, 1, 790, 2020, 2022, 2023, 4080, 4081, 12_345][i % 9];
    (0..length).map(|j| (i * 31 + j * 7) as u8).collect()
}

#[test]
fn every_number_of_entries_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    // One page, a level of branches, two levels of branches.
    for count in [0, 1, 2, 5, 40, 3000] {
        let path = folder.path().join(format!("{count}.lmdb"));
        let written = lmdb::write(&path, (0..count).map(|i| Ok((key(i), value(i))))).unwrap();
        assert_eq!(written, count as u64);
        let back = Lmdb::open(&path).unwrap();
        assert!(Lmdb::is_at(&path) && back.len() == count as u64);
        for i in 0..count {
            assert_eq!(back.entry(i as u64).unwrap(), (key(i), value(i)), "{i} of {count}");
        }
        assert!(back.entry(count as u64).is_err());
    }
}

#[test]
fn many_small_entries_make_a_deep_tree() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep");
    let long = |i: usize| format!("{i:0300}").into_bytes();
    lmdb::write(&path, (0..5000).map(|i| Ok((long(i), vec![i as u8])))).unwrap();
    let back = Lmdb::open(&path).unwrap();
    for i in [0, 1, 11, 12, 13, 2500, 4999] {
        assert_eq!(back.entry(i as u64).unwrap(), (long(i), vec![i as u8]));
    }
}

#[test]
fn keys_must_ascend_and_nothing_is_left_of_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong");
    let entries = [(b"b".to_vec(), vec![]), (b"a".to_vec(), vec![])];
    let sentence = lmdb::write(&path, entries.into_iter().map(Ok)).unwrap_err().to_string();
    assert!(sentence.contains("ascend"), "{sentence}");
    assert!(!path.exists());
    let sentence = Lmdb::open(folder.path().join("none")).map(|_| ()).unwrap_err().to_string();
    assert!(sentence.contains("none"), "{sentence}");
}

#[test]
fn damaged_databases_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole");
    lmdb::write(&path, (0..60).map(|i| Ok((key(i), value(i))))).unwrap();
    let bytes = std::fs::read(path.join("data.mdb")).unwrap();
    let file = folder.path().join("damaged.mdb");
    let touch = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        if let Ok(lmdb) = Lmdb::open(&file) {
            for i in 0..lmdb.len().min(80) {
                if let Err(fault) = lmdb.entry(i) {
                    assert!(fault.to_string().contains("damaged.mdb"));
                }
            }
        }
    };
    for length in (0..bytes.len()).step_by(1088) {
        touch(&bytes[..length]);
    }
    let mut seed = 3_u64;
    for _ in 0..800 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = (seed >> 33) as usize % bytes.len();
        // Half of the changes hit the beginning of a page, where the structure is.
        let at = if seed.is_multiple_of(2) { at / 4096 * 4096 + at % 160 } else { at };
        let mut changed = bytes.clone();
        changed[at] = (seed >> 20) as u8;
        touch(&changed);
    }
}
