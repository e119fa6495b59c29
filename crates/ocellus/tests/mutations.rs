//! What a person writes beside a model, against damage: an answer or one sentence, as for every format of files.

#[path = "../../formats/tests/mutation/mod.rs"]
mod mutation;

use mutation::{Made, Target, as_they_are, hold};
use ocellus::load::{Ask, open};

const NET: &str = "input: 'data' input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layer { name: 'fc' type: 'InnerProduct' bottom: 'data' top: 'fc' inner_product_param { num_output: 3 } }
";

const ALL: &str = "resize = 16
fit = \"stretch\"
crop = 8
bgr = true
scale = 1.0
mean = [104, 117, 123.5]
std = [1, 1, 58.4]
antialias = false
classes = [\"cat\", \"dog\", \"bird\"]
";

const FEW: &str = "# beside net.prototxt
fit = 'letterbox'
mean = [10]
labels = \"names.txt\"
";

#[test]
fn preprocessing() {
    let folder = tempfile::tempdir().unwrap();
    let net = folder.path().join("net.prototxt");
    std::fs::write(&net, NET).unwrap();
    std::fs::write(folder.path().join("names.txt"), "cat\ndog\nbird\n").unwrap();
    let beside = folder.path().join("net.toml");
    let read = |bytes: &[u8]| {
        std::fs::write(&beside, bytes).unwrap();
        let found = open(&Ask::word(net.display().to_string()));
        let told = |text: String| {
            // Files that it names lie beside it.
            let rest = text.replace(&beside.display().to_string(), "f");
            let named = rest.strip_prefix(&folder.path().display().to_string()).map(str::to_string);
            named.map_or(rest, |named| format!("f{}", &named[named.find(": ").unwrap_or(0)..]))
        };
        found.map(drop).map_err(|cause| told(cause.to_string()))
    };
    let seeds = [ALL, FEW].map(|text| text.as_bytes().to_vec()).to_vec();
    hold(&[Target { name: "preprocessing", made: Made::OfText, seeds, pack: &as_they_are, read: &read }]);
}
