//! `ifconfig`: create, set up, destroy and show interfaces, with BSD's words.
//!
//! All words of one line are one transaction: `ifconfig gre0 create 12.1 12.2
//! link1 tunnel 10.25 10.163` happens as a whole or not at all. The technote's
//! rows T1 to T4 are these lines.

use std::net::IpAddr;

use ipnet::IpNet;

use super::words::{Usage, Words, address, mask, number, of_family};
use super::{BsdArgs, Failure, Session};
use crate::config::address::{interface_address, network};
use crate::ids::Family;
use crate::model::api::Call;
use crate::model::op::{GreKeys, InterfaceChange, Op};
use crate::model::spec::{
    AdvertiseSpec, Dscp, EcnMode, EncapLimit, MssClamp, OuterDf, PERIOD, ProbeSpec, Remote,
    ReversePath, Timing, UdpSpec,
};
use crate::model::view::InterfaceView;
use print::render;

mod print;

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  ifconfig gre0 create                 a GRE interface; `gre create` picks the number
  ifconfig gre0 12.1 12.2 link1        inner addresses 12.0.0.1 and 12.0.0.2
  ifconfig gre0 tunnel 10.25 10.163    outer addresses 10.0.0.25 and 10.0.0.163
  ifconfig gre0                        its state
  ifconfig en0 10.1                    10.0.0.1/8 on a port (classful without a mask)
  ifconfig en1 203.0.113.1 netmask 255.255.255.0
  ifconfig en1 203.0.113.9/24 alias    one more address; -alias takes it away
  ifconfig en0 inet6 2001:db8::1/64    an IPv6 address, beside those that are there
  ifconfig gre0 inet6 fd00:12::1/64    IPv6 inside the tunnel
  ifconfig gre1 tunnel 2001:db8::1 2001:db8:9::2
                                       a tunnel over IPv6
  ifconfig en0.20 create               VLAN 20 of port en0
  ifconfig gre0 mtu 1400 ttl 32 dscp copy df set
  ifconfig gre0 key 42 checksum        GRE with a key and checksums
  ifconfig gre0 keepalive 10 3         down when three keepalives in a row are lost
  ifconfig gre0 probe to 12.2 1        asks 12.0.0.2 each second, through the tunnel
  ifconfig gre0 tunnel 10.25 far.example.net
                                       wherever that host is
  ifconfig gre0 tunnel 10.25 any key 7 learn
                                       wherever packets with the key come from
  ifconfig gre0 tunnel 10.25 any nbma 12.2 10.163 nbma 12.3 10.164 12.1
                                       several far ends
  ifconfig gre0 deletetunnel           no outer addresses
  ifconfig gre0 destroy                away with it and all that pointed at it
  ifconfig -l                          names; -a, or nothing: all of them

