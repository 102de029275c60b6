//! `wattlm config`: checks, shows and explains the configuration. Needs no service and changes nothing.
//!
//! It reads what the service of the same user and environment would read; another service's is named by its file.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{json, Map, Value};
use toml::de::{DeTable, DeValue};

use super::args;
use super::print::{note, Out};
use crate::config::{self, Config, Loaded, Problem, Section, Sources};
use crate::error::{Code, Error, Result};

pub(super) fn run(command: args::Config, out: Out) -> Result<ExitCode> {
    match command {
        args::Config::Check { file } => check(file, out),
        args::Config::Show { file } => show(file, out),
        args::Config::Reference => {
            let text = config::reference_markdown();
            if out.json {
                out.object(&json!({"markdown": text}))?;
            } else {
                out.text(&text)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The configuration as commands need it that do not talk to the service.
pub(super) fn load() -> Result<Config> {
    Config::load(&Sources::new(None)).map(|l| l.config).map_err(|problems| refused(&problems))
}

fn refused(problems: &[Problem]) -> Error {
    let first = problems.iter().find(|p| !p.warning).map(ToString::to_string).unwrap_or_default();
    Error::new(
        Code::InvalidRequest,
        format!("the configuration cannot be used: {first} ('wattlm config check' says more)"),
    )
}

fn check(file: Option<PathBuf>, out: Out) -> Result<ExitCode> {
    let sources = Sources::new(file);
    let loaded = Config::load(&sources);
    let problems = match &loaded {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => problems,
    };
    if out.json {
        let files = loaded.as_ref().map(|l| json!(l.files)).unwrap_or_default();
        out.object(&json!({"ok": loaded.is_ok(), "problems": problems, "files": files}))?;
    } else {
        for problem in problems {
            out.line(problem)?;
        }
        match &loaded {
            Ok(loaded) => out.text(&summary(loaded, &sources))?,
            Err(problems) => {
                let errors = problems.iter().filter(|p| !p.warning).count();
                note(format_args!("{errors} error{} in the configuration", if errors == 1 { "" } else { "s" }));
            }
        }
    }
    Ok(if loaded.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a good configuration comes to.
fn summary(loaded: &Loaded, sources: &Sources) -> String {
    let Loaded { config, files, .. } = loaded;
    let mut lines = match files.as_slice() {
        [] => vec![format!("ok: {} does not exist, the defaults hold", sources.main.display())],
        files => files.iter().map(|f| format!("ok: {}", f.display())).collect(),
    };
    let list = |paths: &[PathBuf]| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
    let mut row = |name: &str, value: String| lines.push(format!("{name:<16}{value}"));
    row("socket", config.server.socket.display().to_string());
    row("model folders", list(&config.models.dirs));
    if !config.model.is_empty() {
        row("models", config.model.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", "));
    }
    if !config.models.default.is_empty() {
        row("default model", config.models.default.clone());
    }
    row("state", config.paths.state.display().to_string());
    row("modules", config.paths.modules.display().to_string());
    lines.join("\n") + "\n"
}

fn show(file: Option<PathBuf>, out: Out) -> Result<ExitCode> {
    let sources = Sources::new(file);
    let loaded = Config::load(&sources).map_err(|problems| refused(&problems))?;
    if out.json {
        let config = to_json(&loaded.config.to_toml())?;
        out.object(&json!({"files": loaded.files, "config": config}))?;
    } else {
        out.text(&annotated(&loaded, &sources))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole configuration as a file, with what nobody wrote marked as default.
fn annotated(loaded: &Loaded, sources: &Sources) -> String {
    let mut text: String = loaded.files.iter().map(|f| format!("# {}\n", f.display())).collect();
    if text.is_empty() {
        text = format!("# {} does not exist: defaults\n", sources.main.display());
    }
    let changes = Config::diff(&Config::defaults(&sources.env), &loaded.config);
    let changed: HashSet<&str> = changes.iter().map(|c| c.key.as_str()).collect();
    let mut table = |title: String, section: &dyn Section, given: &dyn Fn(&str) -> bool| {
        text.push_str(&format!("\n{title}\n"));
        for key in section.keys() {
            if let Some(value) = section.get(key.name) {
                let mark = if given(key.name) { "" } else { "  # default" };
                text.push_str(&format!("{} = {value}{mark}\n", key.name));
            }
        }
    };
    for section in loaded.config.sections() {
        let name = section.name();
        table(format!("[{name}]"), section, &|key| changed.contains(format!("{name}.{key}").as_str()));
    }
    for model in &loaded.config.model {
        // What a [[model]] does not set is not listed, so whatever is listed was written.
        table("[[model]]".to_owned(), model, &|_| true);
    }
    let default = config::Client::default();
    for client in &loaded.config.client {
        table("[[client]]".to_owned(), client, &|key| client.get(key) != default.get(key));
    }
    text
}

fn to_json(text: &str) -> Result<Value> {
    let parsed = DeTable::parse(text).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    Ok(table_to_json(parsed.get_ref()))
}

fn table_to_json(table: &DeTable<'_>) -> Value {
    Value::Object(
        table.iter().map(|(k, v)| (k.get_ref().to_string(), value_to_json(v.get_ref()))).collect::<Map<_, _>>(),
    )
}

fn value_to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::Table(table) => table_to_json(table),
        DeValue::Array(list) => list.iter().map(|v| value_to_json(v.get_ref())).collect(),
        DeValue::Boolean(b) => json!(b),
        DeValue::String(s) => json!(s),
        // Digits: a number for JSON too, unless it is one that JSON lacks.
        DeValue::Integer(n) => n.to_string().parse::<i64>().map_or_else(|_| json!(n.to_string()), |n| json!(n)),
        DeValue::Float(n) => n.to_string().parse::<f64>().map_or_else(|_| json!(n.to_string()), |n| json!(n)),
        DeValue::Datetime(d) => json!(d.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_configuration_is_a_configuration() {
        let file = b"[queue]\nmax = 7\n[[model]]\nname = \"a\"\ncontext = 512\n";
        let loaded = Config::parse("wattlm.toml", file).unwrap();
        let sources = Sources { main: "wattlm.toml".into(), explicit: false, env: config::Env::system() };
        let shown = annotated(&loaded, &sources);
        assert!(shown.contains("\nmax = 7\n") && shown.contains("  # default\n"), "{shown}");
        assert_eq!(Config::parse("", shown.as_bytes()).unwrap().config, loaded.config);
    }

    #[test]
    fn toml_becomes_json() {
        let file = "[a]\nn = -3\nb = true\ns = \"x\\u00e9\"\nl = [1, 2]\n[[m]]\nf = 0.5\n";
        let want = json!({"a": {"n": -3, "b": true, "s": "xé", "l": [1, 2]}, "m": [{"f": 0.5}]});
        assert_eq!(to_json(file).unwrap(), want);
    }
}
