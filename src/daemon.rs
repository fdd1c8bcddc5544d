//! `greyhound run`: everything started, wired together, served and stopped.
//!
//! ```text
//!   file ─▶ socket ─▶ EAL ─▶ pool ─▶ ports ─▶ tables, control ─▶ workers ─▶ metrics
//!                                                    │
//!             main thread: control's turns and everybody's questions until a signal
//! ```
//!
//! The socket is bound first and the workers start last, so that a mistake is
//! found before a device is touched and no packet meets half a configuration.
//! On the way out it goes the other way round.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use crossbeam::channel::{Sender, bounded, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::run::RunArgs;
use crate::config::{self, Config};
use crate::control::Control;
use crate::control::api::{Server, Socket};
use crate::control::service::{Hardware, Service};
use crate::dpdk::affinity::allowed_cpus;
use crate::dpdk::{DpdkIo, Eal, EalConfig, Mbuf, Pool, Port, start_worker};
use crate::exchange::{ExchangeConfig, SLOTS, WorkerEnd, exchange};
use crate::ids::{MAX_INTERFACES, PortId, first_identification};
use crate::meeting::{self, MeetingEnd, meet};
use crate::model::spec::{Idle, Settings, Spread};
use crate::model::view::{PoolView, PortView};
use crate::spread::{self, RING, SpreadEnd};
use crate::stats::counters::{ControlCounters, WorkerCounters};
use crate::stats::export::Snapshot;
use crate::stats::http::{MetricsServer, Source};
use crate::tables::{Tables, TablesConfig};
use crate::worker::{Worker, WorkerConfig};

mod plan;
mod ports;

use plan::Plan;

/// How long control sleeps when there was nothing to do and nobody asks: the
/// delay of an ARP answer, and what an idle gateway costs.
const REST: Duration = Duration::from_millis(1);

/// Runs the gateway in the foreground until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting: each names the thing, the value and what
/// was expected. Once it runs, it ends with success.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("cannot take signals")?;
    let config = read(args.config.as_deref())?;
    let socket = Socket::bind(&config.settings.socket)?;
    let mut gateway = Gateway::start(config, socket)?;
    gateway.serve(signals, args.config.as_deref());
    gateway.stop();
    Ok(())
}

/// The configuration file, or the built-in example.
fn read(path: Option<&Path>) -> anyhow::Result<Config> {
    match path {
        Some(path) => Ok(config::load(path)?),
        None => {
            tracing::info!("no configuration file given: running the built-in example");
            config::parse(config::REFERENCE).map_err(|problems| anyhow::anyhow!(lines(&problems)))
        }
    }
}

