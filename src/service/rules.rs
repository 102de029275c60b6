//! Who is which client: the `[[client]]` tables, compiled, and the peers that they mean.
//!
//! Groups and unit of a peer are read from `/proc` when it asks, and only if a table names one. A process that has
//! ended, or whose number another user has by now, cannot be told: it is refused then, for it may be trying to be
//! somebody else. Who is meant is never what a client says of itself.
//!
//! What always holds: a client keeps its [`ClientId`] as long as the service runs, whatever the configuration becomes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use nix::unistd::{Group, User};

use super::api::Peer;
use crate::config::{Client, Config};
use crate::error::{Code, Error};
use crate::sched::{Class, ClientId, ClientLimits};
use crate::units::Microjoules;

/// The name of the table for everybody else.
const DEFAULT: &str = "default";

/// Users from here on share one purse where only `default` means them: most of them are subordinate numbers, of which
/// one user can have thousands.
const SUBORDINATE: u32 = 65_536;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Unit(String),
    Uid(u32),
    Gid(u32),
    Everybody,
}

/// A `[[client]]`.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub name: String,
    pub limits: ClientLimits,
    pub class: Class,
    pub models: Vec<String>,
    who: Who,
}

/// All of them, and whom they have met.
pub(super) struct Rules {
    /// In the order in which they are tried.
    rules: Vec<Rule>,
    proc: PathBuf,
    ids: BTreeMap<String, ClientId>,
    /// What each id means: its name in the state, and what bounded it last.
    known: Vec<(String, ClientLimits)>,
}

impl Rules {
    pub fn new(config: &Config) -> Rules {
        let mut rules = Rules { rules: Vec::new(), proc: "/proc".into(), ids: BTreeMap::new(), known: Vec::new() };
        rules.reload(config);
        rules
    }

    /// Other tables from now on. Gives what bounds those that were met before.
    pub fn reload(&mut self, config: &Config) -> Vec<(ClientId, ClientLimits)> {
        self.rules = config.client.iter().filter_map(compile).collect();
        let rank = |rule: &Rule| match rule.who {
            Who::Unit(_) => 0,
            Who::Uid(_) => 1,
            Who::Gid(_) => 2,
            Who::Everybody => 3,
        };
        self.rules.sort_by_key(rank);
        for (key, limits) in &mut self.known {
            let rule = match key.strip_prefix("client:") {
                Some(name) => self.rules.iter().find(|rule| rule.name == name),
                None => self.rules.iter().find(|rule| rule.who == Who::Everybody),
            };
            *limits = rule.map(|rule| rule.limits).unwrap_or_default();
        }
        let id = |n: usize| ClientId(u32::try_from(n).unwrap_or(u32::MAX));
        self.known.iter().enumerate().map(|(n, (_, limits))| (id(n), *limits)).collect()
    }

    /// Which client this peer is, and what bounds it.
    ///
    /// # Errors
    /// `forbidden` where it depends on its groups or its unit, and they cannot be told.
    pub fn identify(&mut self, peer: Peer) -> Result<(ClientId, Option<Rule>), Error> {
        let rule = self.rule_of(peer)?;
        Ok(self.meet(peer.uid, rule))
    }

    /// The same for a user of whom no process is at hand: only rules for users and for everybody count.
    pub fn of_user(&mut self, uid: u32) -> (ClientId, Option<Rule>) {
        let means = |rule: &&Rule| rule.who == Who::Uid(uid) || rule.who == Who::Everybody;
        let rule = self.rules.iter().find(means).cloned();
        self.meet(uid, rule)
    }

    fn rule_of(&self, peer: Peer) -> Result<Option<Rule>, Error> {
        let needs = |which: fn(&Who) -> bool| self.rules.iter().any(|rule| which(&rule.who));
        let unit = if needs(|who| matches!(who, Who::Unit(_))) { Some(self.unit(peer)?) } else { None };
        let groups = if needs(|who| matches!(who, Who::Gid(_))) { self.groups(peer)? } else { Vec::new() };
        let means = |rule: &&Rule| match &rule.who {
            Who::Unit(name) => unit.as_ref().is_some_and(|unit| unit.as_ref() == Some(name)),
            Who::Uid(uid) => *uid == peer.uid,
            Who::Gid(gid) => *gid == peer.gid || groups.contains(gid),
            Who::Everybody => true,
        };
        Ok(self.rules.iter().find(means).cloned())
    }

