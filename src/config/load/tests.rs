//! Tests of loading: files, drop-ins, and what is said of what is wrong in them.

use super::*;
use crate::config::Mode;
use crate::lane::KvType;
use crate::units::{Bytes, Span};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn problems(text: &str) -> Vec<String> {
    Config::parse("f", text.as_bytes()).expect_err(text).iter().map(|p| p.to_string()).collect()
}

fn warnings(text: &str) -> Vec<String> {
    Config::parse("f", text.as_bytes()).unwrap().warnings.iter().map(|p| p.to_string()).collect()
}

fn parse(text: &str) -> Config {
    Config::parse("f", text.as_bytes()).unwrap().config
}

/// A main file and drop-ins in a directory of their own.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new(files: &[(&str, &str)]) -> Dir {
        let dir = Dir(tempfile::tempdir().unwrap());
        fs::create_dir(dir.path("wattlm.d")).unwrap();
        // Whatever the umask of the test's caller.
        fs::set_permissions(dir.path("wattlm.d"), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, text) in files {
            fs::write(dir.path(name), text).unwrap();
            fs::set_permissions(dir.path(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn sources(&self) -> Sources {
        Sources { main: self.path("wattlm.toml"), explicit: false, env: Env::system() }
    }

    fn load(&self) -> Loaded {
        Config::load(&self.sources()).unwrap()
    }

    /// Problems with the directory's own name left out.
    fn problems(&self, sources: &Sources) -> Vec<String> {
        let prefix = format!("{}/", self.0.path().display());
        Config::load(sources).unwrap_err().iter().map(|p| p.to_string().replace(&prefix, "")).collect()
    }
}

#[test]
fn nothing_is_a_configuration() {
    for nothing in ["", "\n\n", "# only a comment", "\u{feff}", "[server]\n[cpu]"] {
        assert_eq!(parse(nothing), Config::default());
    }
    let empty = tempfile::tempdir().unwrap();
    let main = empty.path().join("wattlm.toml");
    let loaded = Config::load(&Sources { main, explicit: false, env: Env::system() }).unwrap();
    assert_eq!(loaded, Loaded { config: Config::default(), warnings: vec![], files: vec![] });
}

#[test]
fn values_arrive() {
    let config = parse(
        r#"
        server.mode = "0600"
        [models]
        dirs = ["/a", "/b"]
        kv_type = "q8_0"
        memory_reserve = 0
        idle_unload = 0
        [cpu]
        affinity = [4, 5]
        [[model]]
        name = "one"
        files = ["/one.gguf"]
        idle_unload = "1h"
        "#,
    );
    assert_eq!(config.server.mode, Mode(0o600));
    assert_eq!(config.models.dirs, ["/a", "/b"].map(PathBuf::from));
    assert_eq!(config.models.kv_type, KvType::Q8_0);
    assert_eq!((config.models.memory_reserve, config.models.idle_unload), (Bytes(0), Span::default()));
    assert_eq!(config.cpu.affinity, [4, 5]);
    assert_eq!(config.model("one").unwrap().files, [PathBuf::from("/one.gguf")]);
    assert_eq!(config.model_settings("one").idle_unload.unwrap().as_secs(), 3600);
}

#[test]
fn unknown_keys_are_named_with_place_and_nearest() {
    for (text, complaint) in [
        ("[cpu]\n\nthraeds = 4", "f:3:1: unknown key 'thraeds' in [cpu]; did you mean 'threads'?"),
        ("  cpu.thraeds = 4", "f:1:7: unknown key 'thraeds' in [cpu]; did you mean 'threads'?"),
        ("cpu = { thraeds = 4 }", "f:1:9: unknown key 'thraeds' in [cpu]; did you mean 'threads'?"),
        ("[cpu.thraeds]\nx = 1", "f:1:6: unknown key 'thraeds' in [cpu]; did you mean 'threads'?"),
        ("\n[sever]", "f:2:2: unknown key 'sever'; did you mean [server]?"),
        ("[[modle]]", "f:1:3: unknown key 'modle'; did you mean [[model]]?"),
        ("threads = 4", "f:1:1: unknown key 'threads'; 'threads' belongs in [cpu]"),
        ("[cpu]\ncontext = 4", "f:2:1: unknown key 'context' in [cpu]; 'context' belongs in [models] or [[model]]"),
        (
            "[[model]]\nname = \"a\"\n\n[[model]]\nname = \"b\"\nalias = []",
            "f:6:1: unknown key 'alias' in [[model]] 'b'; did you mean 'aliases'?",
        ),
        ("[log]\ncolour = 1", "f:2:1: unknown key 'colour' in [log]; there are level"),
        (
            "[budget]",
            "f:1:2: unknown key 'budget'; \
             there are [server], [queue], [models], [cpu], [gpu], [worker], [energy], [power], [power.battery], \
             [power.low_battery], [paths], [log], [[model]], [[client]]",
        ),
        ("[log]\n'ä' = 1", "f:2:1: unknown key 'ä' in [log]; there are level"),
    ] {
        assert_eq!(problems(text)[0], complaint, "{text}");
    }
    assert!(problems("[cpu]\n\"\\u001b[2J\" = 2")[0].contains("unknown key '\\u{1b}[2J'"));
}

#[test]
fn wrong_types_say_what_was_found_and_expected() {
    for (text, complaint) in [
        (
            "[cpu]\nthreads = \"4\"",
            "f:2:11: 'threads' in [cpu]: expected an integer such as 4, found the string \"4\"; remove the quotes",
        ),
        ("[cpu.threads]\nx = 1", "f:1:1: 'threads' in [cpu]: expected an integer such as 4, found a table"),
        ("[models]\nmlock = 1", "f:2:9: 'mlock' in [models]: expected true or false, found the integer 1"),
        (
            "[models]\nkv_type = \"q8\"",
            "f:2:11: 'kv_type' in [models]: expected \"f16\", \"q8_0\" or \"q4_0\", found the string \"q8\"",
        ),
        (
            "[cpu]\naffinity = [0,\n  \"1\"]",
            "f:3:3: 'affinity' in [cpu]: expected an integer such as 4, found the string \"1\"; remove the quotes",
        ),
        (
            "server = 3",
            "f:1:1: 'server' is a section, found the integer 3; write [server], and its keys on the lines below",
        ),
        ("[[models]]", "f:1:3: 'models' is a section, found a list; write [models], or [[model]] for one model"),
        (
            "[model]\nname = \"a\"",
            "f:1:1: 'model' is a list of tables, found a table; \
             write [[model]] with two brackets, once for each model",
        ),
    ] {
        assert_eq!(problems(text), [complaint], "{text}");
    }
}

#[test]
fn ranges_are_told() {
    for (text, complaint) in [
        ("[models]\nslots = 0", "f:2:9: 'slots' in [models]: must be 1 to 64, found the integer 0"),
        (
            "[[model]]\nname = \"a\"\nslots = 65",
            "f:3:9: 'slots' in [[model]] 'a': must be 1 to 64, found the integer 65",
        ),
        (
            "[server]\nmax_body = \"1G\"",
            "f:2:12: 'max_body' in [server]: must be \"1K\" to \"64M\", found the string \"1G\"",
        ),
        (
            "[worker]\nheartbeat = \"0\"",
            "f:2:13: 'heartbeat' in [worker]: must be \"100ms\" to \"1m\", found the string \"0\"",
        ),
    ] {
        assert_eq!(problems(text), [complaint], "{text}");
    }
}

#[test]
fn contradictions_are_found() {
    let long = format!("[server]\nsocket = \"/{}\"", "x".repeat(107));
    assert_eq!(
        problems(&long),
        ["f:2:1: the socket's path has 108 bytes, the kernel takes 107; choose a shorter path"]
    );
    assert_eq!(parse(&long.replace("xx", "x")).server.socket.as_os_str().len(), 55);
    for (text, complaint) in [
        (
            "[worker]\nheartbeat = \"5s\"\nstall_timeout = \"5s\"",
            "f:3:1: 'stall_timeout' (5s) must be longer than 'heartbeat' (5s); a working worker would be killed",
        ),
        (
            "[worker]\nbackoff_first = \"1m\"",
            "f:2:1: 'backoff_first' (1m) is longer than 'backoff_max' (10s); raise 'backoff_max'",
        ),
        ("cpu.affinity = [1, 1]", "f:1:5: 'affinity' names a CPU twice; name each once"),
        ("cpu.affinity = [512]", "f:1:5: 'affinity' names CPU 512; CPUs are 0 to 511"),
        (
            "energy.source = \"auto+nvml:0\"",
            "f:1:8: 'auto+nvml:0' names no meter; write \"auto\", \"none\", or names that 'wattlm meter' lists, joined by '+'",
        ),
        ("models.default = \"a/b\"", "f:1:8: 'a/b' is no model's name; write a model's name, or \"name:variant\""),
        (
            "[[model]]\nname = \"a\"\naliases = [\"c\"]\n[[model]]\nname = \"b\"\naliases = [\"a\"]",
            "f:6:1: 'a' already names the model 'a'; a name means one model",
        ),
    ] {
        assert_eq!(problems(text), [complaint], "{text}");
    }
}

#[test]
fn oddities_are_warnings() {
    assert_eq!(
        warnings("[queue]\nmax = 8\nmax_per_user = 9"),
        ["f:3:1: warning: 'queue.max_per_user' (9) is more than 'queue.max' (8), which holds"]
    );
    assert_eq!(warnings("[queue]\nmax = 8"), [""; 0]);
    assert_eq!(warnings("[models]\ncontext = 64"), [""; 0]);
    assert!(warnings("cpu.affinity = [0]\ncpu.threads = 2")[0].contains("2 threads share the 1 CPUs"));
    assert!(warnings("worker.sandbox = false")[0].starts_with("f:1:8: warning: workers run without a sandbox"));
    assert_eq!(parse("[queue]\nmax = 8").limits().queue_per_tenant, 8);
    assert_eq!(parse("[power]\nexplore = 0.125").limits().explore, 125);
    assert!(problems("[power]\nexplore = 0.6")[0].contains("explore"));
}

#[test]
fn models_need_a_name_of_their_own() {
    assert_eq!(
        problems("[[model]]\nfiles = []\nslots = \"1\""),
        [
            "f:1:1: a [[model]] without a name; add name = \"…\"",
            "f:3:9: 'slots' in [[model]]: expected an integer such as 4, found the string \"1\"; remove the quotes"
        ]
    );
    for name in ["a:b", "a/b", "..", "", " a", &"a".repeat(129)] {
        let text = format!("[[model]]\nname = \"{name}\"");
        assert!(problems(&text)[0].contains("cannot be a model's name; use at most 128"), "{name}");
    }
    assert_eq!(parse("[[model]]\nname = \"Modèle 2\"").model[0].name, "Modèle 2");
    assert_eq!(problems("[[model]]\nname = 3").len(), 1);
    let twice = "[[model]]\nname = \"a\"\n[[model]]\nname = \"a\"";
    assert_eq!(problems(twice), ["f:3:1: a second [[model]] 'a' in one file; merge the two"]);
    let many: String = (0..300).map(|i| format!("[[model]]\nname = \"m{i}\"\n")).collect();
    assert_eq!(problems(&many), ["f:513:1: more than 256 models; put the rest in a folder of models.dirs"]);
}

#[test]
fn all_problems_are_reported_in_order() {
    let text = "x = 1\n[server]\nmode = 660\nsockt = \"/a\"\n[models]\nslots = 0\n[[model]]\nslots = true";
    let lines: Vec<usize> = Config::parse("f", text.as_bytes()).unwrap_err().iter().map(|p| p.line).collect();
    assert_eq!(lines, [1, 3, 4, 6, 7, 8]);
    let flood: String = (0..1000).map(|i| format!("unknown{i} = 1\n")).collect();
    let flooded = problems(&flood);
    assert_eq!((flooded.len(), flooded[100].as_str()), (101, "f: 900 more problems"));
}

#[test]
fn syntax_errors_have_a_place_and_do_not_hide_what_stands_before() {
    assert_eq!(
        problems("[cpu]\nthraeds = 1\nthreads =\naffinity = [0]\n[cpu]\n"),
        [
            "f:2:1: unknown key 'thraeds' in [cpu]; did you mean 'threads'?",
            "f:3:10: string values must be quoted, expected literal string",
            "f:5:2: duplicate key at 'cpu'"
        ]
    );
    assert_eq!(problems("[server"), ["f:1:8: unclosed table, expected `]`"]);
    assert!(!problems(&"a=[".repeat(100_000)).is_empty());
    assert!(!problems(&format!("{}x = 1", "a.".repeat(200))).is_empty());
}

#[test]
fn encodings() {
    assert_eq!(problems("\u{feff}thraeds = 1"), problems("thraeds = 1"), "a byte order mark moves no column");
    let bad = Config::parse("f", b"# \xc3\xa4\n[cpu]\nx = \"\xff\"").unwrap_err();
    assert_eq!(bad[0].to_string(), "f:3:6: the file is not UTF-8 from here on; save it as UTF-8");
    assert_eq!(parse("[cpu]\r\nthreads = 3\r\n").cpu.threads, 3);
}

#[test]
fn drop_ins_are_laid_over_in_order() {
    let dir = Dir::new(&[
        (
            "wattlm.toml",
            "[cpu]\nthreads = 1\nprefill_chunk = 32\n[models]\ndirs = [\"/a\", \"/b\"]\n\
             [[model]]\nname = \"m\"\nslots = 1\ncontext = 128",
        ),
        ("wattlm.d/20-b.toml", "[cpu]\nthreads = 3"),
        (
            "wattlm.d/10-a.toml",
            "[cpu]\nthreads = 2\n[models]\ndirs = [\"/c\"]\n\
             [[model]]\nname = \"n\"\n[[model]]\nname = \"m\"\nslots = 2",
        ),
        ("wattlm.d/.hidden.toml", "broken"),
        ("wattlm.d/README", "broken"),
        ("wattlm.d/30.toml.bak", "broken"),
    ]);
    let Loaded { config, warnings, files } = dir.load();
    assert_eq!((config.cpu.threads, config.cpu.prefill_chunk), (3, 32));
    assert_eq!(config.models.dirs, [PathBuf::from("/c")]);
    let models: Vec<_> = config.model.iter().map(|m| (m.name.as_str(), m.slots, m.context)).collect();
    assert_eq!(models, [("m", Some(2), Some(128)), ("n", None, None)]);
    assert_eq!(warnings, []);
    assert_eq!(files, ["wattlm.toml", "wattlm.d/10-a.toml", "wattlm.d/20-b.toml"].map(|f| dir.path(f)));
}

#[test]
fn tables_within_power_override_and_clients_merge_by_name() {
    let dir = Dir::new(&[
        ("wattlm.toml", "[power]\ncap = \"9W\"\n[power.battery]\ncap = \"5W\"\n[[client]]\nname = \"a\"\nuid = 7"),
        ("wattlm.d/a.toml", "[power.battery]\nbattery_floor = 10\n[[client]]\nname = \"a\"\nrequests = 2"),
    ]);
    let config = dir.load().config;
    let battery = config.budgets().battery;
    assert_eq!((battery.cap, battery.battery_floor), (Some(crate::units::Microwatts(5_000_000)), Some(10)));
    let clients: Vec<_> = config.client.iter().map(|c| (c.name.as_str(), c.uid, c.requests)).collect();
    assert_eq!(clients, [("a", Some(7), 2)]);
}

#[test]
fn what_is_wrong_with_budgets_and_clients_says_what_to_write() {
    for (text, complaint) in [
        ("[power]\ncap = 5", "f:2:7: 'cap' in [power]: expected a power such as \"3.5W\", found the integer 5; add the unit, such as W, and quotes"),
        ("[power]\nbattery = 5", "f:2:1: 'battery' in [power] is a section, found the integer 5; write [power.battery], and its keys on the lines below"),
        ("[power.batery]\ncap = \"5W\"", "f:1:8: unknown key 'batery' in [power]; did you mean [power.battery]?"),
        ("[power.battery]\nbattery_low = 5", "f:2:1: unknown key 'battery_low' in [power.battery]; 'battery_low' belongs in [power]"),
        ("[power.battery]\npolicy = \"fast\"", "f:2:10: 'policy' in [power.battery]: expected \"max-throughput\", \"balanced\" or \"min-energy\", found the string \"fast\""),
        ("[client]\nname = \"a\"", "f:1:1: 'client' is a list of tables, found a table; write [[client]] with two brackets, once for each client"),
        ("[[client]]\nuid = 1", "f:1:1: a [[client]] without a name; add name = \"…\""),
        ("[[client]]\nname = \"a\"", "f:1:1: [[client]] 'a' does not say who it is; write one of uid, user, gid, group, unit; or name it \"default\" for everybody else"),
        ("[[client]]\nname = \"a\"\nuid = 1\nunit = \"a.service\"", "f:4:1: [[client]] 'a' names both a uid and a unit; keep one of them, and write another [[client]] for the other"),
        ("[[client]]\nname = \"default\"\nuid = 1", "f:3:1: [[client]] 'default' is everybody else, and names a uid; remove 'uid', or give the table another name"),
        ("[[client]]\nname = \"a\"\nunit = \"camera\"", "f:3:1: 'camera' is no unit that a process runs in; write its whole name, such as \"camera.service\""),
        ("[[client]]\nname = \"a\"\nuid = 1\n[[client]]\nname = \"b\"\nuid = 1", "f:6:1: [[client]] 'a' already names the uid 1; merge the two"),
        ("[[client]]\nname = \"a\"\nuid = 1\nmodels = [\"a/b\"]", "f:4:1: 'a/b' is no model's name; write a model's name, or \"name:variant\""),
    ] {
        assert_eq!(problems(text), [complaint], "{text}");
    }
    assert_eq!(
        warnings("[power]\njoules_per_hour = \"100J\"\njoules_per_day = \"10J\""),
        ["f:2:1: warning: 'power.joules_per_hour' (100.0 J) is more than the joules of the day (10.0 J), which hold";
            1]
    );
}

#[test]
fn drop_ins_work_without_a_main_file() {
    let dir = Dir::new(&[("wattlm.d/a.toml", "[cpu]\nthreads = 2")]);
    assert_eq!(dir.load().config.cpu.threads, 2);
    let explicit = Sources { explicit: true, ..dir.sources() };
    assert_eq!(
        dir.problems(&explicit),
        ["wattlm.toml: cannot be read: No such file or directory (os error 2); \
          create it, or name another with --config"]
    );
}

#[test]
fn problems_of_all_files_are_reported() {
    let dir = Dir::new(&[("wattlm.toml", "a = 1"), ("wattlm.d/a.toml", "[cpu]\nb = 1"), ("wattlm.d/b.toml", "=")]);
    let starts: Vec<String> =
        dir.problems(&dir.sources()).iter().map(|p| p.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(starts, ["wattlm.toml:1:1", "wattlm.d/a.toml:2:1", "wattlm.d/b.toml:1:1"]);
}

#[test]
fn a_contradiction_names_the_file_that_made_it() {
    let dir = Dir::new(&[
        ("wattlm.toml", "[worker]\nbackoff_first = \"5s\""),
        ("wattlm.d/a.toml", "# ours\n[worker]\nbackoff_max = \"1s\""),
    ]);
    assert!(dir.problems(&dir.sources())[0].starts_with("wattlm.toml:2:1: 'backoff_first' (5s)"));
}

#[test]
fn what_is_no_small_regular_file_is_refused() {
    let dir = Dir::new(&[]);
    fs::create_dir(dir.path("wattlm.d/dir.toml")).unwrap();
    nix::unistd::mkfifo(&dir.path("wattlm.d/fifo.toml"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::write(dir.path("wattlm.d/huge.toml"), vec![b'\n'; (MAX_FILE + 1) as usize]).unwrap();
    fs::write(dir.path("wattlm.d/large.toml"), vec![b'\n'; MAX_FILE as usize]).unwrap();
    assert_eq!(
        dir.problems(&dir.sources()),
        [
            "wattlm.d/dir.toml: cannot be read: it is a directory",
            "wattlm.d/fifo.toml: cannot be read: it is not a regular file",
            "wattlm.d/huge.toml: cannot be read: it is larger than 1 MiB"
        ]
    );
    let links = Dir::new(&[]);
    std::os::unix::fs::symlink("/dev/null", links.path("wattlm.d/a.toml")).unwrap();
    assert_eq!(links.load().config, Config::default());
    std::os::unix::fs::symlink("nowhere", links.path("wattlm.d/b.toml")).unwrap();
    assert!(links.problems(&links.sources())[0].starts_with("wattlm.d/b.toml: cannot be read: No such file"));
    let many = Dir::new(&[]);
    (0..300).for_each(|i| fs::write(many.path(&format!("wattlm.d/{i}.toml")), "x").unwrap());
    assert_eq!(many.problems(&many.sources()), ["wattlm.d: holds 300 files, at most 256 are read; merge some of them"]);
}

#[test]
fn an_unreadable_file_is_an_error() {
    let dir = Dir::new(&[("wattlm.toml", "")]);
    fs::set_permissions(dir.path("wattlm.toml"), fs::Permissions::from_mode(0o000)).unwrap();
    match Config::load(&dir.sources()) {
        // Root reads everything.
        Ok(_) => assert!(nix::unistd::geteuid().is_root()),
        Err(p) => assert!(p[0].to_string().ends_with("let the service's user read it"), "{}", p[0]),
    }
    let not_a_dir = Dir::new(&[]);
    fs::remove_dir(not_a_dir.path("wattlm.d")).unwrap();
    fs::write(not_a_dir.path("wattlm.d"), "").unwrap();
    assert!(not_a_dir.problems(&not_a_dir.sources())[0].starts_with("wattlm.d: cannot be read: Not a directory"));
}

#[test]
fn files_that_everybody_may_write_are_pointed_out() {
    let dir = Dir::new(&[("wattlm.toml", "")]);
    assert_eq!(dir.load().warnings, []);
    for name in ["wattlm.toml", "wattlm.d"] {
        fs::set_permissions(dir.path(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let warnings: Vec<String> = dir.load().warnings.iter().map(|w| w.to_string()).collect();
    assert_eq!(warnings.len(), 2);
    assert!(warnings.iter().all(|w| w.ends_with("warning: everybody may write to it; chmod o-w")), "{warnings:?}");
}

#[test]
fn a_user_without_a_place_is_told_what_to_do() {
    let nowhere = Sources { main: "/nonexistent/wattlm.toml".into(), explicit: false, env: Env::default() };
    let problems = Config::load(&nowhere).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|p| p.key_path.as_str()).collect();
    assert_eq!(keys, ["paths.state"]);
    assert!(problems[0].to_string().contains("set HOME, or write 'state' in [paths]"));
    // A socket that systemd passes needs no path.
    let loaded = Config::load_with(&nowhere, |config| config.paths.state = "/tmp".into());
    assert_eq!(loaded.unwrap().config.server.socket, Path::new(""));
}

/// Pieces of which files that are nearly right are made.
const PIECES: &[&str] = &[
    "[server]\n",
    "[cpu]\n",
    "[[model]]\n",
    "[[client]]\n",
    "[power]\n",
    "[power.battery]\n",
    "cap = \"5W\"",
    "uid = 7",
    "[models]\n",
    "[worker]\n",
    "name = \"a\"",
    "name = \"b\"",
    "aliases = [\"c\"]",
    "threads = 3",
    "context = 64",
    "slots",
    "=",
    "\n",
    "\n",
    "\n",
    "\"",
    "'''",
    "[",
    "]",
    "heartbeat = \"2.5s\"",
    "{x=1}",
    "memory_reserve = \"0.3K\"",
    "\u{1b}",
    "ä",
];

proptest::proptest! {
    #[test]
    fn what_is_accepted_survives_and_what_is_not_is_told(
        picks in proptest::collection::vec(proptest::sample::select(PIECES), 0..24)
    ) {
        let text = picks.concat();
        match Config::parse("f", text.as_bytes()) {
            Ok(l) => assert_eq!(Config::parse("f", l.config.to_toml().as_bytes()).unwrap().config, l.config),
            Err(problems) => {
                assert!(problems.iter().any(|p| !p.warning));
                for p in problems {
                    assert!(p.line <= 1 + text.matches('\n').count(), "{p}");
                    assert!(!p.to_string().contains(char::is_control), "{p}");
                }
            }
        }
    }
}

#[test]
fn sources_are_absolute_and_have_their_own_drop_ins() {
    let sources = Sources::new(Some("some/where.toml".into()));
    assert!(sources.main.is_absolute() && sources.explicit);
    assert!(sources.drop_in_dir().ends_with("some/where.d"));
}
