//! Every section and key: type, default, range, meaning, and when a change takes effect. The one place to add one.
//!
//! The macro makes of each section a plain struct and the table ([`Key`]) that drives the reader, the suggestions,
//! the reference and the shipped default file, so that none of them can disagree with the code.

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use serde::Serialize;
use toml::de::DeValue;
use toml::Spanned;

use super::paths;
use super::value::{range_text, Fault, Mode, Value};
use crate::lane::KvType;
use crate::sched::{Class, Policy};
use crate::units::{Bytes, Microjoules, Microwatts, Span};

/// When a changed key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// When the configuration is reloaded.
    Reload,
    /// When a model is next loaded; loaded ones stay as they are.
    NextLoad,
    /// When the service is next started.
    Restart,
}

/// What is known of a key.
pub struct Key {
    /// As written in the file.
    pub name: &'static str,
    /// What it means, a line each.
    pub doc: &'static [&'static str],
    /// Its type, for people.
    pub kind: &'static str,
    /// When a change takes effect.
    pub effect: Effect,
    pub(super) range: fn() -> Option<String>,
}

/// A table of the file.
pub trait Section {
    /// As written in the file.
    fn name(&self) -> &'static str;
    /// What it is about, a line each.
    fn doc(&self) -> &'static [&'static str];
    /// Its keys, in the order in which the reference lists them.
    fn keys(&self) -> &'static [Key];
    /// Reads a key's value, or adds what is wrong with it and leaves the key as it was.
    fn set(&mut self, key: &str, value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>);
    /// A key's value as TOML; `None` where it is not set.
    fn get(&self, key: &str) -> Option<String>;
}

macro_rules! sections {
    ($(
        $(#[doc = $doc:literal])+
        $section:ident $name:literal {
            $(
                $(#[doc = $key_doc:literal])+
                $key:ident: $type:ty = $default:expr, $effect:ident $(, $range:expr)?;
            )+
        }
    )+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $section {
            $( $(#[doc = $key_doc])+ pub $key: $type, )+
        }

        impl Default for $section {
            fn default() -> Self {
                $section { $( $key: $default, )+ }
            }
        }

        impl Section for $section {
            fn name(&self) -> &'static str {
                $name
            }

            fn doc(&self) -> &'static [&'static str] {
                &[$($doc),+]
            }

            fn keys(&self) -> &'static [Key] {
                &[$(Key {
                    name: stringify!($key),
                    doc: &[$($key_doc),+],
                    kind: <$type as Value>::KIND,
                    effect: Effect::$effect,
                    range: || sections!(@range $($range)?),
                }),+]
            }

            fn set(&mut self, key: &str, value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) {
                match key {
                    $(stringify!($key) => {
                        let Some(new) = <$type as Value>::read(value, faults) else { return };
                        $(
                            let range = $range;
                            if !range.contains(&new) {
                                return faults.push(Fault::out_of_range(value, &range));
                            }
                        )?
                        self.$key = new;
                    })+
                    _ => {}
                }
            }

            fn get(&self, key: &str) -> Option<String> {
                match key {
                    $(stringify!($key) => self.$key.write(),)+
                    _ => None,
                }
            }
        }
    )+};
    (@range) => { None };
    (@range $range:expr) => { Some(range_text(&$range)) };
}

const fn ms(n: u64) -> Span {
    Span(Duration::from_millis(n))
}
const fn secs(n: u64) -> Span {
    ms(n * 1000)
}
const fn kib(n: u64) -> Bytes {
    Bytes(n << 10)
}
const fn mib(n: u64) -> Bytes {
    Bytes(n << 20)
}
const fn watts(n: u64) -> Microwatts {
    Microwatts(n * 1_000_000)
}
const fn joules(n: u64) -> Microjoules {
    Microjoules(n * 1_000_000)
}
/// A hundred kilowatts for ten hours: beyond it a figure is a typing error.
const MAX_JOULES: u64 = 3_600_000_000;
/// 30 days: a longer duration in a configuration is a typing error, and timers need not expect one.
const LONG: Span = secs(30 * 86_400);
/// Cells of a key-value cache: more than any model in reach was trained for.
const MAX_CONTEXT: u32 = 1 << 20;

