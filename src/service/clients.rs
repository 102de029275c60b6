//! What clients ask of the service, and what they are told.

use std::collections::BTreeSet;

use super::accounting::energy_status;
use super::api::{
    AccountQuery, EnergyReceipt, LaneStatus, ModelInfo, Outcome, Peer, Receipt, Sink, SinkClosed, Status, Update, Whose,
};
use super::core::{Core, Wish};
use super::lanes::{LaneSlot, Phase};
use super::plans::RequestState;
use super::requests::{Ending, Request};
use super::Reply;
use crate::clock::Time;
use crate::energy::account::{Query, Report};
use crate::error::{Code, Error};
use crate::lane::{Finish, Gpus, RequestId, ToLane, Usage};
use crate::sched::{Event, LaneState, Site, VariantId};

impl Core {
    pub(super) fn cancel(&mut self, peer: Peer, id: RequestId) -> Result<(), Error> {
        if let Some(mut sink) = self.gpus.forget_early(id, |owner| peer.admin || owner.uid == peer.uid) {
            let _ = sink.push(Update::Failed(Ending::Cancelled.error()));
            return Ok(());
        }
        let known = self.requests.get(&id).is_some_and(|r| peer.admin || r.peer.uid == peer.uid);
        if !known {
            // The same answer for somebody else's request: ids tell nothing.
            return Err(Error::new(Code::NotFound, "no such request is queued or running"));
        }
        self.stop_request(id, Ending::Cancelled);
        Ok(())
    }

    pub(super) fn stop_request(&mut self, id: RequestId, ending: Ending) {
        // Nobody listens any more to what was said of it.
        self.gpus.forget_early(id, |_| true);
        if let Some(event) = self.end_request(id, ending) {
            self.event(event);
        }
    }

    /// Ends a request before its time: its client is told now. Its lane, which may be slow to let go or never do, is
    /// asked to; the slot is free when it has.
    pub(super) fn end_request(&mut self, id: RequestId, ending: Ending) -> Option<Event> {
        let request = self.requests.remove(&id)?;
        if request.lane.is_none() {
            self.ended_waiting(id);
        }
        if let Some(lane) = request.lane.and_then(|id| self.lanes.by_id.get(&id)).and_then(|slot| slot.lane.as_ref()) {
            lane.send(ToLane::Cancel(id));
        }
        self.totals.cancelled += 1;
        let error = ending.error();
        self.choices.ended(id, RequestState::Cancelled, error.code);
        request.fail(error);
        Some(Event::Cancelled(id))
    }

    pub(super) fn models(&self) -> Vec<ModelInfo> {
        self.catalog.list(|variant| {
            let mut sites = self.sites(variant);
            sites.extend(self.sched.places(variant));
            state(sites.into_iter().map(|site| self.sched.lane_state(site))).to_owned()
        })
    }

    /// Where a variant has lanes, and the CPU, where it may be about to have one.
    fn sites(&self, variant: VariantId) -> BTreeSet<Site> {
        self.lanes.of(variant).map(|slot| slot.site).chain([Site::cpu(variant)]).collect()
    }

    pub(super) fn load(&mut self, peer: Peer, model: &str, mut sink: Box<dyn Sink>) {
        let resolved = match only_admin(peer, "load").and_then(|()| self.catalog.resolve(model)) {
            Ok(r) => r,
            Err(error) => {
                let _ = sink.push(Update::Failed(error));
                return;
            }
        };
        let (variant, name) = (resolved.variant, resolved.name);
        let site = Site::cpu(variant);
        self.event(Event::Load(site));
        if self.sched.lane_state(site) != LaneState::Stopping {
            let why = format!("{name} is not unloaded: it was asked for again in the meantime");
            self.answer_unloads(variant, &Err(Error::new(Code::Cancelled, why)));
        }
        let now = self.clock.now();
        match self.lanes.by_id.values_mut().find(|l| l.site == site && l.phase != Phase::Stopping) {
            Some(slot) if slot.phase == Phase::Ready => {
                let _ = sink.push(loaded(slot, now));
            }
            Some(slot) => slot.watchers.push(sink),
            None if self.sched.is_needed(site) => {
                let revoked = || Error::new(Code::Cancelled, format!("{name} was unloaded before it was loaded"));
                let wish = self.wishes.entry(site).or_insert_with(|| Wish { watchers: Vec::new(), error: revoked() });
                wish.watchers.push(sink);
            }
            None if self.stop.is_some() => {
                let _ = sink.push(Update::Failed(Error::new(Code::ShuttingDown, "the daemon is stopping")));
            }
            None => {
                let error = Error::new(Code::ModelLoadFailed, format!("{name} cannot be loaded now: the log says why"));
                let _ = sink.push(Update::Failed(error));
            }
        }
    }

    pub(super) fn unload(&mut self, peer: Peer, model: &str, reply: Reply<Result<(), Error>>) {
        match only_admin(peer, "unload").and_then(|()| self.catalog.resolve(model)) {
            Err(e) => reply(Err(e)),
            Ok(r) => {
                self.unload_replies.push((r.variant, reply));
                for site in self.sites(r.variant) {
                    self.event(Event::Unload(site));
                }
                if self.lanes.of(r.variant).next().is_none() {
                    self.answer_unloads(r.variant, &Ok(()));
                }
            }
        }
    }

    pub(super) fn answer_unloads(&mut self, variant: VariantId, answer: &Result<(), Error>) {
        let (these, others) = std::mem::take(&mut self.unload_replies).into_iter().partition(|(v, _)| *v == variant);
        self.unload_replies = others;
        let these: Vec<(VariantId, Reply<Result<(), Error>>)> = these;
        for (_, reply) in these {
            reply(answer.clone());
        }
    }

