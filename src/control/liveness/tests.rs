//! The engine with a world made by hand, in virtual time.

use super::*;
use crate::control::tally::fake::{Did, Fake, GRE0, MOBILE, OWN, assert_conserved, counters};
use crate::ids::NextHopId;
use crate::model::liveness::Timing;
use crate::wire::icmp::{Echo, ICMP_LEN, IcmpHeader};
use crate::wire::ipv4::{IPV4_LEN, Ipv4Header, Ipv4Repr};
use zerocopy::FromBytes;

const WAY: TunnelWay = TunnelWay { next_hop: NextHopId(7), answers: true, mtu: 1476 };
const GRE1: IfId = IfId(10);

fn ends() -> GreEnds {
    GreEnds { local: [203, 0, 113, 1].into(), remote: [198, 51, 100, 2].into(), key: None }
}

fn timing(retries: u8, up_after: u8) -> Timing {
    Timing { retries, up_after, ..Timing::default() }
}

fn keepalive(retries: u8, up_after: u8) -> Watch {
    let keepalive = Some((timing(retries, up_after), ends()));
    Watch { name: "gre0".into(), outer: None, keepalive, probe: None }
}

fn probe(size: bool) -> Watch {
    let spec = ProbeSpec { timing: timing(3, 2), to: None, size };
    Watch { name: "gre0".into(), outer: None, keepalive: None, probe: Some((spec, OWN, MOBILE)) }
}

struct Bed {
    engine: Liveness,
    world: Fake,
    counters: Arc<ControlCounters>,
    now: Duration,
}

impl Bed {
    fn new(watch: Watch) -> Bed {
        let counters = counters();
        let engine = Liveness::new(Arc::clone(&counters));
        let world = Fake { ways: vec![(GRE0, WAY), (GRE1, WAY)], ..Fake::default() };
        let mut bed = Bed { engine, world, counters, now: Duration::ZERO };
        bed.watch(GRE0, Some(watch));
        bed
    }

    fn watch(&mut self, tunnel: IfId, watch: Option<Watch>) {
        self.engine.watch(&mut self.world, self.now, tunnel, watch);
    }

    /// So many seconds later; gives what was sent.
    fn after(&mut self, seconds: u64) -> Vec<Vec<u8>> {
        self.now += Duration::from_secs(seconds);
        self.tick()
    }

    fn tick(&mut self) -> Vec<Vec<u8>> {
        let _ = self.engine.tick(&mut self.world, self.now);
        assert_conserved(&self.counters);
        let into = |(kind, bytes)| match kind {
            InjectKind::Into { next_hop, .. } => {
                assert_eq!(next_hop, WAY.next_hop);
                bytes
            }
            other => panic!("{other:?}"),
        };
        self.world.sent().into_iter().map(into).collect()
    }

    fn returned(&mut self, bytes: &[u8]) -> bool {
        let taken = self.engine.on_returned(&mut self.world, self.now, GRE0, bytes);
        assert_conserved(&self.counters);
        taken
    }

    fn state(&self) -> String {
        self.engine.view(GRE0, self.now).expect("watched").state
    }
}

/// The answer to a probe.
fn answer(request: &[u8]) -> Vec<u8> {
    let ip = Ipv4Header::ref_from(request).expect("IPv4");
    let header = IcmpHeader::ref_from_prefix(&request[IPV4_LEN..]).expect("ICMP").0;
    let echo = Echo { reply: true, ..header.echo().expect("an echo") };
    let mut bytes = request.to_vec();
    let ip = Ipv4Repr { src: ip.dst_addr(), dst: ip.src_addr(), ..Ipv4Repr::of(ip) };
    ip.emit(&mut bytes).expect("emits");
    echo.emit(&mut bytes[IPV4_LEN..]).expect("emits");
    bytes
}

#[test]
fn a_keepalive_is_cisco_s() {
    let sent = Bed::new(keepalive(3, 2)).tick();
    let [packet] = &sent[..] else { panic!("{sent:?}") };
    // Identification and checksum apart.
    assert_eq!(packet[..4], [0x45, 0xc0, 0, 24]);
    assert_eq!(packet[6..10], [0, 0, 255, 47]);
    assert_eq!(packet[12..], [198, 51, 100, 2, 203, 0, 113, 1, 0, 0, 0, 0]);
    assert!(ipv4_is_sound(packet));
    let keyed = packets::keepalive(GreEnds { key: Some(0x2a), ..ends() }, 1);
    assert_eq!(keyed[20..], [0x20, 0, 0, 0, 0, 0, 0, 0x2a]);
}

