//! Names of interfaces, taken apart once: everything inside `net` is keyed by
//! a small [`Key`] whose order is the order interfaces are shown in (ports,
//! VLANs, tunnels).

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::ids::PortId;
use crate::model::ip;
use crate::model::spec::TunnelKind;

/// An interface by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// A port.
    Port(PortId),
    /// `PORT.VLAN`.
    Vlan(PortId, u16),
    /// `greN`.
    Gre(u32),
    /// `ipipN`.
    Ipip(u32),
    /// `greN:ADDRESS`: the way of a multipoint tunnel to one outer address. Made
    /// from its `nbma` and by nobody else.
    Peer(u32, IpAddr),
}

impl Key {
    /// The greatest of all.
    pub(super) const LAST: Key = Key::Peer(u32::MAX, ip::LAST);

    /// The tunnel of a kind and number.
    pub(super) fn tunnel(kind: TunnelKind, number: u32) -> Key {
        match kind {
            TunnelKind::Gre => Key::Gre(number),
            TunnelKind::Ipip => Key::Ipip(number),
        }
    }

    /// What a tunnel wraps in; `None` for ports and VLANs.
    pub(super) fn tunnel_kind(self) -> Option<TunnelKind> {
        match self {
            Key::Gre(_) | Key::Peer(..) => Some(TunnelKind::Gre),
            Key::Ipip(_) => Some(TunnelKind::Ipip),
            Key::Port(_) | Key::Vlan(..) => None,
        }
    }

    /// True for ports and VLANs.
    pub(super) fn is_link(self) -> bool {
        self.tunnel_kind().is_none()
    }

    /// The port below, for links.
    pub(super) fn port(self) -> Option<(PortId, u16)> {
        match self {
            Key::Port(port) => Some((port, 0)),
            Key::Vlan(port, vlan) => Some((port, vlan)),
            Key::Gre(_) | Key::Ipip(_) | Key::Peer(..) => None,
        }
    }

    /// The link of a port and a VLAN, 0 being the port itself.
    pub(super) fn link(port: PortId, vlan: u16) -> Key {
        if vlan == 0 { Key::Port(port) } else { Key::Vlan(port, vlan) }
    }

    /// The multipoint tunnel that this is a part of.
    pub(super) fn whole(self) -> Option<Key> {
        match self {
            Key::Peer(number, _) => Some(Key::Gre(number)),
            _ => None,
        }
    }
}

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// One interface.
    Key(Key),
    /// `gre`, `ipip`: the next free one of this kind.
    Kind(TunnelKind),
}

/// Names of the ports, and the grammar of all others.
#[derive(Debug)]
pub(super) struct Names {
    ports: Vec<String>,
}

impl Names {
    /// Ports by name, in [`PortId`] order.
    pub(super) fn new(ports: Vec<String>) -> Names {
        Names { ports }
    }

    /// What a name says; `None` if it is none we could ever have.
    pub(super) fn parse(&self, name: &str) -> Option<Named> {
        if let Some(port) = self.port(name) {
            return Some(Named::Key(Key::Port(port)));
        }
        if let Some((whole, outer)) = name.split_once(':') {
            let number = number(whole.strip_prefix(TunnelKind::Gre.prefix())?)?;
            return Some(Named::Key(Key::Peer(number, outer.parse().ok()?)));
        }
        if let Some((port, vlan)) = name.split_once('.') {
            let vlan = u16::try_from(number(vlan)?).ok().filter(|id| (1..=4094).contains(id))?;
            return Some(Named::Key(Key::Vlan(self.port(port)?, vlan)));
        }
        // "ipip" first would do as well: neither prefix begins the other.
        let kind = [TunnelKind::Gre, TunnelKind::Ipip]
            .into_iter()
            .find(|kind| name.starts_with(kind.prefix()))?;
        match &name[kind.prefix().len()..] {
            "" => Some(Named::Kind(kind)),
            digits => Some(Named::Key(Key::tunnel(kind, number(digits)?))),
        }
    }

