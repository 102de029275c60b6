//! The waiting line: which request of a site is next.
//!
//! It knows nothing of lanes or time limits; the coordinator asks for the next request when a slot is free. Order:
//! effective class (ageing lifts what has waited), then requests that carry their state from another lane, then those
//! that lost their lane, then tenants that run nothing, then start-time fair queueing by tokens between tenants, then first come, first served.
//!
//! What always holds: within one (site, class, tenant, client) the oldest request stands first, those that carry their
//! state before all others, so that only the
//! heads need to be compared: finding the next request costs one look at each tenant that waits for the site. Who
//! waits for a budget holds up only its own line: everybody in it draws from the same purses.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Class, ClientId, Site};
use crate::clock::Time;
use crate::lane::{RequestId, Tenant};

/// A request in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) id: RequestId,
    pub(super) tenant: Tenant,
    pub(super) client: ClientId,
    pub(super) class: Class,
    pub(super) tokens: u32,
    pub(super) arrived: Time,
    /// Order of arrival, over all sites. A request that lost its lane keeps its own.
    pub(super) seq: u64,
    /// It lost its lane once.
    pub(super) retried: bool,
    /// Its prompt is computed, and it carries its state from lane to lane.
    pub(super) carries: bool,
    /// How long it is thought to keep a slot.
    pub(super) work: Duration,
    /// The state of the world that its plan knows of.
    pub(super) planned: u64,
}

/// Who counts as more urgent than it is, at one point of time: who arrived by `once` by a class, by `twice` by two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifts {
    once: Option<Time>,
    twice: Option<Time>,
}

impl Lifts {
    pub(super) fn new(now: Time, ageing: Duration) -> Self {
        let before = |wait: Duration| Some(Time(now.0.checked_sub(u64::try_from(wait.as_nanos()).ok()?)?));
        Lifts { once: before(ageing), twice: before(ageing.saturating_mul(2)) }
    }

    /// The class that a request of this class counts as.
    pub(super) fn class(&self, class: Class, arrived: Time) -> Class {
        let by = |time: Option<Time>| time.is_some_and(|time| arrived <= time);
        match class {
            Class::Background if by(self.twice) => Class::Interactive,
            Class::Background if by(self.once) => Class::Standard,
            Class::Standard if by(self.once) => Class::Interactive,
            unchanged => unchanged,
        }
    }

    fn of(&self, request: &Waiting) -> Class {
        self.class(request.class, request.arrived)
    }
}

/// Between whom a site is shared: tenants, and within a tenant its clients (services of one user, say).
type Owner = (Tenant, ClientId);

impl Waiting {
    fn owner(&self) -> Owner {
        (self.tenant, self.client)
    }

    /// Its place among those of the same owner and class.
    fn rank(&self) -> (bool, u64) {
        (!self.carries, self.seq)
    }
}

/// What a tenant waits for and has been given, of one site.
#[derive(Debug, Default)]
struct Share {
    /// Virtual time, in tokens, at which its next request starts.
    tag: u64,
    running: u32,
    /// By class, each in the order of rank.
    lines: [VecDeque<Waiting>; 3],
}

impl Share {
    fn heads(&self) -> impl Iterator<Item = &Waiting> {
        self.lines.iter().filter_map(VecDeque::front)
    }

    fn waits(&self) -> bool {
        self.lines.iter().any(|line| !line.is_empty())
    }
}

/// Everything that waits for or runs on one site.
#[derive(Debug, Default)]
struct Lines {
    tenants: BTreeMap<Owner, Share>,
    /// Virtual time: the largest tag of a request that was started. A tenant that comes back from idleness begins
    /// here, so that idleness earns no credit.
    clock: u64,
    waiting: usize,
    running: usize,
    /// What waits is thought to take so long, by class.
    work: [Duration; 3],
}

/// The waiting line of all sites.
#[derive(Debug, Default)]
pub(super) struct Queue {
    sites: BTreeMap<Site, Lines>,
    per_tenant: BTreeMap<Tenant, usize>,
    len: usize,
}

impl Queue {
    /// Requests waiting.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Requests of this tenant waiting.
    pub(super) fn waiting_of(&self, tenant: Tenant) -> usize {
        self.per_tenant.get(&tenant).copied().unwrap_or(0)
    }

    /// Puts a new request in its place.
    pub(super) fn push(&mut self, site: Site, request: Waiting) {
        let lines = self.sites.entry(site).or_default();
        let share = lines.tenants.entry(request.owner()).or_default();
        if !share.waits() {
            share.tag = share.tag.max(lines.clock);
        }
        self.insert(site, request);
    }

