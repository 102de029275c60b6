//! The account in memory: sums by period, client and model, and what of them is not on the disk yet.
//!
//! Pure: no files, no clock. What always holds: sums only grow, and stay at the largest number instead of wrapping;
//! merging and bounding move amounts from line to line and lose none; there are never more lines than
//! [`PERIODS`] × ([`LINES`] + 2).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::day::{Day, Period};
use crate::units::Microjoules;

/// Days that are kept as days: the newest that something was charged on. Older ones are merged into months.
pub const DAYS: usize = 90;
/// Days are merged when there are so many more, so that not every midnight rewrites the file.
const SLACK: usize = 7;
/// Months that are kept as months; older ones are merged into one line.
pub const MONTHS: usize = 60;
/// Clients and models of one period. What more there are share a line of nobody's.
pub const LINES: usize = 64;
/// Periods there can be at once, before anything is merged: a clock that jumps about makes many.
const PERIODS: usize = DAYS + MONTHS + 2 * SLACK + 2;
/// Bytes of a model's name: two names of the longest kind and a colon.
const NAME: usize = 2 * 128 + 1;

/// What one or more requests took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    /// Requests.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Of these, found in the cache.
    pub cached_tokens: u64,
    /// Tokens of their answers.
    pub completion_tokens: u64,
    /// Bringing a model up for them.
    pub wake: Microjoules,
    /// Their prompts.
    pub prefill: Microjoules,
    /// Their answers.
    pub decode: Microjoules,
    /// Of `wake`, `prefill` and `decode` together: not measured but estimated.
    pub estimated: Microjoules,
}

impl Entry {
    /// All that is charged.
    pub fn joules(&self) -> Microjoules {
        self.wake + self.prefill + self.decode
    }

    pub(super) fn numbers(&self) -> [u64; 8] {
        [
            self.requests,
            self.prompt_tokens,
            self.cached_tokens,
            self.completion_tokens,
            self.wake.0,
            self.prefill.0,
            self.decode.0,
            self.estimated.0,
        ]
    }

    pub(super) fn of(n: [u64; 8]) -> Entry {
        Entry {
            requests: n[0],
            prompt_tokens: n[1],
            cached_tokens: n[2],
            completion_tokens: n[3],
            wake: Microjoules(n[4]),
            prefill: Microjoules(n[5]),
            decode: Microjoules(n[6]),
            estimated: Microjoules(n[7]),
        }
    }

    /// Adds another.
    pub fn add(&mut self, other: &Entry) {
        *self = Entry::of(zip(self.numbers(), other.numbers(), u64::saturating_add));
    }
}

/// What the meter said, and what of it is no client's. What is left beside these and the clients' is shared: the
/// daemon's own, and what could be no single request's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceLine {
    /// What the meter counted while something ran, and what was estimated where it counted nothing.
    pub metered: Microjoules,
    /// What the device would have used anyway in that time.
    pub idle: Microjoules,
    /// What programs other than wattlm used in it.
    pub others: Microjoules,
    /// Of `metered`: estimated, because no sensor worked.
    pub estimated: Microjoules,
}

impl DeviceLine {
    pub(super) fn numbers(&self) -> [u64; 4] {
        [self.metered.0, self.idle.0, self.others.0, self.estimated.0]
    }

    pub(super) fn of(n: [u64; 4]) -> DeviceLine {
        let [metered, idle, others, estimated] = n.map(Microjoules);
        DeviceLine { metered, idle, others, estimated }
    }

    /// Adds another.
    pub fn add(&mut self, other: &DeviceLine) {
        *self = DeviceLine::of(zip(self.numbers(), other.numbers(), u64::saturating_add));
    }
}

fn zip<const N: usize>(a: [u64; N], b: [u64; N], f: impl Fn(u64, u64) -> u64) -> [u64; N] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// A client and the model it asked. `None`: those for whom there was no line left.
pub(super) type Client = (Option<u32>, Arc<str>);

/// One period's lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Page {
    pub clients: BTreeMap<Client, Entry>,
    pub device: Option<DeviceLine>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Client(Period, Client),
    Device(Period),
}

/// A line's contents: what a record on the disk says. They are sums so far and not changes, so that a record that is
/// read twice counts once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Client(Period, Client, Entry),
    Device(Period, DeviceLine),
}

/// What is merged: days before the one into their months, months before the other into the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    days: Option<Day>,
    months: Option<Day>,
}

/// The account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Book {
    pages: BTreeMap<Period, Page>,
    changed: BTreeSet<Place>,
}

impl Book {
    pub fn pages(&self) -> &BTreeMap<Period, Page> {
        &self.pages
    }

    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    pub fn charge(&mut self, day: Day, uid: u32, model: &str, entry: &Entry) {
        let cut = (0..=NAME.min(model.len())).rev().find(|at| model.is_char_boundary(*at)).unwrap_or(0);
        let place = self.add(Period::Day(day), (Some(uid), model[..cut].into()), entry);
        self.changed.insert(place);
    }

    pub fn device(&mut self, day: Day, line: &DeviceLine) {
        let place = self.add_device(Period::Day(day), line);
        self.changed.insert(place);
    }

