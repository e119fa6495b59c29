//! From the text form to a graph.

use super::attribute::{Attribute, Fields};
use super::operations::operation;
use super::scan::Scanner;
use crate::{Graph, GraphError, ParamSpec, Role, ValueId};

/// Reads the text form that [`super::to_text`] writes.
///
/// Refused, with the number of the line: anything that does not follow the form, names that nothing has, and whatever
/// [`Graph::add_node`] refuses.
///
/// ```
/// let error = ocellus_graph::from_text("network n\ninput x (1, 4)\ny = relu(z)\n").unwrap_err();
/// assert_eq!(error.to_string(), "line 3: there is no value named z");
/// ```
pub fn from_text(text: &str) -> Result<Graph, GraphError> {
    let mut graph = Graph::new("");
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        add_line(&mut graph, line).map_err(|message| GraphError::Text { line: index + 1, message })?;
    }
    Ok(graph)
}

fn add_line(graph: &mut Graph, line: &str) -> Result<(), String> {
    let mut scanner = Scanner::new(line);
    let first = scanner.name()?;
    if scanner.skip('=') {
        return add_node(graph, first, scanner);
    }
    match first.as_str() {
        "network" => {
            graph.name = scanner.name()?;
            scanner.end()
        }
        "input" => add_input(graph, scanner),
        "param" => add_param(graph, scanner),
        "output" => add_output(graph, scanner),
        "loss" => add_loss(graph, scanner),
        other => Err(format!("expected network, input, param, output, loss or NAME = ..., found {other}")),
    }
}

fn add_input(graph: &mut Graph, mut scanner: Scanner) -> Result<(), String> {
    let (name, shape) = (scanner.name()?, scanner.shape()?);
    scanner.end()?;
    graph.add_input(name, shape).map_err(plain)?;
    Ok(())
}

fn add_param(graph: &mut Graph, mut scanner: Scanner) -> Result<(), String> {
    let (name, shape) = (scanner.name()?, scanner.shape()?);
    if graph.find_param(&name).is_some() {
        return Err(format!("there is already a parameter named {name}"));
    }
    let mut fields = Fields::parse("param", scanner.rest())?;
    let spec = ParamSpec {
        name,
        shape: shape.into(),
        init: Attribute::take("init", &mut fields)?,
        role: take_or("role", Role::Weight, &mut fields)?,
    };
    let (lr_mult, decay_mult) =
        (take_or("lr_mult", 1.0, &mut fields)?, take_or("decay_mult", 1.0, &mut fields)?);
    let frozen = take_or("frozen", false, &mut fields)?;
    fields.finish()?;
    let value = graph.add_param(spec).map_err(plain)?;
    if let Some(id) = graph.param_of(value) {
        let param = graph.param_mut(id);
        (param.lr_mult, param.decay_mult, param.frozen) = (lr_mult, decay_mult, frozen);
    }
    Ok(())
}

fn add_node(graph: &mut Graph, name: String, mut scanner: Scanner) -> Result<(), String> {
    let op = scanner.name()?;
    scanner.expect('(')?;
    let mut inputs = Vec::new();
    if !scanner.rest().starts_with([';', ')']) {
        inputs.push(value(graph, &scanner.name()?)?);
        while scanner.skip(',') {
            inputs.push(value(graph, &scanner.name()?)?);
        }
    }
    let attributes = if scanner.skip(';') {
        scanner.rest().strip_suffix(')').ok_or("expected ) at the end of the line")?
    } else {
        scanner.expect(')')?;
        scanner.end()?;
        ""
    };
    let mut fields = Fields::parse(&op, attributes)?;
    let op = operation(&mut fields)?;
    fields.finish()?;
    graph.add_node(name, op, inputs).map_err(plain)?;
    Ok(())
}

fn add_output(graph: &mut Graph, mut scanner: Scanner) -> Result<(), String> {
    let name = scanner.name()?;
    scanner.expect('=')?;
    let value = value(graph, &scanner.name()?)?;
    if scanner.rest().is_empty() {
        graph.add_output(name, value);
        return Ok(());
    }
    let mut fields = Fields::parse("output", scanner.rest())?;
    let weight = Attribute::take("auxiliary", &mut fields)?;
    fields.finish()?;
    graph.add_auxiliary_output(name, value, weight);
    Ok(())
}

fn add_loss(graph: &mut Graph, mut scanner: Scanner) -> Result<(), String> {
    let name = scanner.name()?;
    scanner.expect('=')?;
    let value = value(graph, &scanner.name()?)?;
    let mut fields = Fields::parse("loss", scanner.rest())?;
    let weight = take_or("weight", 1.0, &mut fields)?;
    fields.finish()?;
    graph.add_loss(name, value, weight).map_err(plain)
}

/// An attribute that may be left away.
fn take_or<T: Attribute>(key: &str, usual: T, fields: &mut Fields) -> Result<T, String> {
    if fields.has(key) { Attribute::take(key, fields) } else { Ok(usual) }
}

fn value(graph: &Graph, name: &str) -> Result<ValueId, String> {
    graph.find_value(name).ok_or_else(|| format!("there is no value named {name}"))
}

fn plain(error: GraphError) -> String {
    error.to_string()
}
