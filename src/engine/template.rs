//! Chat templates: the model's own Jinja, rendered as its makers' tools render it.
//!
//! The template comes with the model file, so it is not trusted: it can reach nothing but its inputs, and it runs on
//! fuel. It is compiled once, when the model is loaded.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{context, AutoEscape, Environment, ErrorKind};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;

use crate::error::{Code, Error, Result};
use crate::lane::Message;

/// Instructions per rendering. Real templates take some hundred for a message; this is enough for a thousand messages
/// and is spent in well under a second.
const FUEL: u64 = 2_000_000;

const NAME: &str = "chat";

/// A compiled chat template.
pub struct ChatTemplate {
    env: Environment<'static>,
    bos: String,
    eos: String,
}

#[derive(Serialize)]
struct TemplateMessage<'a> {
    role: &'a str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl ChatTemplate {
    /// Compiles a template. `bos` and `eos` are how the vocabulary spells those tokens, empty if it has none.
    pub fn new(source: &str, bos: String, eos: String) -> Result<ChatTemplate> {
        let mut env = Environment::new();
        // As transformers' `apply_chat_template` sets Jinja up.
        match SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
            Ok(syntax) => env.set_syntax(syntax),
            Err(e) => return Err(failed("chat templates cannot be read", &e)),
        }
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_unknown_method_callback(unknown_method_callback);
        env.set_fuel(Some(FUEL));
        env.add_filter("tojson", to_json);
        env.add_function("raise_exception", |why: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, why))
        });
        env.add_function("strftime_now", |format: String| -> Result<String, minijinja::Error> {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
            strftime(&format, now).ok_or_else(|| {
                minijinja::Error::new(ErrorKind::InvalidOperation, format!("strftime_now: cannot format {format:?}"))
            })
        });
        env.add_template_owned(NAME, source.to_string())
            .map_err(|e| failed("this model's chat template does not compile", &e))?;
        Ok(ChatTemplate { env, bos, eos })
    }

    /// The prompt for these messages, up to where the answer begins.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        let messages: Vec<_> = messages
            .iter()
            .map(|m| TemplateMessage { role: &m.role, content: &m.content, name: m.name.as_deref() })
            .collect();
        let render = |messages| {
            self.env.get_template(NAME)?.render(context! {
                messages => Serde(messages),
                add_generation_prompt => true,
                bos_token => self.bos.as_str(),
                eos_token => self.eos.as_str(),
            })
        };
        render(messages).map_err(|e| match e.kind() {
            ErrorKind::OutOfFuel => Error::new(
                Code::NoChatTemplate,
                "this model's chat template ran too long; send fewer messages or use /v1/completions",
            ),
            _ => failed("this model's chat template refused the messages", &e),
        })
    }
}

fn failed(what: &str, e: &minijinja::Error) -> Error {
    let reason = e.detail().map_or_else(|| e.kind().to_string(), str::to_string);
    let line = e.line().map(|l| format!(" (line {l})")).unwrap_or_default();
    Error::new(Code::NoChatTemplate, format!("{what}: {reason}{line}; use /v1/completions with a prompt of your own"))
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=…)`, which templates are written against: Jinja's own filter
/// escapes HTML.
fn to_json(value: Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let bad = |e: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut out = Vec::new();
    match indent {
        Some(n) => {
            let indent = vec![b' '; n.min(16)];
            let pretty = serde_json::ser::PrettyFormatter::with_indent(&indent);
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, pretty)).map_err(bad)?;
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, PythonJson)).map_err(bad)?,
    }
    String::from_utf8(out).map_err(|e| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string()))
}

/// JSON with a space after each comma and colon.
struct PythonJson;

impl serde_json::ser::Formatter for PythonJson {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, w: &mut W, first: bool) -> std::io::Result<()> {
        if first {
            Ok(())
        } else {
            w.write_all(b", ")
        }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, w: &mut W, first: bool) -> std::io::Result<()> {
        if first {
            Ok(())
        } else {
            w.write_all(b", ")
        }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, w: &mut W) -> std::io::Result<()> {
        w.write_all(b": ")
    }
}

/// `strftime` in UTC: a confined worker cannot read the time zone. `None`: a conversion that is not known.
fn strftime(format: &str, unix: u64) -> Option<String> {
    const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (days, seconds) = (i64::try_from(unix / 86_400).ok()?, unix % 86_400);
    // Howard Hinnant's days_from_civil, inverted, for days since 1970-01-01.
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let month_name = MONTHS[usize::try_from(month - 1).ok()?];
    let day_name = DAYS[usize::try_from((days + 4) % 7).ok()?];
    let hour = seconds / 3600;

    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        out += &match chars.next()? {
            'Y' => format!("{year}"),
            'y' => format!("{:02}", year % 100),
            'm' => format!("{month:02}"),
            'B' => month_name.to_string(),
            'b' => month_name[..3].to_string(),
            'd' => format!("{day:02}"),
            'A' => day_name.to_string(),
            'a' => day_name[..3].to_string(),
            'H' => format!("{hour:02}"),
            'I' => format!("{:02}", (hour + 11) % 12 + 1),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_string(),
            'M' => format!("{:02}", seconds / 60 % 60),
            'S' => format!("{:02}", seconds % 60),
            '%' => "%".to_string(),
            _ => return None,
        };
    }
    Some(out)
}