Words:
  [inet] ADDR[/LEN] [DEST] [netmask M | prefixlen N] [alias | -alias | delete]
  inet6 ADDR[/LEN] [prefixlen N] [alias | -alias | delete]
                   /64 unless it says otherwise
  tunnel SRC DST   deletetunnel   create   destroy   up   down
                   DST: an address, the name of a host, or any (with learn)
  nbma INNER OUTER   -nbma INNER       one of several far ends (multipoint GRE,
                                       behind tunnel SRC any)
  learn | -learn   a packet with the tunnel's key moves its far end to where it
                   came from; a key is no secret. With several far ends: its
                   inner source becomes one more (allow says which may)
  resolve N        seconds after which a host name is looked up again
  link0 | -link0   GRE or MOBILE encapsulation (gre)
  link1 | -link1   underlay route by the outer destination, or by the address
                   with its last bit toggled
  mtu N            0: by itself from the underlay
  ttl N  dscp copy|uniform|N  df copy|set
                                       of the outer header
  ecn normal|compatibility             of the outer header: copied, or Not-ECT
  mss auto|N|off                       limit on TCP segments through the tunnel
  pmtu | -pmtu     learn the path's MTU from ICMP about the tunnel's packets, or
                   do not listen to it
  reassemble | -reassemble             take its packets in fragments, too, or not
  key N [OUT]   -key                   GRE key, both ways or received and sent
  checksum   -checksum                 send GRE checksums (always verified)
  udp PORT [from PORT|flow] [sum|nosum]   -udp
                                       UDP around it: GRE (RFC 8086) or, of
                                       ipip, IP; source port by flow, checksum
  encaplimit N|off                     limit on nesting, over IPv6
  sequence   -sequence                 send GRE sequence numbers
  allow NET ...   -allow               inner sources that a tunnel lets out
  advertise [interval S] [lifetime S] [valid S] [preferred S]   -advertise
                                       router advertisements (IPv6), ports and VLANs
  rpf strict|loose|off                 sources have to be reached by the
                                       interface, or by any
  port IF   -port                      where a tunnel's packets have to arrive
  resync N                             seconds of packets out of sequence after
                                       which the far end has begun anew; 0: never
  keepalive [INTERVAL [RETRIES [UPAFTER]]]   -keepalive
                   GRE keepalives (over IPv4): every INTERVAL (10: seconds, 500ms);
                   after RETRIES (3) lost in a row the far end is gone and so are
                   the routes; after UPAFTER (2) answered in a row both are back
  probe [to ADDR] [INTERVAL [RETRIES [UPAFTER]]] [nosize]   -probe
                   the same by echo requests through the tunnel, of any kind, to
                   ADDR or the inner far end; and, unless nosize, the largest
                   packet that passes, looked for each minute";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    /// `-a`, or a name: their state.
    Show { name: Option<String> },
    /// `-l`: names.
    List,
    /// Changes. `picks` is set when the name comes from the gateway.
    Change { ops: Vec<Op>, picks: bool },
}

/// Runs a line.
pub fn run(args: &BsdArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    match parse(&args.words)? {
        Command::Show { name } => show(name, args.json, session),
        Command::List => {
            let views: Vec<InterfaceView> = session.call(Call::ShowInterfaces { name: None })?;
            let names: Vec<String> = views.into_iter().map(|v| v.name).collect();
            if args.json {
                return session.print_json(&names);
            }
            session.print(&format!("{}\n", names.join(" ")))
        }
        Command::Change { ops, picks } => {
            let outcome = session.transact(ops)?;
            match outcome.created.first() {
                _ if args.json => session.print_json(&outcome),
                Some(name) if picks => session.print(&format!("{name}\n")),
                _ => Ok(()),
            }
        }
    }
}

fn show(name: Option<String>, json: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let views: Vec<InterfaceView> = session.call(Call::ShowInterfaces { name })?;
    if json {
        return session.print_json(&views);
    }
    session.print(&views.iter().map(render).collect::<String>())
}

fn parse(words: &[String]) -> Result<Command, Usage> {
    let Some((name, rest)) = words.split_first() else { return Ok(Command::Show { name: None }) };
    match (name.as_str(), rest) {
        ("-a", []) => Ok(Command::Show { name: None }),
        ("-l", []) => Ok(Command::List),
        ("-a" | "-l", [more, ..]) => {
            Err(Usage::Unknown { word: more.clone(), expected: "nothing after -a or -l" })
        }
        (option, _) if option.starts_with('-') => {
            let expected = "an interface, -a or -l";
            Err(Usage::Unknown { word: option.to_owned(), expected })
        }
        (_, []) => Ok(Command::Show { name: Some(name.clone()) }),
        (_, rest) => change(name, rest),
    }
}

/// What the words about one interface add up to.
#[derive(Default)]
struct Change {
    create: bool,
    destroy: bool,
    /// `inet` or `inet6` before an address.
    family: Option<Family>,
    address: Option<(IpAddr, Option<u8>)>,
    peer: Option<IpAddr>,
    prefix_len: Option<u8>,
    netmask: bool,
    alias: bool,
    delete: bool,
    tunnel: Option<(IpAddr, Option<Remote>)>,
    clear_tunnel: bool,
    /// Inner addresses of far ends, and the outer address each has from now on.
    nbma: Vec<(IpAddr, Option<IpAddr>)>,
    interface: InterfaceChange,
    gre: Gre,
    keepalive: Option<Option<Timing>>,
    probe: Option<Option<ProbeSpec>>,
    /// `-udp` is `Some(None)`.
    udp: Option<Option<UdpSpec>>,
    door: Door,
    /// `-advertise` is `Some(None)`.
    advertise: Option<Option<AdvertiseSpec>>,
}

