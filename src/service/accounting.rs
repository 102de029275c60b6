//! Keeps the account: whose request it was, what it took, and what the device used besides.
//!
//! A request is written down once, when the ledger has nothing more to add to it, also when it was cancelled, failed, or
//! was cut off by the end of the service; one that never ran and used nothing is not. The device's lines are written
//! at the same moments, and when the meter comes to rest.

use std::collections::BTreeMap;
use std::path::Path;

use super::api::EnergyStatus;
use super::core::Core;
use super::metering::Metering;
use crate::clock::unix_seconds;
use crate::energy::account::{Account, Day, DeviceLine, Entry};
use crate::energy::ledger::{Charge, Totals};
use crate::energy::Quality;
use crate::lane::{RequestId, Usage};
use crate::units::Microjoules;

/// A request that is not written down yet.
struct Open {
    uid: u32,
    /// `model:variant`.
    model: String,
    /// Where its lane said so.
    usage: Option<Usage>,
}

/// What the service keeps for it.
pub(super) struct Accounting {
    pub account: Account,
    open: BTreeMap<RequestId, Open>,
    /// Of the device, what is written down.
    told: DeviceLine,
}

impl Accounting {
    pub fn new(dir: &Path) -> Accounting {
        Accounting { account: Account::open(dir), open: BTreeMap::new(), told: DeviceLine::default() }
    }

    /// The scheduler is about to know of this request.
    pub fn arrived(&mut self, id: RequestId, uid: u32, model: &str) {
        self.open.insert(id, Open { uid, model: model.to_owned(), usage: None });
    }

    /// Its lane says what it took.
    pub fn used(&mut self, id: RequestId, usage: Usage) {
        if let Some(open) = self.open.get_mut(&id) {
            open.usage = Some(usage);
        }
    }

    /// The ledger says what it used, for good.
    pub fn settled(&mut self, id: RequestId, charge: &Charge) {
        let Some(Open { uid, model, usage }) = self.open.remove(&id) else { return };
        if usage.is_none() && charge.total() == Microjoules::ZERO {
            return;
        }
        let usage = usage.unwrap_or_default();
        let entry = Entry {
            requests: 1,
            prompt_tokens: u64::from(usage.prompt_tokens),
            cached_tokens: u64::from(usage.cached_tokens),
            completion_tokens: u64::from(usage.completion_tokens),
            wake: charge.wake,
            prefill: charge.prefill,
            decode: charge.decode,
            estimated: charge.estimated,
        };
        self.account.charge(today(), uid, &model, &entry);
    }

    /// What the device used up to now.
    pub fn device(&mut self, totals: &Totals) {
        // A correction may take some of it back; then nothing is added until that is made up for.
        let more = |now: Microjoules, told: &mut Microjoules| {
            let more = now.saturating_sub(*told);
            *told += more;
            more
        };
        let told = &mut self.told;
        let line = DeviceLine {
            metered: more(totals.metered, &mut told.metered),
            idle: more(totals.idle, &mut told.idle),
            others: more(totals.others, &mut told.others),
            estimated: more(totals.estimated, &mut told.estimated),
        };
        if line != DeviceLine::default() {
            self.account.device(today(), line);
        }
    }
}

fn today() -> Day {
    Day::of_unix(unix_seconds())
}

impl Core {
    /// The service ends: what still runs is written down as far as it is known.
    pub(super) fn account_rest(&mut self) {
        let now = self.clock.now();
        for id in self.accounting.open.keys().copied().collect::<Vec<_>>() {
            let charge = self.metering.ledger.finish(id, self.metering.info.refresh, now);
            self.accounting.settled(id, &charge);
        }
        self.accounting.device(&self.metering.ledger.totals());
    }
}

/// The energy of the service since it started.
pub(super) fn energy_status(metering: &Metering) -> EnergyStatus {
    let (info, t) = (&metering.info, metering.ledger.totals());
    let joules = |microjoules: i64| microjoules as f64 / 1e6;
    EnergyStatus {
        source: info.source.clone(),
        scope: info.scope,
        quality: if info.source.is_empty() { Quality::Estimated } else { Quality::Measured },
        refresh_ms: info.refresh.as_secs_f64() * 1e3,
        metered: t.metered,
        charged: t.charged,
        idle: t.idle,
        others: t.others,
        shared: joules(t.shared),
        estimated: t.estimated,
        correction: joules(t.correction),
        wake: t.wake,
        prefill: t.prefill,
        decode: t.decode,
        watts: metering.ledger.watts(),
        idle_watts: Some(crate::units::Microwatts::from_f64(metering.ledger.idle_watts())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::account::Query;

    #[test]
    fn a_request_is_written_down_once_and_one_that_never_ran_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = Accounting::new(dir.path());
        let charge = Charge { decode: Microjoules(5), ..Charge::default() };
        for id in [1, 2, 3].map(RequestId) {
            a.arrived(id, 1000, "m");
        }
        a.used(RequestId(1), Usage { completion_tokens: 3, ..Usage::default() });
        a.settled(RequestId(1), &charge);
        a.settled(RequestId(1), &charge);
        a.settled(RequestId(2), &Charge::default());
        // Its worker died: nobody knows the tokens, the energy is known.
        a.settled(RequestId(3), &charge);
        a.settled(RequestId(4), &charge);
        let total = a.account.report(&Query::default(), true).total;
        assert_eq!((total.requests, total.completion_tokens, total.joules), (2, 3, 1e-5));
        assert!(a.open.is_empty());
    }

    #[test]
    fn the_device_is_told_what_is_new_and_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = Accounting::new(dir.path());
        for metered in [7, 7, 5, 6, 9] {
            a.device(&Totals { metered: Microjoules(metered * 1_000_000), ..Totals::default() });
        }
        let device = a.account.report(&Query::default(), true).device.unwrap();
        assert_eq!((device.len(), device[0].metered, device[0].shared), (1, 9.0, 9.0));
    }
}
