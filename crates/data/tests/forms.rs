//! Forms of data beside class folders: tables, shards, exclusions, written divisions, damaged images.

mod common;

use std::path::Path;

use common::{encode, picture, write, write_classes};
use image::ImageFormat;
use ocellus_data::{Content, Dataset, Image, LabelledImage, OpenOptions, SplitLists, VerifyOptions};

fn open(path: &Path) -> Dataset {
    Dataset::open(path, &OpenOptions::default()).unwrap()
}

fn png(seed: u32) -> Vec<u8> {
    encode(&picture(12, 10, seed), ImageFormat::Png)
}

#[test]
fn tables_name_images_and_a_missing_one_is_left_out_by_name() {
    let temp = tempfile::tempdir().unwrap();
    for i in 0..200 {
        write(temp.path(), &format!("pictures/{i}.png"), &png(i));
    }
    let lines: Vec<String> =
        (0..201).map(|i| format!("pictures/{i}.png,{}", if i % 2 == 0 { "cat" } else { "dog" })).collect();
    write(temp.path(), "all.csv", lines.join("\n").as_bytes());
    let mut set = open(&temp.path().join("all.csv"));
    assert!(set.drawn);
    assert_eq!(set.classes().as_ref(), ["cat", "dog"]);
    assert_eq!((set.train.len(), set.val.len()), (161, 40));
    let options = VerifyOptions::default();
    let mut bad = set.train.verify(&options).unwrap().images;
    bad.extend(set.val.verify(&options).unwrap().images);
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(bad[0].name.contains("200.png") && bad[0].reason.contains("cannot be read"), "{bad:?}");

    // A heading puts the columns in another order, and a column divides.
    let table =
        "split;label;filename\ntrain;1;pictures/1.png\nvalid;0;pictures/2.png\ntest;1;\"pictures/3.png\"\n";
    write(temp.path(), "t.csv", table.as_bytes());
    let set = open(&temp.path().join("t.csv"));
    assert_eq!((set.train.len(), set.val.len(), set.drawn), (1, 2, false));
    assert_eq!(set.train.image(0).unwrap().width, 12);

    // Tables named after parts, as a folder and by the first of them.
    write(temp.path(), "two/train.csv", b"path,label\n../pictures/1.png,a\n../pictures/2.png,b\n");
    write(temp.path(), "two/val.csv", b"path,label\n../pictures/3.png,a\n");
    for path in ["two", "two/train.csv"] {
        let set = open(&temp.path().join(path));
        assert_eq!((set.train.len(), set.val.len(), set.drawn), (2, 1, false), "{path}");
    }
    write(temp.path(), "bad.csv", b"path,label\nx.png\n");
    let fault = Dataset::open(temp.path().join("bad.csv"), &OpenOptions::default()).unwrap_err().to_string();
    assert!(fault.contains("line 2") && fault.contains("PATH,LABEL"), "{fault}");
}

