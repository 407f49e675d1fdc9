//! The command line of the simulator, whatever its machines are.
//!
//! Exit codes: 0 nothing found, 1 an invariant broke (or a planted mistake was not found), 2 wrong usage, 3 vacuous: an
//! enabled fault or a recovery path never happened in the whole batch.

#![allow(clippy::print_stdout, reason = "what a command line is for")]

use crate::{FaultSet, MAX_NODES, Makers, Options, Plant, Report, batch, minimise, run_with, tell};
use clap::{Args, Parser, Subcommand};
use std::{process::ExitCode, time::Instant};

/// The most seeds that a planted mistake may need.
const PLANT_SEEDS: u64 = 400;

#[derive(Parser)]
#[command(
    name = "sim",
    about = "Tries to break the chain core: the same options give the same run",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    batch: Batch,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed again, with a line for each event.
    Replay(One),
    /// Make a failing run smaller.
    Minimise(One),
    /// Plant every mistake, one after another, and say how many seeds it took to find it.
    Planted {
        /// The most seeds for each.
        #[arg(long, default_value_t = PLANT_SEEDS)]
        seeds: u64,
    },
}

#[derive(Args)]
struct Batch {
    #[command(flatten)]
    one: One,
    /// How many seeds, from `--seed` on.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Threads; all cores if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Run each seed once only, not twice to compare.
    #[arg(long)]
    once: bool,
}

#[derive(Args)]
struct One {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Members of the federation.
    #[arg(long, default_value_t = 4)]
    nodes: usize,
    /// Simulated hours of faults.
    #[arg(long)]
    hours: Option<u64>,
    /// Simulated seconds of faults.
    #[arg(long, conflicts_with = "hours")]
    seconds: Option<u64>,
    /// `all`, `none`, or names with commas; each seed's own choice if not given.
    #[arg(long)]
    faults: Option<FaultSet>,
    /// Members that break the rules; each seed's own choice, at most f, if not given.
    #[arg(long)]
    byzantine: Option<usize>,
    /// BLS in place of hashes; slow.
    #[arg(long)]
    real_signatures: bool,
    /// A mistake made on purpose.
    #[arg(long, value_parser = plant)]
    plant: Option<Plant>,
}

fn plant(name: &str) -> Result<Plant, String> {
    let names: Vec<&str> = Plant::ALL.iter().map(|plant| plant.name()).collect();
    Plant::ALL.into_iter().find(|plant| plant.name() == name).ok_or_else(|| format!("there are: {}", names.join(", ")))
}

impl One {
    fn options(&self) -> Result<Options, String> {
        if self.nodes == 0 || self.nodes > MAX_NODES {
            return Err(format!("--nodes must be 1 to {MAX_NODES}"));
        }
        Ok(Options {
            seed: self.seed,
            nodes: self.nodes,
            seconds: self.hours.map(|hours| hours * 3_600).or(self.seconds).unwrap_or(120),
            faults: self.faults.clone(),
            byzantine: self.byzantine,
            real_signatures: self.real_signatures,
            plant: self.plant,
        })
    }
}

/// Runs the process's arguments with machines of these makers.
pub fn main(makers: Makers) -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        None => many(&cli.batch, makers),
        Some(Command::Replay(one)) => one.options().map(|options| replay(&options, makers)),
        Some(Command::Minimise(one)) => one.options().map(|options| shrink(&options, makers)),
        Some(Command::Planted { seeds }) => Ok(planted(*seeds, makers)),
    };
    match outcome {
        Ok(code) => code,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn many(batch: &Batch, makers: Makers) -> Result<ExitCode, String> {
    let options = batch.one.options()?;
    let begun = Instant::now();
    let sums = batch::run_all(&options, makers, batch.seeds, batch.threads, !batch.once);
    sums.print(begun.elapsed());
    if let Some((options, violation)) = &sums.broken {
        println!("\nVIOLATED: {violation}");
        let flag = makers().flag();
        println!("  cargo xtask sim {flag}replay {options}");
        println!("  cargo xtask sim {flag}minimise {options}");
        return Ok(ExitCode::from(1));
    }
    if let Some(never) = sums.vacuous(&options, makers, batch.seeds) {
        println!("\nVACUOUS: never happened: {never}");
        return Ok(ExitCode::from(3));
    }
    Ok(ExitCode::SUCCESS)
}

fn replay(options: &Options, makers: Makers) -> ExitCode {
    let (report, story) = tell(options, makers, true);
    for line in story {
        println!("{line}");
    }
    describe(&report);
    match report.violation {
        Some(violation) => {
            println!("VIOLATED: {violation}");
            ExitCode::from(1)
        }
        None => ExitCode::SUCCESS,
    }
}

fn describe(report: &Report) {
    let trace: String = report.trace.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("faults {}; {} members break the rules", report.faults, report.byzantine);
    println!(
        "{} events in {} s, head {}, finalized {}, {} bundles, {} reorganisations",
        report.events,
        report.millis / 1_000,
        report.height,
        report.finalized,
        report.bundles,
        report.reorgs
    );
    for (fault, count) in &report.fired {
        println!("  {:<20} {count}", fault.name());
    }
    for (path, count) in &report.paths {
        println!("  {path:<20} {count}");
    }
    println!("trace {trace}");
}

fn shrink(options: &Options, makers: Makers) -> ExitCode {
    let found = minimise(options, makers, |candidate, fails| {
        println!("{} {candidate}", if fails { "fails " } else { "passes" });
    });
    match found {
        Some(smallest) => {
            println!("\ncargo xtask sim {}replay {smallest}", makers().flag());
            if let Some(violation) = run_with(&smallest, makers).violation {
                println!("VIOLATED: {violation}");
            }
            ExitCode::from(1)
        }
        None => {
            println!("this run breaks no invariant");
            ExitCode::SUCCESS
        }
    }
}

fn planted(seeds: u64, makers: Makers) -> ExitCode {
    let mut missed = 0u8;
    let possible = makers().has_actors();
    for plant in Plant::ALL.into_iter().filter(|plant| possible || !plant.is_of_actors()) {
        let caught = (1..=seeds).find_map(|seed| {
            let options = Options { plant: Some(plant), ..Options::short(seed) };
            run_with(&options, makers).violation.map(|violation| (seed, violation.invariant))
        });
        match caught {
            Some((seed, invariant)) => println!("{:<24} found by seed {seed:>3}: {invariant}", plant.name()),
            None => {
                missed += 1;
                println!("{:<24} NOT FOUND in {seeds} seeds", plant.name());
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