/// What the words say of packets that come in.
#[derive(Clone, Default, PartialEq)]
struct Door {
    rpf: Option<ReversePath>,
    allow: Option<Vec<IpNet>>,
    port: Option<String>,
}

/// What the words say of the GRE header.
#[derive(Clone, Copy, Default, PartialEq)]
struct Gre {
    checksum: Option<bool>,
    key: Option<GreKeys>,
    sequence: Option<bool>,
    resync: Option<u16>,
}

fn change(name: &str, rest: &[String]) -> Result<Command, Usage> {
    let mut change = Change::default();
    let mut words = Words::new(rest);
    while let Some(word) = words.next() {
        change.take(word, &mut words)?;
    }
    let picks = change.create && !name.ends_with(|c: char| c.is_ascii_digit());
    let ops = change.ops(name)?;
    if picks && ops.len() > 1 {
        return Err(Usage::Conflict(
            "`create` without a number picks the name: set the interface up in a second command",
        ));
    }
    match ops.is_empty() {
        // `ifconfig gre0 inet`: shows it, as BSD does.
        true => Ok(Command::Show { name: Some(name.to_owned()) }),
        false => Ok(Command::Change { ops, picks }),
    }
}

impl Change {
    /// Takes one word and what belongs to it.
    fn take(&mut self, word: &str, words: &mut Words<'_>) -> Result<(), Usage> {
        match word {
            "inet" => self.family = Some(Family::V4),
            "inet6" => self.family = Some(Family::V6),
            "create" => self.create = true,
            "destroy" => self.destroy = true,
            "alias" => self.alias = true,
            "-alias" | "delete" => self.delete = true,
            "up" => self.interface.up = Some(true),
            "down" => self.interface.up = Some(false),
            "link0" => self.interface.link0 = Some(true),
            "-link0" => self.interface.link0 = Some(false),
            "link1" => self.interface.link1 = Some(true),
            "-link1" => self.interface.link1 = Some(false),
            "deletetunnel" => self.clear_tunnel = true,
            "tunnel" => {
                let local = address(words.after(word, "the outer source and destination")?)?;
                let remote = remote(words.after("tunnel SRC", "the outer destination")?)?;
                self.tunnel = Some((local, remote));
            }
            "netmask" => {
                self.prefix_len = Some(mask(words.after(word, "a mask")?)?);
                self.netmask = true;
            }
            "prefixlen" => self.prefix_len = Some(prefix_len(words)?),
            "mtu" => {
                self.interface.mtu = Some(words.number(word, "a number of bytes up to 65535")?)
            }
            "ttl" => self.interface.ttl = Some(words.number(word, "a number from 1 to 255")?),
            "dscp" => self.interface.dscp = Some(dscp(words.after(word, DSCP)?)?),
            "ecn" => self.interface.ecn = Some(ecn(words.after(word, ECN)?)?),
            "df" => self.interface.df = Some(df(words.after(word, DF)?)?),
            "pmtu" => self.interface.pmtu = Some(true),
            "-pmtu" => self.interface.pmtu = Some(false),
            "nbma" => {
                let inner = address(words.after(word, "an inner and an outer address")?)?;
                let outer = address(words.after("nbma INNER", "its outer address")?)?;
                self.nbma.push((inner, Some(outer)));
            }
            "-nbma" => self.nbma.push((address(words.after(word, "an inner address")?)?, None)),
            "learn" => self.interface.learn = Some(true),
            "-learn" => self.interface.learn = Some(false),
            "resolve" => {
                let expected = "a number of seconds from 5 to 3600";
                self.interface.resolve_interval = Some(words.number(word, expected)?)
            }
            "reassemble" => self.interface.reassemble = Some(true),
            "-reassemble" => self.interface.reassemble = Some(false),
            "mss" => self.interface.mss = Some(mss(words.after(word, MSS)?)?),
            "encaplimit" => {
                self.interface.encaplimit = Some(encaplimit(words.after(word, LIMIT)?)?)
            }
            "udp" => self.udp = Some(Some(udp(words)?)),
            "-udp" => self.udp = Some(None),
            "key" => self.gre.key = Some(keys(words)?),
            "-key" => self.gre.key = Some(GreKeys::default()),
            "checksum" => self.gre.checksum = Some(true),
            "-checksum" => self.gre.checksum = Some(false),
            "sequence" => self.gre.sequence = Some(true),
            "-sequence" => self.gre.sequence = Some(false),
            "advertise" => self.advertise = Some(Some(advertise(words)?)),
            "-advertise" => self.advertise = Some(None),
            "rpf" => self.door.rpf = Some(rpf(words.after(word, RPF)?)?),
            "allow" => self.door.allow = Some(networks(words)?),
            "-allow" => self.door.allow = Some(Vec::new()),
            "port" => self.door.port = Some(words.after(word, "a port or VLAN")?.to_owned()),
            "-port" => self.door.port = Some(String::new()),
            "resync" => self.gre.resync = Some(words.number(word, "a number of seconds")?),
            "keepalive" => self.keepalive = Some(Some(timing(words)?)),
            "-keepalive" => self.keepalive = Some(None),
            "probe" => self.probe = Some(Some(probe(words)?)),
            "-probe" => self.probe = Some(None),
            _ => return self.take_address(word),
        }
        Ok(())
    }

