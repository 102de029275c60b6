//! Energy budgets on the service's side: who asks, what it will take, what is kept on the disk, and what a client is
//! told of its own standing. What follows from it all is decided by the scheduler.

use super::api::{Budget, Peer, PurseStanding};
use super::catalog::Resolved;
use super::core::Core;
use super::purses::{Level, Record};
use super::rules::Rule;
use crate::error::{Code, Error};
use crate::sched::{Class, ClientId, Event, PurseId, PurseState, VariantId};
use crate::units::Microjoules;

/// What a request draws from, once it is known that it may be asked.
pub(super) struct Admitted {
    pub client: ClientId,
    pub predicted: Microjoules,
    pub rule: Option<Rule>,
}

impl Core {
    /// Budgets as configured, and purses as they were left.
    pub(super) fn restore_budgets(&mut self) {
        self.event(Event::Budgets(self.catalog.config().budgets()));
        self.restore(PurseId::Hour);
        self.restore(PurseId::Day);
    }

    /// The configuration was replaced.
    pub(super) fn reload_budgets(&mut self) {
        self.event(Event::Budgets(self.catalog.config().budgets()));
        for (client, limits) in self.rules.reload(self.catalog.config()) {
            self.event(Event::Client { client, limits });
        }
    }

    fn restore(&mut self, purse: PurseId) {
        let Some(key) = self.key(purse) else { return };
        self.clocks = self.clocks.again();
        let shape = self.sched.purses().find(|state| state.id == purse).map(record);
        self.restored.insert(purse);
        if let Some(level) = self.purses.left(&key, shape, &self.clocks) {
            self.event(Event::Restored { purse, level });
        }
    }

    fn key(&self, purse: PurseId) -> Option<String> {
        Some(match purse {
            PurseId::Hour => "hour".to_owned(),
            PurseId::Day => "day".to_owned(),
            PurseId::Client(id) => self.rules.key(id)?.to_owned(),
        })
    }

    /// Before anything is done that was decided: the file of purses tells no more than what is there. One of which the
    /// file was not asked yet is left as the file has it.
    pub(super) fn keep_purses(&mut self) {
        let level = |purse: PurseState| {
            Some(Level { key: self.key(purse.id)?, record: record(purse), reserved: purse.reserved.0 })
        };
        let levels: Vec<Level> =
            self.sched.purses().filter(|purse| self.restored.contains(&purse.id)).filter_map(level).collect();
        if !levels.is_empty() {
            self.clocks = self.clocks.again();
            self.purses.keep(&levels, &self.clocks);
        }
    }

    /// Makes the scheduler know this client.
    fn meet(&mut self, client: ClientId, rule: Option<&Rule>) {
        let limits = rule.map(|rule| rule.limits).unwrap_or_default();
        self.event(Event::Client { client, limits });
        if !self.restored.contains(&PurseId::Client(client)) {
            self.restore(PurseId::Client(client));
        }
    }

    /// Whether this peer may ask this model in this class, and what that will take.
    ///
    /// # Errors
    /// `forbidden` where its rule does not let it.
    pub(super) fn admit(
        &mut self,
        peer: Peer,
        resolved: &Resolved,
        class: Class,
        tokens: (u32, Option<u32>),
    ) -> Result<Admitted, Error> {
        let (client, rule) = self.rules.identify(peer)?;
        if let Some(rule) = &rule {
            if class < rule.class {
                let (asked, most) = (word(class), word(rule.class));
                let message = format!(
                    "'{}' may ask with class {most} at most, and this is {asked}: send \"wattlm\": {{\"class\": \"{most}\"}}, \
                     or ask the administrator to raise 'class' in its [[client]]",
                    rule.name
                );
                return Err(Error::new(Code::Forbidden, message).at("wattlm.class"));
            }
            if !self.permits(Some(rule), resolved.variant) {
                let message = format!(
                    "'{}' may not ask {}, only: {}; the administrator adds to 'models' in its [[client]]",
                    rule.name,
                    resolved.name,
                    rule.models.join(", ")
                );
                return Err(Error::new(Code::Forbidden, message).at("model"));
            }
        }
        self.meet(client, rule.as_ref());
        let (prompt, max_tokens) = tokens;
        let predicted = self.predictor.predict(resolved.variant, prompt, max_tokens.unwrap_or(resolved.max_tokens));
        Ok(Admitted { client, predicted, rule })
    }

