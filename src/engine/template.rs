//! Chat templates: the model's own Jinja, rendered as its makers' tools render it.
//!
//! The template comes with the model file, so it is not trusted: it can reach nothing but its inputs, and it runs on
//! fuel. It is compiled once, when the model is loaded.

use std::error::Error as _;
use std::fmt;
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

/// Marks what a template said by `raise_exception`: the messages are wrong, not the template.
#[derive(Debug)]
struct Refusal;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("raised by the template")
    }
}

impl std::error::Error for Refusal {}

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
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, why).with_source(Refusal))
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

    /// The prompt for these messages, up to where the answer begins. Fails with `invalid_request` where the template
    /// itself refuses them (roles that do not alternate), with `no_chat_template` where it breaks.
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
            ErrorKind::InvalidOperation if e.source().is_some_and(|s| s.is::<Refusal>()) => Error::new(
                Code::InvalidRequest,
                format!("this model's chat template refuses the messages: {}", e.detail().unwrap_or_default()),
            )
            .at("messages"),
            _ => failed("this model's chat template failed", &e),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(messages: &[(&str, &str)]) -> Vec<Message> {
        messages.iter().map(|(r, c)| Message { role: r.to_string(), content: c.to_string(), name: None }).collect()
    }

    fn render(template: &str, messages: &[(&str, &str)]) -> Result<String> {
        ChatTemplate::new(template, "<s>".into(), "</s>".into())?.render(&chat(messages))
    }

    const TURNS: [(&str, &str); 4] =
        [("system", "Be brief."), ("user", "Hi"), ("assistant", " Hello. "), ("user", "Who are you?")];

    const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + \
        message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}\
        {{ '<|im_start|>assistant\n' }}{% endif %}";

    const ZEPHYR: &str = "{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}";

    const GEMMA_2: &str = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
        {{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}\
        {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
        {% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}\
        {% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}";

    const PHI_3: &str = "{% for message in messages %}{% if message['role'] == 'system' %}\
        {{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}\
        {{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}\
        {{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}\
        {{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}";

    const QWEN_2_5: &str = r#"{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"#;

    /// Without the branches for tools, which need a list of tools to be entered.
    const LLAMA_3_2: &str = r#"{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message #}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"#;

    #[test]
    fn chatml() {
        assert_eq!(
            render(CHATML, &TURNS).unwrap(),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n Hello. \
             <|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn tinyllama_and_zephyr() {
        assert_eq!(
            render(ZEPHYR, &TURNS).unwrap(),
            "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\n Hello. </s>\n<|user|>\nWho are you?</s>\n\
             <|assistant|>\n"
        );
    }

    #[test]
    fn phi_3() {
        assert_eq!(
            render(PHI_3, &TURNS).unwrap(),
            "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n Hello. <|end|>\n<|user|>\n\
             Who are you?<|end|>\n<|assistant|>\n"
        );
    }

    #[test]
    fn gemma_2_and_its_own_refusals() {
        assert_eq!(
            render(GEMMA_2, &TURNS[1..]).unwrap(),
            "<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n\
             <start_of_turn>user\nWho are you?<end_of_turn>\n<start_of_turn>model\n"
        );
        let e = render(GEMMA_2, &TURNS).unwrap_err();
        assert_eq!((e.code, e.param.as_deref()), (Code::InvalidRequest, Some("messages")));
        assert!(e.message.contains("System role not supported"), "{e}");
        let e = render(GEMMA_2, &[TURNS[1], TURNS[3]]).unwrap_err();
        assert!(e.message.contains("roles must alternate"), "{e}");
    }

    #[test]
    fn qwen_2_5_with_and_without_a_system_message() {
        assert_eq!(
            render(QWEN_2_5, &TURNS).unwrap(),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n Hello. \
             <|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(
            render(QWEN_2_5, &TURNS[3..]).unwrap(),
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n\
             <|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(
            render(QWEN_2_5, &[("tool", "21 °C")]).unwrap(),
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n\
             <|im_start|>user\n<tool_response>\n21 °C\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn llama_3_2_knows_the_date() {
        let text = render(LLAMA_3_2, &TURNS).unwrap();
        let (head, rest) = text.split_once("Today Date: ").unwrap();
        assert_eq!(head, "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n");
        let (date, rest) = rest.split_once('\n').unwrap();
        assert_eq!(date.split(' ').map(str::len).collect::<Vec<_>>(), [2, 3, 4], "{date}");
        assert_eq!(
            rest,
            "\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant\
             <|end_header_id|>\n\nHello.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWho are you?<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\n"
        );
    }

    #[test]
    fn a_template_cannot_run_for_ever() {
        let e =
            render("{% for i in range(100000) %}{% for j in range(100000) %}{{ j }}{% endfor %}{% endfor %}", &TURNS);
        assert!(e.unwrap_err().message.contains("too long"));
        let e = render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", &TURNS).unwrap_err();
        assert_eq!(e.code, Code::NoChatTemplate);
    }

    #[test]
    fn a_template_that_does_not_compile_says_so() {
        let e = ChatTemplate::new("{% if %}", String::new(), String::new()).err().unwrap();
        assert_eq!(e.code, Code::NoChatTemplate);
        assert!(e.message.contains("does not compile") && e.message.contains("/v1/completions"), "{e}");
    }

    #[test]
    fn names_and_missing_fields() {
        let template = "{% for m in messages %}{% if m.name is defined %}{{ m.name }}: {% endif %}{{ m.content }}\
            {% if m.tool_calls %}no{% endif %};{% endfor %}";
        let mut messages = chat(&[("user", "a"), ("user", "b")]);
        messages[1].name = Some("ann".into());
        let template = ChatTemplate::new(template, String::new(), String::new()).unwrap();
        assert_eq!(template.render(&messages).unwrap(), "a;ann: b;");
    }

    #[test]
    fn json_as_python_writes_it() {
        assert_eq!(
            render("{{ {'a': [1, 2.5, none, true], 'b': '<é>&'} | tojson }}", &TURNS).unwrap(),
            r#"{"a": [1, 2.5, null, true], "b": "<é>&"}"#
        );
        assert_eq!(render("{{ {'a': [1]} | tojson(indent=2) }}", &TURNS).unwrap(), "{\n  \"a\": [\n    1\n  ]\n}");
    }

    #[test]
    fn dates() {
        for (unix, expected) in [
            (0, "Thu 01 Jan 1970 00:00:00 12AM"),
            (951_782_400, "Tue 29 Feb 2000 00:00:00 12AM"),
            (1_721_998_799, "Fri 26 Jul 2024 12:59:59 12PM"),
            (4_102_444_799, "Thu 31 Dec 2099 23:59:59 11PM"),
        ] {
            assert_eq!(strftime("%a %d %b %Y %H:%M:%S %I%p", unix).as_deref(), Some(expected));
        }
        assert_eq!(strftime("%A, %B %-d", 0), None);
        assert_eq!(strftime("100%%", 0).as_deref(), Some("100%"));
    }
}
