//! How what is in the purses is divided over those that run.
//!
//! It says what each may use and what bounds it; the lanes keep to it. What always holds: who may use less hears of it before
//! anybody may use more.

use super::{signed, Book, Bound, Entry, Purse, PurseId};
use crate::lane::RequestId;
use crate::sched::Action;
use crate::units::Microjoules;

/// A difference in what is allowed that is not worth a message: less than any decode step takes.
const TRIFLE: u64 = 1_000;

/// The division.
impl Book {
    /// Divides what is in the purses over those that run, where the division that they were told of holds no more.
    pub(in crate::sched) fn divide(&mut self, out: &mut Vec<Action>) {
        let parts: Vec<(RequestId, Option<(u64, Bound)>)> =
            self.running().map(|(id, entry)| (id, self.part(entry))).collect();
        let stale = |(id, part): &(RequestId, Option<(u64, Bound)>)| {
            let open = self.entries.get(id).and_then(Entry::open);
            match (part.map(|(part, _)| part), open) {
                (None, None) => false,
                (Some(part), Some(open)) => open < part / 2 && part - open >= TRIFLE,
                _ => true,
            }
        };
        let overdrawn = |(id, purse): (&PurseId, &Purse)| {
            let open = |entry: &Entry| entry.open().unwrap_or(0);
            let all = self.on(*id).map(open).fold(0, u64::saturating_add);
            purse.on && all > 0 && signed(all) > purse.level()
        };
        let beyond = |(_, entry): (RequestId, &Entry)| entry.left() < entry.open().filter(|_| entry.most.is_some());
        let again = parts.iter().any(stale) || self.purses.iter().any(overdrawn) || self.running().any(beyond);
        let mut more = Vec::new();
        for (id, part) in parts {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.bound = part.map(|(_, bound)| bound);
            let allowed = part.map(|(part, _)| entry.before.saturating_add(entry.spent).saturating_add(part));
            if !again || allowed == entry.allowed {
                continue;
            }
            // Who may use less hears of it first.
            let less = allowed.unwrap_or(u64::MAX) < entry.allowed.unwrap_or(u64::MAX);
            entry.allowed = allowed;
            let energy = Microjoules(allowed.unwrap_or(u64::MAX));
            if less { &mut *out } else { &mut more }.push(Action::Allow { id, energy });
        }
        out.append(&mut more);
    }

    /// What a running request may use from now on, and what bounds it; `None` where nothing does.
    fn part(&self, entry: &Entry) -> Option<(u64, Bound)> {
        let of_purse = |(id, purse): (PurseId, &Purse)| {
            let level = u64::try_from(purse.level()).unwrap_or(0);
            let (reserved, hold) = (self.reserved(id, purse), entry.hold(purse));
            let part = match level.checked_sub(reserved) {
                Some(rest) => hold + rest / (self.on(id).count() as u64).max(1),
                // More is reserved than there is: each gets its share of what there is.
                None => u64::try_from(u128::from(level) * u128::from(hold) / u128::from(reserved.max(1))).unwrap_or(0),
            };
            (part, Bound::Purse(id))
        };
        let own = entry.left().map(|left| (left, Bound::Request));
        own.into_iter().chain(self.bounding(entry.client).map(of_purse)).min_by_key(|(part, _)| *part)
    }
}