    /// Puts a request in line here that was taken from the line of `taken` and lost its lane. Its tenant gets back what it
    /// was charged there, where it was; in another line it is one more that comes.
    pub(super) fn put_back(&mut self, taken: Site, site: Site, request: Waiting) {
        let lines = self.sites.get_mut(&taken);
        if let Some(share) = lines.and_then(|lines| lines.tenants.get_mut(&request.owner())) {
            share.tag = share.tag.saturating_sub(cost(&request));
        }
        match taken == site {
            true => self.insert(site, request),
            false => self.push(site, request),
        }
    }

    fn insert(&mut self, site: Site, request: Waiting) {
        let lines = self.sites.entry(site).or_default();
        let line = &mut lines.tenants.entry(request.owner()).or_default().lines[request.class as usize];
        line.insert(line.partition_point(|other| other.rank() < request.rank()), request);
        lines.waiting += 1;
        lines.work[request.class as usize] += request.work;
        self.len += 1;
        *self.per_tenant.entry(request.tenant).or_default() += 1;
    }

    /// The requests that stand first in their lines.
    pub(super) fn heads(&self, site: Site) -> impl Iterator<Item = &Waiting> {
        let shares = self.sites.get(&site).into_iter().flat_map(|lines| lines.tenants.values());
        shares.flat_map(Share::heads)
    }

    /// The request to start next among those that `allow` (effective class) lets through.
    pub(super) fn next(&self, site: Site, lifts: Lifts, allow: impl Fn(Class, &Waiting) -> bool) -> Option<Waiting> {
        let mut best: Option<((u8, u64, u64), &Waiting)> = None;
        for share in self.sites.get(&site)?.tenants.values() {
            for head in share.heads() {
                let class = lifts.of(head);
                let kept = u8::from(!head.carries) << 2 | u8::from(!head.retried) << 1 | u8::from(share.running > 0);
                let coarse = (class as u8) << 3 | kept;
                let rank = (coarse, share.tag, head.seq);
                if best.is_none_or(|(least, _)| rank < least) && allow(class, head) {
                    best = Some((rank, head));
                }
            }
        }
        best.map(|(_, head)| *head)
    }

    /// How urgent this site is: the best effective class that waits for it among those that `allow` lets through,
    /// and the oldest request of that class.
    pub(super) fn urgency(&self, site: Site, lifts: Lifts, allow: impl Fn(&Waiting) -> bool) -> Option<(Class, u64)> {
        self.heads(site).filter(|head| allow(head)).map(|head| (lifts.of(head), head.seq)).min()
    }

    /// Takes a request out because it starts: its tenant is charged.
    pub(super) fn take(&mut self, site: Site, request: &Waiting) {
        self.unlink(site, request);
        let Some(lines) = self.sites.get_mut(&site) else { return };
        lines.running += 1;
        if let Some(share) = lines.tenants.get_mut(&request.owner()) {
            lines.clock = lines.clock.max(share.tag);
            share.tag = share.tag.saturating_add(cost(request));
            share.running += 1;
        }
        // A tag that the clock has overtaken says nothing any more. Looking for them only when there may be many keeps
        // this cheap and their memory bounded by who waits, runs or is ahead.
        if lines.tenants.len() > 2 * (lines.waiting + lines.running) {
            let clock = lines.clock;
            lines.tenants.retain(|_, share| share.waits() || share.running > 0 || share.tag > clock);
        }
    }

    /// A started request runs no more.
    pub(super) fn ended(&mut self, site: Site, request: &Waiting) {
        let Some(lines) = self.sites.get_mut(&site) else { return };
        lines.running = lines.running.saturating_sub(1);
        if let Some(share) = lines.tenants.get_mut(&request.owner()) {
            share.running = share.running.saturating_sub(1);
        }
        self.tidy(site);
    }

    /// Takes a request out that will not start.
    pub(super) fn remove(&mut self, site: Site, request: &Waiting) {
        self.unlink(site, request);
        self.tidy(site);
    }

    /// Takes out everything that waits for this site, oldest first.
    pub(super) fn clear(&mut self, site: Site) -> Vec<Waiting> {
        let mut all = self.all(site);
        all.sort_by_key(|request| request.seq);
        for request in &all {
            self.unlink(site, request);
        }
        self.tidy(site);
        all
    }

    /// How long that is thought to take which waits here with this class or a more urgent one.
    pub(super) fn work(&self, site: Site, class: Class) -> Duration {
        let work = self.sites.get(&site).map_or([Duration::ZERO; 3], |lines| lines.work);
        work.iter().take(class as usize + 1).sum()
    }

    /// How many wait here.
    pub(super) fn waiting_at(&self, site: Site) -> usize {
        self.sites.get(&site).map_or(0, |lines| lines.waiting)
    }

