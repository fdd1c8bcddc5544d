//! Packet filters: their numbers, and the lists that workers read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Net;
use super::desired::{Desired, FilterConfig};
use super::key::Key;
use super::refusal::Refusal;
use super::slots::Slots;
use crate::ids::IfId;
use crate::model::spec::{FilterAction, FilterSpec};
use crate::tables::Tables;
use crate::tables::epoch::Guard;
use crate::tables::filter::{FILTER_NUMBERS, Filters};

/// Numbers of rules: they are those of counters, so one is given out again only
/// when no worker counts the old rule any more.
pub(super) struct Numbers {
    by_name: BTreeMap<String, u16>,
    slots: Slots<u16>,
    /// Given out since somebody asked.
    fresh: Vec<u16>,
}

impl Numbers {
    pub(super) fn new(tables: &Tables) -> Numbers {
        let slots = Slots::new(|number| number as u16, 0, FILTER_NUMBERS, tables.limbo());
        Numbers { by_name: BTreeMap::new(), slots, fresh: Vec::new() }
    }

    /// Makes sure that the rules that are wanted can have numbers.
    pub(super) fn reserve(&mut self, wanted: &Desired, tables: &Tables) -> Result<(), Refusal> {
        let names = wanted.filters.iter().map(|rule| &rule.spec.name);
        let needed = names.filter(|name| !self.by_name.contains_key(*name)).count();
        if self.slots.free() < needed {
            tables.collect();
            self.reclaim();
        }
        if self.slots.free() < needed { Err(Refusal::FiltersInUse) } else { Ok(()) }
    }

    /// Gives numbers to rules that have none. A rule's counters go by its name.
    fn enter(&mut self, rules: &[FilterConfig]) {
        for rule in rules {
            let name = &rule.spec.name;
            if !self.by_name.contains_key(name)
                && let Some(number) = self.slots.take()
            {
                self.by_name.insert(name.clone(), number);
                self.fresh.push(number);
            }
        }
    }

    /// Takes the numbers of rules away that are not there any more.
    fn leave(&mut self, rules: &[FilterConfig], guard: &Guard) {
        let names: BTreeSet<&String> = rules.iter().map(|rule| &rule.spec.name).collect();
        let (slots, here) = (&mut self.slots, |name: &String| names.contains(name));
        self.by_name.retain(|name, number| {
            let stays = here(name);
            if !stays {
                slots.give_back(*number, guard);
            }
            stays
        });
        self.slots.seal(guard);
    }

    pub(super) fn reclaim(&mut self) {
        self.slots.reclaim();
    }
}

impl Net {
    /// What workers are to read: none if there are no rules.
    pub(super) fn filters_now(&mut self) -> Option<Arc<Filters>> {
        let rules = &self.desired.filters;
        self.filter_numbers.enter(rules);
        let numbered = rules.iter().filter_map(|rule| {
            let number = *self.filter_numbers.by_name.get(&rule.spec.name)?;
            Some((&rule.spec, number, self.arrivals(rule)))
        });
        (!rules.is_empty()).then(|| Arc::new(Filters::new(numbered)))
    }

    /// The interfaces whose packets meet a rule: of a multipoint tunnel its parts.
    fn arrivals(&self, rule: &FilterConfig) -> Vec<IfId> {
        let Some(key) = rule.interface else { return Vec::new() };
        let parts = match key {
            Key::Gre(number) => {
                Key::Peer(number, crate::model::ip::FIRST)
                    ..=Key::Peer(number, crate::model::ip::LAST)
            }
            other => other..=other,
        };
        let parts = self.desired.tunnels.range(parts).map(|(part, _)| *part);
        parts.chain([key]).filter_map(|key| self.links.id(key)).collect()
    }

    /// Numbers of rules that are gone are given out again after a while.
    pub(super) fn forget_filters(&mut self, guard: &Guard) {
        self.filter_numbers.leave(&self.desired.filters, guard);
    }

    /// The rules in order, with their numbers.
    pub fn filters(&self) -> impl Iterator<Item = (u16, &FilterSpec)> {
        let number = |rule: &FilterConfig| self.filter_numbers.by_name.get(&rule.spec.name);
        self.desired.filters.iter().filter_map(move |rule| Some((*number(rule)?, &rule.spec)))
    }

    /// The rule of a number.
    pub fn filter(&self, number: u16) -> Option<(&str, FilterAction)> {
        let found = self.filters().find(|(other, _)| *other == number);
        found.map(|(_, spec)| (spec.name.as_str(), spec.action))
    }

    /// Numbers that rules got since the last call: they count from 0.
    pub fn fresh_filters(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.filter_numbers.fresh)
    }
}
