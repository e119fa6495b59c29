//! Where in the picture did the model look?
//!
//! Grad-CAM (R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017,
//! section 3). With F the last value that still has pixels, `(K, h, w)`, and s the score of a class:
//!
//! ```text
//! weight[k] = mean over pixels of ds / dF[k]          map = max(0, sum of weight[k] F[k])
//! ```
//!
//! For a network that averages F and then has one linear layer, weight[k] is that layer's weight divided by h w, and the map
//! is the class activation map of B. Zhou et al., "Learning Deep Features for Discriminative Localization", 2016.
//!
//! The network is cut at F into a head and a tail. The tail gets the score as its loss, and its gradient with respect to F
//! is what differentiation of the graph gives.

use ocellus_data::{Image, Preprocessor};
use ocellus_engine::{Options, Session};
use ocellus_formats::Model;
use ocellus_graph::ops::{Binary, BinaryKind, Reduce, ReduceKind};
use ocellus_graph::{Graph, Op, ParamSpec, Request, ValueId, differentiate};

use crate::TrainError;
use crate::predict::preprocess_of;
use crate::stepper::image_input;
use crate::validate::with_scores;

const FEATURES: &str = "features";
const CHOICE: &str = "which class";
const SLOPE: &str = "slope of the features";
/// How strongly the map covers the picture, 0 to 1.
const COVER: f64 = 0.55;
/// What remains of the light of pixels that the network never saw.
const UNSEEN: f64 = 0.35;
/// The colours of rising attention: dark blue, blue, green, yellow, red.
const COLOURS: [[f64; 3]; 5] = [
    [30.0, 20.0, 90.0],
    [40.0, 120.0, 240.0],
    [60.0, 220.0, 130.0],
    [250.0, 220.0, 60.0],
    [220.0, 40.0, 20.0],
];

/// A model ready to say where it looks.
pub struct Attention {
    head: Session,
    tail: Session,
    /// Whether the slopes depend on the features at all; behind an average they do not.
    reads_features: bool,
    image: String,
    preprocessor: Preprocessor,
    /// K, h, w of the features.
    features: [usize; 3],
    classes: usize,
}

impl Attention {
    /// Plans `model` for single pictures.
    ///
    /// Errors: the model does not say how pictures become its input, or nothing in it has pixels.
    pub fn new(model: &Model, options: &Options) -> Result<Self, TrainError> {
        let (graph, name) = with_scores(&model.graph)?;
        let graph = graph.with_batch(1)?;
        let image = image_input(&graph)?;
        let missing = || TrainError::setting(format!("{} has no output of class scores", graph.name));
        let mut scores = graph.find_output(&name).ok_or_else(missing)?;
        if let Some(node) = graph.producer(scores).map(|id| graph.node(id))
            && matches!(node.op, Op::Softmax(_))
        {
            scores = node.inputs[0];
        }
        let at = last_with_pixels(&graph, scores).ok_or_else(|| {
            TrainError::setting(format!(
                "{} has no layer with pixels whose attention could be shown",
                graph.name
            ))
        })?;
        let &[_, k, h, w] = graph.shape(at).dims() else { return Err(missing()) };
        let mut head = graph.clone();
        head.add_output(FEATURES, at);
        let mut head = Session::new(&head.prune(&[FEATURES])?, options)?;
        let tail = tail(&graph, at, scores)?;
        let mut gradients = differentiate(&tail, &Request { inputs: vec![FEATURES.into()], params: false })?;
        let slope = gradients.inputs.first().map(|(_, value)| *value).ok_or_else(missing)?;
        gradients.graph.add_output(SLOPE, slope);
        let slopes = gradients.graph.prune(&[SLOPE])?;
        let reads_features = slopes.find_input(FEATURES).is_some();
        let mut tail = Session::new(&slopes, options)?;
        head.load(&of_session(&head, model))?;
        tail.load(&of_session(&tail, model))?;
        let classes = graph.shape(scores).elements();
        let preprocessor = Preprocessor::new(&preprocess_of(model)?)?;
        Ok(Attention { head, tail, reads_features, image, preprocessor, features: [k, h, w], classes })
    }

