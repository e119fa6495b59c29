//! Damaged Caffe files: an answer or one sentence, never a panic.

use std::path::Path;

use ocellus_formats::FormatError;
use ocellus_formats::caffe::{self, NetOptions};

/// Steele, Lea and Flood's SplitMix64 (2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

fn data(name: &str) -> Option<Vec<u8>> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        println!("skipped: {} is not there", path.display());
    }
    bytes
}

/// Bytes that text parsers trip over.
const SPITE: &[u8] = b"\x00\xff-0189.eE{}<>[]:;,#'\"\\\n ";

fn mutate(good: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            _ if bytes.is_empty() => bytes.push(7),
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = SPITE[random.below(SPITE.len())],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, SPITE[random.below(SPITE.len())]),
            4 => {
                let end = (at + 9).min(bytes.len());
                bytes[at..end].fill(0xff);
            }
            _ => {
                let end = (at + random.below(40)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

fn fine<T>(result: Result<T, FormatError>) {
    if let Err(error) = result {
        let sentence = error.to_string();
        assert!(sentence.starts_with("f: ") && sentence.contains("; "), "{sentence}");
    }
}

#[test]
fn descriptions() {
    let nets = [
        ("prototxt/lenet/lenet.prototxt", 4000),
        ("prototxt/siamese/mnist_siamese_train_test.prototxt", 2000),
        ("prototxt/vgg/VGG19_deploy_v1format.prototxt", 1000),
        ("prototxt/squeezenet_v1.1/train_val.prototxt", 500),
        ("models/caffe/det1.prototxt", 2000),
    ];
    let options = NetOptions::default().item("pair_data", [2, 28, 28]);
    let mut random = Random(0x0ce1_1008);
    for (name, rounds) in nets {
        let Some(good) = data(name) else { return };
        for _ in 0..rounds {
            let bytes = mutate(&good, &mut random);
            fine(caffe::parse_net(&String::from_utf8_lossy(&bytes), "f", &options));
        }
    }
    let Some(good) = data("prototxt/lenet/lenet_solver.prototxt") else { return };
    for _ in 0..2000 {
        fine(caffe::parse_solver(&String::from_utf8_lossy(&mutate(&good, &mut random)), "f"));
    }
}

#[test]
fn binaries() {
    let (Some(net), Some(good)) = (data("models/caffe/det1.prototxt"), data("models/caffe/det1.caffemodel"))
    else {
        return;
    };
    let net = String::from_utf8(net).unwrap();
    let graph = caffe::parse_net(&net, "f", &NetOptions::default()).unwrap();
    assert!(caffe::decode_weights(&good, "f", &graph).is_ok());
    for cut in (0..good.len()).step_by(64) {
        fine(caffe::decode_weights(&good[..cut], "f", &graph));
    }
    let mut random = Random(0x0ce1_1009);
    for _ in 0..4000 {
        fine(caffe::decode_weights(&mutate(&good, &mut random), "f", &graph));
    }
    let Some(mean) = data("models/caffe/cifar10_mean.binaryproto") else { return };
    for _ in 0..4000 {
        let bytes = mutate(&mean, &mut random);
        fine(caffe::decode_mean(&bytes, "f"));
        fine(caffe::decode_solver_state(&bytes, "f"));
    }
}

#[test]
fn lengths_beyond_the_file_are_refused() {
    // layer (100) of 2^63 bytes; data (5) of 2^40 bytes; a shape of 2^62 numbers without any.
    let layer = [0xa2, 0x06, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
    let graph = caffe::parse_net(
        "input: 'x' input_shape { dim: 1 } layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'y' }",
        "f",
        &NetOptions::default(),
    );
    let sentence = caffe::decode_weights(&layer, "f", &graph.unwrap()).unwrap_err().to_string();
    assert!(sentence.contains("claims 9223372036854775808 bytes"), "{sentence}");
    assert!(caffe::decode_mean(&[0x2a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], "f").is_err());
    let shape = [0x3a, 0x0b, 0x0a, 0x09, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    assert!(caffe::decode_mean(&shape, "f").is_err());
    let hdf5 = caffe::decode_mean(b"\x89HDF\r\n\x1a\n", "f").unwrap_err().to_string();
    assert!(hdf5.contains("HDF5"), "{hdf5}");
}
