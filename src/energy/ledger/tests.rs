//! The ledger on virtual time, against a device whose draw is known.

use proptest::prelude::*;

use super::*;
use crate::energy::meter::Reading;
use crate::energy::model::Prior;
use crate::lane::step_weights;

const LANE: LaneId = LaneId(1);
const A: RequestId = RequestId(10);
const B: RequestId = RequestId(11);
/// Of a model of 0.5 billion parameters.
const CELL: f32 = 1.0 / 4096.0;
const MS: Duration = Duration::from_millis(1);

/// A device: 2 W idle, 2 W for each busy core. It tells its meter what it drew.
struct Device {
    ledger: Ledger,
    now: Time,
    total: Microjoules,
    cpu: CpuUse,
    /// What the workers drew, by lane.
    truth: BTreeMap<LaneId, f64>,
}

impl Device {
    fn new() -> Device {
        let prior = Prior { idle: 5.0, core: 1.0, gpu: 5.0, cores: 4, known: false };
        let mut device = Device {
            ledger: Ledger::new(PowerModel::new(prior)),
            now: Time::ZERO + MS,
            total: Microjoules::ZERO,
            cpu: CpuUse::default(),
            truth: BTreeMap::new(),
        };
        device.read();
        device
    }

    /// One that has been seen idle.
    fn rested() -> Device {
        let mut device = Device::new();
        for _ in 0..10 {
            device.pass(100 * MS, &[], Duration::ZERO);
            device.read();
        }
        device
    }

    /// Time passes: lanes and others use so much CPU time in it.
    fn pass(&mut self, time: Duration, lanes: &[(LaneId, Duration)], others: Duration) {
        self.now = self.now + time;
        let mut used = 2.0 * time.as_secs_f64();
        for (lane, cpu) in lanes {
            *self.cpu.lanes.entry(*lane).or_default() += *cpu;
            self.cpu.busy += *cpu;
            used += 2.0 * cpu.as_secs_f64();
            *self.truth.entry(*lane).or_default() += 2.0 * cpu.as_secs_f64();
        }
        self.cpu.busy += others;
        used += 2.0 * others.as_secs_f64();
        self.total += Microjoules::from_f64(used);
    }

    fn reading(&self) -> Reading {
        Reading { at: self.now, total: Some(self.total), cards: None, fresh: self.now, bridged: false }
    }

    fn read(&mut self) {
        self.ledger.sampled(self.reading(), self.cpu.clone());
        self.check();
    }

    fn step(&mut self, parts: &[(RequestId, u32, u32, u32)]) {
        let part = |&(id, prefill, decode, context): &_| StepPart { id, prefill, decode, context };
        let parts: Vec<StepPart> = parts.iter().map(part).collect();
        self.ledger.step(LANE, self.cpu.lanes[&LANE], &parts);
        self.check();
    }

    /// Runs one request alone for so many steps of 10 ms on one core.
    fn run(&mut self, id: RequestId, steps: u32) {
        self.ledger.started(id, self.now);
        for n in 0..steps {
            self.pass(10 * MS, &[(LANE, 10 * MS)], Duration::ZERO);
            self.step(&[(id, 0, 1, n)]);
            if n % 10 == 9 {
                self.read();
            }
        }
        self.read();
    }

    fn finish(&mut self, id: RequestId) -> Charge {
        let charge = self.ledger.finish(id, MS, self.now);
        self.check();
        charge
    }

    /// What must always hold.
    fn check(&self) {
        let t = self.ledger.totals();
        let parts = i128::from(t.idle.0) + i128::from(t.charged.0) + i128::from(t.others.0) + i128::from(t.shared);
        assert_eq!(i128::from(t.metered.0), parts, "{t:?}");
        assert_eq!(t.charged, t.wake + t.prefill + t.decode);
    }
}

fn settled(device: &mut Device) -> Vec<RequestId> {
    device.ledger.take_settled().into_iter().map(|(id, _)| id).collect()
}

fn near(got: Microjoules, joules: f64, off: f64) {
    assert!((got.as_f64() - joules).abs() <= off, "{got}, not {joules} J ± {off}");
}

