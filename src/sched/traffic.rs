//! Traffic: who is there for a variant, how long nobody was, and what a lane saves because of who comes next.
//!
//! Books and answers; `hold` reckons what keeping a lane is worth, `crowd` who comes while others are there. What always
//! holds: a request that came is there until it has gone, on each variant that may run it.

use super::crowd::Crowd;
use super::hold::{Gaps, Keep, Price, Saving, Savings};
use super::known::Known;
use super::{Arrival, Site, VariantId};
use crate::clock::Time;

/// Requests that may run on a variant: how many there are, and since when there are none.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) gaps: Gaps,
    pub(super) crowd: Crowd,
    since: Option<Time>,
}

/// Traffic.
impl Known {
    /// A request came. Gives the seconds since the last one that could have run on the same variants was gone.
    pub(super) fn came(&mut self, arrival: &Arrival, now: Time) -> f64 {
        let mut least = f64::MAX;
        for candidate in &arrival.variants {
            let traffic = self.traffic.entry(candidate.variant).or_default();
            let gap = match traffic.since {
                _ if traffic.crowd.there() > 0 => Some(0.0),
                since => since.map(|since| now.since(since).as_secs_f64()),
            };
            if let Some(gap) = gap {
                traffic.gaps.learn(gap);
                least = least.min(gap);
            }
            traffic.crowd.comes();
        }
        least.min(1e9)
    }

    /// Since when, or since `least`, nobody is there who may run on this variant; `None`: somebody is.
    pub(super) fn quiet_since(&self, variant: VariantId, least: Time) -> Option<Time> {
        let since = self.traffic.get(&variant).and_then(|traffic| traffic.since);
        self.is_quiet(variant).then(|| since.map_or(least, |since| since.max(least)))
    }

    /// Nobody else is there who may run on this variant.
    pub(super) fn is_quiet(&self, variant: VariantId) -> bool {
        self.traffic.get(&variant).is_none_or(|traffic| traffic.crowd.there() == 0)
    }

    /// Others than this request that may run on this variant and are there, or are thought to come before they are gone:
    /// as many as usual. `counted`: it came already.
    pub(super) fn others(&self, variant: VariantId, counted: bool) -> f64 {
        self.traffic.get(&variant).map_or(0.0, |traffic| traffic.crowd.others(counted))
    }

    /// It is gone.
    pub(super) fn went(&mut self, arrival: &Arrival, now: Time) {
        for candidate in &arrival.variants {
            let Some(traffic) = self.traffic.get_mut(&candidate.variant) else { continue };
            traffic.crowd.goes();
            traffic.since = Some(now);
        }
    }

    /// What keeping a lane there is worth, which may be idle for `limit` seconds at most.
    pub(super) fn keep(&self, site: Site, limit: f64) -> Keep {
        let price = self.price(site, limit);
        let none = Gaps::default();
        let gaps = self.traffic.get(&site.variant).map_or(&none, |traffic| &traffic.gaps);
        match self.spots.get(&site) {
            Some(spot) => spot.savings.keep(gaps, &price),
            None => Savings::default().keep(gaps, &price),
        }
    }

    /// How likely the next request that may run on this variant comes before the last one is gone.
    pub(super) fn overlaps(&self, variant: VariantId) -> f64 {
        self.traffic.get(&variant).map_or(0.0, |traffic| traffic.gaps.overlaps())
    }

    /// How likely the next request that may run on this variant comes within so many seconds.
    pub(super) fn comes_within(&self, variant: VariantId, seconds: f64) -> f64 {
        self.traffic.get(&variant).map_or(1.0, |traffic| traffic.gaps.within(seconds))
    }

    /// Joules that one of a crowd is usually cheaper with a lane there, if somebody knows.
    pub(super) fn saves_others(&self, site: Site) -> Option<f64> {
        self.spots.get(&site).and_then(|spot| spot.savings.of_crowd())
    }

    /// Joules that one request has to save for a lane there to be brought up that another one has to go for: what it saves
    /// now and what was forgone without it.
    pub(super) fn rental(&self, site: Site) -> f64 {
        let wake = self.load(site).joules;
        self.spots.get(&site).map_or(wake, |spot| spot.savings.left(wake))
    }

    fn price(&self, site: Site, limit: f64) -> Price {
        Price { wake: self.load(site).joules, hold: self.hold(site), limit }
    }

    /// A request that came `gap` seconds after the last one is so much cheaper with a lane there than without. `used`: it
    /// is up, or is brought up for this request.
    pub(super) fn saves(&mut self, site: Site, saving: Saving, gap: f64, used: bool) {
        let price = self.price(site, f64::MAX);
        self.spots.entry(site).or_default().savings.learn(saving, gap, used, &price);
    }
}
