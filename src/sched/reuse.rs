//! What one request of a client leaves in a lane that its next one finds there again.
//!
//! Of each client and endpoint the last request is remembered: where it ran, how long it was, and what the ones before
//! it were found to share. A prompt that goes on from there contains what was left behind, so that one shorter than that
//! begins something new. What came while the last one still ran says little: it could not find much.
//!
//! What always holds: what is remembered of clients is bounded, and every share is between 0 and 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Arrival, ClientId, Endpoint, Plan, Site, VariantId};
use crate::clock::Time;
use crate::lane::RequestId;

/// Clients and endpoints that are remembered.
const REMEMBERED: usize = 1_024;
/// What of a chat's cells the next request of the same client finds again, until that was seen.
const SHARE: f64 = 0.6;
/// And of those that it finds anything of.
const PART: f64 = 0.9;
/// How far what was seen moves that; and an unlikely prompt while the last request still ran.
const STEP: f64 = 0.5;
const STEP_BESIDE: f64 = 0.3;
/// A prompt shorter than this part of what is usually found does not go on from the last one; and one that is so many
/// times as long as all of that is hardly a next turn.
const LONG_ENOUGH: f64 = 0.9;
const TOO_LONG: f64 = 1.5;

/// What of one request's cells a client's next one finds again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// On average.
    pub share: f64,
    /// On average of those that find anything.
    pub part: f64,
    /// On average of those that are long enough to go on from it.
    pub sure: f64,
    /// Tokens by which prompts grow that go on.
    pub grows: f64,
}

impl Share {
    /// Of a client of which nothing else is known.
    fn new(share: f64) -> Share {
        Share { share, part: PART, sure: share, grows: 0.0 }
    }

    /// It may have been learnt.
    pub(super) fn is_sane(&self) -> bool {
        let shares = [self.share, self.part, self.sure].iter().all(|part| (0.0..=1.0).contains(part));
        shares && (0.0..=f64::from(u32::MAX)).contains(&self.grows)
    }

    /// So far may the usual share be from what is thought at first.
    pub(super) fn may_be_off(off: f64) -> bool {
        (0.0..=1.0).contains(&(SHARE + off))
    }
}

/// The last request of a client.
#[derive(Debug, Clone, Copy)]
struct Last {
    id: RequestId,
    /// Where its prompt and its answer were computed, and the cells of both; none of one in an earlier run.
    plan: Plan,
    prompt: u32,
    cells: u32,
    used: Time,
    finds: Share,
}

impl Last {
    /// Whether a prompt of so many tokens may go on from here.
    fn may_go_on(&self, prompt: u32) -> bool {
        self.cells > 0 && f64::from(prompt) >= LONG_ENOUGH * self.finds.part * f64::from(self.cells)
    }
}

/// How a conversation is thought to go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GoesOn {
    /// How likely there is a next request.
    pub(super) again: f64,
    /// Tokens of this one's prompt that were in the last one's cells, if it goes on from there.
    pub(super) known: u32,
    /// Tokens by which prompts grow from one to the next.
    pub(super) grows: u32,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Reuse {
    by: BTreeMap<(ClientId, Endpoint), Last>,
    /// By how much the usual share is another than [`SHARE`].
    off: f64,
}

impl Reuse {
    fn last(&self, arrival: &Arrival) -> Option<&Last> {
        self.by.get(&(arrival.client, arrival.endpoint))
    }

    /// What share of this request's cells the next one of the same client is thought to find again.
    fn share(&self, arrival: &Arrival) -> f64 {
        let own = self.last(arrival).map(|last| last.finds.share);
        match arrival.endpoint {
            Endpoint::Chat => own.unwrap_or(SHARE + self.off),
            Endpoint::Completion => own.unwrap_or(0.0),
        }
    }

    /// How the conversation of this request is thought to go on.
    pub(super) fn goes_on(&self, arrival: &Arrival) -> GoesOn {
        let last = self.last(arrival);
        let part = last.map_or(PART, |last| last.finds.part);
        let cells = last.filter(|last| last.may_go_on(arrival.prompt)).map_or(0, |last| last.cells);
        let again = (self.share(arrival) / part.max(0.1)).clamp(0.0, 1.0);
        // `as` saturates.
        GoesOn { again, known: (f64::from(cells) * part) as u32, grows: last.map_or(0, |last| last.finds.grows as u32) }
    }

