//! The argument tree: names, help texts, value types. Parsing only; what a command does stands in its own module.
//!
//! The help texts are the manual: the man pages and completions are made from this tree.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::energy::account::{self, Day};
use crate::models::naming;
use crate::sched;
use crate::units::{Microjoules, Span};

/// Sections behind the options in `wattlm --help` and in wattlm(1).
pub(super) const MORE: [(&str, &str); 3] = [
    (
        "Exit status",
        "\
0    done
1    the request failed, or what was checked is not in order
2    the command line is wrong
69   no service answers on the socket
130  interrupted; the request was cancelled",
    ),
    (
        "Environment",
        "\
WATTLM_SOCKET  the service's socket, unless --socket names one
WATTLM_CONFIG  the configuration file, for commands that read it",
    ),
    (
        "JSON",
        "\
With --json every command prints JSON on standard output, one object on a line,
and nothing else there. A failure is such an object too, as on the wire:
{\"error\": {\"message\", \"type\", \"param\", \"code\"}}",
    ),
];

fn more() -> String {
    let section = |(title, text): &(&str, &str)| format!("{title}:\n  {}", text.replace('\n', "\n  "));
    MORE.iter().map(section).collect::<Vec<_>>().join("\n\n")
}

/// Behind the options of each command.
const GLOBAL: usize = 900;

/// Asks the device's language-model service, and looks after its models
#[derive(Debug, Parser)]
#[command(name = "wattlm", version, after_long_help = more(), max_term_width = 100, disable_help_subcommand = true)]
pub(super) struct Cli {
    /// The service's socket [default: your own service's if it runs, else /run/wattlm/wattlm.sock]
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath, display_order = GLOBAL)]
    pub(super) socket: Option<PathBuf>,
    /// Prints JSON for programs
    #[arg(long, global = true, display_order = GLOBAL)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Generate(Generate),
    Chat(Chat),
    #[command(subcommand)]
    Models(Models),
    /// Shows what the service is doing: models loaded, requests, totals, energy, the last fault
    Status,
    /// Shows your energy budgets: what is left of each, when it is full again, what bounds you
    Budget {
        /// Another user's, by number; for administrators
        #[arg(long, value_name = "UID")]
        uid: Option<u32>,
    },
    Estimate(Estimate),
    /// Shows why a request ran where it ran, what it was thought to take and what it took
    ///
    /// Of the last 1024 requests, your own; for administrators everybody's. The plan stands beside what the request really
    /// took and the next best plan.
    Explain {
        /// Its name, as in X-Request-Id, an answer's id or a receipt
        request: String,
    },
    Calibrate(Calibration),
    Account(Account),
    Meter(Meter),
    Simulate(Simulate),
    #[command(subcommand)]
    Config(Config),
    /// Prints a completion script for a shell
    ///
    /// For bash: wattlm completions bash > /usr/share/bash-completion/completions/wattlm
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Writes the manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder; it is created if need be
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

/// Answers one prompt
///
/// The prompt is sent as a user's message through the model's chat template. A model without one completes the prompt
/// as it stands, which --raw asks of any model. The answer is printed as it comes, and nothing is added to it but a
/// final line break where there is none.
///
/// With --json each piece is a line {"text": …}, and the last line holds "finish_reason", "usage" and the receipt
/// ("wattlm"). With --no-stream all of it is one line.
#[derive(Debug, Args)]
pub(super) struct Generate {
    /// The prompt; "-" or none at all: standard input
    pub(super) prompt: Option<String>,
    /// Completes the prompt as it stands, without the chat template
    #[arg(long, conflicts_with = "system")]
    pub(super) raw: bool,
    /// Prints the answer when it is complete
    #[arg(long)]
    pub(super) no_stream: bool,
    #[command(flatten)]
    pub(super) ask: Ask,
}

/// Talks with a model
///
/// Each line is a message; the conversation so far goes with it. Ctrl-C ends an answer, Ctrl-D the conversation.
/// Lines that begin with "/" are commands: /help lists them. Works with a pipe on standard input too.
#[derive(Debug, Args)]
pub(super) struct Chat {
    #[command(flatten)]
    pub(super) ask: Ask,
}

