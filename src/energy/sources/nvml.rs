//! NVIDIA's cards, through the driver's library.
//!
//! The library is loaded when it is asked for and stays loaded; where there is none, there are no cards. A card since
//! Volta counts its energy in millijoules; an older one shows its power only. Cards that are split (MIG) count as a
//! whole. Not for Jetson modules, whose library knows no power.

use std::path::PathBuf;
use std::time::Duration;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use parking_lot::Mutex;

use super::{Fault, Kind, Role, Source, Spec};
use crate::energy::Scope;
use crate::units::Microwatts;

/// 20 to 100 ms by card.
const REFRESH: Duration = Duration::from_millis(100);
/// No card draws more.
const LIMIT: Microwatts = Microwatts(5_000_000_000);

/// The library, once it was found. It is never unloaded: the driver's library starts threads and keeps state of the
/// process, and the handles of cards live as long as it does.
static LIBRARY: Mutex<Option<&'static Nvml>> = Mutex::new(None);

fn library() -> Option<&'static Nvml> {
    let mut library = LIBRARY.lock();
    if library.is_none() {
        // Tried anew each time: a driver may be loaded later. Without the library this is a search along the linker's
        // path and no more.
        *library = Nvml::init().ok().map(|nvml| &*Box::leak(Box::new(nvml)));
    }
    *library
}

struct Card {
    spec: Spec,
    device: Device<'static>,
}

pub(super) fn discover() -> Vec<Box<dyn Source>> {
    let Some(nvml) = library() else { return Vec::new() };
    let count = nvml.device_count().unwrap_or(0);
    let cards = (0..count).filter_map(|index| {
        let device = nvml.device_by_index(index).ok()?;
        let kind = match (device.total_energy_consumption(), device.power_usage()) {
            (Ok(_), _) => Kind::Counter { range: None },
            (_, Ok(_)) => Kind::Power,
            _ => return None,
        };
        let spec = Spec {
            name: format!("nvml:{index}"),
            what: "graphics card",
            scope: Scope::Package,
            role: Role::Graphics,
            kind,
            contains: Vec::new(),
            refresh: REFRESH,
            limit: LIMIT,
            averages: true,
            restless: kind != Kind::Power,
            path: PathBuf::from(format!("/dev/nvidia{index}")),
        };
        Some(Box::new(Card { spec, device }) as Box<dyn Source>)
    });
    cards.collect()
}

impl Source for Card {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn read(&mut self) -> Result<u64, Fault> {
        let milli = match self.spec.kind {
            Kind::Counter { .. } => self.device.total_energy_consumption(),
            Kind::Power => self.device.power_usage().map(u64::from),
        };
        milli.map(|m| m.saturating_mul(1000)).map_err(|e| match e {
            NvmlError::NoPermission => Fault::Denied,
            other => Fault::Gone(other.to_string()),
        })
    }
}
