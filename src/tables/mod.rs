//! The tables that workers read lock-free and control writes.
//!
//! ```text
//!   packet ─▶ decap: DecapMap ──tunnel──▶ tunnels: Chunked<Tunnel>
//!          └▶ fib4: DIR-24-8 ──next hop─▶ adjacencies: Chunked<Adjacency> ─▶ wire
//!             fib6: trie     ──────┘
//!                          └───group────▶ groups, by flow hash ─▶ next hop
//!             interfaces: Published<Interfaces>     (tens of entries, swapped whole)
//! ```
//!
//! Workers hold one [`epoch::Guard`], repinned once per burst: reading takes no
//! lock, never spins, and neither allocates nor frees. Control is the single
//! writer. Every table changes at the cost of the change, and what it takes out
//! comes back to control after a grace period (see [`epoch`]). The writer's
//! half of a table sits behind a lock that no reader touches: it is never
//! contended as long as control is one thread, and a mistake there costs a wait
//! and not a torn table.
//!
//! Order within a change: publish what is referred to before what refers to it
//! (adjacency, then FIB entry; tunnel, then decap key), and take out in the
//! opposite order. A number (next hop, tunnel, interface) that readers may have
//! seen is given a new meaning only after it has been through a
//! [`epoch::Limbo`].

use std::sync::atomic::AtomicU64;

pub mod adjacency;
pub mod chunked;
pub mod decap;
pub mod door;
#[cfg_attr(all(loom, test), path = "epoch_model.rs")]
pub mod epoch;
pub mod fib4;
pub mod fib6;
pub mod filter;
pub mod group;
pub mod interfaces;
mod prefixes;
pub mod sequence;
mod sync;
pub mod tunnel;

#[cfg(all(loom, test))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;

use crate::flow::FlowHash;
use crate::ids::{MAX_GROUPS, MAX_INTERFACES, MAX_NEXT_HOPS};
use adjacency::Adjacency;
use chunked::Chunked;
use decap::DecapMap;
use door::Door;
use epoch::{Domain, Guard, Limbo, Published, Reader, Slots};
use fib4::Fib4;
use fib6::Fib6;
use group::Groups;
use interfaces::Interfaces;
use sequence::Sequences;
use tunnel::Tunnel;

/// How large the tables are. All but the decapsulation map is address space;
/// memory is taken as entries are written.
#[derive(Clone, Copy, Debug)]
pub struct TablesConfig {
    /// Adjacencies, that is, next hops.
    pub adjacencies: usize,
    /// Tunnel slots; a tunnel's slot is its interface number.
    pub tunnels: usize,
    /// Decapsulation keys.
    pub decap_keys: usize,
    /// FIB groups of 256 entries: one for each /24 that holds a longer prefix.
    pub fib_groups: usize,
    /// IPv6 FIB groups, no more than there are prefixes, and twice as many jumps.
    pub fib6_groups: usize,
}

impl Default for TablesConfig {
    /// As large as the numbers in [`crate::ids`] allow, 128 Ki FIB groups (128
    /// MiB if all are in use), and 512 Ki of IPv6 (32 MiB, and as much for jumps).
    fn default() -> TablesConfig {
        TablesConfig {
            adjacencies: MAX_NEXT_HOPS,
            tunnels: MAX_INTERFACES,
            // An ipip tunnel has two: for IPv4 and for IPv6 inside.
            decap_keys: 2 * MAX_INTERFACES,
            fib_groups: 1 << 17,
            fib6_groups: 1 << 19,
        }
    }
}

/// IPv6 FIB jumps for each group: a prefix alone below an entry costs one, and a
/// change is reserved three.
const JUMPS_PER_GROUP: usize = 2;