fn lines(problems: &[crate::model::op::Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The running gateway.
struct Gateway {
    service: Service<Devices>,
    began: Instant,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
    /// Dropped, and so stopped, before what they ask.
    servers: (Server, Option<MetricsServer>),
}

/// What the main thread knows of devices.
struct Devices {
    ports: Vec<Arc<Port>>,
    pool: Arc<Pool>,
    ticks_per_second: u64,
}

impl Devices {
    fn port(&self, name: &str) -> Option<&Arc<Port>> {
        self.ports.iter().find(|port| port.name() == name)
    }
}

impl Hardware for Devices {
    fn ports(&self) -> Vec<PortView> {
        self.ports.iter().map(|port| port.view()).collect()
    }
    fn pools(&self) -> Vec<PoolView> {
        vec![self.pool.view()]
    }
    fn ticks_per_second(&self) -> u64 {
        self.ticks_per_second
    }
    fn mtu(&self, port: &str) -> Option<u16> {
        Some(self.port(port)?.mtu())
    }
    fn set_mtu(&self, port: &str, mtu: u16) -> Result<(), String> {
        let found = self.port(port).ok_or_else(|| format!("there is no port {port}"))?;
        found.set_mtu(mtu).map_err(|error| error.to_string())
    }
}

impl Gateway {
    fn start(config: Config, socket: Socket) -> anyhow::Result<Gateway> {
        let Config { settings, state } = config;
        let began = Instant::now();
        let devices = state.ports.iter().map(|port| port.device.clone()).collect();
        let mut dpdk = settings.dpdk.clone();
        dpdk.workers = plan::cores(&allowed_cpus(), &dpdk.workers)?;
        let eal = Eal::init(&EalConfig::new(&dpdk, devices))?;
        let plan = Plan::new(&eal, &dpdk, &state.ports)?;
        let (pool, ports) = ports::start(&eal, &settings.dpdk, &state.ports, &plan)?;

        let tables = Arc::new(Tables::new(TablesConfig::default()));
        let slot = ExchangeConfig { slots: SLOTS, room: ports::frame_room(&pool) };
        let cores = plan.workers.len();
        let (worker_ends, control_ends): (Vec<_>, Vec<_>) =
            (0..cores).map(|_| exchange(slot)).unzip();
        let counters: Vec<_> =
            (0..cores).map(|_| Arc::new(WorkerCounters::new(MAX_INTERFACES))).collect();
        let control = Control::new(
            Arc::clone(&tables),
            ports::facts(&state.ports, &ports, &eal)?,
            control_ends,
            Arc::new(ControlCounters::default()),
            counters.clone(),
        );

        let (ask, calls) = unbounded();
        let (scrape, scrapes) = unbounded();
        let hardware = Devices {
            ports: ports.clone(),
            pool: Arc::clone(&pool),
            ticks_per_second: eal.ticks_per_second(),
        };
        let plans = plan.views(settings.dpdk.idle);
        let metrics = settings.metrics.clone();
        let mut service = Service::new(control, hardware, settings.clone(), plans, calls, scrapes);
        let notes = service
            .start(&config::ops(&state), began.elapsed())
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        for note in notes {
            tracing::info!("{note}");
        }

        let stop = Arc::new(AtomicBool::new(false));
        let ready = Arc::new(AtomicBool::new(false));
        let metrics = start_metrics(metrics.as_deref(), scrape, Arc::clone(&ready))?;
        let start =
            WorkerStart { eal: &eal, plan: &plan, ports: &ports, pool: &pool, tables: &tables };
        let server = socket.serve(ask)?;
        let mut spread = match settings.dpdk.spread {
            Spread::Off => Vec::new(),
            Spread::Inner => spread::mesh(cores, RING, tables.flow),
        }
        .into_iter();
        let mut meeting = meet(cores, meeting::RING).into_iter();
        let ends =
            worker_ends.into_iter().map(|end| (end, spread.next(), meeting.next())).collect();
        let workers = start.all(&settings, &counters, ends, &stop)?;
        ready.store(true, Ordering::Release);
        announce(&settings, &ports, metrics.as_ref());
        Ok(Gateway { service, began, stop, workers, servers: (server, metrics) })
    }

    /// Control's loop: until told to stop.
    fn serve(&mut self, mut signals: Signals, path: Option<&Path>) {
        loop {
            for signal in signals.pending() {
                if signal != SIGHUP {
                    tracing::info!(signal, "stopping");
                    return;
                }
                self.reload(path);
            }
            if self.service.turn(self.began.elapsed()) == 0 {
                self.service.rest(REST);
            }
        }
    }

    /// SIGHUP: makes the running state that of the file, or says why not.
    fn reload(&mut self, path: Option<&Path>) {
        let Some(path) = path else {
            return tracing::warn!("SIGHUP, but there is no configuration file to read again");
        };
        let done =
            std::fs::read_to_string(path).map_err(|error| error.to_string()).and_then(|text| {
                let folder = path.parent();
                self.service
                    .apply(&text, folder, self.began.elapsed())
                    .map_err(|error| error.to_string())
            });
        match done {
            Ok(outcome) => {
                tracing::info!(file = %path.display(), "configuration read again");
                outcome.notes.iter().for_each(|note| tracing::info!("{note}"));
            }
            Err(error) => tracing::error!(file = %path.display(), "nothing changed: {error}"),
        }
    }

    fn stop(self) {
        // It may be that nobody listens for it.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        drop(self.servers);
        self.stop.store(true, Ordering::Release);
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
        tracing::info!("stopped");
    }
}

/// What connects a worker with control and with the other workers.
type Ends = (WorkerEnd, Option<SpreadEnd<Mbuf>>, Option<MeetingEnd<Mbuf>>);

/// What every worker is started from.
struct WorkerStart<'a> {
    eal: &'a Eal,
    plan: &'a Plan,
    ports: &'a [Arc<Port>],
    pool: &'a Arc<Pool>,
    tables: &'a Arc<Tables>,
}

impl WorkerStart<'_> {
    fn all(
        &self,
        settings: &Settings,
        counters: &[Arc<WorkerCounters>],
        ends: Vec<Ends>,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let mut started = Vec::new();
        for (number, (ends, counters)) in ends.into_iter().zip(counters).enumerate() {
            match self.one(number, settings.dpdk.idle, Arc::clone(counters), ends, stop) {
                Ok(worker) => started.push(worker),
                Err(error) => {
                    stop.store(true, Ordering::Release);
                    // Those that run end at once; their panics are reported by their hook.
                    started.into_iter().for_each(|worker: JoinHandle<()>| drop(worker.join()));
                    return Err(error);
                }
            }
        }
        Ok(started)
    }

    fn one(
        &self,
        number: usize,
        idle: Idle,
        counters: Arc<WorkerCounters>,
        (end, spread, meeting): Ends,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<JoinHandle<()>> {
        let planned = &self.plan.workers[number];
        let queues: Vec<(PortId, u16)> = planned.queues.clone();
        let (ports, pool) = (self.ports.to_vec(), Arc::clone(self.pool));
        let (tables, stop) = (Arc::clone(self.tables), Arc::clone(stop));
        let first_id = first_identification(number, self.plan.workers.len());
        let (said, hear) = bounded(1);
        let worker =
            start_worker(self.eal, planned.core, &format!("gh-worker{number}"), move || {
                let io = match DpdkIo::new(&ports, &queues, number as u16, &pool) {
                    Ok(io) => io,
                    Err(error) => {
                        // The starter waits for this very message.
                        let _ = said.send(Err(error));
                        return;
                    }
                };
                let _ = said.send(Ok(()));
                let config = WorkerConfig { queues, idle, first_id };
                Worker::new(io, tables, counters, end, config)
                    .with_spread(spread)
                    .with_meeting(meeting)
                    .run(&stop);
            })?;
        match hear.recv() {
            Ok(Ok(())) => Ok(worker),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => bail!("worker {number} died while it started"),
        }
    }
}

/// Where the metrics server gets its answers: control's thread.
struct Scraper {
    ask: Sender<Sender<Snapshot>>,
    ready: Arc<AtomicBool>,
}

impl Source for Scraper {
    fn snapshot(&self) -> Option<Snapshot> {
        let (reply, answer) = bounded(1);
        self.ask.send(reply).ok()?;
        answer.recv_timeout(Duration::from_secs(5)).ok()
    }
    fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

fn start_metrics(
    listen: Option<&str>,
    ask: Sender<Sender<Snapshot>>,
    ready: Arc<AtomicBool>,
) -> anyhow::Result<Option<MetricsServer>> {
    let Some(listen) = listen else { return Ok(None) };
    Ok(Some(MetricsServer::start(listen, Scraper { ask, ready })?))
}

fn announce(settings: &Settings, ports: &[Arc<Port>], metrics: Option<&MetricsServer>) {
    for port in ports {
        let view = port.view();
        tracing::info!(
            port = view.name, device = view.device, driver = view.driver, mac = %view.mac,
            link_up = view.link_up, rx_queues = view.rx_queues, tx_queues = view.tx_queues, "port"
        );
    }
    let metrics =
        metrics.map_or_else(|| "off".to_owned(), |m| format!("http://{}/metrics", m.address));
    tracing::info!(socket = %settings.socket.display(), metrics, "greyhound is up");
    // It may be that nobody listens for it.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
