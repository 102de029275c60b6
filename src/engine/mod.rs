//! The inference engine: one model on one device, as a lane's insides.
//!
//! [`run`] loads the model, serves what comes in by continuous batching, and returns when it is told to quit. It owns
//! its thread: in a worker process that is the process, in direct mode a thread of the app. It does not open sockets,
//! does not meter, and does not choose what to run; the service does.
//!
//! What always holds: every [`ToLane::Start`] is answered by one [`FromLane::Done`] unless the process dies; `unsafe`
//! stands in [`llama`] only; idle, no thread of the engine runs.

mod admit;
mod backends;
mod cells;
mod governor;
mod llama;
mod mailbox;
mod pauses;
mod plan;
mod prompt;
mod ration;
mod sampling;
mod serve;
mod slots;
mod template;
mod text;
mod threads;

use std::io::Read;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Receiver;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Code, Error, Result};
use crate::lane::{FromLane, LaneConfig, LaneInfo, ToLane};
use llama::{Batch, Context, ContextParams, Decoded, Model, ModelParams, MAX_SEQUENCES};
use mailbox::Mailbox;
use template::ChatTemplate;
use threads::Threads;

/// Where the lane's messages go. Called from the engine's thread, and from any thread of llama.cpp that logs.
pub type OutFn = Arc<dyn Fn(FromLane) + Send + Sync>;

/// What the engine needs of the process it runs in.
pub struct Hooks {
    /// Called once, on the engine's thread, when everything is mapped and allocated and before the compute threads
    /// exist: it may confine the thread, which those inherit. Its answer becomes [`LaneInfo::sandbox`].
    pub on_mapped: Box<dyn FnOnce() -> String + Send>,
    /// Grows as long as the engine computes.
    pub progress: Arc<AtomicU64>,
}

/// Sequences for prefixes of finished requests, beyond the slots: so that a few apps with a prompt each do not push
/// one another out. A sequence costs next to nothing, its cells are counted on their own.
const CACHED_SEQUENCES: u32 = 4;

/// Loads the model and serves until [`ToLane::Quit`] or until nobody holds the other end of `inbox`.
///
/// Sends [`FromLane::Loading`], then [`FromLane::Ready`] or [`FromLane::LoadFailed`]; after the latter it returns.
pub fn run(config: LaneConfig, inbox: Receiver<ToLane>, out: OutFn, hooks: Hooks) {
    let mail = Rc::new(Mailbox::new(inbox, hooks.progress));
    let (log, fatal) = (out.clone(), out.clone());
    llama::process::listen(
        Arc::new(move |level, text| {
            // llama.cpp tells a page about each model; what a service needs of it is in `LaneInfo`.
            if level <= 2 {
                log(FromLane::Log { level, text: text.to_string() });
            }
        }),
        Arc::new(move |message| fatal(FromLane::Fatal(message.to_string()))),
    );
    match load(&config, &mail, &out, hooks.on_mapped) {
        Ok(Some((server, info))) => {
            out(FromLane::Ready(Box::new(info)));
            server.run();
        }
        // Told to quit while loading.
        Ok(None) => {}
        Err(e) => out(FromLane::LoadFailed(e)),
    }
    llama::process::unlisten();
}

