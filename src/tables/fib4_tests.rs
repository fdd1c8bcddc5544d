#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn longest_prefix_wins_and_falls_back() {
    let domain = Domain::new();
    let fib = Fib4::new(&domain, 4);
    let guard = domain.pin();
    let hop = NextHopId;
    fib.insert(0x0a00_0000, 8, hop(1)).unwrap();
    fib.insert(0x0a00_0000, 24, hop(2)).unwrap();
    fib.insert(0x0a00_0001, 32, hop(3)).unwrap();
    let look = |a| fib.lookup(a, &guard).0;
    assert_eq!([look(0x0a01_0000), look(0x0a00_0002), look(0x0a00_0001), look(1)], [1, 2, 3, 0]);
    assert_eq!(fib.remove(0x0a00_0000, 24), Some(hop(2)));
    assert_eq!([look(0x0a00_0002), look(0x0a00_0001)], [1, 3]);
    assert_eq!(fib.remove(0x0a00_0001, 32), Some(hop(3)));
    assert_eq!(fib.stats().groups_retired, 1);
    assert_eq!(look(0x0a00_0001), 1);
}
