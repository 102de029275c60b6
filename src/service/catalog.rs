//! The models that can be asked for, and what must hold before one is loaded.
//!
//! Binds registry and configuration. [`Catalog::verify`] returns the slow part, the digest, as a closure, which the
//! service runs on a thread of its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::cpu;
use crate::config::Config;
use crate::error::{Code, Error};
use crate::lane::{Device, GpuInfo, KvType, LaneConfig};
use crate::models::digest::{sidecar_of, Digests};
use crate::models::fit::{self, CpuKind, Need, Other, Wanted};
use crate::models::memory::{self, Available};
use crate::models::registry::{ModelSpec, Registry, Sources, Stamp, Variant};
use crate::sched::{Candidate, VariantId};
use crate::service::api::{ModelInfo, VariantInfo};

/// What came of checking a model before its load.
pub(super) enum Prepared {
    /// Start a lane with this; it will need that.
    Ready(Box<LaneConfig>, Need),
    /// It does not fit beside what is loaded.
    Blocked(Error),
    /// It cannot be loaded.
    Failed(Error),
}

/// What a variant's file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// Stands for it: its digest, or while that is not known its file's size and time.
    pub name: String,
    /// The file when it was looked at.
    pub stamp: Stamp,
    /// It keeps this name: the digest is known, or nobody will compute it before a load.
    pub settled: bool,
}

impl Content {
    /// Whether both are the same, also where one of them was looked at before its digest was known.
    pub fn is(&self, other: &Content) -> bool {
        self.name == other.name || self.stamp == other.stamp
    }
}

/// What a request's `model` means.
pub(super) struct Resolved {
    pub variant: VariantId,
    /// `model:variant`.
    pub name: String,
    /// Answer length where the request sets none.
    pub max_tokens: u32,
}

impl Prepared {
    /// There is no room beside others. Letting these go is worth it only where it would fit `alone`.
    fn without_room(error: Error, alone: bool, held: Held) -> Prepared {
        match alone && held.freeable.saturating_add(held.taken) > 0 {
            true => Prepared::Blocked(error),
            false => Prepared::Failed(error),
        }
    }
}

/// What the other lanes hold, as predicted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    /// Bytes that the kernel counts as available and that lanes need: weights in the page cache, and all of a lane
    /// that is still loading.
    pub taken: u64,
    /// Bytes that are not available and would be without the lanes.
    pub freeable: u64,
}

impl Held {
    /// What could be had if they were gone.
    fn alone(self, available: Available) -> Available {
        Available { bytes: available.bytes.saturating_add(self.freeable), ..available }
    }
}

pub(super) struct Catalog {
    config: Config,
    registry: Registry,
    digests: Arc<Digests>,
}

