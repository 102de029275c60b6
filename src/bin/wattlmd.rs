//! The daemon. See [`wattlm::daemon`].

fn main() -> std::process::ExitCode {
    wattlm::daemon::main()
}
