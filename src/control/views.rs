//! Counters of all workers added up into what `show` and `/metrics` tell.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::datapath::drop::DropReason;
use crate::exchange::PuntReason;
use crate::ids::{IfId, ORIGINS, PortId};
use crate::model::spec::FilterSpec;
use crate::model::view::{DropView, FilterView, OriginView, StageView, Traffic, WorkerView};
use crate::stats::counters::{Counter, Ledger, Stage, StageCounters, WorkerCounters};

/// The counters of all workers, read together.
#[derive(Debug, Default)]
pub struct Totals {
    workers: Vec<Arc<WorkerCounters>>,
    /// What an interface number had counted when the interface that has it now
    /// was created: numbers are reused, counters are not reset under a writer.
    baselines: HashMap<IfId, Traffic>,
    /// The same of filters: packets and bytes.
    filter_baselines: HashMap<u16, (u64, u64)>,
}

impl Totals {
    /// Over these workers' counters.
    pub fn new(workers: Vec<Arc<WorkerCounters>>) -> Totals {
        Totals { workers, ..Totals::default() }
    }

    /// An interface was created: it starts from zero.
    pub fn begin(&mut self, id: IfId) {
        let now = self.counted(id);
        if now == Traffic::default() {
            self.baselines.remove(&id);
        } else {
            self.baselines.insert(id, now);
        }
    }

    fn counted(&self, id: IfId) -> Traffic {
        let mut sum = Traffic::default();
        for counters in self.workers.iter().filter_map(|w| w.interface(id)) {
            sum.rx_packets += counters.rx_packets.get();
            sum.rx_bytes += counters.rx_bytes.get();
            sum.tx_packets += counters.tx_packets.get();
            sum.tx_bytes += counters.tx_bytes.get();
            sum.rx_dropped += counters.rx_dropped.get();
            sum.tx_dropped += counters.tx_dropped.get();
            sum.fallback += counters.fallback.get();
            sum.ecn_anomalies += counters.ecn_anomalies.get();
        }
        sum
    }

    /// Traffic of an interface since it was created.
    pub fn traffic(&self, id: IfId) -> Traffic {
        let now = self.counted(id);
        let Some(base) = self.baselines.get(&id) else { return now };
        Traffic {
            rx_packets: now.rx_packets - base.rx_packets,
            rx_bytes: now.rx_bytes - base.rx_bytes,
            tx_packets: now.tx_packets - base.tx_packets,
            tx_bytes: now.tx_bytes - base.tx_bytes,
            rx_dropped: now.rx_dropped - base.rx_dropped,
            tx_dropped: now.tx_dropped - base.tx_dropped,
            fallback: now.fallback - base.fallback,
            ecn_anomalies: now.ecn_anomalies - base.ecn_anomalies,
        }
    }

    /// A filter was added: it starts from zero.
    pub fn begin_filter(&mut self, number: u16) {
        let now = self.filter_counted(number);
        self.filter_baselines.insert(number, now);
    }

    fn filter_counted(&self, number: u16) -> (u64, u64) {
        let counters = self.workers.iter().filter_map(|w| w.filters.get(usize::from(number)));
        counters.fold((0, 0), |sum, c| (sum.0 + c.packets.get(), sum.1 + c.bytes.get()))
    }

    /// A filter and the packets and bytes that met it since it was added.
    pub fn filter(&self, number: u16, rule: &FilterSpec) -> FilterView {
        let now = self.filter_counted(number);
        let base = self.filter_baselines.get(&number).copied().unwrap_or_default();
        FilterView { rule: rule.clone(), packets: now.0 - base.0, bytes: now.1 - base.1 }
    }

    fn ledgers(&self, origin: PortId) -> impl Iterator<Item = &Ledger> {
        self.workers.iter().map(move |w| w.ledger(origin))
    }

    fn sum<'a>(&'a self, origin: PortId, pick: impl Fn(&'a Ledger) -> &'a Counter) -> u64 {
        self.ledgers(origin).map(|ledger| pick(ledger).get()).sum()
    }

    /// What was dropped of an origin, by reason, zeros left out.
    fn drops_of(&self, origin: PortId, name: &str) -> Vec<DropView> {
        let view = |reason: &DropReason| DropView {
            origin: name.to_owned(),
            reason: reason.label().to_owned(),
            text: reason.text().to_owned(),
            packets: self.sum(origin, |ledger| &ledger.dropped[reason.index()]),
        };
        DropReason::ALL.iter().map(view).filter(|drop| drop.packets > 0).collect()
    }

    fn origin(&self, origin: PortId, name: &str) -> OriginView {
        let punted = PuntReason::ALL.iter().map(|reason| {
            let packets = self.sum(origin, |ledger| &ledger.punted[reason.index()]);
            (reason.label().to_owned(), packets)
        });
        let dropped =
            DropReason::ALL.iter().map(|r| self.sum(origin, |ledger| &ledger.dropped[r.index()]));
        OriginView {
            origin: name.to_owned(),
            received: self.sum(origin, |ledger| &ledger.received),
            fragments_created: self.sum(origin, |ledger| &ledger.fragments_created),
            sent: self.sum(origin, |ledger| &ledger.sent),
            dropped: dropped.sum(),
            punted: punted.collect::<BTreeMap<_, _>>(),
            handed: self.sum(origin, |ledger| &ledger.handed),
            taken: self.sum(origin, |ledger| &ledger.taken),
            merged: self.sum(origin, |ledger| &ledger.merged),
            held: self.sum(origin, |ledger| &ledger.held),
            imbalance: self.ledgers(origin).map(Ledger::imbalance).sum(),
        }
    }

