//! Who asks and what is answered: calls of the control socket and scrapes of
//! the metrics server, both on control's thread between its turns.

use std::path::Path;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use serde::Serialize;
use serde_json::Value;

use super::api::Asked;
use super::core::Control;
use super::ping::{PingRequest, PingToken};
use super::views::WorkerPlan;
use crate::config::{self, Config};
use crate::model::api::{ApiError, Call, ErrorCode};
use crate::model::op::{Located, Outcome, Problem};
use crate::model::spec::Settings;
use crate::model::view::{InterfaceView, PoolView, PortView, WorkerView};
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
        Service { control, hardware, settings, plans, calls, scrapes, pings: Vec::new() }
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
        done
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
        self.control.transact(&ops, now)
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
            Call::Transaction { ops } => value(&self.control.transact(&ops, now)?),
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
            Call::ShowConfig => value(&self.running_config()),
            Call::Ping { .. } => unreachable!("answered when its reply is here"),
        }
    }

    fn show_interfaces(&self, name: Option<&str>) -> Answer {
        let mut all: Vec<InterfaceView> = self.control.interfaces();
        if let Some(name) = name {
            all.retain(|interface| interface.name == name);
            if all.is_empty() {
                return Err(ApiError {
                    code: ErrorCode::NotFound,
                    problems: vec![Problem::new("", format!("there is no interface {name}"))],
                });
            }
        }
        value(&all)
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