    /// A word that is no keyword: own address first, then the far end.
    fn take_address(&mut self, word: &str) -> Result<(), Usage> {
        if !is_address(word) {
            let expected = "an address, or one of the words in `ifconfig --help`";
            return Err(Usage::Unknown { word: word.to_owned(), expected });
        }
        of_family(word, self.family)?;
        if self.address.is_none() {
            let own = address(word.split('/').next().unwrap_or(word))?;
            let len = match word.contains('/') {
                true => Some(interface_address(word)?.prefix_len()),
                false => None,
            };
            self.address = Some((own, len));
        } else if self.peer.is_none() {
            self.peer = Some(address(word)?);
        } else {
            let expected = "two addresses at most: own and far end";
            return Err(Usage::Unknown { word: word.to_owned(), expected });
        }
        Ok(())
    }

    fn ops(self, name: &str) -> Result<Vec<Op>, Usage> {
        let of = || name.to_owned();
        let mut ops = Vec::new();
        if self.create {
            ops.push(Op::Create { name: of() });
        }
        let mut inside = Vec::new();
        match self.address {
            None if self.peer.is_some()
                || self.prefix_len.is_some()
                || self.alias
                || self.delete =>
            {
                return Err(Usage::Conflict("a mask, `alias` or `delete` needs an address"));
            }
            None => {}
            Some((_, Some(_))) if self.prefix_len.is_some() => {
                return Err(Usage::Conflict("the prefix length is given twice"));
            }
            Some((IpAddr::V6(_), _)) if self.netmask => {
                return Err(Usage::Conflict("an IPv6 address has a `prefixlen`, not a `netmask`"));
            }
            Some((IpAddr::V4(_), _)) if self.prefix_len.is_some_and(|len| len > 32) => {
                return Err(Usage::Conflict("the prefix length of an IPv4 address is 32 at most"));
            }
            Some(_) if self.alias && self.delete => {
                return Err(Usage::Conflict("`alias` and `-alias` exclude each other"));
            }
            Some((address, _)) if self.delete => {
                inside.push(Op::DeleteAddress { name: of(), address });
            }
            Some((address, len)) => {
                let (prefix_len, peer, alias) = (len.or(self.prefix_len), self.peer, self.alias);
                inside.push(Op::SetAddress { name: of(), address, prefix_len, peer, alias });
            }
        }
        match &self.tunnel {
            Some(_) if self.clear_tunnel => {
                return Err(Usage::Conflict("`tunnel` and `deletetunnel` exclude each other"));
            }
            Some((local, remote)) => {
                let (local, remote) = (*local, remote.clone());
                ops.push(Op::SetEndpoints { name: of(), local, remote });
            }
            None if self.clear_tunnel => ops.push(Op::ClearEndpoints { name: of() }),
            None => {}
        }
        // A hub's own address has no far end beside it: what it is comes first.
        if self.nbma.is_empty() {
            let at = ops.len() - usize::from(self.tunnel.is_some() || self.clear_tunnel);
            ops.splice(at..at, inside);
        } else {
            let far_end = |(inner, outer)| Op::SetNbma { name: of(), inner, outer };
            ops.extend(self.nbma.iter().copied().map(far_end));
            ops.extend(inside);
        }
        ops.extend(self.gre_options(name));
        ops.extend(self.keepalive.map(|keepalive| Op::SetKeepalive { name: of(), keepalive }));
        ops.extend(self.probe.map(|probe| Op::SetProbe { name: of(), probe }));
        ops.extend(self.udp.map(|udp| Op::SetUdp { name: of(), udp }));
        ops.extend(self.door(name));
        ops.extend(self.advertise.map(|advertise| Op::SetAdvertise { name: of(), advertise }));
        ops.extend(self.numbers(name));
        if self.destroy {
            if !ops.is_empty() {
                return Err(Usage::Conflict("`destroy` stands alone"));
            }
            ops.push(Op::Destroy { name: of() });
        }
        Ok(ops)
    }

