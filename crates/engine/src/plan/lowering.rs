//! The notebook in which steps and buffers are gathered while groups are lowered.
//!
//! A value may lie in the arena in plain (row-major) order, in channel blocks, in blocks of narrow numbers, or in several
//! of these: a conversion step is added the first time somebody asks for an order in which it does not lie yet.

use ocellus_graph::{Graph, Op, ParamId, Role, ValueId};
use ocellus_kernels::conv::pixel_words;
use ocellus_kernels::elementwise::Blocked;
use ocellus_kernels::format::Format;
use ocellus_kernels::layout::{BLOCK, blocked_len};
use ocellus_kernels::narrow::Coding;

use super::emit::stored_narrow;
use super::{Buffer, BufferId, Kernel, Lifetime, Narrow, Step};
use crate::passes::{Group, Home, homes};
use crate::ranges::codings;
use crate::{Options, Precision};

/// How a value lies in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Row-major N, C, H, W.
    Plain,
    /// Blocks of 16 channels: N, ceil(C/16), H, W, 16.
    Blocked,
}

/// Gathers one plan.
pub struct Lowering<'a> {
    pub graph: &'a Graph,
    pub options: &'a Options,
    pub buffers: Vec<Buffer>,
    pub prepare: Vec<Step>,
    pub steps: Vec<Step>,
    plain: Vec<Option<BufferId>>,
    blocked: Vec<Option<BufferId>>,
    /// In channel blocks of narrow numbers.
    narrow: Vec<Option<BufferId>>,
    /// Images of few channels, narrow, pixel by pixel.
    pixels: Vec<Option<BufferId>>,
    /// Images two by two, from plain order and from channel blocks.
    pairs: [Vec<Option<BufferId>>; 2],
    written: Vec<bool>,
    /// By value: how it is written in bytes, in plans of bytes.
    codings: Vec<Option<Coding>>,
    /// By value, in plans that train with bf16: whether it is made in blocks of bf16 numbers.
    stored_narrow: Vec<bool>,
    /// By value: where in a larger one it is to be made.
    homes: Vec<Option<Home>>,
    /// By value: room that was made for its parts before it.
    rooms: Vec<Option<BufferId>>,
    /// The same in narrow numbers.
    narrow_rooms: Vec<Option<BufferId>>,
}

impl<'a> Lowering<'a> {
    pub fn new(graph: &'a Graph, options: &'a Options) -> Self {
        let values = graph.values().len();
        let mut lowering = Lowering {
            graph,
            options,
            buffers: Vec::new(),
            prepare: Vec::new(),
            steps: Vec::new(),
            plain: vec![None; values],
            blocked: vec![None; values],
            narrow: vec![None; values],
            pixels: vec![None; values],
            pairs: [vec![None; values], vec![None; values]],
            written: written_params(graph),
            codings: match &options.precision {
                Precision::Int8(ranges) => codings(graph, ranges),
                _ => Vec::new(),
            },
            stored_narrow: Vec::new(),
            homes: homes(graph),
            rooms: vec![None; values],
            narrow_rooms: vec![None; values],
        };
        let params = graph.params().iter().map(|p| p.value);
        for value in params.chain(graph.inputs().iter().copied()) {
            lowering.new_plain(value, Lifetime::Persistent);
        }
        if lowering.trains_narrow() {
            lowering.stored_narrow = stored_narrow(&lowering);
        }
        lowering
    }

    /// Whether no step of the graph writes this parameter.
    pub fn is_constant(&self, param: ParamId) -> bool {
        !self.written[param.index()]
    }

    /// Whether the value is a parameter that no step writes.
    pub fn is_constant_value(&self, value: ValueId) -> bool {
        self.graph.param_of(value).is_some_and(|p| self.is_constant(p))
    }

    /// A new buffer of `len` floats.
    pub fn buffer(&mut self, name: impl Into<String>, len: usize, lifetime: Lifetime) -> BufferId {
        self.words(name, (Format::F32, len), lifetime)
    }

