//! What a configuration means for the running parts, and its replacement by a new one.

use nix::unistd::{getegid, geteuid, getgroups, Gid, Group};
use tokio::sync::watch;

use super::Args;
use crate::config::{Config, Effect, Server};
use crate::server::ServerConfig;
use crate::service::Handle;

/// The running configuration and those who must hear of a new one.
pub(super) struct Current {
    args: Args,
    config: Config,
    server: watch::Sender<ServerConfig>,
    service: Handle,
}

impl Current {
    pub fn new(args: Args, config: Config, server: watch::Sender<ServerConfig>, service: Handle) -> Self {
        Current { args, config, server, service }
    }

    /// Reads the configuration again. All of it is used, or none.
    pub fn reload(&mut self) {
        let loaded = match self.args.load() {
            Ok(loaded) => loaded,
            Err(problems) => {
                for problem in problems {
                    log::error!("{problem}");
                }
                log::error!("the configuration was not reloaded: the running one stays in use");
                return;
            }
        };
        for warning in &loaded.warnings {
            log::warn!("{warning}");
        }
        let changes = Config::diff(&self.config, &loaded.config);
        for change in &changes {
            match change.effect {
                Effect::Reload => log::info!("{} changed", change.key),
                Effect::NextLoad => log::info!("{} changed: for models that are loaded from now on", change.key),
                Effect::Restart => log::warn!("{} changed: takes effect after a restart", change.key),
            }
        }
        self.config = loaded.config;
        super::set_log_level(&self.config);
        // Fails only when the server has ended.
        let _ = self.server.send(server_config(&self.config));
        let (done, wait) = std::sync::mpsc::channel();
        // Fails only when the service has ended; so does the wait.
        self.service.reload(
            self.config.clone(),
            Box::new(move |()| {
                let _ = done.send(());
            }),
        );
        let _ = wait.recv();
        log::info!("configuration reloaded: {} changes", changes.len());
    }
}

/// What the server is bound by.
pub(super) fn server_config(config: &Config) -> ServerConfig {
    let s = &config.server;
    // A bound over what a usize holds is no bound on a machine that small.
    let bytes = |b: crate::units::Bytes| usize::try_from(b.0).unwrap_or(usize::MAX);
    ServerConfig {
        connections: s.max_connections,
        connections_per_uid: s.max_connections_per_uid,
        header_bytes: bytes(s.max_header),
        header_time: s.header_timeout.0,
        body_bytes: bytes(s.max_body),
        body_time: s.body_timeout.0,
        write_buffer: bytes(s.write_buffer),
        keepalive: s.keepalive.0,
        shutdown_time: super::GRACE,
        admin_gid: gid_of(
            "server.admin_group",
            &s.admin_group,
            group_level(s.admin_group == Server::default().admin_group),
        )
        .map(Gid::as_raw),
        ..ServerConfig::default()
    }
}

/// The group that our own socket gets. `None`: the process's own.
pub(super) fn socket_group(server: &Server) -> Option<u32> {
    let say = group_level(server.group == Server::default().group);
    let gid = gid_of("server.group", &server.group, say)?;
    // Only root may give a file to a group that it is not in.
    let member = || getegid() == gid || getgroups().is_ok_and(|all| all.contains(&gid));
    if geteuid().is_root() || member() {
        return Some(gid.as_raw());
    }
    log::log!(say, "server.group: this user is no member of '{}': the socket gets the user's own group", server.group);
    None
}

/// How loud a missing group is: somebody's private daemon has no use for the groups of the device's service.
fn group_level(default: bool) -> log::Level {
    if default && !geteuid().is_root() {
        log::Level::Debug
    } else {
        log::Level::Warn
    }
}

/// The group's number; a group that does not exist is said once and left out.
fn gid_of(key: &str, name: &str, level: log::Level) -> Option<Gid> {
    if name.is_empty() {
        return None;
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Some(group.gid),
        Ok(None) => {
            log::log!(level, "{key}: there is no group '{name}' on this machine");
            None
        }
        Err(e) => {
            log::warn!("{key}: cannot look up group '{name}': {e}");
            None
        }
    }
}
