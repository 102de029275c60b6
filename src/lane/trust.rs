//! Whether a device computes what the CPU computes.
//!
//! Drivers are wrong more often than CPUs: a shader that is miscompiled gives text that looks like an answer. So before
//! a device is trusted with a model, both run the same probe ([`ToLane::Probe`](super::ToLane::Probe)) and
//! [`compare`] judges. Pure. What is done about a device that fails is the service's business.
//!
//! The probe is a fixed text, prefilled in one go, then [`STEPS`] greedy tokens. Compared are the logits after the
//! prompt and the tokens. Logits differ legitimately, by the order of summation, by half precision, and because CPU
//! kernels round activations to 8 bits; how much is what [`TOLERANCE`] bounds. Where two tokens are nearly equally
//! likely, such a difference may turn the choice, and all that follows differs: a first difference is forgiven only if the device
//! chose the CPU's runner-up and the CPU's margin is within what the measured error explains.

use serde::{Deserialize, Serialize};

/// Tokens that the probe generates.
pub const STEPS: usize = 16;

/// Most logits in an answer; of larger vocabularies every second, third, … is taken.
pub const MOST_LOGITS: usize = 1 << 16;

/// Largest normalised root-mean-square error of the logits: the error's norm over the norm of the CPU's logits around
/// their mean. Unrelated logits give about 1.4, a wrong layer rarely less than 0.5.
pub const TOLERANCE: f32 = 0.1;

/// Two logits' difference errs by √2 times a logit's error, and is taken at three times that.
const TIE: f32 = 4.25;

/// Error assumed at least, of the logits' spread: two exact devices still round.
const FLOOR: f32 = 1e-3;

/// A greedy step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The most likely token.
    pub token: i32,
    /// The second.
    pub runner_up: i32,
    /// The difference of their logits. At least 0.
    pub margin: f32,
}

/// What a lane answers to a probe.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Probed {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Logits after the prompt, at equal distances through the vocabulary; at most [`MOST_LOGITS`].
    pub logits: Vec<f32>,
    /// The greedy tokens; at most [`STEPS`].
    pub choices: Vec<Choice>,
}

impl Probed {
    /// Whether a device that computes may answer so: numbers, and no more of them than are asked for.
    pub fn is_sane(&self) -> bool {
        let margin = |choice: &Choice| choice.margin.is_finite() && choice.margin >= 0.0;
        self.logits.len() <= MOST_LOGITS
            && self.choices.len() <= STEPS
            && self.logits.iter().all(|logit| logit.is_finite())
            && self.choices.iter().all(margin)
    }
}

/// How well two devices agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Normalised root-mean-square error of the logits.
    pub error: f32,
    /// Greedy tokens that are equal, of [`STEPS`].
    pub equal: usize,
}

/// Judges a device by the CPU's answer to the same probe. `Err` says for people what is wrong.
pub fn compare(cpu: &Probed, device: &Probed) -> Result<Agreement, String> {
    if cpu.prompt_tokens != device.prompt_tokens
        || cpu.logits.len() != device.logits.len()
        || cpu.choices.len() != device.choices.len()
        || cpu.logits.is_empty()
        || cpu.choices.is_empty()
    {
        return Err("it answered another probe than the CPU".into());
    }
    if !cpu.logits.iter().all(|l| l.is_finite()) {
        return Err("the CPU's own logits are not numbers: the model's file is broken".into());
    }
    if !device.logits.iter().all(|l| l.is_finite()) {
        return Err("its logits are not numbers".into());
    }
    let (error, spread) = error_of(&cpu.logits, &device.logits);
    // Not `error > TOLERANCE`: what cannot be compared is no agreement.
    if error.is_nan() || error > TOLERANCE {
        return Err(format!(
            "its logits differ from the CPU's by {:.1} %, {:.0} % is allowed",
            error * 100.0,
            TOLERANCE * 100.0
        ));
    }
    let equal = cpu.choices.iter().zip(&device.choices).take_while(|(c, d)| c.token == d.token).count();
    let agreement = Agreement { error, equal };
    let Some((ours, theirs)) = cpu.choices.get(equal).zip(device.choices.get(equal)) else { return Ok(agreement) };
    let tie = ours.margin <= TIE * error.max(FLOOR) * spread;
    if tie && theirs.token == ours.runner_up {
        return Ok(agreement);
    }
    Err(format!(
        "it chose token {} where the CPU chose {} (token {} of {}, logits {:.2} % apart)",
        theirs.token,
        ours.token,
        equal + 1,
        cpu.choices.len(),
        error * 100.0
    ))
}

