//! The default command: realistic traffic through the connection tracker, on its own table and on others, side by side.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;

mod alloc;
pub(crate) mod burst;
mod plan;
mod report;
pub(crate) mod stores;
mod table;
mod worker;

use crate::workload::Workload;
use stores::StoreKind;

/// Options of the default command.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Kind of traffic
    #[arg(
        long,
        value_enum,
        default_value = "campus",
        hide_possible_values = true
    )]
    pub(crate) workload: Workload,

    /// List the kinds of traffic and stores, and exit
    #[arg(long)]
    pub(crate) list: bool,

    /// Sizes to go through, as the workload understands them (see --list): entries in the table, or connections
    #[arg(long, visible_alias = "sessions", value_name = "N,N…", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
    pub(crate) size: Vec<u64>,

    /// Packets that are measured in each round
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) packets: u64,

    /// Numbers of threads to measure with, all on the same table [default: 1 and, if there are two CPUs, 2]
    #[arg(long, value_name = "N,N…", value_delimiter = ',')]
    pub(crate) threads: Vec<NonZeroUsize>,

    /// Time to spend on measuring (preparation comes on top)
    #[arg(long, value_name = "S", default_value_t = 20.0, value_parser = seconds)]
    pub(crate) seconds: f64,

    /// Measure exactly so many rounds of each store instead
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: Option<u32>,

    /// The same seed gives the same packets
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// What holds the connections; the first one is compared with each of the others
    #[arg(long, visible_alias = "stores", value_enum, value_name = "NAME,NAME…", value_delimiter = ',', default_values_t = StoreKind::DEFAULT)]
    pub(crate) store: Vec<StoreKind>,

    /// Hand the measured packets to the tracker in bursts of so many, as poll-mode drivers do. Their times are then the tracker's alone, from headers
    /// that lie ready to updated entries, shared out equally within a burst
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=burst::MOST as i64))]
    pub(crate) burst: Option<u16>,

    /// Begin with stores that have room for nothing and grow during the warm-up, instead of stores that are sized for SIZE entries as routers are
    #[arg(long)]
    pub(crate) grow: bool,

    /// Let the tracker verify transport checksums over the whole packets, as Linux does by default
    #[arg(long)]
    pub(crate) verify_checksums: bool,

    /// Leave out measuring memory, for which each store has to go through the warm-up once more
    #[arg(long)]
    pub(crate) no_memory: bool,

    /// Print one JSON document with every round instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.0..=86_400.0).contains(&s) => Ok(s),
        _ => Err("a number of seconds from 0 to 86400".to_owned()),
    }
}

/// Set by Ctrl-C.
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs the default command.
pub(crate) fn main(options: &Options) -> ExitCode {
    if options.list {
        list();
        return ExitCode::SUCCESS;
    }
    // If there cannot be a handler, Ctrl-C ends the program the usual way.
    let _ = ctrlc::set_handler(|| {
        // Relaxed: a flag that is polled. The second Ctrl-C does not wait.
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    let report = match plan::Plan::new(options).and_then(|plan| plan.run(&STOP)) {
        Ok(report) => report,
        Err(message) => {
            eprintln!("nct: {message}");
            return ExitCode::from(2);
        }
    };
    if options.json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("nct: {error}");
                return ExitCode::from(2);
            }
        }
    } else {
        print!("{}", table::text(&report));
    }
    match (report.problems.is_empty(), report.interrupted) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(130),
        (true, false) => ExitCode::SUCCESS,
    }
}

fn list() {
    println!("Workloads (--workload):");
    for workload in Workload::value_variants() {
        describe(workload);
        let sizes: Vec<String> = workload.sizes().iter().map(u64::to_string).collect();
        println!(
            "               --size: {}; default {}",
            workload.size_means(),
            sizes.join(",")
        );
    }
    println!("\nStores (--store):");
    for store in StoreKind::value_variants() {
        describe(store);
    }
}

fn describe(value: &impl ValueEnum) {
    if let Some(value) = value.to_possible_value() {
        let help = value
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        println!("  {:<12} {help}", value.get_name());
    }
}
