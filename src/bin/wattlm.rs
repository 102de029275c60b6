//! `wattlm`, the command line. See [`wattlm::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    wattlm::cli::main()
}