/// Tells what a request would take, without running it
///
/// Tokens, time, energy, memory, where it would run and why, and what else it could do. It is the service's own choice, made
/// as for a request that comes now. Tokens of the prompt are reckoned by its length.
#[derive(Debug, Args)]
pub(super) struct Estimate {
    /// The prompt; "-" or none at all: standard input
    pub(super) prompt: Option<String>,
    /// As if the prompt were completed as it stands, without the chat template
    #[arg(long, conflicts_with = "system")]
    pub(super) raw: bool,
    #[command(flatten)]
    pub(super) ask: Ask,
}

/// Measures what models take on each device, so that requests run where it is best
///
/// Loads each variant on each device that it fits and asks it prompts of several lengths and answers at several depths,
/// alone and in company, with several numbers of threads. What is measured is kept as it comes, so that it may be interrupted
/// (Ctrl-C) and begun again; every later request refines it. Shows what it found: speed and energy of prompts and answers,
/// what loading and holding a model takes, and what follows from that. For administrators; let little else run meanwhile.
#[derive(Debug, Args)]
pub(super) struct Calibration {
    /// The model, or model:variant [default: all]
    pub(super) model: Option<String>,
    /// Measures less: some 20 seconds for each variant on each device
    #[arg(long)]
    pub(super) quick: bool,
    /// Ends the measurements of a variant on a device after this time [default: 3m, with --quick 20s]
    #[arg(long, value_name = "TIME")]
    pub(super) time: Option<Span>,
    /// Measures on this kind of device only [default: all]
    #[arg(long, value_name = "DEVICE")]
    pub(super) backend: Option<Backend>,
    /// Measures nothing and shows what is known
    #[arg(long, conflicts_with_all = ["quick", "time"])]
    pub(super) show: bool,
}

/// What `generate` and `chat` have in common.
#[derive(Debug, Args)]
pub(super) struct Ask {
    /// The model, or model:variant [default: the service's default model]
    #[arg(short, long, value_name = "NAME")]
    pub(super) model: Option<String>,
    /// A system message, sent before the others
    #[arg(short, long, value_name = "TEXT")]
    pub(super) system: Option<String>,
    /// Ends the answer after this many tokens
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_tokens: Option<u32>,
    /// Randomness from 0 (none) to 2 [default: 1]
    #[arg(short, long, value_name = "T", value_parser = number(0.0, 2.0))]
    pub(super) temperature: Option<f32>,
    /// Keeps the most likely tokens whose probabilities sum up to this
    #[arg(long, value_name = "P", value_parser = number(0.0, 1.0))]
    pub(super) top_p: Option<f32>,
    /// Keeps this many most likely tokens
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) top_k: Option<u32>,
    /// Drops tokens less likely than this share of the most likely one
    #[arg(long, value_name = "P", value_parser = number(0.0, 1.0))]
    pub(super) min_p: Option<f32>,
    /// The same seed gives the same answer on the same device
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u32>,
    /// Ends the answer before this text; may be repeated
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) stop: Vec<String>,
    /// How urgent it is [default: interactive for chat, else standard]
    #[arg(long, value_name = "CLASS")]
    pub(super) class: Option<Class>,
    /// Fails unless the answer is complete in this time, such as 30s
    #[arg(long, value_name = "TIME")]
    pub(super) deadline: Option<Span>,
    /// Ends the answer when it has used this much energy, such as 5J
    #[arg(long, value_name = "ENERGY", value_parser = energy)]
    pub(super) max_joules: Option<Microjoules>,
    /// Tries to send the first token in this time, such as 500ms
    #[arg(long, value_name = "TIME")]
    pub(super) max_ttft: Option<Span>,
    /// What is saved for it [default: as the service is configured]
    #[arg(long, value_name = "WHAT")]
    pub(super) policy: Option<Policy>,
    /// Runs it on this kind of device only [default: where it is best]
    #[arg(long, value_name = "DEVICE")]
    pub(super) backend: Option<Backend>,
    /// Takes a lesser variant of the model, or a shorter answer, where else a limit would not be kept
    #[arg(long)]
    pub(super) degrade: bool,
    /// Prints on standard error what the answer took: energy, tokens, speed, times, where it ran and why
    #[arg(long)]
    pub(super) receipt: bool,
}

fn energy(text: &str) -> Result<Microjoules, String> {
    match text.parse() {
        Ok(Microjoules::ZERO) => Err("write more than 0".to_owned()),
        other => other,
    }
}

/// A number within a range. Leaves no way in for NaN, which JSON cannot carry.
fn number(low: f32, high: f32) -> impl Fn(&str) -> Result<f32, String> + Clone + Send + Sync + 'static {
    move |text: &str| match text.parse::<f32>() {
        Ok(n) if (low..=high).contains(&n) => Ok(n),
        _ => Err(format!("write a number from {low} to {high}")),
    }
}