#[test]
fn a_lone_request_is_charged_what_its_worker_drew() {
    let mut device = Device::rested();
    device.ledger.loading(LANE, None);
    device.ledger.ready(LANE, Duration::ZERO, CELL);
    device.run(A, 200);
    let charge = device.finish(A);
    near(charge.total(), 4.0, 0.05);
    near(charge.idle, 4.0, 0.1);
    assert_eq!((charge.prefill, charge.estimated), (Microjoules::ZERO, Microjoules::ZERO));
    assert!(charge.error > Microjoules::ZERO && charge.error < charge.total().share(0.1), "{charge:?}");
    assert_eq!(settled(&mut device), [A]);
}

#[test]
fn who_wakes_a_lane_pays_for_it_even_when_it_does_not_wait() {
    let mut device = Device::rested();
    device.ledger.loading(LANE, Some(A));
    device.pass(500 * MS, &[(LANE, 400 * MS)], Duration::ZERO);
    device.read();
    // It is cancelled while the model loads.
    assert_eq!(device.finish(A).total(), Microjoules::ZERO);
    assert_eq!(settled(&mut device), [], "the load is still to be charged");
    device.pass(100 * MS, &[(LANE, 100 * MS)], Duration::ZERO);
    device.ledger.ready(LANE, device.cpu.lanes[&LANE], CELL);
    device.read();
    near(device.ledger.totals().wake, 1.0, 0.05);
    assert_eq!(settled(&mut device), [A]);
    let spent: i128 = device.ledger.take_spent().iter().map(|s| i128::from(s.more.0) - i128::from(s.less.0)).sum();
    assert_eq!(spent, i128::from(device.ledger.totals().wake.0), "the scheduler hears of all of it");
}

#[test]
fn work_of_three_to_one_is_charged_three_to_one() {
    let mut device = Device::rested();
    device.ledger.loading(LANE, None);
    device.ledger.ready(LANE, Duration::ZERO, CELL);
    device.ledger.started(A, device.now);
    device.ledger.started(B, device.now);
    for _ in 0..100 {
        device.pass(20 * MS, &[(LANE, 20 * MS)], Duration::ZERO);
        device.step(&[(A, 48, 0, 48), (B, 16, 0, 16)]);
        device.read();
    }
    let (a, b) = (device.finish(A), device.finish(B));
    near(a.prefill, 3.0, 0.1);
    near(b.prefill, 1.0, 0.05);
    near(a.idle, 2.0, 0.1);
}

#[test]
fn other_programs_pay_for_themselves() {
    let mut device = Device::rested();
    device.ledger.loading(LANE, None);
    device.ledger.ready(LANE, Duration::ZERO, CELL);
    device.ledger.started(A, device.now);
    for _ in 0..100 {
        device.pass(20 * MS, &[(LANE, 20 * MS)], 40 * MS);
        device.step(&[(A, 0, 1, 1)]);
        device.read();
    }
    near(device.finish(A).total(), 4.0, 0.2);
    near(device.ledger.totals().others, 8.0, 0.4);
}

#[test]
fn before_the_meter_is_read_a_step_is_charged_by_prediction_and_corrected_later() {
    let mut device = Device::rested();
    device.ledger.loading(LANE, None);
    device.ledger.ready(LANE, Duration::ZERO, CELL);
    device.ledger.started(A, device.now);
    device.pass(50 * MS, &[(LANE, 50 * MS)], Duration::ZERO);
    device.step(&[(A, 0, 1, 1)]);
    let first = device.ledger.take_spent();
    // 1 W for a core is all that is known yet; it is 2.
    assert_eq!(first, [Spent { id: A, more: Microjoules(50_000), less: Microjoules(0) }]);
    device.read();
    let then = device.ledger.take_spent();
    assert_eq!(then.len(), 1);
    near(first[0].more + then[0].more, 0.1, 0.005);
}

#[test]
fn a_receipt_does_not_wait_for_a_slow_sensor_and_the_sum_holds() {
    let mut device = Device::rested();
    device.ledger.loading(LANE, None);
    device.ledger.ready(LANE, Duration::ZERO, CELL);
    device.run(A, 100);
    device.pass(50 * MS, &[(LANE, 50 * MS)], Duration::ZERO);
    device.step(&[(A, 0, 1, 1)]);
    // The sensor has not refreshed since.
    let charge = device.finish(A);
    near(charge.total(), 2.1, 0.05);
    device.ledger.started(B, device.now);
    device.pass(50 * MS, &[(LANE, 50 * MS)], Duration::ZERO);
    device.step(&[(B, 0, 1, 1)]);
    device.read();
    near(device.finish(B).total(), 0.1, 0.01);
    assert!(device.ledger.totals().correction.abs() < 10_000, "{:?}", device.ledger.totals());
}