    /// Adds to the client's line, or to that of the many where there is no room for one more.
    fn add(&mut self, period: Period, client: Client, entry: &Entry) -> Place {
        let period = self.room_for(period);
        let page = self.pages.entry(period).or_default();
        let many: Client = (None, "".into());
        // The line of the many has a place of its own.
        let others = page.clients.len() - usize::from(page.clients.contains_key(&many));
        let client = if others < LINES || page.clients.contains_key(&client) { client } else { many };
        page.clients.entry(client.clone()).or_default().add(entry);
        Place::Client(period, client)
    }

    fn add_device(&mut self, period: Period, line: &DeviceLine) -> Place {
        let period = self.room_for(period);
        self.pages.entry(period).or_default().device.get_or_insert_default().add(line);
        Place::Device(period)
    }

    /// The period, or the earlier ones where there are too many already.
    fn room_for(&self, period: Period) -> Period {
        if self.pages.len() < PERIODS || self.pages.contains_key(&period) {
            period
        } else {
            Period::Earlier
        }
    }

    /// Takes what a record says. Of two about one line the larger sums hold: they only grow.
    pub fn learn(&mut self, record: Record) {
        match record {
            Record::Client(period, client, entry) => {
                let known = self.pages.entry(period).or_default().clients.entry(client).or_default();
                *known = Entry::of(zip(known.numbers(), entry.numbers(), u64::max));
            }
            Record::Device(period, line) => {
                let known = self.pages.entry(period).or_default().device.get_or_insert_default();
                *known = DeviceLine::of(zip(known.numbers(), line.numbers(), u64::max));
            }
        }
    }

    /// Adds all of another account; the sum is on no disk.
    pub fn absorb(&mut self, other: Book) {
        for (period, page) in other.pages {
            for (client, entry) in page.clients {
                let place = self.add(period, client, &entry);
                self.changed.insert(place);
            }
            if let Some(line) = page.device {
                let place = self.add_device(period, &line);
                self.changed.insert(place);
            }
        }
    }

    /// Takes the lines that changed; the caller writes them, or returns them with [`Book::give_back`].
    pub fn take_changed(&mut self) -> BTreeSet<Place> {
        std::mem::take(&mut self.changed)
    }

    pub fn give_back(&mut self, places: BTreeSet<Place>) {
        self.changed.extend(places);
    }

    /// What these lines say now.
    pub fn records<'a>(&'a self, places: &'a BTreeSet<Place>) -> impl Iterator<Item = Record> + 'a {
        places.iter().filter_map(|place| match place {
            Place::Client(period, client) => {
                let entry = self.pages.get(period)?.clients.get(client)?;
                Some(Record::Client(*period, client.clone(), *entry))
            }
            Place::Device(period) => Some(Record::Device(*period, self.pages.get(period)?.device?)),
        })
    }

