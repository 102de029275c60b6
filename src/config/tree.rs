//! The tree as its users see it: the whole of it, what holds for one model, and what differs between two.

use std::time::Duration;

use serde::Serialize;

use super::paths::Env;
use super::schema::{
    Client, Cpu, Effect, Energy, Gpu, Log, Model, Models, Paths, Power, PowerBattery, PowerLowBattery, Queue, Section,
    Server, Worker,
};
use crate::lane::KvType;
use crate::sched;
use crate::units::{Microjoules, Microwatts, Span};

/// The configuration. Every value has been checked if it came from [`Config::load`](super::Config::load).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[queue]`
    pub queue: Queue,
    /// `[models]`
    pub models: Models,
    /// `[[model]]`, in order of first appearance; names are unique.
    pub model: Vec<Model>,
    /// `[cpu]`
    pub cpu: Cpu,
    /// `[gpu]`
    pub gpu: Gpu,
    /// `[worker]`
    pub worker: Worker,
    /// `[energy]`
    pub energy: Energy,
    /// `[power]`
    pub power: Power,
    /// `[power.battery]`
    pub power_battery: PowerBattery,
    /// `[power.low_battery]`
    pub power_low_battery: PowerLowBattery,
    /// `[[client]]`, in order of first appearance; names are unique.
    pub client: Vec<Client>,
    /// `[paths]`
    pub paths: Paths,
    /// `[log]`
    pub log: Log,
}

/// What holds for one model: `[[model]]` over `[models]`, and chunks that fit the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelSettings {
    /// Cells of the key-value cache, before the cap by what the model was trained for.
    pub context: u32,
    /// Requests at once.
    pub slots: u32,
    /// Element type of the key-value cache.
    pub kv_type: KvType,
    /// Unloaded after this; `None`: never.
    pub idle_unload: Option<Duration>,
    /// Longest answer in tokens where the request sets none.
    pub max_tokens: u32,
    /// Largest prefill chunk, at most `context`.
    pub prefill_chunk: u32,
    /// Largest prefill chunk while others generate, at most `prefill_chunk`.
    pub prefill_chunk_shared: u32,
}

/// A key that two configurations disagree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Such as `server.socket` or `model.NAME.context`; `model.NAME` where the whole model came or went.
    pub key: String,
    /// When the new value takes effect.
    pub effect: Effect,
}

impl Config {
    /// What holds in this environment when no file says otherwise. A path for which this user has no default is
    /// empty: `load` refuses that of the state, and who has to bind the socket that of the socket. [`Config::default`] is that of the device's service.
    pub fn defaults(env: &Env) -> Config {
        Config {
            server: Server { socket: env.socket().unwrap_or_default(), ..Server::default() },
            models: Models { dirs: env.model_dirs(), ..Models::default() },
            paths: Paths { state: env.state().unwrap_or_default(), modules: env.modules(), ..Paths::default() },
            ..Config::default()
        }
    }

    /// What the scheduler is bound by.
    pub fn limits(&self) -> sched::Limits {
        sched::Limits {
            queue: self.queue.max,
            queue_per_tenant: self.queue.max_per_user.min(self.queue.max),
            idle_unload: unless_zero(self.models.idle_unload),
            ageing: self.queue.ageing.0,
            backoff_first: self.worker.backoff_first.0,
            backoff_max: self.worker.backoff_max.0,
            faults_to_quarantine: self.worker.faults_to_quarantine,
            quarantine: self.worker.quarantine.0,
            threads: self.cpu.threads,
            duty: self.cpu.duty,
            // In range: the reader sees to it.
            explore: (self.power.explore * 1000.0).round() as u32,
        }
    }

