//! The plan as a table for people.

use std::fmt;

use super::{Plan, Step};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = self.bytes() as f64 / 1e6;
        writeln!(
            f,
            "{}: {} steps, {megabytes:.1} MB, {} threads, {}, {}",
            self.graph,
            self.steps.len(),
            self.threads,
            self.isa.name(),
            self.precision.name()
        )?;
        for step in self.prepare.iter().chain(&self.steps) {
            writeln!(f, "  {:<56} {:<24} {}", step.name, step.kernel.name(), Places { plan: self, step })?;
        }
        Ok(())
    }
}

/// Where a step's operands lie: `reads -> writes`, offsets in words.
struct Places<'a> {
    plan: &'a Plan,
    step: &'a Step,
}

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for read in self.step.reads.iter().flatten() {
            write!(f, "{} ", self.plan.buffers[read.index()].offset)?;
        }
        write!(f, "->")?;
        for write in &self.step.writes {
            write!(f, " {}", self.plan.buffers[write.index()].offset)?;
        }
        Ok(())
    }
}
