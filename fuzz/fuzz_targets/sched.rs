//! Random events against the scheduler: no panic, no broken promise, and equal input gives equal actions.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let once = wattlm::sched::model::drive(bytes);
    assert_eq!(once, wattlm::sched::model::drive(bytes));
});
