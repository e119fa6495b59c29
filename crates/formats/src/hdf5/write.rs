//! HDF5 files written: groups of groups, arrays of numbers, single whole numbers and texts.
//!
//! ```text
//! superblock | object headers, those of groups before those of what lies in them | the arrays' numbers, in that order
//! ```
//!
//! The oldest superblock and object headers are used, which every HDF5 library since 1.8 reads; groups keep their links
//! in their headers, arrays lie in one piece. Source: HDF5 File Format Specification, version 3, II.A, IV.A.1.a, IV.A.2.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::MAGIC;

/// Bytes of the superblock, version 0 with addresses of eight bytes.
const SUPERBLOCK: u64 = 96;

/// An address that there is none.
const NOWHERE: u64 = u64::MAX;

/// Writes an array's numbers, each four bytes, little-endian.
type Fill<'a> = Box<dyn Fn(&mut dyn Write) -> io::Result<()> + 'a>;

/// What lies in a group under a name, groups aside.
pub(crate) enum Array<'a> {
    /// Numbers of 32 bits; `fill` writes as many as the sizes say.
    Numbers { sizes: Vec<usize>, fill: Fill<'a> },
    /// A list of one whole number.
    Whole(i32),
    /// One text.
    Text(&'a str),
}

/// Named groups and arrays.
#[derive(Default)]
pub(crate) struct Group<'a> {
    groups: BTreeMap<String, Group<'a>>,
    arrays: BTreeMap<String, Array<'a>>,
}

impl<'a> Group<'a> {
    /// The group `name` inside this one.
    pub fn group(&mut self, name: &str) -> &mut Group<'a> {
        self.groups.entry(name.to_string()).or_default()
    }

    /// Puts an array under a name.
    pub fn add(&mut self, name: impl Into<String>, array: Array<'a>) {
        self.arrays.insert(name.into(), array);
    }

    /// Writes the file whose root this group is.
    ///
    /// Errors: two things of one name in a group, more than 65,000 of them, a name of more than 60,000 bytes; a sink
    /// that does not take the bytes.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut objects = vec![Object { what: What::Group(self, 0), address: 0, data: NOWHERE }];
        let mut next = 0;
        while let Some(object) = objects.get(next) {
            next += 1;
            if let What::Group(group, _) = object.what {
                group.check()?;
                let first = objects.len();
                objects[next - 1].what = What::Group(group, first);
                let inner = group.groups.values().map(|group| What::Group(group, 0));
                let all = inner.chain(group.arrays.values().map(What::Array));
                objects.extend(all.map(|what| Object { what, address: 0, data: NOWHERE }));
            }
        }
        let mut end = SUPERBLOCK;
        for object in &mut objects {
            object.address = end;
            end += object.header_size();
        }
        for object in &mut objects {
            if let What::Array(array) = object.what
                && array.bytes() > 0
            {
                object.data = end;
                end += array.bytes().next_multiple_of(8);
            }
        }
        out.write_all(&superblock(objects[0].address, end))?;
        for object in &objects {
            out.write_all(&object.header(&objects))?;
        }
        for object in &objects {
            if let What::Array(array) = object.what {
                array.fill(out)?;
                let bytes = array.bytes();
                out.write_all(&[0; 8][..(bytes.next_multiple_of(8) - bytes) as usize])?;
            }
        }
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        let fault = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if let Some(name) = self.arrays.keys().find(|name| self.groups.contains_key(*name)) {
            return fault(format!("{name} would be a group and an array"));
        }
        if self.groups.len() + self.arrays.len() > 65_000 {
            return fault(format!("{} things in one group", self.groups.len() + self.arrays.len()));
        }
        let mut names = self.groups.keys().chain(self.arrays.keys());
        match names.find(|name| name.is_empty() || name.len() > 60_000) {
            Some(name) => fault(format!("a name of {} bytes", name.len())),
            None => Ok(()),
        }
    }
}

