//! That the check of conservation can fail: `Testbed` makes it after every
//! test, so here it is given something to find.

use super::packets::Datagram;
use super::testbed::*;
use crate::datapath::drop::DropReason;

/// A testbed after some traffic of each kind, through which `tamper` then goes.
fn found_out(tamper: impl FnOnce(&mut Testbed)) -> bool {
    let mut bed = Testbed::new();
    for dst in ["198.18.0.1", "9.9.9.9", "20.0.0.1", "10.0.0.77", "100.64.0.1"] {
        bed.pass(EN0, &Datagram::udp("10.0.0.163", dst, 900).frame());
    }
    bed.check_conservation();
    tamper(&mut bed);
    let check = std::panic::AssertUnwindSafe(|| bed.check_conservation());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let failed = std::panic::catch_unwind(check).is_err();
    std::panic::set_hook(hook);
    // Its own check at the end would fail as well.
    std::mem::forget(bed);
    failed
}

/// Takes one increment away. A counter only adds, and wraps.
const TAKEN: u64 = u64::MAX;

#[test]
fn one_increment_missing_anywhere_is_found() {
    assert!(!found_out(|_| {}));
    assert!(found_out(|bed| bed.counters.ledger(EN0).received.add(TAKEN)));
    assert!(found_out(|bed| bed.counters.ledger(EN0).sent.add(TAKEN)));
    assert!(found_out(|bed| bed.counters.ledger(EN0).fragments_created.add(TAKEN)));
    assert!(found_out(|bed| bed.counters.ledger(EN0).punted[3].add(TAKEN)));
    let no_route = DropReason::NoRoute.index();
    assert!(found_out(|bed| bed.counters.ledger(EN0).dropped[no_route].add(TAKEN)));
    assert!(
        found_out(|bed| {
            bed.counters.ledger(EN0).sent.add(TAKEN);
            bed.counters.ledger(EN1).sent.add(1);
        }),
        "each origin keeps its own account"
    );
}

#[test]
fn one_buffer_missing_is_found() {
    use crate::buf::PacketIo;
    assert!(found_out(|bed| std::mem::forget(bed.worker.io().alloc())));
}
