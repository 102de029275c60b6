//! Days, and the months that old days are merged into. Days are UTC's: they are the same for all users, no file of the
//! system is needed to tell them, and none is 23 or 25 hours long.
//!
//! Pure; nothing here reads a clock.

use std::fmt;
use std::str::FromStr;

/// A day of the Gregorian calendar in UTC, from 1970-01-01 to 9999-12-31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

impl Day {
    /// 9999-12-31: the last with four digits of year.
    const LAST: u32 = 2_932_896;

    /// The day of this second since 1970.
    pub fn of_unix(seconds: u64) -> Day {
        Day(u32::try_from(seconds / 86_400).unwrap_or(Day::LAST).min(Day::LAST))
    }

    /// The day of this date; `None` where there is none.
    pub fn of_date(year: u32, month: u32, day: u32) -> Option<Day> {
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil: years begin in March, so
        // that the day that some years lack is the last of all.
        let y = if month <= 2 { year - 1 } else { year };
        let (era, year_of_era) = (y / 400, y % 400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let found = Day(era * 146_097 + day_of_era - 719_468);
        // The 30th of February is another day.
        (found.date() == (year, month, day)).then_some(found)
    }

    /// Year, month and day of the month.
    pub fn date(self) -> (u32, u32, u32) {
        // civil_from_days, by the same author.
        let z = self.0 + 719_468;
        let (era, day_of_era) = (z / 146_097, z % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let m = (5 * day_of_year + 2) / 153;
        let (month, day) = (if m < 10 { m + 3 } else { m - 9 }, day_of_year - (153 * m + 2) / 5 + 1);
        (year_of_era + era * 400 + u32::from(month <= 2), month, day)
    }

    /// The first of its month.
    pub fn first_of_month(self) -> Day {
        Day(self.0 - (self.date().2 - 1))
    }

    /// The last of its month.
    fn last_of_month(self) -> Day {
        // No month is longer than 31 days, and the 28 days after a month's first are in it.
        Day(Day(self.first_of_month().0 + 31).first_of_month().0 - 1)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = String;
    fn from_str(text: &str) -> Result<Day, String> {
        let part = |range: std::ops::Range<usize>| {
            text.get(range).filter(|t| t.bytes().all(|b| b.is_ascii_digit())).and_then(|t| t.parse().ok())
        };
        let shape = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
        let date = || Day::of_date(part(0..4)?, part(5..7)?, part(8..10)?);
        let found = if shape { date() } else { None };
        found.ok_or_else(|| "write a day as 2026-11-25 (year, month, day, in UTC)".to_owned())
    }
}

/// What a line of the account is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// All that is older than the months that are kept.
    Earlier,
    /// The month that begins with this day.
    Month(Day),
    /// A day.
    Day(Day),
}

impl Period {
    /// The month of this day.
    pub fn month_of(day: Day) -> Period {
        Period::Month(day.first_of_month())
    }

    /// Whether any of it lies between these days, both included. What is earlier than all months lies before every
    /// `from`.
    pub fn within(self, from: Option<Day>, to: Option<Day>) -> bool {
        let (first, last) = match self {
            Period::Earlier => return from.is_none(),
            Period::Month(first) => (first, first.last_of_month()),
            Period::Day(day) => (day, day),
        };
        from.is_none_or(|from| last >= from) && to.is_none_or(|to| first <= to)
    }

    /// In order of time, a month before its days.
    fn order(self) -> (Option<Day>, bool) {
        match self {
            Period::Earlier => (None, false),
            Period::Month(first) => (Some(first), false),
            Period::Day(day) => (Some(day), true),
        }
    }
}

impl Ord for Period {
    fn cmp(&self, other: &Period) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Period {
    fn partial_cmp(&self, other: &Period) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Period::Earlier => f.write_str("earlier"),
            Period::Month(first) => f.write_str(first.to_string().get(..7).unwrap_or_default()),
            Period::Day(day) => day.fmt(f),
        }
    }
}

impl FromStr for Period {
    type Err = String;
    fn from_str(text: &str) -> Result<Period, String> {
        match text.len() {
            7 if text != "earlier" => format!("{text}-01").parse().map(Period::Month),
            7 => Ok(Period::Earlier),
            _ => text.parse().map(Period::Day),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn every_day_has_its_date_and_every_date_its_day() {
        let mut before = (1969, 12, 31);
        for n in 0..=Day::LAST {
            let date = Day(n).date();
            assert!(date > before, "{date:?} after {before:?}");
            assert_eq!(Day::of_date(date.0, date.1, date.2), Some(Day(n)));
            before = date;
        }
        assert_eq!(before, (9999, 12, 31));
        // As `date -u -d @1764115381` says.
        assert_eq!(Day::of_unix(1_764_115_381), day("2025-11-26"));
        assert_eq!(Day::of_unix(0), day("1970-01-01"));
        assert_eq!(Day::of_unix(u64::MAX), day("9999-12-31"));
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for bad in ["", "2026", "2026-1-1", "2026-13-01", "2026-02-29", "1969-12-31", "+026-01-01", "2026-11-25Z"] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
        assert_eq!(day("2024-02-29").to_string(), "2024-02-29");
        for good in ["earlier", "2026-11", "2026-11-25"] {
            assert_eq!(good.parse::<Period>().unwrap().to_string(), good);
        }
        assert!("2026-00".parse::<Period>().is_err());
        assert!("€€€€€".parse::<Period>().is_err());
    }

    #[test]
    fn periods_are_in_order_of_time_and_know_what_they_overlap() {
        let all = ["earlier", "2026-01", "2026-02", "2026-02-01", "2026-02-28"].map(|t| t.parse::<Period>().unwrap());
        assert!(all.windows(2).all(|w| w[0] < w[1]));
        let within = |from: Option<&str>, to: Option<&str>| {
            all.iter().filter(|p| p.within(from.map(day), to.map(day))).map(Period::to_string).collect::<Vec<_>>()
        };
        assert_eq!(within(None, None).len(), 5);
        assert_eq!(within(Some("2026-01-31"), Some("2026-01-31")), ["2026-01"]);
        assert_eq!(within(Some("2026-02-28"), None), ["2026-02", "2026-02-28"]);
        assert_eq!(within(None, Some("2025-12-31")), ["earlier"]);
        assert!(Period::Month(day("9999-12-01")).within(Some(day("9999-12-31")), None));
    }
}