    fn gre_options(&self, name: &str) -> Option<Op> {
        let Gre { checksum, key, sequence, resync } = self.gre;
        (self.gre != Gre::default()).then(|| {
            let name = name.to_owned();
            Op::SetGre { name, checksum, key, sequence, sequence_resync: resync }
        })
    }

    fn door(&self, name: &str) -> Option<Op> {
        let Door { rpf, allow, port } = self.door.clone();
        (self.door != Door::default()).then(|| Op::SetDoor {
            name: name.to_owned(),
            rpf,
            allow,
            port,
        })
    }

    /// Last of the changes, so that `down` holds against an address, which
    /// brings the interface up.
    fn numbers(&self, name: &str) -> Option<Op> {
        let change = self.interface;
        (change != InterfaceChange::default())
            .then(|| Op::SetInterface { name: name.to_owned(), change })
    }
}

/// An outer destination: an address, the name of a host, or `any`.
fn remote(word: &str) -> Result<Option<Remote>, Usage> {
    if word == "any" {
        return Ok(None);
    }
    match word.parse() {
        Ok(name) => Ok(Some(Remote::Name(name))),
        Err(_) => Ok(Some(address(word)?.into())),
    }
}

/// Begins like an address or a network.
fn is_address(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) || word.contains(':')
}

const DSCP: &str = "`copy`, `uniform` or a number from 0 to 63";
const ECN: &str = "`normal` or `compatibility`";
const DF: &str = "`copy` or `set`";
const MSS: &str = "`auto`, `off` or a number of bytes";
const LIMIT: &str = "`off` or a number from 0 to 255";
const PORT: &str = "a port from 1 to 65535";
const RPF: &str = "`strict`, `loose` or `off`";
const KEY: &str = "a key: a number of 32 bits, such as 42 or 0x2a";

/// Router advertisements: what follows of their four numbers.
fn advertise(words: &mut Words<'_>) -> Result<AdvertiseSpec, Usage> {
    let mut spec = AdvertiseSpec::default();
    while let Some(word @ ("interval" | "lifetime" | "valid" | "preferred")) = words.peek() {
        words.next();
        let expected = "a number of seconds";
        match word {
            "interval" => spec.interval = words.number(word, expected)?,
            "lifetime" => spec.lifetime = words.number(word, expected)?,
            "valid" => spec.valid = words.number(word, expected)?,
            _ => spec.preferred = words.number(word, expected)?,
        }
    }
    Ok(spec)
}

fn prefix_len(words: &mut Words<'_>) -> Result<u8, Usage> {
    let expected = "a prefix length from 0 to 32, or to 128 for IPv6";
    let text = words.after("prefixlen", expected)?;
    let len = number(text, expected)?;
    if len > 128 { Err(Usage::Bad { value: text.to_owned(), expected }) } else { Ok(len) }
}

/// One key for both ways, or those of packets received and sent.
fn keys(words: &mut Words<'_>) -> Result<GreKeys, Usage> {
    let text = words.after("key", KEY)?;
    let inward = key(text).ok_or(Usage::Bad { value: text.to_owned(), expected: KEY })?;
    let outward = words.peek().and_then(key);
    if outward.is_some() {
        words.next();
    }
    Ok(GreKeys { inward: Some(inward), outward: outward.or(Some(inward)) })
}

