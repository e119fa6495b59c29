//! How are the blocks of output channels grouped into panels of a few vectors?

/// Blocks of 16 output channels, split into panels of at most `vectors` (a power of two) blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Panels {
    pub blocks: usize,
    pub vectors: usize,
}

/// A panel: its first block of output channels, and how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Panel {
    pub block: usize,
    pub vectors: usize,
}

impl Panels {
    /// How many panels there are.
    pub fn count(&self) -> usize {
        self.blocks / self.vectors + (self.blocks % self.vectors).count_ones() as usize
    }

    /// The `index`-th panel: full ones first, the rest in powers of two.
    pub fn get(&self, index: usize) -> Panel {
        let full = self.blocks / self.vectors;
        if index < full {
            return Panel { block: index * self.vectors, vectors: self.vectors };
        }
        let mut block = full * self.vectors;
        for _ in full..index {
            block += 1 << (self.blocks - block).ilog2();
        }
        Panel { block, vectors: 1 << (self.blocks - block).ilog2() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_cover_every_block_once() {
        for vectors in [1, 2, 4] {
            for blocks in 1..12 {
                let panels = Panels { blocks, vectors };
                let mut next = 0;
                for panel in (0..panels.count()).map(|i| panels.get(i)) {
                    assert_eq!(panel.block, next);
                    assert!(panel.vectors <= vectors);
                    next += panel.vectors;
                }
                assert_eq!(next, blocks);
            }
        }
    }
}