impl Catalog {
    pub fn new(config: Config) -> Self {
        let digests = Arc::new(Digests::new(Some(&config.paths.state)));
        let mut catalog = Catalog { config, registry: Registry::new(), digests };
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
        for model in &self.config.model {
            let variants = model.variants.iter().map(|v| ("variants", format!("{}:{v}", model.name)));
            let lesser = model.degrade_to.iter().map(|name| ("degrade_to", name.clone()));
            for (key, name) in variants.chain(lesser).filter(|(_, name)| self.resolve(name).is_err()) {
                log::warn!(
                    "[[model]] '{}': {key} names '{name}', and there is no such model: it is left out",
                    model.name
                );
            }
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
        // Of files that were found in a folder the registry knows no order.
        let explicit = variant.is_some() || (name.is_empty() && self.config.models.default.contains(':'));
        let named = found.filter(|_| !explicit).and_then(|v| {
            let default = self.config.model(&v.model)?.default_variant.as_ref()?;
            self.registry.resolve(&format!("{}:{default}", v.model)).ok()
        });
        let id = named.unwrap_or(id);
        let max_tokens = self.config.model_settings(found.map_or("", |v| &v.model)).max_tokens;
        Ok(Resolved { variant: id, name: self.name(id), max_tokens })
    }

    /// What may answer in place of this one: variants of its model that are declared to be as good, and, where the request
    /// allows that, lesser ones. The one that was asked for first. With `named` the request wants this variant.
    pub fn candidates(&self, resolved: &Resolved, named: bool, degrade: bool) -> Vec<Candidate> {
        let mut all = vec![Candidate { variant: resolved.variant, lesser: false }];
        let model = self.registry.variant(resolved.variant).and_then(|v| self.config.model(&v.model));
        let Some(model) = model else { return all };
        let equals = model.variants.iter().filter(|_| !named).map(|v| (format!("{}:{v}", model.name), false));
        let lesser = model.degrade_to.iter().filter(|_| degrade).map(|name| (name.clone(), true));
        for (name, lesser) in equals.chain(lesser) {
            // One that is not there was told of when the folders were searched.
            let Ok(Resolved { variant, .. }) = self.resolve(&name) else { continue };
            if all.iter().all(|candidate| candidate.variant != variant) {
                all.push(Candidate { variant, lesser });
            }
        }
        all
    }

    /// What a variant's file holds now, whenever its header was read. `None` for one that cannot be loaded. It reads the
    /// disk.
    pub fn content(&self, id: VariantId) -> Option<Content> {
        let variant = self.registry.variant(id).filter(|v| v.facts.is_ok())?;
        let stamp = Stamp::of(&std::fs::metadata(&variant.path).ok()?);
        let digest = self.digests.remembered(&variant.path);
        let settled = digest.is_some() || !sidecar_of(&variant.path).exists();
        let name = digest.unwrap_or_else(|| format!("{} bytes of {}", stamp.size, stamp.mtime_ns));
        Some(Content { name, stamp, settled })
    }

    /// What a variant's key-value cache is made of.
    pub fn kv_type(&self, id: VariantId) -> KvType {
        let model = self.registry.variant(id).map_or("", |v| v.model.as_str());
        self.config.model_settings(model).kv_type
    }

    /// All variants that can be loaded.
    pub fn variants(&self) -> Vec<VariantId> {
        self.registry.variants().filter(|v| v.facts.is_ok()).map(|v| v.id).collect()
    }

    /// Cells of context that a variant is served with, and requests at once.
    pub fn size(&self, id: VariantId) -> (u32, u32) {
        let Some(variant) = self.registry.variant(id) else { return (0, 0) };
        (self.context(variant), self.config.model_settings(&variant.model).slots)
    }

    /// `model:variant`, also of one whose file has gone since.
    pub fn name(&self, id: VariantId) -> String {
        self.registry.variant(id).map_or_else(|| format!("variant {}", id.0), Variant::full_name)
    }

    /// How long this variant's lane may be idle.
    pub fn idle_unload(&self, id: VariantId) -> Option<Duration> {
        let model = self.registry.variant(id).map_or("", |v| v.model.as_str());
        self.config.model_settings(model).idle_unload
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
        let digest = self.digests.remembered(&v.path);
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
            memory: self.memory(v.id, None),
            verified: digest.is_some(),
            sha256: digest,
            state: if facts.is_some() { state } else { "broken".to_owned() },
            created: v.modified(),
            path: v.path.clone(),
        }
    }

    /// The configured context, or what the model was trained for where that is less.
    fn context(&self, v: &Variant) -> u32 {
        let wanted = self.config.model_settings(&v.model).context;
        let trained = v.facts.as_ref().map_or(0, |f| f.context_train);
        if trained == 0 {
            wanted
        } else {
            wanted.min(trained)
        }
    }

    /// Bytes that a lane of this variant is thought to take, on the CPU or on a GPU, whose own memory counts; 0 where the
    /// file cannot be read.
    pub fn memory(&self, id: VariantId, gpu: Option<&GpuInfo>) -> u64 {
        let found = self.registry.variant(id).and_then(|v| Some((v, v.facts.as_ref().ok()?)));
        let Some((variant, facts)) = found else { return 0 };
        let wanted = Wanted::of(&self.lane(variant));
        let Some(gpu) = gpu else { return fit::predict(&facts.shape, &wanted, CpuKind::host()).total() };
        let need = fit::predict_on_gpu(&facts.shape, &wanted, gpu.unified);
        let own = if gpu.unified { 0 } else { need.device };
        need.host.total().saturating_add(own)
    }