/// As [`sched::Class`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Class {
    /// A person waits for it
    Interactive,
    /// The ordinary one
    Standard,
    /// May wait
    Background,
}

impl From<Class> for sched::Class {
    fn from(class: Class) -> sched::Class {
        match class {
            Class::Interactive => sched::Class::Interactive,
            Class::Standard => sched::Class::Standard,
            Class::Background => sched::Class::Background,
        }
    }
}

/// As [`sched::Policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Policy {
    /// Energy, whatever time it takes
    MinEnergy,
    /// Energy and time
    Balanced,
    /// Time
    MaxThroughput,
}

impl From<Policy> for sched::Policy {
    fn from(policy: Policy) -> sched::Policy {
        match policy {
            Policy::MinEnergy => sched::Policy::MinEnergy,
            Policy::Balanced => sched::Policy::Balanced,
            Policy::MaxThroughput => sched::Policy::MaxThroughput,
        }
    }
}

/// As [`sched::Backend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Backend {
    /// The processor
    Cpu,
    /// A GPU
    Gpu,
}

impl From<Backend> for sched::Backend {
    fn from(backend: Backend) -> sched::Backend {
        match backend {
            Backend::Cpu => sched::Backend::Cpu,
            Backend::Gpu => sched::Backend::Gpu,
        }
    }
}

/// Shows how much energy was used, by day, user and model
///
/// Asks the service; where none runs, reads its files if they may be read. Without --uid it shows your own lines. Days
/// are UTC's; days long past are merged into months. What others used, figures finer than three digits, and what the
/// device used besides are for administrators.
#[derive(Debug, Args)]
pub(super) struct Account {
    /// Another user's lines, by number, or "all"; for administrators
    #[arg(long, value_name = "N", value_parser = client)]
    pub(super) uid: Option<Client>,
    /// From this day on, such as 2026-11-25
    #[arg(long, value_name = "DAY")]
    pub(super) from: Option<Day>,
    /// Up to this day, and with it
    #[arg(long, value_name = "DAY")]
    pub(super) to: Option<Day>,
    /// One line for each of these [default: for each day, user and model]
    #[arg(long, value_name = "WHAT")]
    pub(super) by: Option<By>,
    /// Prints comma-separated values, energy in joules
    #[arg(long)]
    pub(super) csv: bool,
}

/// Whose lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    All,
    Uid(u32),
}

fn client(text: &str) -> Result<Client, String> {
    match text {
        "all" => Ok(Client::All),
        _ => text.parse().map(Client::Uid).map_err(|_| "write a user's number (`id -u NAME` tells it), or all".into()),
    }
}

/// As [`account::By`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// Days, and months where days were merged
    Day,
    /// Models
    Model,
    /// Users
    Uid,
}

impl By {
    /// On the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            By::Day => "day",
            By::Model => "model",
            By::Uid => "uid",
        }
    }
}

impl From<By> for account::By {
    fn from(by: By) -> account::By {
        match by {
            By::Day => account::By::Day,
            By::Model => account::By::Model,
            By::Uid => account::By::Uid,
        }
    }
}

