#![allow(clippy::unwrap_used)]
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;

#[test]
fn a_pinned_reader_holds_back_what_it_may_see_and_nothing_once_repinned() {
    let domain = Domain::new();
    let published = Published::new(&domain, String::from("old"));
    let reader = domain.reader();
    let mut guard = reader.pin();
    let seen = published.load(&guard);
    published.replace("new".into(), &domain.pin());
    published.seal(&domain.pin());
    domain.advance();
    published.reclaim();
    assert_eq!((seen.as_str(), published.retired()), ("old", 1));
    guard.repin();
    domain.advance();
    guard.repin();
    domain.advance();
    published.reclaim();
    assert_eq!((published.load(&guard).as_str(), published.retired()), ("new", 0));
}

#[test]
#[should_panic(expected = "another epoch domain")]
fn a_guard_of_another_domain_is_refused() {
    let published = Published::new(&Domain::new(), 1);
    published.load(&Domain::new().pin());
}

#[test]
#[should_panic(expected = "another epoch domain")]
fn a_limbo_refuses_a_guard_of_another_domain() {
    Limbo::new(&Domain::new()).retire(1, &Domain::new().pin());
}

#[test]
fn a_second_guard_keeps_a_repin_from_letting_go() {
    let domain = Domain::new();
    let mut limbo = Limbo::new(&domain);
    let reader = domain.reader();
    let (mut first, second) = (reader.pin(), reader.pin());
    limbo.retire(1, &domain.pin());
    limbo.seal(&domain.pin());
    for _ in 0..3 {
        first.repin();
        domain.advance();
    }
    assert_eq!(limbo.pop(), None, "the second guard is from before");
    drop(second);
    for _ in 0..3 {
        first.repin();
        domain.advance();
    }
    assert_eq!(limbo.pop(), Some(1));
}

#[test]
fn what_a_thread_deferred_passes_after_the_thread_is_gone() {
    let domain = Domain::new();
    let mut limbo = Limbo::new(&domain);
    let spare = domain.clone();
    let mut limbo = std::thread::spawn(move || {
        limbo.retire(1, &spare.pin());
        limbo.seal(&spare.pin());
        limbo
    })
    .join()
    .unwrap();
    domain.advance();
    domain.advance();
    assert_eq!(limbo.pop(), Some(1));
}

#[test]
fn another_domain_on_the_same_thread_takes_nothing_along() {
    let (domain, other) = (Domain::new(), Domain::new());
    let mut limbo = Limbo::new(&domain);
    limbo.retire(1, &domain.pin());
    limbo.seal(&domain.pin());
    let _held = other.pin();
    domain.advance();
    domain.advance();
    assert_eq!(limbo.pop(), Some(1), "a guard of another domain holds nothing back here");
}

#[test]
fn batches_close_by_themselves_in_a_long_transaction() {
    let domain = Domain::new();
    let mut limbo = Limbo::new(&domain);
    for n in 0..BATCH + 1 {
        limbo.retire(n, &domain.pin());
    }
    domain.advance();
    assert_eq!((0..BATCH).map(|_| limbo.pop().unwrap()).collect::<Vec<_>>().len(), BATCH);
    assert_eq!((limbo.pop(), limbo.len()), (None, 1), "the last is in an open batch");
    limbo.seal(&domain.pin());
    domain.advance();
    assert_eq!((limbo.pop(), limbo.is_empty()), (Some(BATCH), true));
}

