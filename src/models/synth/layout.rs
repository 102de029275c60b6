//! Which tensors a shape has, and which type `llama-quantize` would give each. Pure.

use super::shapes::{Family, ModelShape};
use crate::models::ggml_type::GgmlType;
use crate::models::gguf::write::TensorSpec;

/// A whole-file quantization that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quant {
    /// 16-bit floats.
    F16,
    /// 8 bits.
    Q8_0,
    /// 4 bits, one scale per block of 32.
    Q4_0,
    /// The mixture of 4- and 6-bit K-quants.
    Q4KM,
}

impl Quant {
    /// Every one, in the order of their sizes.
    pub const ALL: [Quant; 4] = [Quant::F16, Quant::Q8_0, Quant::Q4_0, Quant::Q4KM];

    /// The one of this name, however capitalised.
    pub fn from_name(name: &str) -> Option<Quant> {
        Quant::ALL.into_iter().find(|q| q.name().eq_ignore_ascii_case(name))
    }

    /// Its usual name in small letters, e.g. `q4_k_m`.
    pub fn name(self) -> &'static str {
        match self {
            Quant::F16 => "f16",
            Quant::Q8_0 => "q8_0",
            Quant::Q4_0 => "q4_0",
            Quant::Q4KM => "q4_k_m",
        }
    }

    /// `general.file_type`.
    pub fn file_type(self) -> u32 {
        match self {
            Quant::F16 => 1,
            Quant::Q8_0 => 7,
            Quant::Q4_0 => 2,
            Quant::Q4KM => 15,
        }
    }

    fn base(self) -> GgmlType {
        match self {
            Quant::F16 => GgmlType::F16,
            Quant::Q8_0 => GgmlType::Q8_0,
            Quant::Q4_0 => GgmlType::Q4_0,
            Quant::Q4KM => GgmlType::Q4_K,
        }
    }
}

/// Layers that get more bits in a K-quant mixture: the first and last eighth and every third between.
fn more_bits(layer: u32, layers: u32) -> bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
}

/// What becomes of a type whose blocks do not fit into rows of this length.
fn fallback(kind: GgmlType, row: u64) -> GgmlType {
    if row.is_multiple_of(kind.block_len()) {
        return kind;
    }
    let smaller = match kind {
        GgmlType::Q4_K => GgmlType::Q5_0,
        GgmlType::Q5_K => GgmlType::Q5_1,
        GgmlType::Q6_K => GgmlType::Q8_0,
        other => other,
    };
    if row.is_multiple_of(smaller.block_len()) {
        smaller
    } else {
        GgmlType::F16
    }
}

/// A matrix's part in the model, as far as quantization treats it differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The output matrix, or the token embedding that stands in for it.
    Output,
    /// `attn_v`, `ffn_down`.
    Sensitive,
    /// `attn_qkv`.
    Fused,
    /// Everything else.
    Plain,
}

/// The type of a matrix, by the rules of `llama-quantize` for dense models (`llama_tensor_get_type_impl`).
fn matrix_type(quant: Quant, part: Part, row: u64, layer: u32, layers: u32) -> GgmlType {
    let base = quant.base();
    let kind = match (quant, part) {
        (Quant::F16 | Quant::Q8_0, _) => base,
        (_, Part::Output) if !row.is_multiple_of(base.block_len()) => GgmlType::Q8_0,
        (_, Part::Output) => GgmlType::Q6_K,
        (Quant::Q4KM, Part::Sensitive) if more_bits(layer, layers) => GgmlType::Q6_K,
        (Quant::Q4KM, Part::Fused) => GgmlType::Q5_K,
        _ => base,
    };
    fallback(kind, row)
}

