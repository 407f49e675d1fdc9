//! Licences: each dependency's SPDX expression must be satisfied by the allow-list of `.cargo/deny.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::{Verdict, verdict};
use crate::failure::Failure;
use crate::run::{cargo, output, root};

const CONFIGURATION: &str = ".cargo/deny.toml";

pub(crate) fn check() -> Result<Verdict, Failure> {
    let allowed = Allowed::read()?;
    // `cargo tree` knows which optional dependencies are really compiled; `cargo metadata` lists more.
    let tree = output(cargo().args([
        "tree",
        "--workspace",
        "--all-features",
        "--target=all",
        "--edges=normal,build,dev",
        "--prefix=none",
        "--format={p}|{l}",
    ]))?;
    let packages: BTreeSet<&str> = tree.lines().collect();
    let findings: Vec<String> = packages
        .iter()
        .filter_map(|line| line.trim_end_matches(" (*)").split_once('|'))
        .filter(|(package, expression)| !allowed.satisfies(package, expression))
        .map(|(package, expression)| format!("{package}: licence '{expression}'"))
        .collect();
    verdict(&findings)
}

/// The licences that every crate may have, and those that single crates may have beside.
struct Allowed {
    everywhere: BTreeSet<String>,
    exceptions: BTreeMap<String, BTreeSet<String>>,
}

impl Allowed {
    fn read() -> Result<Self, Failure> {
        let path = root().join(CONFIGURATION);
        let text = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
        let configuration: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| Failure::work(format!("{CONFIGURATION} is no TOML")).because(error))?;
        let section = configuration.get("licenses");
        let everywhere = list(section);
        if everywhere.is_empty() {
            return Err(Failure::work(format!("{CONFIGURATION} allows no licence")));
        }
        let entries = section.and_then(|section| section.get("exceptions")).and_then(toml::Value::as_array);
        let exceptions = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let name = entry.get("crate").and_then(toml::Value::as_str)?;
                Some((name.to_owned(), &list(Some(entry)) | &everywhere))
            })
            .collect();
        Ok(Self { everywhere, exceptions })
    }

    /// `package` is a name and a version.
    fn satisfies(&self, package: &str, expression: &str) -> bool {
        let name = package.split_whitespace().next().unwrap_or_default();
        satisfied(expression, self.exceptions.get(name).unwrap_or(&self.everywhere))
    }
}

fn list(table: Option<&toml::Value>) -> BTreeSet<String> {
    let list = table.and_then(|table| table.get("allow")).and_then(toml::Value::as_array);
    list.into_iter().flatten().filter_map(toml::Value::as_str).map(str::to_owned).collect()
}

/// Whether the allowed licences satisfy an SPDX expression (`OR`, `AND`, `WITH`, parentheses, and the old `/` for `OR`).
/// What cannot be read is not satisfied.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut tokens = spaced.split_whitespace().peekable();
    let result = any_of(&mut tokens, allowed);
    result == Some(true) && tokens.next().is_none()
}

type Tokens<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(tokens: &mut Tokens<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut result = all_of(tokens, allowed)?;
    while tokens.next_if_eq(&"OR").is_some() {
        result |= all_of(tokens, allowed)?;
    }
    Some(result)
}

fn all_of(tokens: &mut Tokens<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut result = one(tokens, allowed)?;
    while tokens.next_if_eq(&"AND").is_some() {
        result &= one(tokens, allowed)?;
    }
    Some(result)
}

fn one(tokens: &mut Tokens<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    if tokens.next_if_eq(&"(").is_some() {
        let result = any_of(tokens, allowed)?;
        return tokens.next_if_eq(&")").map(|_| result);
    }
    let name = tokens.next().filter(|token| !["OR", "AND", "WITH", ")"].contains(token))?;
    if tokens.next_if_eq(&"WITH").is_some() {
        let exception = tokens.next()?;
        return Some(allowed.contains(&format!("{name} WITH {exception}")));
    }
    Some(allowed.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(expression: &str) -> bool {
        let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Zlib"];
        satisfied(expression, &allowed.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn one_allowed_alternative_is_enough() {
        assert!(passes("MIT OR GPL-3.0"));
        assert!(passes("GPL-3.0/MIT"));
        assert!(passes("GPL-3.0 OR (MIT AND Zlib)"));
    }

    #[test]
    fn every_conjunct_is_needed() {
        assert!(!passes("MIT AND GPL-3.0"));
        assert!(!passes("(MIT OR Apache-2.0) AND GPL-3.0"));
        assert!(passes("(MIT OR GPL-3.0) AND Zlib"));
    }

    #[test]
    fn an_exception_is_part_of_the_name() {
        assert!(passes("Apache-2.0 WITH LLVM-exception"));
        assert!(!passes("MIT WITH Classpath-exception-2.0"));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for expression in ["", "OR", "MIT OR", "(MIT", "MIT)", "MIT Zlib", "MIT WITH"] {
            assert!(!passes(expression), "{expression}");
        }
    }
}
