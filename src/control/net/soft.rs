//! What is known of a tunnel while it runs, beside its configuration and never
//! in it: facts that the outside tells and time takes away again (the "soft
//! state" of RFC 2003 §5). Whoever learns or forgets one says so here, and that
//! tunnel's adjacencies are planned anew, no others.
//!
//! It is about the way between the two ends: another outer pair begins with
//! none of it.

use super::Net;
use super::commit::Work;
use super::watch::Dependent;
use crate::ids::IfId;

/// What is known of one tunnel. The default is to know nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Soft {
    /// Largest *outer* datagram that the path to the far end is known to take,
    /// bytes; `None`: what the link takes.
    pub path_mtu: Option<u16>,
    /// Liveness says that the far end does not answer.
    pub dead: bool,
    /// ICMP said that the far end is not reached: its packets are answered so,
    /// for a moment. Routes over it stay.
    pub unreachable: bool,
}

impl Net {
    /// What is known of a tunnel.
    pub fn soft(&self, tunnel: IfId) -> Soft {
        self.soft.get(&tunnel).copied().unwrap_or_default()
    }

    /// Changes what is known of a tunnel; published before this returns. If it
    /// was known already, or there is no such tunnel, nothing happens.
    pub fn set_soft(&mut self, tunnel: IfId, change: impl FnOnce(&mut Soft)) {
        let was = self.soft(tunnel);
        let mut now = was;
        change(&mut now);
        if now == was || !self.tunnels.contains_key(&tunnel) {
            return;
        }
        let mut work = Work::default();
        work.dependents.push(Dependent::Tunnel(tunnel));
        self.put_soft(tunnel, now, &mut work);
        self.finish(work, false);
    }

    /// Nothing is known of a tunnel any more.
    pub(super) fn forget_soft(&mut self, tunnel: IfId, work: &mut Work) {
        self.put_soft(tunnel, Soft::default(), work);
    }

    fn put_soft(&mut self, tunnel: IfId, now: Soft, work: &mut Work) {
        let was = if now == Soft::default() {
            self.soft.remove(&tunnel)
        } else {
            self.soft.insert(tunnel, now)
        };
        if was.unwrap_or_default().dead != now.dead {
            self.withdraw(tunnel, work);
        }
    }

    /// Largest outer datagram of a tunnel whose packets leave by a link.
    pub(super) fn outer_mtu(&self, tunnel: IfId, link: IfId) -> u16 {
        let most = self.links.mtu(link);
        self.heard(tunnel).path_mtu.map_or(most, |path| path.min(most))
    }

    /// The same, without what ICMP told if the tunnel does not listen to it.
    pub(super) fn heard(&self, tunnel: IfId) -> Soft {
        let mut soft = self.soft(tunnel);
        let listens = || {
            let key = self.links.record(tunnel)?.key;
            Some(self.desired.tunnels.get(&key)?.pmtu)
        };
        if soft != Soft::default() && listens() != Some(true) {
            (soft.path_mtu, soft.unreachable) = (None, false);
        }
        soft
    }
}
