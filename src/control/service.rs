//! Who asks and what is answered: calls of the control socket and scrapes of
//! the metrics server, both on control's thread between its turns.

use std::path::Path;
use std::time::Duration;

use crossbeam::channel::{Receiver, Select, Sender};
use serde::Serialize;
use serde_json::Value;

use super::api::Asked;
use super::core::Control;
use super::ping::{PingRequest, PingToken};
use super::resolver::Resolver;
use super::views::WorkerPlan;
use crate::config::{self, Config};
use crate::model::api::{ApiError, Call, ErrorCode, MAX_PING_MS};
use crate::model::op::{InterfaceChange, Located, Op, Outcome, Problem};
use crate::model::spec::Settings;
use crate::model::view::{PoolView, PortView, WorkerView};
use crate::stats::export::Snapshot;

type Answer = Result<Value, ApiError>;

/// What only the ports and pools themselves know.
pub trait Hardware {
    /// Ports, in the order of their numbers.
    fn ports(&self) -> Vec<PortView>;
    /// Buffer pools.
    fn pools(&self) -> Vec<PoolView>;
    /// Ticks per second of the workers' clock.
    fn ticks_per_second(&self) -> u64;
    /// MTU that a port's device is set to; `None` if there is no such port.
    fn mtu(&self, port: &str) -> Option<u16>;
    /// Sets it.
    ///
    /// # Errors
    /// What the device says, as a sentence.
    fn set_mtu(&self, port: &str, mtu: u16) -> Result<(), String>;
}

/// An MTU that an op asks of a port.
struct AskedMtu {
    at: String,
    port: String,
    old: u16,
    new: u16,
}

/// Control with all it takes to answer.
pub struct Service<H> {
    control: Control,
    hardware: H,
    settings: Settings,
    plans: Vec<WorkerPlan>,
    calls: Receiver<Asked>,
    scrapes: Receiver<Sender<Snapshot>>,
    /// Pings under way: the engine's number and who waits.
    pings: Vec<(PingToken, Sender<Answer>)>,
    names: Resolver,
}

/// Most calls answered before control gets its turn again.
const CALLS_PER_TURN: usize = 64;

impl<H: Hardware> Service<H> {
    /// Questions come from `calls` and `scrapes`.
    pub fn new(
        control: Control,
        hardware: H,
        settings: Settings,
        plans: Vec<WorkerPlan>,
        calls: Receiver<Asked>,
        scrapes: Receiver<Sender<Snapshot>>,
    ) -> Service<H> {
        let (pings, names) = (Vec::new(), Resolver::system());
        Service { control, hardware, settings, plans, calls, scrapes, pings, names }
    }

    /// One round: punts, timers, questions. Returns how much there was to do.
    pub fn turn(&mut self, now: Duration) -> usize {
        let mut done = self.control.turn(now);
        for _ in 0..CALLS_PER_TURN {
            let Ok(asked) = self.calls.try_recv() else { break };
            self.answer(asked, now);
            done += 1;
        }
        while let Ok(reply) = self.scrapes.try_recv() {
            // The scraper may have gone.
            let _ = reply.send(self.snapshot(now));
            done += 1;
        }
        self.finish_pings(now);
        self.look_up_names(now);
        done
    }

    fn look_up_names(&mut self, now: Duration) {
        while let Some(answer) = self.names.answer() {
            self.control.answered(answer, now);
        }
        for question in self.control.questions(now) {
            self.names.ask(question);
        }
    }

    /// Sleeps until somebody asks something, or for `most`.
    pub fn rest(&self, most: Duration) {
        let mut anything = Select::new();
        anything.recv(&self.calls);
        // What has come stays in the channel for the next turn.
        let _ = anything.ready_timeout(most);
    }

    /// Makes the running state that of a configuration file's text.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed.
    pub fn apply(
        &mut self,
        text: &str,
        folder: Option<&Path>,
        now: Duration,
    ) -> Result<Outcome, ApiError> {
        let wanted = config::parse_in(text, folder).map_err(refused)?;
        self.fixed(&wanted.settings)?;
        let ops = self.control.difference(&wanted.state)?;
        self.transact(&ops, now)
    }

    /// A transaction, devices included: those that get a larger MTU are told
    /// before, since they can refuse, and those that get a smaller one after.
    fn transact(&mut self, ops: &[Located], now: Duration) -> Result<Outcome, ApiError> {
        let asked = self.asked_mtus(ops);
        let raised = self.raise_mtus(&asked)?;
        let done = self.control.transact(ops, now);
        match &done {
            Err(_) => raised.iter().for_each(|(name, old)| self.reset_mtu(name, *old)),
            Ok(_) => {
                for mtu in &asked {
                    if let Some(now) = self.control.link_mtu(&mtu.port) {
                        self.reset_mtu(&mtu.port, now);
                    }
                }
            }
        }
        done
    }

