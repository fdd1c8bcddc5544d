#![allow(clippy::unwrap_used)]
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
