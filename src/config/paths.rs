//! Where things lie when no file says otherwise: the socket, the models, the state, the backend modules.
//!
//! Compiled without any feature, because the client and the C library must find the socket without a TOML parser.
//! It reads the environment and asks whether a path exists; it creates nothing. The working directory is never
//! searched: only `WATTLM_SOCKET` and `WATTLM_CONFIG`, which the caller spelled out, may be relative to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The service's socket on a device.
pub const SYSTEM_SOCKET: &str = "/run/wattlm/wattlm.sock";
/// The service's main configuration file on a device.
pub const SYSTEM_CONFIG: &str = "/etc/wattlm/wattlm.toml";
/// Where the service keeps what it learned.
pub const SYSTEM_STATE: &str = "/var/lib/wattlm";
/// Where the packages put llama.cpp and its backends.
pub const SYSTEM_MODULES: &str = "/usr/lib/wattlm";
/// Model folders: models added on the device first, then those of the image.
pub const SYSTEM_MODELS: [&str; 2] = ["/var/lib/wattlm/models", "/usr/share/wattlm/models"];

/// The environment variables that matter here.
const VARIABLES: [&str; 9] = [
    "WATTLM_SOCKET",
    "WATTLM_CONFIG",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "HOME",
];

/// Where a client connects: `$WATTLM_SOCKET`; else the user's own service if its socket exists; else the device's.
pub fn default_socket() -> PathBuf {
    Env::current().client_socket()
}

/// What the defaults depend on. A value, so that tests and `wattlm config` can ask for another user's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Env {
    root: bool,
    exe: Option<PathBuf>,
    vars: BTreeMap<&'static str, PathBuf>,
}

impl Env {
    /// This process's.
    pub fn current() -> Env {
        let vars = VARIABLES.into_iter().filter_map(|name| Some((name, PathBuf::from(std::env::var_os(name)?))));
        Env::new(nix::unistd::geteuid().is_root(), std::env::current_exe().ok(), vars)
    }

    /// This process's, for a library of it that lies at `file`: models and modules are looked for beside that.
    pub fn of_library(file: PathBuf) -> Env {
        Env { exe: Some(file), ..Env::current() }
    }

    /// The device's service as packages install it: root, nothing in the environment.
    pub fn system() -> Env {
        Env { root: true, ..Env::default() }
    }

