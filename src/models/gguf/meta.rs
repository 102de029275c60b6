//! A header's metadata: collected first, understood when all of it is known.
//!
//! Keys that begin with the architecture's name may come before the architecture itself. Numbers are taken from any
//! integer type and range-checked; a key of another type is an error, as it is in llama.cpp.

use std::collections::HashMap;
use std::io::{Read, Seek};

use super::super::ggml_type::file_type_name;
use super::source::{GgufError, Keep, Kind, Result, Source, Value, MAX_KEY, MAX_LAYERS, MAX_STRING, MAX_TEMPLATE};
use super::{bytes_by_type, Header, PerLayer, Tensor};

/// Tokens of a vocabulary. The largest in use has 262,144.
const MAX_VOCAB: u64 = 1 << 22;
/// Alignment is for a memory mapping; more than a huge page has no use.
const MAX_ALIGNMENT: u64 = 2 << 20;
/// Alignment where the file names none.
const DEFAULT_ALIGNMENT: u64 = 32;
/// The metadata, before its meaning is known: the architecture may come after the keys that begin with its name.
pub(super) struct Meta(HashMap<String, (u64, Value)>);

/// Numbers that models give once or per layer: the only arrays that are kept.
const PER_LAYER: [&str; 3] = [".attention.head_count", ".attention.head_count_kv", ".feed_forward_length"];

impl Meta {
    pub(super) fn read<R: Read + Seek>(src: &mut Source<R>, n: u64) -> Result<Meta> {
        let mut all = HashMap::new();
        for i in 0..n {
            src.subject(Some(format!("metadata entry {i}")));
            let key = src.string(MAX_KEY)?;
            src.subject(Some(format!("key '{}'", key.escape_debug())));
            if key.is_empty() {
                return src.fail(Kind::Malformed, "the key is empty");
            }
            let keep = match key.as_str() {
                "tokenizer.chat_template" => Keep::Text(MAX_TEMPLATE),
                "general.architecture" | "general.name" | "general.type" => Keep::Text(MAX_STRING),
                k if PER_LAYER.iter().any(|suffix| k.ends_with(suffix)) => Keep::Ints,
                _ => Keep::No,
            };
            let at = src.pos();
            let value = src.value(keep)?;
            // The map's own entry.
            src.keep(std::mem::size_of::<(String, u64, Value)>() * 2)?;
            if all.contains_key(&key) {
                return src.fail(Kind::Malformed, "the key appears twice");
            }
            all.insert(key, (at, value));
        }
        src.subject(None);
        Ok(Meta(all))
    }

