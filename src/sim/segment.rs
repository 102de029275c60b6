//! How long a lane computes: the arithmetic of steps.
//!
//! A *segment* is what a lane computes before it looks around again: the copying of a sequence, one step with pieces of
//! prompts in it, or many equal steps of answers. Step j (from 0) of b answers that begin with c cells takes
//! `alpha + beta·j` seconds, alpha the time with c cells and beta that of b more; k of them take
//! `alpha·k + beta·k·(k - 1)/2`, all times what stretches them. Who wants something of the lane meanwhile cuts the
//! segment after the step that goes on.
//!
//! It knows no requests but by their place in the lane, and does not move the clock.

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// Copies the state of the request at this place.
    Copy(usize),
    /// One step with prompts. Seconds and watts of the prompts' part and of the answers'.
    Step { prompts: (f64, f64), answers: (f64, f64) },
    /// Equal steps of answers.
    Answers,
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) what: What,
    pub(super) steps: u32,
    pub(super) alpha: f64,
    pub(super) beta: f64,
    /// All times this.
    pub(super) factor: f64,
    /// Above idle and hold, on average.
    pub(super) watts: f64,
    pub(super) threads: u32,
    /// Share of the time in which it computes.
    pub(super) duty: f64,
}

impl Segment {
    /// It draws so many watts in this share of the time, and takes the longer.
    pub(super) fn pause(&mut self, duty: f64, watts: f64) {
        self.factor /= duty;
        (self.duty, self.watts) = (duty, duty * watts);
    }

    /// Seconds of so many steps.
    pub(super) fn seconds(&self, steps: u32) -> f64 {
        let n = f64::from(steps);
        self.factor * (self.alpha * n + self.beta * n * (n - 1.0) / 2.0)
    }

    /// Steps that have begun after so many seconds, at least 1.
    pub(super) fn begun(&self, seconds: f64) -> u32 {
        let (time, linear) = (seconds / self.factor, self.alpha - self.beta / 2.0);
        let guess = if self.beta > 1e-12 * self.alpha {
            ((linear * linear + 2.0 * self.beta * time).sqrt() - linear) / self.beta
        } else {
            time / self.alpha
        };
        // `as` saturates.
        let mut steps = (guess.ceil() as u32).clamp(1, self.steps);
        while steps > 1 && self.seconds(steps - 1) >= seconds {
            steps -= 1;
        }
        while steps < self.steps && self.seconds(steps) < seconds {
            steps += 1;
        }
        steps
    }
}