    /// What all lines say now.
    pub fn all(&self) -> impl Iterator<Item = Record> + '_ {
        self.pages.iter().flat_map(|(period, page)| {
            let clients = page.clients.iter().map(|(client, entry)| Record::Client(*period, client.clone(), *entry));
            clients.chain(page.device.map(|line| Record::Device(*period, line)))
        })
    }

    /// What is old enough to be merged, by the number of days and months there are: not by a clock, which may be
    /// wrong. `None` where nothing is.
    pub fn old(&self) -> Option<Cut> {
        let days: Vec<Day> =
            self.pages.keys().filter_map(|p| if let Period::Day(d) = p { Some(*d) } else { None }).collect();
        let cut = |sorted: &[Day], keep: usize| sorted.len().checked_sub(keep).and_then(|at| sorted.get(at)).copied();
        let day_cut = if days.len() > DAYS + SLACK { cut(&days, DAYS) } else { None };
        let merged = days.iter().filter(|d| day_cut.is_some_and(|c| **d < c)).map(|d| d.first_of_month());
        let months = self.pages.keys().filter_map(|p| if let Period::Month(d) = p { Some(*d) } else { None });
        let months: BTreeSet<Day> = months.chain(merged).collect();
        let months: Vec<Day> = months.into_iter().collect();
        let month_cut = if months.len() > MONTHS { cut(&months, MONTHS) } else { None };
        (day_cut.is_some() || month_cut.is_some()).then_some(Cut { days: day_cut, months: month_cut })
    }

    /// Merges what is old. The records on the disk are then of another shape: all must be written anew before another
    /// is added.
    pub fn merge(&mut self, cut: Cut) {
        let target = |period: Period| {
            let merged = match period {
                Period::Day(d) if cut.days.is_some_and(|c| d < c) => Period::month_of(d),
                other => other,
            };
            match merged {
                Period::Month(d) if cut.months.is_some_and(|c| d < c) => Period::Earlier,
                other => other,
            }
        };
        let old: Vec<Period> = self.pages.keys().copied().filter(|p| target(*p) != *p).collect();
        let taken: Vec<(Period, Page)> = old.iter().filter_map(|p| Some((*p, self.pages.remove(p)?))).collect();
        self.changed.retain(|place| match place {
            Place::Client(p, _) | Place::Device(p) => target(*p) == *p,
        });
        for (period, page) in taken {
            for (client, entry) in page.clients {
                let place = self.add(target(period), client, &entry);
                self.changed.insert(place);
            }
            if let Some(line) = page.device {
                let place = self.add_device(target(period), &line);
                self.changed.insert(place);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All entries and device lines together.
    pub(in super::super) fn total(book: &Book) -> (Entry, DeviceLine) {
        let (mut entry, mut line) = (Entry::default(), DeviceLine::default());
        for page in book.pages().values() {
            page.clients.values().for_each(|e| entry.add(e));
            page.device.iter().for_each(|d| line.add(d));
        }
        (entry, line)
    }

    pub(in super::super) fn entry(n: u64) -> Entry {
        Entry {
            requests: 1,
            prompt_tokens: n,
            cached_tokens: n / 2,
            completion_tokens: n + 1,
            wake: Microjoules(n % 7),
            prefill: Microjoules(n * 3),
            decode: Microjoules(n * 5),
            estimated: Microjoules(n),
        }
    }

    fn day(n: u64) -> Day {
        Day::of_unix(n * 86_400)
    }

    #[test]
    fn sums_stay_at_the_largest_number() {
        let mut book = Book::default();
        let most = Entry::of([u64::MAX; 8]);
        book.charge(day(1), 1, "m", &most);
        book.charge(day(1), 1, "m", &most);
        assert_eq!(total(&book).0, most);
        assert_eq!(most.joules(), Microjoules(u64::MAX));
    }

    #[test]
    fn old_days_become_months_and_old_months_one_line() {
        let mut book = Book::default();
        for n in 0..(DAYS + SLACK) as u64 {
            book.charge(day(20_000 + n), 1, "m", &entry(n));
        }
        assert_eq!(book.old(), None, "not every midnight");
        book.charge(day(21_000), 1, "m", &entry(1));
        book.device(day(20_000), &DeviceLine { idle: Microjoules(9), ..DeviceLine::default() });
        let before = total(&book);
        book.merge(book.old().unwrap());
        assert_eq!(total(&book), before);
        assert_eq!(book.old(), None);
        let days = book.pages().keys().filter(|p| matches!(p, Period::Day(_))).count();
        assert_eq!((days, book.pages().keys().next().unwrap().to_string().as_str()), (DAYS, "2024-10"));

        // Many years, each month on one day.
        let mut book = Book::default();
        for month in 0..(DAYS + MONTHS + 40) as u32 {
            book.charge(Day::of_date(2000 + month / 12, month % 12 + 1, 15).unwrap(), 1, "m", &entry(1));
            if let Some(cut) = book.old() {
                book.merge(cut);
            }
        }
        assert_eq!(total(&book).0.requests, (DAYS + MONTHS + 40) as u64);
        assert!(book.pages().len() <= DAYS + SLACK + MONTHS + 1, "{}", book.pages().len());
        assert!(book.pages().contains_key(&Period::Earlier));
    }

    #[test]
    fn a_clock_that_jumps_fills_no_memory_and_many_clients_share_a_line() {
        let mut book = Book::default();
        for n in 0..3000 {
            book.charge(day(n * 97 % 30_000), 1, "m", &entry(n));
        }
        assert_eq!(book.pages().len(), PERIODS + 1);
        assert_eq!(total(&book).0.requests, 3000);

        let mut book = Book::default();
        for uid in 0..1000 {
            book.charge(day(1), uid, "m", &entry(1));
        }
        book.charge(day(1), 3, "m", &entry(1));
        let clients = &book.pages()[&Period::Day(day(1))].clients;
        assert_eq!(clients.len(), LINES + 1);
        assert_eq!(clients[&(None, "".into())].requests, 1000 - LINES as u64);
        assert_eq!(clients[&(Some(3), "m".into())].requests, 2);

        let long = "ä".repeat(1000);
        book.charge(day(2), 1, &long, &entry(1));
        let (_, name) = book.pages()[&Period::Day(day(2))].clients.keys().next().unwrap();
        assert_eq!(name.len(), NAME - 1, "cut between two characters");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_counted_twice(charges in proptest::collection::vec((0..400u64, 0..100u32, 0..9u64), 1..600)) {
            let mut book = Book::default();
            let mut want = Entry::default();
            for (d, uid, n) in charges {
                book.charge(day(d * 11), uid, ["a", "b", "c"][n as usize % 3], &entry(n));
                want.add(&entry(n));
                if let Some(cut) = book.old() {
                    book.merge(cut);
                    prop_assert!(book.records(&book.changed).count() == book.changed.len());
                }
            }
            prop_assert_eq!(total(&book).0, want);
            // What the records say is the account again, also when they are read twice.
            let mut again = Book::default();
            book.all().chain(book.all()).for_each(|r| again.learn(r));
            prop_assert_eq!(again.pages(), book.pages());
            let mut sum = Book::default();
            sum.absorb(again);
            sum.absorb(book);
            want.add(&want.clone());
            prop_assert_eq!(total(&sum).0, want);
        }
    }
}