/// All tables; one `Arc<Tables>` is shared by the workers and control.
pub struct Tables {
    /// IPv4 destination → next hop.
    pub fib4: Fib4,
    /// IPv6 destination → next hop.
    pub fib6: Fib6,
    /// Group → next hop, by flow hash.
    pub groups: Groups,
    /// The hash that groups are met with: of all workers and control alike.
    pub flow: FlowHash,
    /// Next hop → what to do.
    pub adjacencies: Chunked<Adjacency>,
    /// Outer header → tunnel.
    pub decap: DecapMap,
    /// Tunnel → what decapsulation checks.
    pub tunnels: Chunked<Tunnel>,
    /// Tunnel → which inner sources it lets out, for those that ask.
    pub doors: Slots<Door>,
    /// Tunnel → sequence numbers. The one thing here that workers write.
    pub sequences: Sequences,
    /// Ports as received frames meet them.
    pub interfaces: Published<Interfaces>,
    /// Number of the last transaction published; control adds one to it (with
    /// Release) when all of a change is in the tables.
    pub generation: AtomicU64,
    domain: Domain,
}

impl Tables {
    /// Empty tables: no route, no tunnel, no port.
    pub fn new(config: TablesConfig) -> Tables {
        let domain = Domain::new();
        Tables {
            fib4: Fib4::new(&domain, config.fib_groups),
            fib6: Fib6::new(&domain, config.fib6_groups, JUMPS_PER_GROUP * config.fib6_groups),
            groups: Groups::new(&domain, MAX_GROUPS),
            flow: FlowHash::random(),
            adjacencies: Chunked::new(&domain, config.adjacencies),
            decap: DecapMap::with_capacity(&domain, config.decap_keys),
            tunnels: Chunked::new(&domain, config.tunnels),
            doors: Slots::new(&domain, config.tunnels),
            sequences: Sequences::new(config.tunnels),
            interfaces: Published::new(&domain, Interfaces::default()),
            generation: AtomicU64::new(0),
            domain,
        }
    }

    /// Registers a worker; call on the worker's thread.
    pub fn reader(&self) -> Reader {
        self.domain.reader()
    }

    /// A guard for control. Never on a worker: it may allocate and collect.
    pub fn pin(&self) -> Guard {
        self.domain.pin()
    }

    /// A waiting room for numbers (next hops, interfaces) that readers may
    /// still have seen. [`Limbo::seal`] it when a transaction ends, before
    /// [`Tables::collect`].
    pub fn limbo<T>(&self) -> Limbo<T> {
        Limbo::new(&self.domain)
    }

    /// Begins the grace period of all that was taken out, and frees or reuses
    /// that whose grace period is over (control; after each transaction and now
    /// and then when idle). Never waits for a reader.
    pub fn collect(&self) {
        let guard = self.pin();
        self.fib4.seal(&guard);
        self.fib6.seal(&guard);
        self.groups.seal(&guard);
        self.adjacencies.seal(&guard);
        self.decap.seal(&guard);
        self.tunnels.seal(&guard);
        self.doors.seal(&guard);
        self.interfaces.seal(&guard);
        drop(guard);
        self.domain.advance();
        self.fib4.reclaim();
        self.fib6.reclaim();
        self.groups.reclaim();
        self.adjacencies.reclaim();
        self.decap.reclaim();
        self.tunnels.reclaim();
        // Rarely changed: nothing is kept for the next time.
        while self.doors.spare().is_some() {}
        self.interfaces.reclaim();
    }

    /// Memory of all tables in bytes; for the FIB what is reserved, of which
    /// only written pages are physical.
    pub fn bytes(&self) -> usize {
        let guard = self.pin();
        self.fib4.stats().bytes
            + self.fib6.stats().bytes
            + self.groups.bytes(&guard)
            + self.adjacencies.bytes(&guard)
            + self.decap.bytes()
            + self.tunnels.bytes(&guard)
            + self.sequences.bytes()
    }
}

impl Default for Tables {
    fn default() -> Tables {
        Tables::new(TablesConfig::default())
    }
}