    pub(super) fn status(&self) -> Status {
        let excluded: Vec<String> = self.bad_kernels.iter().cloned().collect();
        let lanes = self.lanes.by_id.values().map(|l| {
            let info = l.info.as_ref();
            LaneStatus {
                model: l.model.clone(),
                state: match l.phase {
                    Phase::Preparing | Phase::Loading => "loading",
                    Phase::Proving => "proving",
                    Phase::Ready => "ready",
                    Phase::Stopping => "stopping",
                }
                .to_owned(),
                device: info.map_or_else(String::new, |i| i.device.clone()),
                kernels: info.map_or_else(String::new, |i| i.kernels.clone()),
                excluded_kernels: excluded.clone(),
                threads: l.threads(false),
                threads_max: info.map_or(0, |i| i.threads),
                pid: l.lane.as_ref().and_then(|l| l.pid()),
                running: u32::try_from(l.running.len()).unwrap_or(u32::MAX),
                slots: l.slots,
                context: l.context,
                kv_type: l.kv_type,
                sandbox: info.map_or_else(String::new, |i| i.sandbox.clone()),
                synthetic: info.is_some_and(|i| i.synthetic),
                load_ms: info.map_or(0, |i| i.load_ms),
                progress: l.progress,
            }
        });
        Status {
            version: crate::VERSION.to_owned(),
            uptime_s: self.clock.now().since(Time::ZERO).as_secs_f64(),
            pid: std::process::id(),
            lanes: lanes.collect(),
            queued: u32::try_from(self.sched.queued()).unwrap_or(u32::MAX),
            running: u32::try_from(self.sched.running()).unwrap_or(u32::MAX),
            totals: self.totals,
            last_fault: self.last_fault.clone(),
            memory_available: self.catalog.memory_available(),
            gpus: self.gpus.gpus.as_ref().map_or_else(Vec::new, |g| g.found.clone()),
            no_gpu: self.gpus.gpus.as_ref().and_then(Gpus::why_none),
            distrusted: self.distrusted(),
            energy: energy_status(&self.metering),
            profiles: self.profile_states(),
        }
    }

    /// A client sees its own lines, and these coarse.
    pub(super) fn account(&self, peer: Peer, query: AccountQuery) -> Result<Report, Error> {
        let uid = match query.whose {
            Whose::Own => Some(peer.uid),
            Whose::Uid(uid) => Some(uid),
            Whose::All => None,
        };
        if uid != Some(peer.uid) && !peer.admin {
            return Err(Error::new(
                Code::Forbidden,
                "only administrators may see what others used: leave 'uid' out for your own, run as root, or join the \
                 group named by server.admin_group",
            ));
        }
        let AccountQuery { from, to, by, .. } = query;
        Ok(self.accounting.account.report(&Query { uid, from, to, by }, peer.admin))
    }

    /// Tells one client; one that does not listen ends its request.
    pub(super) fn tell(&mut self, id: RequestId, what: impl FnOnce(&mut Request) -> Result<(), SinkClosed>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if let Err(closed) = what(request) {
            self.stop_request(id, closed.into());
        }
    }

    pub(super) fn tell_all(
        &mut self,
        which: impl Fn(&Request) -> bool,
        mut what: impl FnMut(&mut Request) -> Result<(), SinkClosed>,
    ) {
        let ids: Vec<RequestId> = self.requests.values().filter(|r| which(r)).map(|r| r.id).collect();
        for id in ids {
            self.tell(id, &mut what);
        }
    }
}

/// How far a variant is, of whose places each is as far as this: as far as the best of them.
fn state(places: impl Iterator<Item = LaneState>) -> &'static str {
    // What is nowhere can be loaded, unless it failed too often in all places.
    let rank = |state: &LaneState| match state {
        LaneState::Ready => 4,
        LaneState::Loading => 3,
        LaneState::Stopping => 2,
        LaneState::Unloaded => 1,
        LaneState::Quarantined { .. } => 0,
    };
    match places.max_by_key(rank) {
        Some(LaneState::Ready) => "loaded",
        Some(LaneState::Loading) => "loading",
        Some(LaneState::Stopping) => "stopping",
        Some(LaneState::Quarantined { .. }) => "quarantined",
        Some(LaneState::Unloaded) | None => "unloaded",
    }
}

pub(super) fn tell_failed(watchers: Vec<Box<dyn Sink>>, error: &Error) {
    for mut watcher in watchers {
        let _ = watcher.push(Update::Failed(error.clone()));
    }
}

pub(super) fn only_admin(peer: Peer, what: &str) -> Result<(), Error> {
    if peer.admin {
        return Ok(());
    }
    Err(Error::new(
        Code::Forbidden,
        format!("only administrators may {what} models: run as root, or join the group named by server.admin_group"),
    ))
}

/// What those who asked for a load are told at its end.
pub(super) fn loaded(slot: &LaneSlot, now: Time) -> Update {
    let info = slot.info.as_ref();
    Update::Done(Box::new(Outcome {
        finish: Finish::Stop,
        usage: Usage::default(),
        receipt: Receipt {
            request: String::new(),
            model: slot.model.clone(),
            device: info.map_or_else(String::new, |i| i.device.to_lowercase()),
            kernels: info.map_or_else(String::new, |i| i.cpu_variant.clone()),
            threads: info.map_or(0, |i| i.threads),
            reason: "loaded".to_owned(),
            plan: None,
            queue_s: now.since(slot.asked).as_secs_f64(),
            prefill_s: 0.0,
            decode_s: 0.0,
            prefill_tokens_per_s: 0.0,
            decode_tokens_per_s: 0.0,
            retries: 0,
            energy: EnergyReceipt::nothing(),
        },
    }))
}
