//! Bounded reading of a GGUF file's beginning: bytes, integers, strings, values.
//!
//! Knows the encoding and no meaning. What always holds: a length from the file is compared with what the file and
//! the limits could still hold *before* anything is allocated or skipped; no more than [`MAX_HEADER`] bytes are
//! consumed and no more than [`MAX_KEPT`] bytes of them are kept; every error names the offset.

use std::fmt;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// Bytes from the start of the file to the tensor data. A vocabulary of 262,144 tokens with its merges takes about 17
/// MiB, the largest in use.
pub const MAX_HEADER: u64 = 64 << 20;
/// Bytes of keys, strings and numbers that are kept of one header. Without this bound a hostile file of small values
/// could fill the daemon's memory within [`MAX_HEADER`].
pub const MAX_KEPT: usize = 2 << 20;
/// Bytes of a key. The longest in use has about 60.
pub const MAX_KEY: u64 = 512;
/// Bytes of a string that is kept, the chat template apart.
pub const MAX_STRING: u64 = 4096;
/// Bytes of a chat template. The longest in use has about 30,000.
pub const MAX_TEMPLATE: u64 = 256 << 10;
/// Elements of a numeric array that is kept: one per layer, and llama.cpp stops at 512 layers.
pub const MAX_LAYERS: u64 = 512;

/// What kind of trouble a GGUF file gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The file could not be read.
    Io,
    /// It is not a GGUF file.
    NotGguf,
    /// It is one that wattlm or llama.cpp does not take: version, byte order, a removed tensor type, one part of many.
    Unsupported,
    /// It ends before what it announces. An interrupted copy or download.
    Truncated,
    /// It contradicts itself or the format.
    Malformed,
    /// It is over one of our limits.
    TooLarge,
}

/// Why a GGUF header was refused, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufError {
    /// What kind of trouble.
    pub kind: Kind,
    /// Byte offset in the file where it was met.
    pub offset: u64,
    /// The key or tensor it was met in, with its kind in front: `key 'general.alignment'`.
    pub subject: Option<String>,
    /// What is wrong, and what to do where that is known.
    pub what: String,
}

impl fmt::Display for GgufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Some(subject) => write!(f, "{subject} at byte {}: {}", self.offset, self.what),
            None => write!(f, "at byte {}: {}", self.offset, self.what),
        }
    }
}

impl std::error::Error for GgufError {}

/// Shorthand.
pub type Result<T> = std::result::Result<T, GgufError>;

/// A metadata value, as much of it as is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any integer type.
    Int(i128),
    /// Either float type.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A string, kept.
    Text(String),
    /// An array of integers or truth values with an element per layer, kept.
    Ints(Vec<i64>),
    /// An array of which only the number of elements is kept.
    Array(u64),
    /// A string that was skipped.
    Skipped,
}

/// What to do with a string or array that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Skip strings, count arrays.
    No,
    /// Keep a string of at most this many bytes (a longer one is an error).
    Text(u64),
    /// Keep an array of integers with at most [`MAX_LAYERS`] elements.
    Ints,
}

const UINT8: u32 = 0;
const INT8: u32 = 1;
const UINT16: u32 = 2;
const INT16: u32 = 3;
const UINT32: u32 = 4;
const INT32: u32 = 5;
const FLOAT32: u32 = 6;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const UINT64: u32 = 10;
const INT64: u32 = 11;
const FLOAT64: u32 = 12;

/// Bytes of a value of this type; `None` for strings, arrays and unknown types.
fn fixed_size(kind: u32) -> Option<u64> {
    Some(match kind {
        UINT8 | INT8 | BOOL => 1,
        UINT16 | INT16 => 2,
        UINT32 | INT32 | FLOAT32 => 4,
        UINT64 | INT64 | FLOAT64 => 8,
        _ => return None,
    })
}

/// A reader that knows where it is and how much may still come.
pub struct Source<R> {
    inner: BufReader<R>,
    pos: u64,
    len: u64,
    kept: usize,
    subject: Option<String>,
}

impl<R: Read + Seek> Source<R> {
    /// Starts at the beginning of `inner`, whatever its position.
    pub fn new(mut inner: R) -> Result<Self> {
        let io = |e: io::Error| GgufError { kind: Kind::Io, offset: 0, subject: None, what: e.to_string() };
        let len = inner.seek(SeekFrom::End(0)).map_err(io)?;
        inner.seek(SeekFrom::Start(0)).map_err(io)?;
        Ok(Source { inner: BufReader::with_capacity(64 << 10, inner), pos: 0, len, kept: 0, subject: None })
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.len
    }

    /// Bytes consumed.
    pub fn pos(&self) -> u64 {
        self.pos
    }

    /// Names what is read from here on, for errors.
    pub fn subject(&mut self, subject: Option<String>) {
        self.subject = subject;
    }

    /// An error here.
    pub fn fail<T>(&self, kind: Kind, what: impl Into<String>) -> Result<T> {
        Err(GgufError { kind, offset: self.pos, subject: self.subject.clone(), what: what.into() })
    }

    /// Checks that `n` more bytes lie in the file and in the budget.
    fn need(&self, n: u64) -> Result<()> {
        let left = self.len - self.pos;
        if n > left {
            let what = format!("needs {n} bytes where the file has {left} left: the file is incomplete or damaged");
            return self.fail(Kind::Truncated, what);
        }
        if n > MAX_HEADER - self.pos {
            return self.fail(Kind::TooLarge, format!("the header is longer than the {MAX_HEADER} bytes allowed"));
        }
        Ok(())
    }

