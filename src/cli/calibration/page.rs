//! A profile for people: a page of text with tables.
//!
//! It prints nothing and compares nothing: that is `findings`.
//!
//! What always holds: what is not known is left out or is a question mark.

use crate::cli::print::{per_token, seconds, table};
use crate::energy::account::Day;
use crate::service::{AnswerPoint, ProfileReport, PromptPoint};
use crate::units::{Microjoules, Microwatts};

/// A profile for people.
pub(super) fn page(p: &ProfileReport) -> String {
    let day = |at: u64| Day::of_unix(at).to_string();
    let when = p.calibrated.map_or("never calibrated".to_owned(), |at| format!("calibrated on {}", day(at)));
    let quality = if p.metered { "measured" } else { "estimated" };
    let mut page = format!("{} on {} ({})\n", p.model, p.device, p.hardware);
    page += &format!("  {when}; {} prompts, {} answers; energy {quality}\n", p.prompts, p.answers);
    if let Some(load) = &p.load {
        page += &format!("  loading takes {}, {}", seconds(load.seconds), Microjoules::from_f64(load.joules));
        match p.hold_watts {
            Some(watts) => page += &format!("; holding it {}\n", Microwatts::from_f64(watts)),
            None => page += "\n",
        }
    }
    let energy = |joules: f64| if joules > 0.0 { per_token(joules) } else { "?".to_owned() };
    let mut rows = Vec::new();
    for t in &p.threads {
        for PromptPoint { tokens, tokens_per_s, joules_per_token } in &t.prefill {
            rows.push(vec![
                t.threads.to_string(),
                tokens.to_string(),
                format!("{tokens_per_s:.1}"),
                energy(*joules_per_token),
            ]);
        }
    }
    if !rows.is_empty() {
        page += &indented(&table(&[">THREADS", ">PROMPT", ">TOKENS/S", ">ENERGY/TOKEN"], &rows));
    }
    let mut rows = Vec::new();
    for t in &p.threads {
        for AnswerPoint { batch, context, tokens_per_s, joules_per_token } in &t.decode {
            rows.push(vec![
                t.threads.to_string(),
                batch.to_string(),
                context.to_string(),
                format!("{tokens_per_s:.1}"),
                energy(*joules_per_token),
            ]);
        }
    }
    if !rows.is_empty() {
        page.push('\n');
        page += &indented(&table(&[">THREADS", ">AT ONCE", ">CONTEXT", ">TOKENS/S", ">ENERGY/TOKEN"], &rows));
    }
    page.trim_end().to_owned()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{CostReport, ThreadsReport};

    #[test]
    fn a_page_shows_what_is_known() {
        let profile = ProfileReport {
            model: "m:q4".into(),
            device: "cpu".into(),
            hardware: "a board, 2 cores".into(),
            metered: false,
            prompts: 7,
            answers: 5,
            calibrated: Some(1_795_651_200),
            saved: None,
            load: Some(CostReport { seconds: 0.4, joules: 1.25 }),
            hold_watts: None,
            context: 512,
            slots: 4,
            threads: vec![ThreadsReport {
                threads: 2,
                prefill: vec![PromptPoint { tokens: 128, tokens_per_s: 310.25, joules_per_token: 0.0071 }],
                decode: vec![AnswerPoint { batch: 1, context: 256, tokens_per_s: 41.5, joules_per_token: 0.0 }],
            }],
        };
        let page = page(&profile);
        for part in [
            "m:q4 on cpu (a board, 2 cores)\n",
            "  calibrated on 2026-11-2",
            "; 7 prompts, 5 answers; energy estimated\n",
            "  loading takes 400 ms, 1.25 J\n",
            "  THREADS  PROMPT  TOKENS/S  ENERGY/TOKEN\n",
            "        2     128     310.2       7.10 mJ\n",
            "        2        1      256      41.5             ?",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
        let never = ProfileReport { calibrated: None, threads: vec![], load: None, ..profile };
        assert!(super::page(&never).contains("never calibrated"), "{}", super::page(&never));
    }
}
