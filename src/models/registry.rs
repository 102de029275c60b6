//! Names and variants: what a client can ask for, and which file that is.
//!
//! Models come from the configuration ([`ModelSpec`]) and from folders. [`Registry::rescan`] looks at the files again
//! and reads the headers of new and changed ones; it keeps a few hundred bytes of each, never a header. It does not
//! verify content (`digest`) or look at memory (`fit`). What a name means is in `resolve`.
//!
//! What always holds: a path keeps its [`VariantId`] as long as the registry lives; equal files in equal folders give
//! equal names, whatever the order in which the file system lists them; nothing that was found is left out without a
//! line in [`Registry::notes`]; a broken file is listed with its error and never hides a good one.

mod resolve;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::fit::Shape;
use super::gguf::Header;
use super::naming;
use crate::sched::VariantId;

/// Entries of one folder that are looked at. A models folder has a few dozen; a wrong path may have millions.
const MAX_ENTRIES: usize = 10_000;
/// Variants in all.
const MAX_VARIANTS: usize = 1024;

/// A model of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelSpec {
    /// Its name, instead of the one its files suggest.
    pub name: String,
    /// Its files, the preferred variant first where `order` names none.
    pub files: Vec<PathBuf>,
    /// Variants in the order of preference; those not named follow in the order of `files`.
    pub order: Vec<String>,
}

/// Where models come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// Folders, the first with precedence. One that does not exist is empty.
    pub folders: Vec<PathBuf>,
    /// Models of the configuration. They own their names: a folder's model of the same name is left out.
    pub models: Vec<ModelSpec>,
    /// What a request without a model gets: a model, or `model:variant`.
    pub default: Option<String>,
}

/// Identifies a file's content as well as the kernel can without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of content, name or owner: moves even where somebody sets `mtime` back.
    pub ctime_ns: i64,
    /// Inode.
    pub ino: u64,
    /// Its file system.
    pub dev: u64,
}

impl Stamp {
    /// The stamp of an open or named file's metadata.
    pub fn of(meta: &fs::Metadata) -> Stamp {
        // Ends in the year 2262; later times saturate, and only compare equal more often than they should.
        let ns = |s: i64, n: i64| s.saturating_mul(1_000_000_000).saturating_add(n);
        Stamp {
            size: meta.len(),
            mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
            ino: meta.ino(),
            dev: meta.dev(),
        }
    }
}

/// What is kept of a header.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// GGUF architecture, e.g. `qwen2`.
    pub architecture: String,
    /// Quantization, e.g. `Q4_K_M`.
    pub quantization: String,
    /// Parameters.
    pub parameters: u64,
    /// Context the model was trained for, in tokens.
    pub context_train: u32,
    /// It carries a chat template.
    pub chat: bool,
    /// Its weights are random.
    pub synthetic: bool,
    /// What its memory is predicted from.
    pub shape: Shape,
}

impl Facts {
    fn of(h: &Header) -> Facts {
        Facts {
            architecture: h.architecture.clone(),
            quantization: h.quantization.clone(),
            parameters: h.parameters,
            context_train: h.context_length,
            chat: h.chat_template.is_some(),
            synthetic: h.synthetic,
            shape: Shape::of(h),
        }
    }
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Its number, for as long as the registry lives.
    pub id: VariantId,
    /// The model it belongs to.
    pub model: String,
    /// Its own name, e.g. `q4_k_m`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The file as it was when its header was read; `None` where it could not even be looked at.
    pub stamp: Option<Stamp>,
    /// What its header says, or why it cannot be used.
    pub facts: std::result::Result<Facts, String>,
}

impl Variant {
    /// `model:variant`.
    pub fn full_name(&self) -> String {
        format!("{}:{}", self.model, self.name)
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.stamp.map_or(0, |s| s.size)
    }

    /// Last change, seconds since 1970.
    pub fn modified(&self) -> u64 {
        self.stamp.map_or(0, |s| u64::try_from(s.mtime_ns / 1_000_000_000).unwrap_or(0))
    }
}

/// A name and its variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The name to ask for.
    pub name: String,
    /// Its variants, the default first.
    pub variants: Vec<VariantId>,
}

/// Names and variants. See the module.
#[derive(Debug, Default)]
pub struct Registry {
    models: Vec<Model>,
    variants: BTreeMap<VariantId, Variant>,
    ids: HashMap<PathBuf, VariantId>,
    default: Option<String>,
    notes: Vec<String>,
}