#[test]
fn an_outage_is_estimated_and_what_the_counter_says_afterwards_is_believed() {
    for bridged in [true, false] {
        let mut device = Device::rested();
        device.ledger.loading(LANE, None);
        device.ledger.ready(LANE, Duration::ZERO, CELL);
        device.run(A, 100);
        assert_eq!(device.finish(A).quality(), Quality::Measured);
        device.ledger.started(B, device.now);
        for _ in 0..50 {
            device.pass(20 * MS, &[(LANE, 20 * MS)], Duration::ZERO);
            device.step(&[(B, 0, 1, 1)]);
            let out = Reading { total: None, ..device.reading() };
            device.ledger.sampled(out, device.cpu.clone());
            device.check();
        }
        device.ledger.sampled(Reading { bridged, ..device.reading() }, device.cpu.clone());
        let charge = device.finish(B);
        assert_eq!(charge.quality(), Quality::Estimated);
        near(charge.total(), 2.0, 0.1);
        assert!(charge.error > charge.total().share(0.3), "{charge:?}");
        device.pass(100 * MS, &[], Duration::ZERO);
        device.read();
        if bridged {
            assert_eq!(device.ledger.totals().metered, device.total);
        } else {
            near(device.ledger.totals().metered, device.total.as_f64(), 0.2);
        }
    }
}

#[test]
fn with_no_sensor_everything_is_estimated() {
    let mut device = Device::new();
    device.ledger = Ledger::new(PowerModel::new(Prior { idle: 1.0, core: 3.0, gpu: 5.0, cores: 2, known: false }));
    let blind = |device: &mut Device| {
        let reading = Reading { total: None, ..device.reading() };
        device.ledger.sampled(reading, device.cpu.clone());
        device.check();
    };
    blind(&mut device);
    device.ledger.loading(LANE, None);
    device.ledger.ready(LANE, Duration::ZERO, CELL);
    device.ledger.started(A, device.now);
    device.pass(1000 * MS, &[(LANE, 1000 * MS)], Duration::ZERO);
    device.step(&[(A, 0, 1, 1)]);
    blind(&mut device);
    let charge = device.finish(A);
    near(charge.total(), 3.0, 0.01);
    near(charge.idle, 1.0, 0.01);
    assert_eq!((charge.quality(), charge.estimated), (Quality::Estimated, charge.total()));
    assert_eq!(device.ledger.totals().estimated, device.ledger.totals().metered);
}

#[test]
fn a_lane_that_dies_leaves_what_it_was_charged() {
    let mut device = Device::rested();
    device.ledger.loading(LANE, Some(A));
    device.ledger.ready(LANE, Duration::ZERO, CELL);
    device.ledger.started(A, device.now);
    device.pass(50 * MS, &[(LANE, 50 * MS)], Duration::ZERO);
    device.step(&[(A, 0, 1, 1)]);
    device.ledger.lane_gone(LANE);
    device.check();
    near(device.finish(A).total(), 0.05, 0.01);
    assert_eq!(settled(&mut device), [A]);
}

#[test]
fn what_is_used_during_a_pause_is_not_metered() {
    let mut device = Device::rested();
    let before = device.ledger.totals().metered;
    device.ledger.pause();
    device.pass(Duration::from_secs(3600), &[], Duration::from_secs(600));
    device.read();
    assert_eq!(device.ledger.totals().metered, before);
    device.pass(100 * MS, &[], Duration::ZERO);
    device.read();
    near(device.ledger.totals().metered, before.as_f64() + 0.2, 0.001);
}

/// Requests from the start on, 2 s each, with rests of 0.15 s between them: the first one was charged for what a line
/// through few points said.
#[test]
fn requests_back_to_back_from_the_start_teach_the_idle_draw() {
    let mut device = Device::new();
    device.ledger.loading(LANE, Some(A));
    device.pass(300 * MS, &[(LANE, 300 * MS)], Duration::ZERO);
    device.ledger.ready(LANE, device.cpu.lanes[&LANE], CELL);
    device.read();
    for n in 0..8 {
        let id = RequestId(100 + n);
        device.pass(10 * MS, &[], Duration::ZERO);
        device.read();
        device.pass(130 * MS, &[], 6 * MS);
        device.read();
        device.run(id, 200);
        let charge = device.finish(id);
        assert!((charge.total().as_f64() - 4.0).abs() <= charge.error.as_f64(), "request {n}: {charge:?}");
        if n >= 2 {
            near(charge.total(), 4.0, 0.08);
            assert!(charge.error < charge.total().share(0.08), "request {n}: {charge:?}");
        }
    }
    assert!((device.ledger.model().idle() - 2.0).abs() < 0.03, "{}", device.ledger.model().idle());
}