    /// The map of `class` on `picture`, `(h, w)` row by row, 0 to 1 (all 0 if nothing speaks for the class), and its h and w.
    pub fn map(&mut self, picture: &Image, class: usize) -> Result<(Vec<f32>, [usize; 2]), TrainError> {
        if class >= self.classes {
            return Err(TrainError::setting(format!("there is no class {class}, only {}", self.classes)));
        }
        self.preprocessor.evaluate(picture.view(), self.head.input_mut(&self.image)?)?;
        self.head.run();
        let [k, h, w] = self.features;
        let features = self.head.output(FEATURES)?.to_vec();
        if self.reads_features {
            self.tail.set_input(FEATURES, &features)?;
        }
        let mut choice = vec![0.0; self.classes];
        choice[class] = 1.0;
        self.tail.set_input(CHOICE, &choice)?;
        self.tail.run();
        let slopes = self.tail.output(SLOPE)?;
        let mut map = vec![0.0_f32; h * w];
        for channel in 0..k {
            let plane = channel * h * w..(channel + 1) * h * w;
            let weight = slopes[plane.clone()].iter().sum::<f32>() / (h * w) as f32;
            map.iter_mut().zip(&features[plane]).for_each(|(m, f)| *m += weight * f);
        }
        let highest = map.iter().fold(0.0_f32, |a, &b| a.max(b));
        let scale = if highest > 0.0 { 1.0 / highest } else { 0.0 };
        map.iter_mut().for_each(|m| *m = m.max(0.0) * scale);
        Ok((map, [h, w]))
    }

    /// The picture with the map of `class` laid over it; what the network's crop left out is dark.
    pub fn picture(&mut self, picture: &Image, class: usize) -> Result<Image, TrainError> {
        self.picture_at(picture, picture, class)
    }

    /// The same map, laid over `canvas`: the picture at another size.
    pub fn picture_at(&mut self, picture: &Image, canvas: &Image, class: usize) -> Result<Image, TrainError> {
        let (map, [h, w]) = self.map(picture, class)?;
        let mut out = canvas.clone().into_channels(3)?;
        let (width, height) = (out.width, out.height);
        let scale =
            |at: u32, from: u32, to: u32| (f64::from(at) + 0.5) * f64::from(to) / f64::from(from.max(1));
        for (index, pixel) in out.pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (x, y) = (index as u32 % width, index as u32 / width);
            let at = [scale(x, width, picture.width), scale(y, height, picture.height)];
            let Some([u, v]) = self.preprocessor.input_position([picture.width, picture.height], at) else {
                *pixel = pixel.map(|value| (f64::from(value) * UNSEEN) as u8);
                continue;
            };
            let heat = between(&map, [h, w], [u, v]);
            let colour = colour(heat);
            let cover = COVER * heat.sqrt();
            for (value, over) in pixel.iter_mut().zip(colour) {
                *value = (f64::from(*value) * (1.0 - cover) + over * cover).round() as u8;
            }
        }
        Ok(out)
    }
}

/// The weights of the model that a part of it has.
fn of_session(session: &Session, model: &Model) -> ocellus_tensor::Weights {
    let own = session.weights();
    let of = |(name, tensor): (&String, &ocellus_tensor::Tensor)| (name.clone(), tensor.clone());
    model.weights.iter().filter(|(name, _)| own.contains_key(*name)).map(of).collect()
}

/// The nearest value before the scores that has more than one pixel.
fn last_with_pixels(graph: &Graph, scores: ValueId) -> Option<ValueId> {
    let mut value = scores;
    loop {
        value = *graph.node(graph.producer(value)?).inputs.first()?;
        if let &[_, _, h, w] = graph.shape(value).dims()
            && h * w > 1
        {
            return Some(value);
        }
    }
}

