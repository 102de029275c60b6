//! Files and drop-ins: found, read within bounds, parsed, laid over one another, checked.
//!
//! Later files override earlier ones key by key; lists are replaced, `[[model]]` tables are merged by name. All
//! problems of all files are found in one pass. What a file may cost is bounded before it is read, and every
//! complaint has a place in the file that caused it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::Spanned;

use super::check::{check, valid_name, Origins, NAME_HINT};
use super::paths::Env;
use super::problem::{nearest, quote, Place, Problem};
use super::schema::{Client, Model, Section};
use super::tree::Config;
use super::value::found;

/// A configuration is read by people: a file this long is something else.
const MAX_FILE: u64 = 1 << 20;
/// Far more drop-ins than anybody maintains, few enough to read at once.
const MAX_FILES: usize = 256;
/// The same for models, and for clients.
const MAX_TABLES: usize = 256;
/// Nobody reads more complaints about one file at a time.
const MAX_PROBLEMS: usize = 100;

/// Where the configuration comes from. Kept by the service, so that a reload reads the same files.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The main file. Its drop-ins are the `*.toml` in the directory beside it whose name ends in `.d` instead:
    /// `wattlm.d` for `wattlm.toml`.
    pub main: PathBuf,
    /// Somebody named it, so that it must exist.
    pub explicit: bool,
    /// What the defaults depend on.
    pub env: Env,
}

impl Sources {
    /// This process's: the file of `--config` if there is one, else that of [`Env::config`].
    pub fn new(config: Option<PathBuf>) -> Sources {
        let env = Env::current();
        let (main, explicit) = config.map_or_else(|| env.config(), |named| (named, true));
        // A reload must find the same file, wherever the process has gone by then.
        Sources { main: std::path::absolute(&main).unwrap_or(main), explicit, env }
    }

    /// The directory of the drop-ins.
    pub fn drop_in_dir(&self) -> PathBuf {
        self.main.with_extension("d")
    }
}

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// It.
    pub config: Config,
    /// What is odd about it.
    pub warnings: Vec<Problem>,
    /// The files it was read from, in the order in which they were laid over one another.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// Reads and checks everything. The error holds at least one [`Problem`] that is no warning.
    pub fn load(sources: &Sources) -> Result<Loaded, Vec<Problem>> {
        Config::load_with(sources, |_| {})
    }

    /// The same, with `arguments` (of the command line) laid over the files before the whole is checked.
    pub fn load_with(sources: &Sources, arguments: impl FnOnce(&mut Config)) -> Result<Loaded, Vec<Problem>> {
        let mut reader = Reader::new(Config::defaults(&sources.env));
        for (file, must_exist) in reader.files(sources) {
            let read = reader.read(&file);
            match read {
                Ok(bytes) => {
                    reader.parse(&file, &bytes);
                    reader.files.push(file);
                }
                // A link that leads nowhere was meant to be read.
                Err(e) if e.kind() == ErrorKind::NotFound && !must_exist && !file.is_symlink() => {}
                Err(e) => reader.problems.push(unreadable(&file, &e)),
            }
        }
        arguments(&mut reader.config);
        reader.finish()
    }

    /// As [`Config::load`], for one file's content over the defaults of the device's service. `name` stands for the
    /// file in messages.
    pub fn parse(name: &str, content: &[u8]) -> Result<Loaded, Vec<Problem>> {
        let mut reader = Reader::new(Config::default());
        reader.parse(Path::new(name), content);
        reader.finish()
    }
}

fn unreadable(file: &Path, error: &std::io::Error) -> Problem {
    let hint = match error.kind() {
        ErrorKind::NotFound => "create it, or name another with --config",
        ErrorKind::PermissionDenied => "let the service's user read it",
        _ => "",
    };
    Problem::file(file, format!("cannot be read: {error}")).hint(hint)
}

fn syntax_error(error: &toml::de::Error, lines: &Lines<'_>) -> Problem {
    let span = error.span().unwrap_or_default();
    let at = lines.text.get(span.clone()).filter(|t| !t.trim().is_empty());
    let at = at.map(|t| format!(" at '{}'", quote(t))).unwrap_or_default();
    Problem::error(lines.place(span.start), "", format!("{}{at}", error.message()))
}

struct Reader {
    config: Config,
    origins: Origins,
    files: Vec<PathBuf>,
    problems: Vec<Problem>,
}

