//! What a worker says, cut to what an honest one could say.
//!
//! A model file may take its worker over, so a message that decodes is still not to be believed: texts are shortened
//! and cannot forge lines of the log, numbers are brought into ranges that nothing later overflows on. Whether a
//! message fits the state of its lane is for the lane's owner to judge.

use std::time::Duration;

use crate::error::{Code, Error};
use crate::lane::trust::Probed;
use crate::lane::{FromLane, LaneInfo, SequenceState, Step, Usage};

/// Longest message for people, in bytes. llama.cpp's errors for a bad model are a few lines.
const TEXT: usize = 4096;

/// Longest name of a device, of kernels or of a confinement, in bytes.
const NAME: usize = 256;

/// No count of tokens is larger: the sum of two still fits.
const TOKENS: u32 = 1 << 30;

/// No step has more parts than a lane may have slots; small elements in a large frame would take many times its size.
const SLOTS: usize = 64;

/// No duration is longer, in microseconds: a day.
const MICROSECONDS: u64 = 86_400_000_000;

/// Nobody is told to wait longer than this by an error of a worker.
const RETRY: Duration = Duration::from_secs(3600);

/// The same message, with nothing in it that its reader would have to fear.
pub(super) fn vet(msg: FromLane) -> FromLane {
    match msg {
        FromLane::Hello { version } => FromLane::Hello { version: text(version, NAME) },
        FromLane::Loading(share) => FromLane::Loading(if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }),
        FromLane::Kernels(name) => FromLane::Kernels(text(name, NAME)),
        FromLane::Ready(info) => FromLane::Ready(Box::new(info_of(*info))),
        FromLane::LoadFailed(e) => FromLane::LoadFailed(error(e)),
        FromLane::Started { id, prompt_tokens, cached_tokens } => FromLane::Started {
            id,
            prompt_tokens: prompt_tokens.min(TOKENS),
            cached_tokens: cached_tokens.min(prompt_tokens).min(TOKENS),
        },
        FromLane::Step(mut step) => {
            step.us = step.us.min(MICROSECONDS);
            step.cpu_us = step.cpu_us.min(MICROSECONDS);
            step.cpu_end_us = step.cpu_end_us.min(MICROSECONDS);
            if step.parts.len() > SLOTS || step.text.len() > SLOTS {
                step = Step { text: Vec::new(), parts: Vec::new(), ..step };
            }
            FromLane::Step(step)
        }
        FromLane::Done { id, result, usage } => {
            FromLane::Done { id, result: result.map_err(error), usage: usage_of(usage) }
        }
        FromLane::Exported { id, state, usage } => {
            let state = SequenceState { tokens: state.tokens.min(TOKENS), ..state };
            FromLane::Exported { id, state, usage: usage_of(usage) }
        }
        FromLane::Probed(result) => FromLane::Probed(Box::new((*result).map_err(error).and_then(probed))),
        FromLane::Log { level, text: line } => FromLane::Log { level, text: text(line, TEXT) },
        FromLane::Fatal(words) => FromLane::Fatal(text(words, TEXT)),
        FromLane::Beat { .. } => msg,
    }
}

/// At most `max` bytes, on one line, without characters that a terminal would obey.
fn text(mut s: String, max: usize) -> String {
    if s.len() > max {
        s.truncate((0..=max).rev().find(|end| s.is_char_boundary(*end)).unwrap_or(0));
        s.push('…');
    }
    match s.contains(char::is_control) {
        true => s.trim_end().replace(char::is_control, " "),
        false => s,
    }
}

fn error(e: Error) -> Error {
    Error {
        message: text(e.message, TEXT),
        param: e.param.map(|p| text(p, NAME)),
        retry_after: e.retry_after.map(|d| d.min(RETRY)),
        ..e
    }
}

fn usage_of(u: Usage) -> Usage {
    let prompt_tokens = u.prompt_tokens.min(TOKENS);
    Usage {
        prompt_tokens,
        cached_tokens: u.cached_tokens.min(prompt_tokens),
        completion_tokens: u.completion_tokens.min(TOKENS),
        prefill_us: u.prefill_us.min(MICROSECONDS),
        decode_us: u.decode_us.min(MICROSECONDS),
        handover_us: u.handover_us.min(MICROSECONDS),
    }
}