fn ipv4_is_sound(packet: &[u8]) -> bool {
    crate::wire::ipv4::validate(packet, false).is_ok()
}

#[test]
fn silence_withdraws_and_answers_bring_back() {
    let mut bed = Bed::new(keepalive(3, 2));
    assert_eq!(bed.tick().len(), 1);
    assert_eq!((bed.after(10).len(), bed.after(10).len()), (1, 1), "two lost");
    assert_eq!((bed.state().as_str(), bed.world.done()), ("unknown", vec![]));
    let last = bed.after(10);
    assert_eq!((bed.state().as_str(), bed.world.done()), ("down", vec![Did::Dead(GRE0, true)]));
    assert!(bed.returned(&last[0]));
    assert_eq!(bed.world.done(), [], "one answer is not enough");
    let last = bed.after(10);
    bed.now += Duration::from_millis(3);
    assert!(bed.returned(&last[0]));
    assert_eq!((bed.state().as_str(), bed.world.done()), ("up", vec![Did::Dead(GRE0, false)]));
    let view = bed.engine.view(GRE0, bed.now).expect("watched");
    assert_eq!(view.transitions, 2);
    let check = view.keepalive.expect("kept alive");
    assert_eq!((check.sent, check.received, check.lost), (5, 2, 3));
    assert_eq!(check.rtt.map(|rtt| rtt.last_us), Some(3_000));
}

#[test]
fn what_answers_nothing_is_counted_and_changes_nothing() {
    let mut bed = Bed::new(keepalive(3, 2));
    let sent = bed.tick();
    assert!(bed.returned(&sent[0]));
    assert!(bed.returned(&sent[0]), "a second copy");
    assert_eq!(bed.counters.dropped_for(ControlDrop::KeepaliveUnexpected), 1);
    // An identification that NAT changed counts, and takes no time.
    let mut changed = bed.after(10).remove(0);
    changed[4..6].copy_from_slice(&[0xab, 0xcd]);
    assert!(crate::wire::ipv4::fill_checksum(&mut changed));
    bed.now += Duration::from_secs(1);
    assert!(bed.returned(&changed));
    let check = bed.engine.view(GRE0, bed.now).and_then(|v| v.keepalive).expect("kept alive");
    assert_eq!((check.received, check.rtt.map(|rtt| rtt.max_us)), (2, Some(0)));
}

#[test]
fn a_probe_knows_its_own_answer() {
    let mut bed = Bed::new(probe(false));
    let sent = bed.tick();
    assert_eq!(sent[0].len(), IPV4_LEN + ICMP_LEN + 56);
    let right = answer(&sent[0]);
    let change = |at: usize, to: u8| {
        let mut bytes = right.clone();
        bytes[at] = to;
        assert!(crate::wire::ipv4::fill_checksum(&mut bytes));
        bytes
    };
    for (at, to) in [(15, 99), (19, 99), (24, 0), (27, 99), (20, 8)] {
        assert!(!bed.returned(&change(at, to)), "byte {at}");
    }
    assert_eq!(bed.state(), "unknown");
    assert!(bed.returned(&right));
    assert_eq!(bed.state(), "up");
    assert!(!bed.returned(&right), "that may be somebody else's");
}

#[test]
fn a_tunnel_that_does_not_run_says_nothing_of_its_far_end() {
    let mut bed = Bed::new(keepalive(2, 2));
    bed.tick();
    bed.world.ways.clear();
    for _ in 0..5 {
        assert_eq!(bed.after(10), [[0; 0]; 0]);
    }
    assert_eq!((bed.state().as_str(), bed.world.done()), ("unknown", vec![]));
    // One whose next hop is known not to answer says all.
    bed.world.ways.push((GRE0, TunnelWay { answers: false, ..WAY }));
    assert_eq!((bed.after(10).len(), bed.after(10).len()), (0, 0));
    assert_eq!((bed.state().as_str(), bed.world.done()), ("down", vec![Did::Dead(GRE0, true)]));
}