    /// Whether whoever this rule is for may ask this variant.
    pub(super) fn permits(&self, rule: Option<&Rule>, variant: VariantId) -> bool {
        rule.is_none_or(|rule| rule.models.is_empty() || rule.models.iter().any(|name| self.means(name, variant)))
    }

    /// Whether a name in a rule means this variant: it, or its model.
    fn means(&self, name: &str, variant: VariantId) -> bool {
        let model = |full: &str| full.split(':').next().unwrap_or_default().to_owned();
        self.catalog.resolve(name).is_ok_and(|named| match name.contains(':') {
            true => named.variant == variant,
            false => model(&named.name) == model(&self.catalog.name(variant)),
        })
    }

    /// What a client may use and has used. Of another user's only administrators are told.
    pub(super) fn budget(&mut self, peer: Peer, uid: Option<u32>) -> Result<Budget, Error> {
        let (client, rule) = match uid.filter(|uid| *uid != peer.uid) {
            None => self.rules.identify(peer)?,
            Some(_) if !peer.admin => {
                let message = "only administrators are told of other users' budgets: leave uid out";
                return Err(Error::new(Code::Forbidden, message));
            }
            Some(uid) => self.rules.of_user(uid),
        };
        self.meet(client, rule.as_ref());
        let now = self.clock.now();
        let standing = |purse: PurseState| {
            let left = Microjoules(u64::try_from(purse.level).unwrap_or(0));
            let own = matches!(purse.id, PurseId::Client(_)) || peer.admin;
            let (left, reserved) = match own {
                true => (left, purse.reserved),
                // What others do shows in it: not finer than a hundredth.
                false => (coarse(left, purse.size), coarse(purse.reserved, purse.size)),
            };
            PurseStanding {
                name: match purse.id {
                    PurseId::Hour => "device_hour",
                    PurseId::Day => "device_day",
                    PurseId::Client(_) => "client_hour",
                }
                .to_owned(),
                joules: purse.size.as_f64(),
                left: left.as_f64(),
                reserved: reserved.as_f64(),
                refill_per_hour: purse.size.as_f64() * 3_600.0 / purse.period.as_secs_f64(),
                full_in_s: purse.full.since(now).as_secs_f64().ceil(),
            }
        };
        let signals = self.sched.signals();
        let (class, models) = match &rule {
            Some(rule) => (rule.class, rule.models.clone()),
            None => (Class::Interactive, Vec::new()),
        };
        Ok(Budget {
            client: self.rules.key(client).unwrap_or_default().to_owned(),
            rule: rule.as_ref().map(|rule| rule.name.clone()),
            class,
            models,
            running: self.sched.running_of(client),
            requests: rule.as_ref().and_then(|rule| rule.limits.requests),
            purses: self.sched.purses_of(client).into_iter().map(standing).collect(),
            supply: self.sched.supply(),
            on_battery: signals.on_battery,
            battery_percent: signals.battery_percent.filter(|percent| percent.is_finite()),
            restriction: self.sched.restriction().map(str::to_owned),
            cap: self.sched.effective_cap(),
            policy: self.sched.policy(),
        })
    }
}

fn record(purse: PurseState) -> Record {
    Record { left: purse.level, size: purse.size.0, period_s: purse.period.as_secs() }
}

/// Rounded down to hundredths of the size.
fn coarse(energy: Microjoules, size: Microjoules) -> Microjoules {
    let step = (size.0 / 100).max(1);
    Microjoules(energy.0 / step * step)
}

fn word(class: Class) -> &'static str {
    match class {
        Class::Interactive => "interactive",
        Class::Standard => "standard",
        Class::Background => "background",
    }
}
