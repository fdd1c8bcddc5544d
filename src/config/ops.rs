//! A configuration as the changes that lead to it from bare ports: what a start
//! applies, as one transaction.

use ipnet::IpNet;
use smol_str::{SmolStr, format_smolstr};

use crate::model::op::{InterfaceChange, Located, Op};
use crate::model::spec::{AdvertiseSpec, FilterSpec, ReversePath, State};

/// The changes, in an order in which each finds what it needs, and where each is
/// written (`port[0].address[1]`). The ports themselves exist: a start opens
/// them.
pub fn ops(state: &State) -> Vec<Located> {
    let mut ops = Vec::new();
    let mut push = |at: SmolStr, op: Op| ops.push(Located { at, op });
    for (number, port) in state.ports.iter().enumerate() {
        push(format_smolstr!("port[{number}]"), interface(&port.name, port.mtu, port.up));
        if port.rpf != ReversePath::Off {
            push(format_smolstr!("port[{number}]"), door(&port.name, port.rpf));
        }
        if port.advertise.is_some() {
            push(format_smolstr!("port[{number}]"), advertise(&port.name, port.advertise));
        }
        for (place, net) in port.address.iter().enumerate() {
            push(format_smolstr!("port[{number}].address[{place}]"), address(&port.name, *net));
        }
    }
    for (number, vlan) in state.vlans.iter().enumerate() {
        push(format_smolstr!("vlan[{number}]"), Op::PutVlan { vlan: vlan.clone() });
    }
    for (number, tunnel) in state.tunnels.iter().enumerate() {
        push(format_smolstr!("tunnel[{number}]"), Op::PutTunnel { tunnel: tunnel.clone().into() });
    }
    // In order: a full table is looked through many times, and neighbours are
    // close to each other in all of them.
    let mut routes: Vec<_> = state.routes.iter().enumerate().map(|(n, r)| (r.to, n)).collect();
    routes.sort_unstable();
    for (_, number) in routes {
        let route = state.routes[number].clone();
        push(format_smolstr!("route[{number}]"), Op::PutRoute { route });
    }
    for (number, neighbour) in state.neighbours.iter().enumerate() {
        let op = Op::PutNeighbour { neighbour: neighbour.clone() };
        push(format_smolstr!("neighbour[{number}]"), op);
    }
    for (number, publish) in state.published.iter().enumerate() {
        push(format_smolstr!("arp[{number}]"), Op::Publish { publish: publish.clone() });
    }
    for (number, filter) in state.filters.iter().enumerate() {
        push(format_smolstr!("filter[{number}]"), add_filter(filter));
    }
    push("icmp".into(), Op::SetIcmp { icmp: state.icmp.clone() });
    ops
}

fn interface(name: &str, mtu: u16, up: bool) -> Op {
    let change = InterfaceChange { up: Some(up), mtu: Some(mtu), ..Default::default() };
    Op::SetInterface { name: name.to_owned(), change }
}

/// A rule behind those that are there.
pub(crate) fn add_filter(filter: &FilterSpec) -> Op {
    Op::AddFilter { filter: Box::new(filter.clone()), before: None }
}

/// How a port is advertised.
pub(crate) fn advertise(name: &str, advertise: Option<AdvertiseSpec>) -> Op {
    Op::SetAdvertise { name: name.to_owned(), advertise }
}

/// What a port asks of sources.
pub(crate) fn door(name: &str, rpf: ReversePath) -> Op {
    Op::SetDoor { name: name.to_owned(), rpf: Some(rpf), allow: None, port: None }
}

fn address(name: &str, net: IpNet) -> Op {
    Op::SetAddress {
        name: name.to_owned(),
        address: net.addr(),
        prefix_len: Some(net.prefix_len()),
        peer: None,
        alias: true,
    }
}
