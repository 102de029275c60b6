//! Reads the header of a GGUF file: what the model is, how large, and whether the file is whole.
//!
//! Any file may be hostile or half copied. The header is read once, front to back, within fixed bounds (see
//! [`source`]); vocabulary and merges are passed over. Tensor data is never read, but every tensor must lie inside
//! the file, where llama.cpp will look for it. What this module does not do: load, tokenize, verify content.
//!
//! What always holds: no input makes it panic; memory stays within a few megabytes; what llama.cpp would refuse for
//! its structure (duplicate keys, gaps between tensors, nested arrays) is refused here with a better message.

mod meta;
pub mod source;
pub mod write;

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use self::meta::Meta;
use self::source::Source;
pub use self::source::{GgufError, Kind, Result};
use super::ggml_type::GgmlType;

/// Metadata entries. Files in use have about 50.
const MAX_ENTRIES: u64 = 4096;
/// Tensors. The largest models in use have a few thousand.
const MAX_TENSORS: u64 = 16_384;
/// Bytes of a tensor's name, as in ggml (`GGML_MAX_NAME` counts the final zero).
const MAX_TENSOR_NAME: u64 = 63;

/// A number that is the same for every layer, or one for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PerLayer {
    /// For every layer.
    Same(u32),
    /// For each layer in turn.
    Each(Vec<u32>),
}

impl PerLayer {
    /// The number for this layer; 0 beyond the last.
    pub fn at(&self, layer: usize) -> u32 {
        match self {
            PerLayer::Same(n) => *n,
            PerLayer::Each(all) => all.get(layer).copied().unwrap_or(0),
        }
    }

    /// The largest.
    pub fn max(&self) -> u32 {
        match self {
            PerLayer::Same(n) => *n,
            PerLayer::Each(all) => all.iter().copied().max().unwrap_or(0),
        }
    }
}

/// One tensor, as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name, e.g. `blk.0.attn_q.weight`.
    pub name: String,
    /// Element type.
    pub kind: GgmlType,
    /// Elements in each dimension, the row's length first; unused ones are 1.
    pub shape: [u64; 4],
    /// How many dimensions are in use.
    pub dims: u32,
    /// Where its data begins, from the start of the file.
    pub offset: u64,
    /// Bytes of its data.
    pub bytes: u64,
}

impl Tensor {
    /// Elements in all.
    pub fn elements(&self) -> u64 {
        // The product was checked when it was read.
        self.shape.iter().product()
    }
}

/// What a GGUF header says.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// GGUF version, 2 or 3.
    pub version: u32,
    /// llama.cpp's name of the architecture, e.g. `qwen2`.
    pub architecture: String,
    /// The model's own name.
    pub name: Option<String>,
    /// Quantization of the file, e.g. `Q4_K_M`: what it says of itself, or else the type with the most bytes.
    pub quantization: String,
    /// Parameters: elements of all tensors.
    pub parameters: u64,
    /// Context the model was trained for, in tokens.
    pub context_length: u32,
    /// Layers.
    pub block_count: u32,
    /// Width of the residual stream.
    pub embedding_length: u32,
    /// Attention heads.
    pub head_count: PerLayer,
    /// Key-value heads; 0 for a layer without attention.
    pub head_count_kv: PerLayer,
    /// Width of one head's key.
    pub key_length: u32,
    /// Width of one head's value.
    pub value_length: u32,
    /// Width of the feed-forward layers.
    pub feed_forward_length: PerLayer,
    /// Window of layers with sliding attention, in tokens.
    pub sliding_window: Option<u32>,
    /// Some layers keep a recurrent state instead of, or beside, keys and values.
    pub recurrent: bool,
    /// Bytes of recurrent state for one sequence.
    pub recurrent_bytes: u64,
    /// Experts in a layer; 0 for a dense model.
    pub expert_count: u32,
    /// Tokens in the vocabulary.
    pub vocab_size: u32,
    /// The tokenizer's number of merges.
    pub merges: u64,
    /// Jinja source of the chat template.
    pub chat_template: Option<String>,
    /// Token that begins a text.
    pub bos: Option<u32>,
    /// Token that ends a text.
    pub eos: Option<u32>,
    /// Its weights are random (`wattlm.synthetic`).
    pub synthetic: bool,
    /// Tensors, in the file's order.
    pub tensors: Vec<Tensor>,
    /// Where tensor data begins.
    pub data_offset: u64,
    /// Bytes of the file.
    pub file_len: u64,
}

impl Header {
    /// Reads a header from `reader`, wherever it stands.
    pub fn read<R: Read + Seek>(reader: R) -> Result<Header> {
        let mut src = Source::new(reader)?;
        let version = read_magic(&mut src)?;
        let n_tensors = src.u64()?;
        let n_entries = src.u64()?;
        if n_tensors > MAX_TENSORS {
            return src.fail(Kind::TooLarge, format!("{n_tensors} tensors where {MAX_TENSORS} are allowed"));
        }
        if n_entries > MAX_ENTRIES {
            return src.fail(Kind::TooLarge, format!("{n_entries} metadata entries where {MAX_ENTRIES} are allowed"));
        }
        let meta = Meta::read(&mut src, n_entries)?;
        let alignment = meta.alignment()?;
        let (tensors, data_offset) = read_tensors(&mut src, n_tensors, alignment)?;
        meta.header(version, tensors, data_offset, src.file_len())
    }

    /// Reads the header of a regular file, following symbolic links.
    pub fn open(path: &Path) -> Result<Header> {
        Header::read(open_regular(path)?)
    }

