//! Will a variant fit? Predicts a lane's memory from numbers of its header and compares it with what can be had.
//!
//! Pure arithmetic; `memory` says what can be had. What counts as needed:
//!
//! - *weights*: every tensor once. Types that ggml repacks for this CPU are copied into memory of their own, the rest
//!   stays mapped from the file; both must be resident for the model to run at speed. The file's pages behind repacked
//!   tensors are cache that the kernel takes back, and do not count. A token embedding that also serves as the output
//!   matrix counts twice where its type is repacked: rows are still looked up in the mapped one.
//! - *key-value cache*: cells × Σ over layers of key and value rows. Exact; sliding windows are counted in full.
//! - *compute*: ggml's buffer for a chunk of T tokens, see [`compute`].
//! - *output*: logits, *vocabulary*: token tables, *base*: the process itself.
//!
//! The figures were compared with llama.cpp's own (version 0.6.0-dev, CPU) for the nine shapes of `synth`, chunks of 32
//! to 1024, contexts of 512 to 8192, 1 to 8 slots and both cache types. With fused attention, `compute` is 1.01 to
//! 1.20 times the buffer that is allocated, without it 1.01 to 1.26 times; for buffers below 4 MiB up to 1.4 times.
//! Anonymous memory after a prefill of 256 tokens was 0.83 to 0.99 of the predicted one.

use std::fmt::Write as _;

use super::ggml_type::GgmlType;
use super::gguf::Header;
use super::memory::Available;
use crate::error::{Code, Error};
use crate::lane::{GpuInfo, KvType, LaneConfig};
use crate::units::Bytes;

/// Context lengths that llama.cpp allocates are multiples of this.
const CTX_STEP: u32 = 256;
/// Resident size of a worker that has loaded its libraries and nothing else, with stacks and ggml's graph tables.
const BASE: u64 = 16 << 20;
/// Bytes of tables per token and per merge: measured 300 to 330 for a token with its merge.
const PER_TOKEN: u64 = 200;
const PER_MERGE: u64 = 170;

/// Numbers of a header that its memory is predicted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub embd: u32,
    /// Width of the widest feed-forward layer.
    pub ff: u32,
    /// Attention heads of the widest layer.
    pub heads: u32,
    /// Elements of all layers' keys for one token.
    pub k_elements: u64,
    /// Elements of all layers' values for one token.
    pub v_elements: u64,
    /// The narrowest unit that is quantized at once: what a block of the key-value cache must divide.
    pub kv_row_multiple: u32,
    /// Width of one head, the larger of key and value.
    pub head_width: u32,
    /// Tokens in the vocabulary.
    pub vocab: u32,
    /// Merges of the tokenizer.
    pub merges: u64,
    /// Context the model was trained for.
    pub context_train: u32,
    /// Bytes of all tensors.
    pub weight_bytes: u64,
    /// Bytes of matrices by type, the token embedding left out.
    pub matrices: Vec<(GgmlType, u64)>,
    /// Type and bytes of the token embedding.
    pub embedding: (GgmlType, u64),
    /// The token embedding serves as the output matrix too.
    pub tied: bool,
    /// Bytes of recurrent state for one sequence.
    pub recurrent_bytes: u64,
    /// Experts in a layer; 0 for a dense model.
    pub experts: u32,
    /// Some layers have a sliding window, and a mask of their own.
    pub sliding: bool,
}

impl Shape {
    /// Collects them.
    pub fn of(h: &Header) -> Shape {
        let layers = 0..h.block_count as usize;
        let kv_heads: u64 = layers.map(|l| u64::from(h.head_count_kv.at(l))).sum();
        let mut matrices = std::collections::BTreeMap::new();
        let mut embedding = (GgmlType::F32, 0);
        let mut tied = true;
        for t in &h.tensors {
            match t.name.as_str() {
                "token_embd.weight" => embedding = (t.kind, t.bytes),
                name => {
                    tied &= name != "output.weight";
                    // ggml repacks a matrix whose rows can be taken four or eight at a time.
                    if t.dims >= 2 && t.shape[1].is_multiple_of(4) {
                        *matrices.entry(t.kind).or_insert(0) += t.bytes;
                    }
                }
            }
        }
        Shape {
            layers: h.block_count,
            embd: h.embedding_length,
            ff: h.feed_forward_length.max(),
            heads: h.head_count.max(),
            k_elements: kv_heads.saturating_mul(h.key_length.into()),
            v_elements: kv_heads.saturating_mul(h.value_length.into()),
            kv_row_multiple: gcd(h.key_length, h.value_length),
            head_width: h.key_length.max(h.value_length),
            vocab: h.vocab_size,
            merges: h.merges,
            context_train: h.context_length,
            weight_bytes: h.weight_bytes(),
            matrices: matrices.into_iter().collect(),
            embedding,
            tied,
            recurrent_bytes: h.recurrent_bytes,
            experts: h.expert_count,
            sliding: h.sliding_window.is_some(),
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        gcd(b, a % b)
    }
}

/// Which element types ggml repacks on a CPU (`ggml_repack_get_optimal_repack_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuKind {
    /// None.
    Plain,
    /// x86 with AVX2.
    Avx2,
    /// x86 with AVX-512.
    Avx512,
    /// ARM with the dot-product instructions.
    ArmDotprod,
}

