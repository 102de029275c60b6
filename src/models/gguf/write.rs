//! Writes the header of a GGUF file (version 3). The tensors' data follows it, each padded to [`ALIGNMENT`].
//!
//! Trusts its caller: keys are not checked for duplicates, shapes must be whole blocks.

use super::GgmlType;

/// Alignment of tensor data: GGUF's default.
pub const ALIGNMENT: u64 = 32;

/// A tensor to be announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name, at most 63 bytes.
    pub name: String,
    /// Elements in each dimension, the row's length first. One to four.
    pub shape: Vec<u64>,
    /// Element type.
    pub kind: GgmlType,
}

impl TensorSpec {
    /// Bytes of its data. Zero where the shape is not whole blocks.
    pub fn bytes(&self) -> u64 {
        self.kind.bytes_of(self.shape.iter().product()).unwrap_or(0)
    }
}

/// Collects metadata, then gives the header's bytes.
#[derive(Debug, Default)]
pub struct Writer {
    entries: u64,
    pub(super) meta: Vec<u8>,
}

impl Writer {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }

    /// An entry of a type given by its number and encoded by the caller.
    pub fn raw(&mut self, key: &str, kind: u32, value: &[u8]) -> &mut Self {
        Self::text(&mut self.meta, key);
        self.meta.extend(kind.to_le_bytes());
        self.meta.extend(value);
        self.entries += 1;
        self
    }

    /// A number.
    pub fn u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    /// A float.
    pub fn f32(&mut self, key: &str, value: f32) -> &mut Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    /// A truth value.
    pub fn bool(&mut self, key: &str, value: bool) -> &mut Self {
        self.raw(key, 7, &[value.into()])
    }

    /// A text.
    pub fn string(&mut self, key: &str, value: &str) -> &mut Self {
        let mut out = Vec::with_capacity(value.len() + 8);
        Self::text(&mut out, value);
        self.raw(key, 8, &out)
    }

    /// An array of texts.
    pub fn strings<S: AsRef<str>>(&mut self, key: &str, values: impl ExactSizeIterator<Item = S>) -> &mut Self {
        self.raw(key, 9, &8u32.to_le_bytes());
        self.meta.extend((values.len() as u64).to_le_bytes());
        for v in values {
            Self::text(&mut self.meta, v.as_ref());
        }
        self
    }

    /// An array of numbers.
    pub fn i32s(&mut self, key: &str, values: impl ExactSizeIterator<Item = i32>) -> &mut Self {
        self.raw(key, 9, &5u32.to_le_bytes());
        self.meta.extend((values.len() as u64).to_le_bytes());
        for v in values {
            self.meta.extend(v.to_le_bytes());
        }
        self
    }

    /// The whole header, padded to where the first tensor's data begins.
    pub fn finish(&self, tensors: &[TensorSpec]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.meta.len() + 128 * tensors.len() + 64);
        out.extend(b"GGUF");
        out.extend(3u32.to_le_bytes());
        out.extend((tensors.len() as u64).to_le_bytes());
        out.extend(self.entries.to_le_bytes());
        out.extend(&self.meta);
        let mut offset = 0u64;
        for t in tensors {
            Self::text(&mut out, &t.name);
            out.extend((t.shape.len() as u32).to_le_bytes());
            for d in &t.shape {
                out.extend(d.to_le_bytes());
            }
            out.extend(t.kind.id().to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += t.bytes().next_multiple_of(ALIGNMENT);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
        out
    }
}