    /// Bytes of all tensors' data.
    pub fn weight_bytes(&self) -> u64 {
        // They lie one behind the other inside the file, so the sum is less than its length.
        self.tensors.iter().map(|t| t.bytes).sum()
    }

    /// Bytes of tensor data by element type.
    pub fn bytes_by_type(&self) -> BTreeMap<GgmlType, u64> {
        bytes_by_type(&self.tensors)
    }
}

fn open_regular(path: &Path) -> Result<File> {
    let fail = |what: String| GgufError { kind: Kind::Io, offset: 0, subject: None, what };
    // Without O_NONBLOCK, opening a pipe that somebody put there would wait for its writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|e| fail(format!("cannot open it: {e}")))?;
    let meta = file.metadata().map_err(|e| fail(e.to_string()))?;
    if !meta.is_file() {
        return Err(fail("it is not a regular file".into()));
    }
    Ok(file)
}

fn bytes_by_type(tensors: &[Tensor]) -> BTreeMap<GgmlType, u64> {
    let mut sums = BTreeMap::new();
    for t in tensors {
        *sums.entry(t.kind).or_insert(0) += t.bytes;
    }
    sums
}

fn read_magic<R: Read + Seek>(src: &mut Source<R>) -> Result<u32> {
    if src.file_len() < 4 || &src.bytes::<4>()? != b"GGUF" {
        let what = "it does not begin with 'GGUF': this is not a GGUF file";
        return Err(GgufError { kind: Kind::NotGguf, offset: 0, subject: None, what: what.into() });
    }
    let version = src.u32()?;
    match version {
        2 | 3 => Ok(version),
        1 => src.fail(Kind::Unsupported, "GGUF version 1 is no longer in use: convert the model again"),
        _ if version.swap_bytes() <= 0xffff => {
            src.fail(Kind::Unsupported, "it is big-endian: convert the model for a little-endian machine")
        }
        _ => src.fail(Kind::Unsupported, format!("GGUF version {version} is unknown; 2 and 3 are supported")),
    }
}

fn read_tensors<R: Read + Seek>(src: &mut Source<R>, n: u64, alignment: u64) -> Result<(Vec<Tensor>, u64)> {
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut names = HashSet::new();
    // Where the next tensor must begin, from the start of the data. llama.cpp takes no gaps and no overlaps.
    let mut expected = 0u64;
    for i in 0..n {
        src.subject(Some(format!("tensor {i}")));
        let name = src.string(MAX_TENSOR_NAME)?;
        src.subject(Some(format!("tensor '{}'", name.escape_debug())));
        if !names.insert(name.clone()) {
            return src.fail(Kind::Malformed, "a second tensor of this name");
        }
        let tensor = read_tensor(src, name)?;
        if tensor.offset != expected {
            let what = format!("its data begins at {} where {expected} is expected", tensor.offset);
            return src.fail(Kind::Malformed, what);
        }
        let Some(next) = expected.checked_add(tensor.bytes).and_then(|e| e.checked_next_multiple_of(alignment)) else {
            return src.fail(Kind::Malformed, "its data would end beyond any file");
        };
        expected = next;
        tensors.push(tensor);
    }
    src.subject(None);
    // At most MAX_HEADER plus MAX_ALIGNMENT.
    let data_offset = src.pos().next_multiple_of(alignment);
    for t in &mut tensors {
        let end = data_offset.checked_add(t.offset).and_then(|o| o.checked_add(t.bytes));
        if end.is_none_or(|end| end > src.file_len()) {
            src.subject(Some(format!("tensor '{}'", t.name.escape_debug())));
            let what = format!(
                "its data ({} bytes from {data_offset} + {}) ends beyond the file's {} bytes: the file is incomplete",
                t.bytes,
                t.offset,
                src.file_len()
            );
            return src.fail(Kind::Truncated, what);
        }
        t.offset += data_offset;
    }
    Ok((tensors, data_offset))
}

fn read_tensor<R: Read + Seek>(src: &mut Source<R>, name: String) -> Result<Tensor> {
    let dims = src.u32()?;
    if !(1..=4).contains(&dims) {
        return src.fail(Kind::Malformed, format!("{dims} dimensions, where 1 to 4 can be"));
    }
    let mut shape = [1u64; 4];
    let mut elements = 1u64;
    for d in shape.iter_mut().take(dims as usize) {
        *d = src.u64()?;
        // ggml counts elements in a signed 64-bit number.
        match elements.checked_mul(*d).filter(|&e| *d > 0 && e <= i64::MAX as u64) {
            Some(e) => elements = e,
            None => return src.fail(Kind::Malformed, format!("a dimension of {d} elements cannot be")),
        }
    }
    let id = src.u32()?;
    let Some(kind) = GgmlType::from_id(id) else {
        return src.fail(Kind::Unsupported, format!("element type {id} is unknown or was removed from ggml"));
    };
    if !shape[0].is_multiple_of(kind.block_len()) {
        let what =
            format!("rows of {} elements are not whole {} blocks of {}", shape[0], kind.name(), kind.block_len());
        return src.fail(Kind::Malformed, what);
    }
    let Some(bytes) = kind.bytes_of(elements) else {
        return src.fail(Kind::Malformed, "its size is beyond any file");
    };
    let offset = src.u64()?;
    Ok(Tensor { name, kind, shape, dims, offset, bytes })
}

#[cfg(test)]
mod tests;