    /// A new buffer of so many words of these numbers.
    pub fn words(
        &mut self,
        name: impl Into<String>,
        (format, len): (Format, usize),
        lifetime: Lifetime,
    ) -> BufferId {
        self.buffers.push(Buffer {
            name: name.into(),
            format,
            len,
            lifetime,
            inside: None,
            map: 0,
            offset: 0,
        });
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// A new buffer for images in channel blocks.
    fn maps(&mut self, name: String, format: Format, [n, c, h, w]: [usize; 4]) -> BufferId {
        let id = self.words(name, (format, format.blocked_len(n, c, h, w)), Lifetime::Steps);
        self.buffers[id.index()].map = h * w * format.block();
        id
    }

    /// Room that one step needs while it runs; none for a length of 0.
    pub fn scratch(&mut self, len: usize) -> Option<BufferId> {
        (len > 0).then(|| self.buffer("scratch", len, Lifetime::Steps))
    }

    /// Room for `value` in plain order, to be written by the next step.
    pub fn define_plain(&mut self, value: ValueId) -> BufferId {
        self.new_plain(value, Lifetime::Steps)
    }

    /// Room for `value` in channel blocks, to be written by the next step.
    pub fn define_blocked(&mut self, value: ValueId) -> BufferId {
        let id = self.room(value);
        self.blocked[value.index()] = Some(id);
        id
    }

    /// Room for `value` in channel blocks, which its parts may get before it is defined.
    pub fn room(&mut self, value: ValueId) -> BufferId {
        if let Some(id) = self.rooms[value.index()] {
            return id;
        }
        let [n, c, h, w] = self.dims(value);
        let name = self.graph.value(value).name.clone();
        let id = match self.homes[value.index()] {
            Some(home) => self.part(name, home, c),
            None => self.maps(name, Format::F32, [n, c, h, w]),
        };
        self.rooms[value.index()] = Some(id);
        id
    }

    /// A part of the room of a larger value: some channels of its only image.
    pub fn part(&mut self, name: String, home: Home, channels: usize) -> BufferId {
        let whole = self.room(home.whole);
        let [_, _, h, w] = self.dims(home.whole);
        let id = self.buffer(name, blocked_len(1, channels, h, w), Lifetime::Steps);
        self.buffers[id.index()].inside = Some((whole, blocked_len(1, home.channel, h, w)));
        id
    }

    /// Whether `buffer` is the part of `home.whole` from `home.channel` on.
    pub fn lies_at(&self, buffer: BufferId, home: Home) -> bool {
        let [_, _, h, w] = self.dims(home.whole);
        let place = self.rooms[home.whole.index()].map(|room| (room, blocked_len(1, home.channel, h, w)));
        place.is_some() && self.buffers[buffer.index()].inside == place
    }

    /// Whether any step may compute in narrow numbers: in inference plans that ask for it.
    pub fn is_narrow(&self) -> bool {
        self.options.precision != Precision::F32 && !self.is_training()
    }

    /// Whether convolutions and their gradients may multiply bf16 numbers: in training plans that ask for it.
    pub fn trains_narrow(&self) -> bool {
        self.options.precision == Precision::Bf16 && self.is_training()
    }

    /// Whether parameters are updated, or gradients for that computed.
    pub fn is_training(&self) -> bool {
        let trains = |op: &Op| {
            op.writes() > 0
                || matches!(op, Op::Conv2dGradInput(_) | Op::Conv2dGradWeight(_) | Op::LossGrad(_))
        };
        self.graph.nodes().iter().any(|node| trains(&node.op))
    }

    /// How the value is written in narrow numbers, if it may be.
    pub fn coding(&self, value: ValueId) -> Option<Coding> {
        let image_like = self.graph.shape(value).nchw().is_some() && self.graph.param_of(value).is_none();
        match self.options.precision {
            Precision::Bf16 if image_like => Some(Coding::Bf16),
            Precision::Int8(_) if image_like => self.codings[value.index()],
            _ => None,
        }
    }

    /// Whether a training plan makes this value in blocks of bf16 numbers, where its maker can.
    pub fn stores_narrow(&self, value: ValueId) -> bool {
        self.stored_narrow.get(value.index()).is_some_and(|&narrow| narrow)
    }

    /// Room for `value` in channel blocks, in the numbers it is stored in, to be written by the next step.
    pub fn define_stored(&mut self, value: ValueId) -> BufferId {
        if self.stores_narrow(value) { self.define_narrow(value) } else { self.define_blocked(value) }
    }

    /// The value in channel blocks, in the numbers it lies in: for steps that read either.
    pub fn stored(&mut self, value: ValueId) -> BufferId {
        match self.blocked[value.index()] {
            None if self.trains_narrow() && self.lies_narrow(value) => self.narrow(value),
            _ => self.blocked(value),
        }
    }

    /// Whether both buffers' numbers are written alike.
    pub fn same_format(&self, a: BufferId, b: BufferId) -> bool {
        self.buffers[a.index()].format == self.buffers[b.index()].format
    }

    /// Whether the value lies in narrow numbers.
    pub fn lies_narrow(&self, value: ValueId) -> bool {
        self.narrow[value.index()].is_some()
    }

    /// The value in blocks of narrow numbers, converted if need be. It has a coding.
    pub fn narrow(&mut self, value: ValueId) -> BufferId {
        if let Some(id) = self.narrow[value.index()] {
            return id;
        }
        let from = self.blocked(value);
        let to = self.define_narrow(value);
        self.convert(value, [from, to], [Coding::F32, self.expect_coding(value)]);
        to
    }

    /// The images, of few channels, in narrow numbers, pixel by pixel.
    pub fn pixels(&mut self, value: ValueId) -> BufferId {
        if let Some(id) = self.pixels[value.index()] {
            return id;
        }
        let from = self.plain(value);
        let (dims, coding) = (self.dims(value), self.expect_coding(value));
        let [n, c, h, w] = dims;
        let words = (coding.format(), n * h * w * pixel_words(coding.format(), c));
        let name = format!("{} to pixels", self.graph.value(value).name);
        let to = self.words(&name, words, Lifetime::Steps);
        let kernel = Kernel::Narrow(Narrow::ToPixels { dims, to: coding });
        self.push(Step::new(name, kernel).reading([from]).writing([to]));
        self.pixels[value.index()] = Some(to);
        to
    }

    /// The value's images two by two, as they lie in this order.
    pub fn pairs(&mut self, value: ValueId, order: Order) -> BufferId {
        let known = |l: &Self| l.pairs[usize::from(order == Order::Blocked)][value.index()];
        if let Some(id) = known(self) {
            return id;
        }
        let [n, c, h, w] = self.dims(value);
        let (from, format, per_image) = match order {
            Order::Plain => (self.plain(value), Format::F32, c * h * w),
            Order::Blocked if self.lies_narrow(value) => {
                (self.narrow(value), self.expect_coding(value).format(), blocked_len(1, c, h, w))
            }
            Order::Blocked => (self.blocked(value), Format::F32, blocked_len(1, c, h, w)),
        };
        let name = format!("{} in pairs", self.graph.value(value).name);
        let to = self.words(&name, (Format::Bf16, n.div_ceil(2) * per_image), Lifetime::Steps);
        let kernel = Kernel::Narrow(Narrow::PairImages { images: n, format });
        self.push(Step::new(name, kernel).reading([from]).writing([to]));
        self.pairs[usize::from(order == Order::Blocked)][value.index()] = Some(to);
        to
    }

    fn expect_coding(&self, value: ValueId) -> Coding {
        self.coding(value).expect("only values with a coding are narrow")
    }

    /// Appends a conversion between blocks of numbers of two kinds.
    fn convert(&mut self, value: ValueId, [from, to]: [BufferId; 2], [of, coding]: [Coding; 2]) {
        let (name, size) = (&self.graph.value(value).name, self.size(value));
        let name = format!("{name} to {}", coding.format().name());
        let kernel = Narrow::Sum { size, from: [of, Coding::F32], to: coding, clamp: None };
        self.push(Step::new(name, Kernel::Narrow(kernel)).reading([from]).writing([to]));
    }

    /// Room for `value` in blocks of narrow numbers, to be written by the next step.
    pub fn define_narrow(&mut self, value: ValueId) -> BufferId {
        let id = self.narrow_room(value);
        self.narrow[value.index()] = Some(id);
        id
    }

    fn narrow_room(&mut self, value: ValueId) -> BufferId {
        if let Some(id) = self.narrow_rooms[value.index()] {
            return id;
        }
        let [n, c, h, w] = self.dims(value);
        let format = self.expect_coding(value).format();
        let name = self.graph.value(value).name.clone();
        let home = self.homes[value.index()].filter(|home| self.coding(home.whole) == self.coding(value));
        let id = match home {
            Some(home) => self.narrow_part(name, home, c),
            None => self.maps(name, format, [n, c, h, w]),
        };
        self.narrow_rooms[value.index()] = Some(id);
        id
    }

    /// A part of the room of a larger value in narrow numbers: some channels of its only image.
    pub fn narrow_part(&mut self, name: String, home: Home, channels: usize) -> BufferId {
        let whole = self.narrow_room(home.whole);
        let [_, _, h, w] = self.dims(home.whole);
        let format = self.expect_coding(home.whole).format();
        let id = self.words(name, (format, format.blocked_len(1, channels, h, w)), Lifetime::Steps);
        self.buffers[id.index()].inside = Some((whole, format.blocked_len(1, home.channel, h, w)));
        id
    }

    /// Whether `buffer` is the part of `home.whole` in narrow numbers from `home.channel` on.
    pub fn lies_narrow_at(&self, buffer: BufferId, home: Home) -> bool {
        let [_, _, h, w] = self.dims(home.whole);
        let format = self.expect_coding(home.whole).format();
        let start = format.blocked_len(1, home.channel, h, w);
        let place = self.narrow_rooms[home.whole.index()].map(|room| (room, start));
        place.is_some() && self.buffers[buffer.index()].inside == place
    }

    /// Lets `value` in plain order be another name for what lies in `buffer`.
    pub fn alias_plain(&mut self, value: ValueId, buffer: BufferId) {
        self.plain[value.index()] = Some(buffer);
    }

    /// Lets `value`, not made yet, be another name for `of` in every order in which that lies.
    pub fn alias(&mut self, value: ValueId, of: ValueId) {
        self.plain[value.index()] = self.plain[of.index()];
        self.blocked[value.index()] = self.blocked[of.index()];
        self.narrow[value.index()] = self.narrow[of.index()];
    }

    /// The value in plain order, converted if need be.
    pub fn plain(&mut self, value: ValueId) -> BufferId {
        if let Some(id) = self.plain[value.index()] {
            return id;
        }
        let from = match self.blocked[value.index()] {
            Some(from) => from,
            None => self.blocked(value),
        };
        let dims = self.dims(value);
        if same_in_both_orders(dims) {
            self.plain[value.index()] = Some(from);
            return from;
        }
        let to = self.define_plain(value);
        let name = format!("{} to plain order", self.graph.value(value).name);
        self.push(Step::new(name, Kernel::ToPlain { dims }).reading([from]).writing([to]));
        to
    }

    /// The value in channel blocks, converted if need be.
    pub fn blocked(&mut self, value: ValueId) -> BufferId {
        if let Some(id) = self.blocked[value.index()] {
            return id;
        }
        if let (None, Some(from)) = (self.plain[value.index()], self.narrow[value.index()]) {
            let to = self.define_blocked(value);
            self.convert(value, [from, to], [self.expect_coding(value), Coding::F32]);
            return to;
        }
        let from = self.plain[value.index()].expect("a value is made before it is read");
        let dims = self.dims(value);
        if same_in_both_orders(dims) {
            self.blocked[value.index()] = Some(from);
            return from;
        }
        let to = self.define_blocked(value);
        let name = format!("{} to channel blocks", self.graph.value(value).name);
        self.push(Step::new(name, Kernel::ToBlocked { dims }).reading([from]).writing([to]));
        to
    }

    /// Whether the value lies in plain order.
    pub fn lies_plain(&self, value: ValueId) -> bool {
        self.plain[value.index()].is_some()
    }

    /// The order in which an elementwise step should read these values: the one that converts fewer of them.
    pub fn common_order(&self, values: &[ValueId]) -> Order {
        let in_blocks = values.iter().filter(|v| !self.lies_plain(**v)).count();
        if 2 * in_blocks > values.len() || (in_blocks > 0 && 2 * in_blocks == values.len()) {
            Order::Blocked
        } else {
            Order::Plain
        }
    }

    /// The value in this order, converted if need be.
    pub fn get(&mut self, value: ValueId, order: Order) -> BufferId {
        match order {
            Order::Plain => self.plain(value),
            Order::Blocked => self.blocked(value),
        }
    }

    /// Room for `value` in this order, to be written by the next step.
    pub fn define(&mut self, value: ValueId, order: Order) -> BufferId {
        match order {
            Order::Plain => self.define_plain(value),
            Order::Blocked => self.define_blocked(value),
        }
    }

    /// The names of the group's nodes.
    pub fn group_name(&self, group: &Group) -> String {
        let names: Vec<&str> = group.nodes().map(|n| self.graph.node(n).name.as_str()).collect();
        names.join(" + ")
    }

    /// The value's sizes as N, C, H, W.
    pub fn dims(&self, value: ValueId) -> [usize; 4] {
        self.graph.shape(value).nchw().expect("only image-like values lie in channel blocks")
    }

    /// The value's sizes in channel blocks.
    pub fn size(&self, value: ValueId) -> Blocked {
        let [batch, channels, height, width] = self.dims(value);
        Blocked { batch, channels, height, width }
    }

    /// Appends a step that runs every time.
    pub fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Appends a step that runs once if `constant`, every time otherwise.
    pub fn push_packing(&mut self, step: Step, constant: bool) {
        if constant { self.prepare.push(step) } else { self.steps.push(step) }
    }

    /// How long packed numbers live: for good if what they are made of never changes.
    pub fn packed_lifetime(constant: bool) -> Lifetime {
        if constant { Lifetime::Persistent } else { Lifetime::Steps }
    }

    fn new_plain(&mut self, value: ValueId, lifetime: Lifetime) -> BufferId {
        let (name, len) = (self.graph.value(value).name.clone(), self.graph.shape(value).elements());
        let id = self.buffer(name, len, lifetime);
        self.plain[value.index()] = Some(id);
        id
    }
}

fn written_params(graph: &Graph) -> Vec<bool> {
    let mut written: Vec<bool> = graph.params().iter().map(|p| p.role == Role::State).collect();
    for node in graph.nodes() {
        for &value in &node.inputs[..node.op.writes()] {
            if let Some(param) = graph.param_of(value) {
                written[param.index()] = true;
            }
        }
    }
    written
}

/// One pixel and whole blocks of channels: both orders are the same.
fn same_in_both_orders([_, c, h, w]: [usize; 4]) -> bool {
    h * w == 1 && c % BLOCK == 0
}
