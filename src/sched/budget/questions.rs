//! What is asked of the budgets from outside of the scheduler: what is in force, the purses, and what bounds a request.
//!
//! It changes nothing. What it says is as of the last event.

use super::gate::purse_name;
use super::{Bound, ClientId, Gate, PurseState};
use crate::lane::RequestId;
use crate::sched::power::{Closed, Policy, Supply};
use crate::sched::{Class, Sched};
use crate::signals::Signals;
use crate::units::{Microjoules, Microwatts};

/// A background request that was stopped before its first token waits again this often, then it ends like any other.
const TRIES: u8 = 3;

/// What is asked of the budgets.
impl Sched {
    /// The power cap that holds, heat considered; `None` where there is none.
    pub fn effective_cap(&self) -> Option<Microwatts> {
        self.book.supplies.cap()
    }

    /// What the configuration in force wants to save.
    pub fn policy(&self) -> Policy {
        self.book.supplies.power().policy
    }

    /// Which table of the configuration is in force.
    pub fn supply(&self) -> Supply {
        self.book.supplies.supply
    }

    /// What the signals said last.
    pub fn signals(&self) -> Signals {
        self.book.supplies.signals
    }

    /// Why only interactive requests start now, where it is so.
    pub fn restriction(&self) -> Option<&'static str> {
        Some(match self.book.supplies.closed(Class::Background)? {
            Closed::Battery => "the battery is below its floor",
            Closed::Heat => "the device is too hot",
        })
    }

    /// A request waits for the charger or for the device to cool: only [`Event::Signals`](crate::sched::Event::Signals) lets
    /// it go on, so somebody must look at them now and then.
    pub fn wants_signals(&self) -> bool {
        let sites = self.queue.sites();
        let mut heads = sites.into_iter().flat_map(|site| self.queue.heads(site));
        heads.any(|head| matches!(self.book.gate(head.id), Gate::Closed(_)))
    }

    /// All purses as they were at the last event, those that are off included.
    pub fn purses(&self) -> impl Iterator<Item = PurseState> + '_ {
        self.book.purses.iter().map(|(id, purse)| self.book.state(*id, purse))
    }

    /// The purses that bound this client.
    pub fn purses_of(&self, client: ClientId) -> Vec<PurseState> {
        self.book.bounding(client).map(|(id, purse)| self.book.state(id, purse)).collect()
    }

    /// Requests of this client that run.
    pub fn running_of(&self, client: ClientId) -> u32 {
        self.book.clients.get(&client).map_or(0, |client| client.running)
    }

    /// What a running request may use in all since it arrived; `None` where nothing bounds it.
    pub fn allowance(&self, id: RequestId) -> Option<Microjoules> {
        self.book.entries.get(&id)?.allowed.map(Microjoules)
    }

    /// What bounds the energy of a request that runs, or has ended and is not settled. For people.
    pub fn limit_reason(&self, id: RequestId) -> Option<String> {
        let entry = self.book.entries.get(&id)?;
        Some(match entry.bound? {
            Bound::Request => format!("max_joules ({}) is used up", Microjoules(entry.most?)),
            Bound::Purse(purse) => format!("{} is used up", purse_name(purse)),
        })
    }

    /// A background request that its purses end before its first token should wait again: tell
    /// [`Event::Stopped`](crate::sched::Event::Stopped) and not `Finished`.
    pub fn may_wait_again(&self, id: RequestId) -> bool {
        self.book.entries.get(&id).is_some_and(|entry| {
            let by_purse = matches!(entry.bound, Some(Bound::Purse(_)));
            entry.class == Class::Background && by_purse && entry.returned < TRIES && !self.closing
        })
    }
}
