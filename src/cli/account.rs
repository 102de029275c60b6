//! `wattlm account`: who used how much energy, from the service or, where none runs, from its files.
//!
//! The files are only read: a service that starts meanwhile finds them as they were.

use std::fmt::Write;
use std::io::ErrorKind;

use nix::unistd::{geteuid, Uid, User};

use super::args::{Account, Client as Whom};
use super::print::{note, table, Out};
use crate::client::Client;
use crate::config::Config;
use crate::energy::account::{self, DeviceRow, Line, Query, Report, Sums, Who};
use crate::error::{Code, Error, Result};
use crate::units::Microjoules;

pub(super) fn run(args: &Account, connect: impl FnOnce() -> Result<Client>, out: Out) -> Result<()> {
    if args.csv && out.json {
        return Err(Error::new(Code::InvalidRequest, "--csv and --json exclude each other: choose one"));
    }
    let (report, service) = match connect() {
        Ok(client) => (from_wire(&client, args)?, true),
        Err(e) if e.code == Code::NoDaemon => (from_files(args, e)?, false),
        Err(e) => return Err(e),
    };
    if out.json {
        out.object(&report)?;
    } else if args.csv {
        out.text(&csv(&report.lines))?;
    } else {
        out.line(page(&report, args))?;
    }
    if !service {
        note("the service does not run; these are its files");
    }
    if let Some(problem) = &report.problem {
        note(format_args!("the last lines are not on the disk: {problem}"));
    }
    Ok(())
}

fn from_wire(client: &Client, args: &Account) -> Result<Report> {
    let mut query = Vec::new();
    match args.uid {
        None => {}
        Some(Whom::All) => query.push("uid=all".to_owned()),
        Some(Whom::Uid(uid)) => query.push(format!("uid={uid}")),
    }
    let mut add = |key: &str, value: Option<String>| query.extend(value.map(|v| format!("{key}={v}")));
    add("from", args.from.map(|d| d.to_string()));
    add("to", args.to.map(|d| d.to_string()));
    add("by", args.by.map(|by| by.name().to_owned()));
    super::read(client.account(&query.join("&"))?)
}

/// `no_daemon` is what is said where the files do not help.
fn from_files(args: &Account, no_daemon: Error) -> Result<Report> {
    let Ok(Config { paths, .. }) = super::config::load() else { return Err(no_daemon) };
    let dir = paths.state.join("account");
    let uid = match args.uid {
        None => Some(geteuid().as_raw()),
        Some(Whom::Uid(uid)) => Some(uid),
        Some(Whom::All) => None,
    };
    // Whoever may read the files is the service's own user, and so an administrator.
    let (from, to, by) = (args.from, args.to, args.by.map(Into::into));
    if dir.symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        return Err(no_daemon);
    }
    account::read(&dir, &Query { uid, from, to, by }).map_err(|e| {
        let shown = dir.display();
        let what = match e.kind() {
            ErrorKind::PermissionDenied => "may be read by its own user and root alone".to_owned(),
            _ => format!("cannot be read: {e}"),
        };
        Error::new(no_daemon.code, format!("{}; its account in {shown} {what}", no_daemon.message))
    })
}

fn page(report: &Report, args: &Account) -> String {
    let mut page = if report.lines.is_empty() {
        match args.uid {
            None => "Nothing was charged to you. Administrators see everybody's with --uid all.".to_owned(),
            Some(_) => "Nothing was charged.".to_owned(),
        }
    } else {
        lines(report)
    };
    let used = |row: &&DeviceRow| row.metered + row.charged + row.idle + row.others + row.shared > 0.0;
    let rows: Vec<_> = report.device.iter().flatten().filter(used).map(device).collect();
    if args.uid == Some(Whom::All) && !rows.is_empty() {
        page.push_str("\n\nThe device, while something ran:\n");
        let head = ["DAY", ">METERED", ">CHARGED", ">IDLE", ">OTHERS", ">SHARED", ">ESTIMATED"];
        page.push_str(&table(&head, &rows));
    }
    page
}

fn lines(report: &Report) -> String {
    let has = |cell: fn(&Line) -> bool| report.lines.iter().any(cell);
    let (periods, uids, models) = (has(|l| l.period.is_some()), has(|l| l.uid.is_some()), has(|l| l.model.is_some()));
    let names = [(periods, "DAY"), (uids, "USER"), (models, "MODEL")];
    let mut head: Vec<&str> = names.iter().filter(|(shown, _)| *shown).map(|(_, name)| *name).collect();
    head.extend([
        ">REQUESTS",
        ">PROMPT",
        ">CACHED",
        ">ANSWER",
        ">ENERGY",
        ">WAKE",
        ">PREFILL",
        ">DECODE",
        ">ESTIMATED",
    ]);
    let row = |first: [String; 3], s: &Sums| {
        let shown = [periods, uids, models];
        let mut row: Vec<String> = first.into_iter().zip(shown).filter(|(_, shown)| *shown).map(|(c, _)| c).collect();
        row.extend([s.requests, s.prompt_tokens, s.cached_tokens, s.completion_tokens].map(|n| n.to_string()));
        row.extend([s.joules, s.wake, s.prefill, s.decode, s.estimated].map(joules));
        row
    };
    let mut rows: Vec<Vec<String>> = report
        .lines
        .iter()
        .map(|l| {
            let uid = l.uid.map(user).unwrap_or_default();
            row([l.period.clone().unwrap_or_default(), uid, l.model.clone().unwrap_or_default()], &l.sums)
        })
        .collect();
    if rows.len() > 1 {
        let mut total = [String::new(), String::new(), String::new()];
        if let Some(first) = [periods, uids, models].iter().position(|shown| *shown) {
            total[first] = "total".to_owned();
        }
        rows.push(row(total, &report.total));
    }
    table(&head, &rows)
}