    fn meet(&mut self, uid: u32, rule: Option<Rule>) -> (ClientId, Option<Rule>) {
        let key = match &rule {
            Some(rule) if rule.who != Who::Everybody => format!("client:{}", rule.name),
            _ if uid >= SUBORDINATE => "user:others".to_owned(),
            _ => format!("user:{uid}"),
        };
        let limits = rule.as_ref().map(|rule| rule.limits).unwrap_or_default();
        let next = ClientId(u32::try_from(self.known.len()).unwrap_or(u32::MAX));
        let id = *self.ids.entry(key.clone()).or_insert(next);
        if id == next {
            self.known.push((key, limits));
        }
        (id, rule)
    }

    /// Its name in the state.
    pub fn key(&self, id: ClientId) -> Option<&str> {
        self.known.get(id.0 as usize).map(|(key, _)| key.as_str())
    }

    fn unit(&self, peer: Peer) -> Result<Option<String>, Error> {
        self.same_user(peer)?;
        let text = fs::read_to_string(self.file(peer, "cgroup")).map_err(|_| untold())?;
        Ok(unit_of(&text))
    }

    fn groups(&self, peer: Peer) -> Result<Vec<u32>, Error> {
        let status = self.same_user(peer)?;
        Ok(numbers(&status, "Groups:").chain(numbers(&status, "Gid:")).collect())
    }

    /// The process's status, if it still is one of this user's.
    fn same_user(&self, peer: Peer) -> Result<String, Error> {
        let status = fs::read_to_string(self.file(peer, "status")).map_err(|_| untold())?;
        let same = numbers(&status, "Uid:").any(|uid| uid == peer.uid);
        if same {
            Ok(status)
        } else {
            Err(untold())
        }
    }

    fn file(&self, peer: Peer, name: &str) -> PathBuf {
        self.proc.join(peer.pid.to_string()).join(name)
    }

    #[cfg(test)]
    fn with_proc(mut self, proc: &std::path::Path) -> Rules {
        self.proc = proc.to_owned();
        self
    }
}

fn untold() -> Error {
    Error::new(
        Code::Forbidden,
        "the process that connected has ended, so that its groups and unit cannot be told: connect from the process \
         that asks",
    )
}

fn numbers<'a>(status: &'a str, field: &str) -> impl Iterator<Item = u32> + 'a {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().filter_map(|n| n.parse().ok())
}

/// The system's unit that a process with this `/proc/PID/cgroup` runs in: the first that stands below slices only.
/// Units further down are made by whom the unit belongs to (a user's own manager, a container) and could have any name.
fn unit_of(cgroup: &str) -> Option<String> {
    let unified = cgroup.lines().find_map(|line| line.strip_prefix("0::"));
    let systemd = || cgroup.lines().find_map(|line| Some(line.split_once(":name=systemd:")?.1));
    let path = unified.filter(|path| *path != "/").or_else(systemd).or(unified)?;
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let first = parts.find(|part| !part.ends_with(".slice"))?;
    (first.ends_with(".service") || first.ends_with(".scope")).then(|| first.to_owned())
}