impl Reader {
    fn new(config: Config) -> Reader {
        Reader { config, origins: Origins::new(), files: Vec::new(), problems: Vec::new() }
    }

    fn finish(mut self) -> Result<Loaded, Vec<Problem>> {
        // A contradiction with a value that was not understood would only confuse.
        if self.problems.iter().all(|p| p.warning) {
            self.problems.extend(check(&self.config, &self.origins));
        }
        if self.problems.iter().any(|p| !p.warning) {
            return Err(self.problems);
        }
        Ok(Loaded { config: self.config, warnings: self.problems, files: self.files })
    }

    /// The main file and its drop-ins in order, each with whether it must exist.
    fn files(&mut self, sources: &Sources) -> Vec<(PathBuf, bool)> {
        let dir = sources.drop_in_dir();
        let mut drop_ins = Vec::new();
        match std::fs::read_dir(&dir).and_then(|entries| entries.collect::<Result<Vec<_>, _>>()) {
            Ok(entries) => {
                let named = |f: &PathBuf| {
                    let name = f.file_name().unwrap_or_default().as_encoded_bytes();
                    name.ends_with(b".toml") && !name.starts_with(b".")
                };
                drop_ins.extend(entries.into_iter().map(|e| e.path()).filter(named));
                if let Ok(meta) = dir.metadata() {
                    self.warn_writable(&dir, meta.mode());
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => self.problems.push(unreadable(&dir, &e)),
        }
        drop_ins.sort();
        if drop_ins.len() > MAX_FILES {
            let message = format!("holds {} files, at most {MAX_FILES} are read", drop_ins.len());
            self.problems.push(Problem::file(&dir, message).hint("merge some of them"));
            drop_ins.clear();
        }
        let main = (sources.main.clone(), sources.explicit);
        // Not required: a drop-in may be gone again by the time it is opened.
        std::iter::once(main).chain(drop_ins.into_iter().map(|f| (f, false))).collect()
    }

    fn read(&mut self, file: &Path) -> std::io::Result<Vec<u8>> {
        // O_NONBLOCK: opening a FIFO must not wait for a writer.
        let open: File = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file)?;
        let meta = open.metadata()?;
        if meta.is_dir() {
            return Err(std::io::Error::other("it is a directory"));
        }
        // /dev/null is the usual way to say "none", as a link in place of a drop-in too.
        let null = meta.file_type().is_char_device() && meta.rdev() == libc::makedev(1, 3);
        if null {
            return Ok(Vec::new());
        }
        if !meta.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        self.warn_writable(file, meta.mode());
        let mut bytes = Vec::new();
        open.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(std::io::Error::other("it is larger than 1 MiB"));
        }
        Ok(bytes)
    }

    fn warn_writable(&mut self, path: &Path, mode: u32) {
        if mode & 0o002 != 0 {
            let problem = Problem::file(path, "everybody may write to it").hint("chmod o-w");
            self.problems.push(Problem { warning: true, ..problem });
        }
    }

    fn parse(&mut self, file: &Path, bytes: &[u8]) {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let name = file.display().to_string();
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let valid = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
                let place = Lines::new(&name, &valid).place(e.valid_up_to());
                let problem = Problem::error(place, "", "the file is not UTF-8 from here on");
                return self.problems.push(problem.hint("save it as UTF-8"));
            }
        };
        let lines = Lines::new(&name, text);
        let (table, syntax) = DeTable::parse_recoverable(text);
        let mut overlay = Overlay { reader: self, lines: &lines, problems: Vec::new() };
        overlay.root(table.get_ref());
        let mut problems = overlay.problems;
        if let Some(first) = syntax.iter().filter_map(|e| e.span()).map(|s| s.start).min() {
            // From the first slip on the parser guesses; complaints about its guesses would mislead.
            let line = lines.place(first).line;
            problems.retain(|p| p.line < line);
        }
        let mut slips: Vec<Problem> = syntax.iter().map(|e| syntax_error(e, &lines)).collect();
        slips.sort_by_key(|p| p.line);
        // What follows on the same line is mostly an echo of the first.
        slips.dedup_by_key(|p| p.line);
        problems.append(&mut slips);
        problems.sort_by_key(|p| (p.line, p.column));
        if problems.len() > MAX_PROBLEMS {
            let more = problems.len() - MAX_PROBLEMS;
            problems.truncate(MAX_PROBLEMS);
            problems.push(Problem::file(file, format!("{more} more problems")));
        }
        self.problems.append(&mut problems);
    }
}

