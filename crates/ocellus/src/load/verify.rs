//! Does a file that was written answer as the network that it was made from?
//!
//! The file is read back, and both networks run here on the same pictures, each prepared as its own model says, or on
//! the same random numbers. A file that fails is never there: it is written to a folder of its own first, and
//! moved to its place once it has passed.

use std::path::{Path, PathBuf};

use ocellus_data::{Image, Preprocess, Preprocessor, Rng, Stream};
use ocellus_engine::{EngineError, Options, Session};
use ocellus_graph::Graph;
use ocellus_tensor::Tensor;

use super::prepare::current;
use super::save::{ending, save_with};
use super::{Ask, Found, LoadError, SaveOptions, Saved, open, weights_for};

/// How far an output may be from the original's: the largest difference over the largest number of that output.
pub const VERIFY_LIMIT: f32 = 1e-4;
/// How many random inputs are tried where there are no pictures.
const RANDOM: usize = 4;

/// What a written file is tried with.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Pictures and what each is called; random inputs are used without.
    pub pictures: Vec<(String, Image)>,
    /// Seed of what is random.
    pub seed: u64,
    /// How both networks run.
    pub machine: Options,
}

/// How well a written file agrees with its original.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// How many inputs were tried.
    pub inputs: usize,
    /// Whether they were random.
    pub random: bool,
    /// The largest distance of an output, as [`VERIFY_LIMIT`] measures it.
    pub worst: f32,
    /// Which output that was.
    pub output: String,
    /// Which input that was.
    pub input: String,
}

