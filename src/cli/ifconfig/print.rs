//! Interfaces as NetBSD's ifconfig prints them.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::view::{
    AddressView, CheckView, FarView, InterfaceView, LivenessView, OuterPathView, PathCounts,
    RttView, TunnelView,
};

/// One interface.
pub(super) fn render(view: &InterfaceView) -> String {
    let flags = view.flags.join(",");
    let mut out =
        format!("{}: flags=0x{:x}<{flags}> mtu {}\n", view.name, flag_bits(&view.flags), view.mtu);
    if let Some(mac) = view.mac {
        line(&mut out, format_args!("address: {mac}"));
    }
    if let Some(tunnel) = &view.tunnel {
        render_tunnel(&mut out, tunnel);
    }
    if let Some(advertise) = view.advertise {
        line(&mut out, format_args!("advertise {advertise}"));
    }
    if view.rpf != "off" {
        line(&mut out, format_args!("rpf {}", view.rpf));
    }
    for address in &view.addresses {
        line(&mut out, format_args!("{}", inet(&view.name, address)));
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\t{text}");
}

pub(super) fn render_tunnel(out: &mut String, tunnel: &TunnelView) {
    if let (Some(local), Some(remote)) = (tunnel.local, tunnel.remote) {
        let inet = if local.is_ipv6() { "inet6" } else { "inet" };
        line(out, format_args!("tunnel {inet} {local} --> {remote}"));
    } else if let (Some(local), Some(_)) = (tunnel.local, &tunnel.far) {
        let inet = if local.is_ipv6() { "inet6" } else { "inet" };
        line(out, format_args!("tunnel {inet} {local} --> any"));
    }
    if let Some(far) = &tunnel.far {
        render_far(out, far);
    }
    line(out, format_args!("outer ttl {} dscp {} df {}", tunnel.ttl, tunnel.dscp, tunnel.df));
    if tunnel.ecn != "normal" {
        line(out, format_args!("ecn {}", tunnel.ecn));
    }
    if tunnel.mss != "off" {
        line(out, format_args!("mss {}", tunnel.mss));
    }
    if !tunnel.options.is_empty() {
        line(out, format_args!("gre {}", tunnel.options));
    }
    if !tunnel.udp.is_empty() {
        line(out, format_args!("udp {}", tunnel.udp));
    }
    if tunnel.encaplimit != "off" {
        line(out, format_args!("encaplimit {}", tunnel.encaplimit));
    }
    if let Some(port) = &tunnel.port {
        line(out, format_args!("port {port}"));
    }
    if !tunnel.allow.is_empty() {
        let nets: Vec<String> = tunnel.allow.iter().map(IpNet::to_string).collect();
        line(out, format_args!("allow {}", nets.join(" ")));
    }
    render_path(out, tunnel);
    if let Some(underlay) = &tunnel.underlay {
        let (route, via) = (underlay.route, underlay.next_hop);
        let (dev, state) = (&underlay.interface, &underlay.state);
        line(out, format_args!("underlay {route} via {via} dev {dev} ({state})"));
    }
    if let Some(reason) = &tunnel.reason {
        line(out, format_args!("not running: {reason}"));
    }
    if let Some(liveness) = &tunnel.liveness {
        render_liveness(out, liveness);
    }
}

/// How a far end that moves is found, and what came of it.
pub(super) fn render_far(out: &mut String, far: &FarView) {
    let FarView { name, found, moves, refused } = far;
    let how = match (name, found) {
        (Some(name), true) => format!("address of {name}"),
        (Some(name), false) => format!("address of {name}, not known"),
        (None, true) => "learned".to_owned(),
        (None, false) => "to be learned".to_owned(),
    };
    line(out, format_args!("far end {how} (moves {moves} refused {refused})"));
}

pub(super) fn render_liveness(out: &mut String, view: &LivenessView) {
    let LivenessView { state, seconds, transitions, keepalive, probe } = view;
    line(out, format_args!("far end {state} for {seconds}s, {transitions} changes"));
    if let Some(check) = keepalive {
        render_check(out, "keepalive", check);
    }
    if let Some(probe) = probe {
        render_check(out, &format!("probe to {}", probe.to), &probe.check);
        if let Some(largest) = probe.largest {
            line(out, format_args!("  largest packet that passes {largest}"));
        }
    }
}

fn render_check(out: &mut String, what: &str, check: &CheckView) {
    let CheckView { interval, retries, up_after, state, sent, received, lost, rtt } = check;
    line(
        out,
        format_args!(
            "{what} {interval} {retries} {up_after}: {state}, sent {sent} received {received} \
             lost {lost}"
        ),
    );
    if let Some(rtt) = rtt {
        let ms = |us: u64| us as f64 / 1e3;
        let RttView { last_us, min_us, mean_us, max_us, jitter_us } = *rtt;
        line(
            out,
            format_args!(
                "  rtt {:.3} ms, min/avg/max/jitter {:.3}/{:.3}/{:.3}/{:.3} ms",
                ms(last_us),
                ms(min_us),
                ms(mean_us),
                ms(max_us),
                ms(jitter_us)
            ),
        );
    }
}

/// What ICMP told of the path, if it told anything or is not to.
fn render_path(out: &mut String, tunnel: &TunnelView) {
    let OuterPathView { mtu, unreachable, counts } = tunnel.path;
    if !tunnel.pmtu {
        line(out, format_args!("-pmtu"));
    }
    if !tunnel.reassemble {
        line(out, format_args!("-reassemble"));
    }
    if counts != PathCounts::default() || mtu.is_some() {
        let mtu = mtu.map_or("by the link".to_owned(), |mtu| mtu.to_string());
        let now = if unreachable { ", not reached" } else { "" };
        let PathCounts { learned, refused, relayed } = counts;
        line(
            out,
            format_args!(
                "path mtu {mtu}{now} (ICMP: learned {learned} refused {refused} relayed {relayed})"
            ),
        );
    }
}

pub(super) fn inet(interface: &str, view: &AddressView) -> String {
    if let IpAddr::V6(address) = view.address {
        let link_local = address.is_unicast_link_local();
        let zone = if link_local { format!("%{interface}") } else { String::new() };
        return format!("inet6 {address}{zone} prefixlen {}", view.prefix_len);
    }
    let mask = u32::MAX.checked_shl(32 - u32::from(view.prefix_len)).unwrap_or(0);
    let mut text = format!("inet {}", view.address);
    if let Some(peer) = view.peer {
        text += &format!(" --> {peer}");
    }
    text += &format!(" netmask 0x{mask:08x}");
    if let Some(broadcast) = view.broadcast {
        text += &format!(" broadcast {broadcast}");
    }
    text
}

/// The number BSD prints for the flags (`<net/if.h>`).
fn flag_bits(flags: &[String]) -> u32 {
    let bit = |flag: &String| match flag.as_str() {
        "UP" => 0x1,
        "BROADCAST" => 0x2,
        "POINTOPOINT" => 0x10,
        "RUNNING" => 0x40,
        "LINK0" => 0x1000,
        "LINK1" => 0x2000,
        "MULTICAST" => 0x8000,
        _ => 0,
    };
    flags.iter().map(bit).fold(0, |bits, bit| bits | bit)
}