/// The normalised root-mean-square error, and the spread (standard deviation) of `truth`.
fn error_of(truth: &[f32], other: &[f32]) -> (f32, f32) {
    let n = truth.len() as f64;
    let mean = truth.iter().map(|t| f64::from(*t)).sum::<f64>() / n;
    let variance: f64 = truth.iter().map(|t| (f64::from(*t) - mean).powi(2)).sum();
    let error: f64 = truth.iter().zip(other).map(|(t, o)| (f64::from(*t) - f64::from(*o)).powi(2)).sum();
    let normalised = match (error == 0.0, variance == 0.0) {
        (true, _) => 0.0,
        (false, true) => f64::INFINITY,
        (false, false) => (error / variance).sqrt(),
    };
    (normalised as f32, (variance / n).sqrt() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A probe of a vocabulary of 1000 whose logits are spread by about 1.
    fn probed(seed: u32, noise: f32) -> Probed {
        let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u32 << 24) as f32 - 0.5
        };
        let logits = (0..1000).map(|i| ((i as f32) * 0.37).sin() * 1.4 + draw() * noise).collect();
        let choices = (0..STEPS as i32).map(|i| Choice { token: i, runner_up: i + 100, margin: 0.5 }).collect();
        Probed { prompt_tokens: 60, logits, choices }
    }

    #[test]
    fn equal_answers_agree_and_small_noise_does() {
        let cpu = probed(1, 0.0);
        assert_eq!(compare(&cpu, &cpu), Ok(Agreement { error: 0.0, equal: STEPS }));
        let near = compare(&cpu, &probed(2, 0.1)).unwrap();
        assert!(near.error > 0.0 && near.error < TOLERANCE && near.equal == STEPS, "{near:?}");
    }

    #[test]
    fn other_logits_do_not() {
        let cpu = probed(1, 0.0);
        for noise in [1.0, 10.0] {
            let why = compare(&cpu, &probed(2, noise)).unwrap_err();
            assert!(why.contains("logits differ"), "{why}");
        }
        let mut dead = cpu.clone();
        dead.logits.fill(0.0);
        assert!(compare(&cpu, &dead).is_err());
        let mut broken = cpu.clone();
        broken.logits[7] = f32::NAN;
        assert!(compare(&cpu, &broken).unwrap_err().contains("not numbers"));
        assert!(compare(&broken, &cpu).unwrap_err().contains("model's file"));
    }

    #[test]
    fn another_token_is_forgiven_only_as_a_tie() {
        let cpu = probed(1, 0.0);
        let mut other = probed(2, 0.1);
        other.choices[5].token = 105;
        // A margin of half the spread is no tie at this error.
        let why = compare(&cpu, &other).unwrap_err();
        assert!(why.contains("token 6 of 16"), "{why}");
        let mut tied = cpu.clone();
        tied.choices[5].margin = 0.01;
        assert_eq!(compare(&tied, &other).unwrap().equal, 5);
        // Not the runner-up: no rounding explains it.
        other.choices[5].token = 7;
        assert!(compare(&tied, &other).is_err());
    }

    #[test]
    fn answers_to_another_probe_are_refused() {
        let cpu = probed(1, 0.0);
        let mut shorter = cpu.clone();
        shorter.choices.pop();
        assert!(compare(&cpu, &shorter).is_err());
        assert!(compare(&cpu, &Probed { prompt_tokens: 1, ..cpu.clone() }).is_err());
        assert!(compare(&Probed::default(), &Probed::default()).is_err());
        let flat = Probed { logits: vec![1.0; 10], ..cpu.clone() };
        assert!(compare(&flat, &Probed { logits: vec![2.0; 10], ..cpu }).is_err());
    }
}
