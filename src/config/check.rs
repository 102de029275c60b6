//! What no single key can tell: contradictions between keys, and names that mean nothing or two things.
//!
//! A contradiction whose meaning is clear (a part larger than the whole) is a warning, and the users of the
//! configuration take the smaller figure; anything else is an error. Pure: no file, user or group is looked up.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::{quote, Place, Problem};
use super::tree::Config;

/// Where each key was last set.
pub(super) type Origins = BTreeMap<String, Place>;

/// `sun_path` has 108 bytes, of which the last is NUL.
const MAX_SOCKET: usize = 107;
/// The kernel's default `CPU_SETSIZE`, and llama.cpp's limit is half of it.
const MAX_CPU: u32 = 512;

/// Whether clients can ask for a model by this name, which is also what a file's name may make it: no ':' (it ends
/// the name before a variant) and no '/' (it ends a segment of the URL).
pub(super) fn valid_name(name: &str) -> bool {
    let bad = |c: char| c.is_control() || matches!(c, ':' | '/' | '\\');
    !name.is_empty() && name.len() <= 128 && name.trim() == name && !name.starts_with('.') && !name.contains(bad)
}

pub(super) const NAME_HINT: &str = "use at most 128 letters, digits, '_', '-' and '.', not '.' in front";

/// `name` or `name:variant`.
fn valid_reference(name: &str) -> bool {
    name.split_once(':').map_or(valid_name(name), |(model, variant)| valid_name(model) && valid_name(variant))
}

pub(super) fn check(config: &Config, origins: &Origins) -> Vec<Problem> {
    let mut checker = Checker { origins, problems: Vec::new() };
    checker.paths(config);
    checker.limits(config);
    checker.cpu(config);
    checker.names(config);
    checker.power(config);
    checker.clients(config);
    checker.energy(config);
    checker.problems
}

