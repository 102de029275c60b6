//! `wattlm`, the command line: parses arguments, asks the service or reads files, prints.
//!
//! A client like any other: it has no way into the service but the socket. What needs no service (the configuration,
//! model files, manual pages) works without one.
//!
//! What always holds: standard output carries the answer and nothing else, or with `--json` nothing but JSON; the
//! exit status says what happened (see `args::MORE`).

mod account;
mod args;
mod ask;
mod budget;
mod calibrate;
mod calibration;
mod chat;
mod config;
mod explain;
mod findings;
mod generate;
mod man;
mod meter;
mod models;
mod print;
mod simulate;
mod status;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Command};
use self::print::Out;
use crate::client::Client;
use crate::config::default_socket;
use crate::error::{Code, Error, Result};

/// Exit status where no service answers (`EX_UNAVAILABLE` of sysexits).
const EX_UNAVAILABLE: u8 = 69;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    log_to_stderr();
    let out = Out::new(cli.json);
    match run(cli.command, cli.socket, out) {
        Ok(code) => code,
        Err(e) => {
            out.error(&e);
            ExitCode::from(if e.code == Code::NoDaemon { EX_UNAVAILABLE } else { 1 })
        }
    }
}

/// Prints clap's complaint, or the help that was asked for.
fn usage(e: &clap::Error) -> ExitCode {
    // A reader that has gone away needs no help.
    let _ = e.print();
    ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2))
}

/// Warnings of the modules that look after files.
fn log_to_stderr() {
    let format = |out: &mut env_logger::fmt::Formatter, record: &log::Record<'_>| {
        let line = format!("wattlm: {}: {}", record.level().as_str().to_lowercase(), record.args());
        writeln!(out, "{}", print::printable(&line))
    };
    let _ = env_logger::Builder::new().filter_level(log::LevelFilter::Warn).format(format).try_init();
}

fn run(command: Command, socket: Option<PathBuf>, out: Out) -> Result<ExitCode> {
    let connect = || connect(socket.clone());
    match command {
        Command::Generate(args) => generate::run(&args, connect, out)?,
        Command::Chat(args) => chat::run(args, &connect()?, out)?,
        Command::Estimate(args) => explain::estimate(&args, connect, out)?,
        Command::Explain { request } => explain::explain(&connect()?, &request, out)?,
        Command::Calibrate(args) => return calibration::run(&args, &connect()?, out),
        Command::Account(args) => account::run(&args, connect, out)?,
        Command::Status => status::run(&connect()?, out)?,
        Command::Budget { uid } => budget::run(&connect()?, uid, out)?,
        Command::Models(command) => return models::run(command, connect, out),
        Command::Meter(args) => return meter::run(args, out),
        Command::Simulate(args) => simulate::run(&args, out)?,
        Command::Config(command) => return config::run(command, out),
        Command::Completions { shell } => man::completions(shell, out)?,
        Command::Man { dir } => {
            let names = man::pages(man::programs(), &dir)?;
            out.either(&serde_json::json!({"files": names}), names.join("\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn connect(socket: Option<PathBuf>) -> Result<Client> {
    let named = socket.is_some();
    let path = socket.unwrap_or_else(default_socket);
    Client::connect(&path).map_err(|e| if e.code == Code::NoDaemon { no_daemon(&path, named) } else { e })
}

/// What the service said, as what it means.
fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|e| Error::new(Code::Protocol, format!("the service is of another version than this program: {e}")))
}

/// What to do where nothing answers.
fn no_daemon(path: &std::path::Path, named: bool) -> Error {
    let shown = path.display();
    let what = if path.exists() { "nobody answers on" } else { "there is no" };
    let start = if named || path != std::path::Path::new(crate::config::paths::SYSTEM_SOCKET) {
        format!("start one with 'wattlmd --socket {shown}', or name another socket with --socket")
    } else {
        "start it with 'systemctl start wattlm.socket', or your own with 'wattlmd'".to_owned()
    };
    Error::new(Code::NoDaemon, format!("the service does not run: {what} {shown}; {start}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_service_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let e = connect(Some(path.clone())).unwrap_err();
        assert_eq!(e.code, Code::NoDaemon);
        assert!(e.message.contains("there is no") && e.message.contains("wattlmd --socket"), "{e}");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let e = connect(Some(path)).unwrap_err();
        assert!(e.message.contains("nobody answers on"), "{e}");
        let e = no_daemon(crate::config::paths::SYSTEM_SOCKET.as_ref(), false);
        assert!(e.message.contains("systemctl start wattlm.socket"), "{e}");
    }
}
