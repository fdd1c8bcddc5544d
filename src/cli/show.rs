//! `greyhound show`: the running gateway's state, as tables or JSON.
//!
//! `--json` prints the objects of [`crate::model::view`] as they travel.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::route::path_words;
use super::table::{Table, dash};
use super::words::Usage;
use super::{Failure, Session};
use crate::model::api::Call;
use crate::model::view::{
    AddressView, ControlView, DropsView, FilterView, InterfaceView, NeighbourView, PortView,
    RouteView, TunnelView, WorkerView,
};

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    pub json: bool,
    /// What to show.
    #[command(subcommand)]
    pub what: What,
}

/// What there is to show.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Ports as hardware: device, link, queues, device counters
    Ports,
    /// Interfaces: flags, addresses, traffic
    Interfaces {
        /// Just this one
        name: Option<String>,
    },
    /// Tunnels: outer and inner addresses, underlay
    Tunnels {
        /// Just this one
        name: Option<String>,
    },
    /// Routes
    Routes {
        /// Those made by Greyhound itself too: own addresses, neighbours
        #[arg(long)]
        all: bool,
    },
    /// Neighbours and published entries
    Neighbours,
    /// Workers: cores, queues, how busy
    Workers,
    /// Drops by origin and reason, and where every packet went
    Drops,
    /// Packet filters in order, and what met them
    Filters,
    /// The running state as a configuration file
    Config,
}

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  greyhound show interfaces
  greyhound show tunnels gre0
  greyhound show routes --all
  greyhound show drops
  greyhound show filters
  greyhound show neighbours --json
  greyhound show config > gateway.toml    a file that reproduces the running state";

/// Shows it.
pub fn run(args: &ShowArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let json = args.json;
    match &args.what {
        What::Ports => list(Call::ShowPorts, ports, json, session),
        What::Interfaces { name } => {
            list(Call::ShowInterfaces { name: name.clone() }, interfaces, json, session)
        }
        What::Tunnels { name: None } => list(Call::ShowTunnels, tunnels, json, session),
        What::Tunnels { name: Some(name) } => tunnel(name, json, session),
        What::Routes { all } => list(Call::ShowRoutes { all: *all }, routes, json, session),
        What::Neighbours => list(Call::ShowNeighbours, neighbours, json, session),
        What::Workers => list(Call::ShowWorkers, workers, json, session),
        What::Drops => drops(json, session),
        What::Filters => list(Call::ShowFilters, filters, json, session),
        What::Config => config(json, session),
    }
}

fn list<T: DeserializeOwned + Serialize>(
    call: Call,
    render: fn(&[T]) -> String,
    json: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let views: Vec<T> = session.call(call)?;
    if json { session.print_json(&views) } else { session.print(&render(&views)) }
}

fn tunnel(name: &str, json: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let call = Call::ShowInterfaces { name: Some(name.to_owned()) };
    let views: Vec<InterfaceView> = session.call(call)?;
    if views.iter().any(|v| v.tunnel.is_none()) {
        let expected = "the name of a tunnel (`show tunnels` lists them)";
        return Err(Usage::Unknown { word: name.to_owned(), expected }.into());
    }
    if json { session.print_json(&views) } else { session.print(&tunnels(&views)) }
}

/// Prints drops and conservation; also `netstat -s`.
pub fn drops(json: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let view: DropsView = session.call(Call::ShowDrops)?;
    if json { session.print_json(&view) } else { session.print(&render_drops(&view)) }
}

fn config(json: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let text: String = session.call(Call::ShowConfig)?;
    if json { session.print_json(&text) } else { session.print(&text) }
}

fn ports(views: &[PortView]) -> String {
    let mut what =
        Table::new(&["PORT", "MAC", "LINK", ">MTU", "QUEUES", "DRIVER", "DEVICE", "OFFLOADS"]);
    let mut traffic = Table::new(&[
        "PORT",
        ">RX PACKETS",
        ">RX BYTES",
        ">TX PACKETS",
        ">TX BYTES",
        ">MISSED",
        ">RX ERRORS",
        ">NO BUFFER",
        ">TX ERRORS",
    ]);
    for view in views {
        let link = match (view.link_up, view.speed_mbps) {
            (false, _) => "down".to_owned(),
            (true, 0) => "up".to_owned(),
            (true, mbps) => format!("up {mbps} Mbit/s"),
        };
        let offloads =
            if view.offloads.is_empty() { "none".into() } else { view.offloads.join(" ") };
        what.row([
            view.name.clone(),
            view.mac.to_string(),
            link,
            view.mtu.to_string(),
            format!("{} rx {} tx", view.rx_queues, view.tx_queues),
            view.driver.clone(),
            view.device.clone(),
            offloads,
        ]);
        traffic.row([
            view.name.clone(),
            view.rx_packets.to_string(),
            view.rx_bytes.to_string(),
            view.tx_packets.to_string(),
            view.tx_bytes.to_string(),
            view.rx_missed.to_string(),
            view.rx_errors.to_string(),
            view.rx_no_buffer.to_string(),
            view.tx_errors.to_string(),
        ]);
    }
    match what.is_empty() {
        true => what.render("no ports"),
        false => format!("{}\n{}", what.render(""), traffic.render("")),
    }
}

