//! `GET /wattlm/v1/account`: what its query asks for. Parsing only; who may see what is the service's to say.

use std::fmt::Display;
use std::str::FromStr;

use super::route::unescape;
use crate::error::{Code, Error, Result};
use crate::service::{AccountQuery, Whose};

/// Reads the part of a target behind the `?`. A parameter that is unknown or given twice is an error: left out, it
/// would show other lines than were asked for.
pub(super) fn parse(query: Option<&str>) -> Result<AccountQuery> {
    let mut asked = AccountQuery::default();
    let mut seen = Vec::new();
    for pair in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if seen.contains(&key) {
            return Err(bad(key, "it is given twice"));
        }
        seen.push(key);
        let value = unescape(value).unwrap_or_default();
        match key {
            "uid" if value == "all" => asked.whose = Whose::All,
            "uid" => {
                let uid = value.parse().map_err(|_| bad(key, "write a user's number, or all"))?;
                asked.whose = Whose::Uid(uid);
            }
            "from" => asked.from = Some(read(key, &value)?),
            "to" => asked.to = Some(read(key, &value)?),
            "by" => asked.by = Some(read(key, &value)?),
            _ => {
                let shown: String = key.chars().take(40).collect();
                return Err(bad(&shown, "there is no such parameter; there are uid, from, to and by"));
            }
        }
    }
    Ok(asked)
}

fn read<T: FromStr<Err: Display>>(key: &str, value: &str) -> Result<T> {
    value.parse().map_err(|e| bad(key, e))
}

fn bad(key: &str, why: impl Display) -> Error {
    Error::new(Code::InvalidRequest, format!("'{key}' in the query: {why}")).at(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::account::By;

    #[test]
    fn what_is_asked_is_understood_or_refused() {
        assert_eq!(parse(None), Ok(AccountQuery::default()));
        let asked = parse(Some("uid=7&from=2026-11-01&to=2026%2D11-30&by=model")).unwrap();
        assert_eq!((asked.whose, asked.by), (Whose::Uid(7), Some(By::Model)));
        assert_eq!(asked.to.unwrap().to_string(), "2026-11-30");
        assert_eq!(parse(Some("uid=all")).unwrap().whose, Whose::All);
        for (query, param) in [
            ("uid=-1", "uid"),
            ("uid", "uid"),
            ("uid=1&uid=2", "uid"),
            ("from=yesterday", "from"),
            ("to=2026-02-30", "to"),
            ("by=hour", "by"),
            ("user=1", "user"),
        ] {
            let e = parse(Some(query)).unwrap_err();
            assert_eq!((e.code, e.param.as_deref()), (Code::InvalidRequest, Some(param)), "{query}");
        }
    }
}
