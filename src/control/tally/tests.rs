use super::fake::{Fake, assert_conserved, at, counters};
use super::*;

#[test]
fn labels_are_unique_and_texts_are_sentences() {
    let mut labels: Vec<_> = ControlDrop::ALL.iter().map(|r| r.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), ControlDrop::COUNT);
    for reason in ControlDrop::ALL {
        assert!(reason.text().ends_with('.'), "{reason:?}");
        assert_eq!(ControlDrop::from_label(reason.label()), Some(*reason));
    }
}

#[test]
fn a_full_exchange_is_a_counted_drop() {
    let counters = counters();
    let mut world = Fake { room: 1, ..Fake::default() };
    counters.originated.add(2);
    assert!(inject(&mut world, &counters, InjectKind::Originate, &[1]));
    assert!(!inject(&mut world, &counters, InjectKind::Originate, &[1]));
    assert_eq!(counters.dropped_for(ControlDrop::InjectQueueFull), 1);
    assert_eq!(counters.view().dropped["inject_queue_full"], 1);
    assert_conserved(&counters);
}

#[test]
#[should_panic(expected = "not conserved")]
fn a_missing_increment_is_noticed() {
    let counters = counters();
    let mut world = Fake::default();
    // The increment of `originated` that belongs here is left out.
    inject(&mut world, &counters, InjectKind::Originate, &[1]);
    assert_conserved(&counters);
}

#[test]
fn held_packets_are_part_of_the_equation() {
    let counters = counters();
    counters.punts_taken.add(2);
    counters.hold();
    assert_eq!(counters.imbalance(), 1);
    counters.hold();
    assert_conserved(&counters);
    counters.release(2);
    counters.consumed.add(2);
    assert_conserved(&counters);
}

#[test]
fn bucket_gives_the_burst_then_the_rate() {
    let mut bucket = TokenBucket::new(10, 3);
    let taken = |bucket: &mut TokenBucket, now| (0..9).filter(|_| bucket.take(at(now))).count();
    assert_eq!(taken(&mut bucket, 0), 3);
    assert_eq!(taken(&mut bucket, 99), 0);
    assert_eq!(taken(&mut bucket, 100), 1);
    assert_eq!(taken(&mut bucket, 350), 2, "two whole tokens, half a one stays");
    assert_eq!(taken(&mut bucket, 400), 1);
    assert_eq!(taken(&mut bucket, 60_000), 3, "never more than the burst");
    bucket.configure(0, 3);
    assert_eq!(taken(&mut bucket, 90_000), 0);
}