    /// Where the last request of this client ran, and the cells that this one would find there again.
    pub(super) fn remains(&self, arrival: &Arrival) -> impl Iterator<Item = (Site, u32)> {
        let last = self.last(arrival).filter(|last| last.may_go_on(arrival.prompt)).copied();
        let most = arrival.prompt.saturating_sub(1);
        // `as` saturates.
        let of = move |cells: u32, share: f64| ((f64::from(cells) * share) as u32).min(most);
        let all = move |last: Last| {
            let sure = last.finds.sure;
            [(last.plan.decode, of(last.cells, sure)), (last.plan.prefill, of(last.prompt, sure))]
        };
        last.into_iter().flat_map(all)
    }

    /// A request came and will run by this plan with so many cells. `up`: the lanes that are up; `there`: the requests that
    /// have not ended.
    pub(super) fn came(
        &mut self,
        arrival: &Arrival,
        plan: Plan,
        cells: u32,
        up: impl Fn(Site) -> bool,
        there: impl Fn(RequestId) -> bool,
        now: Time,
    ) {
        let (id, prompt, share) = (arrival.id, arrival.prompt, self.share(arrival));
        let key = (arrival.client, arrival.endpoint);
        self.make_room(key);
        let new = Last { id, plan, prompt, cells: 0, used: now, finds: Share::new(share) };
        let last = self.by.entry(key).or_insert(new);
        let may_go_on = last.may_go_on(prompt);
        let likely = may_go_on && f64::from(prompt) <= TOO_LONG * f64::from(last.cells);
        if likely {
            last.finds.grows += STEP * (f64::from(prompt.saturating_sub(last.prompt)) - last.finds.grows);
        }
        let held = arrival.cached.iter().find(|(site, _)| *site == last.plan.decode);
        let found = held.map_or(0, |(_, cells)| *cells);
        if last.cells > 0 && found == 0 && there(last.id) {
            // It could not find anything yet, though it may well go on from there.
            if !likely {
                last.finds.share -= STEP_BESIDE * last.finds.share;
            }
        } else if last.cells > 0 && up(last.plan.decode) {
            let seen = (f64::from(found) / f64::from(last.cells)).min(1.0);
            if seen > 0.0 {
                last.finds.part += STEP * (seen - last.finds.part);
            }
            last.finds.share += STEP * (seen - last.finds.share);
            if may_go_on {
                last.finds.sure += STEP * (seen - last.finds.sure);
            }
            // What is usual here is thought of those who are new.
            self.off += 0.1 * (seen - SHARE - self.off);
        }
        *last = Last { id, plan, prompt, cells, used: now, ..*last };
    }

    /// One that asked least lately is forgotten where this one would be too many.
    fn make_room(&mut self, key: (ClientId, Endpoint)) {
        if self.by.len() >= REMEMBERED && !self.by.contains_key(&key) {
            let oldest = self.by.iter().min_by_key(|(_, last)| last.used).map(|(key, _)| *key);
            oldest.map(|oldest| self.by.remove(&oldest));
        }
    }

