//! A lane of the world: its state, the requests in it, and the steps it makes.
//!
//! What it computes before it looks around again is a `segment`; who waits for another one's prompt, `follow` knows.

use super::device::LaneSpec;
use super::outcome::{Fate, Phase, Taken};
use super::segment::{Segment, What};
use super::world::{Happened, World, LEAST};
use crate::lane::tokens_weight;

/// How far a lane is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum State {
    /// Not there.
    Cold,
    /// It comes up.
    Loading {
        /// Since then.
        since: f64,
        /// It is ready then.
        until: f64,
    },
    /// It takes requests.
    Ready,
    /// It was told to go.
    Stopping {
        /// It is gone then.
        until: f64,
    },
}

/// What is next for a request in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its state is copied in.
    Import,
    /// Its prompt is computed.
    Prompt,
    /// Its answer is.
    Answer,
    /// Its state is copied out.
    Export,
}

/// A request in a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub(super) ask: usize,
    stage: Stage,
    /// Tokens of the prompt to be computed.
    pub(super) pending: u32,
    /// Cells that it occupies.
    pub(super) cells: u32,
    /// Tokens of the answer to come.
    left: u32,
    export: bool,
    threads: (u32, u32),
    /// This request computes so many tokens with which its prompt begins; until then it takes no part.
    pub(super) follows: Option<(usize, u32)>,
    /// It ends at the next boundary.
    pub(super) ends: Option<Fate>,
    /// Tokens of its prompt in the step.
    take: u32,
    used: (u32, u32),
    prefill: Phase,
    decode: Phase,
}

impl Run {
    /// It waits for another one, that computes so many tokens.
    pub(super) fn following(self, follows: Option<(usize, u32)>) -> Run {
        Run { follows, ..self }
    }

    pub(super) fn new(
        ask: usize,
        stage: Stage,
        pending: u32,
        cells: u32,
        left: u32,
        export: bool,
        threads: (u32, u32),
    ) -> Run {
        let (prefill, decode) = (Phase::default(), Phase::default());
        let (follows, ends, used) = (None, None, (0, 0));
        Run { ask, stage, pending, cells, left, export, threads, follows, ends, take: 0, used, prefill, decode }
    }

    /// Its prompt is to be computed, and by itself.
    fn computes(&self) -> bool {
        self.stage == Stage::Prompt && self.follows.is_none()
    }

    /// Tokens with which a prompt may begin that shares so many with its session.
    pub(super) fn shares(&self, shared: u32) -> u32 {
        shared.min(self.cells.saturating_add(self.pending))
    }
}

/// What a lane did, as the daemon counts it: steps, tokens, seconds; with prompts in them, and without.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counted {
    /// With prompts.
    pub prefill: (f64, f64, f64),
    /// Without.
    pub decode: (f64, f64, f64),
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// How far it is.
    pub state: State,
    /// Who is in it.
    pub running: Vec<Run>,
    /// What it computes.
    pub segment: Option<Segment>,
    /// Threads, share of the time and size of a piece, where somebody said.
    pub pace: Option<((u32, u32), f64, u32)>,
    /// By session, cells that it holds of it.
    pub held: Vec<u32>,
    counted: Counted,
    turn: usize,
}

impl Lane {
    pub(super) fn new(sessions: usize) -> Lane {
        Lane {
            state: State::Cold,
            running: Vec::new(),
            segment: None,
            pace: None,
            held: vec![0; sessions],
            counted: Counted::default(),
            turn: 0,
        }
    }

    /// When something of it is due.
    pub(super) fn due(&self) -> f64 {
        match self.state {
            State::Cold => f64::INFINITY,
            State::Loading { until, .. } | State::Stopping { until } => until,
            State::Ready => self.segment.as_ref().map_or(f64::INFINITY, |segment| segment.end),
        }
    }

    /// What it draws above idle.
    pub(super) fn watts(&self, spec: &LaneSpec) -> f64 {
        match self.state {
            State::Cold => 0.0,
            State::Loading { .. } => spec.load_watts,
            State::Ready | State::Stopping { .. } => {
                spec.hold_watts + self.segment.as_ref().map_or(0.0, |segment| segment.watts)
            }
        }
    }

    /// What it has done until now, steps that go on left out.
    pub fn counted(&self, now: f64) -> Counted {
        let mut counted = self.counted;
        if let Some(segment) = self.segment.as_ref().filter(|segment| segment.what == What::Answers) {
            let begun = segment.begun(now - segment.start);
            let done = if segment.seconds(begun) <= now - segment.start { begun } else { begun - 1 };
            let (steps, seconds) = (f64::from(done), segment.seconds(done) * segment.duty);
            let answers = self.running.iter().filter(|run| run.stage == Stage::Answer).count() as f64;
            let (s, t, d) = counted.decode;
            counted.decode = (s + steps, t + steps * answers, d + seconds);
        }
        counted
    }

