//! What a transaction touched: what the steps after it go by.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::desired::{Desired, Item, Object, Target};

/// Everything that is not as it was, or was written once more.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Static routes, in order. Apart from the rest, and with what they became: there
    /// can be a million, and each step looks at them.
    pub(super) routes: Vec<RouteChange>,
    /// What there was of all else.
    pub(super) others: BTreeMap<Object, Item>,
}

/// A static route that was put, changed or taken away.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteChange {
    /// Its prefix.
    pub(super) to: IpNet,
    /// Where it led, if there was one.
    pub(super) old: Option<Target>,
    /// Where it leads, if there is one.
    pub(super) new: Option<Target>,
}

impl Touched {
    /// From what was there before each change, in order.
    pub(super) fn new<'a>(log: impl Iterator<Item = &'a Item>, desired: &Desired) -> Touched {
        let mut touched = Touched::default();
        for item in log {
            match item {
                Item::Route(to, old) => {
                    touched.routes.push(RouteChange { to: *to, old: *old, new: None });
                }
                other => _ = touched.others.entry(other.object()).or_insert_with(|| other.clone()),
            }
        }
        // Stable: of several with one prefix the first stays.
        touched.routes.sort_by_key(|change| change.to);
        touched.routes.dedup_by_key(|change| change.to);
        touched.look_up(desired);
        touched
    }

    /// Where the routes lead now. A full table is read through, in order as they
    /// are; looking up each of a million takes longer.
    fn look_up(&mut self, desired: &Desired) {
        const FEW: usize = 16;
        let mut all = desired.routes.iter().peekable();
        let many = self.routes.len() >= desired.routes.len() / FEW;
        for change in &mut self.routes {
            change.new = if many {
                while all.next_if(|(to, _)| **to < change.to).is_some() {}
                all.next_if(|(to, _)| **to == change.to).map(|(_, target)| *target)
            } else {
                desired.routes.get(&change.to).copied()
            };
        }
    }
}
