//! The inference engine: one model on one device, as a lane's insides.
//!
//! [`run`] loads the model, serves what comes in by continuous batching, and returns when it is told to quit. It owns
//! its thread: in a worker process that is the process, in direct mode a thread of the app. It does not open sockets,
//! does not meter, and does not choose what to run; the service does.
//!
//! What always holds: every [`ToLane::Start`] is answered by one [`FromLane::Done`] unless the process dies; `unsafe`
//! stands in [`llama`] only; idle, no thread of the engine runs.

mod admit;
mod alive;
mod backends;
mod cells;
mod governor;
mod handover;
mod llama;
mod mailbox;
mod pauses;
mod plan;
mod probe;
mod prompt;
mod ration;
mod sampling;
mod serve;
mod sharing;
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
use crate::lane::{Device, FromLane, Gpus, LaneConfig, LaneInfo, ToLane};
use alive::Alive;
use llama::{Batch, Context, ContextParams, Decoded, Model, ModelParams, MAX_SEQUENCES};
use mailbox::Mailbox;
use template::ChatTemplate;
use threads::Threads;

/// Where the lane's messages go. Called from the engine's thread, and from any thread of llama.cpp that logs.
pub type OutFn = Arc<dyn Fn(FromLane) + Send + Sync>;

/// What the engine needs of the process it runs in.
pub struct Hooks {
    /// Called once, on the engine's thread, when kernels and drivers are loaded and before a byte of the model is read.
    pub on_backends: Box<dyn FnOnce() + Send>,
    /// Called once, on the engine's thread, when everything is mapped and allocated and before the compute threads
    /// exist: it may confine the thread, which those inherit. On a GPU, when its first steps have run: until then the
    /// driver opens devices and keeps what it compiled. Its answer becomes [`LaneInfo::sandbox`].
    pub on_mapped: Box<dyn FnOnce() -> String + Send>,
    /// Grows as long as the engine computes.
    pub progress: Arc<AtomicU64>,
}

/// Sequences for prefixes of finished requests, beyond the slots: so that a few apps with a prompt each do not push
/// one another out. A sequence costs next to nothing, its cells are counted on their own.
const CACHED_SEQUENCES: u32 = 4;

/// Threads of a lane on a GPU: it computes rows of the token embedding, and waits.
const GPU_THREADS: u32 = 1;

/// Largest prefill chunk on a GPU, whose step nothing can end early.
const GPU_CHUNK: u32 = 512;

/// A driver may compile for so long when a GPU first meets a model's kinds of operations: minutes where the processor is
/// the GPU. It keeps the result on disk.
const GPU_LOAD: Duration = Duration::from_secs(1200);

/// And for so long in one step, which may be the first of its kind.
const GPU_STEP: Duration = Duration::from_secs(120);