    fn duty(&self) -> f64 {
        self.pace.map_or(1.0, |(_, duty, _)| duty)
    }

    /// Threads of a step: the pace's, else the most that anybody in it wants.
    fn threads(&self, want: impl Fn((u32, u32)) -> u32) -> u32 {
        let most = || self.running.iter().map(|run| want(run.threads)).max().unwrap_or(1);
        self.pace.map_or_else(most, |(threads, _, _)| want(threads))
    }
}

impl World<'_> {
    /// Begins the next segment of a lane with requests in it.
    pub(super) fn begin(&mut self, index: usize) {
        self.computed = self.now;
        self.follow(index);
        let (stretch, more) = self.stretch(index);
        let (horizon, leaves) = (self.horizon(), self.leaves());
        let (spec, lane) = (&self.device.lanes[index], &mut self.lanes[index]);
        let said = lane.duty();
        let duty = |watts: f64| leaves.map_or(said, |leaves| (leaves / watts.max(1e-9)).clamp(LEAST, 1.0));
        let mut segment = Segment {
            start: self.now,
            end: 0.0,
            what: What::Answers,
            steps: 1,
            alpha: 0.0,
            beta: 0.0,
            factor: stretch,
            watts: 0.0,
            threads: 1,
            duty: 1.0,
        };
        let copies = |run: &Run| matches!(run.stage, Stage::Import | Stage::Export);
        if let Some(at) = lane.running.iter().position(copies) {
            let (_, seconds) = self.device.handover_of(spec.variant, lane.running[at].cells);
            segment.what = What::Copy(at);
            (segment.factor, segment.alpha) = (1.0, seconds / 2.0);
            segment.watts = self.device.handover.watts;
        } else {
            let (mut answers, mut cells, mut prompts, mut least) = (0u32, 0.0, false, u32::MAX);
            for run in &lane.running {
                if run.stage == Stage::Answer {
                    (answers, cells, least) = (answers + 1, cells + f64::from(run.cells), least.min(run.left));
                } else {
                    prompts |= run.computes();
                }
            }
            if prompts {
                let chunk = if answers > 0 { self.device.chunk_shared } else { self.device.chunk };
                let mut room = lane.pace.map_or(chunk, |(_, _, most)| chunk.min(most));
                segment.threads = lane.threads(|threads| threads.0).min(spec.threads());
                let point = spec.point(segment.threads);
                let (count, mut seconds) = (lane.running.len(), 0.0);
                for i in 0..count {
                    let run = &mut lane.running[(lane.turn + i) % count];
                    if run.computes() {
                        run.take = run.pending.min(room);
                        room -= run.take;
                        seconds += spec.prefill_seconds(point, run.take, run.cells);
                    }
                }
                lane.turn = lane.turn.wrapping_add(1);
                seconds += if answers == 0 { spec.prefill_fixed } else { 0.0 };
                let others = if answers > 0 { spec.step_seconds(point, answers, cells) } else { 0.0 };
                let watts = (point.prefill_watts * more, spec.step_watts(point, answers.max(1)) * more);
                segment.alpha = seconds + others;
                let full = (seconds * watts.0 + others * watts.1) / segment.alpha.max(1e-12);
                segment.pause(duty(full), full);
                segment.what = What::Step { prompts: (seconds, watts.0), answers: (others, watts.1) };
            } else {
                segment.threads = lane.threads(|threads| threads.1).min(spec.threads());
                let point = spec.point(segment.threads);
                segment.alpha = spec.step_seconds(point, answers, cells);
                segment.beta = point.step * spec.decode_depth * f64::from(answers);
                let full = spec.step_watts(point, answers) * more;
                segment.pause(duty(full), full);
                segment.steps = least;
                if segment.seconds(least) > horizon {
                    segment.steps = segment.begun(horizon);
                }
            }
        }
        segment.end = self.now + segment.seconds(segment.steps);
        lane.segment = Some(segment);
    }

    /// Ends equal steps after the one that goes on.
    pub(super) fn cut(&mut self, index: usize) {
        let now = self.now;
        if let Some(segment) = self.lanes[index].segment.as_mut().filter(|segment| segment.what == What::Answers) {
            segment.steps = segment.begun(now - segment.start);
            segment.end = (segment.start + segment.seconds(segment.steps)).max(now);
        }
    }

    pub(super) fn segment_ends(&mut self, index: usize, news: &mut Vec<Happened>) {
        let Some(segment) = self.lanes[index].segment.take() else { return };
        let span = segment.end - segment.start;
        match segment.what {
            What::Copy(at) => {
                self.joules.handover += segment.watts * span;
                self.copied(index, at, news);
            }
            What::Step { prompts, answers } => {
                let factor = segment.factor * segment.duty;
                self.joules.prefill += prompts.0 * prompts.1 * factor;
                self.joules.decode += answers.0 * answers.1 * factor;
                self.stepped(index, &segment);
            }
            What::Answers => {
                self.joules.decode += segment.watts * span;
                self.stepped(index, &segment);
            }
        }
        self.retire(index, news);
    }

    fn copied(&mut self, index: usize, at: usize, news: &mut Vec<Happened>) {
        let run = &mut self.lanes[index].running[at];
        if run.stage == Stage::Import {
            run.stage = Stage::Answer;
            return;
        }
        self.follow(index);
        let run = self.lanes[index].running.remove(at);
        self.keep(index, &run);
        match run.ends {
            Some(fate) => {
                self.end(run.ask, fate);
                news.push(Happened::Finished(run.ask));
            }
            None => {
                self.requests[run.ask].moved = Some(run.cells);
                news.push(Happened::Exported(run.ask));
            }
        }
    }

    /// Books steps for those who were in them.
    fn stepped(&mut self, index: usize, segment: &Segment) {
        let spec = &self.device.lanes[index];
        let (span, steps) = (segment.end - segment.start, f64::from(segment.steps));
        let joules = segment.watts * span;
        let base =
            self.device.idle_watts + self.lanes.iter().zip(&self.device.lanes).map(|(l, s)| l.watts(s)).sum::<f64>();
        let lane = &mut self.lanes[index];
        // Pauses are no computing time.
        let seconds = span * segment.duty;
        let in_step = |run: &Run| run.stage == Stage::Answer || run.take > 0;
        let tokens = |run: &Run| if run.stage == Stage::Answer { segment.steps } else { run.take };
        let cost = spec.prefill_depth as f32;
        let weight = |run: &Run| tokens_weight(tokens(run), run.cells + tokens(run), cost);
        let (mut batch, mut weights, mut all, mut prompts) = (0.0, 0.0, 0.0, false);
        for run in lane.running.iter().filter(|run| in_step(run)) {
            batch += 1.0;
            weights += weight(run);
            all += f64::from(tokens(run));
            prompts |= run.stage == Stage::Prompt;
        }
        let counted = if prompts { &mut lane.counted.prefill } else { &mut lane.counted.decode };
        *counted = (counted.0 + steps, counted.1 + all, counted.2 + seconds);
        let first = segment.start + segment.seconds(1);
        for run in lane.running.iter_mut().filter(|run| in_step(run)) {
            let share = joules * weight(run) / weights;
            let (n, decoding) = (tokens(run), run.stage == Stage::Answer);
            let phase = if decoding { &mut run.decode } else { &mut run.prefill };
            phase.tokens += n;
            phase.cells += f64::from(n) * (f64::from(run.cells) + (f64::from(n) - 1.0) / 2.0);
            phase.steps += steps;
            phase.batch += batch * steps;
            phase.seconds += seconds;
            phase.joules += share;
            phase.drawn += base * span + joules;
            *(if prompts { &mut run.used.0 } else { &mut run.used.1 }) = segment.threads;
            run.cells += n;
            run.take = 0;
            let request = &mut self.requests[run.ask];
            request.spent += share;
            if decoding {
                run.left -= n;
                request.tokens += n;
                request.first.get_or_insert(first);
            } else {
                run.pending -= n;
                if run.pending > 0 {
                    continue;
                }
                if run.export {
                    run.stage = Stage::Export;
                    continue;
                }
                // The last piece of a prompt brings the first token.
                run.stage = Stage::Answer;
                run.left -= 1;
                request.tokens += 1;
                request.first.get_or_insert(segment.end);
            }
            if run.left == 0 {
                run.ends = Some(Fate::Answered);
            } else if request.allowed.is_some_and(|allowed| request.spent >= allowed) {
                run.ends = run.ends.or(Some(Fate::Cut));
            }
        }
    }

    /// Lets go of those that have ended.
    pub(super) fn retire(&mut self, index: usize, news: &mut Vec<Happened>) {
        self.follow(index);
        let mut at = 0;
        while let Some(run) = self.lanes[index].running.get(at) {
            let Some(fate) = run.ends else {
                at += 1;
                continue;
            };
            let run = self.lanes[index].running.remove(at);
            self.keep(index, &run);
            self.end(run.ask, fate);
            news.push(Happened::Finished(run.ask));
        }
    }

    /// Notes what a request that leaves a lane took there, and what the lane keeps of it.
    fn keep(&mut self, index: usize, run: &Run) {
        if let Some((session, _)) = self.trace.asks[run.ask].session {
            let held = &mut self.lanes[index].held[session];
            *held = (*held).max(run.cells);
        }
        let taken = Taken { lane: index, threads: run.used, prefill: run.prefill, decode: run.decode };
        self.requests[run.ask].taken.push(taken);
    }
}
