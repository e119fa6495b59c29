//! Folders and archives made on the spot, sound and faulty.

mod common;

use std::path::Path;

use common::{encode, picture, write, write_classes};
use flate2::Compression;
use flate2::write::GzEncoder;
use image::ImageFormat;
use ocellus_data::{DataError, Dataset, Image, OpenOptions, Split, VerifyOptions};

fn open(path: &Path) -> Result<Dataset, DataError> {
    Dataset::open(path, &OpenOptions::default())
}

fn tar_of(folder: &Path, inside: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(inside, folder).unwrap();
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

fn assert_same(a: &Split, b: &Split) {
    assert_eq!(a.len(), b.len());
    assert_eq!(a.classes(), b.classes());
    for (i, (x, y)) in a.samples().iter().zip(b.samples()).enumerate() {
        assert_eq!((&x.name, x.class), (&y.name, y.class));
        assert_eq!(a.image(i).unwrap(), b.image(i).unwrap());
    }
}

#[test]
fn an_archive_is_as_good_as_its_folder() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("set");
    write_classes(&root, "train/", &["b", "a", "a-b"], 4);
    write_classes(&root, "validation/", &["a", "b"], 2);
    write(&root, "classes.txt", b"b\na\na-b\n");
    write(&root, "train/a/._001.jpg", b"resource fork");
    write(&root, "train/a/notes.txt", b"a note");
    let folder = open(&root).unwrap();
    assert_eq!((folder.train.len(), folder.val.len()), (12, 4));
    assert_eq!(folder.classes().as_ref(), ["b", "a", "a-b"]);
    assert_eq!(folder.notes.len(), 1, "{:?}", folder.notes);
    for (name, inside) in [("x.tar", "some/set"), ("y.tar.gz", "."), ("z.tgz", "set"), ("plain", "set")] {
        let bytes = tar_of(&root, inside);
        let bytes = if name.ends_with('z') { gzip(&bytes) } else { bytes };
        write(temp.path(), name, &bytes);
        let archive = open(&temp.path().join(name)).unwrap();
        assert_same(&folder.train, &archive.train);
        assert_same(&folder.val, &archive.val);
    }
}

#[test]
fn a_flat_folder_divides_by_seed_and_by_class() {
    let temp = tempfile::tempdir().unwrap();
    write_classes(temp.path(), "", &["x", "y", "z"], 10);
    let draw = |seed| Dataset::open(temp.path(), &OpenOptions { seed, ..OpenOptions::default() }).unwrap();
    let first = draw(1);
    assert!(first.drawn);
    assert_eq!(first.val.class_counts(), [2, 2, 2]);
    assert_eq!(first.train.class_counts(), [8, 8, 8]);
    assert_eq!(first.split_lists(), draw(1).split_lists());
    assert_ne!(first.split_lists(), draw(2).split_lists());
    let mut all = first.split_lists().train;
    all.extend(first.split_lists().val);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 30);
    let text = serde_json::to_string(&first.split_lists()).unwrap();
    assert_eq!(first.split_lists(), serde_json::from_str(&text).unwrap());
}

#[test]
fn few_bad_images_are_left_out_and_many_are_fatal() {
    let temp = tempfile::tempdir().unwrap();
    write_classes(temp.path(), "train/", &["a", "b"], 25);
    write_classes(temp.path(), "val/", &["a", "b"], 1);
    write(temp.path(), "train/a/003.jpg", b"this is text");
    let mut d = open(temp.path()).unwrap();
    let excluded = d.train.verify(&VerifyOptions::default()).unwrap();
    assert_eq!((excluded.images.len(), excluded.checked, d.train.len()), (1, 50, 49));
    assert!(excluded.images[0].name.ends_with("train/a/003.jpg"));
    assert!(d.train.is_decoded());
    assert!(d.train.samples().iter().all(|s| s.name != "train/a/003.jpg"));
    assert_eq!(std::fs::read(temp.path().join("train/a/003.jpg")).unwrap(), b"this is text");

    let bytes = encode(&picture(20, 16, 1), ImageFormat::Jpeg);
    write(temp.path(), "train/b/004.jpg", &bytes[..bytes.len() / 2]);
    let message = open(temp.path()).unwrap().train.verify(&VerifyOptions::default()).unwrap_err().to_string();
    assert!(
        message.starts_with("2 of 50 images of the train split cannot be decoded (at most 1"),
        "{message}"
    );
    assert!(message.contains("003.jpg (it is text") && message.contains("004.jpg (the JPEG is truncated"));
    assert!(!message.contains('\n'));
    let tolerant = VerifyOptions { max_bad_share: 0.05, ..VerifyOptions::default() };
    assert_eq!(open(temp.path()).unwrap().train.verify(&tolerant).unwrap().images.len(), 2);
}

