//! Which bucket a packet is charged to.

use gateway_common::Budget;
use gateway_common::budget::Direction;

#[test]
fn directions_share_a_bucket_unless_they_are_separate() {
    let meters = |is_separate| {
        [Direction::Outbound, Direction::Inbound].map(|direction| Budget::meter(is_separate, direction))
    };
    assert_eq!((meters(0), meters(1)), ([0, 0], [0, 1]));
}