    fn io<T>(&self, e: &io::Error) -> Result<T> {
        match e.kind() {
            io::ErrorKind::UnexpectedEof => self.fail(Kind::Truncated, "the file became shorter while it was read"),
            _ => self.fail(Kind::Io, e.to_string()),
        }
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.need(N as u64)?;
        let mut out = [0; N];
        if let Err(e) = self.inner.read_exact(&mut out) {
            return self.io(&e);
        }
        self.pos += N as u64;
        Ok(out)
    }

    /// A little-endian number.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    /// A little-endian number.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// Leaves `n` bytes out, without reading what does not lie in the buffer.
    pub fn skip(&mut self, n: u64) -> Result<()> {
        self.need(n)?;
        // n is at most MAX_HEADER.
        if let Err(e) = self.inner.seek_relative(n as i64) {
            return self.io(&e);
        }
        self.pos += n;
        Ok(())
    }

    /// Counts bytes that stay in memory.
    pub fn keep(&mut self, n: usize) -> Result<()> {
        self.kept = self.kept.saturating_add(n);
        if self.kept > MAX_KEPT {
            return self.fail(Kind::TooLarge, format!("more than {MAX_KEPT} bytes of keys and values"));
        }
        Ok(())
    }

    /// A string of at most `max` bytes.
    pub fn string(&mut self, max: u64) -> Result<String> {
        let n = self.u64()?;
        self.need(n)?;
        if n > max {
            return self.fail(Kind::TooLarge, format!("a text of {n} bytes where {max} are allowed"));
        }
        self.keep(n as usize)?;
        let mut out = vec![0; n as usize];
        if let Err(e) = self.inner.read_exact(&mut out) {
            return self.io(&e);
        }
        match String::from_utf8(out) {
            Ok(text) => {
                self.pos += n;
                Ok(text)
            }
            Err(_) => self.fail(Kind::Malformed, "the text is not valid UTF-8"),
        }
    }

    fn skip_string(&mut self) -> Result<()> {
        let n = self.u64()?;
        self.skip(n)
    }

    /// A typed value: the type's number, then the value.
    pub fn value(&mut self, keep: Keep) -> Result<Value> {
        let kind = self.u32()?;
        match (kind, keep) {
            (STRING, Keep::Text(max)) => Ok(Value::Text(self.string(max)?)),
            (STRING, _) => self.skip_string().map(|()| Value::Skipped),
            (ARRAY, _) => self.array(keep),
            _ => self.scalar(kind),
        }
    }

    fn scalar(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            UINT8 => Value::Int(u8::from_le_bytes(self.bytes()?).into()),
            INT8 => Value::Int(i8::from_le_bytes(self.bytes()?).into()),
            UINT16 => Value::Int(u16::from_le_bytes(self.bytes()?).into()),
            INT16 => Value::Int(i16::from_le_bytes(self.bytes()?).into()),
            UINT32 => Value::Int(self.u32()?.into()),
            INT32 => Value::Int(i32::from_le_bytes(self.bytes()?).into()),
            UINT64 => Value::Int(self.u64()?.into()),
            INT64 => Value::Int(i64::from_le_bytes(self.bytes()?).into()),
            FLOAT32 => Value::Float(f32::from_le_bytes(self.bytes()?).into()),
            FLOAT64 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            // llama.cpp takes every byte but 0 for true.
            BOOL => Value::Bool(self.bytes::<1>()?[0] != 0),
            other => return self.fail(Kind::Malformed, format!("unknown value type {other}")),
        })
    }

    fn array(&mut self, keep: Keep) -> Result<Value> {
        let kind = self.u32()?;
        let n = self.u64()?;
        match fixed_size(kind) {
            Some(size) => {
                let Some(bytes) = n.checked_mul(size) else {
                    return self.fail(Kind::Malformed, format!("an array of {n} elements cannot be"));
                };
                self.need(bytes)?;
                if keep != Keep::Ints || matches!(kind, FLOAT32 | FLOAT64) || n > MAX_LAYERS {
                    return self.skip(bytes).map(|()| Value::Array(n));
                }
                self.keep(n as usize * 8)?;
                let mut out = Vec::with_capacity(n as usize);
                for _ in 0..n {
                    out.push(match self.scalar(kind)? {
                        Value::Int(v) => i64::try_from(v).unwrap_or(i64::MAX),
                        Value::Bool(v) => v.into(),
                        _ => return self.fail(Kind::Malformed, "a number was expected"),
                    });
                }
                Ok(Value::Ints(out))
            }
            None if kind == STRING => {
                // Every string has eight bytes of length: a count that cannot be is refused before the loop.
                let Some(least) = n.checked_mul(8) else {
                    return self.fail(Kind::Malformed, format!("an array of {n} texts cannot be"));
                };
                self.need(least)?;
                for _ in 0..n {
                    self.skip_string()?;
                }
                Ok(Value::Array(n))
            }
            None if kind == ARRAY => self.fail(Kind::Unsupported, "an array of arrays, which llama.cpp does not load"),
            None => self.fail(Kind::Malformed, format!("unknown element type {kind} of an array")),
        }
    }
}
