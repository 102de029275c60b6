//! `wattlm budget`: what may still be used, as a page for people or the wire's object for programs.

use crate::client::Client;
use crate::error::Result;
use crate::sched::Supply;
use crate::service::{Budget, PurseStanding};
use crate::units::Microjoules;

use super::print::{seconds, table, Out};
use super::read;

pub(super) fn run(client: &Client, uid: Option<u32>, out: Out) -> Result<()> {
    let budget = client.budget(uid)?;
    if out.json {
        return out.object(&budget);
    }
    out.line(page(&read(budget)?))
}

fn page(b: &Budget) -> String {
    let supply = match b.supply {
        Supply::Mains => "mains",
        Supply::Battery => "battery",
        Supply::LowBattery => "low battery",
    };
    let charge = b.battery_percent.map(|percent| format!(", battery at {percent:.0} %")).unwrap_or_default();
    let policy = b.policy.name();
    let cap = b.cap.map(|cap| format!(", at most {cap}")).unwrap_or_default();
    let rule = b.rule.as_ref().map_or("no [[client]] of its own".to_owned(), |rule| format!("[[client]] {rule}"));
    let class = serde_json::to_value(b.class).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let at_once = b.requests.map(|n| format!(" of {n} at once")).unwrap_or_default();
    let models = if b.models.is_empty() { "all".to_owned() } else { b.models.join(", ") };
    let mut rows = vec![
        ("client", format!("{}, {rule}", b.client)),
        ("requests", format!("{} running{at_once}; class {class} at most", b.running)),
        ("models", models),
        ("power", format!("{supply}{charge}; {policy}{cap}")),
    ];
    if let Some(why) = &b.restriction {
        rows.push(("now", format!("only interactive requests start: {why}")));
    }
    let mut page: String = rows.iter().map(|(name, value)| format!("{name:<10}{value}\n")).collect();
    if b.purses.is_empty() {
        page.push_str("\nNo energy budget bounds you.");
        return page;
    }
    page.push('\n');
    let head = ["BUDGET", ">LEFT", ">OF", ">IN USE", ">BACK IN AN HOUR", ">FULL IN"];
    page.push_str(&table(&head, &b.purses.iter().map(row).collect::<Vec<_>>()));
    page
}

fn row(p: &PurseStanding) -> Vec<String> {
    let name = match p.name.as_str() {
        "device_hour" => "the device's, hour",
        "device_day" => "the device's, day",
        "client_hour" => "yours, hour",
        other => other,
    };
    let joules = |j: f64| Microjoules::from_f64(j).to_string();
    let full = if p.full_in_s > 0.0 { seconds(p.full_in_s) } else { "full".to_owned() };
    vec![name.to_owned(), joules(p.left), joules(p.joules), joules(p.reserved), joules(p.refill_per_hour), full]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::{Class, Policy};
    use crate::units::Microwatts;

    #[test]
    fn a_page_tells_what_is_left_and_what_bounds() {
        let purse = PurseStanding {
            name: "client_hour".into(),
            joules: 500.0,
            left: 120.5,
            reserved: 5.0,
            refill_per_hour: 500.0,
            full_in_s: 75.0,
        };
        let mut budget = Budget {
            client: "client:camera".into(),
            rule: Some("camera".into()),
            class: Class::Background,
            models: vec!["m".into()],
            running: 1,
            requests: Some(2),
            purses: vec![purse],
            supply: Supply::LowBattery,
            on_battery: true,
            battery_percent: Some(12.4),
            restriction: Some("the battery is below its floor".into()),
            cap: Some(Microwatts(3_500_000)),
            policy: Policy::MinEnergy,
        };
        let page = page(&budget);
        for part in [
            "client    client:camera, [[client]] camera\n",
            "requests  1 running of 2 at once; class background at most\n",
            "power     low battery, battery at 12 %; min-energy, at most 3.50 W\n",
            "now       only interactive requests start: the battery is below its floor\n",
            "yours, hour  120.5 J  500.0 J  5.00 J          500.0 J  1 min 15 s",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
        budget.purses.clear();
        assert!(super::page(&budget).ends_with("No energy budget bounds you."));
    }
}