    /// Any other. Unknown variables and empty ones are left out; so are relative ones, as the XDG specification
    /// asks, except for those of wattlm's own, which are taken relative to the working directory.
    pub fn new(root: bool, exe: Option<PathBuf>, vars: impl IntoIterator<Item = (&'static str, PathBuf)>) -> Env {
        let clean = |(name, value): (&'static str, PathBuf)| {
            let value = match name {
                "WATTLM_SOCKET" | "WATTLM_CONFIG" => std::path::absolute(value).ok()?,
                // systemd separates several directories by colons; the first is the unit's main one.
                "RUNTIME_DIRECTORY" | "STATE_DIRECTORY" => value.to_str()?.split(':').next().map(PathBuf::from)?,
                _ => value,
            };
            (VARIABLES.contains(&name) && value.is_absolute()).then_some((name, value))
        };
        Env { root, exe, vars: vars.into_iter().filter_map(clean).collect() }
    }

    /// Where the service listens; `None` where this user has no place for a socket.
    pub fn socket(&self) -> Option<PathBuf> {
        let unit = self.var("RUNTIME_DIRECTORY").map(|d| d.join("wattlm.sock"));
        let user = || self.var("XDG_RUNTIME_DIR").map(|d| d.join("wattlm.sock"));
        let own = || if self.root { Some(SYSTEM_SOCKET.into()) } else { user() };
        self.var("WATTLM_SOCKET").map(Path::to_owned).or(unit).or_else(own)
    }

    /// Where a client connects, see [`default_socket`].
    pub fn client_socket(&self) -> PathBuf {
        let user = || self.var("XDG_RUNTIME_DIR").map(|d| d.join("wattlm.sock")).filter(|s| !self.root && s.exists());
        self.var("WATTLM_SOCKET").map(Path::to_owned).or_else(user).unwrap_or_else(|| SYSTEM_SOCKET.into())
    }

    /// The main configuration file, and whether somebody named it (so that it must exist): `$WATTLM_CONFIG`; else
    /// the user's own if there is one; else the device's. A unit with a state directory has no home of its own: what
    /// it can write itself must not configure it.
    pub fn config(&self) -> (PathBuf, bool) {
        if let Some(named) = self.var("WATTLM_CONFIG") {
            return (named.to_owned(), true);
        }
        let user = self.home("XDG_CONFIG_HOME", ".config").map(|d| d.join("wattlm/wattlm.toml"));
        let has_home = !self.root && self.var("STATE_DIRECTORY").is_none();
        (user.filter(|f| has_home && f.exists()).unwrap_or_else(|| SYSTEM_CONFIG.into()), false)
    }

    /// Model folders, in the order in which they are searched: the user's own (of a unit: that in its state), the
    /// device's, that of the prefix where this program is installed, the image's.
    pub fn model_dirs(&self) -> Vec<PathBuf> {
        let [added, image] = SYSTEM_MODELS.map(PathBuf::from);
        let home =
            || self.home("XDG_DATA_HOME", ".local/share").map(|d| d.join("wattlm/models")).filter(|_| !self.root);
        let own = self.var("STATE_DIRECTORY").map(|d| d.join("models")).or_else(home);
        let installed = self.prefix().map(|p| p.join("share/wattlm/models"));
        let mut dirs = Vec::new();
        for dir in own.into_iter().chain([added]).chain(installed).chain([image]) {
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        dirs
    }

    /// Where state is kept; `None` where this user has no home.
    pub fn state(&self) -> Option<PathBuf> {
        let own = || self.home("XDG_STATE_HOME", ".local/state").map(|d| d.join("wattlm"));
        let unit = self.var("STATE_DIRECTORY").map(Path::to_owned);
        unit.or_else(|| if self.root { Some(SYSTEM_STATE.into()) } else { own() })
    }

    /// Where llama.cpp's backends lie: beside the executable as built (`wattlm-modules`), beside it as installed
    /// (`../lib/wattlm`), or where packages put them. The last if none exists.
    pub fn modules(&self) -> PathBuf {
        let dir = self.exe.as_deref().and_then(Path::parent);
        let installed = self.prefix().map(|prefix| prefix.join("lib/wattlm"));
        let candidates = dir.map(|d| d.join("wattlm-modules")).into_iter().chain(installed);
        candidates.into_iter().find(|d| d.is_dir()).unwrap_or_else(|| SYSTEM_MODULES.into())
    }

    /// `/usr` for `/usr/bin/wattlmd`.
    fn prefix(&self) -> Option<&Path> {
        self.exe.as_deref()?.parent()?.parent()
    }

    fn var(&self, name: &str) -> Option<&Path> {
        self.vars.get(name).map(PathBuf::as_path)
    }

    fn home(&self, variable: &str, fallback: &str) -> Option<PathBuf> {
        self.var(variable).map(Path::to_owned).or_else(|| Some(self.var("HOME")?.join(fallback)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(vars: &[(&'static str, &Path)]) -> Env {
        Env::new(false, None, vars.iter().map(|(k, v)| (*k, v.to_path_buf())))
    }

    #[test]
    fn root_gets_the_system_paths() {
        let env = Env::new(true, None, [("HOME", "/root".into()), ("XDG_RUNTIME_DIR", "/run/user/0".into())]);
        assert_eq!(env.socket(), Some(SYSTEM_SOCKET.into()));
        assert_eq!(env.client_socket(), PathBuf::from(SYSTEM_SOCKET));
        assert_eq!(env.config(), (SYSTEM_CONFIG.into(), false));
        assert_eq!(env.model_dirs(), SYSTEM_MODELS.map(PathBuf::from));
        assert_eq!(env.state(), Some(SYSTEM_STATE.into()));
        assert_eq!(env.modules(), PathBuf::from(SYSTEM_MODULES));
    }

    #[test]
    fn a_user_gets_their_own() {
        let env = user(&[("HOME", Path::new("/home/u")), ("XDG_RUNTIME_DIR", Path::new("/run/user/7"))]);
        assert_eq!(env.socket(), Some("/run/user/7/wattlm.sock".into()));
        assert_eq!(env.model_dirs()[0], Path::new("/home/u/.local/share/wattlm/models"));
        assert_eq!(env.model_dirs().len(), 3);
        assert_eq!(env.state(), Some("/home/u/.local/state/wattlm".into()));
        let xdg = user(&[("HOME", Path::new("/home/u")), ("XDG_DATA_HOME", Path::new("/data"))]);
        assert_eq!(xdg.model_dirs()[0], Path::new("/data/wattlm/models"));
    }

    #[test]
    fn a_user_with_nothing_has_no_default() {
        let env = user(&[("HOME", Path::new("relative")), ("XDG_RUNTIME_DIR", Path::new(""))]);
        assert_eq!(env.socket(), None);
        assert_eq!(env.state(), None);
        assert_eq!(env.client_socket(), PathBuf::from(SYSTEM_SOCKET));
    }

    #[test]
    fn a_systemd_unit_uses_its_directories() {
        let env = user(&[
            ("RUNTIME_DIRECTORY", Path::new("/run/wattlm:/run/other")),
            ("STATE_DIRECTORY", Path::new("/var/lib/wattlm")),
            ("HOME", Path::new("/var/lib/wattlm")),
        ]);
        assert_eq!(env.socket(), Some(SYSTEM_SOCKET.into()));
        assert_eq!(env.state(), Some(SYSTEM_STATE.into()));
        assert_eq!(env.model_dirs(), SYSTEM_MODELS.map(PathBuf::from));
    }

    #[test]
    fn a_unit_is_not_configured_by_what_it_can_write() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".config/wattlm/wattlm.toml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "").unwrap();
        assert_eq!(user(&[("HOME", home.path())]).config(), (file, false));
        let unit = user(&[("HOME", home.path()), ("STATE_DIRECTORY", home.path())]);
        assert_eq!(unit.config(), (SYSTEM_CONFIG.into(), false));
        assert_eq!(unit.model_dirs()[0], home.path().join("models"));
    }

    #[test]
    fn models_are_found_in_the_prefix_of_the_program_and_no_folder_comes_twice() {
        let dirs = |exe: &str| Env::new(true, Some(exe.into()), []).model_dirs();
        assert_eq!(dirs("/usr/bin/wattlmd"), SYSTEM_MODELS.map(PathBuf::from));
        assert_eq!(
            dirs("/usr/local/bin/wattlmd"),
            [SYSTEM_MODELS[0], "/usr/local/share/wattlm/models", SYSTEM_MODELS[1]].map(PathBuf::from)
        );
    }

    #[test]
    fn clients_prefer_the_users_own_running_service() {
        let dir = tempfile::tempdir().unwrap();
        let env = user(&[("XDG_RUNTIME_DIR", dir.path())]);
        assert_eq!(env.client_socket(), PathBuf::from(SYSTEM_SOCKET));
        std::fs::write(dir.path().join("wattlm.sock"), "").unwrap();
        assert_eq!(env.client_socket(), dir.path().join("wattlm.sock"));
    }

    #[test]
    fn named_paths_win_and_become_absolute() {
        let env = user(&[("WATTLM_SOCKET", Path::new("x.sock")), ("WATTLM_CONFIG", Path::new("/c.toml"))]);
        assert!(env.client_socket().is_absolute());
        assert_eq!(env.socket(), Some(env.client_socket()));
        assert_eq!(env.config(), ("/c.toml".into(), true));
    }

    #[test]
    fn a_users_file_replaces_the_systems() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("wattlm/wattlm.toml");
        let env = user(&[("XDG_CONFIG_HOME", dir.path())]);
        assert_eq!(env.config(), (SYSTEM_CONFIG.into(), false));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "").unwrap();
        assert_eq!(env.config(), (file, false));
    }

    #[test]
    fn modules_are_found_beside_the_executable() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::new(true, Some(dir.path().join("bin/wattlmd")), []);
        assert_eq!(env.modules(), PathBuf::from(SYSTEM_MODULES));
        std::fs::create_dir_all(dir.path().join("lib/wattlm")).unwrap();
        assert_eq!(env.modules(), dir.path().join("lib/wattlm"));
        std::fs::create_dir_all(dir.path().join("bin/wattlm-modules")).unwrap();
        assert_eq!(env.modules(), dir.path().join("bin/wattlm-modules"));
    }
}