#[test]
fn a_pause_through_which_the_sensor_counted_tells_the_idle_draw() {
    for (bridged, idle) in [(true, 2.0), (false, 5.0)] {
        let mut device = Device::new();
        device.pass(100 * MS, &[], Duration::ZERO);
        device.ledger.pause();
        device.pass(Duration::from_secs(60), &[], Duration::from_secs(1));
        device.ledger.sampled(Reading { bridged, ..device.reading() }, device.cpu.clone());
        device.check();
        let got = device.ledger.model().idle();
        assert!((got - idle).abs() < 0.05, "{got}");
        assert_eq!(device.ledger.totals().metered, Microjoules::ZERO);
    }
}

#[test]
fn what_others_used_during_a_pause_is_not_taken_for_now() {
    let mut device = Device::rested();
    device.ledger.pause();
    device.pass(Duration::from_secs(3600), &[], Duration::from_secs(600));
    device.read();
    let before = device.ledger.totals();
    device.ledger.loading(LANE, Some(A));
    device.pass(100 * MS, &[(LANE, 100 * MS)], Duration::ZERO);
    device.read();
    device.ledger.ready(LANE, device.cpu.lanes[&LANE], CELL);
    device.check();
    let after = device.ledger.totals();
    assert_eq!(after.others, before.others);
    near(after.wake, 0.2, 0.01);
}

/// The Shapley value of each part of a step whose cost is `fixed` (the weights are read once, whoever takes part) and
/// a sum over the parts: the mean, over all orders in which they could have come, of what each adds.
fn shapley(fixed: f64, costs: &[f64]) -> Vec<f64> {
    fn orders(n: usize) -> Vec<Vec<usize>> {
        if n == 0 {
            return vec![Vec::new()];
        }
        let smaller = orders(n - 1);
        smaller.iter().flat_map(|o| (0..=o.len()).map(move |at| [&o[..at], &[n - 1], &o[at..]].concat())).collect()
    }
    let all = orders(costs.len());
    let mut value = vec![0.0; costs.len()];
    for order in &all {
        for (place, &who) in order.iter().enumerate() {
            value[who] += costs[who] + if place == 0 { fixed } else { 0.0 };
        }
    }
    value.iter().map(|v| v / all.len() as f64).collect()
}

/// A step costs reading the weights, which is shared equally by Shapley's rule, and its tokens with their context, which
/// are each their own. Ours splits both by weighted tokens: equal in equal parts, and near it where contexts differ.
#[test]
fn the_split_of_a_decode_step_is_near_shapleys() {
    let ours = |contexts: &[u32]| -> Vec<f64> {
        let part = |(n, c): (usize, &u32)| StepPart { id: RequestId(n as u64), prefill: 0, decode: 1, context: *c };
        let weights = step_weights(&contexts.iter().enumerate().map(part).collect::<Vec<_>>(), CELL);
        let all: f64 = weights.iter().sum();
        weights.iter().map(|w| w / all).collect()
    };
    for contexts in [&[100, 100][..], &[64, 512], &[1, 1000, 4000], &[300, 500, 700, 900]] {
        // Decoding is bound by reading the weights: most of a step's cost is the same for any batch.
        let own: Vec<f64> = contexts.iter().map(|c| 0.2 * (1.0 + f64::from(*c) / 4096.0)).collect();
        let value = shapley(1.0, &own);
        let all: f64 = value.iter().sum();
        for (ours, value) in ours(contexts).iter().zip(&value) {
            let fair = value / all;
            assert!((ours - fair).abs() <= 0.4 * fair, "{contexts:?}: {ours} for {fair}");
            if contexts.windows(2).all(|c| c[0] == c[1]) {
                assert!((ours - fair).abs() < 1e-9);
            }
        }
    }
    // In prefill the tokens are the cost, and both agree.
    let parts = [(48, 48), (16, 16)].map(|(n, c)| StepPart { id: A, prefill: n, decode: 0, context: c });
    let weights = step_weights(&parts, CELL);
    let value = shapley(0.0, &weights);
    assert!(weights.iter().zip(&value).all(|(w, v)| (w - v).abs() < 1e-9));
}