/// A table whose user or group does not exist means nobody.
fn compile(client: &Client) -> Option<Rule> {
    let nobody = |what: &str, name: &str| {
        log::warn!("[[client]] '{}': there is no {what} '{name}' on this machine: it means nobody", client.name);
        None
    };
    let user = |name: &String| match User::from_name(name) {
        Ok(Some(user)) => Some(Who::Uid(user.uid.as_raw())),
        _ => nobody("user", name),
    };
    let group = |name: &String| match Group::from_name(name) {
        Ok(Some(group)) => Some(Who::Gid(group.gid.as_raw())),
        _ => nobody("group", name),
    };
    let who = match (client.name.as_str(), client) {
        (DEFAULT, _) => Who::Everybody,
        (_, Client { uid: Some(uid), .. }) => Who::Uid(*uid),
        (_, Client { gid: Some(gid), .. }) => Who::Gid(*gid),
        (_, Client { unit: Some(unit), .. }) => Who::Unit(unit.clone()),
        (_, Client { user: Some(name), .. }) => user(name)?,
        (_, Client { group: Some(name), .. }) => group(name)?,
        _ => return None,
    };
    let limits = ClientLimits {
        joules_per_hour: Some(client.joules_per_hour).filter(|joules| *joules > Microjoules::ZERO),
        requests: Some(client.requests).filter(|n| *n > 0),
    };
    let (name, models) = (client.name.clone(), client.models.clone());
    Some(Rule { name, limits, class: client.class, models, who })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(toml: &str) -> Rules {
        Rules::new(&Config::parse("f", toml.as_bytes()).unwrap().config)
    }

    fn peer(uid: u32, gid: u32, pid: i32) -> Peer {
        Peer { uid, gid, pid, admin: false }
    }

    fn name(rules: &mut Rules, peer: Peer) -> Result<String, Code> {
        let (_, rule) = rules.identify(peer).map_err(|e| e.code)?;
        Ok(rule.map_or_else(String::new, |rule| rule.name))
    }

    #[test]
    fn the_unit_goes_before_the_user_and_the_user_before_the_group() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: i32, uid: u32, groups: &str, cgroup: &str| {
            let dir = proc.path().join(pid.to_string());
            fs::create_dir(&dir).unwrap();
            let status = format!("Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t9\t9\t9\t9\nGroups:\t{groups}\n");
            fs::write(dir.join("status"), status).unwrap();
            fs::write(dir.join("cgroup"), cgroup).unwrap();
        };
        process(1, 7, "9", "0::/system.slice/camera.service\n");
        process(2, 7, "9", "0::/user.slice/user-7.slice/user@7.service/app.slice/camera.service\n");
        process(3, 8, "5 9", "0::/\n");
        process(4, 8, "", "0::/init.scope\n");
        let toml =
            "[[client]]\nname = \"default\"\n[[client]]\nname = \"g\"\ngid = 5\n[[client]]\nname = \"u\"\nuid = 7\n\
                    [[client]]\nname = \"c\"\nunit = \"camera.service\"";
        let mut rules = rules(toml).with_proc(proc.path());
        assert_eq!(name(&mut rules, peer(7, 9, 1)).unwrap(), "c");
        assert_eq!(name(&mut rules, peer(7, 9, 2)).unwrap(), "u", "a user's unit of the same name is not the system's");
        assert_eq!(name(&mut rules, peer(8, 9, 3)).unwrap(), "g", "another primary group does not leave the group");
        assert_eq!(name(&mut rules, peer(8, 9, 4)).unwrap(), "default");
        // Who cannot be told is refused: the process is gone, or its number is another user's.
        assert_eq!(name(&mut rules, peer(8, 9, 5)), Err(Code::Forbidden));
        assert_eq!(name(&mut rules, peer(9, 9, 1)), Err(Code::Forbidden));
    }

    #[test]
    fn what_a_table_names_shares_one_purse_and_others_have_their_own() {
        let mut rules = rules(
            "[[client]]\nname = \"default\"\njoules_per_hour = \"5J\"\n[[client]]\nname = \"g\"\nuid = 5\nrequests = 3",
        );
        let mut id = |uid| rules.identify(peer(uid, 1, 0)).unwrap().0;
        assert_eq!(id(1), id(1));
        assert_ne!(id(1), id(2));
        assert_ne!(id(1), id(5));
        assert_eq!(id(100_000), id(165_535), "subordinate users do not multiply a purse");
        assert_ne!(id(65_535), id(65_536));
        let five = id(5);
        assert_eq!(rules.key(five), Some("client:g"));
        let (one, rule) = rules.of_user(1);
        assert_eq!(
            (rules.key(one), rule.unwrap().limits.joules_per_hour),
            (Some("user:1"), Some(Microjoules(5_000_000)))
        );
        // A reload keeps who is who.
        let config = Config::parse("f", b"[[client]]\nname = \"g\"\nuid = 5\nrequests = 1").unwrap().config;
        let after = rules.reload(&config);
        assert_eq!(after[five.0 as usize], (five, ClientLimits { requests: Some(1), joules_per_hour: None }));
        assert_eq!(after[one.0 as usize].1, ClientLimits::default());
        assert_eq!(rules.identify(peer(5, 1, 0)).unwrap().0, five);
    }

    #[test]
    fn units_are_found_in_either_hierarchy() {
        for (text, unit) in [
            ("0::/system.slice/a.service\n", Some("a.service")),
            ("0::/system.slice/system-x.slice/x@1.service/sub\n", Some("x@1.service")),
            ("0::/user.slice/user-1.slice/session-2.scope\n", Some("session-2.scope")),
            ("0::/docker/abc/system.slice/a.service\n", None),
            ("12:cpu:/\n1:name=systemd:/system.slice/a.service\n0::/\n", Some("a.service")),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(unit_of(text).as_deref(), unit, "{text}");
        }
    }

    #[test]
    fn a_user_that_does_not_exist_is_nobody() {
        let mut rules = rules("[[client]]\nname = \"a\"\nuser = \"no-such-user-here\"\nrequests = 1");
        assert_eq!(name(&mut rules, peer(0, 0, 0)).unwrap(), "");
    }
}
