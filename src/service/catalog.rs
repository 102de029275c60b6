//! The models that can be asked for, and what must hold before one is loaded.
//!
//! Binds registry and configuration. [`Catalog::prepare`] returns the slow part (digest, memory) as a closure, which
//! the service runs on a thread of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::Config;
use crate::error::{Code, Error};
use crate::lane::LaneConfig;
use crate::models::digest::{self, Digests};
use crate::models::fit::{self, Machine};
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
    digests: Digests,
    machine: Machine,
}