impl CpuKind {
    /// This machine's.
    pub fn host() -> CpuKind {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                return CpuKind::Avx512;
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                return CpuKind::Avx2;
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            return CpuKind::ArmDotprod;
        }
        CpuKind::Plain
    }

    /// Whether matrices of this type are copied into another layout.
    pub fn repacks(self, kind: GgmlType) -> bool {
        use GgmlType::*;
        match self {
            CpuKind::Plain => false,
            CpuKind::Avx2 => matches!(kind, Q4_0 | Q4_K | IQ4_NL | MXFP4),
            CpuKind::Avx512 => matches!(kind, Q4_0 | Q4_K | IQ4_NL | MXFP4 | Q2_K),
            CpuKind::ArmDotprod => matches!(kind, Q4_0 | Q4_K | Q5_K | Q6_K | Q8_0 | IQ4_NL | MXFP4 | Q1_0),
        }
    }
}

/// How a lane would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Cells of the key-value cache.
    pub n_ctx: u32,
    /// Requests at once.
    pub slots: u32,
    /// Largest number of tokens in one step.
    pub chunk: u32,
    /// Largest number of tokens in one step whose logits are wanted (`n_outputs_max`).
    pub outputs: u32,
    /// Element type of the key-value cache.
    pub kv_type: KvType,
    /// Fused attention; without it the scores of a whole chunk are held at once.
    pub flash_attention: bool,
}

impl Wanted {
    /// What a lane of this configuration allocates: steps of a prefill chunk and one token of every slot, logits for
    /// one token of every slot, fused attention.
    pub fn of(config: &LaneConfig) -> Wanted {
        Wanted {
            n_ctx: config.n_ctx,
            slots: config.slots,
            chunk: config.prefill_chunk.max(config.prefill_chunk_shared).saturating_add(config.slots),
            outputs: config.slots,
            kv_type: config.kv_type,
            flash_attention: true,
        }
    }
}

/// Predicted memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    /// Weights used as they lie in the file: page cache.
    pub mapped: u64,
    /// Weights copied into another layout.
    pub repacked: u64,
    /// Key-value cache, recurrent state included.
    pub kv: u64,
    /// Buffer for one step.
    pub compute: u64,
    /// Logits.
    pub output: u64,
    /// Token tables.
    pub vocab: u64,
    /// The process itself.
    pub base: u64,
}

