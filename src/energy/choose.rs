//! Which sensors make the meter: the order of trust, and why each of the others is not used.
//!
//! Pure: what there is and whether it can be read comes from outside. What always holds: of two chosen sensors neither
//! sees a part of what the other sees.
//!
//! The order, best first:
//! 1. the supply of the board or module, where a sensor is on it: it sees everything, and the idle baseline with it;
//!    a counter before a power that has to be integrated;
//! 2. the rails of a module that together feed it;
//! 3. the processor packages by their counters, and graphics cards with them: they hang on supplies of their own;
//! 4. the same by their power;
//! 5. a rail of which nothing is known, that which carries the most: a supply carries what it feeds;
//! 6. the battery, while it discharges: coarse, slow, and silent on the charger;
//! 7. the platform as RAPL's `psys` has it: on many boards it is not wired, and shows nothing or nonsense.
//!
//! A graphics card alone is no meter: it says nothing of the processor, where every request costs something.

use super::sources::{Fault, Kind, Role, Spec};
use super::Scope;

/// A sensor as it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What is known of it.
    pub spec: Spec,
    /// What it showed.
    pub value: Result<u64, Fault>,
}

impl Found {
    /// It works, or will again by itself.
    fn usable(&self) -> bool {
        matches!(self.value, Ok(_) | Err(Fault::Resting(_)))
    }

    /// Whether it is of no use to add the two.
    fn overlaps(&self, other: &Found) -> bool {
        let (a, b) = (&self.spec, &other.spec);
        // Two batteries, or the supplies of two boards, are two; anything else in the device is in its supply.
        let whole = (a.role.whole() || b.role.whole()) && a.role != b.role;
        whole || a.contains.contains(&b.name) || b.contains.contains(&a.name)
    }
}

/// What is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Which of the sensors found.
    pub used: Vec<usize>,
    /// How far down the order of trust they stand; the lower the better. `usize::MAX`: there is none.
    pub rank: usize,
    /// Of each sensor found why it is used or not.
    pub why: Vec<String>,
    /// What is wrong with the setting.
    pub complaint: Option<String>,
}

impl Choice {
    /// What the chosen ones see together.
    pub fn scope(&self, found: &[Found]) -> Scope {
        let scopes = self.used.iter().filter_map(|i| found.get(*i)).map(|f| f.spec.scope);
        scopes.max().unwrap_or(Scope::Rail)
    }

    fn none(found: &[Found], why: &str) -> Choice {
        Choice { used: Vec::new(), rank: usize::MAX, why: vec![why.to_owned(); found.len()], complaint: None }
    }
}

/// Chooses by the setting `source` of the configuration.
pub fn choose(source: &str, found: &[Found]) -> Choice {
    match source.trim() {
        "none" => Choice::none(found, "no: the configuration says source = \"none\""),
        "auto" => automatic(found),
        names => named(names, found),
    }
}

/// The order of trust.
fn ranks(found: &[Found]) -> Vec<Vec<usize>> {
    let all = |wanted: &dyn Fn(&Spec) -> bool| -> Vec<usize> {
        (0..found.len()).filter(|i| found[*i].usable() && wanted(&found[*i].spec)).collect()
    };
    let counts = |s: &Spec| matches!(s.kind, Kind::Counter { .. });
    let first = |mut of: Vec<usize>| {
        of.truncate(1);
        of
    };
    let cards = all(&|s| s.role == Role::Graphics);
    let with_cards = |mut of: Vec<usize>| {
        if !of.is_empty() {
            of.extend(&cards);
        }
        of
    };
    let mut rails = all(&|s| s.role == Role::Rail && s.kind == Kind::Power);
    rails.sort_by_key(|i| std::cmp::Reverse(found[*i].value.as_ref().copied().unwrap_or(0)));
    vec![
        first(all(&|s| s.role == Role::Supply && counts(s))),
        first(all(&|s| s.role == Role::Supply && !counts(s))),
        all(&|s| s.role == Role::Module),
        with_cards(all(&|s| s.role == Role::Processor && counts(s))),
        with_cards(all(&|s| s.role == Role::Processor && !counts(s))),
        first(rails),
        all(&|s| s.role == Role::Battery),
        first(all(&|s| s.role == Role::Platform)),
    ]
}

