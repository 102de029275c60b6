//! What profiles mean, in words: which number of threads, and which device, for which requests. Pure.
//!
//! Energy only, as `min-energy` weighs it, and the speed of what is fastest: what a device does with it is its policy's
//! business. Requests stand alone here; nothing waits, and nothing is cached.

use super::print::per_token;
use crate::service::{ProfileReport, ThreadsReport};
use crate::units::Microjoules;

/// The prompt before an answer of which lengths are compared, in tokens.
const PROMPT: f64 = 128.0;
/// Answers that are compared.
const LONGEST: f64 = 2048.0;
/// A difference below this share is none.
const SAME: f64 = 0.03;

/// One way to run a model.
#[derive(Debug, Clone, Copy)]
struct Way<'a> {
    device: &'a str,
    threads: u32,
    curves: &'a ThreadsReport,
    load: f64,
}

impl Way<'_> {
    fn name(&self) -> String {
        match self.device {
            "cpu" => format!("cpu with {} thread{}", self.threads, if self.threads == 1 { "" } else { "s" }),
            other => other.to_owned(),
        }
    }

    /// Joules for a token of a prompt of so many, between the lengths that are known in proportion.
    fn prompt(&self, tokens: f64) -> Option<f64> {
        let points = &self.curves.prefill;
        let next = points.iter().position(|p| f64::from(p.tokens) >= tokens);
        let (low, high) = match next {
            None => (points.last()?, points.last()?),
            Some(0) => (points.first()?, points.first()?),
            Some(n) => (points.get(n - 1)?, points.get(n)?),
        };
        let span = f64::from(high.tokens) - f64::from(low.tokens);
        let share = if span > 0.0 { (tokens - f64::from(low.tokens)) / span } else { 0.0 };
        let each = low.joules_per_token + (high.joules_per_token - low.joules_per_token) * share;
        Some(each).filter(|joules| *joules > 0.0)
    }

    /// Joules and tokens per second of a lone answer with the least context.
    fn answer(&self) -> Option<(f64, f64)> {
        let lone = self.curves.decode.iter().filter(|p| p.batch == 1).min_by_key(|p| p.context)?;
        Some((lone.joules_per_token, lone.tokens_per_s)).filter(|(joules, _)| *joules > 0.0)
    }

    fn request(&self, answer: f64) -> Option<f64> {
        Some(PROMPT * self.prompt(PROMPT)? + answer * self.answer()?.0)
    }
}

/// What follows from these profiles, a sentence each.
pub(super) fn findings(profiles: &[ProfileReport]) -> Vec<String> {
    let mut models: Vec<&str> = profiles.iter().map(|p| p.model.as_str()).collect();
    models.dedup();
    models.iter().flat_map(|model| of_model(model, profiles)).collect()
}

fn of_model(model: &str, profiles: &[ProfileReport]) -> Vec<String> {
    let mut ways = Vec::new();
    for p in profiles.iter().filter(|p| p.model == model) {
        let load = p.load.map_or(0.0, |load| load.joules);
        ways.extend(p.threads.iter().map(|curves| Way { device: &p.device, threads: curves.threads, curves, load }));
    }
    let mut said = Vec::new();
    said.extend(answers(&ways).map(|text| format!("{model}: {text}")));
    said.extend(threads(&ways).map(|text| format!("{model}: {text}")));
    said.extend(prompts(&ways).map(|text| format!("{model}: {text}")));
    said.extend(waking(&ways).map(|text| format!("{model}: {text}")));
    said
}

/// The cheapest and the fastest for answers.
fn answers(ways: &[Way]) -> Option<String> {
    let known: Vec<_> = ways.iter().filter_map(|way| Some((way, way.answer()?))).collect();
    let (cheap, (joules, rate)) = known.iter().min_by(|a, b| a.1 .0.total_cmp(&b.1 .0))?;
    let (fast, (fast_joules, fast_rate)) = known.iter().max_by(|a, b| a.1 .1.total_cmp(&b.1 .1))?;
    let token = |joules: f64| format!("{} a token", per_token(joules));
    let cheapest = format!("{} is cheapest for answers ({}, {rate:.1} tokens/s)", cheap.name(), token(*joules));
    Some(match std::ptr::eq(*cheap, *fast) || *fast_rate < rate * (1.0 + SAME) {
        true if known.len() > 1 => format!("{cheapest} and as fast as any"),
        true => cheapest,
        false => format!("{cheapest}; {} is fastest ({fast_rate:.1} tokens/s, {})", fast.name(), token(*fast_joules)),
    })
}

