//! Tests of the scheduler as a whole.

use proptest::prelude::*;

use super::model;

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_breaks_a_promise(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
        let once = model::drive(&bytes);
        prop_assert_eq!(once, model::drive(&bytes));
    }
}