/// Brings everything up. `None`: told to quit meanwhile.
fn load(
    config: &LaneConfig,
    mail: &Rc<Mailbox>,
    out: &OutFn,
    on_mapped: Box<dyn FnOnce() -> String + Send>,
) -> Result<Option<(serve::Server, LaneInfo)>> {
    let begun = Instant::now();
    let failed = |message: String| Error::new(Code::ModelLoadFailed, message);
    out(FromLane::Loading(0.0));
    check_file(&config.model)?;
    let cpu = backends::load_cpu(&config.backends_dir, &config.excluded_cpu_variants)?;
    out(FromLane::Kernels(cpu.variant.clone()));
    llama::process::init();

    let mut reported = (begun, 0.0);
    let mut progress = |fraction: f32| {
        mail.bump();
        // At most 20 messages a second.
        if fraction > reported.1 && reported.0.elapsed() >= Duration::from_millis(50) {
            reported = (Instant::now(), fraction);
            out(FromLane::Loading(fraction.clamp(0.0, 1.0)));
        }
        !mail.quit()
    };
    let model = match Model::load(&config.model, &ModelParams { mlock: config.mlock }, &mut progress) {
        Ok(model) => Arc::new(model),
        Err(_) if mail.quit() => return Ok(None),
        Err(why) => return Err(failed(format!("cannot load {}: {}", config.model.display(), or_unknown(why)))),
    };
    if let Some(why) = model.not_a_generator() {
        return Err(failed(format!("{} cannot be served: {why}", config.model.display())));
    }

    let slots = config.slots.clamp(1, 64);
    // Recurrent state is allocated for every sequence and is large.
    let spare = if model.is_recurrent() { 0 } else { CACHED_SEQUENCES };
    let sequences = (slots + spare).min(MAX_SEQUENCES);
    let chunk = config.prefill_chunk.max(config.prefill_chunk_shared).clamp(1, config.n_ctx.max(1));
    let params =
        ContextParams { n_ctx: config.n_ctx, n_batch: chunk + slots, n_seq: sequences, kv_type: config.kv_type };
    let watch = mail.clone();
    let mut context = Context::new(model.clone(), &params, Box::new(move || watch.watch())).map_err(|why| {
        failed(format!(
            "cannot make a context of {} cells for {}: {}; lower the context or the slots",
            config.n_ctx,
            config.model.display(),
            or_unknown(why)
        ))
    })?;
    if !context.has_memory() {
        return Err(failed(format!("{} cannot be served: it generates no text", config.model.display())));
    }
    let template = model.chat_template().map(|source| {
        let text = |token: Option<llama::Token>| token.map(|t| model.token_text(t)).unwrap_or_default();
        ChatTemplate::new(&source, text(model.bos()), text(model.eos()))
    });
    if let Some(Err(e)) = &template {
        out(FromLane::Log { level: 2, text: e.message.clone() });
    }
    let seeds = getrandom::u64().map_err(|e| failed(format!("the system gives no random numbers: {e}")))?;

    let sandbox = on_mapped();
    let threads = Threads::new(config.threads, &config.cpus, &mut context).map_err(failed)?;
    warm_up(&model, &mut context).map_err(failed)?;
    let info = LaneInfo {
        n_ctx: config.n_ctx,
        n_ctx_train: model.n_ctx_train(),
        n_vocab: model.n_vocab(),
        device: "CPU".into(),
        kernels: cpu.describe(),
        cpu_variant: cpu.variant,
        threads: threads.count(),
        weight_bytes: model.size(),
        cell_cost: model.cell_cost(),
        load_ms: u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX),
        chat: matches!(template, Some(Ok(_))),
        synthetic: model.meta("wattlm.synthetic").is_some_and(|v| v == "true"),
        sandbox,
    };
    let server =
        serve::Server::new(config, model, context, threads, mail.clone(), out.clone(), template, sequences, seeds);
    Ok(Some((server, info)))
}

fn or_unknown(why: String) -> String {
    if why.is_empty() {
        "llama.cpp gave no reason".into()
    } else {
        why
    }
}

/// Says what is wrong with the file in plainer words than llama.cpp would.
fn check_file(path: &Path) -> Result<()> {
    let failed = |why: String| Err(Error::new(Code::ModelLoadFailed, format!("{}: {why}", path.display())));
    let mut magic = [0; 4];
    match std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut magic)) {
        Ok(()) if &magic == b"GGUF" => Ok(()),
        Ok(()) => failed("not a GGUF file; convert the model to GGUF first".into()),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => failed("not a GGUF file: it is cut short".into()),
        Err(e) => failed(format!("cannot read the model file: {e}; check its path and permissions")),
    }
}

/// Decodes a token and forgets it: the first decode allocates what the later ones reuse, and a CPU variant that does
/// not run here is better found out now than with a user's request.
fn warm_up(model: &Model, context: &mut Context) -> std::result::Result<(), String> {
    let mut batch = Batch::default();
    batch.push(model.bos().or(model.eos()).unwrap_or(0), 0, 0, true);
    let decoded = context.decode(&mut batch);
    context.clear();
    match decoded {
        Decoded::Done => Ok(()),
        other => Err(format!("the model's first step failed ({other:?})")),
    }
}
