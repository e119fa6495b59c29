//! `ocellus explain`: how do a network's numbers come about?

use anyhow::bail;
use clap::Args;
use ocellus::explain::{Explanation, TOPICS, find_topic, layer, nearest_topic, topic};

use crate::args::Common;
use crate::console;
use crate::network::{InputArgs, SourceArgs};

const EXAMPLE: &str = "\
Examples:
  ocellus explain resnet50 fc               one layer: shapes, parameters, cost, what it sees
  ocellus explain resnet50 fc --classes 3   how (1, 2048) becomes (1, 3)
  ocellus explain bottleneck                a topic, on its usual network
  ocellus explain parameters runs/train     a topic, on your own network
  ocellus explain                           all topics

Every number is counted on the network that is named: from the zoo, a run folder, or a file of any known format.";

/// What may be said after `ocellus explain`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ExplainArgs {
    /// NET LAYER, or TOPIC, or TOPIC NET; nothing lists the topics
    #[arg(value_name = "WORD", num_args = 0..=2)]
    pub words: Vec<String>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub shapes: InputArgs,
    /// Classes that a network of the zoo is to tell apart [default: its own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub classes: Option<u32>,
}

/// Explains.
pub fn run(args: ExplainArgs, common: &Common) -> anyhow::Result<()> {
    let classes = args.classes.map(|n| n as usize);
    let source = SourceArgs { classes, shapes: args.shapes.clone(), ..SourceArgs::default() };
    let find = |word: &str| -> anyhow::Result<_> {
        match source.find(word, None) {
            Ok(found) => Ok(found.graph),
            Err(fault) => match nearest_topic(word) {
                Some(topic) => bail!("{word} is neither a topic nor a network; did you mean {topic}?"),
                None => Err(fault),
            },
        }
    };
    let usual = |word: &str| TOPICS.iter().find(|(name, ..)| *name == word).map(|(.., net)| *net);
    let mut words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    if let Some((first, topic)) =
        words.first_mut().and_then(|first| find_topic(first).map(|topic| (first, topic)))
    {
        *first = topic;
    }
    let told = match words[..] {
        [] => return list(common),
        [word] => match usual(word) {
            Some(net) => topic(word, &find(net)?)?,
            None => return name_layers(word, &find(word)?),
        },
        [word, net] if usual(word).is_some() => topic(word, &find(net)?)?,
        [net, name] => layer(&find(net)?, name)?,
        _ => bail!("name a network and a layer, or a topic"),
    };
    if common.json {
        return console::say_json(&told);
    }
    print(&told);
    Ok(())
}

fn print(told: &Explanation) {
    console::say(&told.title);
    told.lines.iter().for_each(|line| console::say(&format!("  {line}")));
}

fn list(common: &Common) -> anyhow::Result<()> {
    if common.json {
        let topics = TOPICS
            .iter()
            .map(|(name, what, net)| serde_json::json!({"topic": name, "question": what, "network": net}));
        return console::say_json(&serde_json::json!({"topics": topics.collect::<Vec<_>>()}));
    }
    let width = TOPICS.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    for (name, what, net) in TOPICS {
        console::say(&format!("{name:<width$}  {what} (usually on {net})"));
    }
    console::say("or a layer: ocellus explain NET LAYER");
    Ok(())
}

/// One word that is a network says nothing to explain; its layers help to go on.
fn name_layers(word: &str, graph: &ocellus::Graph) -> anyhow::Result<()> {
    let names: Vec<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
    bail!("say which layer of {word}, or a topic before it; its layers are {}", names.join(", "))
}
