//! JSON from strangers: bounded before it is parsed, errors that name the field.
//!
//! It knows nothing of any endpoint.
//!
//! What always holds: no input makes it panic, recurse deeper than the limit or allocate more than a small multiple
//! of the input.

use serde::Deserialize;

use crate::error::{Code, Error, Result};

/// Parses one JSON value of at most `max_depth` nested arrays and objects.
pub(super) fn parse<'de, T: Deserialize<'de>>(body: &'de [u8], max_depth: u32) -> Result<T> {
    let text = std::str::from_utf8(body).map_err(|e| {
        Error::new(Code::InvalidRequest, format!("the body is not UTF-8: the byte at {} is wrong", e.valid_up_to()))
    })?;
    if text.trim_ascii().is_empty() {
        return Err(Error::new(Code::InvalidRequest, "the body is empty; send a JSON object"));
    }
    check_depth(body, max_depth)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        let at = Error::new(Code::InvalidRequest, e.inner().to_string());
        // "." is the whole body.
        if path == "." {
            Error { message: format!("the body is not a valid request: {}", at.message), ..at }
        } else {
            Error { message: format!("{path}: {}", at.message), ..at }.at(path)
        }
    })?;
    json.end().map_err(|_| Error::new(Code::InvalidRequest, "there is something after the JSON object"))?;
    Ok(value)
}

/// Counts brackets outside strings. Malformed input is the parser's business.
fn check_depth(body: &[u8], max_depth: u32) -> Result<()> {
    let (mut depth, mut in_string, mut escaped) = (0u32, false, false);
    for (at, byte) in body.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > max_depth {
                    return Err(Error::new(
                        Code::PayloadTooLarge,
                        format!("the JSON is nested deeper than {max_depth} levels (byte {at})"),
                    ));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn depth_is_bounded_and_strings_do_not_count() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse::<Value>(nested(32).as_bytes(), 32).is_ok());
        assert_eq!(parse::<Value>(nested(33).as_bytes(), 32).unwrap_err().code, Code::PayloadTooLarge);
        assert_eq!(parse::<Value>("[".repeat(1 << 20).as_bytes(), 32).unwrap_err().code, Code::PayloadTooLarge);
        let quoted = serde_json::to_string(&format!("\\\"{}", "[{".repeat(100))).unwrap();
        assert!(parse::<Value>(quoted.as_bytes(), 1).is_ok());
    }

    #[test]
    fn errors_say_where() {
        #[derive(Debug, Deserialize)]
        struct T {
            #[allow(dead_code)]
            list: Vec<u32>,
        }
        let e = parse::<T>(br#"{"list":[1,"x"]}"#, 32).unwrap_err();
        assert_eq!(e.param.as_deref(), Some("list[1]"));
        let e = parse::<T>(br#"{"list":[1],"list":[2]}"#, 32).unwrap_err();
        assert!(e.message.contains("duplicate field"), "{}", e.message);
        for bad in [&b""[..], b"  ", b"{", b"[1", b"{\"list\":[1]} x", b"\xff\xfe", b"nul"] {
            assert_eq!(parse::<T>(bad, 32).unwrap_err().code, Code::InvalidRequest, "{bad:?}");
        }
    }
}