/// Counts how many of its kind there are.
struct Counted<'a>(&'a AtomicUsize, u64);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize, value: u64) -> Counted<'a> {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count, value)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn every_value_is_dropped_exactly_once() {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let domain = Domain::new();
    let slots = Slots::new(&domain, 3);
    for n in 0..20 {
        slots.replace(n % 3, Box::new(Counted::new(&COUNT, n as u64)), &domain.pin());
    }
    assert_eq!((COUNT.load(Ordering::Relaxed), slots.retired()), (20, 17));
    slots.seal(&domain.pin());
    domain.advance();
    let spare = slots.spare().unwrap();
    assert_eq!((spare.1, slots.retired()), (0, 16), "the oldest comes first");
    assert_eq!(slots.load(1, &domain.pin()).unwrap().1, 19);
    assert!(slots.load(3, &domain.pin()).is_none());
    // Published, retired and passed ones go with the slots; the spare is ours.
    drop(slots);
    assert_eq!(COUNT.load(Ordering::Relaxed), 1);
    drop(spare);
    assert_eq!(COUNT.load(Ordering::Relaxed), 0);
}

#[test]
fn zeros_are_zeros() {
    assert!(zeroed::<AtomicU32>(0).is_empty());
    let words = zeroed::<AtomicU32>(5);
    assert!(words.len() == 5 && words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    let quads = zeroed::<Quad>(3);
    for quad in &quads {
        assert_eq!(std::ptr::from_ref(quad).addr() % 32, 0);
        assert!(quad.0.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }
}

/// With whole large pages inside, beginning and ending between two.
#[test]
fn many_zeros_are_zeros() {
    let words = zeroed::<AtomicU32>((5 << 20) / 4 + 1);
    assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    let quads = zeroed::<Quad>((5 << 20) / 32 + 1);
    assert_eq!(quads.as_ptr().addr() % 32, 0);
    assert!(quads.iter().flat_map(|quad| &quad.0).all(|word| word.load(Ordering::Relaxed) == 0));
}

/// What readers and the writer of a limbo do.
#[derive(Clone, Debug)]
enum Op {
    Retire,
    Seal,
    Advance,
    Pop,
    Pin(usize),
    Repin(usize),
    Unpin(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Retire),
        2 => Just(Op::Seal),
        2 => Just(Op::Advance),
        3 => Just(Op::Pop),
        1 => (0usize..3).prop_map(Op::Pin),
        2 => (0usize..3).prop_map(Op::Repin),
        1 => (0usize..3).prop_map(Op::Unpin),
    ]
}

proptest! {
    /// In any order of events: items come out in order, none while a reader is
    /// pinned since before it went in, and all once readers have moved on.
    #[test]
    fn nothing_passes_a_reader_that_was_there_before(
        ops in prop::collection::vec(op(), 0..300),
    ) {
        let domain = Domain::new();
        let mut limbo = Limbo::new(&domain);
        let readers: Vec<Reader> = (0..3).map(|_| domain.reader()).collect();
        // Each reader's guard, and when it was last pinned or repinned.
        let mut guards: [Option<(Guard, u64)>; 3] = Default::default();
        let (mut retired, mut popped) = (Vec::new(), 0);
        for (now, op) in (0..).zip(ops) {
            match op {
                Op::Retire => {
                    limbo.retire(retired.len(), &domain.pin());
                    retired.push(now);
                }
                Op::Seal => limbo.seal(&domain.pin()),
                Op::Advance => domain.advance(),
                Op::Pop => {
                    while let Some(item) = limbo.pop() {
                        prop_assert_eq!(item, popped);
                        for (_, since) in guards.iter().flatten() {
                            prop_assert!(*since > retired[item], "item {} too early", item);
                        }
                        popped += 1;
                    }
                }
                Op::Pin(n) if guards[n].is_none() => guards[n] = Some((readers[n].pin(), now)),
                Op::Repin(n) => {
                    if let Some((guard, since)) = &mut guards[n] {
                        guard.repin();
                        *since = now;
                    }
                }
                Op::Pin(_) => {}
                Op::Unpin(n) => guards[n] = None,
            }
        }
        limbo.seal(&domain.pin());
        for _ in 0..3 {
            for (guard, _) in guards.iter_mut().flatten() {
                guard.repin();
            }
            domain.advance();
        }
        while let Some(item) = limbo.pop() {
            prop_assert_eq!(item, popped);
            popped += 1;
        }
        prop_assert_eq!(popped, retired.len());
    }
}