proptest! {
    #[test]
    fn the_parts_sum_to_the_meter_whatever_happens(
        events in proptest::collection::vec((0u8..12, 0u64..200_000, any::<u8>()), 1..120),
    ) {
        let mut device = Device::new();
        let mut told = BTreeMap::<RequestId, i128>::new();
        for (kind, amount, n) in events {
            let (lane, id) = (LaneId(u64::from(n % 2) + 1), RequestId(u64::from(n % 5)));
            match kind {
                0 => device.ledger.loading(lane, (n > 100).then_some(id)),
                1 => device.ledger.ready(lane, device.cpu.lanes.get(&lane).copied().unwrap_or_default(), CELL),
                2 => device.ledger.started(id, device.now),
                3 | 4 => {
                    let cpu = Duration::from_micros(amount);
                    device.pass(cpu, &[(lane, cpu)], cpu * u32::from(n % 3));
                    let parts = [
                        StepPart { id, prefill: u32::from(n % 4), decode: u32::from(n & 1), context: u32::from(n) },
                        StepPart { id: RequestId(1), prefill: 0, decode: 1, context: 7 },
                    ];
                    let used = device.cpu.lanes[&lane];
                    device.ledger.step(lane, used, &parts[..1 + usize::from(n % 2)]);
                }
                5 => { device.finish(id); }
                6 => {
                    device.ledger.lane_gone(lane);
                    device.cpu.lanes.remove(&lane);
                }
                7 => {
                    let reading = Reading { total: None, ..device.reading() };
                    device.ledger.sampled(reading, device.cpu.clone());
                }
                8 => {
                    let fresh = Time(device.now.0.saturating_sub(amount * 1000));
                    let cards = (n % 3 == 0).then(|| device.total.share(0.5));
                    let reading = Reading { fresh, bridged: n % 2 == 0, cards, ..device.reading() };
                    device.ledger.sampled(reading, device.cpu.clone());
                }
                9 => device.ledger.sees_cards_alone(n % 2 == 0),
                10 => *device.cpu.gpus.entry(lane).or_default() += Duration::from_micros(amount),
                _ => device.read(),
            }
            device.check();
            for s in device.ledger.take_spent() {
                let sum = told.entry(s.id).or_default();
                *sum += i128::from(s.more.0) - i128::from(s.less.0);
                prop_assert!(*sum >= 0, "{:?} used less than nothing", s.id);
            }
        }
    }
}

/// 8 W for a GPU at work, whose worker uses hardly any CPU time.
fn gpu_works(device: &mut Device, gpu: LaneId, id: RequestId, cores: &[(LaneId, Duration)]) {
    device.pass(100 * MS, &[(gpu, MS)], Duration::ZERO);
    device.pass(Duration::ZERO, cores, Duration::ZERO);
    device.total += Microjoules::from_f64(0.8);
    let clock = device.cpu.gpus.entry(gpu).or_default();
    *clock += 100 * MS;
    let parts = [StepPart { id, prefill: 0, decode: 1, context: 1 }];
    device.ledger.step(gpu, *clock, &parts);
    for (lane, _) in cores {
        let parts = [StepPart { id: A, prefill: 0, decode: 1, context: 1 }];
        device.ledger.step(*lane, device.cpu.lanes[lane], &parts);
    }
    device.read();
}

#[test]
fn a_gpu_is_charged_by_the_time_it_worked_and_beside_a_processor_by_what_it_draws_alone() {
    const GPU: LaneId = LaneId(2);
    let mut device = Device::rested();
    for lane in [LANE, GPU] {
        device.ledger.loading(lane, None);
        device.ledger.ready(lane, Duration::ZERO, CELL);
    }
    device.cpu.gpus.insert(GPU, Duration::ZERO);
    // The processor alone, then the GPU alone.
    device.run(A, 100);
    device.finish(A);
    device.ledger.started(B, device.now);
    for _ in 0..20 {
        gpu_works(&mut device, GPU, B, &[]);
    }
    near(device.finish(B).total(), 16.0, 0.3);
    // Both at once, for 2 s: 2 W and 8 W.
    let both = RequestId(12);
    device.ledger.started(A, device.now);
    device.ledger.started(both, device.now);
    for _ in 0..20 {
        gpu_works(&mut device, GPU, both, &[(LANE, 100 * MS)]);
    }
    near(device.finish(both).total(), 16.0, 0.5);
    let before = device.ledger.totals().charged;
    near(before, 2.0 + 16.0 + 20.0, 0.6);
    near(Microjoules::from_f64(device.ledger.model().active(1.0)), 2.0, 0.1);
}

