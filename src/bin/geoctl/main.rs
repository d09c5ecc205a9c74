//! geoctl: the companion command of the redis-geo module.

mod certs;
mod demo;
mod interrupt;
mod screen;
mod status;
mod table;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Companion of the redis-geo module: certificates, a demonstration, and the status of regions.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Certs(certs::Arguments),
    Demo(demo::Arguments),
    Status(status::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Certs(arguments) => certs::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("geoctl: {error}");
            ExitCode::FAILURE
        }
    }
}
