//! What a plan is worth beyond its request: to later ones, whose prompts may go on from the cells that it leaves, and to the
//! lanes that it uses, which `hold` keeps or lets go by what they save.
//!
//! It decides nothing and changes nothing but what it reckons of the plans that it is given.

use super::cost::Outlook;
use super::hold::Saving;
use super::place::{Ask, Place};
use super::reuse::GoesOn;
use super::worth::{worth, Anew, Holder};
use super::{Sched, Site};

impl Sched {
    /// What later requests of the same client, whose prompts may go on where this one ends, are thought to take more by
    /// each plan than by the one that leaves them most.
    pub(super) fn credit(&self, ask: &Ask, places: &[Place], all: &mut [Outlook]) {
        let cells = ask.arrival.prompt.saturating_add(ask.mean as u32);
        let at = |site: Site| places.iter().position(|place| place.site == site).unwrap_or(usize::MAX);
        let GoesOn { again, known, grows } = self.known.reuse.goes_on(ask.arrival);
        // What the next one brings that nobody has seen before.
        let found = places.iter().map(Place::held).fold(known, u32::max);
        let new = ask.arrival.prompt.saturating_sub(found).clamp(1, (cells / 4).max(1));
        let next = cells.saturating_add(new).saturating_add(grows);
        // Who finds its cells there may have its answer computed elsewhere all the same.
        let answer = |place: &Place| {
            let from = |o: &&Outlook| o.plan.prefill == place.site && !self.lanes.are_apart(place.site, o.plan.decode);
            let joules = |o: &Outlook| {
                let to = places.get(at(o.plan.decode)).filter(|_| o.plan.is_split());
                o.handover.joules + o.decode.joules + to.map_or(0.0, Place::comes)
            };
            all.iter().filter(from).map(joules).fold(f64::INFINITY, f64::min)
        };
        let holder =
            |place: &Place| Holder { stays: place.stays, found: place.cells(new) + answer(place) + place.kept };
        let holders: Vec<Holder> = places.iter().map(holder).collect();
        let way = |o: &Outlook| {
            let holds = (at(o.plan.prefill), at(o.plan.decode));
            let (from, to) = (places.get(holds.0)?, places.get(holds.1)?);
            let comes = if o.plan.is_split() { from.comes() + to.comes() } else { from.comes() };
            Some(Anew { joules: from.cells(next) + o.handover.joules + o.decode.joules + comes, holds })
        };
        let ways: Vec<Anew> = all.iter().filter(|o| o.measured && o.closed.is_none()).filter_map(way).collect();
        let worth = worth(again, &holders, &ways);
        // Whatever lane holds most of it: what is computed is in the lane of the answer, and the prompt in its own.
        let left = |o: &Outlook| {
            let holds = |(at, place): (usize, &Place)| {
                let held = match place.site {
                    site if site == o.plan.decode => cells,
                    site if self.lanes.are_apart(site, o.plan.decode) => 0,
                    site if site == o.plan.prefill => ask.arrival.prompt,
                    _ => place.held(),
                };
                worth.get(at).map_or(0.0, |worth| worth * f64::from(held.min(cells)) / f64::from(cells.max(1)))
            };
            places.iter().enumerate().map(holds).fold(0.0, f64::max)
        };
        let lefts: Vec<f64> = all.iter().map(left).collect();
        let most = lefts.iter().copied().fold(0.0, f64::max);
        all.iter_mut().zip(lefts).for_each(|(o, left)| o.lacks = most - left);
    }

    /// Joules that the rest of a crowd will take more where its first request runs by this plan: who comes next finds a lane
    /// up, with others in it, and goes there though it would have begun elsewhere.
    pub(super) fn crowd_lacks(&self, ask: &Ask, all: &[Outlook], o: &Outlook) -> f64 {
        let without = all.iter().flat_map(|o| [o.plan.prefill, o.plan.decode]).filter(|site| !o.touches(*site));
        let each = without.map(|site| self.known.saves_others(site).unwrap_or(0.0)).fold(0.0, f64::max);
        each * self.known.others(o.plan.variant(), ask.bound.is_some())
    }

    /// What each site would save this request in joules if its lane were up, against all plans without it.
    pub(super) fn savings(&self, ask: &Ask, all: &[Outlook]) -> Vec<(Site, Saving)> {
        let mut sites: Vec<Site> = all.iter().flat_map(|o| [o.plan.prefill, o.plan.decode]).collect();
        sites.sort();
        sites.dedup();
        // A lane that went took along what it held of the prompt.
        let remains = self.known.reuse.remains(ask.arrival).filter(|(site, _)| sites.contains(site));
        let remains: Vec<_> = remains.map(|(site, cells)| (self.place(ask, site, false), cells)).collect();
        let lost = |site: Site| {
            let gone = remains.iter().filter(|(place, _)| place.site == site && !place.up);
            gone.map(|(place, cells)| place.cells(*cells)).fold(0.0, f64::max)
        };
        // A lane that costs nothing to keep could have been there all the time, with the last prompt in it.
        let found = ask.arrival.cached.iter().map(|(_, cells)| *cells);
        let held = self.known.reuse.remains(ask.arrival).map(|(_, cells)| cells).chain(found).max().unwrap_or(0);
        let keeps = |o: &Outlook| o.closed.is_none() && self.broken(ask, o).reason().is_none();
        let hurry = all.iter().any(keeps);
        let steady = |o: &Outlook| {
            let site = Some(o.plan.prefill).filter(|site| !o.plan.is_split() && self.known.hold(*site) <= 0.0)?;
            let place = self.place(ask, site, false);
            // Unless this request cannot wait for that to come up, and need not.
            let comes = place.up || !hurry || keeps(o);
            comes.then(|| (site, place.behind(held) + o.decode.joules))
        };
        let steady: Vec<(Site, f64)> = all.iter().filter(|o| o.measured).filter_map(steady).collect();
        let of = |site: Site| {
            let uses = |o: &&Outlook| o.plan.prefill == site || o.plan.decode == site;
            let with = all.iter().filter(uses).map(|o| o.joules() - o.kept(|other| other == site));
            let without = all.iter().filter(|o| !uses(o)).map(Outlook::joules);
            let without = without.chain(steady.iter().filter(|(other, _)| *other != site).map(|(_, joules)| *joules));
            let (with, without) = (with.fold(f64::INFINITY, f64::min), without.fold(f64::INFINITY, f64::min));
            (without - with + lost(site)).min(1e9)
        };
        let holds = |site: Site| match self.known.hold(site) > 0.0 {
            true => self.place(ask, site, false).holds().max(lost(site)),
            false => 0.0,
        };
        let saving = |site: Site| Saving { now: of(site), cells: holds(site), crowd: saved(all, site, |o| o.crowd) };
        sites.into_iter().map(|site| (site, saving(site))).collect()
    }
}

/// What plans with this site take less than those without it.
fn saved(all: &[Outlook], site: Site, joules: impl Fn(&Outlook) -> f64) -> f64 {
    let least = |with: bool| all.iter().filter(|o| o.touches(site) == with).map(&joules).fold(f64::INFINITY, f64::min);
    (least(false) - least(true)).min(1e9)
}
