//! The models that can be asked for, and what must hold before one is loaded.
//!
//! Binds registry and configuration. [`Catalog::prepare`] returns the slow part (digest, memory) as a closure, which
//! the service runs on a thread of its own.

use std::collections::BTreeSet;
use std::path::Path;

use super::cpu;
use crate::config::Config;
use crate::error::{Code, Error};
use crate::lane::LaneConfig;
use crate::models::registry::{ModelSpec, Registry, Sources, Variant};
use crate::sched::VariantId;
use crate::service::api::{ModelInfo, VariantInfo};

/// What came of checking a model before its load.
pub(super) enum Prepared {
    /// Start a lane with this.
    Ready(Box<LaneConfig>),
    /// It does not fit beside what is loaded.
    Blocked(Error),
    /// It cannot be loaded.
    Failed(Error),
}

/// What a request's `model` means.
pub(super) struct Resolved {
    pub variant: VariantId,
    /// `model:variant`.
    pub name: String,
    /// Answer length where the request sets none.
    pub max_tokens: u32,
}

pub(super) struct Catalog {
    config: Config,
    registry: Registry,
}

impl Catalog {
    pub fn new(config: Config) -> Self {
        let mut catalog = Catalog { config, registry: Registry::new() };
        catalog.scan();
        catalog
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Replaces the configuration and looks at the folders again. Variants keep their numbers.
    pub fn reload(&mut self, config: Config) {
        self.config = config;
        self.scan();
    }

    fn scan(&mut self) {
        let c = &self.config;
        let spec = |m: &crate::config::Model| ModelSpec {
            name: m.name.clone(),
            files: m.files.clone(),
            order: m.default_variant.iter().cloned().collect(),
        };
        let sources = Sources {
            folders: c.models.dirs.clone(),
            models: c.model.iter().filter(|m| !m.files.is_empty()).map(spec).collect(),
            default: Some(c.models.default.clone()).filter(|d| !d.is_empty()),
        };
        self.registry.rescan(&sources);
        for note in self.registry.notes() {
            log::warn!("models: {note}");
        }
    }

    /// What the client means by this name. Aliases of the configuration count as names.
    pub fn resolve(&self, name: &str) -> Result<Resolved, Error> {
        let (model, variant) = name.split_once(':').map_or((name, None), |(m, v)| (m, Some(v)));
        let alias = self.config.model.iter().find(|m| m.aliases.iter().any(|a| a == model));
        let id = match (alias, variant) {
            (None, _) => self.registry.resolve(name),
            (Some(m), None) => self.registry.resolve(&m.name),
            (Some(m), Some(v)) => self.registry.resolve(&format!("{}:{v}", m.name)),
        }?;
        let found = self.registry.variant(id);
        let max_tokens = self.config.model_settings(found.map_or("", |v| &v.model)).max_tokens;
        Ok(Resolved { variant: id, name: self.name(id), max_tokens })
    }

    /// `model:variant`, also of one whose file has gone since.
    pub fn name(&self, id: VariantId) -> String {
        self.registry.variant(id).map_or_else(|| format!("variant {}", id.0), Variant::full_name)
    }

    /// What is loaded at start. A name that means nothing is logged and left out.
    pub fn preload(&self) -> Vec<VariantId> {
        let resolve = |name: &String| match self.resolve(name) {
            Ok(r) => Some(r.variant),
            Err(e) => {
                log::error!("models.preload: {e}");
                None
            }
        };
        self.config.models.preload.iter().filter_map(resolve).collect()
    }

    /// For clients. `state` says how far a variant is loaded.
    pub fn list(&self, state: impl Fn(VariantId) -> String) -> Vec<ModelInfo> {
        let default = self.registry.default_variant();
        let model = |m: &crate::models::registry::Model| ModelInfo {
            name: m.name.clone(),
            default: default.is_some_and(|d| m.variants.contains(&d)),
            variants: m
                .variants
                .iter()
                .filter_map(|id| self.registry.variant(*id))
                .map(|v| self.info(v, state(v.id)))
                .collect(),
        };
        self.registry.models().iter().map(model).collect()
    }

    fn info(&self, v: &Variant, state: String) -> VariantInfo {
        let facts = v.facts.as_ref().ok();
        VariantInfo {
            name: v.full_name(),
            architecture: facts.map_or_else(String::new, |f| f.architecture.clone()),
            quantization: facts.map_or_else(String::new, |f| f.quantization.clone()),
            bytes: v.bytes(),
            parameters: facts.map_or(0, |f| f.parameters),
            context_train: facts.map_or(0, |f| f.context_train),
            context: self.context(v),
            chat: facts.is_some_and(|f| f.chat),
            synthetic: facts.is_some_and(|f| f.synthetic),
            memory: 0,
            sha256: None,
            verified: false,
            state: if facts.is_some() { state } else { "broken".to_owned() },
            created: v.modified(),
            path: v.path.clone(),
        }
    }

    /// The configured context, or what the model was trained for where that is less.
    fn context(&self, v: &Variant) -> u32 {
        let wanted = self.config.model_settings(&v.model).context;
        let trained = v.facts.as_ref().map_or(0, |f| f.context_train);
        if trained == 0 { wanted } else { wanted.min(trained) }
    }

    /// Bytes that the kernel and the cgroup leave to us.
    pub fn memory_available(&self) -> u64 {
        0
    }

    /// Checks a model's digest and memory and says what its lane is started with. The closure is slow (it may read the
    /// whole file) and runs elsewhere. `others`: other lanes hold memory that may be freed.
    pub fn prepare(
        &self,
        id: VariantId,
        bad_kernels: &BTreeSet<String>,
        others: bool,
    ) -> Box<dyn FnOnce() -> Prepared + Send> {
        let Some(variant) = self.registry.variant(id) else {
            let error = Error::new(Code::ModelLoadFailed, format!("{}: its file is gone", self.name(id)));
            return Box::new(move || Prepared::Failed(error));
        };
        let s = self.config.model_settings(&variant.model);
        let n_ctx = self.context(variant);
        let threads = match self.config.cpu.threads {
            0 => cpu::usable_cores(Path::new("/sys")),
            n => n,
        };
        let config = LaneConfig {
            model: variant.path.clone(),
            backends_dir: self.config.paths.modules.clone(),
            excluded_cpu_variants: bad_kernels.iter().cloned().collect(),
            n_ctx,
            slots: s.slots,
            prefill_chunk: s.prefill_chunk.min(n_ctx),
            prefill_chunk_shared: s.prefill_chunk_shared.min(n_ctx),
            threads,
            cpus: self.config.cpu.affinity.clone(),
            kv_type: s.kv_type,
            mlock: self.config.models.mlock,
            heartbeat_ms: u32::try_from(self.config.worker.heartbeat.0.as_millis()).unwrap_or(u32::MAX),
            sandbox: self.config.worker.sandbox,
        };
        let _ = others;
        Box::new(move || Prepared::Ready(Box::new(config)))
    }
}
