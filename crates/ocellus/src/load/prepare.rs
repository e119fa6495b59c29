//! How does a picture become the input of a network that does not say so itself?
//!
//! Given once, by flags or by a TOML of the model's name beside it, and kept in the model from then on. In this order:
//!
//! ```text
//! decode -> resize (fit) -> crop the middle -> order of channels -> (pixel * scale - mean) / std
//! ```
//!
//! Pixels are 0 to 255. `mean` and `std` are numbers of scaled pixels, one for all channels or one for each, in the
//! order in which the channels are fed: with `bgr` blue comes first. Caffe's `transform_param { mean_value, scale: s }`,
//! which is (pixel - mean) * s, is `scale = 1`, that mean, and `std = 1 / s`.

use std::path::{Path, PathBuf};

use ocellus_data::{ChannelOrder, Fit, Preprocess};
use ocellus_formats::{FormatError, Kind, caffe, npy};
use ocellus_tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Found, LoadError, with_image_input};

/// What a mean image is called among the network's parameters.
const MEAN_IMAGE: &str = "mean_image";
/// The longest TOML that is read, in bytes.
const LONGEST: u64 = 4 << 20;
/// The longest list of class names that is read, in bytes.
const LONGEST_LABELS: u64 = 64 << 20;

/// Preprocessing as it is given; what is `None` stays as it is, or as is usual.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Preparation {
    /// The shorter side before the crop (both sides with `fit = "stretch"` and a square input), in pixels.
    pub resize: Option<u32>,
    /// How pictures of another shape fit: `crop` (the default), `stretch` or `letterbox`.
    pub fit: Option<Fit>,
    /// Height and width of what is cut from the middle: the network's input.
    pub crop: Option<u32>,
    /// Blue, green, red instead of red, green, blue.
    pub bgr: Option<bool>,
    /// What a pixel, 0 to 255, is multiplied by first: 1 for Caffe's networks, 1/255 for all others.
    pub scale: Option<f64>,
    /// Means of scaled pixels, in the order of the channels fed.
    pub mean: Option<Vec<f32>>,
    /// Standard deviations of scaled pixels.
    pub std: Option<Vec<f32>>,
    /// A mean image instead of means: Caffe's binaryproto, or an array (C, H, W) in a .npy file.
    pub mean_file: Option<PathBuf>,
    /// Whether reducing averages over all pixels (as Pillow does) or takes the four nearest (as OpenCV does): false
    /// for Caffe's networks, true for all others.
    pub antialias: Option<bool>,
    /// A file with one class name per line, by class index.
    pub labels: Option<PathBuf>,
    /// The class names themselves.
    pub classes: Option<Vec<String>>,
}