    /// The interface of a name.
    pub(super) fn key(&self, name: &str) -> Option<Key> {
        match self.parse(name)? {
            Named::Key(key) => Some(key),
            Named::Kind(_) => None,
        }
    }

    /// The name of an interface.
    pub(super) fn name(&self, key: Key) -> String {
        let port = |port: PortId| self.ports.get(port.index()).map_or("?", String::as_str);
        match key {
            Key::Port(id) => port(id).to_owned(),
            Key::Vlan(id, vlan) => format!("{}.{vlan}", port(id)),
            Key::Gre(number) => format!("gre{number}"),
            Key::Ipip(number) => format!("ipip{number}"),
            Key::Peer(number, outer) => format!("gre{number}:{outer}"),
        }
    }

    fn port(&self, name: &str) -> Option<PortId> {
        let at = self.ports.iter().position(|port| port == name)?;
        u8::try_from(at).ok().map(PortId)
    }
}

/// A number as we would print it: no sign, no leading zero.
fn number(digits: &str) -> Option<u32> {
    let canonical = digits == "0" || !digits.starts_with('0');
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if canonical && all_digits { digits.parse().ok() } else { None }
}

/// Numbers in use, as ranges, so that the next free one is found at once.
#[derive(Debug, Default)]
pub(super) struct Numbers(BTreeMap<u32, u32>);

impl Numbers {
    /// The smallest number not in use.
    pub(super) fn next_free(&self) -> u32 {
        match self.0.first_key_value() {
            Some((0, last)) => last.saturating_add(1),
            _ => 0,
        }
    }

    /// Marks a free number as used.
    pub(super) fn take(&mut self, number: u32) {
        let mut range = (number, number);
        if let Some((&first, &last)) = self.0.range(..number).next_back()
            && last.checked_add(1) == Some(number)
        {
            range.0 = first;
        }
        if let Some(after) = number.checked_add(1)
            && let Some(last) = self.0.remove(&after)
        {
            range.1 = last;
        }
        self.0.insert(range.0, range.1);
    }

    /// Marks a used number as free.
    pub(super) fn give_back(&mut self, number: u32) {
        let Some((&first, &last)) = self.0.range(..=number).next_back() else { return };
        if number > last {
            return;
        }
        self.0.remove(&first);
        if first < number {
            self.0.insert(first, number - 1);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed() {
        let names = Names::new(vec!["en0".into(), "en1".into()]);
        for text in [
            "en0",
            "en1",
            "en0.1",
            "en1.4094",
            "gre0",
            "gre17",
            "ipip0",
            "gre1:192.0.2.7",
            "gre0:2001:db8::7",
        ] {
            let key = names.key(text).expect("a name");
            assert_eq!(names.name(key), text);
        }
        assert_eq!(names.parse("gre"), Some(Named::Kind(TunnelKind::Gre)));
        assert_eq!(names.parse("ipip"), Some(Named::Kind(TunnelKind::Ipip)));
        for text in [
            "",
            "en2",
            "en0.0",
            "en0.4095",
            "en0.01",
            "en9.1",
            "gre00",
            "gre-1",
            "gre+1",
            "tun0",
            "ipip0:192.0.2.7",
            "gre0:",
        ] {
            assert_eq!(names.parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_next_free_number_is_the_smallest() {
        let mut numbers = Numbers::default();
        let mut used = std::collections::BTreeSet::new();
        // A fixed walk that takes and gives back in all orders.
        for step in 0u32..2000 {
            let number = step.wrapping_mul(2_654_435_761) >> 26;
            if used.remove(&number) {
                numbers.give_back(number);
            } else {
                used.insert(number);
                numbers.take(number);
            }
            let free = (0..).find(|n| !used.contains(n)).expect("some");
            assert_eq!(numbers.next_free(), free, "at step {step}");
        }
    }
}