    /// Bytes that the kernel and the cgroup leave to us; 0 where they do not say.
    pub fn memory_available(&self) -> u64 {
        memory::available(Path::new("/")).map_or(0, |a| a.bytes)
    }

    /// Compares a model's file with its digest. The closure is slow (it may read the whole file) and runs elsewhere.
    pub fn verify(&self, id: VariantId) -> Box<dyn FnOnce() -> Result<(), Error> + Send> {
        let Some(variant) = self.registry.variant(id) else {
            let error = self.gone(id);
            return Box::new(move || Err(error));
        };
        let (digests, path) = (Arc::clone(&self.digests), variant.path.clone());
        let require = self.config.models.require_digest;
        Box::new(move || digests.verify(&path, require, &mut |_| true).map(drop))
    }

    /// Says what a verified model's lane is started with, if it fits beside what is loaded and what is being loaded.
    /// `gpu`: where it shall be loaded, if not on the CPU.
    pub fn admit(&self, id: VariantId, gpu: Option<&GpuInfo>, bad_kernels: &BTreeSet<String>, held: Held) -> Prepared {
        let found = self.registry.variant(id).and_then(|v| Some((v, v.facts.as_ref().ok()?)));
        let Some((variant, facts)) = found else { return Prepared::Failed(self.gone(id)) };
        let device = gpu.map_or(Device::Cpu, |gpu| Device::Gpu(gpu.id.clone()));
        let excluded_cpu_variants = bad_kernels.iter().cloned().collect();
        let lane = LaneConfig { device, excluded_cpu_variants, ..self.lane(variant) };
        let name = variant.full_name();
        let mut available = match memory::available(Path::new("/")) {
            Ok(available) => available,
            Err(e) => {
                log::warn!("cannot tell how much memory is available ({e}): {name} is loaded unchecked");
                return Prepared::Ready(Box::new(lane), Need::default());
            }
        };
        available.bytes = available.bytes.saturating_sub(self.config.models.memory_reserve.0);
        let siblings: Vec<_> = self
            .registry
            .variants()
            .filter(|v| v.model == variant.model && v.id != id)
            .filter_map(|v| Some((v.full_name(), &v.facts.as_ref().ok()?.shape)))
            .collect();
        let others: Vec<_> = siblings.iter().map(|(name, shape)| Other { name, shape }).collect();
        let (wanted, cpu) = (Wanted::of(&lane), CpuKind::host());
        if let Some(gpu) = gpu {
            return match fit::check_on_gpu(&name, &facts.shape, &wanted, gpu, &available, held.taken) {
                Ok(need) => Prepared::Ready(Box::new(lane), need.host),
                Err(error) => {
                    // What other lanes hold of the GPU's own memory is not known: what does not fit there never does.
                    let alone = held.alone(available);
                    let fits = fit::check_on_gpu(&name, &facts.shape, &wanted, gpu, &alone, 0).is_ok();
                    Prepared::without_room(error, fits, held)
                }
            };
        }
        match fit::check(&name, &facts.shape, &wanted, cpu, &available, held.taken, &others) {
            Ok(need) => Prepared::Ready(Box::new(lane), need),
            Err(error) => {
                let fits = fit::predict(&facts.shape, &wanted, cpu).total() <= held.alone(available).bytes;
                Prepared::without_room(error, fits, held)
            }
        }
    }

    fn gone(&self, id: VariantId) -> Error {
        Error::new(Code::ModelLoadFailed, format!("{}: its file is gone", self.name(id)))
    }

    /// What a lane of this variant is started with.
    fn lane(&self, variant: &Variant) -> LaneConfig {
        let s = self.config.model_settings(&variant.model);
        let n_ctx = self.context(variant);
        let threads = match self.config.cpu.threads {
            0 => cpu::usable_cores(&self.config.paths.sysfs),
            n => n,
        };
        LaneConfig {
            model: variant.path.clone(),
            device: Device::Cpu,
            backends_dir: self.config.paths.modules.clone(),
            excluded_cpu_variants: Vec::new(),
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
        }
    }
}