#[test]
fn pixels_are_kept_only_within_the_budget() {
    let temp = tempfile::tempdir().unwrap();
    write_classes(temp.path(), "", &["a", "b"], 5);
    let verify = |memory_budget| {
        let mut d = open(temp.path()).unwrap();
        let before: Vec<Image> = (0..d.train.len()).map(|i| d.train.image(i).unwrap()).collect();
        d.train.verify(&VerifyOptions { memory_budget, ..VerifyOptions::default() }).unwrap();
        let after: Vec<Image> = (0..d.train.len()).map(|i| d.train.image(i).unwrap()).collect();
        assert_eq!(before, after);
        d.train.is_decoded()
    };
    // 8 images of 20 x 16 x 3 bytes; small ones may take eight times the budget.
    assert!(verify(960));
    assert!(!verify(959));
    assert!(!verify(0));
}

#[test]
fn faults_of_folders_are_one_clear_sentence() {
    let temp = tempfile::tempdir().unwrap();
    let message = |name: &str| {
        let text = open(&temp.path().join(name)).unwrap_err().to_string();
        assert!(!text.contains('\n'), "{text}");
        text
    };
    assert!(message("absent").contains("absent: "));
    std::fs::create_dir(temp.path().join("empty")).unwrap();
    assert!(message("empty").contains("holds no class folders"));
    write_classes(&temp.path().join("hole"), "train/", &["a"], 1);
    write_classes(&temp.path().join("hole"), "val/", &["a"], 1);
    std::fs::create_dir(temp.path().join("hole/train/b")).unwrap();
    assert!(message("hole").contains("hole/train/b holds no images; remove it or add images"));
    write(temp.path(), "idx/t10k-images-idx3-ubyte", &[0, 0, 8, 3]);
    assert!(message("idx").contains("add t10k-labels-idx1-ubyte"));
    write(temp.path(), "notes.txt", b"hello");
    assert!(message("notes.txt").contains("unknown kind of data"));
    write(temp.path(), "cat.jpg", &encode(&picture(8, 8, 0), ImageFormat::Jpeg));
    assert!(message("cat.jpg").contains("a single image"));
    write(temp.path(), "cut.bin", &[0; 3000]);
    assert!(message("cut.bin").contains("3000 bytes are not a whole number"));
    write(temp.path(), "text.tar", b"no archive at all");
    assert!(message("text.tar").contains("text.tar"));
}

#[test]
fn a_truncated_archive_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    write_classes(&temp.path().join("set"), "", &["a", "b"], 3);
    let bytes = gzip(&tar_of(&temp.path().join("set"), "set"));
    for length in [bytes.len() / 3, bytes.len() - 9, bytes.len() - 1] {
        write(temp.path(), "cut.tar.gz", &bytes[..length]);
        let message = open(&temp.path().join("cut.tar.gz")).unwrap_err().to_string();
        assert!(message.contains("truncated"), "{length} of {}: {message}", bytes.len());
    }
}

#[test]
fn an_archive_above_the_memory_limit_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    write_classes(&temp.path().join("set"), "", &["a", "b"], 3);
    let bytes = tar_of(&temp.path().join("set"), "set");
    write(temp.path(), "set.tar", &bytes);
    write(temp.path(), "set.tar.gz", &gzip(&bytes));
    let options = OpenOptions { max_archive_bytes: 1000, ..OpenOptions::default() };
    let message = Dataset::open(temp.path().join("set.tar.gz"), &options).unwrap_err().to_string();
    assert!(message.contains("unpack it and give the folder"), "{message}");
    // A plain one is not put in memory.
    let set = Dataset::open(temp.path().join("set.tar"), &options).unwrap();
    assert_same(&set.train, &open(&temp.path().join("set.tar")).unwrap().train);
}

#[test]
fn cifar_and_idx_open_from_folders_and_archives() {
    let temp = tempfile::tempdir().unwrap();
    let record = |label: u8| std::iter::once(label).chain((0..3072).map(|i| i as u8)).collect::<Vec<u8>>();
    let cifar = temp.path().join("cifar-10-batches-bin");
    write(&cifar, "data_batch_1.bin", &[record(3), record(0)].concat());
    write(&cifar, "data_batch_2.bin", &record(9));
    write(&cifar, "test_batch.bin", &record(1));
    write(&cifar, "batches.meta.txt", b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
    write(temp.path(), "cifar.tar.gz", &gzip(&tar_of(&cifar, "cifar-10-batches-bin")));
    let (a, b) = (open(&cifar).unwrap(), open(&temp.path().join("cifar.tar.gz")).unwrap());
    assert_eq!((a.train.len(), a.val.len()), (3, 1));
    assert_same(&a.train, &b.train);
    assert_same(&a.val, &b.val);

    let idx = temp.path().join("idx");
    let images = [&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1][..], &[7, 8]].concat();
    write(&idx, "train-images.idx3-ubyte.gz", &gzip(&images));
    write(&idx, "train-labels.idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 1, 2]);
    let d = open(&idx).unwrap();
    assert_eq!((d.train.len(), d.val.len(), d.classes().len()), (1, 0, 3));
    assert_eq!(d.train.image(0).unwrap().pixels, [7, 8]);
}
