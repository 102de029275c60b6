//! The configuration written out: the reference for people, the shipped default file, and a running configuration.
//!
//! All three are made from the one table of keys, in its order.

use super::schema::{Client, Effect, Key, Model, Section};
use super::tree::Config;
use crate::sched::Class;
use crate::units::Microjoules;

/// Written above the sections of the default file.
const FILE_HEAD: &str = "\
# wattlm's configuration. Every key is shown with its default; remove the '#' to change one.
# Files /etc/wattlm/wattlm.d/*.toml are laid over this one, in the order of their names.
# `wattlm config check` says what is wrong; `systemctl reload wattlm` makes a change take effect.
";

/// Opens the reference.
const REFERENCE_HEAD: &str = "\
# Configuration

<!-- Generated from src/config by `wattlm config reference`. Do not edit. -->

wattlm runs with no configuration at all. What you do configure is read from

1. the main file: the one named by `--config`, else by `$WATTLM_CONFIG`, else, without root,
   `$XDG_CONFIG_HOME/wattlm/wattlm.toml` (or `~/.config/wattlm/wattlm.toml`) if it exists, else
   `/etc/wattlm/wattlm.toml` (always this one in a systemd unit with a state directory); then
2. its drop-ins in the order of their names: every `*.toml` in the directory beside it whose name ends in `.d`
   instead, such as `/etc/wattlm/wattlm.d/50-models.toml`. Names that begin with a dot are left out.

The files are [TOML](https://toml.io). A later file overrides an earlier one key by key. A list is replaced as a
whole. `[[model]]` tables of the same name are merged, and so are `[[client]]` tables; one file may describe a model or a
client only once.

An unknown key, a value of the wrong type or out of its range is an error; all errors are reported at once with file,
line and what to write instead. `wattlm config check` does so without touching the service. On SIGHUP (`systemctl
reload wattlm`) the service reads the same files again; if anything is wrong it says what and keeps the configuration
it has. Each key below says when a change takes effect: *on reload*, *on next load* of a model, or *on restart* of the
service.

Types: a *size* is a number of bytes or a string such as `\"512M\"` (K, M and G are powers of 1024); a *duration* is a
string such as `\"250ms\"`, `\"30s\"`, `\"5m\"` or `\"2h\"`; a *power* is a string
such as `\"3.5W\"` or `\"800mW\"`; an *amount of energy* is one such as `\"500J\"`, `\"2.5kJ\"` or `\"1.5Wh\"`; a *path* is absolute, and neither `~` nor `$NAME` is expanded in it.
";

/// The reference of all keys, in Markdown.
pub fn reference_markdown() -> String {
    let mut out = REFERENCE_HEAD.to_owned();
    let config = Config::default();
    for section in config.sections() {
        markdown_section(&mut out, &format!("[{}]", section.name()), section);
        if section.name() == "models" {
            markdown_section(&mut out, "[[model]]", &Model::default());
        }
        if section.name() == "power.low_battery" {
            markdown_section(&mut out, "[[client]]", &Client::default());
        }
    }
    out
}

fn markdown_section(out: &mut String, title: &str, section: &dyn Section) {
    out.push_str(&format!("\n## `{title}`\n\n{}\n", text(section.doc())));
    for key in section.keys() {
        let range = (key.range)().map(|r| format!(", {}", r.replace('"', ""))).unwrap_or_default();
        let default = section.get(key.name).filter(|_| !is_name(section, key));
        let default = default.map_or("no default".into(), |d| format!("default `{d}`"));
        let effect = match key.effect {
            Effect::Reload => "on reload",
            Effect::NextLoad => "on next load",
            Effect::Restart => "on restart",
        };
        let head = format!("\n### `{}`\n\n*{}{range} · {default} · {effect}*\n\n", key.name, key.kind);
        out.push_str(&head);
        out.push_str(&format!("{}\n", text(key.doc)));
    }
}

/// The file that packages install as `/etc/wattlm/wattlm.toml`: all keys, commented out, with their defaults.
pub fn default_file() -> String {
    let mut out = FILE_HEAD.to_owned();
    let config = Config::default();
    for section in config.sections() {
        out.push_str(&format!("\n{}[{}]\n", comment(section.doc()), section.name()));
        for key in section.keys() {
            if let Some(value) = section.get(key.name) {
                let range = (key.range)().map(|r| format!("# Range: {}\n", r.replace('"', ""))).unwrap_or_default();
                out.push_str(&format!("\n{}{range}#{} = {value}\n", comment(key.doc), key.name));
            }
        }
        if section.name() == "models" {
            example(&mut out, "model", &example_model());
        }
        if section.name() == "power.low_battery" {
            example(&mut out, "client", &example_client());
        }
    }
    out
}

fn example(out: &mut String, name: &str, example: &dyn Section) {
    out.push_str(&format!("\n{}#[[{name}]]\n", comment(example.doc())));
    out.push_str(&toml_keys(example).lines().map(|l| format!("#{l}\n")).collect::<String>());
}

/// What the default file shows under `[[client]]`.
fn example_client() -> Client {
    Client {
        name: "camera".into(),
        unit: Some("camera.service".into()),
        joules_per_hour: Microjoules(500_000_000),
        requests: 1,
        class: Class::Background,
        models: vec!["assistant".into()],
        ..Client::default()
    }
}

/// What the default file shows under `[[model]]`.
fn example_model() -> Model {
    Model {
        name: "assistant".into(),
        files: ["/var/lib/wattlm/models/assistant-q4_k_m.gguf", "/var/lib/wattlm/models/assistant-q8_0.gguf"]
            .map(Into::into)
            .to_vec(),
        aliases: vec!["default-chat".into()],
        context: Some(2048),
        slots: Some(2),
        ..Model::default()
    }
}

impl Config {
    /// The whole configuration as one file, which [`Config::load`] reads as the same configuration.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for section in self.sections() {
            out.push_str(&format!("[{}]\n{}\n", section.name(), toml_keys(section)));
        }
        for model in &self.model {
            out.push_str(&format!("[[model]]\n{}\n", toml_keys(model)));
        }
        for client in &self.client {
            out.push_str(&format!("[[client]]\n{}\n", toml_keys(client)));
        }
        out
    }
}