/// Loads the model and serves until [`ToLane::Quit`] or until nobody holds the other end of `inbox`.
///
/// Sends [`FromLane::Loading`], then [`FromLane::Ready`] or [`FromLane::LoadFailed`]; after the latter it returns.
pub fn run(mut config: LaneConfig, inbox: Receiver<ToLane>, out: OutFn, hooks: Hooks) {
    if config.device.is_gpu() {
        config.threads = config.threads.min(GPU_THREADS);
        config.prefill_chunk = config.prefill_chunk.min(GPU_CHUNK);
        config.prefill_chunk_shared = config.prefill_chunk_shared.min(GPU_CHUNK);
    }
    let alive = config.device.is_gpu().then(|| Alive::new(hooks.progress.clone()));
    let mail = Rc::new(Mailbox::new(inbox, hooks.progress, alive));
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
    mail.begins(GPU_LOAD);
    let loaded = load(&config, &mail, &out, hooks.on_backends, hooks.on_mapped);
    mail.ends();
    match loaded {
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

/// The GPUs for which `backends_dir` has a module. A driver that fails may end this process.
pub fn find_gpus(backends_dir: &Path) -> Gpus {
    // Says why a module cannot be loaded.
    llama::process::listen(Arc::new(|_, _| {}), Arc::new(|message| eprintln!("{message}")));
    let gpus = backends::find_gpus(backends_dir);
    llama::process::unlisten();
    gpus
}

/// Brings everything up. `None`: told to quit meanwhile.
fn load(
    config: &LaneConfig,
    mail: &Rc<Mailbox>,
    out: &OutFn,
    on_backends: Box<dyn FnOnce() + Send>,
    on_mapped: Box<dyn FnOnce() -> String + Send>,
) -> Result<Option<(serve::Server, LaneInfo)>> {
    let begun = Instant::now();
    let failed = |message: String| Error::new(Code::ModelLoadFailed, message);
    out(FromLane::Loading(0.0));
    check_file(&config.model)?;
    let cpu = backends::load_cpu(&config.backends_dir, &config.excluded_cpu_variants)?;
    out(FromLane::Kernels(cpu.variant.clone()));
    let gpu = match &config.device {
        Device::Cpu => None,
        Device::Gpu(id) => Some(backends::load_gpu(&config.backends_dir, id)?),
    };
    on_backends();
    llama::process::init();
    let model_id = handover::fingerprint(&config.model, config.kv_type)
        .map_err(|e| failed(format!("{}: cannot read the model file: {e}", config.model.display())))?;

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
    let params = ModelParams { mlock: config.mlock, gpu: gpu.as_ref().map(|(device, _)| *device) };
    let model = match Model::load(&config.model, &params, &mut progress) {
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

    let (threads, sandbox);
    if gpu.is_none() {
        sandbox = on_mapped();
        threads = Threads::new(config.threads, &config.cpus, &mut context).map_err(failed)?;
        warm_up(&model, &mut context, &[1]).map_err(failed)?;
    } else {
        threads = Threads::new(config.threads, &config.cpus, &mut context).map_err(failed)?;
        warm_up(&model, &mut context, &first_steps(chunk)).map_err(failed)?;
        sandbox = on_mapped();
    }
    let kernels = match &gpu {
        None => cpu.describe(),
        Some((_, facts)) => format!("{} ({}); {}", facts.name, facts.description, cpu.describe()),
    };
    let info = LaneInfo {
        n_ctx: config.n_ctx,
        n_ctx_train: model.n_ctx_train(),
        n_vocab: model.n_vocab(),
        device: if gpu.is_some() { config.device.name().to_string() } else { "CPU".into() },
        kernels,
        cpu_variant: cpu.variant,
        threads: threads.count(),
        weight_bytes: model.size(),
        cell_cost: model.cell_cost(),
        load_ms: u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX),
        chat: matches!(template, Some(Ok(_))),
        synthetic: model.meta("wattlm.synthetic").is_some_and(|v| v == "true"),
        sandbox,
    };
    let (mail, out) = (mail.clone(), out.clone());
    let server = serve::Server::new(config, model, context, threads, mail, out, template, sequences, seeds, model_id);
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

/// A step for each kind of kernel that a lane on a GPU will want: vectors, for each number of tokens a kernel of its own,
/// be they of sequences that are decoded together or what is left of a prompt; and matrices of three sizes (ggml-vulkan's
/// `ggml_vk_guess_matmul_pipeline`). What is rarer is compiled when it is met, and not kept.
fn first_steps(chunk: u32) -> Vec<u32> {
    /// Wider products are of matrices, for all of ggml's backends.
    const WIDEST_VECTOR: u32 = 8;
    /// And wider ones than these of larger tiles.
    const TILES: [u32; 2] = [32, 64];
    let mut steps: Vec<u32> = (1..=WIDEST_VECTOR).chain(TILES).map(|n| n.min(chunk)).chain([chunk]).collect();
    steps.dedup();
    steps
}

/// Decodes steps of these lengths and forgets them: the first decode allocates what the later ones reuse, and kernels that
/// do not run here are better found out now than with a user's request.
fn warm_up(model: &Model, context: &mut Context, steps: &[u32]) -> std::result::Result<(), String> {
    let mut batch = Batch::default();
    let token = model.bos().or(model.eos()).unwrap_or(0);
    let most = context.n_batch() as u32;
    for tokens in steps.iter().map(|n| (*n).min(most)) {
        batch.clear();
        for position in 0..tokens {
            batch.push(token, position, 0, position + 1 == tokens);
        }
        let decoded = context.decode(&mut batch);
        context.clear();
        if decoded != Decoded::Done {
            return Err(format!("the model's first step failed ({decoded:?})"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::first_steps;

    #[test]
    fn a_gpu_meets_every_kind_of_kernel_before_it_is_ready_and_none_twice() {
        assert_eq!(first_steps(512), [1, 2, 3, 4, 5, 6, 7, 8, 32, 64, 512]);
        assert_eq!(first_steps(32), [1, 2, 3, 4, 5, 6, 7, 8, 32]);
        assert_eq!(first_steps(3), [1, 2, 3]);
    }
}
