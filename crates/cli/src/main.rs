//! The command line: `ocellus COMMAND ...`.
//!
//! What a command finds goes to standard output (with `--json`, as one JSON object), everything else to standard
//! error. A failure is one sentence and exit status 1; a wrong command line is exit status 2.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod console;
mod data_args;
mod memory;
mod network;
mod pair_args;
mod pictures;
mod practice;
mod progress;
mod signals;
mod words;

use std::process::ExitCode;

use args::{Command, LrCommand, Ocellus};
use clap::Parser;

fn main() -> ExitCode {
    let Ocellus { command, common } = Ocellus::parse();
    let done = match command {
        Command::Train(args) => commands::train::run(*args, &common),
        Command::Lr(args) => {
            let LrCommand::Find(mut args) = args.command;
            args.practice.lr_find.get_or_insert(practice::LR_FIND_STEPS);
            commands::train::run(*args, &common)
        }
        Command::Val(args) => commands::val::run(args, &common),
        Command::Report(args) => commands::report::run(args, &common),
        Command::Compare(args) => commands::compare::run(args, &common),
        Command::Data(args) => commands::data::run(args, &common),
        Command::Explain(args) => commands::explain::run(args, &common),
        Command::Embed(args) => commands::embed::run(args, &common),
        Command::Predict(args) => commands::predict::run(args, &common),
        Command::Summary(args) => commands::summary::run(args, &common),
        Command::Run(args) => commands::run::run(args, &common),
        Command::Convert(args) => commands::convert::run(args, &common),
        Command::Pull(args) => commands::pull::run(args, &common),
        Command::Quantize(args) => commands::quantize::run(args, &common),
        Command::Bench(args) => commands::bench::run(args, &common),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::complain(&format!("error: {}", words::one_sentence(&error)));
            ExitCode::FAILURE
        }
    }
}
