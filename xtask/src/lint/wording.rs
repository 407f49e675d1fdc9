//! What must not be in a tracked file: marks of unfinished work, tests switched off, places that exist on one machine only.

use std::fs;
use std::process::Command;

use super::{Verdict, verdict};
use crate::failure::Failure;
use crate::run::{output, root};

/// Past this many lines a file deserves the question which second subject moved in; a hint, not a failure.
const LONG_FILE: usize = 500;

/// Written by tools.
const EXEMPT: [&str; 1] = ["Cargo.lock"];
/// Names the words.
const SELF: &str = "xtask/src/lint/wording.rs";

const UNFINISHED: [&str; 5] = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("];
const SWITCHED_OFF: &str = "#[ignore";
const ABORT: &str = "panic = \"abort\"";
const PLACES: [&str; 3] = ["/home/", "/root/", "/work/"];
/// First labels of host names from which packages are downloaded: which mirror is used is a matter of each machine.
const DOWNLOAD_HOSTS: [&str; 7] = ["registry", "index", "static", "mirror", "mirrors", "proxy", "pypi"];

pub(crate) fn check() -> Result<Verdict, Failure> {
    let list = output(Command::new("git").current_dir(root()).args(["ls-files", "-z"]))?;
    let mut findings = Vec::new();
    for name in list.split('\0').filter(|name| !name.is_empty() && !EXEMPT.contains(name) && *name != SELF) {
        // Removed in the working tree, or no text.
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        for (index, line) in text.lines().enumerate() {
            if let Some(word) = forbidden(name, line) {
                findings.push(format!("{name}:{}: '{word}'", index + 1));
            }
        }
        let lines = text.lines().count();
        if name.ends_with(".rs") && lines > LONG_FILE {
            eprintln!("hint: {name} has {lines} lines");
        }
    }
    verdict(&findings)
}

fn forbidden(file: &str, line: &str) -> Option<String> {
    let found = |words: &[&str]| words.iter().find(|word| line.contains(**word)).map(|word| (*word).to_owned());
    let abort = || found(&[ABORT]).filter(|_| file.ends_with(".toml"));
    let switched_off = || found(&[SWITCHED_OFF]).filter(|_| file.ends_with(".rs"));
    found(&UNFINISHED).or_else(switched_off).or_else(abort).or_else(|| found(&PLACES)).or_else(|| download_host(line))
}

fn download_host(line: &str) -> Option<String> {
    line.match_indices("://").find_map(|(position, mark)| {
        let rest = line.get(position + mark.len()..)?;
        let host = rest.split(|letter: char| !letter.is_alphanumeric() && !".-".contains(letter)).next()?;
        let label = host.split('.').next()?;
        (host.contains('.') && DOWNLOAD_HOSTS.contains(&label)).then(|| host.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::forbidden;

    #[test]
    fn unfinished_work_is_found() {
        assert!(forbidden("a.rs", "    todo!()").is_some());
        assert!(forbidden("a.rs", "// FIXME later").is_some());
        assert!(forbidden("a.rs", "#[ignore = \"slow\"]").is_some());
        assert!(forbidden("a.md", "`#[ignore]` is refused").is_none());
    }

    #[test]
    fn a_release_profile_that_aborts_is_found_in_manifests_only() {
        assert!(forbidden("Cargo.toml", "panic = \"abort\"").is_some());
        assert!(forbidden("a.md", "With panic = \"abort\" a supervisor waits for ever.").is_none());
    }

    #[test]
    fn machines_and_mirrors_are_found() {
        assert!(forbidden("a.md", "see /home/someone/alys").is_some());
        assert!(forbidden("a.yml", "url: https://registry.example.org/alys").is_some());
        assert!(forbidden("a.md", "http://127.0.0.1:8545 and https://eips.ethereum.org").is_none());
    }
}