    /// The MTUs that ops ask of ports.
    fn asked_mtus(&self, ops: &[Located]) -> Vec<AskedMtu> {
        let asked = |located: &Located| match &located.op {
            Op::SetInterface { name, change: InterfaceChange { mtu: Some(new), .. } } => {
                let (at, old) = (located.at.to_string(), self.hardware.mtu(name)?);
                Some(AskedMtu { at, port: name.clone(), old, new: *new })
            }
            _ => None,
        };
        ops.iter().filter_map(asked).collect()
    }

    /// Raises devices' MTUs, all or none; returns what they had.
    fn raise_mtus(&self, asked: &[AskedMtu]) -> Result<Vec<(String, u16)>, ApiError> {
        let mut raised: Vec<(String, u16)> = Vec::new();
        // One that no port takes is refused by name and range, not by a driver.
        let valid = |mtu: &&AskedMtu| self.control.takes_mtu(&mtu.port, mtu.new);
        for mtu in asked.iter().filter(|mtu| mtu.new > mtu.old).filter(valid) {
            if let Err(text) = self.hardware.set_mtu(&mtu.port, mtu.new) {
                raised.iter().for_each(|(name, old)| self.reset_mtu(name, *old));
                return Err(refused(vec![Problem::new(mtu.at.clone(), text)]));
            }
            raised.push((mtu.port.clone(), mtu.old));
        }
        Ok(raised)
    }

    /// Brings a device's MTU to one that it has had or that is smaller: if it
    /// refuses, it takes larger packets than it is sent, and no harm is done.
    fn reset_mtu(&self, port: &str, mtu: u16) {
        if self.hardware.mtu(port) == Some(mtu) {
            return;
        }
        if let Err(error) = self.hardware.set_mtu(port, mtu) {
            tracing::warn!(port, mtu, error, "the device keeps a larger MTU");
        }
    }

