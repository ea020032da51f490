//! The comparison harness: the same work for every map, measured the same way.
//!
//! [`contender`] has the maps behind one interface, [`workload`] the keys and what must come out, [`measure`] one
//! measurement in one process. The binary's subcommands put them together; the criterion benches and the instruction
//! counts use the same three.

pub mod contender;
pub mod environment;
pub mod key;
pub mod measure;
pub mod work;
pub mod workload;

/// How criterion measures here: 20 samples within three seconds for each benchmark, so that all of them are done in some minutes. Its own options
/// (`--sample-size` and so on) override that.
#[macro_export]
macro_rules! quick_criterion {
    () => {
        ::criterion::Criterion::default()
            .warm_up_time(::core::time::Duration::from_secs(1))
            .measurement_time(::core::time::Duration::from_secs(2))
            .sample_size(20)
    };
}
