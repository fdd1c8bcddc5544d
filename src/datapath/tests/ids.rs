//! Identifications of outer headers where several workers send for one tunnel
//! (V4-04, RFC 6864 §4.1).

use std::collections::HashSet;

use super::packets::{Datagram, read};
use super::testbed::*;
use crate::ids::first_identification;

/// A tunnel's packets are spread over workers by their inner addresses; where
/// outer DF is copied and clear, the far end tells fragments apart by the
/// identification alone.
#[test]
fn two_workers_for_one_tunnel_do_not_repeat_each_other() {
    const EACH: usize = 2_000;
    let mut seen = HashSet::new();
    for number in 0..2 {
        let mut bed = Testbed::of_several(number, 2);
        for n in 0..EACH {
            let packet = Datagram::udp("10.0.0.163", "22.1.2.3", n % 500);
            let (_, frame) = bed.one(EN0, &packet.frame());
            let (_, outer) = read(&frame);
            assert!(!outer.header.dont_fragment, "df = copy, and the inner DF is clear");
            assert_eq!(outer.header.destination, [198, 51, 100, 5]);
            let id = outer.header.identification;
            assert!(seen.insert(id), "worker {number} sent identification {id} again");
        }
    }
    assert_eq!(seen.len(), 2 * EACH);
}

#[test]
fn each_worker_and_control_have_equal_shares() {
    for workers in 1..=64 {
        let starts = (0..=workers).map(|number| u32::from(first_identification(number, workers)));
        let mut ends: Vec<u32> = starts.chain([1 << 16]).collect();
        assert_eq!(ends.remove(0), 0);
        let share = (1u32 << 16) / (workers as u32 + 1);
        let mut last = 0;
        for end in ends {
            assert!((share..=share + 1).contains(&(end - last)), "{workers} workers: {end}");
            last = end;
        }
    }
}