impl Preparation {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Preparation::default()
    }

    /// All that is known about a model, to be kept beside it.
    pub fn of(preprocess: Option<&Preprocess>, classes: &[String]) -> Preparation {
        let classes = (!classes.is_empty()).then(|| classes.to_vec());
        let mut said = Preparation { classes, ..Preparation::default() };
        if let Some(known) = preprocess {
            let [height, width] = known.size;
            said.resize = known.resize;
            said.fit = Some(known.fit);
            said.crop = (height == width).then_some(height);
            said.bgr = Some(known.order == ChannelOrder::Bgr);
            said.scale = Some(known.scale);
            said.mean = Some(known.mean.clone());
            said.std = Some(known.std.clone());
            said.antialias = Some(known.antialias);
        }
        said
    }

    /// The TOML that [`Preparation::beside`] reads.
    pub fn to_toml(&self) -> Result<String, LoadError> {
        toml::to_string(self)
            .map_err(|cause| LoadError::Setting(format!("preprocessing cannot be kept: {cause}")))
    }

    /// Reads the TOML that stands beside a model: its name with the ending `.toml`, in the place of its own or behind it.
    ///
    /// Paths in it begin at its folder. An error if it cannot be understood.
    pub fn beside(model: &Path) -> Result<Option<Preparation>, LoadError> {
        let Some(path) = path_beside(model) else { return Ok(None) };
        let text = read_limited(&path, LONGEST)?;
        let mut given: Preparation = toml::from_str(&text).map_err(|cause| {
            let what = format!("it is no description of preprocessing ({})", cause.message());
            FormatError::malformed(path.display().to_string(), what, "mend it or move it away")
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for file in [&mut given.mean_file, &mut given.labels].into_iter().flatten() {
            *file = folder.join(&*file);
        }
        Ok(Some(given))
    }

    /// Puts what is said here into the model, over what it says itself.
    ///
    /// Errors: the network does not take one image, a file cannot be read, or the settings do not fit the network.
    pub fn apply(&self, found: &mut Found) -> Result<(), LoadError> {
        if let Some(classes) = &self.classes {
            found.classes = classes.clone();
            check_labels(found, Path::new("the classes"))
                .map_err(|cause| LoadError::Setting(cause.to_string()))?;
        }
        if let Some(file) = &self.labels {
            found.classes = read_labels(file)?;
            check_labels(found, file)?;
        }
        if (Preparation { labels: None, classes: None, ..self.clone() }).is_empty() {
            return Ok(());
        }
        found.take_pictures()?;
        if let Some(side) = self.crop {
            let shape = image_shape(found)?;
            found.graph = with_image_input(&found.graph, [shape[0], shape[1], side as usize, side as usize])?;
        }
        let mut preprocess = current(found)?;
        self.settings(&mut preprocess)?;
        preprocess.validate()?;
        if let Some(file) = &self.mean_file {
            if self.mean.is_some() {
                return Err(LoadError::Setting("a mean and a mean file are given; give one".into()));
            }
            subtract_image(found, &mut preprocess, file)?;
        }
        if preprocess.scale < 0.5 && preprocess.mean.iter().any(|&mean| mean > 1.0) {
            found
                .notes
                .push("a mean is above 1, but pixels are scaled to 0 to 1; is --scale 1 meant?".into());
        }
        found.preprocess = serde_json::to_value(&preprocess).ok();
        Ok(())
    }

    /// Puts what stands beside the model `file`, if anything does, into the model that was found there.
    pub(super) fn apply_beside(file: &Path, found: &mut Found) -> Result<(), LoadError> {
        let (Some(path), Some(beside)) = (path_beside(file), Preparation::beside(file)?) else {
            return Ok(());
        };
        beside.apply(found).map_err(|cause| match cause {
            LoadError::Format(_) => cause,
            what => {
                let what = format!("{}: {what}", path.display());
                let next = if what.contains("; ") { "" } else { "; mend it or move it away" };
                LoadError::Setting(what + next)
            }
        })
    }

    fn settings(&self, preprocess: &mut Preprocess) -> Result<(), LoadError> {
        preprocess.resize = self.resize.or(preprocess.resize);
        preprocess.fit = self.fit.unwrap_or(preprocess.fit);
        preprocess.antialias = self.antialias.unwrap_or(preprocess.antialias);
        preprocess.scale = self.scale.unwrap_or(preprocess.scale);
        if let Some(bgr) = self.bgr {
            preprocess.order = if bgr { ChannelOrder::Bgr } else { ChannelOrder::Rgb };
        }
        let channels = preprocess.channels;
        let each = |what: &str, given: &Vec<f32>| match given.as_slice() {
            &[one] => Ok(vec![one; channels]),
            all if all.len() == channels => Ok(all.to_vec()),
            all => Err(LoadError::Setting(format!(
                "{} numbers for the {what} of {channels} channels; give {channels}, or 1 for all",
                all.len()
            ))),
        };
        if let Some(mean) = &self.mean {
            preprocess.mean = each("mean", mean)?;
        }
        if let Some(std) = &self.std {
            preprocess.std = each("standard deviation", std)?;
        }
        Ok(())
    }
}

impl Found {
    /// Turns a network that takes its pictures with their channels last, (N, H, W, C), as TensorFlow has them, into one
    /// that takes them second.
    pub fn take_pictures(&mut self) -> Result<(), LoadError> {
        let image = self.graph.inputs().iter().find(|&&id| self.graph.shape(id).rank() == 4);
        let Some((name, shape)) = image.map(|&id| (self.graph.value(id).name.clone(), self.graph.shape(id)))
        else {
            return Ok(());
        };
        let is_colour = |channels: usize| matches!(channels, 1 | 3);
        let &[_, height, width, channels] = shape.dims() else { return Ok(()) };
        if is_colour(channels) && !is_colour(height) && width > channels {
            self.graph = self.graph.with_channels_second(&name)?;
            self.notes.push(format!("its input {name} has its channels last; it takes them second here"));
        }
        Ok(())
    }
}

/// The TOML of a model's name beside it.
fn path_beside(model: &Path) -> Option<PathBuf> {
    let mut behind = model.as_os_str().to_owned();
    behind.push(".toml");
    [model.with_extension("toml"), PathBuf::from(behind)].into_iter().find(|path| path.is_file())
}

/// What the model says now, or what is usual for networks of its origin.
pub(super) fn current(found: &Found) -> Result<Preprocess, LoadError> {
    let [_, channels, height, width] = image_shape(found)?;
    let size = [height, width].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    if let Some(value) = &found.preprocess {
        let known: Preprocess = serde_json::from_value(value.clone()).map_err(|cause| {
            LoadError::Setting(format!(
                "{}: its preprocessing cannot be understood ({cause})",
                found.graph.name
            ))
        })?;
        return Ok(Preprocess { size, ..known });
    }
    let usual = Preprocess::new(channels, size);
    let from_caffe = matches!(found.file, Some((_, Kind::Prototxt | Kind::CaffeModel)));
    Ok(if from_caffe { Preprocess { scale: 1.0, antialias: false, ..usual } } else { usual })
}

/// The shape (N, C, H, W) of the network's input.
pub(super) fn image_shape(found: &Found) -> Result<[usize; 4], LoadError> {
    let shapes: Vec<_> = found.graph.inputs().iter().map(|&id| found.graph.shape(id)).collect();
    let images: Vec<[usize; 4]> = shapes.iter().filter_map(|shape| shape.dims().try_into().ok()).collect();
    images.first().copied().ok_or_else(|| {
        LoadError::Setting(format!(
            "the network {} takes no image (N, C, H, W), so there is nothing to prepare",
            found.graph.name
        ))
    })
}

/// Reads class names, one per line.
pub fn read_labels(path: &Path) -> Result<Vec<String>, LoadError> {
    let text = read_limited(path, LONGEST_LABELS)?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_string).collect())
}