/// Every tensor of the shape, in the order in which they are written.
pub fn tensors(s: &ModelShape, quant: Quant) -> Vec<TensorSpec> {
    let (embd, ff, vocab) = (u64::from(s.embd), u64::from(s.ff), u64::from(s.vocab));
    let q_width = u64::from(s.heads * s.head_width);
    let kv_width = u64::from(s.kv_heads * s.head_width);
    let mut out = Vec::new();
    let mut add = |name: String, shape: &[u64], kind| out.push(TensorSpec { name, shape: shape.to_vec(), kind });
    let matrix = |part, row, layer| matrix_type(quant, part, row, layer, s.layers);

    let embedding = if s.tied { Part::Output } else { Part::Plain };
    add("token_embd.weight".into(), &[embd, vocab], matrix(embedding, embd, 0));
    if s.rope_factors {
        add("rope_freqs.weight".into(), &[u64::from(s.head_width / 2)], GgmlType::F32);
    }
    for l in 0..s.layers {
        let n = |name: &str| format!("blk.{l}.{name}");
        add(n("attn_norm.weight"), &[embd], GgmlType::F32);
        if s.family == Family::Phi3 {
            let rows = q_width + 2 * kv_width;
            add(n("attn_qkv.weight"), &[embd, rows], matrix(Part::Fused, embd, l));
        } else {
            add(n("attn_q.weight"), &[embd, q_width], matrix(Part::Plain, embd, l));
            add(n("attn_k.weight"), &[embd, kv_width], matrix(Part::Plain, embd, l));
            add(n("attn_v.weight"), &[embd, kv_width], matrix(Part::Sensitive, embd, l));
        }
        if s.family == Family::Qwen2 {
            add(n("attn_q.bias"), &[q_width], GgmlType::F32);
            add(n("attn_k.bias"), &[kv_width], GgmlType::F32);
            add(n("attn_v.bias"), &[kv_width], GgmlType::F32);
        }
        add(n("attn_output.weight"), &[q_width, embd], matrix(Part::Plain, q_width, l));
        if s.family == Family::Gemma2 {
            add(n("post_attention_norm.weight"), &[embd], GgmlType::F32);
        }
        add(n("ffn_norm.weight"), &[embd], GgmlType::F32);
        if s.family == Family::Phi3 {
            add(n("ffn_up.weight"), &[embd, 2 * ff], matrix(Part::Plain, embd, l));
        } else {
            add(n("ffn_gate.weight"), &[embd, ff], matrix(Part::Plain, embd, l));
            add(n("ffn_up.weight"), &[embd, ff], matrix(Part::Plain, embd, l));
        }
        add(n("ffn_down.weight"), &[ff, embd], matrix(Part::Sensitive, ff, l));
        if s.family == Family::Gemma2 {
            add(n("post_ffw_norm.weight"), &[embd], GgmlType::F32);
        }
    }
    add("output_norm.weight".into(), &[embd], GgmlType::F32);
    if !s.tied {
        add("output.weight".into(), &[embd, vocab], matrix(Part::Output, embd, 0));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::shapes::shape;
    use super::*;

    fn kind(model: &str, quant: Quant, name: &str) -> GgmlType {
        tensors(shape(model).unwrap(), quant).into_iter().find(|t| t.name == name).unwrap().kind
    }

    #[test]
    fn the_mixture_follows_llama_quantize() {
        // TinyLlama's rows are whole blocks of 256.
        let tiny = |name| kind("tinyllama-1.1b", Quant::Q4KM, name);
        assert_eq!(tiny("token_embd.weight"), GgmlType::Q4_K);
        assert_eq!(tiny("output.weight"), GgmlType::Q6_K);
        assert_eq!(tiny("blk.0.attn_v.weight"), GgmlType::Q6_K);
        assert_eq!(tiny("blk.2.ffn_down.weight"), GgmlType::Q4_K);
        assert_eq!(tiny("blk.4.ffn_down.weight"), GgmlType::Q6_K);
        assert_eq!(tiny("blk.21.ffn_down.weight"), GgmlType::Q6_K);
        assert_eq!(tiny("blk.0.attn_q.weight"), GgmlType::Q4_K);
        assert_eq!(kind("phi-3-mini", Quant::Q4KM, "blk.3.attn_qkv.weight"), GgmlType::Q5_K);
        assert_eq!(kind("llama-3.2-1b", Quant::Q4KM, "token_embd.weight"), GgmlType::Q6_K, "tied");
        assert_eq!(kind("llama-3.2-1b", Quant::Q4_0, "token_embd.weight"), GgmlType::Q6_K, "tied");
        assert_eq!(kind("tinyllama-1.1b", Quant::Q4_0, "token_embd.weight"), GgmlType::Q4_0);
    }

    #[test]
    fn rows_that_are_no_multiple_of_256_fall_back() {
        // 896 = 3.5 × 256.
        let qwen = |name| kind("qwen2-0.5b", Quant::Q4KM, name);
        assert_eq!(qwen("token_embd.weight"), GgmlType::Q8_0);
        assert_eq!(qwen("blk.0.attn_v.weight"), GgmlType::Q8_0);
        assert_eq!(qwen("blk.0.attn_q.weight"), GgmlType::Q5_0);
        assert_eq!(qwen("blk.0.ffn_down.weight"), GgmlType::Q6_K);
        assert_eq!(qwen("blk.3.ffn_down.weight"), GgmlType::Q4_K);
        assert_eq!(kind("qwen2-0.5b", Quant::Q4_0, "token_embd.weight"), GgmlType::Q8_0);
    }
}