#[test]
fn one_check_that_says_down_is_enough() {
    let mut bed = Bed::new(Watch { probe: probe(false).probe, ..keepalive(3, 2) });
    for _ in 0..4 {
        for packet in bed.after(10) {
            if packet[9] == IPPROTO_GRE {
                assert!(bed.returned(&packet));
            }
        }
    }
    assert_eq!((bed.state().as_str(), bed.world.done()), ("down", vec![Did::Dead(GRE0, true)]));
}

#[test]
fn another_configuration_begins_anew_and_the_same_does_not() {
    let mut bed = Bed::new(keepalive(1, 2));
    bed.tick();
    bed.after(10);
    assert_eq!(bed.world.done(), [Did::Dead(GRE0, true)]);
    bed.watch(GRE0, Some(keepalive(1, 2)));
    assert_eq!((bed.state().as_str(), bed.world.done()), ("down", vec![]));
    bed.watch(GRE0, Some(keepalive(3, 2)));
    assert_eq!((bed.state().as_str(), bed.world.done()), ("unknown", vec![Did::Dead(GRE0, false)]));
    bed.watch(GRE0, None);
    assert!(bed.engine.view(GRE0, bed.now).is_none());
    assert_eq!((bed.after(100).len(), bed.engine.due.len()), (0, 0));
}

#[test]
fn a_packet_that_no_worker_takes_is_not_lost_but_sent_soon() {
    let mut bed = Bed::new(keepalive(1, 2));
    bed.world.room = 0;
    assert_eq!(bed.tick(), [[0; 0]; 0]);
    bed.world.room = usize::MAX;
    bed.now += AGAIN;
    assert_eq!(bed.tick().len(), 1);
    assert_eq!(bed.state(), "unknown");
}

#[test]
fn many_tunnels_take_turns() {
    let mut bed = Bed::new(keepalive(3, 2));
    let many = SENT_PER_TICK as u32 + 10;
    for n in 1..many {
        bed.world.ways.push((IfId(100 + n), WAY));
        bed.watch(IfId(100 + n), Some(keepalive(3, 2)));
    }
    assert_eq!((bed.tick().len(), bed.tick().len(), bed.tick().len()), (SENT_PER_TICK, 10, 0));
}

/// Answers what `takes` lets through until `seconds` are over.
fn let_through(bed: &mut Bed, takes: usize, seconds: u64) -> usize {
    let (mut count, end) = (0, bed.now + Duration::from_secs(seconds));
    while bed.now < end {
        loop {
            let sent = bed.tick();
            if sent.is_empty() {
                break;
            }
            for packet in sent {
                assert!(ipv4_is_sound(&packet) && packet.len() <= usize::from(WAY.mtu));
                assert_eq!(packet[6], 0x40, "DF");
                count += 1;
                if packet.len() <= takes {
                    assert!(bed.returned(&answer(&packet)));
                }
            }
        }
        bed.now += Duration::from_millis(100);
    }
    count
}

#[test]
fn the_largest_packet_that_passes_is_found_and_found_again() {
    let mut bed = Bed::new(probe(true));
    let largest = |bed: &Bed| bed.engine.view(GRE0, bed.now).and_then(|v| v.probe?.largest);
    let count = let_through(&mut bed, 9000, 9);
    assert_eq!((largest(&bed), count), (Some(1476), 2), "one probe, one of the largest size");
    let count = let_through(&mut bed, 1311, 90);
    assert_eq!(largest(&bed), Some(1311));
    assert!(count < 9 + 24 + 2, "{count} packets");
    assert_eq!(bed.state(), "up", "what is too large is not lost");
    // Nobody there: what was found is not known to be so any more.
    let_through(&mut bed, 0, 100);
    assert_eq!((bed.state().as_str(), largest(&bed)), ("down", None));
    let_through(&mut bed, 9000, 30);
    assert_eq!((bed.state().as_str(), largest(&bed)), ("up", Some(1476)));
}

#[test]
fn a_probe_over_ipv6_is_one_of_icmpv6() {
    let (from, to): (IpAddr, IpAddr) =
        ("fd00:12::1".parse().expect("an address"), "fd00:12::2".parse().expect("an address"));
    let packet = packets::probe(from, to, 5, packets::probe_len(to)).expect("one family");
    let Ok(Message::Echo(echo)) = Message::read(&packet) else { panic!("{packet:?}") };
    assert_eq!((echo.from, echo.to, echo.size, echo.echo.reply), (from, to, 56, false));
    assert!(packets::probe(OWN, to, 5, 100).is_none(), "two families");
}
