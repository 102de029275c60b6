//! What was learnt of the traffic, as it is kept from one run to the next: how long answers are, how requests follow one
//! another and go on from one another, and what lanes would have saved them.
//!
//! Plain data, taken from the scheduler ([`Sched::habits`]) and given to the next one
//! ([`Event::Habits`](super::Event::Habits)). Clients, variants and sites are numbers that mean something in one run only;
//! who keeps habits gives them names that last ([`Habits::named`]). Left out is what is true
//! only now: who is there, what lanes hold, which lanes are explored.
//!
//! What always holds: what was [checked](Habits::checked) is bounded and has no figure that could not have been learnt; the
//! scheduler takes no other, and replaces by it nothing that it has learnt itself.

use serde::{Deserialize, Serialize};

use super::crowd::MOST_THERE;
use super::hold::{GAPS, LONGEST_GAP, MOST_SAVED, SAVINGS};
use super::known::{Known, CONTENTION_MOST, MOVE_MOST};
use super::length::{ANSWERS, CLIENTS};
use super::reuse::Share;
use super::{ClientId, Endpoint, Sched, Site, VariantId};
use crate::clock::Time;

/// Variants and sites of which something is kept.
const VARIANTS: usize = 128;
const SITES: usize = 256;

/// Everything. Clients, variants and sites are called by `C`, `V` and `S`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Habits<C = ClientId, V = VariantId, S = Site> {
    /// Of clients at their endpoints; who asked last comes first.
    pub clients: Vec<ClientHabits<C>>,
    /// Of what is asked for.
    pub variants: Vec<VariantHabits<V>>,
    /// Of lanes. Joules: they belong to the very device that was measured.
    pub sites: Vec<SiteHabits<S>>,
    /// By how much clients usually find another share of the last request again than was thought at first.
    pub off: f64,
    /// What takes longer on this device while another lane computes, as a part.
    pub contention: Option<f64>,
}

/// What is known of a client at an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientHabits<C> {
    /// Who.
    pub client: C,
    /// Where.
    pub endpoint: Endpoint,
    /// Tokens of the last answers, and how many each may have had; the oldest first.
    pub answers: Vec<(u32, u32)>,
    /// What its requests find again of one another.
    pub share: Option<Share>,
}

/// What is known of the requests for a variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantHabits<V> {
    /// Which.
    pub variant: V,
    /// Seconds from the end of one request to the next, none where it came before that; the oldest first.
    pub gaps: Vec<f64>,
    /// How many usually come before nobody is there any more, and how many of them are there at a time.
    pub crowd: Option<(f64, f64)>,
    /// Seconds that each cell takes into a lane, or out of it.
    pub moves: Option<f64>,
}

/// What is known of a lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteHabits<S> {
    /// Which.
    pub site: S,
    /// Joules that it saved the last requests, or would have, and those that what it held of their prompts was worth; the
    /// oldest first.
    pub savings: Vec<(f64, f64)>,
    /// Joules that it usually saves one of a crowd.
    #[serde(default)]
    pub crowd: Option<f64>,
}

impl<C, V, S> Default for Habits<C, V, S> {
    fn default() -> Self {
        Habits { clients: Vec::new(), variants: Vec::new(), sites: Vec::new(), off: 0.0, contention: None }
    }
}

impl<C, V, S> Habits<C, V, S> {
    /// The same under other names. Whatever has none is left out.
    pub fn named<D, W, T>(
        self,
        mut client: impl FnMut(&C) -> Option<D>,
        mut variant: impl FnMut(&V) -> Option<W>,
        mut site: impl FnMut(&S) -> Option<T>,
    ) -> Habits<D, W, T> {
        let Habits { clients, variants, sites, off, contention } = self;
        let clients = clients.into_iter().filter_map(|ClientHabits { client: old, endpoint, answers, share }| {
            Some(ClientHabits { client: client(&old)?, endpoint, answers, share })
        });
        let variants = variants.into_iter().filter_map(|VariantHabits { variant: old, gaps, crowd, moves }| {
            Some(VariantHabits { variant: variant(&old)?, gaps, crowd, moves })
        });
        let sites = sites.into_iter().filter_map(|SiteHabits { site: old, savings, crowd }| {
            Some(SiteHabits { site: site(&old)?, savings, crowd })
        });
        Habits { clients: clients.collect(), variants: variants.collect(), sites: sites.collect(), off, contention }
    }

    /// These, and what `older` ones say of others. Of what is named twice the first counts.
    pub fn over(mut self, older: Habits<C, V, S>) -> Habits<C, V, S>
    where
        C: PartialEq,
        V: PartialEq,
        S: PartialEq,
    {
        self.clients.extend(older.clients);
        self.variants.extend(older.variants);
        self.sites.extend(older.sites);
        once(&mut self.clients, |a, b| a.client == b.client && a.endpoint == b.endpoint);
        once(&mut self.variants, |a, b| a.variant == b.variant);
        once(&mut self.sites, |a, b| a.site == b.site);
        self.contention = self.contention.or(older.contention);
        self.checked()
    }