fn shard(samples: &[(String, &str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    for (seed, (key, ending, label)) in samples.iter().enumerate() {
        add(&format!("{key}.png"), &png(seed as u32));
        add(&format!("{key}.seg.png"), &png(7));
        add(&format!("{key}.{ending}"), label.as_bytes());
    }
    builder.into_inner().unwrap()
}

#[test]
fn shards_are_read_with_the_labels_beside_their_images() {
    let temp = tempfile::tempdir().unwrap();
    let keys = |from: usize, to: usize, ending: &'static str, labels: [&'static str; 2]| -> Vec<_> {
        (from..to).map(|i| (format!("{i:05}"), ending, labels[i % 2])).collect()
    };
    write(temp.path(), "s/x-train-000.tar", &shard(&keys(0, 6, "cls", ["10", "9"])));
    write(
        temp.path(),
        "s/x-train-001.tar",
        &shard(&keys(6, 9, "json", ["{\"label\": 10}", "{\"cls\": \"9\"}"])),
    );
    write(temp.path(), "s/x-val-000.tar", &shard(&keys(9, 13, "cls", ["10", "9\n"])));
    let set = open(&temp.path().join("s"));
    assert_eq!((set.train.len(), set.val.len(), set.drawn), (9, 4, false));
    assert_eq!(set.classes().as_ref(), ["9", "10"]);
    assert_eq!(set.train.samples()[0].class, 1);
    assert_eq!(set.train.samples()[0].name, "x-train-000/00000.png");
    assert_eq!(set.train.image(1).unwrap().pixels, picture(12, 10, 1).into_raw(), "the image, not its mask");

    let one = open(&temp.path().join("s/x-val-000.tar"));
    assert_eq!((one.train.len(), one.val.len()), (0, 4));
    let pattern = open(&temp.path().join("s/x-train-{000..001}.tar"));
    assert!(pattern.drawn && pattern.train.len() + pattern.val.len() == 9);

    write(temp.path(), "names/classes.txt", b"first\nsecond\n");
    write(temp.path(), "names/a.tar", &shard(&keys(0, 4, "cls", ["0", "second"])));
    let set = open(&temp.path().join("names"));
    assert_eq!(set.classes().as_ref(), ["first", "second"]);

    // Archives of class folders, named after the parts.
    let root = temp.path().join("folders");
    write_classes(&root, "", &["a", "b"], 3);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", &root).unwrap();
    let bytes = builder.into_inner().unwrap();
    write(temp.path(), "parts/train.tar", &bytes);
    write(temp.path(), "parts/val.tar", &bytes);
    let set = open(&temp.path().join("parts"));
    assert_eq!((set.train.len(), set.val.len(), set.drawn), (6, 6, false));
    assert_eq!(set.train.image(0).unwrap(), set.val.image(0).unwrap());
}

#[test]
fn a_division_is_read_back_and_listed_images_are_left_out() {
    let temp = tempfile::tempdir().unwrap();
    write_classes(temp.path(), "", &["a", "b"], 10);
    let first = open(temp.path());
    let lists = first.split_lists();
    write(temp.path(), "a/new.png", &png(1));
    let options = OpenOptions { seed: 5, split: Some(lists.clone()), ..OpenOptions::default() };
    let again = Dataset::open(temp.path(), &options).unwrap();
    assert_eq!(again.split_lists(), lists);
    assert!(
        again.notes.iter().any(|n| n.contains("1 images that the split does not name")),
        "{:?}",
        again.notes
    );

    let gone = SplitLists { train: vec!["a/none.jpg".into()], val: Vec::new() };
    let options = OpenOptions { split: Some(gone), ..OpenOptions::default() };
    let fault = Dataset::open(temp.path(), &options).unwrap_err().to_string();
    assert!(fault.contains("a/none.jpg"), "{fault}");

    let exclude = vec![lists.train[0].clone(), lists.val[0].clone(), "zebra".to_owned()];
    let options = OpenOptions { exclude, split: Some(lists.clone()), ..OpenOptions::default() };
    let less = Dataset::open(temp.path(), &options).unwrap();
    assert_eq!((less.train.len(), less.val.len()), (lists.train.len() - 1, lists.val.len() - 1));
    assert!(
        less.notes.iter().any(|n| n.contains("left out as listed: 2 images (1 of the 3 names")),
        "{:?}",
        less.notes
    );
}

#[test]
fn images_in_memory_make_a_data_set() {
    let image = |i: u8| Image { width: 2, height: 1, channels: 1, pixels: vec![i, i] };
    let of = |n: u8| -> Vec<LabelledImage> {
        (0..n)
            .map(|i| LabelledImage {
                name: i.to_string(),
                class: u32::from(i % 2),
                content: Content::Pixels(image(i)),
            })
            .collect()
    };
    let classes = || vec!["even".to_owned(), "odd".to_owned()];
    let options = OpenOptions { exclude: vec!["3".into()], ..OpenOptions::default() };
    let set = Dataset::of_images(classes(), of(20), None, &options).unwrap();
    assert_eq!((set.train.len() + set.val.len(), set.drawn), (19, true));
    assert!((3..=4).contains(&set.val.len()));
    for split in [&set.train, &set.val] {
        for (i, sample) in split.samples().iter().enumerate() {
            assert_eq!(split.image(i).unwrap(), image(sample.name.parse().unwrap()));
        }
        assert_eq!(split.sizes().unwrap()[0], [2, 1]);
    }
    let mut wrong = of(1);
    wrong[0].class = 2;
    assert!(Dataset::of_images(classes(), wrong, None, &options).is_err());
}

/// A file with one thing done to it: cut, bytes flipped, a stretch zeroed, or rubbish in its place.
fn mutate(bytes: &[u8], kind: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let at = |k: usize| (kind * 7919 + k * 104_729) % bytes.len();
    match kind % 4 {
        0 => out.truncate(at(0)),
        1 => (0..8).for_each(|k| out[at(k)] ^= 0x5A),
        2 => {
            let start = at(1);
            let end = (start + bytes.len() / 3).min(bytes.len());
            out[start..end].fill(0);
        }
        _ => out = (0..kind).map(|k| (k * 131 % 251) as u8).collect(),
    }
    out
}

#[test]
fn five_hundred_mutated_images_are_named_and_left_as_they_are() {
    let temp = tempfile::tempdir().unwrap();
    let formats =
        [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp];
    let mut written = Vec::new();
    for i in 0..1000_u32 {
        let format = formats[i as usize % formats.len()];
        let ending = format.extensions_str()[0];
        let sound = encode(&picture(24, 18, i), format);
        let bytes = if i % 2 == 0 { sound } else { mutate(&sound, i as usize) };
        let name = format!("train/{}/{i:04}.{ending}", ["a", "b"][i as usize / 2 % 2]);
        write(temp.path(), &name, &bytes);
        written.push((name, bytes, i % 2 == 0));
    }
    write_classes(temp.path(), "val/", &["a", "b"], 2);
    let mut set = open(temp.path());
    let refused = set.train.clone().verify(&VerifyOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("of 1000 images") && refused.contains("at most 10"), "{refused}");
    let excluded =
        set.train.verify(&VerifyOptions { max_bad_share: 0.6, ..VerifyOptions::default() }).unwrap();
    assert_eq!(excluded.checked, 1000);
    // A mutation may leave a picture that still decodes (a changed pixel of a BMP is only another pixel); none that does
    // not may stay in, and none that is sound may go.
    assert!(excluded.images.len() >= 300, "{}", excluded.images.len());
    for (name, bytes, is_sound) in &written {
        let named = excluded.images.iter().any(|bad| bad.name.ends_with(name.rsplit('/').next().unwrap()));
        let decodes = Image::decode(bytes, name).is_ok();
        assert_eq!(named, !decodes, "{name}");
        assert!(decodes || !is_sound, "{name}");
        assert_eq!(&std::fs::read(temp.path().join(name)).unwrap(), bytes, "{name} was changed");
    }
    assert_eq!(set.train.len() + excluded.images.len(), 1000);
}

#[test]
fn a_check_finds_copies_relatives_and_damage() {
    let temp = tempfile::tempdir().unwrap();
    let smooth = |seed: u32, width: u32, height: u32| {
        image::RgbImage::from_fn(width, height, |x, y| {
            let (u, v) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
            let phase = f64::from(seed);
            let wave = (6.0 * u + phase).sin() * (4.0 * v * (1.0 + phase / 3.0)).cos();
            image::Rgb([(128.0 + 100.0 * wave) as u8, (255.0 * u) as u8, (255.0 * v) as u8])
        })
    };
    for i in 0..20 {
        let class = ["a", "b"][i as usize % 2];
        write(temp.path(), &format!("train/{class}/{i}.png"), &encode(&smooth(i, 64, 48), ImageFormat::Png));
    }
    write(temp.path(), "train/b/copy.png", &encode(&smooth(0, 64, 48), ImageFormat::Png));
    write(temp.path(), "val/a/leak.bmp", &encode(&smooth(2, 64, 48), ImageFormat::Bmp));
    write(temp.path(), "val/b/near.jpg", &encode(&smooth(5, 80, 60), ImageFormat::Jpeg));
    write(temp.path(), "val/b/broken.png", b"\x89PNG\r\n\x1a\n");
    let set = open(temp.path());
    let report = ocellus_data::check(&set, true, |_| {}).unwrap();
    assert_eq!(report.bad.len(), 1);
    assert_eq!((report.bad[0].image.as_str(), report.bad[0].part.as_str()), ("val/b/broken.png", "val"));
    assert_eq!(report.duplicates.len(), 2, "{:?}", report.duplicates);
    let copy = report.duplicates.iter().find(|g| !g.across).unwrap();
    assert!(copy.classes_differ && copy.images.len() == 2);
    let leak = report.duplicates.iter().find(|g| g.across).unwrap();
    assert!(!leak.classes_differ && leak.images.iter().any(|p| p.image == "val/a/leak.bmp"));
    let near: Vec<_> = report.near_duplicates.iter().filter(|p| p.across).collect();
    assert_eq!(near.len(), 1, "{:?}", report.near_duplicates);
    assert_eq!(
        [near[0].images[0].image.as_str(), near[0].images[1].image.as_str()],
        ["train/b/5.png", "val/b/near.jpg"]
    );
    assert_eq!(report.parts[0].sizes, [([64, 48], 21)]);
    let gone: Vec<&str> = report.superfluous().iter().map(|p| p.image.as_str()).collect();
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert!(gone.contains(&"train/a/2.png"));
}

#[test]
fn shards_labelled_by_texts_and_shards_without_labels() {
    let temp = tempfile::tempdir().unwrap();
    let texts = |count: usize, text: &'static str| -> Vec<_> {
        (0..count).map(|i| (format!("{i:05}"), "txt", if i % 2 == 0 { "apple\n" } else { text })).collect()
    };
    write(temp.path(), "t/train-000.tar", &shard(&texts(6, "pear")));
    write(temp.path(), "t/val-000.tar", &shard(&texts(4, "pear")));
    let set = open(&temp.path().join("t"));
    assert_eq!(set.classes().as_ref(), ["apple", "pear"]);
    assert_eq!((set.train.len(), set.val.len(), set.drawn), (6, 4, false));

    let refusal =
        |path: &str| Dataset::open(temp.path().join(path), &OpenOptions::default()).unwrap_err().to_string();
    // Captions are no classes.
    let captions: Vec<String> = (0..60).map(|i| format!("photograph {i} of a harbour")).collect();
    let samples: Vec<_> =
        captions.iter().enumerate().map(|(i, text)| (format!("{i:05}"), "txt", text.as_str())).collect();
    write(temp.path(), "captions.tar", &shard(&samples));
    assert!(refusal("captions.tar").contains("60 different labels"), "{}", refusal("captions.tar"));
    // A shard is no class.
    write(temp.path(), "bare/train-000.tar", &shard(&[("00000".into(), "xml", "<a/>")]));
    write(temp.path(), "bare/train-001.tar", &shard(&[("00001".into(), "xml", "<a/>")]));
    assert!(refusal("bare").contains("00000.cls"), "{}", refusal("bare"));
}