/// Turns offsets into places.
struct Lines<'a> {
    file: &'a str,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(file: &'a str, text: &'a str) -> Lines<'a> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Lines { file, text, starts }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        Place { file: self.file.to_owned(), line, column: before.chars().count() + 1 }
    }
}

/// Lays one file over what was read before it.
struct Overlay<'a> {
    reader: &'a mut Reader,
    lines: &'a Lines<'a>,
    problems: Vec<Problem>,
}

impl Overlay<'_> {
    fn error(&mut self, span: Range<usize>, key: &str, message: String, hint: impl Into<String>) {
        self.problems.push(Problem::error(self.lines.place(span.start), key, message).hint(hint));
    }

    fn root(&mut self, root: &DeTable<'_>) {
        // Taken out for the time, so that its sections and our own fields can change at once.
        let mut config = std::mem::take(&mut self.reader.config);
        for (key, value) in root {
            let name = key.get_ref().as_ref();
            if name == "model" {
                self.list(&mut config.model, value);
            } else if name == "client" {
                self.list(&mut config.client, value);
            } else if config.section_mut(name).is_some() {
                match value.get_ref() {
                    DeValue::Table(table) => self.section(&mut config, name, table),
                    other => {
                        let hint = match (name, other) {
                            ("models", DeValue::Array(_)) => "write [models], or [[model]] for one model".into(),
                            ("power", _) => "write [power], and cap = \"5W\" on a line below".into(),
                            _ => format!("write [{name}], and its keys on the lines below"),
                        };
                        self.error(key.span(), name, format!("'{name}' is a section, found {}", found(other)), hint);
                    }
                }
            } else {
                let message = format!("unknown key '{}'", quote(name));
                self.error(key.span(), &quote(name), message, hint_for_section(&config, name));
            }
        }
        self.reader.config = config;
    }

    /// A section and those within it, such as `[power.battery]` in `[power]`.
    fn section(&mut self, config: &mut Config, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let inner = format!("{path}.{}", key.get_ref());
            match value.get_ref() {
                DeValue::Table(table) if config.section_mut(&inner).is_some() => self.section(config, &inner, table),
                _ => {}
            }
        }
        if let Some(section) = config.section_mut(path) {
            self.table(section, &format!("[{path}]"), path, table);
        }
    }

    fn table(&mut self, section: &mut dyn Section, label: &str, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let key_path = format!("{path}.{}", quote(name));
            if is_section(&key_path) {
                if value.get_ref().is_table() {
                    continue;
                }
                let message = format!("'{name}' in {label} is a section, found {}", found(value.get_ref()));
                self.error(
                    key.span(),
                    &key_path,
                    message,
                    format!("write [{key_path}], and its keys on the lines below"),
                );
                continue;
            }
            if section.keys().iter().all(|k| k.name != name) {
                let message = format!("unknown key '{}' in {label}", quote(name));
                self.error(key.span(), &key_path, message, hint_for_key(section, name));
                continue;
            }
            let mut faults = Vec::new();
            section.set(name, value, &mut faults);
            for fault in faults {
                self.error(fault.span, &key_path, format!("'{name}' in {label}: {}", fault.message), fault.hint);
            }
            self.reader.origins.insert(key_path, self.lines.place(key.span().start));
        }
    }

    /// `[[model]]`, `[[client]]`: tables that are merged by name.
    fn list<T: Named>(&mut self, list: &mut Vec<T>, value: &Spanned<DeValue<'_>>) {
        let kind = T::KIND;
        let tables = value.get_ref().as_array().filter(|list| list.iter().all(|m| m.get_ref().is_table()));
        let Some(tables) = tables else {
            let message = format!("'{kind}' is a list of tables, found {}", found(value.get_ref()));
            let hint = format!("write [[{kind}]] with two brackets, once for each {kind}");
            return self.error(value.span(), kind, message, hint);
        };
        let mut here = Vec::new();
        for (span, table) in tables.iter().filter_map(|m| Some((m.span(), m.get_ref().as_table()?))) {
            let name = match table.get("name").map(|v| (v.span(), v.get_ref().as_str())) {
                Some((_, Some(name))) if valid_name(name) => name,
                Some((at, Some(name))) => {
                    let message = format!("'{}' cannot be a {kind}'s name", quote(name));
                    self.error(at, &format!("{kind}.name"), message, NAME_HINT);
                    ""
                }
                // Of another type: `table` says so below.
                Some((_, None)) => "",
                None => {
                    let message = format!("a [[{kind}]] without a name");
                    self.error(span.clone(), &format!("{kind}.name"), message, "add name = \"…\"");
                    ""
                }
            };
            if !name.is_empty() && here.contains(&name) {
                let message = format!("a second [[{kind}]] '{}' in one file", quote(name));
                self.error(span, &format!("{kind}.{name}"), message, "merge the two");
                continue;
            }
            here.push(name);
            let known = list.iter().position(|m| m.name_key() == name);
            if known.is_none() && list.len() >= MAX_TABLES {
                return self.error(span, kind, format!("more than {MAX_TABLES} {kind}s"), T::TOO_MANY);
            }
            // One without a name is read only for its other problems, of which the caller is told.
            let mut one = known.map(|i| std::mem::take(&mut list[i])).unwrap_or_default();
            let label = if name.is_empty() { format!("[[{kind}]]") } else { format!("[[{kind}]] '{}'", quote(name)) };
            let path = format!("{kind}.{name}");
            self.table(&mut one, &label, &path, table);
            self.reader.origins.insert(path, self.lines.place(span.start));
            match known {
                Some(i) => list[i] = one,
                None if name.is_empty() => {}
                None => list.push(one),
            }
        }
    }
}