    /// What makes sense of it, no more than is ever learnt.
    pub fn checked(mut self) -> Habits<C, V, S> {
        for one in &mut self.clients {
            one.answers.retain(|(tokens, _)| *tokens > 0);
            latest(&mut one.answers, ANSWERS);
            one.share = one.share.filter(Share::is_sane);
        }
        for one in &mut self.variants {
            one.gaps.retain(|gap| (0.0..LONGEST_GAP).contains(gap));
            latest(&mut one.gaps, GAPS);
            let fits = |(came, there): &(f64, f64)| (1.0..=1e9).contains(came) && (1.0..=MOST_THERE).contains(there);
            one.crowd = one.crowd.filter(fits);
            one.moves = one.moves.filter(|seconds| (0.0..=MOVE_MOST).contains(seconds));
        }
        for one in &mut self.sites {
            let most = MOST_SAVED;
            one.savings.retain(|(saving, cells)| saving.abs() <= most && (0.0..=most).contains(cells));
            latest(&mut one.savings, SAVINGS);
            one.crowd = one.crowd.filter(|joules| (0.0..=most).contains(joules));
        }
        self.clients.retain(|one| !one.answers.is_empty() || one.share.is_some());
        self.variants.retain(|one| !one.gaps.is_empty() || one.crowd.is_some() || one.moves.is_some());
        self.sites.retain(|one| !one.savings.is_empty());
        self.clients.truncate(CLIENTS);
        self.variants.truncate(VARIANTS);
        self.sites.truncate(SITES);
        self.off = if Share::may_be_off(self.off) { self.off } else { 0.0 };
        self.contention = self.contention.filter(|part| (0.0..=CONTENTION_MOST).contains(part));
        self
    }
}

/// Of those that are the same the first stays.
fn once<T>(all: &mut Vec<T>, same: impl Fn(&T, &T) -> bool) {
    let mut kept: Vec<T> = Vec::with_capacity(all.len());
    for one in all.drain(..) {
        if !kept.iter().any(|other| same(other, &one)) {
            kept.push(one);
        }
    }
    *all = kept;
}

/// So many stay, those at the end.
fn latest<T>(all: &mut Vec<T>, most: usize) {
    all.drain(..all.len().saturating_sub(most));
}

impl Known {
    fn habits(&self) -> Habits {
        let mut clients: Vec<_> = self
            .reuse
            .shares()
            .map(|(key, used, share)| (Some(used), self.lengths.used(key), key, Some(share)))
            .collect();
        let others = self.lengths.keys().filter(|key| !self.reuse.knows(*key));
        clients.extend(others.map(|key| (None, self.lengths.used(key), key, None)));
        clients.sort_by_key(|(came, used, key, _)| (*came, *used, *key));
        let clients = clients.into_iter().rev().map(|(_, _, key, share)| ClientHabits {
            client: key.0,
            endpoint: key.1,
            answers: self.lengths.answers(key).collect(),
            share,
        });
        let mut variants: Vec<VariantId> = self.traffic.keys().chain(self.moves.keys()).copied().collect();
        variants.sort_unstable();
        variants.dedup();
        let variants = variants.into_iter().map(|variant| VariantHabits {
            variant,
            gaps: self.traffic.get(&variant).map_or_else(Vec::new, |traffic| traffic.gaps.recent().collect()),
            crowd: self.traffic.get(&variant).and_then(|traffic| traffic.crowd.usual()),
            moves: self.moves.get(&variant).copied(),
        });
        let sites = self.spots.iter();
        let sites = sites.map(|(site, spot)| SiteHabits {
            site: *site,
            savings: spot.savings.recent().collect(),
            crowd: spot.savings.of_crowd(),
        });
        Habits {
            clients: clients.collect(),
            variants: variants.collect(),
            sites: sites.collect(),
            off: self.reuse.off(),
            contention: self.contention,
        }
        .checked()
    }

    /// What nothing is known of yet is thought to be like this.
    fn accustom(&mut self, habits: Habits, now: Time) {
        let habits = habits.checked();
        // Who asked last is the last to be forgotten.
        for ClientHabits { client, endpoint, answers, share } in habits.clients.into_iter().rev() {
            self.lengths.restore((client, endpoint), answers);
            if let Some(share) = share {
                self.reuse.restore((client, endpoint), share, now);
            }
        }
        self.reuse.restore_off(habits.off);
        for VariantHabits { variant, gaps, crowd, moves } in habits.variants {
            let traffic = self.traffic.entry(variant).or_default();
            traffic.gaps.restore(gaps);
            traffic.crowd.restore(crowd);
            if let Some(seconds) = moves {
                self.moves.entry(variant).or_insert(seconds);
            }
        }
        for SiteHabits { site, savings, crowd } in habits.sites {
            self.spots.entry(site).or_default().savings.restore(savings, crowd);
        }
        self.contention = self.contention.or(habits.contention);
    }
}

impl Sched {
    /// What was learnt of the traffic, to be kept for the next run.
    pub fn habits(&self) -> Habits {
        self.known.habits()
    }

    /// See [`Event::Habits`](super::Event::Habits).
    pub(super) fn accustom(&mut self, habits: Habits) {
        self.known.accustom(habits, self.now);
        self.news();
    }
}

#[cfg(test)]
mod tests;