/// The network from `at` on, with the chosen class's score as its loss.
fn tail(graph: &Graph, at: ValueId, scores: ValueId) -> Result<Graph, TrainError> {
    let needed = graph.needed_by(&[scores]);
    let mut tail = Graph::new(format!("{} after {}", graph.name, graph.value(at).name));
    let mut now: Vec<Option<ValueId>> = vec![None; graph.values().len()];
    now[at.index()] = Some(tail.add_input(FEATURES, graph.shape(at).clone())?);
    for node in graph.nodes() {
        let is_used =
            node.outputs.iter().any(|output| needed[output.index()] && now[output.index()].is_none());
        let depends = node.inputs.iter().any(|input| now[input.index()].is_some());
        if !is_used || !depends {
            continue;
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            let value = match (now[input.index()], graph.param_of(input)) {
                (Some(value), _) => value,
                (None, Some(id)) => {
                    let param = graph.param(id);
                    let spec = ParamSpec {
                        name: param.name.clone(),
                        shape: param.shape.clone(),
                        init: param.init,
                        role: param.role,
                    };
                    tail.add_param(spec)?
                }
                (None, None) => {
                    return Err(TrainError::setting(format!(
                        "{} cannot be cut at {}: {} reads past it",
                        graph.name,
                        graph.value(at).name,
                        node.name
                    )));
                }
            };
            inputs.push(value);
        }
        let outputs = tail.add_node(node.name.clone(), node.op.clone(), inputs)?;
        for (old, new) in node.outputs.iter().zip(outputs) {
            now[old.index()] = Some(new);
        }
    }
    let lost = || TrainError::setting(format!("{}: its scores do not depend on its features", graph.name));
    let scores = now[scores.index()].ok_or_else(lost)?;
    let shape = tail.shape(scores).clone();
    let choice = tail.add_input(CHOICE, shape.clone())?;
    let chosen =
        tail.add_node("chosen", Op::Binary(Binary { kind: BinaryKind::Mul }), vec![scores, choice])?;
    let axes = (0..shape.rank()).collect();
    let sum = Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep: false });
    let score = tail.add_node("chosen score", sum, chosen)?;
    tail.add_loss("score", score[0], 1.0)?;
    Ok(tail)
}

/// The map at a place, 0 to 1 across and down, between its pixels' middles.
fn between(map: &[f32], [h, w]: [usize; 2], [u, v]: [f64; 2]) -> f64 {
    let place = |t: f64, n: usize| {
        let at = (t * n as f64 - 0.5).clamp(0.0, (n - 1) as f64);
        (at.floor() as usize, (at.floor() as usize + 1).min(n - 1), at.fract())
    };
    let ((x0, x1, s), (y0, y1, t)) = (place(u, w), place(v, h));
    let value = |x: usize, y: usize| f64::from(map[y * w + x]);
    let row = |y: usize| value(x0, y) * (1.0 - s) + value(x1, y) * s;
    row(y0) * (1.0 - t) + row(y1) * t
}

fn colour(heat: f64) -> [f64; 3] {
    let at = heat.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f64;
    let (low, share) =
        ((at as usize).min(COLOURS.len() - 2), at - (at as usize).min(COLOURS.len() - 2) as f64);
    std::array::from_fn(|i| COLOURS[low][i] * (1.0 - share) + COLOURS[low + 1][i] * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_data::Preprocess;
    use ocellus_graph::{Builder, Dense, initialise};

    /// Global average pooling and a linear layer: the map must be the class activation map.
    #[test]
    fn behind_an_average_the_map_is_the_sum_of_weighted_maps() {
        let mut b = Builder::new("gap");
        let x = b.input("x", [1, 3, 6, 6]);
        let pooled = b.global_avg_pool("gap", x);
        let flat = b.flatten("flat", pooled);
        let y = b.linear("fc", flat, Dense::new(2));
        b.output("output", y);
        let graph = b.finish().unwrap();
        let mut weights = initialise(&graph, 0);
        let fc = ocellus_tensor::Tensor::new([2, 3], vec![1.0, -1.0, 0.0, 0.0, 0.0, 2.0]).unwrap();
        weights.insert("fc.weight".into(), fc);
        let preprocess = Preprocess::new(3, [6, 6]);
        let model = Model {
            graph,
            weights,
            classes: Vec::new(),
            preprocess: serde_json::to_value(&preprocess).ok(),
            info: Default::default(),
        };
        let mut attention = Attention::new(&model, &Options::default()).unwrap();
        // Red on the left, green on the right: class 0 wants red and no green.
        let pixel = |i: usize| if i % 6 < 3 { [200, 0, 0] } else { [0, 200, 10] };
        let picture = Image { width: 6, height: 6, channels: 3, pixels: (0..36).flat_map(pixel).collect() };
        let (map, size) = attention.map(&picture, 0).unwrap();
        assert_eq!(size, [6, 6]);
        assert!(map.iter().enumerate().all(|(i, &m)| m == if i % 6 < 3 { 1.0 } else { 0.0 }), "{map:?}");
        let (map, _) = attention.map(&picture, 1).unwrap();
        assert!(map.iter().enumerate().all(|(i, &m)| m == if i % 6 < 3 { 0.0 } else { 1.0 }), "{map:?}");
        let shown = attention.picture(&picture, 0).unwrap();
        assert_eq!(shown.pixels[3 * 5..3 * 6], [0, 200, 10], "nothing is laid where nothing was looked at");
        assert_ne!(shown.pixels[..3], [200, 0, 0]);
        assert!(attention.map(&picture, 2).is_err());
    }
}
