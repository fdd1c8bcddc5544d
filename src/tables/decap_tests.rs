#![allow(clippy::unwrap_used)]
use super::*;
use crate::ids::TableId;

#[test]
fn keys_come_and_go() {
    let domain = Domain::new();
    let map = DecapMap::with_capacity(&domain, 100);
    let guard = domain.pin();
    let key = |n| DecapKey::ipv4(TableId(0), n, 7, 47, None);
    for n in 0..100 {
        map.insert(key(n), n, &guard).unwrap();
    }
    assert_eq!(map.insert(key(100), 100, &guard), Err(DecapFull { capacity: 100 }));
    assert!((0..100).all(|n| map.get(key(n), &guard) == Some(n)));
    assert_eq!(map.remove(key(5), &guard), Some(5));
    assert_eq!(map.get(key(5), &guard), None);
    assert!((0..100).filter(|n| *n != 5).all(|n| map.get(key(n), &guard) == Some(n)));
}
