//! Request fields that would change the answer and are not supported: refused, never ignored.
//!
//! OpenAI's API and its servers' extensions are wide; a field that nobody here has heard of is ignored, as OpenAI's
//! SDKs expect, but a field known to change the meaning is refused unless its value asks for what we do anyway.
//!
//! What always holds: a field that is absent or `null` is never refused.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::{Code, Error, Result};

/// A value as far as this module looks at it.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Null,
    Bool(bool),
    Number(f64),
    /// Text of at most 16 bytes.
    Word(String),
    EmptyList,
    EmptyObject,
    /// An object with nothing in it but `"type": "text"`.
    TypeText,
    /// A list with nothing in it but `"text"`.
    ListText,
    Other,
}

/// A value that asks for what happens without the field.
enum Neutral {
    Is(Shape),
    Word(&'static str),
}

use Neutral::{Is, Word};
const FALSE: Neutral = Is(Shape::Bool(false));
const TRUE: Neutral = Is(Shape::Bool(true));
const ZERO: Neutral = Is(Shape::Number(0.0));
const ONE: Neutral = Is(Shape::Number(1.0));
const NO_LIST: Neutral = Is(Shape::EmptyList);
const NO_OBJECT: Neutral = Is(Shape::EmptyObject);

/// Fields refused at the top level, the values of each that are harmless, and what to do instead.
#[rustfmt::skip]
const REFUSED: &[(&str, &[Neutral], &str)] = &[
    // OpenAI.
    ("n", &[ONE], "send several requests"),
    ("best_of", &[ONE], "send several requests"),
    ("logprobs", &[FALSE], ""),
    ("top_logprobs", &[ZERO], ""),
    ("response_format", &[Is(Shape::TypeText)], "ask for the format in the prompt"),
    ("tools", &[NO_LIST], "describe the tools in the prompt"),
    ("tool_choice", &[Word("none"), Word("auto")], "describe the tools in the prompt"),
    ("functions", &[NO_LIST], "describe the functions in the prompt"),
    ("function_call", &[Word("none"), Word("auto")], "describe the functions in the prompt"),
    ("echo", &[FALSE], ""),
    ("suffix", &[Word("")], ""),
    ("modalities", &[NO_LIST, Is(Shape::ListText)], ""),
    ("audio", &[], ""),
    ("prediction", &[], ""),
    ("reasoning_effort", &[Word("none")], ""),
    ("reasoning", &[NO_OBJECT], ""),
    ("verbosity", &[Word("medium")], "ask for it in the prompt"),
    ("web_search_options", &[], ""),
    ("moderation", &[], ""),
    // llama.cpp.
    ("grammar", &[Word("")], ""),
    ("json_schema", &[NO_OBJECT], ""),
    ("n_predict", &[], "use max_tokens"),
    ("mirostat", &[ZERO], ""),
    ("typical_p", &[ONE], ""),
    ("dry_multiplier", &[ZERO], ""),
    ("xtc_probability", &[ZERO], ""),
    ("dynatemp_range", &[ZERO], ""),
    ("top_n_sigma", &[ZERO, Is(Shape::Number(-1.0))], ""),
    ("min_keep", &[ZERO], ""),
    ("repeat_last_n", &[Is(Shape::Number(64.0))], "repeat_penalty looks at the last 64 tokens"),
    ("samplers", &[NO_LIST], ""),
    ("n_probs", &[ZERO], ""),
    ("n_indent", &[ZERO], ""),
    ("t_max_predict_ms", &[ZERO], "use wattlm.deadline_ms"),
    ("lora", &[NO_LIST], ""),
    ("chat_template", &[], ""),
    ("chat_template_kwargs", &[NO_OBJECT], ""),
    ("reasoning_format", &[Word("none"), Word("auto")], ""),
    // vLLM and others.
    ("repetition_penalty", &[ONE], "use repeat_penalty"),
    ("length_penalty", &[ONE], ""),
    ("use_beam_search", &[FALSE], ""),
    ("min_tokens", &[ZERO], ""),
    ("stop_token_ids", &[NO_LIST], "use stop"),
    ("bad_words", &[NO_LIST], "use logit_bias"),
    ("allowed_token_ids", &[NO_LIST], "use logit_bias"),
    ("logits_processors", &[NO_LIST], ""),
    ("prompt_logprobs", &[ZERO, FALSE], ""),
    ("truncate_prompt_tokens", &[], "shorten the prompt"),
    ("include_stop_str_in_output", &[FALSE], ""),
    ("skip_special_tokens", &[TRUE], ""),
    ("add_generation_prompt", &[TRUE], ""),
    ("continue_final_message", &[FALSE], ""),
    ("documents", &[NO_LIST], "put the documents into the prompt"),
    ("guided_json", &[], ""),
    ("guided_regex", &[], ""),
    ("guided_choice", &[], ""),
    ("guided_grammar", &[], ""),
    ("structured_outputs", &[NO_OBJECT], ""),
];

/// Names of every refused field.
#[cfg(test)]
pub(super) fn refused() -> impl Iterator<Item = &'static str> {
    REFUSED.iter().map(|(name, ..)| *name)
}