    fn fail<T>(&self, kind: Kind, key: &str, what: impl Into<String>) -> Result<T> {
        let offset = self.0.get(key).map_or(0, |v| v.0);
        Err(GgufError { kind, offset, subject: Some(format!("key '{}'", key.escape_debug())), what: what.into() })
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).map(|v| &v.1)
    }

    fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => self.fail(Kind::Malformed, key, "a text was expected"),
        }
    }

    /// A number from `least` to 2³²−1.
    fn number(&self, key: &str, least: u32) -> Result<Option<u32>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Int(v)) => match u32::try_from(*v) {
                Ok(v) if v >= least => Ok(Some(v)),
                _ => self.fail(Kind::Malformed, key, format!("{v} is out of range")),
            },
            Some(_) => self.fail(Kind::Malformed, key, "a whole number was expected"),
        }
    }

    fn required(&self, key: &str) -> Result<u32> {
        match self.number(key, 1)? {
            Some(v) => Ok(v),
            None => self.fail(Kind::Malformed, key, "it is missing: this is not a language model that can be served"),
        }
    }

    fn per_layer(&self, key: &str, layers: u32) -> Result<Option<PerLayer>> {
        let Some(Value::Ints(all)) = self.get(key) else {
            return Ok(self.number(key, 0)?.map(PerLayer::Same));
        };
        if (all.len() as u64) < u64::from(layers) {
            return self.fail(Kind::Malformed, key, format!("{} numbers for {layers} layers", all.len()));
        }
        let each: std::result::Result<Vec<u32>, _> = all.iter().map(|&v| u32::try_from(v)).collect();
        match each {
            Ok(each) => Ok(Some(PerLayer::Each(each))),
            Err(_) => self.fail(Kind::Malformed, key, "a number is out of range"),
        }
    }

    pub(super) fn alignment(&self) -> Result<u64> {
        const KEY: &str = "general.alignment";
        let alignment = self.number(KEY, 0)?.map_or(DEFAULT_ALIGNMENT, u64::from);
        if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
            return self.fail(Kind::Malformed, KEY, format!("{alignment} is not a power of two up to {MAX_ALIGNMENT}"));
        }
        Ok(alignment)
    }

    fn array_len(&self, key: &str) -> u64 {
        match self.get(key) {
            Some(Value::Array(n)) => *n,
            _ => 0,
        }
    }

    pub(super) fn header(&self, version: u32, tensors: Vec<Tensor>, data_offset: u64, file_len: u64) -> Result<Header> {
        if let Some(count) = self.number("split.count", 0)?.filter(|&n| n > 1) {
            let what = format!("this is one of {count} parts: join them with 'llama-gguf-split --merge'");
            return self.fail(Kind::Unsupported, "split.count", what);
        }
        if let Some(kind) = self.text("general.type")?.filter(|&t| t != "model") {
            let what = format!("'{}' is not a language model", kind.escape_debug());
            return self.fail(Kind::Unsupported, "general.type", what);
        }
        let Some(arch) = self.text("general.architecture")?.filter(|a| !a.is_empty()) else {
            return self.fail(Kind::Malformed, "general.architecture", "it is missing");
        };
        let key = |name: &str| format!("{arch}.{name}");
        let layers = self.required(&key("block_count"))?;
        if u64::from(layers) > MAX_LAYERS {
            let what = format!("{layers} layers where {MAX_LAYERS} are allowed");
            return self.fail(Kind::TooLarge, &key("block_count"), what);
        }
        let embedding_length = self.required(&key("embedding_length"))?;
        // Models without attention (Mamba, RWKV) say 0 or nothing.
        let head_count = self.per_layer(&key("attention.head_count"), layers)?.unwrap_or(PerLayer::Same(0));
        let head_count_kv =
            self.per_layer(&key("attention.head_count_kv"), layers)?.unwrap_or_else(|| head_count.clone());
        let head_width = embedding_length.checked_div(head_count.max()).unwrap_or(0);
        let vocab = match self.number(&key("vocab_size"), 0)? {
            Some(n) => u64::from(n),
            None => self.array_len("tokenizer.ggml.tokens"),
        };
        if vocab > MAX_VOCAB {
            return self.fail(Kind::TooLarge, "tokenizer.ggml.tokens", format!("{vocab} tokens"));
        }
        let Some(parameters) = tensors.iter().try_fold(0u64, |sum, t| sum.checked_add(t.elements())) else {
            return self.fail(Kind::Malformed, "general.architecture", "more parameters than can be counted");
        };
        let recurrent_bytes = self.recurrent_bytes(arch, layers, embedding_length)?;
        Ok(Header {
            version,
            name: self.text("general.name")?.map(str::to_owned),
            quantization: self.quantization(&tensors)?,
            parameters,
            context_length: self.required(&key("context_length"))?,
            block_count: layers,
            embedding_length,
            head_count,
            head_count_kv,
            key_length: self.number(&key("attention.key_length"), 0)?.unwrap_or(head_width),
            value_length: self.number(&key("attention.value_length"), 0)?.unwrap_or(head_width),
            feed_forward_length: self.per_layer(&key("feed_forward_length"), layers)?.unwrap_or(PerLayer::Same(0)),
            sliding_window: self.number(&key("attention.sliding_window"), 0)?.filter(|&w| w > 0),
            recurrent: recurrent_bytes > 0,
            recurrent_bytes,
            expert_count: self.number(&key("expert_count"), 0)?.unwrap_or(0),
            vocab_size: vocab as u32,
            merges: self.array_len("tokenizer.ggml.merges"),
            chat_template: self.text("tokenizer.chat_template")?.map(str::to_owned),
            bos: self.number("tokenizer.ggml.bos_token_id", 0)?,
            eos: self.number("tokenizer.ggml.eos_token_id", 0)?,
            synthetic: self.get("wattlm.synthetic") == Some(&Value::Bool(true)),
            tensors,
            data_offset,
            file_len,
            architecture: arch.to_owned(),
        })
    }

    /// State per sequence of Mamba and RWKV layers, in 32-bit floats, all layers counted: an upper bound for hybrids.
    fn recurrent_bytes(&self, arch: &str, layers: u32, embd: u32) -> Result<u64> {
        let number = |name: &str| self.number(&format!("{arch}.{name}"), 0).map(|v| u64::from(v.unwrap_or(0)));
        let (conv, inner, state) = (number("ssm.conv_kernel")?, number("ssm.inner_size")?, number("ssm.state_size")?);
        let groups = number("ssm.group_count")?;
        let wkv = number("wkv.head_size")?;
        let conv_state =
            conv.saturating_sub(1).saturating_mul(inner.saturating_add(groups.saturating_mul(state).saturating_mul(2)));
        let ssm = conv_state.saturating_add(inner.saturating_mul(state));
        let rwkv = if wkv > 0 { u64::from(embd).saturating_mul(wkv.saturating_add(2)) } else { 0 };
        Ok(ssm.saturating_add(rwkv).saturating_mul(4).saturating_mul(layers.into()))
    }

    fn quantization(&self, tensors: &[Tensor]) -> Result<String> {
        // Bit 10 marks a type that llama.cpp guessed.
        let named = self.number("general.file_type", 0)?.and_then(|id| file_type_name(id & !1024));
        let most = || bytes_by_type(tensors).into_iter().max_by_key(|&(_, bytes)| bytes).map(|(kind, _)| kind.name());
        Ok(named.or_else(most).unwrap_or("unknown").to_owned())
    }
}
