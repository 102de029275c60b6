//! What is told of the account: lines picked and summed as asked, as exact or as coarse as the asker may see them.
//!
//! Pure. The same report goes over the wire and is made by a program that reads the files itself.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::book::{DeviceLine, Entry, Page};
use super::day::{Day, Period};
use crate::energy::coarse::coarse;
use crate::units::Microjoules;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Query {
    /// One client's lines; `None`: all clients'.
    pub uid: Option<u32>,
    /// Not what is older.
    pub from: Option<Day>,
    /// Not what is newer.
    pub to: Option<Day>,
    /// One line for each of these; `None`: for each period, client and model.
    pub by: Option<By>,
}

/// What lines are summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The day, or the month where days were merged.
    Day,
    /// The model.
    Model,
    /// The client.
    Uid,
}

impl FromStr for By {
    type Err = String;
    fn from_str(text: &str) -> Result<By, String> {
        match text {
            "day" => Ok(By::Day),
            "model" => Ok(By::Model),
            "uid" => Ok(By::Uid),
            _ => Err("write day, model or uid".to_owned()),
        }
    }
}

/// A client. On the wire its number, or `"others"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A user.
    Uid(u32),
    /// Those for whom the account had no line left.
    Others,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Uid(uid) => uid.fmt(f),
            Who::Others => f.write_str("others"),
        }
    }
}

impl Serialize for Who {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Who::Uid(uid) => s.serialize_u32(*uid),
            Who::Others => s.serialize_str("others"),
        }
    }
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Who, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Uid(u32),
            Word(String),
        }
        match Form::deserialize(d)? {
            Form::Uid(uid) => Ok(Who::Uid(uid)),
            Form::Word(word) if word == "others" => Ok(Who::Others),
            Form::Word(word) => Err(serde::de::Error::custom(format!("'{word}' is no client"))),
        }
    }
}

/// Counts, and energy in joules.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Requests.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Of these, found in the cache.
    pub cached_tokens: u64,
    /// Tokens of their answers.
    pub completion_tokens: u64,
    /// `wake` + `prefill` + `decode`.
    pub joules: f64,
    /// Bringing models up for them.
    pub wake: f64,
    /// Their prompts.
    pub prefill: f64,
    /// Their answers.
    pub decode: f64,
    /// Of `joules`: estimated, not measured.
    pub estimated: f64,
}

/// A line. What it is not about is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// A day (`2026-11-25`), a month (`2026-11`) or `earlier`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    /// The client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Who>,
    /// `model:variant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What it took.
    #[serde(flatten)]
    pub sums: Sums,
}

/// What the device used in a period, in joules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceRow {
    /// As in [`Line`].
    pub period: String,
    /// What the meter counted, and what was estimated where it counted nothing:
    /// `charged` + `idle` + `others` + `shared`.
    pub metered: f64,
    /// Of all clients together.
    pub charged: f64,
    /// What the device would have used anyway.
    pub idle: f64,
    /// Other programs'.
    pub others: f64,
    /// What is left: the daemon's own, and what could be no single request's. It may be below 0 where a request that
    /// ran over midnight is on the second day.
    pub shared: f64,
    /// Of `metered`: estimated, because no sensor worked.
    pub estimated: f64,
}