/// Interval, retries, answers until up: as many of them as there are.
fn timing(words: &mut Words<'_>) -> Result<Timing, Usage> {
    let mut timing = Timing::default();
    // What begins with a digit and is no address.
    let is_number = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit()) && !word.contains(['.', ':', '/'])
    };
    let mut next = || match words.peek() {
        Some(word) if is_number(word) => words.next(),
        _ => None,
    };
    if let Some(text) = next() {
        let bad = |_| Usage::Bad { value: text.to_owned(), expected: PERIOD };
        timing.interval = text.parse().map_err(bad)?;
    }
    for field in [&mut timing.retries, &mut timing.up_after] {
        if let Some(text) = next() {
            *field = number(text, "a number from 1 to 255")?;
        }
    }
    Ok(timing)
}

/// Whom to ask, how often, and whether for sizes.
fn probe(words: &mut Words<'_>) -> Result<ProbeSpec, Usage> {
    let to = match words.peek() {
        Some("to") => {
            words.next();
            Some(address(words.after("to", "the address to probe")?)?)
        }
        _ => None,
    };
    let timing = timing(words)?;
    let size = words.peek() != Some("nosize");
    if !size {
        words.next();
    }
    Ok(ProbeSpec { timing, to, size })
}

fn key(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u32::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    }
}

/// `PORT [from PORT|flow] [sum|nosum]`.
fn udp(words: &mut Words<'_>) -> Result<UdpSpec, Usage> {
    let mut udp = UdpSpec { port: words.number("udp", PORT)?, source: None, checksum: true };
    while let Some(word @ ("from" | "sum" | "nosum")) = words.peek() {
        words.next();
        match word {
            "from" if words.peek() == Some("flow") => {
                words.next();
                udp.source = None;
            }
            "from" => udp.source = Some(words.number(word, PORT)?),
            word => udp.checksum = word == "sum",
        }
    }
    Ok(udp)
}

fn encaplimit(text: &str) -> Result<EncapLimit, Usage> {
    match text {
        "off" => Ok(EncapLimit::Off),
        _ => number(text, LIMIT).map(EncapLimit::Fixed),
    }
}

fn rpf(text: &str) -> Result<ReversePath, Usage> {
    match text {
        "off" => Ok(ReversePath::Off),
        "loose" => Ok(ReversePath::Loose),
        "strict" => Ok(ReversePath::Strict),
        _ => Err(Usage::Bad { value: text.to_owned(), expected: RPF }),
    }
}

/// All networks that follow, one at least.
fn networks(words: &mut Words<'_>) -> Result<Vec<IpNet>, Usage> {
    let mut nets = vec![network(words.after("allow", "a network such as 10.0.0.25/32")?)?];
    while let Some(word) = words.peek().filter(|word| is_address(word)) {
        nets.push(network(word)?);
        words.next();
    }
    Ok(nets)
}

fn dscp(text: &str) -> Result<Dscp, Usage> {
    match text {
        "copy" => Ok(Dscp::Copy),
        "uniform" => Ok(Dscp::Uniform),
        _ => number(text, DSCP).map(Dscp::Fixed),
    }
}

fn ecn(text: &str) -> Result<EcnMode, Usage> {
    match text {
        "normal" => Ok(EcnMode::Normal),
        "compatibility" => Ok(EcnMode::Compatibility),
        _ => Err(Usage::Bad { value: text.to_owned(), expected: ECN }),
    }
}

fn df(text: &str) -> Result<OuterDf, Usage> {
    match text {
        "copy" => Ok(OuterDf::Copy),
        "set" => Ok(OuterDf::Set),
        _ => Err(Usage::Bad { value: text.to_owned(), expected: DF }),
    }
}

fn mss(text: &str) -> Result<MssClamp, Usage> {
    match text {
        "auto" => Ok(MssClamp::Auto),
        "off" => Ok(MssClamp::Off),
        _ => number(text, MSS).map(MssClamp::Fixed),
    }
}

#[cfg(test)]
#[path = "ifconfig_tests.rs"]
mod tests;
