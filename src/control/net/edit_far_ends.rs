//! The ops on far ends: outer pairs, and what multipoint tunnels have of several.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::edit::{Done, Edit};
use super::edit_interfaces::{check_liveness, check_numbers, host_only, two_families};
use super::refusal::{Fault, Refusal};
use super::tunnel_config::{MOST_LEARNED, Multipoint, TunnelConfig};
use super::values;
use crate::ids::Family;
use crate::model::spec::{Remote, TunnelKind, TunnelSpec};

impl Edit<'_> {
    pub(super) fn set_endpoints(
        &mut self,
        name: &str,
        local: Option<IpAddr>,
        remote: Option<Remote>,
    ) -> Done {
        let (key, kind, mut config) = self.tunnel_config(name).map_err(|r| r.on("name"))?;
        if let Some(all) = &mut config.multipoint {
            let (Some(local), None) = (local, remote) else {
                let why = "expected an outer source alone, `tunnel SRC any`";
                return Err(Refusal::Multipoint(name.to_owned(), why).on("remote"));
            };
            all.local = local;
            all.learned.clear();
            check_multipoint(name, kind, config.link0, all)?;
            self.put_tunnel(key, Some(config));
            return Ok(());
        }
        if kind == TunnelKind::Ipip && local.is_none() && config.endpoints.is_none() {
            return Err(Refusal::IpipEndpoints(name.to_owned()).on("local"));
        }
        config.set_outer(local, remote);
        check_outer(name, kind, &config)?;
        // An outer header of the other family takes more, or less.
        check_numbers(name, kind, &config)?;
        check_liveness(name, kind, &config)?;
        self.put_tunnel(key, Some(config));
        Ok(())
    }

    /// One of several far ends comes, moves or goes.
    pub(super) fn set_nbma(&mut self, name: &str, inner: IpAddr, outer: Option<IpAddr>) -> Done {
        let (key, kind, mut config) = self.tunnel_config(name).map_err(|r| r.on("name"))?;
        let Some(outer) = outer else {
            let all = config.multipoint.as_mut().map(|all| &mut all.nbma);
            let Some(all) = all.filter(|all| all.contains_key(&inner)) else {
                return Err(Refusal::NoFarEnd(name.to_owned(), inner).on("inner"));
            };
            all.remove(&inner);
            if all.is_empty() {
                let why = "this is the last: expected another first, or `destroy`";
                return Err(Refusal::Multipoint(name.to_owned(), why).on("inner"));
            }
            self.put_tunnel(key, Some(config));
            return Ok(());
        };
        let all = match &mut config.multipoint {
            Some(all) => all,
            none => none.insert(begun(name, &mut config.endpoints, config.pair)?),
        };
        all.learned.remove(&inner);
        all.nbma.insert(inner, outer);
        check_multipoint(name, kind, config.link0, all)?;
        config.up = true;
        self.put_tunnel(key, Some(config));
        Ok(())
    }

    /// A far end that is looked for was found here.
    pub(super) fn found(&mut self, name: &str, at: IpAddr, inner: Option<IpAddr>) -> Done {
        let (key, kind, mut config) = self.tunnel_config(name).map_err(|r| r.on("name"))?;
        if let (Some(all), Some(inner), true) = (&mut config.multipoint, inner, config.learn) {
            learn_one(name, all, inner, at)?;
            check_multipoint(name, kind, config.link0, all)?;
            self.put_tunnel(key, Some(config));
            return Ok(());
        }
        let sought = config.learn || config.host_name().is_some();
        let Some((local, remote)) = config.endpoints.as_mut().filter(|_| sought) else {
            return Err(Refusal::NotSought(name.to_owned()).on("name"));
        };
        *remote = at;
        check_endpoints(name, kind, (*local, at))?;
        self.put_tunnel(key, Some(config));
        Ok(())
    }

    /// A far end that was learned is none any more.
    pub(super) fn gone(&mut self, name: &str, inner: IpAddr) -> Done {
        let (key, _, mut config) = self.tunnel_config(name).map_err(|r| r.on("name"))?;
        let learned = config.multipoint.as_mut().and_then(|all| all.learned.remove(&inner));
        learned.ok_or_else(|| Refusal::NoFarEnd(name.to_owned(), inner).on("inner"))?;
        self.put_tunnel(key, Some(config));
        Ok(())
    }
}

/// One more of several far ends, or one that moved.
fn learn_one(name: &str, all: &mut Multipoint, inner: IpAddr, outer: IpAddr) -> Done {
    let refuse = |why| Err(Refusal::Multipoint(name.to_owned(), why).on("inner"));
    if all.nbma.contains_key(&inner) {
        return refuse("what is configured of one is not learned");
    }
    if !all.learned.contains_key(&inner) && all.learned.len() >= MOST_LEARNED {
        return refuse("as many are learned as can be");
    }
    all.learned.insert(inner, outer);
    Ok(())
}