fn toml_keys(section: &dyn Section) -> String {
    let line = |k: &Key| section.get(k.name).map(|v| format!("{} = {v}\n", k.name));
    section.keys().iter().filter_map(line).collect()
}

/// The name of a model or client is the one key that must be written.
fn is_name(section: &dyn Section, key: &Key) -> bool {
    matches!(section.name(), "model" | "client") && key.name == "name"
}

fn text(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n")
}

fn comment(doc: &[&str]) -> String {
    doc.iter().map(|line| format!("# {}\n", line.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares a generated file with the one in the repository; with `UPDATE=1` writes it instead.
    fn same(path: &str, content: &str) {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, content).unwrap();
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(found == content, "{path} is out of date: run `UPDATE=1 cargo test --release --lib config::`");
    }

    #[test]
    fn the_files_in_the_repository_are_current() {
        same("docs/config.md", &reference_markdown());
        same("dist/wattlm.toml", &default_file());
    }

    #[test]
    fn the_default_file_changes_nothing() {
        let loaded = Config::parse("wattlm.toml", default_file().as_bytes()).unwrap();
        assert_eq!((loaded.config, loaded.warnings), (Config::default(), vec![]));
    }

    #[test]
    fn the_default_file_shows_the_defaults() {
        let bare = |line: &str| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
            _ => line.to_owned(),
        };
        let uncommented: Vec<String> = default_file().lines().map(bare).collect();
        let loaded = Config::parse("wattlm.toml", uncommented.join("\n").as_bytes()).unwrap();
        assert_eq!(
            loaded.config,
            Config { model: vec![example_model()], client: vec![example_client()], ..Config::default() }
        );
        let set = |s: &dyn Section| s.keys().iter().filter(|k| s.get(k.name).is_some()).count();
        let keys: usize = Config::default().sections().into_iter().map(set).sum();
        assert_eq!(default_file().lines().filter(|l| l.starts_with('#') && l.contains(" = ")).count(), keys + 7 + 6);
    }

    #[test]
    fn every_key_is_documented() {
        let config = Config::default();
        let (model, client) = (Model::default(), Client::default());
        for section in config.sections().into_iter().chain([&model as &dyn Section, &client]) {
            for key in section.keys() {
                assert!(reference_markdown().contains(&format!("### `{}`", key.name)), "{}", key.name);
                assert!(text(key.doc).ends_with('.'), "{}", key.name);
            }
        }
    }

    #[test]
    fn a_configuration_survives_being_written() {
        let mut config = Config { model: vec![example_model()], client: vec![example_client()], ..Config::default() };
        config.power.joules_per_hour = Microjoules(1_500_000);
        config.power_low_battery.policy = Some(crate::sched::Policy::MinEnergy);
        config.models.default = "a\"b\\".into();
        config.worker.oom_score_adj = -5;
        config.server.socket = "/run/ä b.sock".into();
        config.models.default = "assistant:q8_0".into();
        config.cpu.affinity = vec![3, 1];
        assert_eq!(Config::parse("", config.to_toml().as_bytes()).unwrap().config, config);
    }
}
