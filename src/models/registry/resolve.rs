//! Which variant a name means, and what is said where it means none.
//!
//! It looks at no file. What always holds: a name is answered with one variant that can be used, or with an error that says
//! what to do.

use super::{Registry, Variant};
use crate::error::{Code, Error, Result};
use crate::models::naming;
use crate::sched::VariantId;

impl Registry {
    /// Finds the variant that a request means: `model`, `model:variant`, or nothing for the default.
    ///
    /// Capital letters do not matter where one name only is meant. Fails with `model_not_found`, naming what is near,
    /// or with `model_load_failed` where the file is known to be broken.
    pub fn resolve(&self, name: &str) -> Result<VariantId> {
        if name.is_empty() {
            return match &self.default {
                Some(default) if !default.is_empty() => self.resolve(default),
                _ => self.default_variant().ok_or_else(|| self.nothing()),
            };
        }
        let (model, variant) = name.split_once(':').map_or((name, None), |(m, v)| (m, Some(v)));
        let Some(m) = pick(&self.models, model, |m| &m.name) else {
            return Err(self.unknown(name));
        };
        let id = match variant {
            None => m.variants.first().copied(),
            Some(v) => pick(&m.variants, v, |id| &self.variants[id].name).copied(),
        };
        let Some(found) = id.and_then(|id| self.variants.get(&id)) else {
            return Err(self.unknown(name));
        };
        match &found.facts {
            Ok(_) => Ok(found.id),
            Err(why) => {
                let text = format!("model '{}' cannot be used: {}: {why}", found.full_name(), found.path.display());
                Err(Error::new(Code::ModelLoadFailed, text).at("model"))
            }
        }
    }

    /// Why there is no default.
    fn nothing(&self) -> Error {
        let mut broken = self.variants.values().filter_map(|v| Some((v, v.facts.as_ref().err()?)));
        let Some((first, why)) = broken.next() else {
            let text = "there is no model: put a .gguf file into a models folder, or run 'wattlm models add FILE'";
            return Error::new(Code::ModelNotFound, text).at("model");
        };
        let rest = match broken.count() {
            0 => String::new(),
            n => format!("; 'wattlm models list' says why {n} more cannot"),
        };
        // Without even a stamp there is no such file, or it cannot be looked at.
        let code = if first.stamp.is_some() { Code::ModelLoadFailed } else { Code::ModelNotFound };
        Error::new(code, format!("no model file can be used: {}: {why}{rest}", first.path.display())).at("model")
    }

    fn unknown(&self, name: &str) -> Error {
        if self.models.is_empty() {
            return self.nothing();
        }
        let mut all: Vec<String> = self.models.iter().map(|m| m.name.clone()).collect();
        if name.contains(':') {
            all.extend(self.variants.values().map(Variant::full_name));
        }
        let wanted = name.to_lowercase();
        let mut near: Vec<(f64, String)> =
            all.into_iter().map(|n| (strsim::jaro_winkler(&wanted, &n.to_lowercase()), n)).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        // Below this, a suggestion is a list of whatever is there.
        near.retain(|n| n.0 > 0.7);
        near.truncate(3);
        let names: Vec<String> = near.into_iter().map(|n| format!("'{}'", n.1)).collect();
        let shown: String = name.chars().take(naming::MAX_NAME).flat_map(char::escape_debug).collect();
        let hint = match names.as_slice() {
            [] => "'wattlm models list' shows what there is".to_owned(),
            names => format!("did you mean {}?", names.join(" or ")),
        };
        Error::new(Code::ModelNotFound, format!("there is no model '{shown}': {hint}")).at("model")
    }
}

/// The entry of exactly this name, or the only one that differs in capital letters alone.
fn pick<'a, T>(all: &'a [T], name: &str, name_of: impl Fn(&'a T) -> &'a String) -> Option<&'a T> {
    if let Some(exact) = all.iter().find(|&t| name_of(t) == name) {
        return Some(exact);
    }
    let lower = name.to_lowercase();
    let mut near = all.iter().filter(|&t| name_of(t).to_lowercase() == lower);
    near.next().filter(|_| near.next().is_none())
}