/// Also what the `filter` verb shows.
pub fn filters(views: &[FilterView]) -> String {
    let mut table = Table::new(&["RULE", ">PACKETS", ">BYTES"]);
    for view in views {
        table.row([view.rule.to_string(), view.packets.to_string(), view.bytes.to_string()]);
    }
    table.render("no filters")
}

fn interfaces(views: &[InterfaceView]) -> String {
    let mut table = Table::new(&[
        "NAME",
        "KIND",
        "STATE",
        ">MTU",
        "ADDRESS",
        ">RX PACKETS",
        ">RX BYTES",
        ">RX DROPPED",
        ">TX PACKETS",
        ">TX BYTES",
        ">TX DROPPED",
    ]);
    for view in views {
        let (addresses, t) = (addresses(&view.addresses), &view.traffic);
        table.row([
            view.name.clone(),
            view.kind.clone(),
            state(view).to_owned(),
            view.mtu.to_string(),
            addresses,
            t.rx_packets.to_string(),
            t.rx_bytes.to_string(),
            t.rx_dropped.to_string(),
            t.tx_packets.to_string(),
            t.tx_bytes.to_string(),
            t.tx_dropped.to_string(),
        ]);
    }
    table.render("no interfaces")
}

/// `running`, `up` (but not running) or `down`.
fn state(view: &InterfaceView) -> &'static str {
    let has = |flag: &str| view.flags.iter().any(|f| f == flag);
    match (has("UP"), has("RUNNING")) {
        (true, true) => "running",
        (true, false) => "up",
        (false, _) => "down",
    }
}

