//! `include/wattlm.h` is what cbindgen makes of `src/capi`: its words stand in one place.

#![cfg(feature = "capi")]

use std::path::Path;

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};

/// In the order in which the header tells them.
const SOURCES: [&str; 8] =
    ["version.rs", "status.rs", "handle.rs", "last.rs", "request.rs", "stream.rs", "receipt.rs", "door.rs"];

fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = Config {
        language: Language::C,
        cpp_compat: true,
        style: Style::Both,
        documentation_style: DocumentationStyle::Doxy,
        include_guard: Some("WATTLM_H".into()),
        header: Some(include_str!("../src/capi/header.txt").trim_end().to_owned()),
        line_length: 110,
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        after_includes: Some(format!(
            "\n/**\n * The header's version as text.\n */\n#define WATTLM_VERSION_STRING \"{}\"",
            env!("CARGO_PKG_VERSION")
        )),
        usize_is_size_t: true,
        ..Config::default()
    };
    config.function.args = cbindgen::Layout::Auto;
    let mut builder = Builder::new().with_config(config);
    for source in SOURCES.into_iter().chain(["log.rs"]) {
        builder = builder.with_src(root.join("src/capi").join(source));
    }
    let mut out = Vec::new();
    builder.generate().expect("cbindgen reads the sources").write(&mut out);
    // The trailing underscore keeps an argument apart from a function of the same name in Rust.
    String::from_utf8(out).expect("UTF-8").replace("options_", "options")
}

#[test]
fn the_header_in_the_repository_is_that_of_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/wattlm.h");
    let header = generated();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("makes the folder");
        std::fs::write(&file, &header).expect("writes the header");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == header,
        "include/wattlm.h is out of date: run `UPDATE=1 scripts/cargo test --release --test header`"
    );
}
