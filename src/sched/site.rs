//! Where work can run: devices, and the places that a lane can have.
//!
//! Plain data. What always holds: device 0 is the CPU, which every device has.

use serde::{Deserialize, Serialize};

/// Which variant of which model: an index into the registry, stable while the daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VariantId(pub u32);

/// A device that computes: 0 is the CPU, the others are GPUs in the order in which they were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceId(pub u8);

impl DeviceId {
    /// The CPU.
    pub const CPU: DeviceId = DeviceId(0);

    /// Whether it is the CPU.
    pub fn is_cpu(self) -> bool {
        self == DeviceId::CPU
    }
}

/// Where a lane can be: one variant on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Site {
    /// What is loaded.
    pub variant: VariantId,
    /// Where.
    pub device: DeviceId,
}

impl Site {
    /// This variant on the CPU.
    pub fn cpu(variant: VariantId) -> Site {
        Site { variant, device: DeviceId::CPU }
    }
}

/// Which devices a request may run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The CPU.
    Cpu,
    /// Any GPU.
    Gpu,
}

impl Backend {
    /// Whether this device is one of them.
    pub fn allows(self, device: DeviceId) -> bool {
        device.is_cpu() == (self == Backend::Cpu)
    }
}