fn automatic(found: &[Found]) -> Choice {
    let ranks = ranks(found);
    let Some(rank) = ranks.iter().position(|r| !r.is_empty()) else {
        let why = found.iter().map(|f| unused(f, &[])).collect();
        return Choice { used: Vec::new(), rank: usize::MAX, why, complaint: None };
    };
    let mut used: Vec<usize> = Vec::new();
    for i in &ranks[rank] {
        if !used.iter().any(|u| found[*u].overlaps(&found[*i])) {
            used.push(*i);
        }
    }
    let chosen: Vec<&Found> = used.iter().map(|u| &found[*u]).collect();
    let why = |(i, f): (usize, &Found)| if used.contains(&i) { in_use(f).to_owned() } else { unused(f, &chosen) };
    let why = found.iter().enumerate().map(why).collect();
    Choice { used, rank, why, complaint: None }
}

/// Why a chosen one is.
fn in_use(f: &Found) -> &'static str {
    match (f.spec.role, f.spec.kind) {
        (Role::Supply, _) => "yes: sees everything",
        (Role::Module, _) => "yes: together these rails are the module",
        (Role::Processor, Kind::Counter { .. }) => "yes: counts the processor",
        (Role::Processor, Kind::Power) => "yes: sees the processor",
        (Role::Graphics, _) => "yes: is not in the processor's figure",
        (Role::Rail, _) => "yes: carries the most",
        (Role::Battery, _) => "yes: there is nothing better",
        (Role::Platform, _) => "yes: there is nothing else",
        (Role::Part, _) => "yes",
    }
}

/// Why another is not.
fn unused(f: &Found, chosen: &[&Found]) -> String {
    if let Err(fault) = &f.value {
        return format!("no: {fault}");
    }
    if let Some(whole) = chosen.iter().find(|c| c.overlaps(f)) {
        return match (whole.spec.contains.contains(&f.spec.name), f.spec.contains.contains(&whole.spec.name)) {
            (true, true) => format!("no: the same as {}", whole.spec.name),
            _ if whole.spec.role.whole() || whole.spec.contains.contains(&f.spec.name) => {
                format!("no: part of {}", whole.spec.name)
            }
            _ if f.spec.role == Role::Battery => format!("no: silent on the charger; {} always works", whole.spec.name),
            _ if f.spec.role == Role::Platform => "no: rarely wired; name it to use it".into(),
            _ => format!("no: sees what {} sees", whole.spec.name),
        };
    }
    match f.spec.role {
        Role::Graphics => "no: a card alone says nothing of the processor; name it to use it".into(),
        Role::Part if chosen.is_empty() => "no: only a part; name it to use it".into(),
        _ => "no: may be a part of the others; name it to use it".into(),
    }
}

