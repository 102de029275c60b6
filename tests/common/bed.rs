//! A test bed for energy: a plant, a daemon that reads the plant's tree, users, and what they are told.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;
use serde_json::{json, Value};
use wattlm::client::Client;

use super::plant::{now, Plant};
use super::Daemon;

/// The shape that stands for a real model: some dozens of tokens a second on a small board.
const SHAPE: &str = "smollm2-135m";
/// Its name for clients.
pub const MODEL: &str = "smollm2-135m-synthetic";
/// The small model.
pub const DEMO: &str = "wattlm-demo";

/// The folder with the synthetic model, made where it is not there.
pub fn models() -> PathBuf {
    synthetic(SHAPE)
}

/// The same with a model of another shape.
pub fn synthetic(shape: &str) -> PathBuf {
    let folder = if shape == SHAPE { "energy-models".to_owned() } else { format!("energy-models-{shape}") };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let name = format!("{shape}-synthetic-q4_0.gguf");
    if !dir.join(&name).exists() {
        fs::create_dir_all(&dir).expect("a folder for models");
        // Made aside: another test may look for it now.
        let aside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
        wattlm::models::synth::synth(shape, "q4_0", aside.path(), &mut |_| true).expect("writes the model");
        for file in [format!("{name}.sha256"), name] {
            fs::rename(aside.path().join(&file), dir.join(&file)).expect("moves the model");
        }
    }
    dir
}

/// Words that no cache has seen.
pub struct Words(u64);

impl Words {
    pub fn new(seed: u64) -> Words {
        Words(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 to `n`, without it.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % n
    }

    pub fn text(&mut self, words: usize) -> String {
        let letter = |w: &mut Words| char::from(b'a' + w.below(26) as u8);
        let word = |w: &mut Words| (0..4).map(|_| letter(w)).collect::<String>();
        (0..words).map(|_| word(self)).collect::<Vec<_>>().join(" ")
    }
}

/// What one request was told, and when.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Sent and answered, as [`now`].
    pub from: u64,
    pub to: u64,
    /// Tokens of the answer.
    pub tokens: u64,
    /// The response object `wattlm`.
    pub receipt: Value,
}

impl Answer {
    /// A field of the energy receipt, in joules.
    pub fn energy(&self, field: &str) -> f64 {
        let value = &self.receipt["energy"][field];
        value.as_f64().unwrap_or_else(|| panic!("the receipt has no energy.{field}: {}", self.receipt))
    }

    pub fn quality(&self) -> &str {
        self.receipt["energy"]["quality"].as_str().unwrap_or("")
    }

    pub fn seconds(&self) -> f64 {
        (self.to - self.from) as f64 / 1e9
    }

    /// Its share in a time, by the time that it took.
    pub fn within(&self, from: u64, to: u64) -> f64 {
        let overlap = self.to.min(to).saturating_sub(self.from.max(from));
        overlap as f64 / (self.to - self.from).max(1) as f64
    }
}

/// Asks for exactly `tokens` tokens after this prompt and waits for them.
pub fn ask(client: &Client, model: &str, prompt: &str, tokens: u64) -> Answer {
    let body = json!({"model": model, "prompt": prompt, "max_tokens": tokens, "ignore_eos": true, "temperature": 0});
    let from = now();
    let answer = client.json("POST", "/v1/completions", Some(&body)).unwrap_or_else(|e| panic!("no answer: {e}"));
    let to = now();
    let tokens = answer["usage"]["completion_tokens"].as_u64().expect("a count");
    Answer { from, to, tokens, receipt: answer["wattlm"].clone() }
}

/// The account of the device, as `GET /wattlm/v1/energy` tells administrators.
#[derive(Debug, Clone)]
pub struct Account {
    /// When it was asked for.
    pub at: u64,
    pub json: Value,
}

impl Account {
    pub fn joules(&self, field: &str) -> f64 {
        self.json[field].as_f64().unwrap_or_else(|| panic!("/wattlm/v1/energy has no {field}: {}", self.json))
    }
}

