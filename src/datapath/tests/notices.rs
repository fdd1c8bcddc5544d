//! Copies of dropped packets for ICMP errors: each class at its own rate.

use super::packets::Datagram;
use super::testbed::*;
use crate::datapath::drop::DropReason;
use crate::datapath::punt::NOTICE_RATE;
use crate::exchange::Cause;

/// Passes the datagram so many times and gives the notices by reason; control
/// takes them as they come, so the exchange is never full.
fn notices(bed: &mut Testbed, datagram: &Datagram, times: usize, reason: DropReason) -> usize {
    let frame = datagram.frame();
    let mut count = 0;
    for _ in 0..times {
        assert_eq!(bed.pass(EN0, &frame), Sent::new());
        count += bed.told().iter().filter(|told| told.cause == Cause::Notice(reason)).count();
    }
    let dropped = bed.drops().iter().find(|(r, _)| *r == reason).map(|(_, n)| *n);
    assert_eq!(dropped, Some(times as u64), "each is dropped and counted, told or not");
    count
}

/// A scan of addresses that no route leads to uses up its own rate; senders of
/// packets too big for a tunnel are told all the same (RFC 1191), or the tunnel
/// is a black hole for them.
#[test]
fn a_scan_does_not_starve_fragmentation_needed() {
    let mut bed = Testbed::new();
    let nowhere = Datagram::udp("10.0.0.163", "192.0.2.1", 30);
    let burst = NOTICE_RATE.burst as usize;
    let told = notices(&mut bed, &nowhere, burst + 300, DropReason::NoRoute);
    assert_eq!(told, burst, "the clock stands still: the burst, and then no more");
    let big = Datagram::udp("10.0.0.163", "20.0.0.1", 1460).df();
    assert_eq!(notices(&mut bed, &big, 50, DropReason::FragmentationNeeded), 50);
}