    /// Drops and conservation of the named ports and of control.
    pub fn conservation(&self, ports: &[String]) -> (Vec<DropView>, Vec<OriginView>) {
        let names = ports.iter().map(String::as_str).take(ORIGINS - 1).enumerate();
        let ports = names.map(|(index, name)| (PortId(index as u8), name));
        let all: Vec<_> = ports.chain([(PortId::CONTROL, "control")]).collect();
        let drops = all.iter().flat_map(|(id, name)| self.drops_of(*id, name)).collect();
        let origins = all.iter().map(|(id, name)| self.origin(*id, name)).collect();
        (drops, origins)
    }

    /// The workers' own numbers; `ticks_per_second` turns ticks into seconds.
    pub fn workers(&self, plans: &[WorkerPlan], ticks_per_second: u64) -> Vec<WorkerView> {
        let view = |(number, counters): (usize, &Arc<WorkerCounters>)| {
            let poll = &counters.poll;
            let (packets, bursts) = (poll.packets.get(), poll.bursts.get());
            let (busy, total) = (poll.busy_ticks.get(), poll.total_ticks.get());
            let plan = plans.get(number).cloned().unwrap_or_default();
            WorkerView {
                worker: number,
                core: plan.core,
                idle: plan.idle,
                queues: plan.queues,
                rounds: poll.rounds.get(),
                packets,
                bursts,
                burst_fill: ratio(packets, bursts),
                busy: ratio(busy, total),
                busy_seconds: ratio(busy, ticks_per_second),
                ticks_per_packet: ratio(busy, packets),
                longest_gap_seconds: ratio(poll.longest_ticks.get(), ticks_per_second),
                keepalives_answered: counters.keepalives.get(),
                stages: stages(&counters.stages),
            }
        };
        self.workers.iter().enumerate().map(view).collect()
    }
}

fn stages(counters: &StageCounters) -> Vec<StageView> {
    let packets = counters.packets.get();
    let view = |stage: &Stage| {
        let ticks = counters.ticks[*stage as usize].get();
        let stage = stage.name().to_owned();
        StageView { stage, ticks, packets, ticks_per_packet: ratio(ticks, packets) }
    };
    Stage::ALL.iter().map(view).collect()
}

/// What is fixed about a worker from start to end.
#[derive(Clone, Debug, Default)]
pub struct WorkerPlan {
    /// Core it is pinned to.
    pub core: Option<usize>,
    /// `poll` or `adaptive`.
    pub idle: String,
    /// Queues it polls: `en0/0`.
    pub queues: Vec<String>,
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_created_on_a_used_number_starts_from_zero() {
        let counters = Arc::new(WorkerCounters::new(8));
        let count = |n| counters.interface(IfId(3)).expect("in range").rx_packets.add(n);
        let mut totals = Totals::new(vec![Arc::clone(&counters)]);
        count(5);
        assert_eq!(totals.traffic(IfId(3)).rx_packets, 5);
        totals.begin(IfId(3));
        count(2);
        assert_eq!(totals.traffic(IfId(3)).rx_packets, 2);
    }

    #[test]
    fn a_filter_on_a_used_number_starts_from_zero() {
        let counters = Arc::new(WorkerCounters::new(1));
        let mut totals = Totals::new(vec![Arc::clone(&counters)]);
        let rule: FilterSpec =
            serde_json::from_str(r#"{"name":"a","action":"drop"}"#).expect("a rule");
        let count = |n| {
            counters.filters[3].packets.add(n);
            counters.filters[3].bytes.add(10 * n);
        };
        count(5);
        totals.begin_filter(3);
        count(2);
        let view = totals.filter(3, &rule);
        assert_eq!((view.packets, view.bytes), (2, 20));
    }

    #[test]
    fn origins_add_up_over_workers_and_name_what_is_missing() {
        let workers = [WorkerCounters::new(1), WorkerCounters::new(1)].map(Arc::new);
        for worker in &workers {
            worker.ledger(PortId(0)).received.add(2);
            worker.ledger(PortId(0)).sent.add(1);
        }
        let reason = DropReason::NoRoute;
        workers[0].ledger(PortId(0)).dropped[reason.index()].add(1);
        let (drops, origins) = Totals::new(workers.to_vec()).conservation(&["en0".into()]);
        assert_eq!((drops.len(), drops[0].reason.as_str(), drops[0].packets), (1, "no_route", 1));
        let en0 = &origins[0];
        assert_eq!((en0.received, en0.sent, en0.dropped, en0.imbalance), (4, 2, 1, 1));
        assert_eq!(origins[1].origin, "control");
    }
}