impl Need {
    /// All of it.
    pub fn total(&self) -> u64 {
        [self.mapped, self.repacked, self.kv, self.compute, self.output, self.vocab, self.base]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// Predicts the memory of a lane on the CPU. Never overflows: absurd numbers saturate, and do not fit.
pub fn predict(shape: &Shape, wanted: &Wanted, cpu: CpuKind) -> Need {
    let repacked = |kind, bytes| if cpu.repacks(kind) { bytes } else { 0 };
    let matrices: u64 = shape.matrices.iter().map(|&(kind, bytes)| repacked(kind, bytes)).sum();
    let twice = if shape.tied { repacked(shape.embedding.0, shape.embedding.1) } else { 0 };
    Need {
        mapped: shape.weight_bytes.saturating_sub(matrices),
        repacked: matrices.saturating_add(twice),
        kv: kv(shape, wanted),
        compute: compute(shape, wanted),
        output: product(&[wanted.slots.max(1).into(), shape.vocab.into(), 4]),
        vocab: product(&[shape.vocab.into(), PER_TOKEN]).saturating_add(product(&[shape.merges, PER_MERGE])),
        base: BASE,
    }
}

/// Memory that a GPU's driver takes for itself in its process, and on the device for staging and its own tables.
const GPU_DRIVER: u64 = 96 << 20;
const GPU_STAGING: u64 = 64 << 20;

/// Predicted memory of a lane on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GpuNeed {
    /// Bytes of the GPU's memory: weights, key-value cache, the buffer for one step. Where that is the machine's memory they
    /// are in `host` as well.
    pub device: u64,
    /// The machine's memory: the token embedding, which is looked up by the CPU, and the process.
    pub host: Need,
}

/// Predicts the memory of a lane with all layers on a GPU. `unified`: the GPU uses the machine's memory; the copies of
/// the weights there are what [`Need::repacked`] is on the CPU. Never overflows.
pub fn predict_on_gpu(shape: &Shape, wanted: &Wanted, unified: bool) -> GpuNeed {
    // An embedding that is the output matrix too is needed on both sides.
    let weights = if shape.tied { shape.weight_bytes } else { shape.weight_bytes.saturating_sub(shape.embedding.1) };
    let (kv, compute) = (kv(shape, wanted), compute(shape, wanted).saturating_add(GPU_STAGING));
    let plain = predict(shape, wanted, CpuKind::Plain);
    let host = Need { mapped: shape.embedding.1, kv: 0, compute: 0, base: BASE + GPU_DRIVER, ..plain };
    let host = match unified {
        true => Need { repacked: weights, kv, compute, ..host },
        false => host,
    };
    GpuNeed { device: weights.saturating_add(kv).saturating_add(compute), host }
}

/// Compares what a lane on a GPU would need with what can be had, there and here; the rest as for [`check`].
pub fn check_on_gpu(
    name: &str,
    shape: &Shape,
    wanted: &Wanted,
    gpu: &GpuInfo,
    available: &Available,
    held: u64,
) -> Result<GpuNeed, Error> {
    let need = predict_on_gpu(shape, wanted, gpu.unified);
    let room = available.bytes.saturating_sub(held);
    // What a driver says is free of the machine's memory says nothing about those who share it: `room` does.
    let on_device = if gpu.unified { gpu.memory_total } else { gpu.memory_free };
    let (what, needed, had) = match (need.device > on_device, need.host.total() > room) {
        (false, false) => return Ok(need),
        (true, _) => (format!("of the memory of {} ({})", gpu.id.name, gpu.description), need.device, on_device),
        (false, true) => (format!("of memory ({})", available.source), need.host.total(), room),
    };
    Err(Error::new(
        Code::InsufficientMemory,
        format!(
            "{name} on {} needs {} {what}, and {} can be had: shorten the context, take a smaller variant, or leave it to \
             the CPU",
            gpu.id.name,
            Bytes(needed),
            Bytes(had),
        ),
    ))
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().copied().fold(1, u64::saturating_mul)
}

fn cells(n_ctx: u32) -> u64 {
    u64::from(n_ctx.max(1)).next_multiple_of(CTX_STEP.into())
}

fn kv(shape: &Shape, wanted: &Wanted) -> u64 {
    let row =
        |elements: u64| elements.div_ceil(wanted.kv_type.block_len()).saturating_mul(wanted.kv_type.block_bytes());
    let cell = row(shape.k_elements).saturating_add(row(shape.v_elements));
    product(&[cells(wanted.n_ctx), cell]).saturating_add(product(&[wanted.slots.max(1).into(), shape.recurrent_bytes]))
}

/// ggml's compute buffer for a chunk of T tokens: the attention mask, and the largest of what is alive at once,
///
/// - in the feed-forward: gate, up and their product, and five rows of the residual stream,
/// - at the end: the logits, and six rows of the residual stream,
/// - in attention without fusing: the scores of all heads, and four rows,
///
/// in 32-bit floats; a row is the wider of residual stream and heads. Found by comparing with the allocator's own
/// figures, not by reading it; the surcharge covers what this leaves out.
fn compute(shape: &Shape, wanted: &Wanted) -> u64 {
    let ctx = cells(wanted.n_ctx);
    let t = u64::from(wanted.chunk.max(1)).min(ctx);
    let outputs = u64::from(wanted.outputs.max(1)).min(t);
    let row = u64::from(shape.embd).max(product(&[shape.heads.into(), shape.head_width.into()]));
    // Of a mixture's experts, eight work on one token at most in the models in use.
    let ff = product(&[shape.ff.into(), u64::from(shape.experts).clamp(1, 8)]);
    let rows = |n: u64, more: u64| product(&[4, t, row.saturating_mul(n).saturating_add(more)]);
    let feed_forward = rows(5, ff.saturating_mul(3));
    let end = rows(6, 0).saturating_add(product(&[4, outputs, shape.vocab.into()]));
    let (scores, mask_bytes) = match wanted.flash_attention {
        true => (0, 2),
        false => (rows(4, product(&[ctx, shape.heads.into()])), 4),
    };
    let masks = product(&[if shape.sliding { 2 } else { 1 }, ctx, t, mask_bytes]);
    let most = feed_forward.max(end).max(scores);
    // 8 %, and 17 % where the scores are kept.
    let surcharge = most / if wanted.flash_attention { 12 } else { 6 };
    masks.saturating_add(most).saturating_add(surcharge).saturating_add(256 << 10)
}

/// Whether a key-value cache of this type can be had: llama.cpp needs whole blocks in every head, and fused attention
/// for quantized values.
pub fn kv_type_fits(shape: &Shape, wanted: &Wanted, kv_type: KvType) -> bool {
    kv_type == KvType::F16
        || (wanted.flash_attention && u64::from(shape.kv_row_multiple).is_multiple_of(kv_type.block_len()))
}

/// Another variant of the same model, as a way out.
#[derive(Debug, Clone, Copy)]
pub struct Other<'a> {
    /// `model:variant`.
    pub name: &'a str,
    /// Its numbers.
    pub shape: &'a Shape,
}

