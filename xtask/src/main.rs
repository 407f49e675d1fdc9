//! Development commands of the workspace: `cargo xtask help` lists them.
//!
//! Everything a contributor or a CI job runs is here and nowhere in shell scripts. The commands that compile begin with the
//! same set-up ([`setup`]): what the build needs is found, installed where that is possible without asking, and otherwise
//! named together with the exact command that installs it.
//!
//! Exit codes: 0 done, 1 the work failed, 2 wrong usage or a missing tool.

mod bench;
mod chance;
mod chaos;
mod coverage;
mod demo;
mod dev;
mod dist;
mod docs;
mod failure;
mod federation;
mod fuzz;
mod lint;
mod loom;
mod metadata;
mod run;
mod setup;
mod sim;
mod skipped;
mod test;
mod testnet;
mod tools;

use std::env;
use std::process::ExitCode;

use failure::Failure;

const USAGE: &str = "\
usage: cargo xtask <command>

  dev [--debug] [args]      set up, build in release, run a development chain in the foreground (args go to `alys-node dev`)
  test [filter args]        set up and run the test suite; with arguments only the tests they select (`-p alys-chain stale`)
  test --tools [--debug]    cast, forge, viem, ethers, hardhat and a wallet's calls from npm against a development node
  lint [check...]           formatting, clippy, rustdoc, floors, dependencies, wording, spelling; all of them, or those named
  coverage                  line coverage of the crates of floors 0 and 1; fails below 95 %
  loom                      model-check the hand-written synchronisation
  testnet [--nodes 4] [--slot-seconds 2] [--kill-every 20s] [--seconds N] [--data-dir DIR] [--keep] [--no-mine]
          [--debug | --binary FILE]
                            run a federation of processes with a merged miner and a regtest Bitcoin; ctrl-C stops all
  chaos [--seed N] [--nodes 4] [--minutes 2 | --cycles N] [--faults all | kill,power-cut,pause,…] [--rate 2]
        [--for 60s] [--within 90s] [--report DIR] [--keep] [--canary] [--debug | --binary FILE]
                            inflict faults on a federation of processes and judge it from outside; exit codes 3 a broken
                            promise, 4 no progress (within 90 s of a fault's end, or as long as said), 5 a fault that never happened, 6 the run itself failed
  fuzz [target] [--seconds N]
                            run one fuzz target or all of them, 30 seconds each unless told otherwise
  sim [options]             simulate federations with faults; `sim --help` lists the options, and
                            `sim replay`, `sim minimise`, `sim planted`; with --actors the nodes' actors run in it
  bench [group [rows]]      run the benchmarks; `bench actors tell` measures the rows with that in their names
  demo peg                  play the peg's whole story on a development chain; fails if an amount is off
  demo peg --members 5 [--deposits 20] [--burns 20] [--seed N] [--embedded]
                            the same with a federation of processes over one Bitcoin, members being killed meanwhile; on
                            Bitcoin Core where there is one
  demo peg --rotate|--fee-spike [--embedded]
                            the custody changes hands; or fees rise while payments wait
  bitcoind [--jobs N]       build a Bitcoin Core without wallet into the cache folder, where tests and demos find it
  docs [--open]             build the API documentation
  dist                      build the release archive under target/dist
  setup                     only the set-up
  env                       print the environment for running cargo directly: eval \"$(cargo xtask env)\"
";

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    let outcome = match command.as_deref() {
        Some("dev") => dev::dev(&rest),
        Some("test") => test::test(&rest),
        Some("lint") => lint::lint(&rest),
        Some("coverage") => none(&rest).and_then(|()| coverage::coverage()),
        Some("loom") => none(&rest).and_then(|()| loom::loom()),
        Some("testnet") => testnet::testnet(&rest),
        Some("chaos") => chaos::chaos(&rest),
        Some("fuzz") => fuzz::fuzz(&rest),
        Some("bench") => bench::bench(&rest),
        Some("sim") => sim::sim(&rest),
        Some("demo") => demo::demo(&rest),
        Some("bitcoind") => setup::bitcoind(&rest),
        Some("docs") => docs::docs(&rest),
        Some("dist") => none(&rest).and_then(|()| dist::dist()),
        Some("setup") => none(&rest).and_then(|()| setup::prepare().map(drop)),
        Some("env") => none(&rest).and_then(|()| setup::print_environment()),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            Ok(())
        }
        Some(other) => Err(Failure::usage(format!("unknown command '{other}'"))),
        None => Err(Failure::usage("no command given")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}

/// Refuses arguments to a command that takes none.
fn none(args: &[String]) -> Result<(), Failure> {
    match args.first() {
        None => Ok(()),
        Some(argument) => Err(Failure::usage(format!("unexpected argument '{argument}'"))),
    }
}
