//! Which worker runs where and polls what.

use anyhow::{Context, bail};

use crate::control::views::WorkerPlan;
use crate::dpdk::port::MAX_QUEUES;
use crate::dpdk::{Eal, Port};
use crate::ids::{MAX_PORTS, PortId};
use crate::model::spec::{DpdkSettings, Idle, PortSpec};

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedWorker {
    /// Core it is pinned to.
    pub core: usize,
    /// Receive queues it polls.
    pub queues: Vec<(PortId, u16)>,
}

/// Workers and queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// By worker number.
    pub workers: Vec<PlannedWorker>,
    /// Receive queues of each port.
    pub rx_queues: Vec<u16>,
    names: Vec<String>,
}

impl Plan {
    /// From configuration and what the devices offer.
    ///
    /// # Errors
    /// A core that is not there, a queue that no port has, a queue twice or
    /// left out.
    pub fn new(eal: &Eal, dpdk: &DpdkSettings, ports: &[PortSpec]) -> anyhow::Result<Plan> {
        let offered = ports
            .iter()
            .map(|port| Ok(Port::capabilities(eal, &port.name, &port.device)?.rx_queues))
            .collect::<anyhow::Result<Vec<u16>>>()?;
        Plan::make(dpdk, ports, &offered)
    }

    /// `dpdk.workers` are the cores: see [`cores`].
    fn make(dpdk: &DpdkSettings, ports: &[PortSpec], offered: &[u16]) -> anyhow::Result<Plan> {
        if ports.len() > MAX_PORTS {
            bail!("{} ports configured: at most {MAX_PORTS} are possible", ports.len());
        }
        let cores = dpdk.workers.clone();
        let by_hand = !dpdk.queues.is_empty();
        let rx_queues: Vec<u16> = ports
            .iter()
            .zip(offered)
            .map(|(port, offered)| {
                let named = |name: &str| {
                    queue(name, ports).ok().filter(|(id, _)| ports[id.index()].name == port.name)
                };
                let most = dpdk
                    .queues
                    .iter()
                    .flat_map(|w| &w.queues)
                    .filter_map(|name| named(name))
                    .map(|(_, q)| q + 1)
                    .max();
                let automatic = if by_hand {
                    most.unwrap_or(1)
                } else {
                    (cores.len() as u16).min(*offered).max(1)
                };
                port.rx_queues.unwrap_or(automatic)
            })
            .collect();
        let queues = if by_hand {
            named(dpdk, ports, &rx_queues, cores.len())?
        } else {
            dealt(&rx_queues, cores.len())
        };
        let workers =
            cores.into_iter().zip(queues).map(|(core, queues)| PlannedWorker { core, queues });
        let names = ports.iter().map(|port| port.name.clone()).collect();
        Ok(Plan { workers: workers.collect(), rx_queues, names })
    }

    /// As `show workers` tells it.
    pub fn views(&self, idle: Idle) -> Vec<WorkerPlan> {
        let idle = match idle {
            Idle::Poll => "poll",
            Idle::Adaptive => "adaptive",
        };
        let name = |(port, queue): &(PortId, u16)| format!("{}/{queue}", self.names[port.index()]);
        let view = |worker: &PlannedWorker| WorkerPlan {
            core: Some(worker.core),
            idle: idle.to_owned(),
            queues: worker.queues.iter().map(name).collect(),
        };
        self.workers.iter().map(view).collect()
    }
}

/// The workers' cores: as configured, or the last one this process may run on.
/// Asked before the EAL starts, which moves the calling thread off them.
///
/// # Errors
/// A core that is not there.
pub fn cores(cpus: &[usize], wanted: &[usize]) -> anyhow::Result<Vec<usize>> {
    if wanted.is_empty() {
        return Ok(vec![*cpus.last().context("no CPU is allowed for this process")?]);
    }
    if let Some(core) = wanted.iter().find(|core| !cpus.contains(core)) {
        bail!(
            "dpdk.workers: core {core} is not one this process may run on: expected some of {cpus:?}"
        );
    }
    Ok(wanted.to_vec())
}

