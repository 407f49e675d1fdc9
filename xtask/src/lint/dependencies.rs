//! Where dependencies come from and how members take them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Verdict, verdict};
use crate::failure::Failure;
use crate::metadata::{Metadata, Package};
use crate::run::{answers, cargo, run};

pub(crate) fn check(metadata: &Metadata) -> Result<Verdict, Failure> {
    let mut findings = sources(metadata);
    for member in metadata.members() {
        findings.extend(manifest(member)?);
    }
    let verdict = verdict(&findings)?;
    // The same configuration (.cargo/deny.toml), read by the tool it was written for, where that is installed.
    if answers(cargo().args(["deny", "--version"])) {
        run(cargo().args(["deny", "--offline", "check", "bans", "licenses", "sources"]))?;
    }
    Ok(verdict)
}

/// One registry, nothing from a repository.
fn sources(metadata: &Metadata) -> Vec<String> {
    let mut registries = BTreeSet::new();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        match package.source.as_deref() {
            None => {}
            Some(source) if source.starts_with("registry+") => {
                registries.insert(source);
            }
            Some(source) => findings.push(format!("{} {} comes from {source}", package.name, package.version)),
        }
    }
    if registries.len() > 1 {
        findings.push(format!("more than one registry: {registries:?}"));
    }
    findings
}

/// Versions stand once, in the root manifest, and every member is under the lints.
fn manifest(member: &Package) -> Result<Vec<String>, Failure> {
    let path = Path::new(&member.manifest);
    let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
    let manifest: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| Failure::work(format!("{} is no TOML", path.display())).because(error))?;
    let name = &member.name;
    let mut findings = Vec::new();
    if !manifest.contains_key("lints") {
        findings.push(format!("{name} has no [lints] section"));
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for (dependency, value) in manifest.get(section).and_then(toml::Value::as_table).into_iter().flatten() {
            let inherited = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
            // A crate whose tests switch its own features on names itself by its path.
            if !inherited && dependency != name {
                findings.push(format!("{name} takes {dependency} otherwise than by `workspace = true`"));
            }
        }
    }
    Ok(findings)
}