/// Lists, adds, checks, loads and unloads models
#[derive(Debug, Subcommand)]
pub(super) enum Models {
    /// Lists the models
    ///
    /// Asks the service; where none runs, looks into the model folders that the configuration names.
    List,
    /// Copies a GGUF file into a model folder and records its digest
    ///
    /// The copy is complete and on the disk before it gets its name; the digest is written beside it, and the service
    /// compares it before it first loads the model.
    Add {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// What clients ask for, with the variant behind it: `assistant-q4_k_m` [default: the file's own name]
        #[arg(long, value_parser = model_name)]
        name: Option<String>,
        /// The sha256 that its publisher states; the file is refused if it has another
        #[arg(long, value_name = "HEX", value_parser = sha256)]
        sha256: Option<String>,
        /// The folder [default: the first that the configuration names]
        #[arg(long, value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
    /// Compares files with their recorded digests
    ///
    /// Reads every byte, whatever was verified before. Fails if a file differs; a file without a digest is only
    /// mentioned.
    Verify {
        /// The model, or model:variant [default: all]
        name: Option<String>,
    },
    /// Loads a model and waits until it takes requests
    Load {
        /// The model, or model:variant
        name: String,
    },
    /// Unloads a model when its requests have ended
    Unload {
        /// The model, or model:variant
        name: String,
    },
    /// Writes a model of a published shape with random weights
    ///
    /// It answers nothing, but it takes the memory, time and energy of the real one: measure before you download.
    Synth {
        /// The shape; `wattlm models shapes` lists them
        shape: String,
        /// The file to write, or a folder
        #[arg(value_hint = ValueHint::FilePath)]
        out: PathBuf,
        /// The quantization
        #[arg(short, long, default_value = "q4_k_m")]
        quant: String,
    },
    /// Lists the shapes and quantizations that `synth` knows
    Shapes,
}

fn model_name(text: &str) -> Result<String, String> {
    // Who gives a file's name means the same.
    let name = text.strip_suffix(".gguf").unwrap_or(text);
    if naming::valid(name) {
        Ok(name.to_owned())
    } else {
        Err(naming::RULE.to_owned())
    }
}

fn sha256(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(hex)
    } else {
        Err("a sha256 has 64 hexadecimal digits, as `sha256sum` prints them".into())
    }
}

/// Shows the device's energy sensors: what each covers, which one is in use and why, and its watts
///
/// Reads the sensors itself, with your rights; many may be read by root only. Fails where no sensor can be used. What
/// it covers: a rail, a processor's package, or the whole board. A sensor that sees a part of what another sees is never
/// added to it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Meter {
    /// Shows the meter again and again [default: every second]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "1s")]
    pub(super) watch: Option<Span>,
    /// How long the sensors are watched for the list
    #[arg(long, value_name = "TIME", default_value = "2s", conflicts_with = "watch")]
    pub(super) time: Span,
    /// Reads this tree instead of /sys
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) sysfs: Option<PathBuf>,
    /// Uses these sensors, joined by '+', instead of those that the configuration names
    #[arg(long, global = true, value_name = "NAMES")]
    pub(super) source: Option<String>,
    #[command(subcommand)]
    pub(super) command: Option<MeterCommand>,
}

#[derive(Debug, Subcommand)]
pub(super) enum MeterCommand {
    Calibrate(Calibrate),
}

/// Compares the meter with one at the wall, and prints the configuration that makes them agree
///
/// Watches the sensor while the device is idle and while all its cores are busy, and asks for the wall meter's watts each
/// time. Let nothing else run meanwhile.
#[derive(Debug, Args)]
pub(super) struct Calibrate {
    /// The wall meter's watts, idle first and with all cores busy last, if they are known before
    #[arg(long, value_name = "WATTS", value_delimiter = ',', value_parser = watts)]
    pub(super) wall: Vec<f64>,
    /// What is sought [default: both]
    #[arg(long, value_name = "WHAT")]
    pub(super) fit: Option<Fit>,
    /// How long the sensor is watched each time
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(super) time: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Fit {
    /// Scale and offset; needs two comparisons
    Both,
    /// The scale alone: losses that grow with the load
    Scale,
    /// The offset alone: what the sensor does not see
    Offset,
}

/// Watts as people type them: `12.5` or `12.5W`.
pub(super) fn watts(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches(['W', 'w', ' ']).parse::<f64>();
    number.ok().filter(|w| (0.0..=10_000.0).contains(w)).ok_or_else(|| "write watts, such as 12.5".into())
}

/// Runs the scheduler on virtual time, on a described device and a trace of requests
///
/// Shows the joules that it takes by cause, its times, and how much more that is than always the CPU, always the GPU and
/// the best fixed plan in hindsight take. Needs no service, no model and no sensor: docs/simulator.md describes the
/// files, and some are shipped with wattlm.
#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// The device's description
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "trace")]
    pub(super) device: Option<PathBuf>,
    /// The requests
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "device")]
    pub(super) trace: Option<PathBuf>,
    /// Requests that the scheduler lives through before, on the same device; then it is restarted: lanes are cold, what it
    /// learnt is kept
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "device")]
    pub(super) history: Option<PathBuf>,
    /// What the scheduler saves
    #[arg(long, value_name = "POLICY", default_value = "min-energy")]
    pub(super) policy: Policy,
    /// Looks for the best that a clairvoyant could do as well, and for what nobody can do better; takes seconds
    #[arg(long)]
    pub(super) oracle: bool,
    /// Begins without profiles, as on the first day; else with those that a calibration measures
    #[arg(long)]
    pub(super) uncalibrated: bool,
    /// Of the sensor's noise, and of what --random draws
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Draws so many devices and traces by chance and shows how the regret is distributed; takes a second or two for each
    #[arg(long, value_name = "N", conflicts_with = "device", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) random: Option<u32>,
    /// With --random: lets the scheduler live through another trace of the same kind before each, and restarts it
    #[arg(long, requires = "random", conflicts_with = "device")]
    pub(super) lived: bool,
}