/// What a line is about, in the order of lines.
type Key<'a> = (Option<Period>, Option<Who>, Option<&'a str>);

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `wattlm.account`.
    pub object: String,
    /// Where days begin: `UTC`.
    pub days: String,
    /// In order of period, client and model.
    pub lines: Vec<Line>,
    /// All lines together.
    pub total: Sums,
    /// By period, of the whole device. For administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Vec<DeviceRow>>,
    /// Why the last lines are not on the disk yet. For administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Report {
    /// Of these accounts together; `exact`: to the microjoule and with the device's lines.
    pub(super) fn new<'a>(
        accounts: impl IntoIterator<Item = &'a BTreeMap<Period, Page>>,
        query: &Query,
        exact: bool,
    ) -> Report {
        let joules = if exact { Microjoules::as_f64 } else { coarse };
        let mut lines: BTreeMap<Key, Entry> = BTreeMap::new();
        let mut device: BTreeMap<Period, (Entry, DeviceLine)> = BTreeMap::new();
        let mut total = Entry::default();
        for (period, page) in accounts.into_iter().flatten().filter(|(p, _)| p.within(query.from, query.to)) {
            let of_device = device.entry(*period).or_default();
            page.device.iter().for_each(|line| of_device.1.add(line));
            for ((uid, model), entry) in &page.clients {
                of_device.0.add(entry);
                if query.uid.is_some() && query.uid != *uid {
                    continue;
                }
                let who = uid.map_or(Who::Others, Who::Uid);
                let asked = |by| query.by.is_none_or(|asked| asked == by);
                let key = (
                    asked(By::Day).then_some(*period),
                    asked(By::Uid).then_some(who),
                    asked(By::Model).then_some(&**model),
                );
                lines.entry(key).or_default().add(entry);
                total.add(entry);
            }
        }
        let sums = |e: &Entry| Sums {
            requests: e.requests,
            prompt_tokens: e.prompt_tokens,
            cached_tokens: e.cached_tokens,
            completion_tokens: e.completion_tokens,
            joules: joules(e.joules()),
            wake: joules(e.wake),
            prefill: joules(e.prefill),
            decode: joules(e.decode),
            estimated: joules(e.estimated),
        };
        let rest = |charged: &Entry, line: &DeviceLine| {
            let parts = [charged.joules(), line.idle, line.others].map(|j| i128::from(j.0));
            (i128::from(line.metered.0) - parts.iter().sum::<i128>()) as f64 / 1e6
        };
        let rows = device.iter().map(|(period, (charged, line))| DeviceRow {
            period: period.to_string(),
            metered: joules(line.metered),
            charged: joules(charged.joules()),
            idle: joules(line.idle),
            others: joules(line.others),
            shared: rest(charged, line),
            estimated: joules(line.estimated),
        });
        let line = |((period, uid, model), entry): (&Key, &Entry)| Line {
            period: period.map(|p| p.to_string()),
            uid: *uid,
            model: model.map(str::to_owned),
            sums: sums(entry),
        };
        Report {
            object: "wattlm.account".to_owned(),
            days: "UTC".to_owned(),
            lines: lines.iter().map(line).collect(),
            total: sums(&total),
            device: exact.then(|| rows.collect()),
            problem: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::account::book::Book;

    fn book() -> Book {
        let mut book = Book::default();
        let entry = |uj| Entry { requests: 1, completion_tokens: 2, decode: Microjoules(uj), ..Entry::default() };
        let day = |text: &str| text.parse().unwrap();
        book.charge(day("2026-11-24"), 1000, "a", &entry(1_234_567));
        book.charge(day("2026-11-25"), 1000, "a", &entry(2_000_000));
        book.charge(day("2026-11-25"), 1000, "b", &entry(4_000_000));
        book.charge(day("2026-11-25"), 7, "a", &entry(8_000_000));
        book.device(day("2026-11-25"), &DeviceLine { metered: Microjoules(20_000_000), ..DeviceLine::default() });
        book
    }

    fn shown(query: Query, exact: bool) -> Vec<String> {
        let report = Report::new([book().pages()], &query, exact);
        let cell = |c: Option<String>| c.unwrap_or_else(|| "-".to_owned());
        let line = |l: &Line| {
            let uid = cell(l.uid.map(|u| u.to_string()));
            format!("{} {uid} {} {}", cell(l.period.clone()), cell(l.model.clone()), l.sums.joules)
        };
        report.lines.iter().map(line).collect()
    }

    #[test]
    fn lines_are_picked_and_summed_as_asked() {
        let all = Query::default();
        assert_eq!(
            shown(all, true),
            ["2026-11-24 1000 a 1.234567", "2026-11-25 7 a 8", "2026-11-25 1000 a 2", "2026-11-25 1000 b 4"]
        );
        assert_eq!(shown(Query { by: Some(By::Day), ..all }, true), ["2026-11-24 - - 1.234567", "2026-11-25 - - 14"]);
        assert_eq!(shown(Query { by: Some(By::Model), ..all }, true), ["- - a 11.234567", "- - b 4"]);
        assert_eq!(shown(Query { by: Some(By::Uid), ..all }, true), ["- 7 - 8", "- 1000 - 7.234567"]);
        let own = Query { uid: Some(1000), to: "2026-11-24".parse().ok(), ..all };
        assert_eq!(shown(own, false), ["2026-11-24 1000 a 1.23"]);
        assert!(shown(Query { from: "2026-11-26".parse().ok(), ..all }, true).is_empty());
    }

    #[test]
    fn clients_see_coarse_sums_and_nothing_of_the_device() {
        let report = Report::new([book().pages(), book().pages()], &Query::default(), false);
        assert_eq!((report.device, report.total.joules, report.total.requests), (None, 30.5, 8));
        let report = Report::new([book().pages()], &Query { uid: Some(7), ..Query::default() }, true);
        let device = report.device.clone().unwrap();
        assert_eq!(
            (device[1].metered, device[1].charged, device[1].shared, report.total.joules),
            (20.0, 14.0, 6.0, 8.0)
        );
        // The wire's form is read again.
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        assert_eq!(serde_json::from_str::<Who>("\"others\"").unwrap(), Who::Others);
        assert!(serde_json::from_str::<Who>("\"root\"").is_err());
    }
}