    /// What only a start can change must be as it is.
    fn fixed(&self, wanted: &Settings) -> Result<(), ApiError> {
        let (old, new) = (&self.settings, wanted);
        let sections = [
            ("dpdk", old.dpdk == new.dpdk),
            ("control", old.socket == new.socket),
            ("metrics", old.metrics == new.metrics),
        ];
        let changed = sections.iter().filter(|(_, same)| !same);
        let problems: Vec<_> = changed
            .map(|(section, _)| {
                let text =
                    "differs from what greyhound was started with; only a restart changes it";
                Problem::new(*section, text)
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(refused(problems)) }
    }

    fn answer(&mut self, asked: Asked, now: Duration) {
        let Asked { call, reply } = asked;
        let answer = match call {
            Call::Ping { timeout_ms, .. } if timeout_ms > MAX_PING_MS => {
                let text = format!("timeout_ms = {timeout_ms}: expected at most {MAX_PING_MS}");
                Err(refused(vec![Problem::new("", text)]))
            }
            Call::Ping { to, from, ident, sequence, size, ttl, timeout_ms, dont_fragment } => {
                let timeout = Duration::from_millis(u64::from(timeout_ms));
                let request =
                    PingRequest { to, from, ident, sequence, size, ttl, dont_fragment, timeout };
                match self.control.ping(request, now) {
                    Ok(token) => {
                        self.pings.push((token, reply));
                        return;
                    }
                    Err(error) => Err(refused(vec![Problem::new("", error.to_string())])),
                }
            }
            call => self.answer_now(call, now),
        };
        // The asker may have gone.
        let _ = reply.send(answer);
    }

    fn answer_now(&mut self, call: Call, now: Duration) -> Answer {
        match call {
            Call::Transaction { ops } => value(&self.transact(&ops, now)?),
            Call::Apply { config, folder } => {
                value(&self.apply(&config, folder.as_deref(), now)?)
            }
            Call::ShowPorts => value(&self.hardware.ports()),
            Call::ShowInterfaces { name } => self.show_interfaces(name.as_deref()),
            Call::ShowTunnels => {
                let mut all = self.control.interfaces();
                all.retain(|interface| interface.tunnel.is_some());
                value(&all)
            }
            Call::ShowRoutes { all } => value(&self.control.routes(all)),
            Call::LookupRoute { to } => value(&self.control.lookup_route(to)),
            Call::GetRoute { to } => value(&self.control.get_route(to)),
            Call::ShowNeighbours => value(&self.control.neighbours(now)),
            Call::ShowWorkers => value(&self.workers()),
            Call::ShowDrops => value(&self.control.drops()),
            Call::ShowFilters => value(&self.control.filters()),
            Call::ShowConfig => value(&self.running_config()),
            Call::Ping { .. } => unreachable!("answered when its reply is here"),
        }
    }

    fn show_interfaces(&self, name: Option<&str>) -> Answer {
        let Some(name) = name else { return value(&self.control.interfaces()) };
        let found = self.control.interface(name).ok_or_else(|| ApiError {
            code: ErrorCode::NotFound,
            problems: vec![Problem::new("", format!("there is no interface {name}"))],
        })?;
        value(&[found])
    }

    fn workers(&self) -> Vec<WorkerView> {
        self.control.workers(&self.plans, self.hardware.ticks_per_second())
    }

    /// The running state as a configuration file.
    fn running_config(&self) -> String {
        let state = self.control.state();
        config::render(&Config { settings: self.settings.clone(), state })
    }

    fn finish_pings(&mut self, now: Duration) {
        for (token, view) in self.control.finished_pings(now) {
            let Some(at) = self.pings.iter().position(|(waiting, _)| *waiting == token) else {
                continue;
            };
            let (_, reply) = self.pings.swap_remove(at);
            // The asker may have gone.
            let _ = reply.send(value(&view));
        }
    }

    fn snapshot(&self, now: Duration) -> Snapshot {
        Snapshot {
            ports: self.hardware.ports(),
            interfaces: self.control.interfaces(),
            workers: self.workers(),
            drops: self.control.drops(),
            filters: self.control.filters(),
            neighbours: self.control.neighbours(now),
            tables: self.control.tables(),
            pools: self.hardware.pools(),
            uptime_s: now.as_secs_f64(),
        }
    }

    /// Ops of a start, before workers run.
    ///
    /// # Errors
    /// What is wrong with them; nothing has changed.
    pub fn start(&mut self, ops: &[Located], now: Duration) -> Result<Vec<String>, ApiError> {
        self.control.transact(ops, now).map(|outcome| outcome.notes)
    }
}

fn value(of: &impl Serialize) -> Answer {
    serde_json::to_value(of).map_err(|error| {
        // Only a map with keys that are no strings can fail, and no view has one.
        refused(vec![Problem::new("", format!("the answer cannot be written as JSON: {error}"))])
    })
}

fn refused(problems: Vec<Problem>) -> ApiError {
    ApiError { code: ErrorCode::Refused, problems }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::control::net::PortFacts;
    use crate::ids::{Mac, PortId};
    use crate::model::view::FarView;
    use crate::stats::counters::{ControlCounters, WorkerCounters};
    use crate::tables::{Tables, TablesConfig};
    use crossbeam::channel::unbounded;
    use std::cell::Cell;
    use std::sync::Arc;

    /// One port, en0, whose device takes MTUs up to `most`.
    struct Device {
        mtu: Cell<u16>,
        most: u16,
    }

    impl Hardware for Device {
        fn ports(&self) -> Vec<PortView> {
            Vec::new()
        }
        fn pools(&self) -> Vec<PoolView> {
            Vec::new()
        }
        fn ticks_per_second(&self) -> u64 {
            1
        }
        fn mtu(&self, port: &str) -> Option<u16> {
            (port == "en0").then(|| self.mtu.get())
        }
        fn set_mtu(&self, _: &str, mtu: u16) -> Result<(), String> {
            if mtu > self.most {
                return Err(format!("the device takes at most {}", self.most));
            }
            self.mtu.set(mtu);
            Ok(())
        }
    }

    fn service() -> Service<Device> {
        let text = "[[port]]\nname = \"en0\"\ndevice = \"net_null0\"\n";
        let Config { settings, state } = config::parse(text).unwrap();
        let tables = TablesConfig {
            adjacencies: 256,
            tunnels: 64,
            decap_keys: 64,
            fib_groups: 16,
            fib6_groups: 64,
        };
        let port = PortFacts {
            spec: state.ports[0].clone(),
            id: PortId(0),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            max_mtu: 9000,
        };
        let control = Control::new(
            Arc::new(Tables::new(tables)),
            vec![port],
            Vec::new(),
            Arc::new(ControlCounters::default()),
            vec![Arc::new(WorkerCounters::new(64))],
        );
        let device = Device { mtu: Cell::new(1500), most: 4000 };
        let (calls, scrapes) = (unbounded().1, unbounded().1);
        Service::new(control, device, settings, Vec::new(), calls, scrapes)
    }

    /// A client asks more than a turn answers: punts, timers and scrapes get
    /// their turn in between, and nobody's question is lost.
    #[test]
    fn a_flood_of_calls_is_answered_in_portions_and_scrapes_meanwhile() {
        let mut service = service();
        let (ask, calls) = unbounded();
        let (scrape, scrapes) = unbounded();
        (service.calls, service.scrapes) = (calls, scrapes);
        let (reply, answers) = unbounded();
        let flood = CALLS_PER_TURN * 2 + 10;
        for _ in 0..flood {
            ask.send(Asked { call: Call::ShowPorts, reply: reply.clone() }).unwrap();
        }
        let (told, scraped) = unbounded();
        scrape.send(told).unwrap();
        assert_eq!(service.turn(Duration::ZERO), CALLS_PER_TURN + 1);
        assert_eq!((answers.len(), scraped.len()), (CALLS_PER_TURN, 1));
        assert_eq!(service.turn(Duration::ZERO), CALLS_PER_TURN);
        assert_eq!(service.turn(Duration::ZERO), 10);
        assert_eq!(answers.len(), flood);
    }

    fn mtu(value: u16) -> Located {
        let op = serde_json::json!({"op": "set-interface", "name": "en0", "mtu": value});
        serde_json::from_value(op).unwrap()
    }

    #[test]
    fn a_far_end_with_a_name_is_where_its_name_leads() {
        let mut service = service();
        let looked_up = |name: &str| match name {
            "far.example" => Ok(vec!["2001:db8::7".parse().unwrap(), "192.0.2.7".parse().unwrap()]),
            _ => Err("no such host".to_owned()),
        };
        service.names = Resolver::new(looked_up);
        let op = |json| serde_json::from_value::<Located>(json).unwrap();
        let ops = [
            op(serde_json::json!({"op": "create", "name": "gre0"})),
            op(
                serde_json::json!({"op": "set-address", "name": "gre0", "address": "12.0.0.1", "peer": "12.0.0.2"}),
            ),
            op(
                serde_json::json!({"op": "set-endpoints", "name": "gre0", "local": "10.0.0.1", "remote": "far.example"}),
            ),
        ];
        service.transact(&ops, Duration::ZERO).unwrap();
        let far = |service: &mut Service<Device>, settled: &dyn Fn(&FarView) -> bool| {
            for _ in 0..10_000 {
                service.turn(Duration::ZERO);
                let tunnel = service.control.interface("gre0").unwrap().tunnel.unwrap();
                let far = tunnel.far.unwrap();
                if settled(&far) {
                    return (tunnel.remote.map(|remote| remote.to_string()), far);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            panic!("no answer came");
        };
        let (remote, view) = far(&mut service, &|far| far.moves == 1);
        assert_eq!((remote.as_deref(), view.found), (Some("192.0.2.7"), true));
        let text = service.running_config();
        assert!(text.contains("remote = \"far.example\""), "{text}");
        let elsewhere = op(
            serde_json::json!({"op": "set-endpoints", "name": "gre0", "local": "10.0.0.1", "remote": "no.example"}),
        );
        service.transact(&[elsewhere], Duration::ZERO).unwrap();
        let (remote, view) = far(&mut service, &|far| far.refused == 1);
        assert_eq!((remote, view.found), (None, false));
    }

    #[test]
    fn the_device_follows_the_ports_mtu_both_ways() {
        let mut service = service();
        for value in [3000, 1400, 4000] {
            service.transact(&[mtu(value)], Duration::ZERO).unwrap();
            assert_eq!(service.hardware.mtu.get(), value);
            assert_eq!(service.control.link_mtu("en0"), Some(value));
        }
    }

    #[test]
    fn a_device_that_refuses_or_a_refused_transaction_leaves_everything_as_it_was() {
        let mut service = service();
        let error = service.transact(&[mtu(5000)], Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("at most 4000"), "{error}");
        let bad = Op::Destroy { name: "gre7".into() }.into();
        service.transact(&[mtu(3000), bad], Duration::ZERO).unwrap_err();
        assert_eq!(service.hardware.mtu.get(), 1500);
        assert_eq!(service.control.link_mtu("en0"), Some(1500));
    }

    #[test]
    fn a_ping_that_waits_too_long_is_refused() {
        let mut service = service();
        let (reply, answer) = crossbeam::channel::bounded(1);
        let call = serde_json::json!({"method": "ping", "params": {"to": "10.0.0.2", "ident": 1,
            "sequence": 0, "size": 56, "ttl": 64, "timeout_ms": 60_001}});
        let call = serde_json::from_value(call).unwrap();
        service.answer(Asked { call, reply }, Duration::ZERO);
        let error = answer.try_recv().unwrap().unwrap_err().to_string();
        assert!(error.contains("at most 60000"), "{error}");
    }

    #[test]
    fn one_interface_is_shown_as_among_all() {
        let service = service();
        let all = service.show_interfaces(None).unwrap();
        assert_eq!(service.show_interfaces(Some("en0")).unwrap(), all);
        let error = service.show_interfaces(Some("gre7")).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound);
    }

    #[test]
    fn what_only_a_restart_changes_is_refused_by_name() {
        let mut service = service();
        let text = "[dpdk]\nmemory = \"1G\"\n[[port]]\nname = \"en0\"\ndevice = \"net_null0\"\n";
        let error = service.apply(text, None, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("dpdk") && error.contains("restart"), "{error}");
    }
}