fn addresses(views: &[AddressView]) -> String {
    let one = |view: &AddressView| match view.peer {
        Some(peer) => format!("{} --> {peer}", view.address),
        None => format!("{}/{}", view.address, view.prefix_len),
    };
    match views {
        [] => "-".to_owned(),
        views => views.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

fn tunnels(views: &[InterfaceView]) -> String {
    let mut table = Table::new(&[
        "NAME",
        "KIND",
        "STATE",
        ">MTU",
        "OUTER",
        "INNER",
        "UNDERLAY",
        ">RX PACKETS",
        ">TX PACKETS",
    ]);
    for view in views {
        let (outer, underlay) = match &view.tunnel {
            Some(tunnel) => (outer(tunnel), underlay(tunnel)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        table.row([
            view.name.clone(),
            view.kind.clone(),
            state(view).to_owned(),
            view.mtu.to_string(),
            outer,
            addresses(&view.addresses),
            underlay,
            view.traffic.rx_packets.to_string(),
            view.traffic.tx_packets.to_string(),
        ]);
    }
    table.render("no tunnels")
}

fn outer(tunnel: &TunnelView) -> String {
    match (tunnel.local, tunnel.remote) {
        (None, None) => "-".to_owned(),
        (local, remote) if tunnel.options.is_empty() => {
            format!("{} --> {}", dash(local), dash(remote))
        }
        (local, remote) => format!("{} --> {} {}", dash(local), dash(remote), tunnel.options),
    }
}

fn underlay(tunnel: &TunnelView) -> String {
    match (&tunnel.reason, &tunnel.underlay) {
        (Some(reason), _) => format!("none: {reason}"),
        (None, Some(u)) => {
            format!("{} via {} dev {} ({})", u.route, u.next_hop, u.interface, u.state)
        }
        (None, None) => "-".to_owned(),
    }
}

fn routes(views: &[RouteView]) -> String {
    let mut table = Table::new(&["DESTINATION", "GATEWAY", "INTERFACE", "FLAGS", "ORIGIN", ">MTU"]);
    for view in views {
        if view.paths.is_empty() {
            table.row([
                view.to.to_string(),
                dash(view.gateway),
                dash(view.interface.as_ref()),
                view.flags.clone(),
                view.origin.clone(),
                dash(view.mtu),
            ]);
        }
        for path in &view.paths {
            let (to, (gateway, interface)) = (view.to.to_string(), path_words(path));
            let (flags, origin) = (path.flags.clone(), view.origin.clone());
            table.row([to, gateway, interface, flags, origin, dash(path.mtu)]);
        }
    }
    table.render("no routes")
}

fn neighbours(views: &[NeighbourView]) -> String {
    let mut table =
        Table::new(&["ADDRESS", "MAC", "INTERFACE", "STATE", ">EXPIRES", ">HELD", "NOTE"]);
    for view in views {
        table.row([
            view.address.to_string(),
            dash(view.mac),
            view.interface.clone(),
            view.state.clone(),
            dash(view.expires_s.map(|s| format!("{s} s"))),
            view.held.to_string(),
            view.note.clone().unwrap_or_default(),
        ]);
    }
    table.render("no neighbours")
}

fn workers(views: &[WorkerView]) -> String {
    let mut table = Table::new(&[
        ">WORKER",
        ">CORE",
        "IDLE",
        "QUEUES",
        ">PACKETS",
        ">BURSTS",
        ">PER BURST",
        ">BUSY",
        ">TICKS PER PACKET",
        ">ROUNDS",
    ]);
    for view in views {
        table.row([
            view.worker.to_string(),
            dash(view.core),
            view.idle.clone(),
            view.queues.join(" "),
            view.packets.to_string(),
            view.bursts.to_string(),
            format!("{:.1}", view.burst_fill),
            format!("{:.1} %", 100.0 * view.busy),
            format!("{:.0}", view.ticks_per_packet),
            view.rounds.to_string(),
        ]);
    }
    if views.iter().all(|view| view.stages.is_empty()) {
        return table.render("no workers");
    }
    format!("{}\n{}", table.render("no workers"), stages(views))
}

/// What each stage of the path costs.
fn stages(views: &[WorkerView]) -> String {
    let mut table = Table::new(&[">WORKER", "STAGE", ">TICKS PER PACKET", ">PACKETS TIMED"]);
    for view in views {
        for at in &view.stages {
            let ticks = format!("{:.1}", at.ticks_per_packet);
            table.row([view.worker.to_string(), at.stage.clone(), ticks, at.packets.to_string()]);
        }
    }
    table.render("no workers")
}

/// Drops, then where the packets of each origin went, then control's own sum.
fn render_drops(view: &DropsView) -> String {
    let mut drops = Table::new(&["ORIGIN", "REASON", ">PACKETS", "WHY"]);
    for drop in &view.drops {
        let packets = drop.packets.to_string();
        drops.row([drop.origin.clone(), drop.reason.clone(), packets, drop.text.clone()]);
    }
    let mut origins = Table::new(&[
        "ORIGIN",
        ">RECEIVED",
        ">FRAGMENTS CREATED",
        ">SENT",
        ">DROPPED",
        ">PUNTED",
        ">MERGED",
        ">HELD",
        ">IMBALANCE",
    ]);
    for origin in &view.origins {
        origins.row([
            origin.origin.clone(),
            origin.received.to_string(),
            origin.fragments_created.to_string(),
            origin.sent.to_string(),
            origin.dropped.to_string(),
            origin.punted.values().sum::<u64>().to_string(),
            origin.merged.to_string(),
            origin.held.to_string(),
            origin.imbalance.to_string(),
        ]);
    }
    format!(
        "{}\nWhere packets went: received + fragments created = sent + dropped + punted + merged + held\n{}\n{}",
        drops.render("no packet was dropped"),
        origins.render("no packet was received"),
        control(&view.control)
    )
}

fn control(view: &ControlView) -> String {
    let dropped: u64 = view.dropped.values().sum();
    let mut out = format!(
        "Control: {} punts taken + {} originated + {} fragments created\n       \
         = {} injected + {} consumed + {dropped} dropped + {} held   (imbalance {})\n",
        view.punts_taken,
        view.originated,
        view.fragments_created,
        view.injected,
        view.consumed,
        view.held,
        view.imbalance
    );
    for (reason, packets) in view.dropped.iter().filter(|(_, packets)| **packets > 0) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  dropped for {reason}: {packets}");
    }
    out
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