    /// What clients find again, and when each asked last.
    pub(super) fn shares(&self) -> impl Iterator<Item = ((ClientId, Endpoint), Time, Share)> + '_ {
        self.by.iter().map(|(key, last)| (*key, last.used, last.finds))
    }

    /// Whether something is known of this client.
    pub(super) fn knows(&self, key: (ClientId, Endpoint)) -> bool {
        self.by.contains_key(&key)
    }

    /// By how much the usual share is another than is thought at first.
    pub(super) fn off(&self) -> f64 {
        self.off
    }

    /// So it was in an earlier run, of which no lane holds anything. What this one has seen goes before it.
    pub(super) fn restore(&mut self, key: (ClientId, Endpoint), finds: Share, now: Time) {
        self.make_room(key);
        let nowhere = Plan::on(Site::cpu(VariantId(0)));
        let last = Last { id: RequestId(u64::MAX), plan: nowhere, prompt: 0, cells: 0, used: now, finds };
        self.by.entry(key).or_insert(last);
    }

    /// The same of what is thought of those who are new.
    pub(super) fn restore_off(&mut self, off: f64) {
        if self.off == 0.0 {
            self.off = off;
        }
    }

    /// The answer of this request of theirs came to so many tokens, which was only foretold before.
    pub(super) fn answered(&mut self, client: ClientId, endpoint: Endpoint, id: RequestId, tokens: u32) {
        if let Some(last) = self.by.get_mut(&(client, endpoint)).filter(|last| last.id == id) {
            last.cells = last.prompt.saturating_add(tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::Tenant;
    use crate::sched::DeviceId;

    const CPU: Site = Site { variant: VariantId(0), device: DeviceId::CPU };

    fn ask(id: u64, prompt: u32, cached: u32) -> Arrival {
        let mut arrival = Arrival::new(RequestId(id), Tenant(1), VariantId(0));
        arrival.prompt = prompt;
        arrival.cached = if cached > 0 { vec![(CPU, cached)] } else { Vec::new() };
        arrival
    }

    fn came(reuse: &mut Reuse, arrival: &Arrival, answer: u32, there: bool) {
        reuse.came(arrival, Plan::on(CPU), arrival.prompt + answer, |_| true, |_| there, Time::ZERO);
    }

    #[test]
    fn a_conversation_goes_on_with_all_of_it_and_a_shorter_prompt_begins_a_new_one() {
        let mut reuse = Reuse::default();
        let mut prompt = 100;
        came(&mut reuse, &ask(0, prompt, 0), 50, false);
        for id in 1..6 {
            let held = prompt + 50;
            prompt = held + 30;
            came(&mut reuse, &ask(id, prompt, held), 50, false);
        }
        let next = ask(9, prompt + 80, 0);
        let (site, cells) = reuse.remains(&next).next().unwrap();
        assert!(site == CPU && cells > (prompt + 50) * 9 / 10, "{cells}");
        let on = reuse.goes_on(&next);
        assert!(on.again > 0.9 && on.grows > 70 && on.grows <= 80, "{on:?}");
        // It cannot contain what was said before.
        assert_eq!(reuse.remains(&ask(9, 120, 0)).next(), None);
        assert_eq!(reuse.goes_on(&ask(9, 120, 0)).known, 0);
    }

    #[test]
    fn an_answer_that_was_shorter_than_foretold_is_found_whole() {
        let (mut told, mut untold) = (Reuse::default(), Reuse::default());
        let mut prompt = 50;
        for id in 0..5 {
            // 200 tokens are foretold, and 40 come.
            let arrival = ask(id, prompt, if id > 0 { prompt - 30 } else { 0 });
            for reuse in [&mut told, &mut untold] {
                came(reuse, &arrival, 200, false);
            }
            told.answered(arrival.client, arrival.endpoint, RequestId(id), 40);
            // That of another request is not taken for it.
            told.answered(arrival.client, arrival.endpoint, RequestId(99), 4_000);
            prompt += 70;
        }
        let cells = |reuse: &Reuse| reuse.remains(&ask(9, prompt, 0)).next().map_or(0, |(_, cells)| cells);
        assert!(cells(&told) > (prompt - 30) * 9 / 10, "{} of {}", cells(&told), prompt - 30);
        assert!(cells(&untold) < cells(&told), "{} {}", cells(&untold), cells(&told));
    }

    #[test]
    fn what_comes_while_the_last_one_runs_says_little() {
        let (mut beside, mut after) = (Reuse::default(), Reuse::default());
        for id in 0..4 {
            came(&mut beside, &ask(id, 300, 0), 20, true);
            came(&mut after, &ask(id, 300, 0), 20, false);
        }
        let again = |reuse: &Reuse| reuse.goes_on(&ask(9, 300, 0)).again;
        assert!(again(&beside) > 0.6 && again(&after) < 0.15, "{} {}", again(&beside), again(&after));
        // Prompts of any length are no conversation.
        for (id, prompt) in [100, 900, 30, 400, 50, 1_200].into_iter().enumerate() {
            came(&mut beside, &ask(id as u64, prompt, 0), 20, true);
        }
        assert!(again(&beside) < 0.15, "{}", again(&beside));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut reuse = Reuse::default();
        for id in 0..3_000u32 {
            let arrival = Arrival { client: ClientId(id), ..ask(id.into(), 100, 0) };
            reuse.came(&arrival, Plan::on(CPU), 120, |_| true, |_| false, Time(id.into()));
        }
        assert_eq!(reuse.by.len(), REMEMBERED);
    }
}