fn check_labels(found: &Found, file: &Path) -> Result<(), LoadError> {
    let outputs = found.graph.outputs().iter().map(|output| found.graph.shape(output.value).get(1).copied());
    let counts: Vec<usize> = outputs.flatten().collect();
    let names = found.classes.len();
    if counts.is_empty() || counts.contains(&names) {
        return Ok(());
    }
    let what =
        format!("it names {names} classes, the network {} gives {} scores", found.graph.name, counts[0]);
    Err(FormatError::malformed(file.display().to_string(), what, "give one name per line and class").into())
}

fn read_limited(path: &Path, most: u64) -> Result<String, LoadError> {
    let length = std::fs::metadata(path).map_err(|cause| LoadError::read(path, cause))?.len();
    if length > most {
        let what = format!("it has {length} bytes, more than {most}");
        return Err(FormatError::malformed(path.display().to_string(), what, "give another file").into());
    }
    std::fs::read_to_string(path).map_err(|cause| LoadError::read(path, cause))
}

/// The mean image joins the network, since it is one number per pixel: (pixel * scale - image) / std is
/// pixel * scale / std minus image / std.
fn subtract_image(found: &mut Found, preprocess: &mut Preprocess, file: &Path) -> Result<(), LoadError> {
    let [_, channels, height, width] = image_shape(found)?;
    let is_array = Kind::of(file)? == Some(Kind::Npy);
    let image = if is_array { npy::read(file)? } else { caffe::read_mean(file)? };
    let mut image = middle(&image, [channels, height, width]).ok_or_else(|| {
        let what = format!(
            "a mean image of shape {} does not cover the input ({channels}, {height}, {width})",
            image.shape()
        );
        FormatError::malformed(
            file.display().to_string(),
            what,
            "give the mean image that belongs to the network",
        )
    })?;
    let plane = height * width;
    for (pixels, std) in image.data_mut().chunks_exact_mut(plane.max(1)).zip(&preprocess.std) {
        pixels.iter_mut().for_each(|x| *x /= std);
    }
    let input = found.graph.inputs().iter().find(|&&id| found.graph.shape(id).rank() == 4);
    let Some(name) = input.map(|&id| found.graph.value(id).name.clone()) else { return Ok(()) };
    if found.graph.find_param(MEAN_IMAGE).is_none() {
        found.graph = found.graph.with_mean_image(&name, MEAN_IMAGE)?;
    }
    preprocess.mean = vec![0.0; channels];
    if let Some(weights) = &mut found.weights {
        weights.insert(MEAN_IMAGE.into(), image);
    }
    Ok(())
}

/// The middle (C, H, W) of an image (C, H', W') or (1, C, H', W'); `None` if that is smaller.
fn middle(image: &Tensor, [channels, height, width]: [usize; 3]) -> Option<Tensor> {
    let [own_channels, own_height, own_width] = match *image.shape().dims() {
        [1, c, h, w] | [c, h, w] => [c, h, w],
        _ => return None,
    };
    if own_channels != channels || own_height < height || own_width < width {
        return None;
    }
    let (top, left) = ((own_height - height) / 2, (own_width - width) / 2);
    let at = |i: usize| {
        let (c, y, x) = (i / (height * width), i / width % height, i % width);
        image.data()[(c * own_height + top + y) * own_width + left + x]
    };
    Some(Tensor::from_fn([channels, height, width], at))
}

