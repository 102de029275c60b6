//! One sensor of the meter: its outages, when it is tried again, and what is logged of it.

use std::time::Duration;

use super::{FIRST_WAIT, LONGEST_WAIT};
use crate::clock::Time;
use crate::energy::choose::{choose, Choice, Found};
use crate::energy::counter::{Moment, Tracker};
use crate::energy::sources::{Fault, Role, Source};
use crate::units::Microjoules;

/// A sensor that failed.
#[derive(Debug)]
pub(super) struct Outage {
    retry: Time,
    /// It was logged.
    told: bool,
    /// It stood still: the same value once more is no news.
    frozen: bool,
}

pub(super) struct Member {
    pub(super) source: Box<dyn Source>,
    pub(super) tracker: Tracker,
    pub(super) out: Option<Outage>,
    /// The next wait, if it fails again.
    wait: Duration,
    /// When it last came back, and when it last was logged.
    since: Time,
    told: Option<Time>,
}

/// What one sensor adds to a reading.
pub(super) enum Part {
    /// This; `bridged` or not does not matter to the sum.
    Energy(Microjoules),
    /// It counts from here on; what was before is not known.
    Start,
    /// Nothing now; `true`: what it counts meanwhile may still be told later.
    Nothing(bool),
}

impl Member {
    pub(super) fn new(source: Box<dyn Source>) -> Member {
        let tracker = Tracker::new(source.spec());
        Member { source, tracker, out: None, wait: FIRST_WAIT, since: Time::ZERO, told: None }
    }

    /// It sees a graphics card and nothing else.
    pub(super) fn is_card(&self) -> bool {
        self.source.spec().role == Role::Graphics
    }

    pub(super) fn next(&mut self, now: Moment, busy: fn() -> Duration) -> Part {
        if self.out.is_some() {
            return self.again(now);
        }
        let value = self.source.read().and_then(|raw| self.tracker.next(raw, now, busy));
        match value {
            Ok(Some(uj)) => Part::Energy(uj),
            Ok(None) => Part::Start,
            Err(fault) => self.fail(&fault, now.at),
        }
    }

    /// After an outage or a pause.
    pub(super) fn again(&mut self, now: Moment) -> Part {
        if self.out.as_ref().is_some_and(|out| now.at < out.retry) {
            return Part::Nothing(true);
        }
        match self.source.read() {
            Ok(raw) => {
                let frozen = self.out.as_ref().is_some_and(|out| out.frozen);
                if let Some(still) = self.tracker.unmoved(raw, now.at).filter(|_| frozen) {
                    return self.fail(&Fault::Frozen(still), now.at);
                }
                if let Some(out) = self.out.take() {
                    self.since = now.at;
                    if out.told {
                        log::info!("meter {}: works again", self.source.spec().name);
                    }
                }
                self.tracker.bridge(raw, now).map_or(Part::Start, Part::Energy)
            }
            Err(fault) => self.fail(&fault, now.at),
        }
    }

    fn fail(&mut self, fault: &Fault, now: Time) -> Part {
        let spec = self.source.spec();
        if self.out.is_none() {
            if now.since(self.since) > LONGEST_WAIT {
                self.wait = FIRST_WAIT;
            }
            // One that comes and goes is not told each time.
            let lately = self.told.is_some_and(|t| now.since(t) < LONGEST_WAIT);
            if matches!(fault, Fault::Slept | Fault::Unwatched) || lately {
                log::debug!("meter {}: {fault}", spec.name);
            } else if fault.harmless() {
                log::info!("meter {} {fault}: energy is estimated meanwhile", spec.name);
            } else {
                let file = spec.path.display();
                log::warn!("meter {} {fault} ({file}): energy is estimated until it works again", spec.name);
            }
            let told = !lately && !matches!(fault, Fault::Slept | Fault::Unwatched);
            self.told = if told { Some(now) } else { self.told };
            self.out = Some(Outage { retry: now, told, frozen: matches!(fault, Fault::Frozen(_)) });
        }
        if let Some(out) = &mut self.out {
            match fault {
                Fault::Slept | Fault::Unwatched => {}
                Fault::Resting(_) => out.retry = now + FIRST_WAIT,
                _ => {
                    out.retry = now + self.wait;
                    self.wait = (self.wait * 2).min(LONGEST_WAIT);
                }
            }
        }
        // What was wrong with the value itself leaves no value from which to go on.
        Part::Nothing(!matches!(fault, Fault::WentBack | Fault::Slept | Fault::Unwatched))
    }
}

/// Names the files that would make a better meter if this process could read them.
pub(super) fn tell_denied(source: &str, found: &[Found], choice: &Choice) {
    let mut open = found.to_vec();
    for f in open.iter_mut().filter(|f| f.value == Err(Fault::Denied)) {
        f.value = Ok(0);
    }
    let better = choose(source, &open);
    for i in better.used.iter().filter(|i| found[**i].value == Err(Fault::Denied) && better.rank <= choice.rank) {
        let spec = &found[*i].spec;
        log::warn!("meter {}: {} may not be read; docs/energy.md says how to allow it", spec.name, spec.path.display());
    }
}

#[cfg(test)]
impl Outage {
    /// When it is tried again.
    pub(super) fn retry(&self) -> Time {
        self.retry
    }
}
