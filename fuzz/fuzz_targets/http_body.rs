//! Random bytes as request bodies: no panic, every number within the range its field documents, and nothing accepted
//! that is nested too deeply or is not UTF-8.

#![no_main]

use wattlm::error::Code;
use wattlm::lane::Prompt;
use wattlm::server::{parse, Endpoint};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for endpoint in [Endpoint::Chat, Endpoint::Completions] {
        let ask = match parse(endpoint, bytes, 32) {
            Ok(ask) => ask,
            Err(e) => {
                assert!(matches!(e.code, Code::InvalidRequest | Code::UnsupportedField | Code::PayloadTooLarge));
                assert!(!e.message.is_empty());
                continue;
            }
        };
        assert!(std::str::from_utf8(bytes).is_ok());
        let (g, s) = (&ask.generate, &ask.generate.sampling);
        assert!((0.0..=2.0).contains(&s.temperature));
        assert!(s.top_p.is_none_or(|p| p > 0.0 && p <= 1.0));
        assert!(s.min_p.is_none_or(|p| (0.0..=1.0).contains(&p)));
        assert!(s.top_k.is_none_or(|k| k > 0));
        assert!((-2.0..=2.0).contains(&s.frequency_penalty) && (-2.0..=2.0).contains(&s.presence_penalty));
        assert!(s.repeat_penalty > 0.0 && s.repeat_penalty <= 4.0);
        assert!(s.logit_bias.iter().all(|(id, bias)| *id >= 0 && (-100.0..=100.0).contains(bias)));
        assert!(g.stop.len() <= 16 && g.stop.iter().all(|t| !t.is_empty()));
        assert!(g.max_tokens != Some(0));
        assert!(ask.stream || !ask.include_usage);
        match &g.prompt {
            Prompt::Chat(messages) => assert!(!messages.is_empty() && endpoint == Endpoint::Chat),
            Prompt::Text(_) => assert!(endpoint == Endpoint::Completions),
        }
    }
});
