//! `cargo xtask test --tools`: the tools that developers and wallets come with, from npm, against a development node.
//!
//! Each step prints a line. Where npm or its registry can't be reached, the whole is skipped, with the reason.

pub(crate) mod node;
pub(crate) mod npm;
mod steps;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::failure::Failure;
use crate::setup;
use node::DevNode;
use steps::Steps;

/// What is tried, pinned.
const PACKAGES: [&str; 6] = [
    "@foundry-rs/cast@1.7.1",
    "@foundry-rs/forge@1.7.1",
    "solc@0.8.37",
    "viem@2.57.20",
    "ethers@6.17.0",
    "hardhat@2.29.1",
];

/// Files of the project in which the tools run.
const FILES: [(&str, &str); 10] = [
    ("foundry.toml", include_str!("project/foundry.toml")),
    ("solc.sh", include_str!("project/solc.sh")),
    ("src/Counter.sol", include_str!("project/src/Counter.sol")),
    ("script/Deploy.s.sol", include_str!("project/script/Deploy.s.sol")),
    ("common.mjs", include_str!("project/common.mjs")),
    ("viem.mjs", include_str!("project/viem.mjs")),
    ("ethers.mjs", include_str!("project/ethers.mjs")),
    ("metamask.mjs", include_str!("project/metamask.mjs")),
    ("hardhat/hardhat.config.js", include_str!("project/hardhat/hardhat.config.js")),
    ("hardhat/run.js", include_str!("project/hardhat/run.js")),
];

/// `test --tools [--debug]`.
pub(crate) fn test(args: &[String]) -> Result<(), Failure> {
    let debug = match args {
        [] => false,
        [flag] if flag == "--debug" => true,
        [other, ..] => return Err(Failure::usage(format!("unexpected argument '{other}' after --tools"))),
    };
    let folder = match npm::install("tools", &PACKAGES)? {
        Ok(folder) => folder,
        Err(reason) => {
            println!("skipped: tools of others: {reason}");
            return Ok(());
        }
    };
    write_project(&folder)?;
    let environment = setup::prepare()?;
    let program = node::build(&environment, debug)?;
    let data = folder.join("node");
    remove(&data)?;
    let node = DevNode::start(&program, &data, &["--slot-duration", "1s"])?;
    let mut steps = Steps::new(&folder, &node.rpc);
    steps.all();
    drop(node);
    remove(&data)?;
    println!("{} steps worked, {} failed", steps.worked, steps.failed);
    if steps.failed == 0 { Ok(()) } else { Err(Failure::work("not every tool works with the node")) }
}

fn write_project(folder: &Path) -> Result<(), Failure> {
    for (name, text) in FILES {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|error| Failure::file("create", parent, &error))?;
        fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))?;
    }
    let compiler = folder.join("solc.sh");
    fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755))
        .map_err(|error| Failure::file("make executable", &compiler, &error))
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::file("remove", folder, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
