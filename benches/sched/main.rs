//! What an event costs the scheduler with a thousand requests in line: `make bench-sched`.
//!
//! Two devices with profiles, so that every request is planned over three plans and more; arrivals, ends, measurements and
//! ticks in turn. Prints for each kind of event the mean and the slowest in a hundred, and fails where a mean is over the
//! limit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wattlm::clock::Time;
use wattlm::lane::{LaneId, RequestId, Tenant};
use wattlm::sched::{
    Action, Arrival, Budgets, Class, ClientId, Cost, DeviceId, Event, Limits, Measured, PhaseMeasured, Policy, Power,
    Profile, Sched, Site, VariantId,
};
use wattlm::units::Microjoules;

/// Requests in line.
const WAITING: u64 = 1_000;
/// Events of each kind that are timed.
const ROUNDS: u64 = 5_000;
/// Mean time of an event.
const LIMIT: Duration = Duration::from_micros(20);

const MODEL: VariantId = VariantId(0);
const SITES: [Site; 2] = [Site { variant: MODEL, device: DeviceId::CPU }, Site { variant: MODEL, device: DeviceId(1) }];

fn measured(seed: u64) -> Measured {
    let phase = |tokens: u32, each: u64| PhaseMeasured {
        tokens,
        context: tokens,
        batch: 1.0 + (seed % 3) as f32,
        time: Duration::from_millis(u64::from(tokens) * each),
        energy: Microjoules(u64::from(tokens) * each * 4_000),
    };
    let (prefill, decode) = (phase(50 + (seed % 400) as u32, 5), phase(20 + (seed % 90) as u32, 80));
    Measured { threads: 1 + (seed % 4) as u32, prefill, decode, metered: true, ended: true, ..Measured::default() }
}

fn profile() -> Profile {
    let mut profile = Profile::default();
    for seed in 0..40 {
        profile.learn(&measured(seed * 7));
    }
    profile.woke(Cost { seconds: 2.0, joules: 10.0 });
    profile
}

struct Bench {
    sched: Sched,
    now: Time,
    next: u64,
    tenants: u64,
    running: Vec<RequestId>,
    times: BTreeMap<&'static str, Vec<Duration>>,
    timed: bool,
}

impl Bench {
    fn tell(&mut self, kind: &'static str, event: Event) {
        self.now = self.now + Duration::from_millis(1);
        let begin = Instant::now();
        let actions = self.sched.handle(event, self.now);
        std::hint::black_box(self.sched.next_timeout());
        let took = begin.elapsed();
        if self.timed {
            self.times.entry(kind).or_default().push(took);
        }
        for action in actions {
            match action {
                Action::Start { id, .. } => self.running.push(id),
                Action::Refuse { id, error } => panic!("{id:?} is refused: {error}"),
                _ => {}
            }
        }
    }

    fn arrive(&mut self) {
        self.next += 1;
        let n = self.next;
        let mut arrival = Arrival::new(RequestId(n), Tenant((n % self.tenants) as u32), MODEL);
        arrival.class = [Class::Interactive, Class::Standard, Class::Background][(n % 3) as usize];
        arrival.client = ClientId((n % self.tenants) as u32);
        (arrival.prompt, arrival.max_answer, arrival.tokens) = (20 + (n % 700) as u32, 200, 220);
        self.tell("arrived", Event::Arrived(arrival));
    }
}

fn main() {
    let mut slow = false;
    for tenants in [1, 20, 200] {
        let limits = Limits { queue: 5_000, queue_per_tenant: 5_000, ..Limits::default() };
        let times = BTreeMap::new();
        let mut bench = Bench {
            sched: Sched::new(limits),
            now: Time::ZERO,
            next: 0,
            tenants,
            running: Vec::new(),
            times,
            timed: false,
        };
        let power = Power { policy: Policy::MinEnergy, ..Power::default() };
        bench.tell("", Event::Budgets(Budgets { mains: power, battery: power, low_battery: power, low_percent: 0 }));
        for (site, lane) in SITES.into_iter().zip([LaneId(1), LaneId(2)]) {
            bench.tell("", Event::Site { site, usable: true });
            bench.tell("", Event::Profile { site, profile: Box::new(profile()) });
            bench.tell("", Event::Load(site));
            bench.tell("", Event::LaneReady { lane, slots: 4 });
        }
        for _ in 0..WAITING + 8 {
            bench.arrive();
        }
        bench.timed = true;
        for n in 0..ROUNDS {
            bench.arrive();
            let id = bench.running.remove(0);
            if bench.sched.plan(id).is_some_and(|plan| plan.is_split()) && n % 2 == 0 {
                bench.tell("exported", Event::Exported { id, time: Duration::from_millis(9) });
            } else {
                bench.tell("finished", Event::Finished(id));
            }
            bench.tell("measured", Event::Measured { id, site: SITES[(n % 2) as usize], measured: measured(n) });
            bench.tell("tick", Event::Tick);
            while bench.sched.queued() as u64 > WAITING && !bench.running.is_empty() {
                let id = bench.running.remove(0);
                bench.tell("finished", Event::Finished(id));
            }
        }
        println!("{tenants} tenants, {} requests in line:", bench.sched.queued());
        for (kind, mut times) in bench.times {
            times.sort();
            let mean = times.iter().sum::<Duration>() / times.len() as u32;
            slow |= mean > LIMIT;
            println!("  {kind:<9} mean {mean:>10.2?}  p99 {:>10.2?}", times[times.len() * 99 / 100]);
        }
    }
    assert!(!slow, "an event takes more than {LIMIT:?} on average");
}