#[test]
fn what_a_cards_own_sensor_says_is_the_cards_and_the_processors_part_is_modelled() {
    const GPU: LaneId = LaneId(2);
    let mut device = Device::new();
    device.ledger.sees_cards_alone(true);
    for lane in [LANE, GPU] {
        device.ledger.loading(lane, None);
        device.ledger.ready(lane, Duration::ZERO, CELL);
    }
    device.cpu.gpus.insert(GPU, Duration::ZERO);
    // The card draws 20 W at rest, whatever the processor does, and 120 W at work.
    let pass = |device: &mut Device, works: bool, cores: Duration, others: Duration| {
        device.now = device.now + 100 * MS;
        device.total += Microjoules::from_f64(if works { 12.0 } else { 2.0 });
        *device.cpu.lanes.entry(LANE).or_default() += cores;
        *device.cpu.lanes.entry(GPU).or_default() += if works { 50 * MS } else { Duration::ZERO };
        device.cpu.busy += cores + others + if works { 50 * MS } else { Duration::ZERO };
        if works {
            *device.cpu.gpus.entry(GPU).or_default() += 100 * MS;
            let parts = [StepPart { id: B, prefill: 0, decode: 1, context: 1 }];
            device.ledger.step(GPU, device.cpu.gpus[&GPU], &parts);
        }
        if !cores.is_zero() {
            let parts = [StepPart { id: A, prefill: 0, decode: 1, context: 1 }];
            device.ledger.step(LANE, device.cpu.lanes[&LANE], &parts);
        }
        device.read();
    };
    for n in 0..30 {
        pass(&mut device, false, Duration::ZERO, if n % 2 == 0 { 150 * MS } else { Duration::ZERO });
    }
    // One on each, while other programs keep a core busy.
    device.ledger.started(A, device.now);
    device.ledger.started(B, device.now);
    for _ in 0..20 {
        pass(&mut device, true, 100 * MS, 100 * MS);
    }
    let (on_cpu, on_gpu) = (device.finish(A), device.finish(B));
    near(on_gpu.total(), 200.0, 4.0);
    assert_eq!(on_gpu.quality(), Quality::Measured);
    // 1 W for a core, as is built in.
    near(on_cpu.total(), 2.0, 0.1);
    assert_eq!(on_cpu.estimated, on_cpu.total());
}

/// A device with a lane on a GPU and nothing else; its meter may be the card's own.
fn with_a_gpu(cards: bool) -> Device {
    let mut device = Device::new();
    device.ledger.sees_cards_alone(cards);
    device.ledger.loading(LaneId(2), None);
    device.ledger.ready(LaneId(2), Duration::ZERO, CELL);
    device.cpu.gpus.insert(LaneId(2), Duration::ZERO);
    device
}

/// 100 ms in which it draws so many joules, and its GPU works for `B` or does not.
fn pass(device: &mut Device, works: bool, joules: f64) {
    device.now = device.now + 100 * MS;
    device.total += Microjoules::from_f64(joules);
    if works {
        let clock = device.cpu.gpus.entry(LaneId(2)).or_default();
        *clock += 100 * MS;
        device.ledger.step(LaneId(2), *clock, &[StepPart { id: B, prefill: 0, decode: 1, context: 1 }]);
    }
    device.read();
}

#[test]
fn a_gpu_that_drew_nothing_at_first_is_charged_once_it_draws() {
    for cards in [true, false] {
        let mut device = with_a_gpu(cards);
        (0..30).for_each(|_| pass(&mut device, false, 8.0));
        // It uploads and compiles, and draws less than at rest meanwhile, for its clocks are lower.
        device.ledger.started(B, device.now);
        (0..20).for_each(|_| pass(&mut device, true, 7.0));
        (0..30).for_each(|_| pass(&mut device, true, 12.0));
        near(device.finish(B).total(), 120.0, 12.0);
    }
}