struct Checker<'a> {
    origins: &'a Origins,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    /// The place of the first of these keys that a file sets.
    fn place(&self, keys: &[&str]) -> Place {
        keys.iter().find_map(|k| self.origins.get(*k)).cloned().unwrap_or_default()
    }

    fn error(&mut self, keys: &[&str], message: impl Into<String>, hint: &str) {
        self.problems.push(Problem::error(self.place(keys), keys[0], message).hint(hint));
    }

    fn warning(&mut self, keys: &[&str], message: impl Into<String>, hint: &str) {
        self.problems.push(Problem::warning(self.place(keys), keys[0], message).hint(hint));
    }

    fn paths(&mut self, config: &Config) {
        let socket = config.server.socket.as_os_str().len();
        // Empty means that this user has no place for one; systemd may pass the socket, then none is needed.
        if socket > MAX_SOCKET {
            let message = format!("the socket's path has {socket} bytes, the kernel takes {MAX_SOCKET}");
            self.error(&["server.socket"], message, "choose a shorter path");
        }
        if config.paths.state.as_os_str().is_empty() {
            let hint = "set HOME, or write 'state' in [paths]";
            self.error(&["paths.state"], "no place for the service's state: not root, and no HOME", hint);
        }
    }

    fn energy(&mut self, config: &Config) {
        let source = config.energy.source.as_str();
        let names: Vec<&str> = source.split('+').map(str::trim).collect();
        let keyword = |n: &&str| matches!(*n, "auto" | "none");
        let repeated = names.iter().enumerate().any(|(i, n)| names[..i].contains(n));
        // Which sensors there are is not known here: one that is missing is the meter's to say.
        if names.iter().any(|n| n.is_empty()) || (names.len() > 1 && (repeated || names.iter().any(keyword))) {
            let hint = "write \"auto\", \"none\", or names that 'wattlm meter' lists, joined by '+'";
            self.error(&["energy.source"], format!("'{}' names no meter", quote(source)), hint);
        }
    }

    fn limits(&mut self, config: &Config) {
        let (worker, server, queue) = (&config.worker, &config.server, &config.queue);
        if worker.stall_timeout <= worker.heartbeat {
            let message = format!(
                "'stall_timeout' ({}) must be longer than 'heartbeat' ({})",
                worker.stall_timeout, worker.heartbeat
            );
            self.error(&["worker.stall_timeout", "worker.heartbeat"], message, "a working worker would be killed");
        }
        if worker.backoff_first > worker.backoff_max {
            let message = format!(
                "'backoff_first' ({}) is longer than 'backoff_max' ({})",
                worker.backoff_first, worker.backoff_max
            );
            self.error(&["worker.backoff_first", "worker.backoff_max"], message, "raise 'backoff_max'");
        }
        if !worker.sandbox {
            let hint = "turn it on again before anybody else's model or prompt is run";
            self.warning(&["worker.sandbox"], "workers run without a sandbox", hint);
        }
        let parts = [
            ("queue.max_per_user", queue.max_per_user, "queue.max", queue.max),
            (
                "server.max_connections_per_uid",
                server.max_connections_per_uid,
                "server.max_connections",
                server.max_connections,
            ),
            ("cpu.prefill_chunk", config.cpu.prefill_chunk, "models.context", config.models.context),
            (
                "cpu.prefill_chunk_shared",
                config.cpu.prefill_chunk_shared,
                "cpu.prefill_chunk",
                config.cpu.prefill_chunk,
            ),
            ("models.max_tokens", config.models.max_tokens, "models.context", config.models.context),
        ];
        for (key, value, whole, limit) in parts {
            // A default is not the reader's doing: it is cut down in silence.
            if value > limit && self.origins.contains_key(key) {
                self.warning(&[key], format!("'{key}' ({value}) is more than '{whole}' ({limit}), which holds"), "");
            }
        }
    }

    fn cpu(&mut self, config: &Config) {
        let (affinity, threads) = (&config.cpu.affinity, config.cpu.threads);
        if let Some(cpu) = affinity.iter().find(|cpu| **cpu >= MAX_CPU) {
            self.error(&["cpu.affinity"], format!("'affinity' names CPU {cpu}"), "CPUs are 0 to 511");
        }
        let distinct: BTreeSet<&u32> = affinity.iter().collect();
        if distinct.len() < affinity.len() {
            self.error(&["cpu.affinity"], "'affinity' names a CPU twice", "name each once");
        }
        if !affinity.is_empty() && threads as usize > affinity.len() {
            let message = format!("{threads} threads share the {} CPUs of 'affinity'", affinity.len());
            self.warning(&["cpu.threads", "cpu.affinity"], message, "they will wait for each other");
        }
    }

    fn power(&mut self, config: &Config) {
        let budgets = config.budgets();
        let tables =
            [("power", budgets.mains), ("power.battery", budgets.battery), ("power.low_battery", budgets.low_battery)];
        for (name, power) in tables {
            let own = |key: &str| self.origins.contains_key(&format!("{name}.{key}"));
            if !own("joules_per_hour") && !own("joules_per_day") {
                continue;
            }
            if let (Some(hour), Some(day)) = (power.joules_per_hour, power.joules_per_day) {
                if hour > day {
                    let key = format!("{name}.joules_per_hour");
                    let message = format!("'{key}' ({hour}) is more than the joules of the day ({day}), which hold");
                    self.warning(&[&key, &format!("{name}.joules_per_day"), "power.joules_per_hour"], message, "");
                }
            }
        }
    }

    fn clients(&mut self, config: &Config) {
        let mut taken: BTreeMap<(&str, String), &str> = BTreeMap::new();
        for client in &config.client {
            let path = format!("client.{}", client.name);
            let who = [
                ("uid", client.uid.map(|n| n.to_string())),
                ("user", client.user.clone()),
                ("gid", client.gid.map(|n| n.to_string())),
                ("group", client.group.clone()),
                ("unit", client.unit.clone()),
            ];
            let named: Vec<_> = who.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            match (client.name.as_str(), &named[..]) {
                ("default", []) => {}
                ("default", [(key, _), ..]) => {
                    let at = format!("{path}.{key}");
                    let message = format!("[[client]] 'default' is everybody else, and names a {key}");
                    self.error(&[&at, &path], message, &format!("remove '{key}', or give the table another name"));
                }
                (name, []) => {
                    let message = format!("[[client]] '{}' does not say who it is", quote(name));
                    let hint = "write one of uid, user, gid, group, unit; or name it \"default\" for everybody else";
                    self.error(&[&path], message, hint);
                }
                (name, [(key, value)]) => {
                    let at = format!("{path}.{key}");
                    if let Some(other) = taken.insert((key, value.clone()), name) {
                        let message = format!("[[client]] '{}' already names the {key} {}", quote(other), quote(value));
                        self.error(&[&at, &path], message, "merge the two");
                    }
                    let unit = |v: &str| v.ends_with(".service") || v.ends_with(".scope");
                    if *key == "unit" && (!unit(value) || value.contains('/')) {
                        let message = format!("'{}' is no unit that a process runs in", quote(value));
                        self.error(&[&at], message, "write its whole name, such as \"camera.service\"");
                    } else if value.is_empty() {
                        self.error(&[&at], format!("'{key}' is empty"), "write a name");
                    }
                }
                (name, [(first, _), (second, _), ..]) => {
                    let at = format!("{path}.{second}");
                    let message = format!("[[client]] '{}' names both a {first} and a {second}", quote(name));
                    self.error(&[&at, &path], message, "keep one of them, and write another [[client]] for the other");
                }
            }
            for name in client.models.iter().filter(|name| !valid_reference(name)) {
                let message = format!("'{}' is no model's name", quote(name));
                self.error(&[&format!("{path}.models")], message, "write a model's name, or \"name:variant\"");
            }
        }
    }

    fn names(&mut self, config: &Config) {
        let default = Some(&config.models.default).filter(|d| !d.is_empty()).map(|d| ("models.default", d));
        let preload = config.models.preload.iter().map(|name| ("models.preload", name));
        for (key, name) in default.into_iter().chain(preload) {
            if !valid_reference(name) {
                let message = format!("'{}' is no model's name", quote(name));
                self.error(&[key], message, "write a model's name, or \"name:variant\"");
            }
        }
        let mut taken: BTreeMap<&str, &str> = config.model.iter().map(|m| (&*m.name, &*m.name)).collect();
        for model in &config.model {
            let key = format!("model.{}.aliases", model.name);
            for alias in &model.aliases {
                if !valid_name(alias) {
                    self.error(&[&key], format!("'{}' cannot be a model's name", quote(alias)), NAME_HINT);
                } else if let Some(owner) = taken.insert(alias, &model.name) {
                    let message = format!("'{}' already names the model '{}'", quote(alias), quote(owner));
                    self.error(&[&key], message, "a name means one model");
                }
            }
            let key = format!("model.{}.default_variant", model.name);
            if let Some(variant) = model.default_variant.as_ref().filter(|v| !valid_name(v)) {
                self.error(&[&key], format!("'{}' cannot be a variant's name", quote(variant)), NAME_HINT);
            }
        }
    }
}