/// From which length of the answer on another way is the cheapest.
fn threads(ways: &[Way]) -> Option<String> {
    let best = |answer: f64| {
        let known = ways.iter().filter_map(|way| Some((way, way.request(answer)?)));
        known.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(way, _)| way)
    };
    let (short, long) = (best(1.0)?, best(LONGEST)?);
    if std::ptr::eq(short, long) {
        return None;
    }
    let gain = 1.0 - long.request(LONGEST)? / short.request(LONGEST)?;
    if gain < SAME {
        return None;
    }
    // Both are linear in the answer's length.
    let (prompt_short, prompt_long) = (short.request(0.0)?, long.request(0.0)?);
    let (each_short, each_long) = (short.answer()?.0, long.answer()?.0);
    let from = ((prompt_long - prompt_short) / (each_short - each_long)).clamp(1.0, LONGEST);
    Some(format!(
        "behind a prompt of {PROMPT:.0} tokens {} is cheapest for answers over {from:.0} tokens, {} for shorter ones",
        long.name(),
        short.name()
    ))
}

/// From which length on prompts are cheaper on another device.
fn prompts(ways: &[Way]) -> Option<String> {
    let on_cpu = |way: &&Way| way.device == "cpu";
    let cheapest = |cpu: bool, tokens: f64| {
        let ours = ways.iter().filter(|way| on_cpu(way) == cpu);
        let known = ours.filter_map(|way| Some((way, way.prompt(tokens)?)));
        known.min_by(|a, b| a.1.total_cmp(&b.1))
    };
    let lengths: Vec<f64> = (4..=11).map(|n| f64::from(1u32 << n)).collect();
    let wins = |tokens: f64| Some(cheapest(false, tokens)?.1 < cheapest(true, tokens)?.1);
    let (first, last) = (*lengths.first()?, *lengths.last()?);
    let gpu = cheapest(false, last)?.0.name();
    let cpu = cheapest(true, last)?.0.name();
    Some(match (wins(first)?, wins(last)?) {
        (true, true) => format!("prompts of any length are cheaper on {gpu}, once it is loaded"),
        (false, false) => format!("prompts of any length are cheaper on {cpu}"),
        (at_first, _) => {
            // Halving finds where it turns.
            let (mut low, mut high) = (first, last);
            while high - low > 1.0 {
                let middle = (low + high) / 2.0;
                if wins(middle)? == at_first {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            let (long, short) = if at_first { (cpu, gpu) } else { (gpu, cpu) };
            format!("prompts over {high:.0} tokens are cheaper on {long}, shorter ones on {short}")
        }
    })
}

/// When it pays to load another device for an answer.
fn waking(ways: &[Way]) -> Option<String> {
    let cheapest = |cpu: bool| {
        let ours = ways.iter().filter(|way| (way.device == "cpu") == cpu);
        let known = ours.filter_map(|way| Some((way, way.request(0.0)?, way.answer()?.0)));
        known.min_by(|a, b| a.2.total_cmp(&b.2))
    };
    let ((cpu, cpu_prompt, cpu_each), (gpu, gpu_prompt, gpu_each)) = (cheapest(true)?, cheapest(false)?);
    if gpu_each >= cpu_each {
        return Some(format!(
            "answers are cheaper on {}: {} is worth loading for prompts at most",
            cpu.name(),
            gpu.name()
        ));
    }
    let from = ((gpu.load + gpu_prompt - cpu_prompt) / (cpu_each - gpu_each)).max(0.0);
    Some(match from < 1.0 {
        true => format!("loading {} pays for any answer", gpu.name()),
        false => format!(
            "loading {} for one request ({}) pays from {from:.0} tokens of answer on",
            gpu.name(),
            Microjoules::from_f64(gpu.load)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{AnswerPoint, CostReport, PromptPoint};

    /// Joules and tokens per second for each token of prompts and of answers.
    fn curves(threads: u32, prompt: impl Fn(u32) -> f64, answer: (f64, f64)) -> ThreadsReport {
        let point = |tokens: u32| PromptPoint { tokens, tokens_per_s: 100.0, joules_per_token: prompt(tokens) };
        let lone = AnswerPoint { batch: 1, context: 0, tokens_per_s: answer.1, joules_per_token: answer.0 };
        let more = AnswerPoint { batch: 4, tokens_per_s: 3.0 * answer.1, joules_per_token: answer.0 / 3.0, ..lone };
        ThreadsReport { threads, prefill: [16, 64, 256, 1024].map(point).to_vec(), decode: vec![more, lone] }
    }

    fn profile(device: &str, load: f64, threads: Vec<ThreadsReport>) -> ProfileReport {
        ProfileReport {
            model: "m:q4".into(),
            device: device.into(),
            hardware: String::new(),
            metered: true,
            prompts: 1,
            answers: 1,
            calibrated: None,
            saved: None,
            load: Some(CostReport { seconds: 1.0, joules: load }),
            hold_watts: None,
            context: 4096,
            slots: 4,
            threads,
        }
    }

    #[test]
    fn one_way_is_told_of_and_nothing_is_made_up() {
        assert_eq!(findings(&[]), Vec::<String>::new());
        assert_eq!(findings(&[profile("cpu", 1.0, vec![])]), Vec::<String>::new());
        let one = profile("cpu", 1.0, vec![curves(1, |_| 0.01, (0.05, 20.0))]);
        assert_eq!(
            findings(&[one]),
            ["m:q4: cpu with 1 thread is cheapest for answers (50.0 mJ a token, 20.0 tokens/s)"]
        );
        // Without joules there is nothing to compare.
        assert_eq!(findings(&[profile("cpu", 1.0, vec![curves(1, |_| 0.0, (0.0, 20.0))])]), Vec::<String>::new());
    }

    #[test]
    fn threads_differ_by_the_length_of_the_answer() {
        // Two threads are dearer for the prompt by 1.28 J and cheaper for each token of the answer by 32 mJ.
        let profile = profile("cpu", 1.0, vec![curves(4, |_| 0.01, (0.112, 30.0)), curves(2, |_| 0.02, (0.08, 20.0))]);
        assert_eq!(
            findings(&[profile]),
            [
                "m:q4: cpu with 2 threads is cheapest for answers (80.0 mJ a token, 20.0 tokens/s); cpu with 4 threads is \
                 fastest (30.0 tokens/s, 112.0 mJ a token)",
                "m:q4: behind a prompt of 128 tokens cpu with 2 threads is cheapest for answers over 40 tokens, cpu with 4 \
                 threads for shorter ones",
            ]
        );
    }

    #[test]
    fn devices_differ_by_the_length_of_the_prompt_and_by_what_loading_takes() {
        // Some joules for each prompt, and few for its tokens.
        let gpu = profile("gpu0", 8.0, vec![curves(2, |n| 0.005 + 1.5 / f64::from(n), (0.12, 15.0))]);
        let cpu = profile("cpu", 1.0, vec![curves(2, |_| 0.01, (0.08, 20.0))]);
        let found = findings(&[cpu.clone(), gpu]);
        let turn = found.iter().find_map(|f| f.strip_prefix("m:q4: prompts over "));
        let tokens = turn.and_then(|t| t.split(' ').next()).and_then(|n| n.parse::<f64>().ok()).unwrap();
        assert!((250.0..700.0).contains(&tokens), "{found:?}");
        assert!(
            found.iter().any(|f| f.ends_with("tokens are cheaper on gpu0, shorter ones on cpu with 2 threads")),
            "{found:?}"
        );
        assert!(found.contains(
            &"m:q4: answers are cheaper on cpu with 2 threads: gpu0 is worth loading for prompts at most".into()
        ));
        let good = profile("gpu0", 8.0, vec![curves(2, |_| 0.01, (0.04, 40.0))]);
        let found = findings(&[cpu, good]);
        assert!(
            found.contains(&"m:q4: loading gpu0 for one request (8.00 J) pays from 200 tokens of answer on".into()),
            "{found:?}"
        );
    }
}