/// What torchvision does for ImageNet, if these are weights of a network for that.
pub(super) fn usual(found: &mut Found) -> Option<Value> {
    let [_, channels, height, width] = image_shape(found).ok()?;
    let output = found.graph.find_output("output")?;
    let of_imagenet = [channels, found.graph.shape(output).get(1).copied()?] == [3, 1000] && height >= 224;
    if !of_imagenet || height != width {
        return None;
    }
    let side = u32::try_from(height).ok()?;
    let preprocess = Preprocess { resize: Some(side * 8 / 7), ..Preprocess::new(3, [side; 2]) }
        .normalised(vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]);
    found.notes.push(
        "pictures are prepared as torchvision does for ImageNet; flags such as --mean change that".into(),
    );
    serde_json::to_value(preprocess).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_graph::{Builder, Dense};

    fn found(channels: usize) -> Found {
        let mut b = Builder::new("tiny");
        let x = b.input("x", [1, channels, 4, 6]);
        let x = b.flatten("flat", x);
        let x = b.linear("fc", x, Dense::new(2));
        b.output("scores", x);
        let graph = b.finish().unwrap();
        let weights =
            graph.params().iter().map(|p| (p.name.clone(), Tensor::full(p.shape.clone(), 1.0))).collect();
        Found {
            weights: Some(weights),
            file: Some(("n.prototxt".into(), Kind::Prototxt)),
            ..Found::new(graph)
        }
    }

    fn preprocess(found: &Found) -> Preprocess {
        serde_json::from_value(found.preprocess.clone().unwrap()).unwrap()
    }

    #[test]
    fn what_is_said_wins_and_the_rest_is_as_the_origin_has_it() {
        let mut model = found(3);
        let given =
            Preparation { bgr: Some(true), mean: Some(vec![104.0, 117.0, 123.0]), ..Default::default() };
        given.apply(&mut model).unwrap();
        let settings = preprocess(&model);
        assert_eq!((settings.scale, settings.antialias, settings.size), (1.0, false, [4, 6]));
        assert_eq!((settings.order, settings.mean[0]), (ChannelOrder::Bgr, 104.0));
        Preparation { std: Some(vec![2.0]), ..Default::default() }.apply(&mut model).unwrap();
        assert_eq!((preprocess(&model).std, preprocess(&model).mean[2]), (vec![2.0; 3], 123.0));
        let wrong = Preparation { mean: Some(vec![1.0, 2.0]), ..Default::default() }.apply(&mut model);
        assert!(wrong.unwrap_err().to_string().contains("2 numbers for the mean of 3 channels"));
    }

    #[test]
    fn a_mean_image_joins_the_network_divided_by_the_deviation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mean.npy");
        npy::write(&path, &Tensor::from_fn([1, 6, 6], |i| i as f32)).unwrap();
        let mut model = found(1);
        let given = Preparation { mean_file: Some(path.clone()), std: Some(vec![2.0]), ..Default::default() };
        given.apply(&mut model).unwrap();
        let image = &model.weights.as_ref().unwrap()["mean_image"];
        assert_eq!(image.shape().dims(), [1, 4, 6]);
        // The middle four rows begin at row 1.
        assert_eq!((image.data()[0], image.data()[23]), (3.0, 14.5));
        assert!(model.graph.find_param("mean_image").is_some());
        model.clone().into_model().unwrap().save(folder.path().join("m.safetensors")).unwrap();
        let sentence = given.apply(&mut found(3)).unwrap_err().to_string();
        assert!(sentence.contains("(1, 6, 6)") && sentence.contains("(3, 4, 6)"), "{sentence}");
    }

    #[test]
    fn a_toml_beside_the_model_is_found_and_its_paths_begin_there() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("net.prototxt");
        assert_eq!(Preparation::beside(&model).unwrap(), None);
        std::fs::write(
            folder.path().join("net.toml"),
            "bgr = true\nfit = \"stretch\"\nlabels = \"names.txt\"\n",
        )
        .unwrap();
        std::fs::write(folder.path().join("names.txt"), "cat\ndog\nbird\n").unwrap();
        let given = Preparation::beside(&model).unwrap().unwrap();
        assert_eq!((given.bgr, given.fit), (Some(true), Some(Fit::Stretch)));
        assert_eq!(given.labels, Some(folder.path().join("names.txt")));
        let sentence = given.apply(&mut found(3)).unwrap_err().to_string();
        assert!(sentence.contains("3 classes") && sentence.contains("2 scores"), "{sentence}");
        std::fs::write(folder.path().join("net.toml"), "colour = true\n").unwrap();
        let sentence = Preparation::beside(&model).unwrap_err().to_string();
        assert!(sentence.contains("net.toml") && sentence.contains("colour"), "{sentence}");
    }
}