    /// Plans of the heads here were looked at in this state of the world.
    pub(super) fn planned(&mut self, site: Site, request: &Waiting, news: u64) {
        let share = self.sites.get_mut(&site).and_then(|lines| lines.tenants.get_mut(&request.owner()));
        let head = share.and_then(|share| share.lines[request.class as usize].front_mut());
        if let Some(head) = head.filter(|head| head.id == request.id) {
            head.planned = news;
        }
    }

    /// The sites that somebody waits for.
    pub(super) fn sites(&self) -> Vec<Site> {
        self.sites.iter().filter(|(_, lines)| lines.waiting > 0).map(|(site, _)| *site).collect()
    }

    /// How many requests of the same site are more urgent, or as urgent and older.
    pub(super) fn ahead(&self, site: Site, request: &Waiting, lifts: Lifts) -> usize {
        let rank = |r: &Waiting| (lifts.of(r), r.seq);
        self.all(site).iter().filter(|other| rank(other) < rank(request)).count()
    }

    fn all(&self, site: Site) -> Vec<Waiting> {
        let shares = self.sites.get(&site).into_iter().flat_map(|lines| lines.tenants.values());
        shares.flat_map(|share| share.lines.iter().flatten().copied()).collect()
    }

    fn unlink(&mut self, site: Site, request: &Waiting) {
        let Some(lines) = self.sites.get_mut(&site) else { return };
        let Some(share) = lines.tenants.get_mut(&request.owner()) else { return };
        let line = &mut share.lines[request.class as usize];
        let Ok(at) = line.binary_search_by_key(&request.rank(), Waiting::rank) else { return };
        let Some(out) = line.remove(at) else { return };
        let work = &mut lines.work[request.class as usize];
        *work = work.saturating_sub(out.work);
        lines.waiting -= 1;
        self.len -= 1;
        if let Some(count) = self.per_tenant.get_mut(&request.tenant) {
            *count -= 1;
            if *count == 0 {
                self.per_tenant.remove(&request.tenant);
            }
        }
    }

    /// Forgets a site that nobody competes for: with the contention, its history ends.
    fn tidy(&mut self, site: Site) {
        if self.sites.get(&site).is_some_and(|lines| lines.waiting == 0 && lines.running == 0) {
            self.sites.remove(&site);
        }
    }
}

/// What a request is charged. At least 1, so that free requests cannot hold a tenant's clock.
fn cost(request: &Waiting) -> u64 {
    u64::from(request.tokens.max(1))
}

#[cfg(test)]
mod tests {
    use super::super::{DeviceId, VariantId};
    use super::*;

    const A: Site = Site { variant: VariantId(0), device: DeviceId::CPU };
    const B: Site = Site { variant: VariantId(1), device: DeviceId::CPU };

    fn request(id: u64, tenant: u32, tokens: u32) -> Waiting {
        Waiting {
            id: RequestId(id),
            tenant: Tenant(tenant),
            client: ClientId(tenant),
            class: Class::Standard,
            tokens,
            arrived: Time::ZERO,
            seq: id,
            retried: false,
            carries: false,
            work: Duration::ZERO,
            planned: 0,
        }
    }

    fn next(queue: &Queue, site: Site) -> Option<u32> {
        let lifts = Lifts::new(Time::ZERO, Duration::MAX);
        queue.next(site, lifts, |_, _| true).map(|request| request.tenant.0)
    }

    /// Two tenants that were served as much at B, the first of which has lost its lane at A.
    fn lost(at: Site) -> Queue {
        let mut queue = Queue::default();
        for (id, tenant, tokens) in [(1, 1, 300), (2, 2, 300), (3, 1, 100), (4, 2, 100)] {
            queue.push(B, request(id, tenant, tokens));
        }
        for (id, tenant) in [(1, 1), (2, 2)] {
            queue.take(B, &request(id, tenant, 300));
        }
        let large = request(5, 1, 10_000);
        queue.push(A, large);
        queue.take(A, &large);
        queue.ended(A, &large);
        queue.put_back(A, at, large);
        queue
    }

    #[test]
    fn who_lost_its_lane_gets_back_what_it_was_charged_in_the_same_line_alone() {
        let same = lost(A);
        assert_eq!((next(&same, A), same.waiting_at(A), same.len()), (Some(1), 1, 3));
        let mut other = lost(B);
        assert_eq!((other.waiting_at(A), other.waiting_at(B), other.len()), (0, 3, 3));
        // What it was charged at A buys it nothing at B, where both were served alike and take turns.
        let mut served = Vec::new();
        for _ in 0..2 {
            let lifts = Lifts::new(Time::ZERO, Duration::MAX);
            let first = other.next(B, lifts, |_, _| true).expect("somebody waits");
            served.push(first.tenant.0);
            other.take(B, &first);
        }
        assert_eq!(served, [1, 2]);
    }
}
