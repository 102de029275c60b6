//! The configuration reader: no file may make it panic, complain outside of the file or in more than one printable
//! line, or accept what it would not read back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wattlm::config::Config;

fuzz_target!(|data: &[u8]| match Config::parse("f", data) {
    Ok(loaded) => {
        let again = Config::parse("f", loaded.config.to_toml().as_bytes()).expect("what was accepted stays accepted");
        assert_eq!(again.config, loaded.config);
        assert!(Config::diff(&again.config, &loaded.config).is_empty());
        for model in &loaded.config.model {
            let settings = loaded.config.model_settings(&model.name);
            assert!(settings.prefill_chunk_shared <= settings.prefill_chunk);
            assert!(settings.prefill_chunk <= settings.context);
        }
    }
    Err(problems) => {
        assert!(problems.iter().any(|p| !p.warning));
        let lines = 1 + data.iter().filter(|b| **b == b'\n').count();
        for problem in problems {
            assert!(problem.line <= lines);
            assert!(problem.column <= data.len() + 1);
            assert!(!problem.to_string().contains(char::is_control));
        }
    }
});