/// A file that wants to be a variant, with its names where they are settled.
struct Candidate {
    path: PathBuf,
    model: Option<String>,
    /// Position in its configuration entry; files of folders are ordered by preference.
    rank: Option<usize>,
}

impl Registry {
    /// An empty registry. [`Registry::rescan`] fills it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at folders and configured files again. Headers are read only of files that are new or have changed.
    /// Takes a few milliseconds of disk time for each of those; call it where that may block.
    pub fn rescan(&mut self, sources: &Sources) {
        self.notes.clear();
        self.default.clone_from(&sources.default);
        let mut known: HashMap<PathBuf, Variant> =
            std::mem::take(&mut self.variants).into_values().map(|v| (v.path.clone(), v)).collect();
        self.models.clear();

        let mut seen_files: HashMap<(u64, u64), PathBuf> = HashMap::new();
        let mut owned: HashSet<String> = HashSet::new();
        let mut orders: HashMap<String, Vec<String>> = HashMap::new();
        let mut candidates = Vec::new();
        for spec in &sources.models {
            if !naming::valid(&spec.name) {
                self.note(format!("model {:?} of the configuration: this cannot be a name", spec.name));
                continue;
            }
            owned.insert(spec.name.clone());
            orders.insert(spec.name.clone(), spec.order.iter().map(|v| v.to_ascii_lowercase()).collect());
            let files = spec.files.iter().enumerate();
            candidates.extend(files.map(|(i, path)| Candidate {
                path: path.clone(),
                model: Some(spec.name.clone()),
                rank: Some(i),
            }));
        }
        for folder in &sources.folders {
            let found = self.list(folder);
            candidates.extend(found.into_iter().map(|path| Candidate { path, model: None, rank: None }));
        }

        let mut ranks: HashMap<VariantId, usize> = HashMap::new();
        for c in candidates {
            if self.variants.len() >= MAX_VARIANTS {
                self.note(format!(
                    "more than {MAX_VARIANTS} model files: {} and what follows is left out",
                    c.path.display()
                ));
                break;
            }
            let Some(mut v) = self.variant_of(&c, &owned, known.remove(&c.path)) else { continue };
            // The same file by two paths: a link, a folder named twice, a folder's file in the configuration.
            let file = v.stamp.map(|s| (s.dev, s.ino));
            if let Some(first) = file.and_then(|f| seen_files.get(&f)).or_else(|| self.variant(v.id).map(|v| &v.path)) {
                let again = format!("{} is left out: it is the same file as {}", v.path.display(), first.display());
                self.note(again);
                continue;
            }
            seen_files.extend(file.map(|f| (f, v.path.clone())));
            self.place(&mut v);
            if let Some(rank) = c.rank {
                ranks.insert(v.id, rank);
            }
            self.variants.insert(v.id, v);
        }
        self.sort(&orders, &ranks);
        if let Some(name) = self.default.clone() {
            if let Err(e) = self.resolve(&name) {
                self.note(format!("the default model: {}", e.message));
            }
        }
    }

    fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Model files of a folder, sorted.
    fn list(&mut self, folder: &Path) -> Vec<PathBuf> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(e) => {
                self.note(format!("cannot list {}: {e}", folder.display()));
                return Vec::new();
            }
        };
        let mut out = Vec::new();
        for (i, entry) in entries.flatten().enumerate() {
            if i >= MAX_ENTRIES {
                self.note(format!("{} has more than {MAX_ENTRIES} entries: the rest is left out", folder.display()));
                break;
            }
            let name = entry.file_name();
            let bytes = name.as_encoded_bytes();
            if bytes.starts_with(b".") || !bytes.to_ascii_lowercase().ends_with(b".gguf") {
                continue;
            }
            out.push(entry.path());
        }
        out.sort();
        out
    }

    /// Looks at one file. `None`: it is no candidate at all, which was noted where it may surprise.
    fn variant_of(&mut self, c: &Candidate, owned: &HashSet<String>, known: Option<Variant>) -> Option<Variant> {
        let shown = c.path.display();
        let Some(stem) = c.path.file_stem().and_then(|s| s.to_str()) else {
            self.note(format!("{shown}: its name is not UTF-8"));
            return None;
        };
        let (stem, parts) = match naming::part(stem) {
            // The first part stands for all of them.
            Some((_, number, _)) if number != 1 => return None,
            Some((base, _, count)) => (base, Some(count)),
            None => (stem, None),
        };
        let (from_name, variant) = naming::split(stem);
        let model = c.model.clone().unwrap_or_else(|| from_name.to_owned());
        if !naming::valid(&model) {
            self.note(format!("{shown}: rename it; '{}' cannot be a model's name", model.escape_debug()));
            return None;
        }
        if c.model.is_none() && owned.contains(&model) {
            self.note(format!("{shown}: left out, because the configuration says which files model '{model}' has"));
            return None;
        }

        let meta = fs::metadata(&c.path);
        let stamp = meta.as_ref().ok().map(Stamp::of);
        let facts = match (&meta, known) {
            (Err(e), _) => Err(format!("cannot look at it: {e}")),
            (Ok(m), _) if !m.is_file() => Err("it is not a regular file".to_owned()),
            (Ok(_), Some(old)) if old.stamp == stamp => old.facts,
            (Ok(_), _) if parts.is_some() => Err(format!(
                "it is split in {} parts, which is not supported: join them with 'llama-gguf-split --merge'",
                parts.unwrap_or(0)
            )),
            (Ok(_), _) => Header::open(&c.path).map(|h| Facts::of(&h)).map_err(|e| e.to_string()),
        };
        let variant = variant.or_else(|| Some(facts.as_ref().ok()?.quantization.to_ascii_lowercase()));
        let next = VariantId(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
        let id = *self.ids.entry(c.path.clone()).or_insert(next);
        let name = variant.unwrap_or_else(|| "unknown".to_owned());
        Some(Variant { id, model, name, path: c.path.clone(), stamp, facts })
    }

    /// Puts a variant under its model; where another has its name already, under a name with a number.
    fn place(&mut self, v: &mut Variant) {
        let at = match self.models.iter().position(|m| m.name == v.model) {
            Some(at) => at,
            None => {
                self.models.push(Model { name: v.model.clone(), variants: Vec::new() });
                self.models.len() - 1
            }
        };
        let siblings: HashMap<&str, &Path> = self.models[at]
            .variants
            .iter()
            .filter_map(|id| self.variants.get(id))
            .map(|o| (o.name.as_str(), o.path.as_path()))
            .collect();
        if let Some(first) = siblings.get(v.name.as_str()) {
            let taken = format!("because {} is {}", first.display(), v.full_name());
            let free = (2..).map(|n| format!("{}-{n}", v.name)).find(|n| !siblings.contains_key(n.as_str()));
            v.name = free.unwrap_or_else(|| v.name.clone());
            self.note(format!("{} is called {}, {taken}", v.path.display(), v.full_name()));
        }
        self.models[at].variants.push(v.id);
    }

    /// Sound variants before broken ones; then the configuration's order, its files' order, and preference.
    fn sort(&mut self, orders: &HashMap<String, Vec<String>>, ranks: &HashMap<VariantId, usize>) {
        let Registry { models, variants, notes, .. } = self;
        for m in models {
            let order = orders.get(&m.name).map_or(&[][..], Vec::as_slice);
            for missing in order.iter().filter(|o| !m.variants.iter().any(|id| variants[id].name == **o)) {
                notes.push(format!("model '{}' has no variant '{missing}', which its order names", m.name));
            }
            m.variants.sort_by_cached_key(|id| {
                let v = &variants[id];
                let named = order.iter().position(|o| *o == v.name).unwrap_or(usize::MAX);
                let rank = ranks.get(id).copied().unwrap_or(usize::MAX);
                (v.facts.is_err(), named, rank, naming::preference(&v.name), v.name.clone())
            });
        }
    }

    /// Models: those of the configuration in its order, then those of the folders.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// Every variant, by number.
    pub fn variants(&self) -> impl Iterator<Item = &Variant> {
        self.variants.values()
    }

    /// The variant with this number, unless its file is gone.
    pub fn variant(&self, id: VariantId) -> Option<&Variant> {
        self.variants.get(&id)
    }

    /// What the last scan left out or renamed, and why. Whole sentences without a final stop.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The variant that a request without a model gets: the configured default, or else the first sound one.
    pub fn default_variant(&self) -> Option<VariantId> {
        if let Some(name) = &self.default {
            return self.resolve(name).ok();
        }
        // Random weights answer nobody who did not ask for them.
        let real = |id: &VariantId| self.variants[id].facts.as_ref().is_ok_and(|f| !f.synthetic);
        let mut sound = self.models.iter().filter_map(|m| self.sound(m));
        sound.clone().find(real).or_else(|| sound.next())
    }

    fn sound(&self, m: &Model) -> Option<VariantId> {
        m.variants.first().copied().filter(|id| self.variants[id].facts.is_ok())
    }
}

#[cfg(test)]
mod tests;