/// A tunnel with an outer source alone becomes one with several far ends.
fn begun(
    name: &str,
    endpoints: &mut Option<(IpAddr, IpAddr)>,
    pair: Option<(Ipv4Addr, Ipv4Addr)>,
) -> Result<Multipoint, Fault> {
    let refuse = |field, why| Err(Refusal::Multipoint(name.to_owned(), why).on(field));
    if pair.is_some() {
        return refuse("peer", "expected no `peer` beside them");
    }
    match endpoints.take() {
        Some((local, remote)) if remote.is_unspecified() => {
            Ok(Multipoint { local, address: None, nbma: BTreeMap::new(), learned: BTreeMap::new() })
        }
        Some(_) => refuse("remote", "expected no `remote` beside them"),
        None => refuse("local", "expected `local`, the outer source: `tunnel SRC any`"),
    }
}

/// What a multipoint tunnel has for all of its far ends.
pub(super) fn check_multipoint(
    name: &str,
    kind: TunnelKind,
    link0: bool,
    all: &Multipoint,
) -> Done {
    if kind != TunnelKind::Gre || !link0 {
        let why = "expected a gre tunnel with GRE headers";
        return Err(Refusal::Multipoint(name.to_owned(), why).on("nbma"));
    }
    for (inner, outer) in all.nbma.iter().chain(&all.learned) {
        values::unicast("far end", *inner).map_err(|r| r.on("nbma"))?;
        check_endpoints(name, kind, (all.local, *outer))
            .map_err(|fault| fault.refusal.on("nbma"))?;
    }
    match all.address {
        Some(address) => values::unicast("address", address.into()).map_err(|r| r.on("address")),
        None => Ok(()),
    }
}

/// The inner address of a tunnel that has several far ends.
pub(super) fn new_hub(
    name: &str,
    address: Ipv4Addr,
    prefix_len: Option<u8>,
    peer: Option<IpAddr>,
) -> Result<Ipv4Addr, Fault> {
    if peer.is_some() {
        let why = "expected an address alone, and the far ends by `nbma`";
        return Err(Refusal::Multipoint(name.to_owned(), why).on("peer"));
    }
    host_only(address, prefix_len)?;
    values::unicast("address", address.into()).map_err(|r| r.on("address"))?;
    Ok(address)
}

/// The far ends of a tunnel that has several.
pub(super) fn multipoint(spec: &TunnelSpec) -> Result<Option<Multipoint>, Fault> {
    if spec.nbma.is_empty() {
        return Ok(None);
    }
    let refuse = |field, why| Err(Refusal::Multipoint(spec.name.clone(), why).on(field));
    if spec.remote.is_some() {
        return refuse("remote", "expected no `remote` beside them");
    }
    if spec.peer.is_some() {
        return refuse("peer", "expected no `peer` beside them");
    }
    let Some(local) = spec.local else {
        return refuse("local", "expected `local`, the outer source");
    };
    let (address, nbma) = (spec.address, spec.nbma.clone());
    let all = Multipoint { local, address, nbma, learned: BTreeMap::new() };
    check_multipoint(&spec.name, spec.kind, spec.link0, &all)?;
    Ok(Some(all))
}

/// The outer pair as configured, and how its far end is found.
pub(super) fn check_outer(name: &str, kind: TunnelKind, config: &TunnelConfig) -> Done {
    match config.endpoints {
        None if config.remote.is_some() => Err(half_outer(name).on("local")),
        None => Ok(()),
        Some((local, remote)) if remote.is_unspecified() => check_source(name, kind, local),
        Some(ends) => check_endpoints(name, kind, ends),
    }
}

/// One of the outer addresses without the other.
pub(super) fn half_outer(name: &str) -> Refusal {
    let (what, first, second) = ("tunnel addresses", "local", "remote");
    Refusal::HalfPair { name: name.to_owned(), what, first, second }
}

fn check_source(name: &str, kind: TunnelKind, local: IpAddr) -> Done {
    if kind == TunnelKind::Ipip && local.is_ipv4() {
        return Err(Refusal::IpipEndpoints(name.to_owned()).on("local"));
    }
    values::unicast("tunnel source", local).map_err(|r| r.on("local"))
}

fn check_endpoints(name: &str, kind: TunnelKind, (local, remote): (IpAddr, IpAddr)) -> Done {
    check_source(name, kind, local)?;
    values::unicast("tunnel destination", remote).map_err(|r| r.on("remote"))?;
    if Family::of(local) != Family::of(remote) {
        return Err(two_families(name, local, remote).on("remote"));
    }
    if local == remote {
        return Err(Refusal::SameEnds { name: name.to_owned(), address: local }.on("remote"));
    }
    Ok(())
}
