//! Manual pages and shell completions, both made from the argument trees.
//!
//! Packagers run this at build time, so the output depends on nothing but the trees: no date, no terminal.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::roff::{roman, Roff};
use clap_mangen::Man;

use super::args::{Cli, MORE};
use super::print::Out;
use crate::error::{Code, Error, Result};

/// Prints a completion script.
pub(super) fn completions(shell: Shell, out: Out) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wattlm", &mut script);
    out.text(&String::from_utf8_lossy(&script))
}

/// The programs and the sections of the manual that their pages belong to.
pub(super) fn programs() -> Vec<(Command, &'static str)> {
    let programs = [
        (Cli::command(), "1"),
        #[cfg(feature = "engine")]
        (<crate::daemon::Args as CommandFactory>::command(), "8"),
    ];
    programs.into()
}

/// Writes a page for each program and each of its subcommands, and returns the files' names.
pub(super) fn pages(programs: Vec<(Command, &'static str)>, dir: &Path) -> Result<Vec<String>> {
    let fail = |e: std::io::Error| {
        Error::new(Code::InvalidRequest, format!("cannot write manual pages into {}: {e}", dir.display()))
    };
    fs::create_dir_all(dir).map_err(fail)?;
    let mut names = Vec::new();
    for (mut program, section) in programs {
        program.build();
        let mut todo = vec![program];
        while let Some(command) = todo.pop() {
            todo.extend(command.get_subcommands().filter(|s| !s.is_hide_set()).cloned());
            let own = command.get_name() == "wattlm";
            let command = if own { command.after_long_help(None::<&str>) } else { command };
            let source = format!("wattlm {}", crate::VERSION);
            let page = Man::new(command).section(section).source(source).manual("wattlm");
            let mut text = Vec::new();
            page.render(&mut text).map_err(fail)?;
            if own {
                more().to_writer(&mut text).map_err(fail)?;
            }
            let name = page.get_filename();
            fs::write(dir.join(&name), text).map_err(fail)?;
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The sections that clap has no place for, under the names that manuals use.
fn more() -> Roff {
    let mut page = Roff::new();
    for (title, text) in MORE {
        page.control("SH", [title.to_uppercase().as_str()]);
        page.control("nf", []);
        page.text([roman(text)]);
        page.control("fi", []);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let names = pages(vec![(Cli::command(), "1"), (Command::new("other").about("Does"), "8")], dir.path()).unwrap();
        for name in [
            "wattlm.1",
            "wattlm-generate.1",
            "wattlm-account.1",
            "wattlm-models-add.1",
            "wattlm-config-check.1",
            "other.8",
        ] {
            assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
        }
        assert!(!names.iter().any(|n| n.contains("man")), "{names:?}");
        let page = fs::read_to_string(dir.path().join("wattlm.1")).unwrap();
        for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT"] {
            let head = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
            assert!(head.iter().any(|h| page.contains(h)), "{section} in {page}");
        }
        assert!(!page.contains("EXTRA"), "{page}");
    }
}