sections! {
    /// The Unix socket, who may use it, and what bounds a connection.
    Server "server" {
        /// Where the service listens. At most 107 bytes. Not used where systemd passes the socket.
        /// Without root the default is `$XDG_RUNTIME_DIR/wattlm.sock`. `$WATTLM_SOCKET` replaces the default and
        /// tells clients where to connect.
        socket: PathBuf = paths::SYSTEM_SOCKET.into(), Restart;
        /// Permission bits of the socket. Who may write to it may ask the models.
        mode: Mode = Mode(0o660), Restart;
        /// Group that owns the socket. Where it does not exist or may not be given, the service's own group does,
        /// with a warning unless it is a user's own service and this default. Empty: the service's own.
        group: String = "wattlm".into(), Restart;
        /// Members may load and unload models and cancel other users' requests, as root and the service's user may.
        /// Empty: nobody else.
        admin_group: String = "wattlm-admin".into(), Reload;
        /// Connections at once. More wait in the kernel's backlog.
        max_connections: u32 = 64, Reload, 1..=4096;
        /// Connections at once of one user. More are refused.
        max_connections_per_uid: u32 = 16, Reload, 1..=4096;
        /// Largest request body. A larger one is refused with status 413.
        max_body: Bytes = mib(1), Reload, kib(1)..=mib(64);
        /// Largest request header. A larger one is refused with status 431.
        max_header: Bytes = kib(16), Reload, kib(8)..=kib(256);
        /// Time for a request's header to arrive.
        header_timeout: Span = secs(5), Reload, ms(100)..=secs(600);
        /// Time for a request's body to arrive.
        body_timeout: Span = secs(10), Reload, ms(100)..=secs(600);
        /// Answer kept for a client that reads slowly. When it is full the request is cancelled.
        write_buffer: Bytes = kib(64), Reload, kib(4)..=mib(16);
        /// A stream that has been silent this long gets an SSE comment, so that nobody takes it for dead.
        keepalive: Span = secs(15), Reload, secs(1)..=secs(3600);
    }

    /// Requests that wait.
    Queue "queue" {
        /// Requests waiting, in all. More are refused with status 503 and Retry-After.
        max: u32 = 256, Reload, 1..=65_536;
        /// Requests waiting, of one user.
        max_per_user: u32 = 64, Reload, 1..=65_536;
        /// A request that has waited this long counts as one class higher, twice as long as two.
        ageing: Span = secs(20), Reload, ms(100)..=secs(3600);
    }

    /// Where models are found and how they are served. `[[model]]` overrides some of it for one model.
    Models "models" {
        /// Folders searched for GGUF files, first match first. Without root, `$XDG_DATA_HOME/wattlm/models` (or
        /// `~/.local/share/wattlm/models`) comes before these; in a systemd unit, `models` in its state directory.
        /// Installed elsewhere than in `/usr`, `../share/wattlm/models` from the executable comes before the last.
        dirs: Vec<PathBuf> = paths::SYSTEM_MODELS.map(PathBuf::from).to_vec(), Reload;
        /// The model that answers a request which names none. Empty: the first found.
        default: String = String::new(), Reload;
        /// Refuse a file that has no `.sha256` beside it. One that has a wrong one is always refused.
        require_digest: bool = false, NextLoad;
        /// A model that has had no request for this long is unloaded. 0: never.
        idle_unload: Span = secs(300), Reload, ms(0)..=LONG;
        /// Models loaded when the service starts.
        preload: Vec<String> = Vec::new(), Restart;
        /// Tokens a loaded model can hold, shared by its slots; no request with its answer can be longer. Capped by
        /// what the model was trained for. Memory grows with it.
        context: u32 = 4096, NextLoad, 64..=MAX_CONTEXT;
        /// Requests that one model answers at once.
        slots: u32 = 4, NextLoad, 1..=64;
        /// Element type of the key-value cache. The smaller ones save memory and cost a little quality.
        kv_type: KvType = KvType::F16, NextLoad;
        /// Lock weights in memory, so that they are never paged out. The service's `RLIMIT_MEMLOCK` must allow it.
        mlock: bool = false, NextLoad;
        /// Longest answer in tokens where a request sets no `max_tokens`.
        max_tokens: u32 = 1024, Reload, 1..=MAX_CONTEXT;
        /// Memory left to the rest of the device: a model that would take it is not loaded.
        memory_reserve: Bytes = mib(128), NextLoad, Bytes(0)..=mib(1 << 20);
    }

    /// One model: what it is called, its files, and where it differs from `[models]`. Files in several places may
    /// describe the same model; they are merged by its name.
    Model "model" {
        /// What clients ask for; required. No ':', '/' or backslash, no '.' in front, at most 128 bytes.
        name: String = String::new(), Reload;
        /// GGUF files, one for each variant, the default first. None: those found under this name in `models.dirs`.
        files: Vec<PathBuf> = Vec::new(), Reload;
        /// Other names it answers to.
        aliases: Vec<String> = Vec::new(), Reload;
        /// The variant that answers a request which names none, such as `q4_k_m`.
        default_variant: Option<String> = None, Reload;
        /// Variants of it that are as good as one another, such as `["q4_0", "q4_k_m"]`: the service answers a request that
        /// names none with the one that is best where it runs. Empty: the default alone.
        variants: Vec<String> = Vec::new(), Reload;
        /// Lesser ones that answer in its place where a request allows that (`degrade`) and nothing else keeps its limits:
        /// smaller models of the same family, or variants, each a name or `name:variant`, the best first.
        degrade_to: Vec<String> = Vec::new(), Reload;
        /// As in `[models]`.
        context: Option<u32> = None, NextLoad, Some(64)..=Some(MAX_CONTEXT);
        /// As in `[models]`.
        slots: Option<u32> = None, NextLoad, Some(1)..=Some(64);
        /// As in `[models]`.
        kv_type: Option<KvType> = None, NextLoad;
        /// As in `[models]`.
        idle_unload: Option<Span> = None, Reload, Some(ms(0))..=Some(LONG);
        /// As in `[models]`.
        max_tokens: Option<u32> = None, Reload, Some(1)..=Some(MAX_CONTEXT);
    }

    /// The processor's share in the work.
    Cpu "cpu" {
        /// Threads of a model. 0: as many as there are physical cores that the service may use.
        threads: u32 = 0, NextLoad, 0..=256;
        /// Share of the time in which a model computes, in thousandths: it pauses after its steps. Less than 1000 costs
        /// speed and draws less power; a power cap sees to that by itself.
        duty: u32 = 1000, Reload, 1..=1000;
        /// CPUs the threads may run on, by number. Empty: wherever the kernel puts them.
        affinity: Vec<u32> = Vec::new(), NextLoad;
        /// Prompt tokens processed at a time. More is faster and needs more memory.
        prefill_chunk: u32 = 512, NextLoad, 16..=8192;
        /// The same while other requests are generating: it bounds the pause they see.
        prefill_chunk_shared: u32 = 64, NextLoad, 1..=8192;
    }

    /// Graphics processors.
    Gpu "gpu" {
        /// Whether they are used where they are found and compute what the processor computes.
        enabled: bool = true, Reload;
    }

    /// The processes that run the models, and what happens when one fails.
    Worker "worker" {
        /// A busy worker gives a sign of life this often. One that gives none for this and a second is killed.
        heartbeat: Span = secs(1), NextLoad, ms(100)..=secs(60);
        /// A busy worker that makes no progress for this long is killed.
        stall_timeout: Span = secs(60), NextLoad, secs(1)..=secs(3600);
        /// Wait before a model is loaded again after its first fault. Doubles with each fault in a row.
        backoff_first: Span = ms(50), Reload, ms(1)..=secs(3600);
        /// The longest such wait.
        backoff_max: Span = secs(10), Reload, ms(1)..=secs(3600);
        /// After this many faults in a row a model is refused for the time of `quarantine`.
        faults_to_quarantine: u32 = 5, Reload, 1..=1000;
        /// How long a model is refused that keeps failing.
        quarantine: Span = secs(60), Reload, secs(1)..=LONG;
        /// Workers give up files, network and most system calls once the model is loaded. Off only for debugging.
        sandbox: bool = true, NextLoad;
        /// Added to a worker's badness for the kernel's out-of-memory killer, so that the worker goes first.
        oom_score_adj: i32 = 500, Restart, -1000..=1000;
    }

    /// What the device's energy is measured with. `wattlm meter` lists its sensors and says which one is in use.
    Energy "energy" {
        /// The meter: `"auto"`; `"none"`: no sensor, everything is estimated; or a sensor by its name in `wattlm meter`,
        /// such as `"rapl:package-0"`, or several joined by '+', whose readings are added.
        source: String = "auto".into(), Reload;
        /// Multiplies what the meter shows. `wattlm meter calibrate` finds it and `offset` with a wall meter.
        scale: f64 = 1.0, Reload, 0.01..=100.0;
        /// Watts added to what the meter shows, after `scale`: what it does not see. May be negative.
        offset: f64 = 0.0, Reload, -10_000.0..=10_000.0;
        /// Time between two readings while something runs. While nothing runs there are none.
        interval: Span = ms(100), Reload, ms(10)..=secs(10);
        /// What the device draws while it does nothing, where no sensor tells. 0: a built-in figure, or what was learned
        /// from a sensor that works no longer.
        idle: Microwatts = watts(0), Reload, watts(0)..=watts(10_000);
        /// What one busy core adds to that at its full clock. 0: as for `idle`.
        core: Microwatts = watts(0), Reload, watts(0)..=watts(1000);
        /// What a busy GPU adds, until a sensor has seen it at work. 0: a built-in figure.
        gpu: Microwatts = watts(0), Reload, watts(0)..=watts(10_000);
    }

    /// What all requests together may take from the device. What one of them lets through another may still stop; a
    /// client of its own may have less (`[[client]]`). Energy is what requests are charged with; what the device draws
    /// while nothing runs is not in it.
    Power "power" {
        /// The average power of the device over any 10 s stays at or below this. 0: no cap.
        cap: Microwatts = watts(0), Reload, watts(0)..=watts(100_000);
        /// Energy of all requests in an hour. It comes back evenly. 0: no limit.
        joules_per_hour: Microjoules = joules(0), Reload, joules(0)..=joules(MAX_JOULES);
        /// Energy of all requests in a day. 0: no limit.
        joules_per_day: Microjoules = joules(0), Reload, joules(0)..=joules(MAX_JOULES);
        /// On battery and below this charge, in percent, only `interactive` requests start: `standard` ones are refused,
        /// `background` ones wait for the charger. 0: no floor.
        battery_floor: u32 = 0, Reload, 0..=100;
        /// From this temperature on, in degrees Celsius, only `interactive` requests start, the others wait, and the cap
        /// is lowered step by step until it is 3 degrees cooler. 0: no limit.
        thermal_limit: u32 = 0, Reload, 0..=150;
        /// From this charge on, in percent, `[power.low_battery]` holds. 0: never.
        battery_low: u32 = 20, Reload, 0..=100;
        /// What the device saves: `"max-throughput"` nothing that the cap does not ask for, `"min-energy"` energy for
        /// each token, whatever time it takes, `"balanced"` both.
        policy: Policy = Policy::MaxThroughput, Reload;
        /// Share of all joules that may be spent on finding out what a device takes of which that is not known, beyond what
        /// the best known way would have taken. 0: nothing is tried that is not thought to be the best.
        explore: f64 = 0.05, Reload, 0.0..=0.5;
    }

    /// While a battery supplies the device: what differs from `[power]`.
    PowerBattery "power.battery" {
        /// As in `[power]`.
        cap: Option<Microwatts> = None, Reload, Some(watts(0))..=Some(watts(100_000));
        /// As in `[power]`.
        joules_per_hour: Option<Microjoules> = None, Reload, Some(joules(0))..=Some(joules(MAX_JOULES));
        /// As in `[power]`.
        joules_per_day: Option<Microjoules> = None, Reload, Some(joules(0))..=Some(joules(MAX_JOULES));
        /// As in `[power]`.
        battery_floor: Option<u32> = None, Reload, Some(0)..=Some(100);
        /// As in `[power]`.
        thermal_limit: Option<u32> = None, Reload, Some(0)..=Some(150);
        /// As in `[power]`.
        policy: Option<Policy> = None, Reload;
    }

    /// While a battery supplies the device and is low: what differs from `[power]`.
    PowerLowBattery "power.low_battery" {
        /// As in `[power]`.
        cap: Option<Microwatts> = None, Reload, Some(watts(0))..=Some(watts(100_000));
        /// As in `[power]`.
        joules_per_hour: Option<Microjoules> = None, Reload, Some(joules(0))..=Some(joules(MAX_JOULES));
        /// As in `[power]`.
        joules_per_day: Option<Microjoules> = None, Reload, Some(joules(0))..=Some(joules(MAX_JOULES));
        /// As in `[power]`.
        battery_floor: Option<u32> = None, Reload, Some(0)..=Some(100);
        /// As in `[power]`.
        thermal_limit: Option<u32> = None, Reload, Some(0)..=Some(150);
        /// As in `[power]`.
        policy: Option<Policy> = None, Reload;
    }

    /// What one client may take, beside what `[power]` lets all of them. A client is named by its user, group or systemd
    /// unit; where several match, the unit goes before the user, and the user before the group. What a table names shares
    /// one purse. One table may be named `default`: it holds for everybody else, each user with a purse of their own.
    Client "client" {
        /// What it is called in messages and in the state; required. The name `default` means everybody else.
        name: String = String::new(), Reload;
        /// Its user, by number.
        uid: Option<u32> = None, Reload;
        /// Its user, by name.
        user: Option<String> = None, Reload;
        /// Its group, by number: the processes that are in it.
        gid: Option<u32> = None, Reload;
        /// Its group, by name.
        group: Option<String> = None, Reload;
        /// Its systemd unit, such as `camera.service`. Only units of the system's own systemd: a user could name theirs
        /// as they like.
        unit: Option<String> = None, Reload;
        /// Energy of its requests in an hour. 0: no limit of its own.
        joules_per_hour: Microjoules = joules(0), Reload, joules(0)..=joules(MAX_JOULES);
        /// Requests that run at once; more wait. 0: as many as there are slots.
        requests: u32 = 0, Reload, 0..=65_536;
        /// The most urgent class it may ask for. A more urgent one is refused.
        class: Class = Class::Interactive, Reload;
        /// Models it may ask for, each a name or `name:variant`. Empty: all.
        models: Vec<String> = Vec::new(), Reload;
    }

    /// Where the service keeps and finds its own files.
    Paths "paths" {
        /// What the service learned: verified digests. Without root the default is
        /// `$XDG_STATE_HOME/wattlm` or `~/.local/state/wattlm`.
        state: PathBuf = paths::SYSTEM_STATE.into(), Restart;
        /// llama.cpp and its backends. The default is the first that exists: `wattlm-modules` beside the executable,
        /// `../lib/wattlm` from it, this.
        modules: PathBuf = paths::SYSTEM_MODULES.into(), Restart;
        /// Where the kernel's view of the hardware is mounted: sensors, battery, temperatures, clocks.
        sysfs: PathBuf = "/sys".into(), Restart;
        /// Where the kernel's view of its work is mounted: the CPU time of all programs (`stat`), and how much they wait for
        /// each other (`pressure`). Where `stat` is missing there, nothing is charged to other programs.
        procfs: PathBuf = "/proc".into(), Restart;
    }

    /// What the service writes to the journal.
    Log "log" {
        /// The least severe messages that are written. `$WATTLM_LOG`, in the syntax of `RUST_LOG`, goes before it.
        level: LevelFilter = LevelFilter::Info, Reload;
    }
}
