//! GRE options: what they put into the template, what they take from the MTU,
//! and that the key is part of what a tunnel is.

use super::*;
use crate::ids::TableId;
use crate::tables::tunnel::DecapKey;

fn joined() -> Machine {
    let mut m = Machine::new();
    m.all(&office());
    m.learn(IfId(1), "203.0.113.254", 9);
    m
}

/// The tunnel that a packet from the office's far end with this key is for.
fn received(m: &Machine, key: Option<u32>) -> Option<String> {
    let guard = m.tables.pin();
    let (from, to) = (ip4("198.51.100.2"), ip4("203.0.113.1"));
    let key = DecapKey::ipv4(TableId(0), from.into(), to.into(), 47, key);
    let index = m.tables.decap.get(key, &guard)?;
    Some(m.net.name(IfId(index)).unwrap().to_owned())
}

#[test]
fn each_option_takes_four_bytes_and_has_its_place_in_the_header() {
    let mut m = joined();
    for bits in 0..8u16 {
        let [checksum, key, sequence] = [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0];
        m.ok(gre("gre0", |g| {
            g.checksum = checksum;
            g.key_out = key.then_some(0x01020304);
            g.sequence = sequence;
        }));
        let words = bits.count_ones() as u16;
        assert_eq!(m.view("gre0").mtu, 1476 - 4 * words);
        let adjacency = m.meets("10.0.0.25");
        assert_eq!(adjacency.mtu, 1476 - 4 * words);
        let flags = [(checksum, 0x80), (key, 0x20), (sequence, 0x10)];
        let first = flags.iter().filter(|(on, _)| *on).map(|(_, flag)| flag).sum::<u8>();
        let mut shim = vec![first, 0, 8, 0];
        shim.extend(checksum.then_some([0; 4]).into_iter().flatten());
        shim.extend(key.then_some([1, 2, 3, 4]).into_iter().flatten());
        shim.extend(sequence.then_some([0; 4]).into_iter().flatten());
        assert_eq!(outer(&adjacency).shim, shim);
        use crate::tables::adjacency::flags::{GRE_CHECKSUM, GRE_SEQUENCE};
        assert_eq!(adjacency.flags & GRE_CHECKSUM != 0, checksum);
        assert_eq!(adjacency.flags & GRE_SEQUENCE != 0, sequence);
    }
}

#[test]
fn the_key_received_tells_tunnels_of_one_outer_pair_apart() {
    let mut m = joined();
    m.all(&[create("gre1"), pair("gre1", "12.1", "12.2")]);
    let outer = endpoints("gre1", "203.0.113.1", "198.51.100.2");
    m.refused(outer.clone(), &["gre0 and gre1", "duplicate"]);
    m.all(&[gre("gre1", |g| g.key_in = Some(0)), outer]);
    assert_eq!(received(&m, None).unwrap(), "gre0");
    assert_eq!(received(&m, Some(0)).unwrap(), "gre1", "0 is a key");
    assert_eq!(received(&m, Some(1)), None);
    m.refused(gre("gre1", |g| g.key_out = Some(0)), &["gre0 and gre1", "duplicate tunnel"]);
    m.refused(gre("gre0", |g| g.key_in = Some(0)), &["with key 0", "duplicate tunnel"]);
    // In one transaction they may swap.
    m.try_all(&[gre("gre0", |g| g.key_in = Some(0)), gre("gre1", |_| {})]).unwrap();
    assert_eq!(received(&m, None).unwrap(), "gre1");
    assert_eq!(received(&m, Some(0)).unwrap(), "gre0");
    m.ok(gre("gre0", |g| (g.key_in, g.key_out) = (Some(5), Some(6))));
    assert_eq!((received(&m, Some(0)), received(&m, Some(6))), (None, None));
    assert_eq!(received(&m, Some(5)).unwrap(), "gre0");
    m.ok(destroy("gre0"));
    assert_eq!(received(&m, Some(5)), None);
}

#[test]
fn what_is_not_named_stays_and_all_of_it_is_shown() {
    let mut m = joined();
    let name = || "gre0".to_owned();
    let (key, none) = (Some(GreKeys { inward: Some(1), outward: None }), None);
    m.ok(Op::SetGre { name: name(), checksum: None, key, sequence: none, sequence_resync: None });
    let checksum = Some(true);
    m.ok(Op::SetGre {
        name: name(),
        checksum,
        key: None,
        sequence: none,
        sequence_resync: Some(9),
    });
    let spec = m.net.state().tunnels[0].gre;
    let wanted = GreOptions {
        checksum: true,
        key_in: Some(1),
        key_out: None,
        sequence: false,
        sequence_resync: 9,
    };
    assert_eq!(spec, wanted);
    assert_eq!(m.view("gre0").tunnel.unwrap().options, "key in 1 out none checksum");
    let again = Machine::from_state(&m.net.state(), &[]);
    assert_eq!(again.net.state(), m.net.state());
    let guard = m.tables.pin();
    assert_eq!(m.tables.tunnels.get(m.id("gre0").index(), &guard).resync, 9);
}

#[test]
fn another_flow_begins_with_number_zero() {
    let mut m = joined();
    let index = m.id("gre0").index();
    let next = |m: &Machine| m.tables.sequences.get(index).next();
    m.ok(gre("gre0", |g| g.sequence = true));
    assert_eq!((next(&m), next(&m)), (0, 1));
    m.ok(set("gre0", |f| f.ttl = Some(9)));
    assert_eq!(next(&m), 2, "the flow is the same");
    m.ok(gre("gre0", |g| (g.sequence, g.key_out) = (true, Some(1))));
    assert_eq!((next(&m), next(&m)), (0, 1));
    m.ok(endpoints("gre0", "203.0.113.1", "198.51.100.3"));
    assert_eq!((next(&m), next(&m)), (0, 1));
    m.all(&[destroy("gre0"), create("gre0")]);
    assert_eq!(next(&m), 0);
}
