//! Damaged files: whatever the bytes, an answer or an error that names the file, never a panic.

use std::collections::BTreeMap;
use std::io::Cursor;

use ocellus_formats::{FormatError, Model, npy, npz, safetensors};
use ocellus_graph::{BatchNormSpec, Builder, Conv};
use ocellus_tensor::{Tensor, Weights, Window};

/// Steele, Lea and Flood's SplitMix64 (2014): enough for choosing what to break.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Bytes that parsers trip over: signs, digits, brackets, quotes, extremes.
const SPITE: &[u8] = b"\x00\x01\x7f\x80\xff09-+eE.[]{}()\"',:\\LTF \n";

/// One random change, most of them near the beginning, where headers are.
fn break_somewhere(bytes: &mut Vec<u8>, random: &mut Random) {
    let reach = if random.below(3) == 0 { bytes.len().min(160) } else { bytes.len() };
    let at = random.below(reach);
    match random.below(7) {
        _ if bytes.is_empty() => bytes.push(random.next() as u8),
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = SPITE[random.below(SPITE.len())],
        2 => bytes.truncate(random.below(bytes.len())),
        3 => bytes.insert(at, SPITE[random.below(SPITE.len())]),
        4 => drop(bytes.remove(at)),
        5 => {
            let end = (at + 8).min(bytes.len());
            bytes[at..end].fill(if random.below(2) == 0 { 0xff } else { 0 });
        }
        _ => {
            let end = (at + random.below(24)).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
    }
}

/// Feeds every truncation and `rounds` multiply broken copies of `good` to `decode`.
fn torment<T>(name: &str, good: &[u8], rounds: usize, decode: impl Fn(&[u8]) -> Result<T, FormatError>) {
    assert!(decode(good).is_ok(), "{name}: the sound file must be read");
    let check = |bytes: &[u8]| {
        if let Err(error) = decode(bytes) {
            let sentence = error.to_string();
            assert!(sentence.starts_with(name) && sentence.contains("; "), "{sentence}");
        }
    };
    for end in 0..good.len() {
        assert!(decode(&good[..end]).is_err(), "{name}: cut to {end} bytes it must be refused");
        check(&good[..end]);
    }
    let mut random = Random(0x0ce1_1005);
    for _ in 0..rounds {
        let mut bytes = good.to_vec();
        for _ in 0..=random.below(4) {
            break_somewhere(&mut bytes, &mut random);
        }
        check(&bytes);
    }
}

fn weights() -> Weights {
    let image = Tensor::from_fn([2, 3, 1, 2], |i| i as f32);
    Weights::from([("conv.weight".into(), image), ("b".into(), Tensor::scalar(1.0))])
}

#[test]
fn safetensors_files() {
    let metadata = BTreeMap::from([("graph".to_string(), "a b c".to_string())]);
    let mut good = Vec::new();
    safetensors::encode(&mut good, &weights(), &metadata).unwrap();
    torment("w.safetensors", &good, 60_000, |b| safetensors::decode(b, "w.safetensors"));
}

#[test]
fn npy_files() {
    let mut good = Vec::new();
    npy::encode(&mut good, &weights()["conv.weight"]).unwrap();
    torment("x.npy", &good, 60_000, |b| npy::decode(b, "x.npy"));
}

#[test]
fn npz_files() {
    let mut good = Cursor::new(Vec::new());
    npz::encode(&mut good, &weights()).unwrap();
    torment("g.npz", &good.into_inner(), 60_000, |b| npz::decode(b, "g.npz"));
}

fn model() -> Model {
    let mut b = Builder::new("tiny");
    let x = b.input("input", [1, 1, 4, 4]);
    let x = b.conv2d("conv", x, Conv::new(2, 3).padding(1));
    let x = b.batch_norm("bn", x, BatchNormSpec::default());
    let x = b.max_pool("pool", x, Window::square(2).stride(2));
    b.output("output", x);
    let graph = b.finish().unwrap();
    let weights = graph.params().iter().map(|p| (p.name.clone(), Tensor::zeros(p.shape.clone()))).collect();
    let classes = vec!["cat".into(), "dog".into()];
    Model { graph, weights, classes, preprocess: None, info: BTreeMap::new() }
}

#[test]
fn models() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    model().save(&path).unwrap();
    let good = std::fs::read(path).unwrap();
    torment("m.safetensors", &good, 60_000, |b| Model::decode(b, "m.safetensors"));
}

#[test]
fn models_whose_network_alone_is_broken() {
    let model = model();
    let text = ocellus_graph::to_text(&model.graph).unwrap();
    let mut random = Random(0x0ce1_1006);
    for _ in 0..20_000 {
        let mut broken = text.clone().into_bytes();
        for _ in 0..=random.below(2) {
            break_somewhere(&mut broken, &mut random);
        }
        let strings = [
            ("format", "ocellus".to_string()),
            ("version", "1".to_string()),
            ("graph", String::from_utf8_lossy(&broken).into_owned()),
        ];
        let mut bytes = Vec::new();
        let strings = strings.map(|(key, value)| (key.to_string(), value)).into();
        safetensors::encode(&mut bytes, &model.weights, &strings).unwrap();
        if let Err(error) = Model::decode(&bytes, "m.safetensors") {
            assert!(
                error.to_string().starts_with("m.safetensors: its network")
                    || error.to_string().contains("tensor "),
                "{error}"
            );
        }
    }
}

#[test]
fn headers_nested_without_end_do_not_exhaust_the_stack() {
    for bracket in ["[", "{\"a\":", "("] {
        let text = bracket.repeat(60_000 / bracket.len());
        let mut file = (text.len() as u64).to_le_bytes().to_vec();
        file.extend(text.as_bytes());
        assert!(safetensors::decode(&file, "w").is_err());
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((text.len() as u16).to_le_bytes());
        file.extend(text.as_bytes());
        assert!(npy::decode(&file, "x").is_err());
    }
}