impl Array<'_> {
    /// Bytes of the contents.
    fn bytes(&self) -> u64 {
        match self {
            Array::Numbers { sizes, .. } => 4 * sizes.iter().product::<usize>() as u64,
            Array::Whole(_) => 4,
            Array::Text(text) => text.len() as u64 + 1,
        }
    }

    fn fill(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Array::Numbers { fill, .. } => fill(out),
            Array::Whole(number) => out.write_all(&number.to_le_bytes()),
            Array::Text(text) => out.write_all(text.as_bytes()).and_then(|()| out.write_all(&[0])),
        }
    }

    /// How many axes, and their sizes.
    fn dataspace(&self) -> Vec<u8> {
        let sizes = match self {
            Array::Numbers { sizes, .. } => sizes.as_slice(),
            Array::Whole(_) => &[1],
            Array::Text(_) => &[],
        };
        let mut message = vec![1, sizes.len() as u8, 0, 0, 0, 0, 0, 0];
        sizes.iter().for_each(|&size| message.extend((size as u64).to_le_bytes()));
        message
    }

    fn datatype(&self) -> Vec<u8> {
        match self {
            // IEEE, little-endian: the sign is bit 31, eight bits of exponent from 23 on, 127 more than it is.
            Array::Numbers { .. } => {
                vec![0x11, 0x20, 31, 0, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0]
            }
            // In twos complement.
            Array::Whole(_) => vec![0x10, 8, 0, 0, 4, 0, 0, 0, 0, 0, 32, 0],
            // Ends with a zero, as texts of C do.
            Array::Text(_) => {
                let mut message = vec![0x13, 0, 0, 0];
                message.extend((self.bytes() as u32).to_le_bytes());
                message
            }
        }
    }
}

/// A group, with the place of the first thing in it among all objects, or an array.
#[derive(Clone, Copy)]
enum What<'o, 'a> {
    Group(&'o Group<'a>, usize),
    Array(&'o Array<'a>),
}

/// What has an object header.
struct Object<'o, 'a> {
    what: What<'o, 'a>,
    /// Where its header lies.
    address: u64,
    /// Where its numbers lie.
    data: u64,
}

impl Object<'_, '_> {
    fn header_size(&self) -> u64 {
        let messages = match self.what {
            What::Group(group, _) => {
                let names = group.groups.keys().chain(group.arrays.keys());
                32 + 16 + names.map(|name| 8 + (13 + name.len()).next_multiple_of(8)).sum::<usize>()
            }
            What::Array(array) => {
                let sizes = [array.dataspace().len(), array.datatype().len(), 8, 18];
                sizes.into_iter().map(|size| 8 + size.next_multiple_of(8)).sum()
            }
        };
        16 + messages as u64
    }

    /// The header, version 1; `all` objects tell where those in a group lie.
    fn header(&self, all: &[Object]) -> Vec<u8> {
        let mut messages = Messages::default();
        match self.what {
            What::Group(group, first) => {
                // No heap: the links stand here.
                let mut info = vec![0, 0];
                info.extend([0xff; 16]);
                messages.add(0x02, &info);
                messages.add(0x0a, &[0, 0]);
                let names = group.groups.keys().chain(group.arrays.keys());
                for (name, object) in names.zip(&all[first..]) {
                    // The length of the name takes two bytes, and it is UTF-8.
                    let mut link = vec![1, 0x11, 1];
                    link.extend((name.len() as u16).to_le_bytes());
                    link.extend(name.as_bytes());
                    link.extend(object.address.to_le_bytes());
                    messages.add(0x06, &link);
                }
            }
            What::Array(array) => {
                messages.add(0x01, &array.dataspace());
                messages.add(0x03, &array.datatype());
                messages.add(0x05, &[2, 2, 2, 1, 0, 0, 0, 0]); // filled with zeros where nothing was written
                let mut layout = vec![3, 1];
                layout.extend(self.data.to_le_bytes());
                layout.extend(array.bytes().to_le_bytes());
                messages.add(0x08, &layout);
            }
        }
        let mut header = vec![1, 0];
        header.extend(messages.count.to_le_bytes());
        header.extend(1_u32.to_le_bytes()); // one link leads here
        header.extend((messages.bytes.len() as u32).to_le_bytes());
        header.extend([0; 4]);
        header.extend(messages.bytes);
        header
    }
}

#[derive(Default)]
struct Messages {
    bytes: Vec<u8>,
    count: u16,
}

impl Messages {
    fn add(&mut self, kind: u16, body: &[u8]) {
        let size = body.len().next_multiple_of(8);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend((size as u16).to_le_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len() + size - body.len(), 0);
        self.count += 1;
    }
}

fn superblock(root: u64, end: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([0, 0, 0, 0, 0, 8, 8, 0]); // versions; addresses and lengths take eight bytes
    bytes.extend([4, 0, 16, 0, 0, 0, 0, 0]); // how trees of links branch, which are not used
    for address in [0, NOWHERE, end, NOWHERE, 0, root] {
        bytes.extend(address.to_le_bytes());
    }
    bytes.resize(SUPERBLOCK as usize, 0);
    bytes
}