/// `en0/1` as port and queue.
fn queue(name: &str, ports: &[PortSpec]) -> anyhow::Result<(PortId, u16)> {
    let expected = || format!("queue `{name}`: expected PORT/NUMBER such as {}/0", ports[0].name);
    let (port, number) = name.split_once('/').with_context(expected)?;
    let index = ports.iter().position(|p| p.name == port).with_context(expected)?;
    let number: u16 = number.parse().with_context(expected)?;
    if number >= MAX_QUEUES {
        bail!("queue `{name}`: a port has at most {MAX_QUEUES} queues, numbered from 0");
    }
    Ok((PortId(index as u8), number))
}

/// Queues given out by hand: each exactly once.
fn named(
    dpdk: &DpdkSettings,
    ports: &[PortSpec],
    rx_queues: &[u16],
    workers: usize,
) -> anyhow::Result<Vec<Vec<(PortId, u16)>>> {
    let mut all = vec![Vec::new(); workers];
    for entry in &dpdk.queues {
        let Some(target) = all.get_mut(entry.worker) else {
            bail!(
                "dpdk.queues: there is no worker {}: expected 0 to {}",
                entry.worker,
                workers - 1
            );
        };
        for name in &entry.queues {
            target.push(queue(name, ports)?);
        }
    }
    for (port, count) in (0u8..).map(PortId).zip(rx_queues) {
        for number in 0..*count {
            let times = all.iter().flatten().filter(|q| **q == (port, number)).count();
            if times != 1 {
                let name = &ports[port.index()].name;
                bail!(
                    "dpdk.queues: receive queue {name}/{number} is polled by {times} workers: expected one"
                );
            }
        }
    }
    Ok(all)
}

/// Queues dealt out: queue q of port p to worker (p + q) modulo their number,
/// so that ports with one queue spread too.
fn dealt(rx_queues: &[u16], workers: usize) -> Vec<Vec<(PortId, u16)>> {
    let mut all = vec![Vec::new(); workers];
    for (port, count) in rx_queues.iter().enumerate() {
        for number in 0..*count {
            all[(port + usize::from(number)) % workers].push((PortId(port as u8), number));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config;

    fn plan(dpdk: &str, offered: &[u16]) -> anyhow::Result<Plan> {
        let text = format!(
            "[dpdk]\n{dpdk}\n[[port]]\nname = \"en0\"\ndevice = \"net_null0\"\n\
             [[port]]\nname = \"en1\"\ndevice = \"net_null1\"\n"
        );
        let config = config::parse(&text).unwrap();
        let mut dpdk = config.settings.dpdk;
        dpdk.workers = cores(&[0, 1, 2, 3], &dpdk.workers)?;
        Plan::make(&dpdk, &config.state.ports, offered)
    }

    fn queues(plan: &Plan) -> Vec<Vec<String>> {
        plan.views(Idle::Poll).into_iter().map(|view| view.queues).collect()
    }

    #[test]
    fn one_worker_on_the_last_core_polls_everything() {
        let plan = plan("", &[1, 1]).unwrap();
        assert_eq!(
            (plan.workers[0].core, queues(&plan)),
            (3, vec![vec!["en0/0".into(), "en1/0".into()]])
        );
    }

    #[test]
    fn queues_are_dealt_over_workers() {
        assert_eq!(queues(&plan("workers = [1, 2]", &[1, 1]).unwrap()), [["en0/0"], ["en1/0"]]);
        let two = plan("workers = [1, 2]", &[8, 8]).unwrap();
        assert_eq!(two.rx_queues, [2, 2]);
        assert_eq!(queues(&two), [["en0/0", "en1/1"], ["en0/1", "en1/0"]]);
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let error = plan("workers = [9]", &[1, 1]).unwrap_err().to_string();
        assert!(error.contains("core 9") && error.contains("[0, 1, 2, 3]"), "{error}");
    }
}