/// Compares what a lane would need with what can be had.
///
/// `name` is `model:variant`. `held` are bytes that count as available but are not: the mapped weights
/// ([`Need::mapped`]) of lanes that stay loaded. Fails with `insufficient_memory`; the message has the figures and
/// what would fit: the longest context, a smaller cache type, another variant.
pub fn check(
    name: &str,
    shape: &Shape,
    wanted: &Wanted,
    cpu: CpuKind,
    available: &Available,
    held: u64,
    others: &[Other<'_>],
) -> Result<Need, Error> {
    let room = available.bytes.saturating_sub(held);
    let need = predict(shape, wanted, cpu);
    if need.total() <= room {
        return Ok(need);
    }
    let mut text = format!(
        "{name} needs {} (weights {}, key-value cache {} for {} tokens, computing {}, tables {}), and {} can be had \
         ({}",
        Bytes(need.total()),
        Bytes(need.mapped.saturating_add(need.repacked)),
        Bytes(need.kv),
        wanted.n_ctx,
        Bytes(need.compute.saturating_add(need.output)),
        Bytes(need.vocab.saturating_add(need.base)),
        Bytes(room),
        available.source,
    );
    if held > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, ", less {} of loaded models", Bytes(held));
    }
    text.push_str("). ");
    let ways = ways_out(shape, wanted, cpu, room, others);
    match ways.as_slice() {
        [] => text.push_str("Nothing of it fits: free memory, or use a smaller model"),
        ways => {
            let _ = write!(text, "What would fit: {}", ways.join("; or "));
        }
    }
    Err(Error::new(Code::InsufficientMemory, text))
}

/// What would fit instead, for people.
fn ways_out(shape: &Shape, wanted: &Wanted, cpu: CpuKind, room: u64, others: &[Other<'_>]) -> Vec<String> {
    let mut ways = Vec::new();
    if let Some(n) = longest_context(shape, wanted, cpu, room) {
        ways.push(format!("a context of {n} tokens"));
    }
    let smaller: Vec<(&str, Wanted)> = [("q8_0", KvType::Q8_0), ("q4_0", KvType::Q4_0)]
        .into_iter()
        .map(|(name, kv_type)| (name, Wanted { kv_type, ..*wanted }))
        .filter(|(_, w)| kv(shape, w) < kv(shape, wanted) && kv_type_fits(shape, wanted, w.kv_type))
        .collect();
    // The one that costs the least quality; with a shorter context too only where none is enough by itself.
    if let Some((name, _)) = smaller.iter().find(|(_, w)| predict(shape, w, cpu).total() <= room) {
        ways.push(format!("a key-value cache of type {name}"));
    } else if let Some((name, w)) = smaller.first() {
        let both = longest_context(shape, w, cpu, room);
        ways.extend(both.map(|n| format!("a key-value cache of type {name} with a context of {n} tokens")));
    }
    let mut fitting: Vec<(u64, &str)> = others
        .iter()
        .map(|o| (predict(o.shape, wanted, cpu).total(), o.name))
        .filter(|&(total, _)| total <= room)
        .collect();
    // The largest that fits is the best of them.
    fitting.sort_by(|a, b| b.cmp(a));
    if let Some((total, name)) = fitting.first() {
        ways.push(format!("{name}, which needs {}", Bytes(*total)));
    }
    ways
}

/// The longest context, shorter than the one wanted, that fits; `None` where not even the shortest does.
pub fn longest_context(shape: &Shape, wanted: &Wanted, cpu: CpuKind, room: u64) -> Option<u32> {
    let fits = |steps: u32| {
        let n_ctx = steps.saturating_mul(CTX_STEP);
        predict(shape, &Wanted { n_ctx, ..*wanted }, cpu).total() <= room
    };
    // Invariant: `low` steps fit (or low is 0), `high` steps do not or are too many.
    let (mut low, mut high) = (0, wanted.n_ctx.div_ceil(CTX_STEP));
    while low + 1 < high {
        let mid = low + (high - low) / 2;
        if fits(mid) {
            low = mid;
        } else {
            high = mid;
        }
    }
    (low > 0).then(|| low.saturating_mul(CTX_STEP))
}

#[cfg(test)]
mod tests;
