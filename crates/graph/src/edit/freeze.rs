//! Parameters that training leaves alone.

use crate::{Graph, GraphError};

impl Graph {
    /// Freezes every parameter whose name matches `pattern`, in which `*` stands for any run of letters.
    ///
    /// Refused: a pattern that matches nothing.
    ///
    /// ```
    /// # use ocellus_graph::{Builder, Dense};
    /// let mut b = Builder::new("net");
    /// let x = b.input("x", [1, 8]);
    /// let x = b.linear("body.fc", x, Dense::new(8));
    /// let x = b.linear("head", x, Dense::new(2));
    /// b.output("output", x);
    /// let graph = b.finish()?.freeze("body.*")?;
    /// let frozen = graph.params().iter().filter(|param| param.frozen).count();
    /// assert_eq!(frozen, 2);
    /// # Ok::<(), ocellus_graph::GraphError>(())
    /// ```
    pub fn freeze(&self, pattern: &str) -> Result<Graph, GraphError> {
        let chosen: Vec<bool> = self.params().iter().map(|param| matches(pattern, &param.name)).collect();
        if !chosen.contains(&true) {
            return Err(self.missing("parameter", pattern));
        }
        Ok(self.frozen(&chosen))
    }

    /// Freezes every parameter that the first output of `node` depends on, its own included.
    pub fn freeze_until(&self, node: &str) -> Result<Graph, GraphError> {
        let id = self.find_node(node).ok_or_else(|| self.missing("node", node))?;
        let needed = self.needed_by(&self.node(id).outputs);
        let chosen: Vec<bool> = self.params().iter().map(|param| needed[param.value.index()]).collect();
        Ok(self.frozen(&chosen))
    }

    fn frozen(&self, chosen: &[bool]) -> Graph {
        let mut graph = self.clone();
        for (index, _) in chosen.iter().enumerate().filter(|(_, chosen)| **chosen) {
            graph.param_mut(crate::ParamId(index as u32)).frozen = true;
        }
        graph
    }
}

/// Whether `name` is `pattern` with some run of letters for each `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    // The earliest place for each piece leaves the most for the others.
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_run() {
        assert!(matches("conv1.weight", "conv1.weight"));
        assert!(!matches("conv1", "conv1.weight"));
        assert!(matches("layer*.bn*.weight", "layer1.0.bn2.weight"));
        assert!(!matches("layer*.bn*.weight", "layer1.0.bn2.bias"));
        assert!(matches("*", "") && matches("*.bias", "a.b.bias") && !matches("*a*a", "a"));
    }
}
