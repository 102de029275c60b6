//! Published model shapes: the numbers of their `config.json`, as llama.cpp's converter writes them.

/// The architecture's family, where llama.cpp builds different graphs and expects different tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `llama`: also TinyLlama and SmolLM2.
    Llama,
    /// `qwen2`: biases on query, key and value.
    Qwen2,
    /// `gemma2`: norms after attention and feed-forward, soft caps, sliding windows.
    Gemma2,
    /// `phi3`: query, key and value in one matrix, gate and up in one matrix.
    Phi3,
}

/// A model's numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelShape {
    /// What it is asked for by.
    pub name: &'static str,
    /// Family.
    pub family: Family,
    /// Layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub embd: u32,
    /// Width of the feed-forward layers.
    pub ff: u32,
    /// Attention heads.
    pub heads: u32,
    /// Key-value heads.
    pub kv_heads: u32,
    /// Width of one head.
    pub head_width: u32,
    /// Tokens in the vocabulary.
    pub vocab: u32,
    /// Context it was trained for.
    pub context: u32,
    /// Base of the rotary embedding.
    pub rope_base: f32,
    /// Epsilon of the norms.
    pub eps: f32,
    /// The token embedding serves as the output matrix.
    pub tied: bool,
    /// A tensor with one factor per rotary frequency (Llama 3's long context).
    pub rope_factors: bool,
}

impl ModelShape {
    /// llama.cpp's name of the architecture.
    pub fn architecture(&self) -> &'static str {
        match self.family {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Gemma2 => "gemma2",
            Family::Phi3 => "phi3",
        }
    }
}

const LLAMA: ModelShape = ModelShape {
    name: "",
    family: Family::Llama,
    layers: 0,
    embd: 0,
    ff: 0,
    heads: 0,
    kv_heads: 0,
    head_width: 64,
    vocab: 0,
    context: 8192,
    rope_base: 10_000.0,
    eps: 1e-5,
    tied: true,
    rope_factors: false,
};

/// Every shape, by name.
pub const SHAPES: [ModelShape; 9] = [
    ModelShape {
        name: "gemma-2-2b",
        family: Family::Gemma2,
        layers: 26,
        embd: 2304,
        ff: 9216,
        heads: 8,
        kv_heads: 4,
        head_width: 256,
        vocab: 256_000,
        eps: 1e-6,
        ..LLAMA
    },
    ModelShape {
        name: "llama-3.2-1b",
        layers: 16,
        embd: 2048,
        ff: 8192,
        heads: 32,
        kv_heads: 8,
        vocab: 128_256,
        context: 131_072,
        rope_base: 500_000.0,
        rope_factors: true,
        ..LLAMA
    },
    ModelShape {
        name: "llama-3.2-3b",
        layers: 28,
        embd: 3072,
        ff: 8192,
        heads: 24,
        kv_heads: 8,
        head_width: 128,
        vocab: 128_256,
        context: 131_072,
        rope_base: 500_000.0,
        rope_factors: true,
        ..LLAMA
    },
    ModelShape {
        name: "phi-3-mini",
        family: Family::Phi3,
        layers: 32,
        embd: 3072,
        ff: 8192,
        heads: 32,
        kv_heads: 32,
        head_width: 96,
        vocab: 32_064,
        context: 4096,
        tied: false,
        ..LLAMA
    },
    ModelShape {
        name: "qwen2-0.5b",
        family: Family::Qwen2,
        layers: 24,
        embd: 896,
        ff: 4864,
        heads: 14,
        kv_heads: 2,
        vocab: 151_936,
        context: 32_768,
        rope_base: 1e6,
        eps: 1e-6,
        ..LLAMA
    },
    ModelShape {
        name: "qwen2-1.5b",
        family: Family::Qwen2,
        layers: 28,
        embd: 1536,
        ff: 8960,
        heads: 12,
        kv_heads: 2,
        head_width: 128,
        vocab: 151_936,
        context: 32_768,
        rope_base: 1e6,
        eps: 1e-6,
        ..LLAMA
    },
    ModelShape {
        name: "smollm2-135m",
        layers: 30,
        embd: 576,
        ff: 1536,
        heads: 9,
        kv_heads: 3,
        vocab: 49_152,
        rope_base: 100_000.0,
        ..LLAMA
    },
    ModelShape {
        name: "smollm2-360m",
        layers: 32,
        embd: 960,
        ff: 2560,
        heads: 15,
        kv_heads: 5,
        vocab: 49_152,
        rope_base: 100_000.0,
        ..LLAMA
    },
    ModelShape {
        name: "tinyllama-1.1b",
        layers: 22,
        embd: 2048,
        ff: 5632,
        heads: 32,
        kv_heads: 4,
        vocab: 32_000,
        context: 2048,
        tied: false,
        ..LLAMA
    },
];

/// The shape of this name.
pub fn shape(name: &str) -> Option<&'static ModelShape> {
    SHAPES.iter().find(|s| s.name.eq_ignore_ascii_case(name))
}
