//! Where a lane computes: the CPU, or a GPU as ggml knows it.
//!
//! Names only. Who finds GPUs is `worker::devices`, which asks in a process of its own, because a driver may take its
//! process down; who computes on one is `engine`.

use serde::{Deserialize, Serialize};

/// GPU backends that may lie beside the CPU's, in the order in which their GPUs are counted: a chip's own before the
/// general ones.
pub const GPU_MODULES: &[&str] = &["cuda", "hip", "vulkan", "opencl"];

/// Where a lane computes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Device {
    /// The CPU. No GPU is touched.
    #[default]
    Cpu,
    /// This GPU, with all layers.
    Gpu(GpuId),
}

impl Device {
    /// `cpu`, `gpu0`, …
    pub fn name(&self) -> &str {
        match self {
            Device::Cpu => "cpu",
            Device::Gpu(gpu) => &gpu.name,
        }
    }

    /// Whether it is a GPU.
    pub fn is_gpu(&self) -> bool {
        matches!(self, Device::Gpu(_))
    }
}

/// What a GPU is found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GpuId {
    /// wattlm's name: `gpu0`, `gpu1`, … in the order in which they were found.
    pub name: String,
    /// The backend module, as in `libggml-vulkan.so`: `vulkan`, `cuda`, `opencl`.
    pub module: String,
    /// The backend's name for it, e.g. `Vulkan0`.
    pub ggml: String,
}

/// A GPU that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInfo {
    /// What it is found by.
    #[serde(flatten)]
    pub id: GpuId,
    /// What its driver calls it.
    pub description: String,
    /// Where it sits, e.g. `0000:01:00.0`, where the backend says. Two GPUs of one place are the same chip, seen through
    /// two backends.
    pub bus: Option<String>,
    /// Its memory is the machine's: weights that are copied there take RAM a second time.
    pub unified: bool,
    /// Bytes of memory.
    pub memory_total: u64,
    /// Bytes free when it was found. Some drivers do not know and say all of it.
    pub memory_free: u64,
}

/// The GPUs of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gpus {
    /// Those found.
    pub found: Vec<GpuInfo>,
    /// Why a backend gave none: its library or its driver is missing, or it failed.
    pub notes: Vec<String>,
}

impl Gpus {
    /// None, for this reason.
    pub fn none(why: impl Into<String>) -> Gpus {
        Gpus { found: Vec::new(), notes: vec![why.into()] }
    }

    /// Adds one and names it `gpu0`, `gpu1`, …; not where it is one that another backend already offers, for a card counts
    /// once. Where a driver does not tell the bus, the card's description has to do.
    pub fn add(&mut self, mut gpu: GpuInfo) {
        let same = |other: &&GpuInfo| {
            other.id.module != gpu.id.module
                && match (&other.bus, &gpu.bus) {
                    (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
                    _ => other.description == gpu.description,
                }
        };
        if let Some(other) = self.found.iter().find(same) {
            self.notes.push(format!("{}: {} is {}, by {}", gpu.id.module, gpu.id.ggml, other.id.name, other.id.module));
            return;
        }
        gpu.id.name = format!("gpu{}", self.found.len());
        self.found.push(gpu);
    }

    /// Why there is none, for people. `None` where there is one.
    pub fn why_none(&self) -> Option<String> {
        match (self.found.is_empty(), self.notes.is_empty()) {
            (false, _) => None,
            (true, true) => Some("no driver offers one".into()),
            (true, false) => Some(self.notes.join("; ")),
        }
    }

    /// The GPU of this name.
    pub fn get(&self, name: &str) -> Option<&GpuInfo> {
        self.found.iter().find(|g| g.id.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_two_backends_offer_counts_once() {
        let offered = |module: &str, ggml: &str, bus: Option<&str>| GpuInfo {
            id: GpuId { name: String::new(), module: module.into(), ggml: ggml.into() },
            description: "NVIDIA H100".into(),
            bus: bus.map(String::from),
            unified: false,
            memory_total: 2,
            memory_free: 1,
        };
        let mut gpus = Gpus::default();
        // Two cards of one kind.
        gpus.add(offered("cuda", "CUDA0", Some("0000:0a:00.0")));
        gpus.add(offered("cuda", "CUDA1", Some("0000:0b:00.0")));
        gpus.add(offered("vulkan", "Vulkan0", Some("0000:0B:00.0")));
        gpus.add(offered("vulkan", "Vulkan1", None));
        gpus.add(offered("vulkan", "Vulkan2", Some("0000:0c:00.0")));
        let names: Vec<_> = gpus.found.iter().map(|g| (g.id.name.as_str(), g.id.ggml.as_str())).collect();
        assert_eq!(names, [("gpu0", "CUDA0"), ("gpu1", "CUDA1"), ("gpu2", "Vulkan2")]);
        assert_eq!(gpus.notes, ["vulkan: Vulkan0 is gpu1, by cuda", "vulkan: Vulkan1 is gpu0, by cuda"]);
    }

    #[test]
    fn no_gpu_is_said_with_its_reason() {
        assert_eq!(Gpus::default().why_none().as_deref(), Some("no driver offers one"));
        assert_eq!(Gpus::none("vulkan: no loader").why_none().as_deref(), Some("vulkan: no loader"));
        let gpu = GpuInfo {
            id: GpuId { name: "gpu0".into(), module: "vulkan".into(), ggml: "Vulkan0".into() },
            description: "llvmpipe".into(),
            bus: None,
            unified: true,
            memory_total: 2,
            memory_free: 1,
        };
        let gpus = Gpus { found: vec![gpu], notes: vec!["cuda: no driver".into()] };
        assert_eq!(gpus.why_none(), None);
        assert_eq!(gpus.get("gpu0").map(|g| g.memory_free), Some(1));
        assert!(gpus.get("gpu1").is_none());
        assert_eq!((Device::Cpu.name(), Device::Gpu(gpus.found[0].id.clone()).name()), ("cpu", "gpu0"));
    }
}