/// What is no answer counts as none, so that it is kept nowhere: on a GPU that is a failure of the GPU, on the CPU nothing
/// can be compared with it.
fn probed(p: Probed) -> Result<Probed, Error> {
    p.is_sane().then_some(p).ok_or_else(|| {
        Error::new(
            Code::EngineFailed,
            "its answer to the probe is none: logits that are no numbers, or too many of them",
        )
    })
}

fn info_of(info: LaneInfo) -> LaneInfo {
    LaneInfo {
        device: text(info.device, NAME),
        // The features of a CPU make a long list.
        kernels: text(info.kernels, TEXT),
        cpu_variant: text(info.cpu_variant, NAME),
        sandbox: text(info.sandbox, TEXT),
        cell_cost: if info.cell_cost > 0.0 { info.cell_cost.min(1.0) } else { 0.0 },
        ..info
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::trust::{Choice, MOST_LOGITS, STEPS};
    use crate::lane::{Finish, RequestId};

    #[test]
    fn texts_are_short_and_on_one_line() {
        let FromLane::Log { text, .. } = vet(FromLane::Log { level: 1, text: "one\ntwo\x1b[2J\n".into() }) else {
            panic!("another message");
        };
        assert_eq!(text, "one two [2J");
        let FromLane::Fatal(words) = vet(FromLane::Fatal("é".repeat(1 << 19))) else { panic!("another message") };
        assert!(words.len() <= TEXT + '…'.len_utf8() && words.starts_with("éé"), "{}", words.len());
        let long = Error::new(Code::EngineFailed, "x\n".repeat(9000)).retry_after(Duration::MAX);
        let FromLane::LoadFailed(e) = vet(FromLane::LoadFailed(long)) else { panic!("another message") };
        assert!(e.message.len() <= TEXT + 3 && !e.message.contains('\n'));
        assert_eq!(e.retry_after, Some(RETRY));
    }

    #[test]
    fn an_answer_to_the_probe_that_is_none_is_an_error() {
        let vetted = |change: &dyn Fn(&mut Probed)| {
            let choices = vec![Choice { token: 1, runner_up: 2, margin: 0.5 }; STEPS];
            let mut answer = Probed { prompt_tokens: 9, logits: vec![0.5; 10], choices };
            change(&mut answer);
            match vet(FromLane::Probed(Box::new(Ok(answer)))) {
                FromLane::Probed(result) => result.map(drop).map_err(|e| e.code),
                _ => panic!("another message"),
            }
        };
        assert_eq!(vetted(&|_| ()), Ok(()));
        let bad = Err(Code::EngineFailed);
        for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(vetted(&|p| p.logits[3] = number), bad, "{number}");
            assert_eq!(vetted(&|p| p.choices[3].margin = number), bad, "{number}");
        }
        assert_eq!(vetted(&|p| p.choices[3].margin = -1.0), bad);
        assert_eq!(vetted(&|p| p.logits = vec![0.0; MOST_LOGITS + 1]), bad);
        assert_eq!(vetted(&|p| p.choices.resize(STEPS + 1, p.choices[0])), bad);
    }

    #[test]
    fn numbers_are_such_that_sums_of_them_hold() {
        for share in [f32::NAN, f32::INFINITY, -1.0] {
            let FromLane::Loading(p) = vet(FromLane::Loading(share)) else { panic!("another message") };
            assert!((0.0..=1.0).contains(&p), "{share} became {p}");
        }
        let most = Usage {
            prompt_tokens: u32::MAX,
            cached_tokens: u32::MAX,
            completion_tokens: u32::MAX,
            prefill_us: u64::MAX,
            decode_us: u64::MAX,
            handover_us: u64::MAX,
        };
        let done = FromLane::Done { id: RequestId(1), result: Ok(Finish::Stop), usage: most };
        let FromLane::Done { usage, .. } = vet(done) else { panic!("another message") };
        assert!(usage.prompt_tokens.checked_add(usage.completion_tokens).is_some());
        assert!(usage.cached_tokens <= usage.prompt_tokens);
        let FromLane::Step(step) = vet(FromLane::Step(Step { us: u64::MAX, ..Step::default() })) else {
            panic!("another message");
        };
        assert!(step.us.checked_mul(1 << 24).is_some());
        let wide = Step { text: vec![(RequestId(1), String::new()); 100_000], ..Step::default() };
        let FromLane::Step(step) = vet(FromLane::Step(wide)) else { panic!("another message") };
        assert_eq!(step.text.capacity(), 0);
    }
}
