//! A GPU for tests.
//!
//! Any that a backend offers serves; where there is no other, Mesa's Vulkan device on the processor (lavapipe), which ggml
//! takes only when it is asked for by number. The first run compiles shaders, for minutes on lavapipe; they are kept in
//! `target/tmp`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use wattlm::client::Client;
use wattlm::lane::{GpuInfo, Gpus, LaneFactory};
use wattlm::worker::process::ProcessLanes;

/// Longer than lavapipe compiles; it bounds a failure.
pub const PATIENCE: Duration = Duration::from_secs(900);

/// The daemon, which is its own worker.
pub fn exe() -> PathBuf {
    env!("CARGO_BIN_EXE_wattlmd").into()
}

/// llama.cpp's modules.
pub fn modules() -> PathBuf {
    exe().with_file_name("wattlm-modules")
}

/// What starts workers.
pub fn factory() -> ProcessLanes {
    let shader_cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shaders");
    ProcessLanes { exe: exe(), oom_score_adj: 500, shader_cache }
}

/// One test at a time: a lane on lavapipe takes all cores.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first GPU. `None` where there is none.
pub fn gpu() -> Option<GpuInfo> {
    static GPUS: OnceLock<Gpus> = OnceLock::new();
    let gpus = GPUS.get_or_init(|| {
        // Daemons of these tests keep what drivers compile in one place.
        std::env::set_var("MESA_SHADER_CACHE_DIR", factory().shader_cache);
        let found = factory().gpus()(&modules());
        if !found.found.is_empty() || std::env::var_os("GGML_VK_VISIBLE_DEVICES").is_some() {
            return found;
        }
        // Mesa's device on the processor. Its compiler takes half an hour for this model's shaders as they come, and a minute
        // with narrow vectors, unoptimised and without fused operations.
        for (name, value) in [
            ("GGML_VK_VISIBLE_DEVICES", "0"),
            ("GGML_VK_DISABLE_FUSION", "1"),
            ("GGML_VK_DISABLE_F16", "1"),
            ("LP_NATIVE_VECTOR_WIDTH", "128"),
            ("GALLIVM_PERF", "nopt"),
        ] {
            std::env::set_var(name, value);
        }
        factory().gpus()(&modules())
    });
    if let Some(why) = gpus.why_none() {
        println!("skipped, no GPU: {why}");
    }
    gpus.found.first().cloned()
}

/// A client with patience for the first use of a GPU, which compiles.
pub fn patient(daemon: &super::Daemon) -> Client {
    let mut client = Client::connect(&daemon.socket).expect("the daemon listens");
    client.set_silence(Some(PATIENCE));
    client
}
