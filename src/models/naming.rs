//! What a model file is called: `wattlm-demo-q4_k_m.gguf` is the variant `q4_k_m` of the model `wattlm-demo`.
//!
//! Only the file's name is looked at, so that a device maker can predict the result. Pure.

/// Bytes of a model's or a variant's name.
pub const MAX_NAME: usize = 128;

/// What [`valid`] asks for, for people.
pub const RULE: &str = "use at most 128 letters, digits, '_', '-' and '.', not '.' in front";

/// A name that a client can send, a shell can quote and a table can show: no control characters, spaces at the ends,
/// slashes, or the colon that separates model and variant.
pub fn valid(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name.trim() == name
        && !name.starts_with('.')
        && !name.chars().any(|c| c.is_control() || matches!(c, ':' | '/' | '\\'))
}

/// Splits a file's stem into model and variant, the variant in small letters; `None` where the stem does not end in
/// a quantization that is set apart by `-`, `.` or `_`.
pub fn split(stem: &str) -> (&str, Option<String>) {
    for (at, _) in stem.match_indices(['-', '.', '_']) {
        let (model, rest) = (&stem[..at], &stem[at + 1..]);
        if !model.is_empty() && is_quantization(rest) {
            return (model, Some(rest.to_ascii_lowercase()));
        }
    }
    (stem, None)
}

/// Whether this is how a quantization is written: `Q4_K_M`, `f16`, `IQ3_XXS`, `UD-Q4_K_XL`.
fn is_quantization(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    // "UD" (dynamic) is a quantization recipe that publishers put in front of the name.
    let t = lower.strip_prefix("ud-").unwrap_or(&lower);
    if matches!(t, "f16" | "fp16" | "bf16" | "f32" | "fp32" | "mxfp4" | "mxfp4_moe" | "nvfp4") {
        return true;
    }
    let Some(bits) = ["iq", "tq", "q"].iter().find_map(|p| t.strip_prefix(p)) else { return false };
    let mut parts = bits.split('_');
    let width = parts.next().is_some_and(|w| w.len() == 1 && w.bytes().all(|b| (b'1'..=b'8').contains(&b)));
    let mut rest = parts.peekable();
    let known = |p: &str| matches!(p, "0" | "1" | "k" | "s" | "m" | "l" | "xs" | "xxs" | "xl" | "xxl" | "nl");
    width && rest.peek().is_some() && rest.all(known)
}

/// One part of a split model: the stem without `-00001-of-00003`, the part's number and the number of parts.
pub fn part(stem: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (base, number) = rest.rsplit_once('-')?;
    let digits = |t: &str| t.len() == 5 && t.bytes().all(|b| b.is_ascii_digit());
    (digits(number) && digits(count)).then_some(())?;
    Some((base, number.parse().ok()?, count.parse().ok()?))
}

/// Orders variants where the configuration does not: what a device maker would try first comes first.
///
/// Four bits before the rest, because memory and its bandwidth are a device's first limits: the K-quants that
/// publishers recommend, then the plain four-bit types, then five, six and eight bits, which cost more for a gain few
/// notice; then below four bits, where answers suffer; then unquantized files, which are there to be converted.
pub fn preference(variant: &str) -> u32 {
    const ORDER: [&str; 14] = [
        "q4_k_m",
        "q4_k_xl",
        "q4_k_s",
        "q4_k_l",
        "q4_k",
        "q4_0",
        "iq4_nl",
        "iq4_xs",
        "mxfp4_moe",
        "mxfp4",
        "q4_1",
        "q5_k_m",
        "q5_k_s",
        "q5_0",
    ];
    let v = variant.strip_prefix("ud-").unwrap_or(variant);
    if let Some(i) = ORDER.iter().position(|&o| o == v) {
        return i as u32;
    }
    let bits = v.trim_start_matches(['i', 't', 'q']).bytes().next().map_or(0, |b| b.wrapping_sub(b'0'));
    match (v, bits) {
        ("f16" | "fp16", _) => 60,
        ("bf16", _) => 61,
        ("f32" | "fp32", _) => 62,
        (_, 5) => 20,
        (_, 6) => 30,
        (_, 8) => 31,
        (_, 3) => 40,
        (_, 1 | 2) => 50,
        _ => 70,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_split_into_model_and_variant() {
        for (stem, model, variant) in [
            ("wattlm-demo-q4_k_m", "wattlm-demo", Some("q4_k_m")),
            ("Qwen2-0.5B-Instruct.Q4_0", "Qwen2-0.5B-Instruct", Some("q4_0")),
            ("tinyllama_q8_0", "tinyllama", Some("q8_0")),
            ("gemma-2-2b-it-IQ3_XXS", "gemma-2-2b-it", Some("iq3_xxs")),
            ("Qwen3-0.6B-UD-Q4_K_XL", "Qwen3-0.6B", Some("ud-q4_k_xl")),
            ("smollm2-135m-f16", "smollm2-135m", Some("f16")),
            ("gpt-oss-20b-mxfp4", "gpt-oss-20b", Some("mxfp4")),
            ("llama-3.2-1b", "llama-3.2-1b", None),
            ("model-q4", "model-q4", None),
            ("faq9_0", "faq9_0", None),
            ("q4_0", "q4_0", None),
            ("-q4_0", "-q4_0", None),
        ] {
            assert_eq!(split(stem), (model, variant.map(str::to_owned)), "{stem}");
        }
    }

    #[test]
    fn parts_of_split_models_are_recognised() {
        assert_eq!(part("big-q4_0-00002-of-00003"), Some(("big-q4_0", 2, 3)));
        assert_eq!(part("big-q4_0-2-of-3"), None);
        assert_eq!(part("out-of-memory"), None);
    }

    #[test]
    fn names_are_checked() {
        assert!(valid("Qwen2 0.5B"));
        for bad in ["", " a", "a:b", "a/b", "a\n", ".a", &"x".repeat(129)] {
            assert!(!valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn preference_puts_four_bits_first_and_floats_last() {
        let mut all = ["f32", "q8_0", "iq2_xs", "q4_0", "f16", "what", "q6_k", "q4_k_m", "q3_k_m", "q5_k_m", "bf16"];
        all.sort_by_key(|v| preference(v));
        assert_eq!(all, ["q4_k_m", "q4_0", "q5_k_m", "q6_k", "q8_0", "q3_k_m", "iq2_xs", "f16", "bf16", "f32", "what"]);
    }
}