/// A plant and a daemon that reads its tree.
pub struct Bed {
    pub plant: Plant,
    pub daemon: Daemon,
    pub client: Client,
}

impl Bed {
    /// `config` is laid over what leads the daemon to the plant's tree; it must not begin with keys outside a section.
    /// Every user may ask.
    pub fn new(plant: &[&str], config: &str) -> Bed {
        Bed::with_models(plant, false, config, &models())
    }

    /// With the models of this folder beside the demo model. `alone`: the daemon does not see what other programs run on
    /// this machine, which draw nothing from a plant with `--others daemon`.
    pub fn with_models(plant: &[&str], alone: bool, config: &str, models: &Path) -> Bed {
        let mut plant = Plant::start(plant);
        let sysfs = plant.sysfs();
        let procfs =
            if alone { format!("procfs = '{}'\n", plant.sysfs().join("proc").display()) } else { String::new() };
        let all = format!(
            "[paths]\nsysfs = '{}'\n{procfs}[server]\nmode = '0666'\nmax_connections = 256\nmax_connections_per_uid = 128\n{config}",
            sysfs.display()
        );
        let daemon = Daemon::with(&all, &[&super::demo_models(), models]);
        plant.say(&format!("daemon {}", daemon.pid()));
        fs::set_permissions(daemon.dir.path(), fs::Permissions::from_mode(0o755)).expect("opens the folder");
        let client = Client::connect(&daemon.socket).expect("the daemon listens");
        Bed { plant, daemon, client }
    }

    /// Loads a model and returns the tokens that it generates in a second when nobody else asks.
    pub fn speed(&self, model: &str) -> f64 {
        let mut words = Words::new(now());
        ask(&self.client, model, &words.text(4), 8);
        let answer = ask(&self.client, model, &words.text(4), 48);
        answer.receipt["decode_tokens_per_s"].as_f64().expect("a speed").max(1.0)
    }

    /// The account now. A small request goes before it, so that the meter has just been read.
    pub fn account(&self) -> Account {
        ask(&self.client, DEMO, "turn", 8);
        let before = now();
        let json = self.client.json("GET", "/wattlm/v1/energy", None).unwrap_or_else(|e| panic!("no account: {e}"));
        Account { at: before + (now() - before) / 2, json }
    }

    /// Lets the daemon settle: the plant's last tick and the meter's last reading come after the answer.
    pub fn settle(&self) {
        std::thread::sleep(Duration::from_millis(150));
    }

    /// CPU seconds of the daemon's threads, by name.
    pub fn threads_cpu(&self) -> BTreeMap<String, f64> {
        let mut sum = BTreeMap::new();
        let tasks = fs::read_dir(format!("/proc/{}/task", self.daemon.pid())).expect("the daemon runs");
        for task in tasks.flatten().map(|t| t.path()) {
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default().trim().to_owned();
            let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            let nanos: f64 = text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
            *sum.entry(name).or_default() += nanos / 1e9;
        }
        sum
    }

    /// Times that the daemon's threads went to sleep by themselves, and so woke up again.
    pub fn wakeups(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.daemon.pid())).expect("the daemon runs");
        let status = tasks.flatten().filter_map(|t| fs::read_to_string(t.path().join("status")).ok());
        status
            .filter_map(|s| {
                s.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok())
            })
            .sum()
    }
}

/// Whether threads can take other users' identities.
pub fn many_users() -> bool {
    Uid::effective().is_root()
}

/// Makes the calling thread, and no other, a user. Does nothing unless root asks. There is no way back: call it in a
/// thread of its own.
#[allow(unsafe_code)]
pub fn become_user(uid: u32) {
    if !many_users() {
        return;
    }
    // SAFETY: system calls that take integers and an empty list. Made without the C library, they change the calling
    // thread alone.
    let done = unsafe {
        libc::syscall(libc::SYS_setgroups, 0usize, std::ptr::null::<libc::gid_t>()) == 0
            && libc::syscall(libc::SYS_setresgid, uid, uid, uid) == 0
            && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
    };
    assert!(done, "cannot become user {uid}");
}
