//! Every kind of work runs, small, and passes its own checks.

use super::*;

fn spec(work: Work, contender: &str) -> Spec {
    Spec {
        work,
        key: KeyKind::U64,
        entries: 600,
        threads: 1,
        build: Build::Grown,
        ms: 0,
        contender: contender.into(),
    }
}

fn lookup(presence: Presence3, order: Order, mode: Mode) -> Work {
    Work::Lookup {
        presence,
        order,
        mode,
        huge_pages: true,
    }
}

fn runs(s: &Spec) {
    let sample = run(s).unwrap_or_else(|e| panic!("{}: {e:#}", s.row()));
    assert!(
        sample.values.values().all(|v| v.is_finite()) && !sample.values.is_empty(),
        "{}: {sample:?}",
        s.row()
    );
}

#[test]
fn look_ups_of_every_kind() {
    for presence in [Presence3::Hit, Presence3::Miss, Presence3::Half] {
        runs(&spec(lookup(presence, Order::Zipf, Mode::Batch), "nulls"));
    }
    for key in [KeyKind::Bytes16, KeyKind::Tuple, KeyKind::String] {
        for contender in ["nulls", "nulls-inline", "scc-index"] {
            if key == KeyKind::String && contender == "nulls-inline" {
                continue;
            }
            runs(&Spec {
                key,
                ..spec(
                    lookup(Presence3::Half, Order::Sequential, Mode::Dependent),
                    contender,
                )
            });
        }
    }
}

#[test]
fn every_mix_finds_what_it_must() {
    let ycsb = [Ycsb::A, Ycsb::B, Ycsb::C, Ycsb::D, Ycsb::F].map(|name| Mix::Ycsb { name });
    let published = [
        Published::ReadHeavy,
        Published::Exchange,
        Published::RapidGrow,
        Published::RapidGrowGrowing,
    ]
    .map(|name| Mix::Published { name });
    for mix in ycsb.into_iter().chain(published) {
        for contender in ["nulls", "nulls-inline", "nulls-type-stable"] {
            runs(&Spec {
                threads: 2,
                ..spec(Work::Mix { mix }, contender)
            });
        }
    }
}

#[test]
fn the_rest_runs() {
    for work in [
        Work::Insert,
        Work::Remove,
        Work::Update,
        Work::Replace,
        Work::Iterate,
        Work::Shrink,
        Work::Memory,
        Work::Timeline,
        Work::Growth,
        Work::Garbage,
    ] {
        runs(&spec(work, "nulls"));
        runs(&spec(work, "nulls-inline"));
    }
    for contender in ["nulls", latency::MACHINE] {
        let work = Work::Latency {
            rate: 1_000_000,
            readers: 1,
        };
        runs(&spec(work, contender));
    }
    for way in ablation::GEOMETRIES {
        runs(&spec(Work::Geometry { every_us: 20 }, way));
    }
    for way in ablation::PINS {
        runs(&spec(Work::Pin, way));
    }
    for (zipf, bulk) in [(false, true), (true, false)] {
        for (contender, key) in [
            ("nulls", KeyKind::U64),
            ("nulls-inline", KeyKind::U64),
            ("nulls-inline", KeyKind::Bytes16),
        ] {
            runs(&Spec {
                key,
                ..spec(Work::Peers { zipf, bulk }, contender)
            });
        }
    }
    let work = Work::FactorFill {
        factor: 150,
        fill: 50,
    };
    runs(&spec(work, "nulls"));
}

/// Without fractions every move asks each entry for its hash; with them hardly any does.
#[test]
fn fractions_save_hashes() {
    let hashes = |contender| {
        let spec = Spec {
            entries: 20_000,
            ..spec(Work::Fractions, contender)
        };
        run(&spec).unwrap().values["hashes_per_insert"]
    };
    let [with, without] = [ablation::FRACTIONS[0], ablation::FRACTIONS[1]].map(hashes);
    assert!(with * 3.0 < without && without > 0.5, "{with}, {without}");
}

#[test]
fn a_contender_that_does_not_exist_is_an_error() {
    assert!(run(&spec(Work::Insert, "no-such-map")).is_err());
}

#[test]
fn rows_are_told_apart() {
    let one = spec(
        lookup(Presence3::Hit, Order::Uniform, Mode::Throughput),
        "nulls",
    );
    assert_eq!(one.row(), "lookup/throughput/uniform/hit/u64/600/x1/grown");
    let other = spec(
        Work::Mix {
            mix: Mix::Ycsb { name: Ycsb::A },
        },
        "nulls",
    );
    assert_eq!(other.row(), "mix/ycsb/a/u64/600/x1/grown");
}
