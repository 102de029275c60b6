//! `wattlm models`: what there is, what is loaded, and the files it comes from.
//!
//! Loading and unloading are the service's; files are looked after here, with or without it: nothing but the file
//! system is shared, so that adding a model needs no more rights than writing into its folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use serde_json::{json, Value};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::args::Models;
use super::print::{count, die_of, error_object, table, Gauge, Out};
use crate::client::{Client, LoadProgress};
use crate::error::{Code, Error, Result};
use crate::models::digest::{Digests, Progress, Verified};
use crate::models::synth;
use crate::service::{self, ModelInfo, VariantInfo};
use crate::units::Bytes;

pub(super) fn run(command: Models, connect: impl Fn() -> Result<Client>, out: Out) -> Result<ExitCode> {
    match command {
        Models::List => list(&Found::look(&connect)?, out)?,
        Models::Add { file, name, sha256, dir } => {
            let service = connect().is_ok();
            add(&file, name.as_deref(), sha256.as_deref(), dir, service, out)?;
        }
        Models::Verify { name } => return verify(&Found::look(&connect)?, name.as_deref(), out),
        Models::Load { name } => load(&connect()?, &name, out)?,
        Models::Unload { name } => {
            connect()?.unload(&name)?;
            out.either(&json!({"unloaded": name}), format_args!("unloaded {name}"))?;
        }
        Models::Synth { shape, out: to, quant } => write_synthetic(&shape, &quant, &to, out)?,
        Models::Shapes => shapes(out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The models, and who says so.
struct Found {
    /// A service that runs.
    service: bool,
    models: Vec<ModelInfo>,
}

impl Found {
    /// Asks the service, or looks into the folders where none runs.
    fn look(connect: &impl Fn() -> Result<Client>) -> Result<Found> {
        match connect() {
            Ok(client) => Ok(Found { service: true, models: from_wire(&client.models()?)? }),
            Err(e) if e.code == Code::NoDaemon => {
                Ok(Found { service: false, models: service::list_models(super::config::load()?) })
            }
            Err(e) => Err(e),
        }
    }

    fn variants(&self) -> impl Iterator<Item = (&ModelInfo, &VariantInfo)> {
        self.models.iter().flat_map(|m| m.variants.iter().map(move |v| (m, v)))
    }
}

fn from_wire(list: &Value) -> Result<Vec<ModelInfo>> {
    let model = |entry: &Value| {
        let own = &entry["wattlm"];
        let info = json!({"name": entry["id"], "default": own["default"], "variants": own["variants"]});
        serde_json::from_value(info)
    };
    let entries = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(model).collect::<std::result::Result<_, _>>().map_err(|e| {
        Error::new(
            Code::Protocol,
            format!("the service is of another version than this program: its list of models: {e}"),
        )
    })
}

fn list(found: &Found, out: Out) -> Result<()> {
    if out.json {
        return out
            .object(&json!({"source": if found.service { "service" } else { "folders" }, "models": found.models}));
    }
    if found.models.is_empty() {
        out.line("there is no model: 'wattlm models add FILE' adds one")?;
    } else {
        let head = ["NAME", "STATE", "ARCH", "QUANT", ">PARAMS", ">SIZE", ">MEMORY", ">CONTEXT", "DIGEST", "NOTES"];
        let rows: Vec<Vec<String>> = found.variants().map(|(m, v)| row(m, v)).collect();
        out.line(table(&head, &rows))?;
    }
    if !found.service {
        out.line("\nThe service does not run; these are the files in the model folders.")?;
    }
    Ok(())
}

fn row(m: &ModelInfo, v: &VariantInfo) -> Vec<String> {
    let first = m.variants.first().is_some_and(|first| first.name == v.name);
    let broken = v.state == "broken";
    let notes = [
        (m.default && first, "default"),
        (v.synthetic, "synthetic"),
        (!v.chat && !broken && !v.synthetic, "no chat template"),
    ];
    let digest = match (v.verified, &v.sha256) {
        (true, _) => "verified",
        (false, Some(_)) => "recorded",
        (false, None) => "-",
    };
    let unless_zero = |n: u64, text: String| if n == 0 { "-".to_owned() } else { text };
    vec![
        v.name.clone(),
        v.state.clone(),
        v.architecture.clone(),
        v.quantization.clone(),
        unless_zero(v.parameters, count(v.parameters)),
        Bytes(v.bytes).to_string(),
        unless_zero(v.memory, Bytes(v.memory).to_string()),
        v.context.to_string(),
        digest.to_owned(),
        notes.iter().filter(|n| n.0).map(|n| n.1).collect::<Vec<_>>().join(", "),
    ]
}

fn add(
    file: &Path,
    name: Option<&str>,
    sha256: Option<&str>,
    dir: Option<PathBuf>,
    service: bool,
    out: Out,
) -> Result<()> {
    let dir = match dir {
        Some(dir) => dir,
        None => super::config::load()?.models.dirs.into_iter().next().ok_or_else(|| {
            Error::new(Code::InvalidRequest, "the configuration names no model folder; name one with --dir")
        })?,
    };
    std::fs::create_dir_all(&dir).map_err(|e| {
        Error::new(
            Code::InvalidRequest,
            format!("cannot create {}: {e}; name another folder with --dir", dir.display()),
        )
    })?;
    let added = interruptible("copying", |progress| Digests::new(None).add(file, &dir, name, sha256, progress))?;
    out.either(
        &added,
        format_args!(
            "added {} ({}, sha256 {})\n{}",
            added.path.display(),
            Bytes(added.bytes),
            added.sha256,
            if service {
                "'systemctl reload wattlm', or SIGHUP, makes a running service look into its folders."
            } else {
                "The service finds it when it starts."
            }
        ),
    )
}

/// Compares each file with its digest, and goes on where one differs.
fn verify(found: &Found, name: Option<&str>, out: Out) -> Result<ExitCode> {
    let meant = name.and_then(of_alias);
    let wanted = |m: &ModelInfo, v: &VariantInfo| {
        let is = |n: &str| n == m.name || n == v.name;
        name.is_none_or(is) || meant.as_deref().is_some_and(is)
    };
    let variants: Vec<&VariantInfo> = found.variants().filter(|(m, v)| wanted(m, v)).map(|(_, v)| v).collect();
    if let (Some(name), true) = (name, variants.is_empty()) {
        let text = format!("there is no model '{name}'; 'wattlm models list' shows what there is");
        return Err(Error::new(Code::ModelNotFound, text));
    }
    // Remembers nothing: who asks wants the bytes to be read.
    let digests = Digests::new(None);
    let mut all_good = true;
    let mut results = Vec::new();
    for v in variants {
        let mut gauge = Gauge::new("reading");
        let result = digests.verify(&v.path, false, &mut |share| {
            gauge.show(share);
            true
        });
        gauge.clear();
        all_good &= result.is_ok();
        let (word, detail, mut object) = match &result {
            Ok(Verified::Match { sha256, .. }) => ("ok", sha256.clone(), json!({"sha256": sha256})),
            Ok(Verified::NoSidecar) => ("no digest", v.path.display().to_string(), json!({})),
            Err(e) => ("FAILED", e.to_string(), error_object(e)),
        };
        if out.json {
            object["name"] = json!(v.name);
            object["path"] = json!(v.path);
            object["result"] = json!(match &result {
                Ok(Verified::Match { .. }) => "ok",
                Ok(Verified::NoSidecar) => "no_digest",
                Err(_) => "failed",
            });
            results.push(object);
        } else {
            out.line(format_args!("{word:<10}{}  {detail}", v.name))?;
        }
    }
    if out.json {
        out.object(&json!({"ok": all_good, "models": results}))?;
    }
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What an alias of the configuration stands for.
fn of_alias(name: &str) -> Option<String> {
    let (alias, variant) = name.split_once(':').map_or((name, None), |(m, v)| (m, Some(v)));
    let config = super::config::load().ok()?;
    let model = &config.model.iter().find(|m| m.aliases.iter().any(|a| a == alias))?.name;
    Some(variant.map_or_else(|| model.clone(), |v| format!("{model}:{v}")))
}

fn load(client: &Client, name: &str, out: Out) -> Result<()> {
    let mut loading = client.load(name)?;
    let mut gauge = Gauge::new("loading");
    loop {
        match loading.next()? {
            LoadProgress::Loading(share) => gauge.show(share),
            LoadProgress::Alive => {}
            LoadProgress::Loaded => break,
        }
    }
    gauge.clear();
    out.either(&json!({"loaded": name}), format_args!("loaded {name}"))
}

fn write_synthetic(shape: &str, quant: &str, to: &Path, out: Out) -> Result<()> {
    let made = interruptible("writing", |progress| synth::synth(shape, quant, to, progress))?;
    out.either(&made, format_args!("wrote {} ({}); its weights are random", made.path.display(), Bytes(made.bytes)))
}

fn shapes(out: Out) -> Result<()> {
    let quants: Vec<&str> = synth::Quant::ALL.into_iter().map(synth::Quant::name).collect();
    if out.json {
        let shapes: Vec<Value> = synth::SHAPES
            .iter()
            .map(|s| {
                json!({
                    "name": s.name, "architecture": s.architecture(), "layers": s.layers, "width": s.embd,
                    "vocabulary": s.vocab, "context": s.context,
                })
            })
            .collect();
        return out.object(&json!({"shapes": shapes, "quantizations": quants}));
    }
    let row = |s: &synth::ModelShape| {
        let numbers = [s.layers, s.embd, s.vocab, s.context].map(|n| n.to_string());
        [s.name.to_owned(), s.architecture().to_owned()].into_iter().chain(numbers).collect()
    };
    let head = ["SHAPE", "ARCH", ">LAYERS", ">WIDTH", ">VOCABULARY", ">CONTEXT"];
    out.line(table(&head, &synth::SHAPES.iter().map(row).collect::<Vec<_>>()))?;
    out.line(format_args!("\nQuantizations: {}", quants.join(", ")))
}

/// Does a long job that cleans up behind itself when it is told to stop, showing how far it is. A signal that would
/// end the program ends the job first.
fn interruptible<T>(what: &'static str, job: impl FnOnce(&mut Progress) -> Result<T>) -> Result<T> {
    let signal = Arc::new(AtomicUsize::new(0));
    for n in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_usize(n, Arc::clone(&signal), n as usize)
            .map_err(|e| Error::new(Code::Internal, format!("cannot watch for signals: {e}")))?;
    }
    let mut gauge = Gauge::new(what);
    let result = job(&mut |share| {
        gauge.show(share);
        signal.load(Ordering::Relaxed) == 0
    });
    gauge.clear();
    match signal.load(Ordering::Relaxed) {
        0 => result,
        n => die_of(n as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(name: &str) -> Value {
        json!({
            "name": name, "architecture": "qwen2", "quantization": "Q4_0", "bytes": 352_000_000, "parameters": 494_032_768,
            "context_train": 32768, "context": 4096, "chat": false, "synthetic": false, "memory": 0, "sha256": null,
            "verified": false, "state": "loaded", "created": 1, "path": "/m/a.gguf",
        })
    }

    #[test]
    fn the_wires_list_is_understood() {
        let list = json!({"object": "list", "data": [
            {"id": "a", "object": "model", "wattlm": {"default": true, "variants": [variant("a:q4_0"), variant("a:q8_0")]}},
        ]});
        let models = from_wire(&list).unwrap();
        assert_eq!(models[0].name, "a");
        let rows: Vec<Vec<String>> = models[0].variants.iter().map(|v| row(&models[0], v)).collect();
        assert_eq!(
            rows[0],
            ["a:q4_0", "loaded", "qwen2", "Q4_0", "494 M", "335.7 MiB", "-", "4096", "-", "default, no chat template"]
        );
        assert_eq!(rows[1].last().map(String::as_str), Some("no chat template"));
        for odd in [json!({"id": "a"}), json!({"id": "a", "wattlm": "x"}), json!([])] {
            assert_eq!(from_wire(&json!({"data": [odd]})).unwrap_err().code, Code::Protocol);
        }
    }
}