#[test]
fn images_without_an_ending_are_known_by_their_content() {
    let temp = tempfile::tempdir().unwrap();
    for (class, i) in [("a", 0), ("a", 1), ("b", 2), ("b", 3)] {
        write(temp.path(), &format!("set/{class}/9f86d08{i}"), &png(i));
    }
    write(temp.path(), "set/a/LICENSE", b"None of this is an image.");
    let set = open(&temp.path().join("set"));
    assert_eq!(set.train.len() + set.val.len(), 4);
    assert!(set.notes.iter().any(|note| note.contains("LICENSE")), "{:?}", set.notes);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all("set", temp.path().join("set")).unwrap();
    write(temp.path(), "set.tar", &builder.into_inner().unwrap());
    let packed = open(&temp.path().join("set.tar"));
    assert_eq!(packed.split_lists(), set.split_lists());
    assert_eq!(packed.train.image(0).unwrap(), set.train.image(0).unwrap());
}

#[cfg(unix)]
#[test]
fn pipes_links_upwards_and_folders_of_the_system_do_no_harm() {
    let temp = tempfile::tempdir().unwrap();
    write_classes(temp.path(), "", &["a", "b"], 4);
    std::os::unix::fs::symlink(temp.path(), temp.path().join("a/loop")).unwrap();
    std::os::unix::fs::symlink(temp.path().join("b/000.jpg"), temp.path().join("a/linked.jpg")).unwrap();
    write(temp.path(), "@eaDir/a/000.jpg", b"a thumbnail");
    let made = std::process::Command::new("mkfifo").arg(temp.path().join("a/pipe.jpg")).status();
    assert!(made.unwrap().success());
    let set = open(temp.path());
    assert_eq!(set.train.len() + set.val.len(), 9);
    assert!(set.notes.iter().any(|note| note.contains("were not used: 2")), "{:?}", set.notes);
}

#[test]
fn what_is_beside_the_parts_that_are_used_is_told() {
    let temp = tempfile::tempdir().unwrap();
    for (part, count) in [("train/", 3), ("valid/", 2), ("test/", 1)] {
        write_classes(temp.path(), part, &["a", "b"], count);
    }
    let set = open(temp.path());
    assert_eq!((set.train.len(), set.val.len()), (6, 4));
    let note = "test: 2 images were left for later, since valid validates";
    assert!(set.notes.iter().any(|n| n.ends_with(note)) && set.notes.len() == 1, "{:?}", set.notes);
    for (name, title) in
        [("cifar-10-batches-py/data_batch_1", "CIFAR-10 "), ("cifar-100-python/meta", "CIFAR-100 ")]
    {
        let folder = name.split('/').next().unwrap();
        write(temp.path(), &format!("{folder}/train"), b"\x80\x02}q\x01");
        write(temp.path(), &format!("{folder}/test"), b"\x80\x02}q\x01");
        write(temp.path(), name, b"\x80\x02}q\x01");
        let fault = Dataset::open(temp.path().join(folder), &OpenOptions::default()).unwrap_err().to_string();
        assert!(fault.contains(title) && fault.contains("binary version"), "{fault}");
    }
}
