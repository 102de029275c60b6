//! (in progress)
use super::ggml_type::GgmlType;
use super::gguf::Header;

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
