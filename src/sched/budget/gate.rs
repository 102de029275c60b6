//! Whether a request may start, and what it is told where it does not.
//!
//! It looks and books nothing. What always holds: a gate that is closed by a purse names the time at which it is looked at
//! again; only requests in the background wait for a purse or for a charger.

use super::{signed, Book, Purse, PurseId, Stage};
use crate::clock::Time;
use crate::error::{Code, Error};
use crate::lane::RequestId;
use crate::sched::power::Closed;
use crate::sched::Class;
use crate::units::Microjoules;

/// Whether a request that waits may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sched) enum Gate {
    Open,
    /// When something of the same client or purse has ended.
    Held,
    /// A purse holds too little for it until then.
    Short {
        purse: PurseId,
        until: Time,
    },
    /// When the signals change.
    Closed(Closed),
}

/// Who may start.
impl Book {
    pub(in crate::sched) fn gate(&self, id: RequestId) -> Gate {
        let Some(entry) = self.entries.get(&id) else { return Gate::Open };
        if entry.stage == Stage::Running {
            // On its way from one lane to another: what it may use is reserved.
            return Gate::Open;
        }
        if let Some(closed) = self.supplies.closed(entry.class) {
            return Gate::Closed(closed);
        }
        let mut short: Option<(Time, PurseId)> = None;
        let client = self.clients.get(&entry.client);
        let mut held =
            client.is_some_and(|client| client.limits.requests.is_some_and(|most| client.running >= most.max(1)));
        for (id, purse) in self.bounding(entry.client) {
            let need = entry.need(purse);
            if purse.level() < signed(need) {
                short = short.max(Some((purse.reaches(need), id)));
            } else if purse.level() - signed(self.reserved(id, purse)) < signed(need) {
                held = true;
            }
        }
        match short {
            Some((until, purse)) => Gate::Short { purse, until },
            None if held => Gate::Held,
            None => Gate::Open,
        }
    }

    /// Whether anything can be refused or held up: a purse is in force, or a class may not start.
    pub(in crate::sched) fn bounds_anything(&self) -> bool {
        self.purses.values().any(|purse| purse.on) || self.supplies.closed(Class::Background).is_some()
    }

    /// Why a request at this gate is refused, where it does not wait.
    pub(in crate::sched) fn refusal(&self, id: RequestId, class: Class, gate: Gate) -> Option<Error> {
        if class == Class::Background {
            return None;
        }
        match gate {
            Gate::Open | Gate::Held | Gate::Closed(Closed::Heat) => None,
            Gate::Closed(Closed::Battery) => {
                let charge = self.supplies.signals.battery_percent.unwrap_or(0.0);
                let floor = self.supplies.power().battery_floor.unwrap_or(0);
                let message = format!(
                    "the battery is at {charge:.0} %, below its floor of {floor} %: only interactive requests run; \
                     connect the charger, or send it with class background to wait for it"
                );
                Some(Error::new(Code::BudgetExhausted, message))
            }
            Gate::Short { purse: which, until } => {
                let (entry, purse) = (self.entries.get(&id)?, self.purses.get(&which)?);
                let (need, left) = (Microjoules(entry.need(purse)), left(purse));
                let wait = until.since(self.now);
                let message = format!(
                    "{} has {left} left of {}, and this request needs about {need}; try again in {} s, ask for a \
                     shorter answer, or send it with class background to wait",
                    capital(&purse_name(which)),
                    Microjoules(purse.size()),
                    wait.as_secs_f64().ceil()
                );
                Some(Error::new(Code::BudgetExhausted, message).retry_after(wait))
            }
        }
    }
}

fn left(purse: &Purse) -> Microjoules {
    Microjoules(u64::try_from(purse.level()).unwrap_or(0))
}

pub(super) fn purse_name(id: PurseId) -> String {
    match id {
        PurseId::Hour => "the device's energy budget of the hour",
        PurseId::Day => "the device's energy budget of the day",
        PurseId::Client(_) => "your energy budget of the hour",
    }
    .to_owned()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