/// The sensors that somebody wrote down, those that exist and do not overlap.
fn named(names: &str, found: &[Found]) -> Choice {
    let mut choice = Choice::none(found, "no: the configuration names others");
    choice.rank = 0;
    let mut missing = Vec::new();
    for name in names.split('+').map(str::trim) {
        let Some(i) = found.iter().position(|f| f.spec.name == name) else {
            missing.push(name);
            continue;
        };
        if let Some(u) = choice.used.iter().find(|u| found[**u].overlaps(&found[i])) {
            let other = &found[*u].spec.name;
            choice.why[i] = format!("no: {other} sees it too, it would count twice");
            choice.complaint = Some(format!("'{name}' and '{other}' see the same: only the latter is used"));
        } else {
            choice.why[i] = match &found[i].value {
                Ok(_) => "yes: the configuration names it".into(),
                Err(fault) => format!("yes, but it {fault}"),
            };
            choice.used.push(i);
        }
    }
    if !missing.is_empty() {
        // A sum that lacks a part is not what was asked for.
        choice.used.clear();
        choice.rank = usize::MAX;
        choice.complaint =
            Some(format!("there is no sensor '{}'; `wattlm meter` lists those there are", missing.join("', '")));
    }
    choice
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::units::Microwatts;

    const COUNTER: Kind = Kind::Counter { range: None };

    fn sensor(name: &str, role: Role, kind: Kind, contains: &[&str]) -> Found {
        let scope = if role.whole() { Scope::Board } else { Scope::Package };
        let spec = Spec {
            name: name.into(),
            what: "",
            scope,
            role,
            kind,
            contains: contains.iter().map(|c| (*c).to_owned()).collect(),
            refresh: Duration::ZERO,
            limit: Microwatts(u64::MAX),
            averages: false,
            restless: false,
            path: "/".into(),
        };
        Found { spec, value: Ok(1_000_000) }
    }

    fn machine() -> Vec<Found> {
        vec![
            sensor("p0", Role::Processor, COUNTER, &["p0/core", "m0"]),
            sensor("p0/core", Role::Part, COUNTER, &[]),
            sensor("p1", Role::Processor, COUNTER, &[]),
            sensor("m0", Role::Processor, COUNTER, &["p0", "p0/core"]),
            sensor("psys", Role::Platform, COUNTER, &[]),
            sensor("apu", Role::Processor, Kind::Power, &["p0"]),
            sensor("gpu", Role::Graphics, COUNTER, &[]),
            sensor("bat", Role::Battery, Kind::Power, &[]),
            sensor("rail", Role::Rail, Kind::Power, &[]),
            sensor("big", Role::Rail, Kind::Power, &[]),
        ]
    }

    fn used(source: &str, found: &[Found]) -> Vec<String> {
        choose(source, found).used.iter().map(|i| found[*i].spec.name.clone()).collect()
    }

    #[test]
    fn packages_and_cards_are_added_and_nothing_twice() {
        let found = machine();
        assert_eq!(used("auto", &found), ["p0", "p1", "gpu"]);
        let choice = choose("auto", &found);
        for (name, why) in [
            ("p0/core", "no: part of p0"),
            ("m0", "no: the same as p0"),
            ("psys", "no: rarely wired; name it to use it"),
            ("apu", "no: sees what p0 sees"),
            ("bat", "no: silent on the charger; p0 always works"),
            ("rail", "no: may be a part of the others; name it to use it"),
        ] {
            let i = found.iter().position(|f| f.spec.name == name).unwrap();
            assert_eq!(choice.why[i], why, "{name}");
        }
        assert_eq!(choice.scope(&found), Scope::Package);
    }

    #[test]
    fn a_board_meter_stands_alone() {
        let mut found = machine();
        found.push(sensor("in", Role::Supply, Kind::Power, &[]));
        assert_eq!(used("auto", &found), ["in"]);
        assert_eq!(choose("auto", &found).scope(&found), Scope::Board);
        assert_eq!(choose("auto", &found).why[6], "no: part of in");
    }

    #[test]
    fn what_cannot_be_read_makes_room_for_the_next() {
        let mut found = machine();
        let mut order = Vec::new();
        found[9].value = Ok(2_000_000);
        while let Some(i) = choose("auto", &found).used.first().copied() {
            order.push(found[i].spec.name.clone());
            found[i].value = Err(Fault::Denied);
        }
        assert_eq!(order, ["p0", "p1", "m0", "apu", "big", "rail", "bat", "psys"]);
        assert_eq!(choose("auto", &found).why[0], "no: permission denied");
        assert_eq!(choose("auto", &found).why[6], "no: a card alone says nothing of the processor; name it to use it");
    }

    #[test]
    fn a_battery_on_the_charger_is_still_the_meter_where_there_is_no_other() {
        let mut battery = sensor("bat", Role::Battery, Kind::Power, &[]);
        battery.value = Err(Fault::Resting("is charging"));
        assert_eq!(used("auto", &[battery]), ["bat"]);
    }

    #[test]
    fn names_are_taken_as_written_but_never_twice() {
        let found = machine();
        assert_eq!(used("p1 + gpu", &found), ["p1", "gpu"]);
        assert_eq!(used("psys", &found), ["psys"]);
        assert_eq!(used("none", &found), [""; 0]);
        let both = choose("p0+p0/core", &found);
        assert_eq!((both.used, both.complaint.is_some()), (vec![0], true));
        let all = choose("psys+gpu", &found);
        assert_eq!(all.complaint.unwrap(), "'gpu' and 'psys' see the same: only the latter is used");
        let missing = choose("p0+nvml:7", &found);
        assert_eq!(missing.used, [0usize; 0]);
        assert!(missing.complaint.unwrap().contains("no sensor 'nvml:7'"));
    }
}
