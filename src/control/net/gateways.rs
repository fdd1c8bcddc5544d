//! Gateways of static routes: where each leads, once for all routes that have it.
//!
//! A route never finds its gateway through itself. So what is shared is where a
//! gateway leads for a route that the lookup did not meet: excluding that one
//! changes nothing. A route that was met is resolved by itself.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use ipnet::IpNet;

use super::hops::Hop;
use super::watch::Met;

/// Gateways as resolved.
#[derive(Debug, Default)]
pub(super) struct Gateways(BTreeMap<IpAddr, Gateway>);

#[derive(Debug, PartialEq, Eq)]
struct Gateway {
    hop: Hop,
    /// Prefixes that were looked at on the way.
    met: Vec<IpNet>,
}

impl Gateways {
    /// Where a gateway leads for this route; `None`: the route has to be resolved
    /// by itself.
    pub(super) fn hop(&self, gateway: IpAddr, route: IpNet) -> Option<Hop> {
        let gateway = self.0.get(&gateway)?;
        (!gateway.met.contains(&route)).then_some(gateway.hop)
    }

    /// True if it was resolved.
    pub(super) fn knows(&self, gateway: IpAddr) -> bool {
        self.0.contains_key(&gateway)
    }

    /// Where a gateway leads now. True if that, or whom it concerns, is not what
    /// it was; of one that was not known nobody had asked before.
    pub(super) fn put(&mut self, gateway: IpAddr, hop: Hop, met: &Met) -> bool {
        let met = met.marks.iter().filter_map(|(prefix, _)| *prefix).collect();
        let now = Gateway { hop, met };
        match self.0.entry(gateway) {
            Entry::Occupied(mut old) => old.insert(now) != *old.get(),
            Entry::Vacant(new) => {
                new.insert(now);
                false
            }
        }
    }

    /// No route has it any more.
    pub(super) fn forget(&mut self, gateway: IpAddr) {
        self.0.remove(&gateway);
    }
}
