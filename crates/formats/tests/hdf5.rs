//! HDF5 files of Caffe, whole and damaged.

use std::path::{Path, PathBuf};

use ocellus_engine::{Options, Session};
use ocellus_formats::caffe::{self, NetOptions};
use ocellus_formats::hdf5::Hdf5;
use ocellus_formats::{match_report, safetensors};

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

#[test]
fn weights_of_an_hdf5_caffemodel_give_the_reference_outputs() {
    let (Some(net), Some(weights), Some(reference)) = (
        data("models/caffe/cifar10_quick.prototxt"),
        data("models/caffe/cifar10_quick_iter_5000.caffemodel.h5"),
        data("models/caffe/cifar10_quick_h5_ref.safetensors"),
    ) else {
        return;
    };
    let reference = safetensors::read(reference).unwrap();
    let graph = caffe::read_net(net, &NetOptions::default()).unwrap();
    let weights = caffe::read_weights(weights, &graph).unwrap();
    assert!(match_report(&graph, &weights).is_complete());
    let Some(mean) = data("models/caffe/cifar10_mean.binaryproto") else { return };
    let (images, mean) = (&reference.weights["image_rgb_planar"], caffe::read_mean(mean).unwrap());
    let input: Vec<f32> = images.data().iter().zip(mean.data().iter().cycle()).map(|(x, m)| x - m).collect();
    let graph = graph.with_batch(images.shape()[0]).unwrap();
    let mut session = Session::new(&graph, &Options::default().with_threads(1)).unwrap();
    session.load(&weights).unwrap();
    session.set_input("data", &input).unwrap();
    session.run();
    let (got, wanted) = (session.output("prob").unwrap(), reference.weights["prob"].data());
    let worst = got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("largest difference {worst:e}");
    assert!(got.len() == wanted.len() && worst < 1e-4, "{worst}");
}

/// Files as Caffe leaves them, made by bench/caffe_hdf5.py.
fn cases() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let packed = flate2::read::GzDecoder::new(&include_bytes!("caffe_hdf5.tar.gz")[..]);
    tar::Archive::new(packed).unpack(folder.path()).unwrap();
    folder
}

#[test]
fn a_solvers_state_in_hdf5_is_read() {
    let folder = cases();
    let state = caffe::read_solver_state(folder.path().join("net.solverstate.h5")).unwrap();
    assert_eq!((state.iteration, state.current_step), (70, 2));
    assert_eq!(state.learned_net, "net_iter_70.caffemodel.h5");
    let shapes: Vec<_> = state.history.iter().map(|blob| blob.shape().dims().to_vec()).collect();
    assert_eq!(shapes, [vec![4, 2, 3, 3], vec![4], vec![3, 64], vec![3]]);
    assert_eq!(state.history[3].data(), [0.0, 0.125, 0.25]);
    let said = caffe::read_solver_state(folder.path().join("net.caffemodel.h5")).unwrap_err().to_string();
    assert!(said.contains("net.caffemodel.h5") && said.contains("history"), "{said}");
}

/// A text that says it is half a gigabyte long takes no memory.
#[test]
fn a_name_beyond_the_file_is_refused() {
    let mut bytes = std::fs::read(cases().path().join("net.solverstate.h5")).unwrap();
    // The datatype of `learned_net`: a string of 26 letters.
    let string = [0x13, 0, 0, 0, 26, 0, 0, 0];
    let at = bytes.windows(8).position(|part| part == string).unwrap();
    bytes[at + 7] = 0x1f;
    let said = caffe::decode_solver_state(&bytes, "f").unwrap_err().to_string();
    assert!(said.contains("/learned_net") && said.contains("65536 letters"), "{said}");
}

#[test]
fn statistics_in_hdf5_are_divided_by_their_factor() {
    let folder = cases();
    let text = "input: 'x' input_shape { dim: 1 dim: 4 dim: 2 dim: 2 }
        layer { name: 'bn' type: 'BatchNorm' bottom: 'x' top: 'y' }";
    let graph = caffe::parse_net(text, "net.prototxt", &NetOptions::default()).unwrap();
    let weights = caffe::read_weights(folder.path().join("net.caffemodel.h5"), &graph).unwrap();
    assert_eq!(weights["bn.running_mean"].data(), [0.0, 0.0625, 0.125, 0.1875]);
    assert_eq!(weights["bn.running_var"].data(), [0.5, 0.5625, 0.625, 0.6875]);
}

#[test]
fn data_for_training_is_read_whole_and_row_by_row() {
    let Some(path) = data("hdf5/sample_data.h5") else { return };
    let file = Hdf5::open(path).unwrap();
    assert_eq!(file.shape("/data").unwrap(), [10, 8, 6, 5]);
    let whole = file.tensor("/data").unwrap();
    let row = 8 * 6 * 5;
    assert_eq!(file.rows("/data", 3, 2).unwrap(), whole.data()[3 * row..5 * row]);
    assert_eq!(file.shape("/label").unwrap(), [10, 1]);
    let sentence = file.rows("/data", 9, 2).unwrap_err().to_string();
    assert!(sentence.contains("10 rows") && sentence.contains("2 from row 9"), "{sentence}");
    assert!(file.tensor("/nothing").unwrap_err().to_string().contains("/nothing"));
}