/// A table of which there are many, told apart by name.
trait Named: Section + Default {
    const KIND: &'static str;
    const TOO_MANY: &'static str;
    fn name_key(&self) -> &str;
}

impl Named for Model {
    const KIND: &'static str = "model";
    const TOO_MANY: &'static str = "put the rest in a folder of models.dirs";
    fn name_key(&self) -> &str {
        &self.name
    }
}

impl Named for Client {
    const KIND: &'static str = "client";
    const TOO_MANY: &'static str = "name groups instead of users";
    fn name_key(&self) -> &str {
        &self.name
    }
}

/// Whether a section within a section has this name.
fn is_section(path: &str) -> bool {
    Config::default().sections().iter().any(|s| s.name() == path)
}

/// What may have been meant by an unknown key outside of any section.
fn hint_for_section(config: &Config, name: &str) -> String {
    if let Some(hint) = belongs_in(config, name) {
        return hint;
    }
    let lists = [Model::KIND, Client::KIND];
    let names = || config.sections().map(|s| s.name()).into_iter().chain(lists);
    let bracketed = |name: &str| if lists.contains(&name) { format!("[[{name}]]") } else { format!("[{name}]") };
    match nearest(name, names()) {
        Some(near) => format!("did you mean {}?", bracketed(near)),
        None => format!("there are {}", names().map(bracketed).collect::<Vec<_>>().join(", ")),
    }
}

/// What may have been meant by an unknown key in this section.
fn hint_for_key(section: &dyn Section, name: &str) -> String {
    if let Some(hint) = belongs_in(&Config::default(), name) {
        return hint;
    }
    let names = || section.keys().iter().map(|k| k.name);
    let all = Config::default();
    let prefix = format!("{}.", section.name());
    let inner: Vec<&str> = all.sections().iter().filter_map(|s| s.name().strip_prefix(&prefix)).collect();
    match nearest(name, names().chain(inner.iter().copied())) {
        Some(near) if inner.contains(&near) => format!("did you mean [{prefix}{near}]?"),
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
    }
}

/// The key exists elsewhere: a section header is missing or wrong.
fn belongs_in(config: &Config, name: &str) -> Option<String> {
    let has = |s: &dyn Section| s.keys().iter().any(|k| k.name == name);
    let mut homes: Vec<String> =
        config.sections().into_iter().filter(|s| has(*s)).map(|s| format!("[{}]", s.name())).collect();
    if has(&Model::default()) {
        homes.push("[[model]]".into());
    }
    if has(&Client::default()) {
        homes.push("[[client]]".into());
    }
    (!homes.is_empty()).then(|| format!("'{name}' belongs in {}", homes.join(" or ")))
}

#[cfg(test)]
mod tests;