#[test]
fn beside_the_processors_sensor_a_card_s_own_is_its_lanes_however_much_others_draw() {
    const GPU: LaneId = LaneId(2);
    let mut device = Device::rested();
    let mut cards = Microjoules::ZERO;
    for lane in [LANE, GPU] {
        device.ledger.loading(lane, None);
        device.ledger.ready(lane, Duration::ZERO, CELL);
    }
    device.cpu.gpus.insert(GPU, Duration::ZERO);
    // The card draws 0.5 W at rest and 0.9 W at work: far less than a core's 2 W may be off by.
    let mut pass = |device: &mut Device, works: bool, on_cpu: bool, others: Duration| {
        let lanes: Vec<(LaneId, Duration)> =
            [(LANE, 100 * MS, on_cpu), (GPU, 5 * MS, works)].into_iter().filter(|l| l.2).map(|l| (l.0, l.1)).collect();
        device.pass(100 * MS, &lanes, others);
        let drawn = Microjoules::from_f64(if works { 0.09 } else { 0.05 });
        cards += drawn;
        device.total += drawn;
        if works {
            *device.cpu.gpus.entry(GPU).or_default() += 100 * MS;
            let parts = [StepPart { id: B, prefill: 0, decode: 1, context: 1 }];
            device.ledger.step(GPU, device.cpu.gpus[&GPU], &parts);
        }
        if on_cpu {
            let parts = [StepPart { id: A, prefill: 0, decode: 1, context: 1 }];
            device.ledger.step(LANE, device.cpu.lanes[&LANE], &parts);
        }
        let reading = Reading { cards: Some(cards), ..device.reading() };
        device.ledger.sampled(reading, device.cpu.clone());
        device.check();
    };
    for n in 0..20 {
        pass(&mut device, false, false, if n % 2 == 0 { 150 * MS } else { Duration::ZERO });
    }
    assert!((device.ledger.idle_watts() - 2.5).abs() < 0.1, "{}", device.ledger.idle_watts());
    // The GPU while others keep three cores busy: 0.4 W of the card, and a twentieth of a core for its driver.
    device.ledger.started(B, device.now);
    for _ in 0..20 {
        pass(&mut device, true, false, 300 * MS);
    }
    let on_gpu = device.finish(B);
    near(on_gpu.total(), 0.8 + 0.2, 0.05);
    assert_eq!(on_gpu.quality(), Quality::Measured);
    // Both, and the processor's lane is measured as well.
    device.ledger.started(A, device.now);
    for _ in 0..20 {
        pass(&mut device, true, true, 100 * MS);
    }
    let on_cpu = device.finish(A);
    near(on_cpu.total(), 4.0, 0.1);
    assert_eq!(on_cpu.quality(), Quality::Measured);
    // Its driver computes beside what anybody asked for: that is no rest, and says nothing of the idle draw.
    for _ in 0..50 {
        device.pass(100 * MS, &[(GPU, 100 * MS)], Duration::ZERO);
        let drawn = Microjoules::from_f64(0.09);
        cards += drawn;
        device.total += drawn;
        device.ledger.sampled(Reading { cards: Some(cards), ..device.reading() }, device.cpu.clone());
        device.check();
    }
    assert!((device.ledger.idle_watts() - 2.5).abs() < 0.1, "{}", device.ledger.idle_watts());
}

#[test]
fn a_card_that_has_just_worked_does_not_rest_yet() {
    let mut device = with_a_gpu(true);
    // Its driver wakes it when it is looked for.
    device.ledger.gpus_searched(true, device.now);
    (0..40).for_each(|_| pass(&mut device, false, 12.5));
    device.ledger.gpus_searched(false, device.now);
    (0..9).for_each(|_| pass(&mut device, false, 12.5));
    (0..10).for_each(|_| pass(&mut device, false, 8.0));
    let idle = device.ledger.model().idle();
    assert!((idle - 80.0).abs() < 2.0, "{idle} W");
    // 200 W at work, 125 W for 0.9 s after it, and 80 W at rest.
    for _ in 0..20 {
        device.ledger.started(B, device.now);
        (0..8).for_each(|_| pass(&mut device, true, 20.0));
        (0..9).for_each(|_| pass(&mut device, false, 12.5));
        assert!(!device.ledger.gpus_rest());
        (0..15).for_each(|_| pass(&mut device, false, 8.0));
        assert!(device.ledger.gpus_rest());
    }
    let idle = device.ledger.model().idle();
    assert!((idle - 80.0).abs() < 2.0, "{idle} W");
}