/// Whatever is wrong with a file, reading it gives numbers or a sentence.
#[test]
fn damaged_files_never_panic() {
    for name in ["hdf5/sample_data.h5", "models/caffe/cifar10_quick_iter_5000.caffemodel.h5"] {
        let (Some(path), Some(net)) = (data(name), data("models/caffe/cifar10_quick.prototxt")) else {
            return;
        };
        let bytes = std::fs::read(path).unwrap();
        let graph = caffe::read_net(net, &NetOptions::default()).unwrap();
        let touch = |bytes: &[u8]| {
            if let Err(fault) = caffe::decode_weights(bytes, "damaged.h5", &graph) {
                assert!(fault.to_string().contains("damaged.h5"), "{fault}");
            }
            if let Ok(file) = Hdf5::decode(bytes, "damaged.h5") {
                for array in file.arrays("/").unwrap_or_default() {
                    let _ = file.tensor(&array);
                    let _ = file.rows(&array, 0, 1);
                }
            }
        };
        let step = (bytes.len() / 300).next_multiple_of(64);
        for length in (0..bytes.len()).step_by(step) {
            touch(&bytes[..length]);
        }
        // Every bit of the structures is flipped once; of the numbers, some.
        let mut seed = 1_u64;
        for i in 0..600 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = if i < 400 {
                (seed >> 33) as usize % 8192.min(bytes.len())
            } else {
                (seed >> 33) as usize % bytes.len()
            };
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (seed % 8);
            touch(&changed);
            changed[at] = 0xff;
            touch(&changed);
        }
    }
}

/// An HDF5 file whose root has one attribute `names`: so many references, all to one text of this length.
fn one_text_many_times(length: usize, references: usize) -> Vec<u8> {
    let mut names = Vec::new();
    names.extend([1, 0, 6, 0, 16, 0, 16, 0]); // version 1; sizes of name, datatype and dataspace
    names.extend(b"names\0\0\0");
    names.extend([0x19, 1, 0, 0, 16, 0, 0, 0, 0x13, 0, 0, 0, 1, 0, 0, 0]); // text of variable length
    names.extend([1, 1, 0, 0, 0, 0, 0, 0]);
    names.extend((references as u64).to_le_bytes());
    let heap = (96 + 16 + 8 + names.len() + 16 * references) as u64;
    for _ in 0..references {
        names.extend((length as u32).to_le_bytes());
        names.extend(heap.to_le_bytes());
        names.extend(1_u32.to_le_bytes());
    }
    let mut file = b"\x89HDF\r\n\x1a\n".to_vec();
    file.extend([0, 0, 0, 0, 0, 8, 8, 0, 4, 0, 16, 0, 0, 0, 0, 0]);
    let collection = 16 + 16 + length.next_multiple_of(8) + 16;
    for address in [0, u64::MAX, heap + collection as u64, u64::MAX, 0, 96] {
        file.extend(address.to_le_bytes());
    }
    file.resize(96, 0);
    // The root's header: one message, the attribute.
    file.extend([1, 0, 1, 0, 1, 0, 0, 0]);
    file.extend((names.len() as u64 + 8).to_le_bytes());
    file.extend([12, 0]);
    file.extend((names.len() as u16).to_le_bytes());
    file.extend([0; 4]);
    file.extend(names);
    // The heap, with one text in it.
    assert_eq!(file.len() as u64, heap);
    file.extend(b"GCOL\x01\0\0\0");
    file.extend((collection as u64).to_le_bytes());
    file.extend([1, 0, 1, 0, 0, 0, 0, 0]);
    file.extend((length as u64).to_le_bytes());
    file.resize(file.len() + length, b'n');
    file.resize((heap as usize) + collection, 0);
    file
}

#[test]
fn texts_that_are_one_text_again_and_again_are_refused() {
    let few = Hdf5::decode(&one_text_many_times(9, 3), "few.h5").unwrap();
    assert_eq!(few.texts("/", "names").unwrap().unwrap(), ["nnnnnnnnn"; 3]);
    assert_eq!(few.texts("/", "others").unwrap(), None);
    // A megabyte, four thousand times.
    let many = Hdf5::decode(&one_text_many_times(1 << 20, 4000), "many.h5").unwrap();
    let said = many.texts("/", "names").unwrap_err().to_string();
    assert!(said.contains("/, attribute names") && said.contains("33554432 bytes together"), "{said}");
}

#[test]
fn what_is_written_is_read_again() {
    let text = "input: 'x' input_shape { dim: [1, 2, 6, 6] }
        layer { name: 'a/b' type: 'Convolution' bottom: 'x' top: 'c' convolution_param { num_output: 3 kernel_size: 3
          weight_filler { type: 'xavier' } bias_filler { type: 'gaussian' std: 1 } } }
        layer { name: 'bn' type: 'BatchNorm' bottom: 'c' top: 'n' }
        layer { name: 'a' type: 'InnerProduct' bottom: 'n' top: 'y' inner_product_param { num_output: 2
          bias_term: false weight_filler { type: 'xavier' } } }";
    let graph = caffe::parse_net(text, "net.prototxt", &NetOptions::default()).unwrap();
    let weights = ocellus_graph::initialise(&graph, 7);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.caffemodel.h5");
    caffe::write_weights(&path, &graph, &weights).unwrap();
    assert_eq!(caffe::read_weights(&path, &graph).unwrap(), weights);
    let file = Hdf5::open(&path).unwrap();
    assert_eq!(file.arrays("/data/a/b").unwrap(), ["0", "1"]);
    assert_eq!(file.shape("/data/bn/2").unwrap(), [1]);

    let history =
        [vec![3, 2, 3, 3], vec![3], vec![]].map(|sizes| ocellus_tensor::Tensor::from_fn(sizes, |i| i as f32));
    let state = caffe::SolverState {
        iteration: 1 << 20,
        learned_net: "out/net_iter_1048576.caffemodel.h5".into(),
        current_step: 3,
        history: history.to_vec(),
    };
    let path = folder.path().join("net.solverstate.h5");
    caffe::write_solver_state(&path, &state).unwrap();
    assert_eq!(caffe::read_solver_state(&path).unwrap(), state);
}