fn device(row: &DeviceRow) -> Vec<String> {
    let figures = [row.metered, row.charged, row.idle, row.others, row.shared, row.estimated];
    std::iter::once(row.period.clone()).chain(figures.map(joules)).collect()
}

fn joules(j: f64) -> String {
    Microjoules::from_f64(j).to_string()
}

/// The name that this machine has for a user, beside the number.
fn user(who: Who) -> String {
    let name = match who {
        Who::Uid(uid) => User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|u| u.name),
        Who::Others => None,
    };
    name.map_or_else(|| who.to_string(), |name| format!("{who} ({name})"))
}

/// As RFC 4180 describes it, with a line of names; joules.
fn csv(lines: &[Line]) -> String {
    let mut out = "period,uid,model,requests,prompt_tokens,cached_tokens,completion_tokens,joules,wake,prefill,decode,\
                   estimated\r\n"
        .to_owned();
    for Line { period, uid, model, sums: s } in lines {
        let uid = uid.map(|u| u.to_string()).unwrap_or_default();
        let _ = write!(out, "{},{uid},{}", period.as_deref().unwrap_or(""), quoted(model.as_deref().unwrap_or("")));
        let _ = write!(out, ",{},{},{},{}", s.requests, s.prompt_tokens, s.cached_tokens, s.completion_tokens);
        let _ = write!(out, ",{},{},{},{},{}\r\n", s.joules, s.wake, s.prefill, s.decode, s.estimated);
    }
    out
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(period: Option<&str>, uid: Option<Who>, model: Option<&str>) -> Line {
        let sums = Sums { requests: 2, prompt_tokens: 80, joules: 12.3, decode: 12.3, ..Sums::default() };
        Line { period: period.map(str::to_owned), uid, model: model.map(str::to_owned), sums }
    }

    fn report(lines: Vec<Line>) -> Report {
        let total = Sums { requests: 4, joules: 24.6, ..Sums::default() };
        Report { object: String::new(), days: String::new(), lines, total, device: None, problem: None }
    }

    const ALL: Account = Account { uid: Some(Whom::All), from: None, to: None, by: None, csv: false };

    #[test]
    fn tables_have_the_columns_that_were_asked_for_and_a_total() {
        let who = Some(Who::Uid(u32::MAX - 7));
        let page_of = |lines| page(&report(lines), &ALL);
        assert_eq!(
            page_of(vec![line(Some("2026-11-25"), who, Some("m")), line(Some("2026-11-25"), Some(Who::Others), Some(""))]),
            "DAY         USER        MODEL  REQUESTS  PROMPT  CACHED  ANSWER  ENERGY  WAKE  PREFILL  DECODE  ESTIMATED\n\
             2026-11-25  4294967288  m             2      80       0       0  12.3 J   0 J      0 J  12.3 J        0 J\n\
             2026-11-25  others                    2      80       0       0  12.3 J   0 J      0 J  12.3 J        0 J\n\
             total                                 4       0       0       0  24.6 J   0 J      0 J     0 J        0 J"
        );
        let by_model = page_of(vec![line(None, None, Some("m"))]);
        assert!(by_model.starts_with("MODEL  REQ") && !by_model.contains("total"), "{by_model}");
        assert_eq!(page_of(Vec::new()), "Nothing was charged.");
        assert!(page(&report(Vec::new()), &Account { uid: None, ..ALL }).contains("--uid all"));
    }

    #[test]
    fn the_device_is_shown_with_everybodys_lines() {
        let row = |metered| DeviceRow {
            period: "2026-11".into(),
            metered,
            charged: 1.0,
            idle: 2.0,
            others: 0.5,
            shared: 0.0,
            estimated: 0.0,
        };
        let r = Report { device: Some(vec![row(3.5)]), ..report(vec![line(None, None, Some("m"))]) };
        assert!(
            page(&r, &ALL).contains("2026-11   3.50 J   1.00 J  2.00 J  500.0 mJ     0 J        0 J"),
            "{}",
            page(&r, &ALL)
        );
        assert!(!page(&r, &Account { uid: None, ..ALL }).contains("device"));
    }

    #[test]
    fn csv_keeps_its_columns() {
        let text = csv(&[line(Some("2026-11"), Some(Who::Uid(7)), Some("a,\"b\"")), line(None, None, None)]);
        let rows: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(
            rows[1..],
            ["2026-11,7,\"a,\"\"b\"\"\",2,80,0,0,12.3,0,0,12.3,0", ",,,2,80,0,0,12.3,0,0,12.3,0", ""]
        );
    }
}