/// Writes as [`save_with`] does, reads the files back and compares their answers; only files that agree are put in place.
///
/// Errors, besides those of [`save_with`]: there are no weights to compute with, or an output differs by more than
/// [`VERIFY_LIMIT`].
pub fn save_verified(
    found: &Found,
    path: &Path,
    options: &SaveOptions,
    trial: &Trial,
) -> Result<(Saved, Agreement), LoadError> {
    let (Some(_), Some(name)) = (&found.weights, path.file_name()) else {
        let what = format!("{} has no weights, so there are no answers to verify", found.graph.name);
        return Err(LoadError::Setting(format!("{what}; give them by --weights FILE, or say --untrained")));
    };
    super::save::check_name(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let aside = Aside::create(folder, &name.to_string_lossy())?;
    let mut saved = save_with(found, &aside.0.join(name), options)?;
    let mut original = super::save::inference_form(found);
    if original.preprocess.is_none() && !trial.pictures.is_empty() {
        // Nobody said how pictures are prepared; what counts here is that both sides get the same.
        original.preprocess = serde_json::to_value(current(&original)?).ok();
    }
    let again = read_back(&original, &aside.0.join(name), options)?;
    let agreement = compare(&original, &again, trial)?;
    if agreement.worst.is_nan() || agreement.worst > VERIFY_LIMIT {
        return Err(LoadError::Setting(format!(
            "{}: its output {} for {} differs by {:.1e} of its largest number from that of {}, more than {VERIFY_LIMIT:e}; \
             it was not written: try another format",
            path.display(),
            agreement.output,
            agreement.input,
            agreement.worst,
            found.graph.name
        )));
    }
    for file in &mut saved.files {
        let place = folder.join(file.file_name().unwrap_or_default());
        std::fs::rename(&*file, &place).map_err(|cause| {
            LoadError::Setting(format!("{}: cannot be written: {cause}", place.display()))
        })?;
        *file = place;
    }
    Ok((saved, agreement))
}

/// A folder for files that may not stay; it goes away with all that is left in it.
struct Aside(PathBuf);

impl Aside {
    fn create(beside: &Path, name: &str) -> Result<Aside, LoadError> {
        let folder = beside.join(format!(".{name}.{}.verify", std::process::id()));
        std::fs::create_dir(&folder).map_err(|cause| {
            LoadError::Setting(format!("{}: cannot be made: {cause}; check the folder", folder.display()))
        })?;
        Ok(Aside(folder))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // What cannot be removed is told by its name; there is nobody to tell.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The model in the file that was written, completed by what its format has no place for.
fn read_back(original: &Found, file: &Path, options: &SaveOptions) -> Result<Found, LoadError> {
    let mut again = match ending(file).as_str() {
        "npz" => {
            let weights = weights_for(file, &original.graph)?.complete(file, &original.graph)?;
            return Ok(Found { weights: Some(weights), ..original.clone() });
        }
        "prototxt" | "caffemodel" => open(&Ask {
            weights: Some(file.with_extension("caffemodel")),
            ..Ask::word(file.with_extension("prototxt").display().to_string())
        })?,
        _ => open(&Ask::word(file.display().to_string()))?,
    };
    if again.weights.is_none() {
        again.weights = original.weights.clone();
    }
    if again.preprocess.is_none() && !options.pixels_inside {
        again.preprocess = original.preprocess.clone();
    }
    Ok(again)
}

/// Runs both networks on everything of `trial`, or on random inputs.
///
/// Errors: they do not have the same inputs and outputs, or a picture cannot be fed.
fn compare(a: &Found, b: &Found, trial: &Trial) -> Result<Agreement, LoadError> {
    let one = |found: &Found| found.graph.with_batch(1);
    let (first, second) = match (one(a), one(b)) {
        (Ok(first), Ok(second)) => (first, second),
        _ => (a.graph.clone(), b.graph.clone()),
    };
    let mut a = Side::new(a, first, &trial.machine)?;
    let mut b = Side::new(b, second, &trial.machine)?;
    b.line_up(&a)?;
    let (mut pictures, random) = (trial.pictures.clone(), trial.pictures.is_empty());
    if random {
        pictures = noise(&a, trial.seed);
    } else if a.image.is_none() {
        let what = format!("{} takes no pictures", a.graph.name);
        return Err(LoadError::Setting(format!("{what}; verify it without, on random numbers")));
    }
    let mut agreement =
        Agreement { inputs: 0, random, worst: 0.0, output: String::new(), input: String::new() };
    for turn in 0..pictures.len().max(if random { RANDOM } else { 0 }) {
        let name =
            pictures.get(turn).map_or_else(|| format!("random input {turn}"), |(name, _)| name.clone());
        let picture = pictures.get(turn).map(|(_, image)| image);
        let [ours, theirs] = [&mut a, &mut b].map(|side| side.answer(picture, trial.seed, turn));
        for ((output, ours), theirs) in a.outputs.iter().zip(ours?).zip(theirs?) {
            let distance = distance(&ours, &theirs);
            if distance > agreement.worst || distance.is_nan() || agreement.inputs == 0 {
                (agreement.worst, agreement.output, agreement.input) =
                    (distance, output.clone(), name.clone());
            }
            if distance.is_nan() {
                return Ok(agreement);
            }
        }
        agreement.inputs += 1;
    }
    Ok(agreement)
}

/// Pictures of the size that the network takes, each pixel at random; none if it takes no pictures.
fn noise(side: &Side, seed: u64) -> Vec<(String, Image)> {
    let Some((_, preprocessor)) = &side.image else { return Vec::new() };
    let settings = preprocessor.settings();
    let [height, width] = settings.size;
    let count = settings.output_len();
    let picture = |turn: usize| {
        let mut random = Rng::new(seed, Stream::Trial, 0, turn as u32);
        let pixels = (0..count).map(|_| random.next_u32() as u8).collect();
        let image = Image { width, height, channels: settings.channels as u8, pixels };
        (format!("random picture {turn}"), image)
    };
    (0..RANDOM).map(picture).collect()
}

/// The largest difference over the largest number; NaN where one side has no number and the other has another.
fn distance(a: &Tensor, b: &Tensor) -> f32 {
    if a.shape().elements() != b.shape().elements() {
        return f32::NAN;
    }
    let (mut difference, mut size) = (0_f32, 0_f32);
    for (&x, &y) in a.data().iter().zip(b.data()) {
        if x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()) {
            size = size.max(if x.is_finite() { x.abs() } else { 0.0 });
            continue;
        }
        if !(x.is_finite() && y.is_finite()) {
            return f32::NAN;
        }
        (difference, size) = (difference.max((x - y).abs()), size.max(x.abs()));
    }
    if difference == 0.0 { 0.0 } else { difference / size.max(f32::MIN_POSITIVE) }
}

/// One network, ready to run.
struct Side {
    graph: Graph,
    session: Session,
    /// The input that takes pictures, and how they become its numbers.
    image: Option<(String, Preprocessor)>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Side {
    fn new(found: &Found, graph: Graph, machine: &Options) -> Result<Side, LoadError> {
        let refuse = |cause: EngineError| LoadError::Setting(format!("{}: {cause}", found.graph.name));
        let mut session =
            Session::new(&graph, &Options { exact: true, ..machine.clone() }).map_err(refuse)?;
        if let Some(weights) = &found.weights {
            session.load(weights).map_err(refuse)?;
        }
        let settings = match &found.preprocess {
            Some(_) => current(found).ok(),
            None => None,
        };
        let image = graph.inputs().iter().find(|&&id| graph.shape(id).rank() == 4);
        let image = match (image, settings) {
            (Some(&id), Some(settings)) if fits(graph.shape(id), &settings) => {
                Some((graph.value(id).name.clone(), Preprocessor::new(&settings)?))
            }
            _ => None,
        };
        let inputs = graph.inputs().iter().map(|&id| graph.value(id).name.clone()).collect();
        let outputs = graph.outputs().iter().map(|output| output.name.clone()).collect();
        Ok(Side { graph, session, image, inputs, outputs })
    }

    /// Puts inputs and outputs in the order of the original's: by name, or as they are if the format gave others.
    fn line_up(&mut self, original: &Side) -> Result<(), LoadError> {
        let count = |side: &Side| [side.inputs.len(), side.outputs.len(), usize::from(side.image.is_some())];
        if count(self) != count(original) {
            let told = |side: &Side| format!("{} from {}", side.outputs.join(", "), side.inputs.join(", "));
            return Err(LoadError::Setting(format!(
                "{} computes {}, what was written {}; it was not written: try another format",
                original.graph.name,
                told(original),
                told(self)
            )));
        }
        for (own, wanted) in [(&mut self.inputs, &original.inputs), (&mut self.outputs, &original.outputs)] {
            if wanted.iter().all(|name| own.contains(name)) {
                own.clone_from(wanted);
            }
        }
        Ok(())
    }

    /// All outputs for a picture; inputs that take none get random numbers, which depend on `seed` and `turn` alone.
    fn answer(&mut self, picture: Option<&Image>, seed: u64, turn: usize) -> Result<Vec<Tensor>, LoadError> {
        let name = self.graph.name.clone();
        let refuse = |cause: EngineError| LoadError::Setting(format!("{name}: {cause}"));
        for (i, input) in self.inputs.iter().enumerate() {
            let numbers = self.session.input_mut(input).map_err(refuse)?;
            match (&mut self.image, picture) {
                (Some((own, preprocessor)), Some(picture)) if own == input => {
                    preprocessor.evaluate(picture.view(), numbers)?;
                }
                _ => {
                    let mut random = Rng::new(seed, Stream::Trial, i as u32 + 1, turn as u32);
                    numbers.iter_mut().for_each(|x| *x = random.next_u32() as f32 / u32::MAX as f32);
                }
            }
        }
        self.session.run();
        self.outputs.iter().map(|output| self.session.output_tensor(output).map_err(refuse)).collect()
    }
}

fn fits(shape: &[usize], settings: &Preprocess) -> bool {
    let [height, width] = settings.size.map(|side| side as usize);
    shape == [1, settings.channels, height, width] && settings.validate().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_graph::{Builder, Dense, initialise};

    fn found(outputs: usize) -> Found {
        let mut b = Builder::new("tiny");
        let x = b.input("x", [1, 3, 4, 6]);
        let flat = b.flatten("flat", x);
        for i in 0..outputs {
            let y = b.linear(&format!("fc{i}"), flat, Dense::new(2));
            b.output(&format!("y{i}"), y);
        }
        let graph = b.finish().unwrap();
        let mut found = open(&Ask::word("lenet")).unwrap();
        found.weights = Some(initialise(&graph, 3));
        found.graph = graph;
        found
    }

    #[test]
    fn other_numbers_other_outputs_and_no_numbers_are_noticed() {
        let (sound, trial) = (found(2), Trial::default());
        assert_eq!(compare(&sound, &sound, &trial).unwrap().worst, 0.0);
        let mut other = sound.clone();
        let weight = other.weights.as_mut().unwrap().get_mut("fc1.weight").unwrap();
        weight.data_mut()[5] *= 1.01;
        let agreement = compare(&sound, &other, &trial).unwrap();
        assert!(
            agreement.worst > VERIFY_LIMIT && agreement.output == "y1" && agreement.random,
            "{agreement:?}"
        );
        let weight = other.weights.as_mut().unwrap().get_mut("fc1.weight").unwrap();
        weight.data_mut()[5] = f32::NAN;
        assert!(compare(&sound, &other, &trial).unwrap().worst.is_nan());
        let sentence = compare(&sound, &found(1), &trial).unwrap_err().to_string();
        assert!(sentence.contains("y0, y1 from x") && sentence.contains("y0 from x"), "{sentence}");
    }

    #[test]
    fn what_fails_is_not_written() {
        let place = tempfile::tempdir().unwrap();
        let mut broken = found(1);
        // A number that no sum survives: both sides agree on that, so the file is sound.
        let weights = broken.weights.as_mut().unwrap();
        weights.get_mut("fc0.bias").unwrap().data_mut()[0] = f32::NAN;
        let path = place.path().join("net.onnx");
        save_verified(&broken, &path, &SaveOptions::default(), &Trial::default()).unwrap();
        assert!(path.is_file());
        let picture = Image { width: 6, height: 4, channels: 3, pixels: vec![100; 72] };
        let trial = Trial { pictures: vec![("p.png".into(), picture)], ..Trial::default() };
        // Without weights there is nothing to compare; nothing is left behind either.
        broken.weights = None;
        let gone = place.path().join("none.onnx");
        let sentence =
            save_verified(&broken, &gone, &SaveOptions::default(), &trial).unwrap_err().to_string();
        assert!(sentence.contains("--untrained") && !gone.exists(), "{sentence}");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