    /// The device's energy budgets. `[power.low_battery]` is laid over `[power.battery]`, that over `[power]`.
    pub fn budgets(&self) -> sched::Budgets {
        let (p, b, l) = (&self.power, &self.power_battery, &self.power_low_battery);
        let energy = |joules: Microjoules| Some(joules).filter(|j| *j > Microjoules::ZERO);
        let table = |cap: Microwatts, hour, day, floor: u32, heat: u32, policy| sched::Power {
            cap: Some(cap).filter(|cap| *cap > Microwatts::ZERO),
            joules_per_hour: energy(hour),
            joules_per_day: energy(day),
            battery_floor: Some(floor).filter(|floor| *floor > 0),
            thermal_limit: Some(heat).filter(|heat| *heat > 0),
            policy,
        };
        macro_rules! over {
            ($key:ident, $($tables:ident),+) => { None$(.or($tables.$key))+.unwrap_or(p.$key) };
        }
        macro_rules! laid {
            ($($tables:ident),+) => {
                table(
                    over!(cap, $($tables),+),
                    over!(joules_per_hour, $($tables),+),
                    over!(joules_per_day, $($tables),+),
                    over!(battery_floor, $($tables),+),
                    over!(thermal_limit, $($tables),+),
                    over!(policy, $($tables),+),
                )
            };
        }
        sched::Budgets {
            mains: table(p.cap, p.joules_per_hour, p.joules_per_day, p.battery_floor, p.thermal_limit, p.policy),
            battery: laid!(b),
            low_battery: laid!(l, b),
            low_percent: p.battery_low,
        }
    }

    /// The `[[model]]` of this name.
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.model.iter().find(|m| m.name == name)
    }

    /// What holds for the model of this name, whether or not a `[[model]]` mentions it.
    pub fn model_settings(&self, name: &str) -> ModelSettings {
        let nothing = Model::default();
        let (all, own) = (&self.models, self.model(name).unwrap_or(&nothing));
        let context = own.context.unwrap_or(all.context);
        let prefill_chunk = self.cpu.prefill_chunk.min(context);
        ModelSettings {
            context,
            slots: own.slots.unwrap_or(all.slots),
            kv_type: own.kv_type.unwrap_or(all.kv_type),
            idle_unload: unless_zero(own.idle_unload.unwrap_or(all.idle_unload)),
            max_tokens: own.max_tokens.unwrap_or(all.max_tokens),
            prefill_chunk,
            prefill_chunk_shared: self.cpu.prefill_chunk_shared.min(prefill_chunk),
        }
    }

    /// What changes from `old` to `new`, in the order of the reference, models last.
    pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
        let mut changes = Vec::new();
        for (a, b) in old.sections().into_iter().zip(new.sections()) {
            compare(a.name(), a, b, &mut changes);
        }
        for a in &old.model {
            let path = format!("model.{}", a.name);
            match new.model(&a.name) {
                Some(b) => compare(&path, a, b, &mut changes),
                None => changes.push(Change { key: path, effect: Effect::Reload }),
            }
        }
        let added = new.model.iter().filter(|m| old.model(&m.name).is_none());
        changes.extend(added.map(|m| Change { key: format!("model.{}", m.name), effect: Effect::Reload }));
        for a in &old.client {
            let path = format!("client.{}", a.name);
            match new.client.iter().find(|b| b.name == a.name) {
                Some(b) => compare(&path, a, b, &mut changes),
                None => changes.push(Change { key: path, effect: Effect::Reload }),
            }
        }
        let added = new.client.iter().filter(|b| old.client.iter().all(|a| a.name != b.name));
        changes.extend(added.map(|b| Change { key: format!("client.{}", b.name), effect: Effect::Reload }));
        changes
    }

    /// The tables of the file, `[[model]]` and `[[client]]` left out, in the order of the reference.
    pub fn sections(&self) -> [&dyn Section; 12] {
        [
            &self.server,
            &self.queue,
            &self.models,
            &self.cpu,
            &self.gpu,
            &self.worker,
            &self.energy,
            &self.power,
            &self.power_battery,
            &self.power_low_battery,
            &self.paths,
            &self.log,
        ]
    }

    pub(super) fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
        let all: [&mut dyn Section; 12] = [
            &mut self.server,
            &mut self.queue,
            &mut self.models,
            &mut self.cpu,
            &mut self.gpu,
            &mut self.worker,
            &mut self.energy,
            &mut self.power,
            &mut self.power_battery,
            &mut self.power_low_battery,
            &mut self.paths,
            &mut self.log,
        ];
        all.into_iter().find(|s| s.name() == name)
    }
}

