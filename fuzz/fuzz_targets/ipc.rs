//! The frames between daemon and worker: whatever a worker that was taken over sends, the daemon reads or refuses it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wattlm::lane::{FromLane, ToLane};
use wattlm::worker::ipc;

fuzz_target!(|data: &[u8]| {
    let mut scratch = Vec::new();
    let mut stream = data;
    // Everything that decodes encodes again, to something that decodes to the same.
    while let Ok(Some(msg)) = ipc::read::<FromLane>(&mut stream, ipc::MAX_FROM_WORKER, &mut scratch) {
        let mut wire = Vec::new();
        ipc::write(&mut wire, &msg, u32::MAX, &mut Vec::new()).expect("a message that was read can be written");
        let again = ipc::read::<FromLane>(&mut wire.as_slice(), u32::MAX, &mut scratch).expect("what was written reads");
        // Not compared by value: a message may hold a NaN.
        assert_eq!(format!("{:?}", Some(msg)), format!("{again:?}"));
    }
    let _ = ipc::decode::<ToLane>(data);
});
