//! A request on its way in: what it means, whether it may be asked, what the scheduler is told of it, and what it would
//! take.

use super::api::{Generate, Peer, Sink, Update};
use super::catalog::Resolved;
use super::core::Core;
use super::lanes::Phase;
use super::plans::{EstimateReport, Tokens};
use super::prefixes::Outline;
use super::requests::Request;
use crate::error::{Code, Error};
use crate::lane::{Prompt, RequestId, Tenant};
use crate::sched::{Arrival, Backend, Candidate, Endpoint, Event, Site};

/// Answer tokens assumed for fairness where a request does not bound them; it is corrected by nothing, so it need only
/// be of the right size.
const ASSUMED_ANSWER: u32 = 256;

/// What came of looking at a request.
struct Looked {
    resolved: Resolved,
    outline: Outline,
    arrival: Arrival,
}

impl Core {
    pub(super) fn arrived(&mut self, peer: Peer, id: RequestId, spec: Generate, mut sink: Box<dyn Sink>) {
        if spec.backend == Some(Backend::Gpu) && self.gpus.may_come() {
            return self.come_early(peer, id, spec, sink);
        }
        self.totals.requests += 1;
        self.look_for_gpus_again();
        let Looked { resolved, outline, arrival } = match self.look_at(peer, id, &spec) {
            Ok(looked) => looked,
            Err(error) => {
                self.totals.refused += 1;
                let _ = sink.push(Update::Failed(error));
                return;
            }
        };
        let request = Request::new(id, peer, resolved, spec, outline, sink, self.clock.now());
        self.accounting.arrived(id, peer.uid, &request.model);
        self.choices.arrived(id, peer.uid, request.variant);
        self.requests.insert(id, request);
        self.event(Event::Arrived(arrival));
    }

    /// What this request would take, without running it.
    pub(super) fn estimate(&mut self, peer: Peer, spec: &Generate) -> Result<EstimateReport, Error> {
        // Nobody is ever called this.
        let Looked { resolved, arrival, .. } = self.look_at(peer, RequestId(u64::MAX), spec)?;
        let choice = self.sched.estimate(&arrival)?;
        let plan = &choice.plan;
        let alternatives = self.sched.alternatives(&arrival, *plan);
        let cached = arrival.cached.iter().find(|(site, _)| *site == plan.prefill).map_or(0, |(_, tokens)| *tokens);
        let report = self.named(resolved.variant, |names| EstimateReport {
            model: resolved.name.clone(),
            tokens: Tokens {
                prompt: arrival.prompt,
                cached: cached.min(arrival.prompt),
                answer: choice.answer,
                max_answer: arrival.max_answer,
            },
            ttft_s: 0.0,
            seconds: 0.0,
            joules: 0.0,
            memory: choice.forecast.memory,
            policy: choice.policy,
            reason: names.reason(&choice),
            degraded: choice.degraded,
            measured: choice.forecast.measured,
            plan: names.report(plan, &choice.forecast),
            alternatives: alternatives.iter().map(|(plan, f)| names.report(plan, f)).collect(),
        });
        let (ttft_s, seconds, joules) = (report.plan.ttft_s, report.plan.seconds, report.plan.joules);
        Ok(EstimateReport { ttft_s, seconds, joules, ..report })
    }

    fn look_at(&mut self, peer: Peer, id: RequestId, spec: &Generate) -> Result<Looked, Error> {
        let resolved = self.catalog.resolve(&spec.model)?;
        if spec.threads.is_some() && !peer.admin {
            let message =
                "only administrators may choose the number of threads: leave it out, run as root, or join the \
                           group named by server.admin_group";
            return Err(Error::new(Code::Forbidden, message).at("wattlm.threads"));
        }
        let outline = Outline::of(&spec.prompt);
        let prompt = self.predictor.tokens(resolved.variant, outline.bytes());
        let admitted = self.admit(peer, &resolved, spec.class, (prompt, spec.max_tokens))?;
        self.recall(admitted.client);
        let named = spec.model.contains(':');
        let mut variants = self.catalog.candidates(&resolved, named, spec.degrade);
        variants.retain(|candidate| {
            candidate.variant == resolved.variant || self.permits(admitted.rule.as_ref(), candidate.variant)
        });
        let max_answer = spec.max_tokens.unwrap_or(resolved.max_tokens);
        let now = self.clock.now();
        let tenant = Tenant(peer.uid);
        let arrival = Arrival {
            class: spec.class,
            cached: self.cached(tenant, &variants, &outline),
            variants,
            endpoint: match &spec.prompt {
                Prompt::Chat(_) => Endpoint::Chat,
                Prompt::Text(_) => Endpoint::Completion,
            },
            tokens: prompt.saturating_add(max_answer.min(ASSUMED_ANSWER)).max(1),
            prompt,
            max_answer,
            deadline: spec.deadline.map(|time| now + time),
            first_token: spec.max_ttft.map(|time| now + time),
            policy: spec.policy,
            backend: spec.backend,
            degrade: spec.degrade,
            threads: spec.threads,
            client: admitted.client,
            predicted: admitted.predicted,
            max_joules: spec.max_joules,
            ..Arrival::new(id, tenant, resolved.variant)
        };
        Ok(Looked { resolved, outline, arrival })
    }

    /// What lanes that are up have probably computed of this prompt.
    fn cached(&mut self, tenant: Tenant, variants: &[Candidate], outline: &Outline) -> Vec<(Site, u32)> {
        let up = self.lanes.by_id.values().filter(|slot| slot.phase == Phase::Ready).map(|slot| slot.site);
        let fits = |site: &Site| variants.iter().any(|candidate| candidate.variant == site.variant);
        let sites: Vec<Site> = up.filter(fits).collect();
        let cached = sites.into_iter().map(|site| (site, self.prefixes.cached(tenant, site, outline)));
        cached.filter(|(_, tokens)| *tokens > 0).collect()
    }
}
