//! The notebook in which steps and buffers are gathered while groups are lowered.
//!
//! A value may lie in the arena in plain (row-major) order, in channel blocks, or in both: a conversion step is added
//! the first time somebody asks for the order in which it does not lie yet.

use ocellus_graph::{Graph, ParamId, Role, ValueId};
use ocellus_kernels::elementwise::Blocked;
use ocellus_kernels::layout::{BLOCK, blocked_len};

use super::{Buffer, BufferId, Kernel, Lifetime, Step};
use crate::Options;
use crate::passes::{Group, Home, homes};

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
    written: Vec<bool>,
    /// By value: where in a larger one it is to be made.
    homes: Vec<Option<Home>>,
    /// By value: room that was made for its parts before it.
    rooms: Vec<Option<BufferId>>,
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
            written: written_params(graph),
            homes: homes(graph),
            rooms: vec![None; values],
        };
        let params = graph.params().iter().map(|p| p.value);
        for value in params.chain(graph.inputs().iter().copied()) {
            lowering.new_plain(value, Lifetime::Persistent);
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
        self.buffers.push(Buffer { name: name.into(), len, lifetime, inside: None, offset: 0 });
        BufferId(self.buffers.len() as u32 - 1)
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
            None => self.buffer(name, blocked_len(n, c, h, w), Lifetime::Steps),
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

    /// Lets `value` in plain order be another name for what lies in `buffer`.
    pub fn alias_plain(&mut self, value: ValueId, buffer: BufferId) {
        self.plain[value.index()] = Some(buffer);
    }

    /// Lets `value`, not made yet, be another name for `of` in every order in which that lies.
    pub fn alias(&mut self, value: ValueId, of: ValueId) {
        self.plain[value.index()] = self.plain[of.index()];
        self.blocked[value.index()] = self.blocked[of.index()];
    }

    /// The value in plain order, converted if need be.
    pub fn plain(&mut self, value: ValueId) -> BufferId {
        if let Some(id) = self.plain[value.index()] {
            return id;
        }
        let from = self.blocked[value.index()].expect("a value is made before it is read");
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
