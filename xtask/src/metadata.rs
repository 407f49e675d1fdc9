//! What `cargo metadata` says about the workspace and its dependencies, reduced to what the commands ask for.

use serde_json::Value;

use crate::failure::Failure;
use crate::run::{cargo, output};

/// The workspace's members and every crate they resolve to.
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

#[derive(Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) manifest: String,
    /// `None` for the members of the workspace.
    pub(crate) source: Option<String>,
    /// Features switched on in the resolved workspace.
    pub(crate) features: Vec<String>,
    /// Features that the crate declares.
    pub(crate) declared_features: Vec<String>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) development: bool,
}

pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) required_features: Vec<String>,
}

impl Metadata {
    /// Asks cargo; `arguments` are added to the call.
    pub(crate) fn load(arguments: &[&str]) -> Result<Self, Failure> {
        let text = output(cargo().args(["metadata", "--format-version=1"]).args(arguments))?;
        let document: Value = serde_json::from_str(&text)
            .map_err(|error| Failure::work("`cargo metadata` wrote no JSON").because(error))?;
        let nodes = document.get("resolve").and_then(|resolve| resolve.get("nodes"));
        let packages = list(Some(&document), "packages")
            .iter()
            .map(|package| {
                let id = text_of(package, "id");
                let node = nodes
                    .and_then(Value::as_array)
                    .and_then(|nodes| nodes.iter().find(|node| text_of(node, "id") == id));
                Package::read(package, node)
            })
            .collect();
        Ok(Self { packages })
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.source.is_none())
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Package> {
        self.members().find(|package| package.name == name)
    }
}

impl Package {
    fn read(package: &Value, node: Option<&Value>) -> Self {
        let declared = package.get("features").and_then(Value::as_object);
        Self {
            name: text_of(package, "name"),
            version: text_of(package, "version"),
            manifest: text_of(package, "manifest_path"),
            source: package.get("source").and_then(Value::as_str).map(str::to_owned),
            features: list(node, "features").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            declared_features: declared.map(|features| features.keys().cloned().collect()).unwrap_or_default(),
            dependencies: list(Some(package), "dependencies")
                .iter()
                .map(|dependency| Dependency {
                    name: text_of(dependency, "name"),
                    development: dependency.get("kind").and_then(Value::as_str) == Some("dev"),
                })
                .collect(),
            targets: list(Some(package), "targets")
                .iter()
                .map(|target| Target {
                    name: text_of(target, "name"),
                    kind: list(Some(target), "kind").first().and_then(Value::as_str).unwrap_or_default().to_owned(),
                    required_features: list(Some(target), "required-features")
                        .iter()
                        .filter_map(Value::as_str)
                        .map(str::to_owned)
                        .collect(),
                })
                .collect(),
        }
    }
}

fn text_of(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'a>(value: Option<&'a Value>, key: &str) -> &'a [Value] {
    value.and_then(|value| value.get(key)).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