/// Looks at a request's top level and refuses what would change the answer silently.
pub(super) fn check(body: &[u8], max_depth: u32) -> Result<()> {
    match super::json::parse::<Top>(body, max_depth)?.0 {
        None => Ok(()),
        Some((name, hint)) => {
            let hint = if hint.is_empty() { "leave it out".to_owned() } else { format!("leave it out and {hint}") };
            Err(Error::new(Code::UnsupportedField, format!("'{name}' is not supported with this value; {hint}"))
                .at(name))
        }
    }
}

/// The first refused field of an object, and what to do instead.
struct Top(Option<(&'static str, &'static str)>);

impl<'de> Deserialize<'de> for Top {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Top, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Top;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Top, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<Key>()? {
                    let Some((name, neutral, hint)) = key.0 else {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    let shape: Shape = map.next_value()?;
                    let harmless = shape == Shape::Null
                        || neutral.iter().any(|n| match n {
                            Is(s) => *s == shape,
                            Word(w) => matches!(&shape, Shape::Word(s) if s == w),
                        });
                    if !harmless {
                        found = found.or(Some((*name, *hint)));
                    }
                }
                Ok(Top(found))
            }
        }
        d.deserialize_map(V)
    }
}

/// A key's entry in the table.
struct Key(Option<&'static (&'static str, &'static [Neutral], &'static str)>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Key, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_str<E>(self, s: &str) -> std::result::Result<Key, E> {
                Ok(Key(REFUSED.iter().find(|(name, ..)| *name == s)))
            }
        }
        d.deserialize_str(V)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Shape, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Shape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> std::result::Result<Shape, E> {
                Ok(Shape::Null)
            }
            fn visit_bool<E>(self, b: bool) -> std::result::Result<Shape, E> {
                Ok(Shape::Bool(b))
            }
            fn visit_i64<E>(self, n: i64) -> std::result::Result<Shape, E> {
                Ok(Shape::Number(n as f64))
            }
            fn visit_u64<E>(self, n: u64) -> std::result::Result<Shape, E> {
                Ok(Shape::Number(n as f64))
            }
            fn visit_f64<E>(self, n: f64) -> std::result::Result<Shape, E> {
                Ok(Shape::Number(n))
            }
            fn visit_str<E>(self, s: &str) -> std::result::Result<Shape, E> {
                Ok(if s.len() <= 16 { Shape::Word(s.to_owned()) } else { Shape::Other })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Shape, A::Error> {
                let Some(first) = seq.next_element::<Shape>()? else { return Ok(Shape::EmptyList) };
                let mut more = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(match first {
                    Shape::Word(w) if w == "text" && !more => Shape::ListText,
                    _ => Shape::Other,
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Shape, A::Error> {
                let mut shape = Shape::EmptyObject;
                while let Some((key, value)) = map.next_entry::<Shape, Shape>()? {
                    let type_text = key == Shape::Word("type".into()) && value == Shape::Word("text".into());
                    shape = if shape == Shape::EmptyObject && type_text { Shape::TypeText } else { Shape::Other };
                }
                Ok(shape)
            }
        }
        d.deserialize_any(V)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_param(body: &str) -> Option<String> {
        match check(body.as_bytes(), 32) {
            Ok(()) => None,
            Err(e) => {
                assert_eq!(e.code, Code::UnsupportedField, "{body}: {e}");
                e.param
            }
        }
    }

    #[test]
    fn null_and_neutral_values_pass() {
        for name in refused() {
            assert_eq!(refused_param(&format!("{{\"{name}\":null}}")), None);
            assert_eq!(refused_param(&format!("{{\"{name}\":{{\"x\":[1]}}}}")).as_deref(), Some(name));
        }
        for ok in [
            r#"{"n":1}"#,
            r#"{"n":1.0}"#,
            r#"{"tools":[],"tool_choice":"none"}"#,
            r#"{"logprobs":false}"#,
            r#"{"response_format":{"type":"text"}}"#,
            r#"{"modalities":["text"]}"#,
            r#"{"unheard_of":{"a":[1,2]},"store":true,"service_tier":"auto","metadata":{"a":"b"}}"#,
        ] {
            assert_eq!(refused_param(ok), None, "{ok}");
        }
    }

    #[test]
    fn what_changes_the_answer_is_refused() {
        for (body, param) in [
            (r#"{"n":2}"#, "n"),
            (r#"{"logprobs":true}"#, "logprobs"),
            (r#"{"logprobs":0}"#, "logprobs"),
            (r#"{"tools":[{"type":"function"}]}"#, "tools"),
            (r#"{"response_format":{"type":"json_object"}}"#, "response_format"),
            (r#"{"response_format":{"type":"text","x":1}}"#, "response_format"),
            (r#"{"modalities":["text","audio"]}"#, "modalities"),
            (r#"{"grammar":"root ::= \"a\""}"#, "grammar"),
            // A second value cannot hide the first.
            (r#"{"n":2,"n":1}"#, "n"),
        ] {
            assert_eq!(refused_param(body).as_deref(), Some(param), "{body}");
        }
    }

    #[test]
    fn only_objects_are_requests() {
        for bad in ["[]", "1", "\"x\"", "null"] {
            assert_eq!(check(bad.as_bytes(), 32).unwrap_err().code, Code::InvalidRequest);
        }
    }
}