fn unless_zero(span: Span) -> Option<Duration> {
    Some(span.0).filter(|d| !d.is_zero())
}

fn compare(path: &str, old: &dyn Section, new: &dyn Section, changes: &mut Vec<Change>) {
    let differs = old.keys().iter().filter(|k| old.get(k.name) != new.get(k.name));
    changes.extend(differs.map(|k| Change { key: format!("{path}.{}", k.name), effect: k.effect }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn the_schedulers_defaults_are_the_files() {
        assert_eq!(Config::default().limits(), sched::Limits::default());
    }

    #[test]
    fn a_battery_overrides_what_it_names_and_a_low_one_both() {
        let mut config = Config::default();
        assert_eq!(config.budgets(), sched::Budgets { low_percent: 20, ..sched::Budgets::default() });
        config.power.cap = Microwatts(9);
        config.power.joules_per_day = Microjoules(100);
        config.power_battery.cap = Some(Microwatts(5));
        config.power_battery.battery_floor = Some(10);
        config.power_low_battery.cap = Some(Microwatts::ZERO);
        let budgets = config.budgets();
        let caps = [budgets.mains, budgets.battery, budgets.low_battery].map(|power| power.cap);
        assert_eq!(caps, [Some(Microwatts(9)), Some(Microwatts(5)), None], "0 lifts the cap again");
        assert_eq!(budgets.low_battery.joules_per_day, Some(Microjoules(100)));
        assert_eq!((budgets.mains.battery_floor, budgets.low_battery.battery_floor), (None, Some(10)));
    }

    #[test]
    fn zero_means_never_unloaded() {
        let mut config = Config::default();
        config.models.idle_unload = Span::default();
        assert_eq!(config.limits().idle_unload, None);
        assert_eq!(config.model_settings("any").idle_unload, None);
    }

    #[test]
    fn a_model_overrides_what_it_names() {
        let mut config = Config::default();
        let tiny = Model { name: "tiny".into(), context: Some(256), kv_type: Some(KvType::Q8_0), ..Model::default() };
        config.model.push(tiny);
        let settings = config.model_settings("tiny");
        assert_eq!((settings.context, settings.kv_type, settings.slots), (256, KvType::Q8_0, 4));
        assert_eq!((settings.prefill_chunk, settings.prefill_chunk_shared), (256, 64));
        assert_eq!(config.model_settings("other").context, 4096);
    }

    #[test]
    fn diff_names_each_change_and_when_it_takes_effect() {
        let old = Config::default();
        assert_eq!(Config::diff(&old, &old.clone()), []);
        let mut new = old.clone();
        new.server.socket = "/run/other.sock".into();
        new.models.memory_reserve = Bytes(0);
        new.queue.max = 1;
        new.model.push(Model { name: "a".into(), ..Model::default() });
        let change = |key: &str, effect| Change { key: key.into(), effect };
        assert_eq!(
            Config::diff(&old, &new),
            [
                change("server.socket", Effect::Restart),
                change("queue.max", Effect::Reload),
                change("models.memory_reserve", Effect::NextLoad),
                change("model.a", Effect::Reload),
            ]
        );
        let mut newer = new.clone();
        newer.model[0].slots = Some(1);
        assert_eq!(Config::diff(&new, &newer), [change("model.a.slots", Effect::NextLoad)]);
        assert_eq!(Config::diff(&newer, &old).last(), Some(&change("model.a", Effect::Reload)));
    }

    #[test]
    fn every_environments_defaults_have_the_same_keys() {
        let config = Config::defaults(&Env::system());
        assert_eq!(config, Config::default());
        assert_eq!(Config::defaults(&Env::default()).server.socket.as_os_str(), "");
    }
}