/// Checks and explains the configuration
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Says what is wrong with the configuration, where, and what to write instead
    Check {
        /// The main file; its drop-ins are read too [default: the one that the service reads]
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Prints the configuration with its defaults filled in
    Show {
        /// The main file; its drop-ins are read too [default: the one that the service reads]
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Prints the reference of all keys, in Markdown
    Reference,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"wattlm").chain(args))
    }

    #[test]
    fn the_tree_is_sound_and_everything_in_it_is_explained() {
        let mut tree = Cli::command();
        tree.build();
        tree.clone().debug_assert();
        let mut all = vec![tree];
        while let Some(command) = all.pop() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} of {}", arg.get_id(), command.get_name());
            }
            all.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn global_options_may_stand_anywhere() {
        for args in [["--json", "--socket", "/s", "status"], ["status", "--socket", "/s", "--json"]] {
            let cli = parse(&args).unwrap();
            assert!(cli.json && cli.socket == Some("/s".into()), "{args:?}");
        }
    }

    #[test]
    fn values_out_of_range_are_usage_errors() {
        for bad in [
            ["generate", "-t", "NaN"],
            ["generate", "-t", "2.1"],
            ["generate", "--top-p", "-inf"],
            ["generate", "-n", "0"],
            ["generate", "--stop", ""],
            ["generate", "--class", "urgent"],
            ["generate", "--deadline", "30"],
            ["generate", "--seed", "-1"],
            ["generate", "--max-joules", "0"],
            ["generate", "--max-joules", "5"],
            ["generate", "--max-ttft", "1"],
            ["generate", "--policy", "fastest"],
            ["generate", "--backend", "npu"],
            ["budget", "--uid", "root"],
        ] {
            assert_eq!(parse(&bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
        for bad in [["--uid", "root"], ["--from", "yesterday"], ["--to", "2026-02-30"], ["--by", "hour"]] {
            assert_eq!(parse(&[&["account"], &bad[..]].concat()).unwrap_err().exit_code(), 2, "{bad:?}");
        }
        assert!(parse(&["generate", "--raw", "--system", "x"]).is_err());
        assert!(parse(&["models", "add", "f", "--sha256", "abc"]).is_err());
    }

    #[test]
    fn watts_are_taken_as_people_write_them() {
        assert_eq!([watts("12.5"), watts(" 3 W"), watts("0w")], [Ok(12.5), Ok(3.0), Ok(0.0)]);
        for bad in ["", "W", "NaN", "-1", "inf", "1e9", "3 kW"] {
            assert!(watts(bad).is_err(), "{bad}");
        }
        let Command::Meter(m) = parse(&["meter", "calibrate", "--wall", "3,9.5W", "--sysfs", "/t"]).unwrap().command
        else {
            panic!("another command")
        };
        let Some(MeterCommand::Calibrate(c)) = m.command else { panic!("another command") };
        assert_eq!((c.wall, m.sysfs), (vec![3.0, 9.5], Some("/t".into())));
        let Command::Meter(m) = parse(&["meter", "--watch"]).unwrap().command else { panic!("another command") };
        assert_eq!(m.watch, Some("1s".parse().unwrap()));
    }

    #[test]
    fn digests_are_taken_as_people_copy_them() {
        let hex = "AB".repeat(32);
        assert_eq!(sha256(&hex), Ok(hex.to_lowercase()));
        assert_eq!(sha256(&format!("sha256:{hex}")), Ok(hex.to_lowercase()));
        assert!(sha256(&"é".repeat(32)).is_err());
    }

    #[test]
    fn stops_repeat_and_a_lone_dash_is_a_prompt() {
        let Command::Generate(g) = parse(&["generate", "--stop", "a", "--stop", "b", "-"]).unwrap().command else {
            panic!("another command")
        };
        assert_eq!((g.ask.stop, g.prompt), (vec!["a".to_owned(), "b".to_owned()], Some("-".to_owned())));
    }
}
