//! The default command from outside.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn nct(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nct"))
        .args(args)
        .output()
        .expect("nct starts")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn every_workload_is_classified_alike_by_every_store() {
    for workload in [
        "campus",
        "sfr",
        "dns",
        "syn-flood",
        "elephants",
        "nat-ladder",
        "caida",
    ] {
        let output = nct(&[
            "--workload",
            workload,
            "--size",
            "1000",
            "--packets",
            "20000",
            "--rounds",
            "2",
            "--threads",
            "1,2",
            "--json",
        ]);
        let report = json(&output);
        assert_eq!(report["problems"], Value::Array(vec![]), "{workload}");
        assert!(output.status.success(), "{workload}");
        assert!(output.stderr.is_empty(), "quiet without a terminal");
        assert_eq!(report["workload"], workload);
        let points = report["points"].as_array().unwrap();
        assert_eq!(points.len(), 2);
        for point in points {
            let results = point["results"].as_array().unwrap();
            assert_eq!(results.len(), 2);
            assert_eq!(point["ratios"][0]["pairs"], 2);
            assert!(number(&point["ratios"][0]["median"]) > 0.0);
            for result in results {
                assert!(number(&result["bytes_per_entry"]) > 100.0, "{workload}");
                for round in result["rounds"].as_array().unwrap() {
                    let tally = round["tally"].as_object().unwrap();
                    let total: f64 = tally.values().map(number).sum();
                    assert_eq!(total, 20_000.0, "{workload}");
                    assert_eq!(tally["invalid"], 0);
                    assert!(
                        number(&tally["established"]) > 5_000.0,
                        "{workload}: {tally:?}"
                    );
                    let begun = &round["new_nanoseconds"]["median"];
                    assert_eq!(
                        begun.is_number(),
                        tally["new"] != 0,
                        "{workload}: {tally:?}"
                    );
                    let ns = &round["nanoseconds"];
                    assert!(number(&ns["median"]) <= number(&ns["p99"]));
                    assert!(number(&ns["p99"]) <= number(&ns["p999"]));
                    assert!(number(&ns["p999"]) <= number(&ns["maximum"]));
                }
            }
        }
    }
}

#[test]
fn the_table_has_the_size_that_was_asked_for() {
    for (workload, tolerance) in [
        ("campus", 0.1),
        ("sfr", 0.1),
        ("dns", 0.1),
        ("elephants", 0.0),
        ("nat-ladder", 0.0),
    ] {
        let report = json(&nct(&[
            "--workload",
            workload,
            "--size",
            "20000",
            "--packets",
            "20000",
            "--rounds",
            "1",
            "--threads",
            "1",
            "--json",
        ]));
        for result in report["points"][0]["results"].as_array().unwrap() {
            let entries = number(&result["entries"]);
            assert!(
                (entries / 20_000.0 - 1.0).abs() <= tolerance,
                "{workload}: {entries}"
            );
        }
    }
}

#[test]
fn a_full_table_stays_within_its_limit() {
    let report = json(&nct(&[
        "--workload",
        "syn-flood",
        "--size",
        "4000",
        "--packets",
        "50000",
        "--rounds",
        "1",
        "--threads",
        "1",
        "--json",
    ]));
    for result in report["points"][0]["results"].as_array().unwrap() {
        let entries = number(&result["entries"]);
        assert!(entries <= 4_000.0 && entries > 3_000.0, "{entries}");
        let tally = &result["rounds"][0]["tally"];
        // Established traffic does not suffer.
        assert!(number(&tally["established"]) > 24_000.0, "{tally}");
    }
}

#[test]
fn people_get_a_table() {
    let output = nct(&[
        "--size",
        "500",
        "--packets",
        "5000",
        "--rounds",
        "2",
        "--threads",
        "1",
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    for wanted in [
        "campus",
        "packets/s",
        "p99.9",
        "bytes/entry",
        "never answered",
        "classified the packets alike",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(output.status.success());
}

#[test]
fn the_list_names_everything() {
    let text = String::from_utf8(nct(&["--list"]).stdout).unwrap();
    for name in [
        "campus",
        "sfr",
        "dns",
        "syn-flood",
        "elephants",
        "nat-ladder",
        "caida",
        "dashmap",
    ] {
        assert!(text.contains(name), "{name}");
    }
}

#[test]
fn wrong_options_are_refused() {
    for args in [
        &["--workload", "none"][..],
        &["--size", "0"],
        &["--size", "99999999999"],
        &["--packets", "0"],
        &["--threads", "0"],
        &["--threads", "1000000"],
        &["--seconds", "nan"],
        &["--seconds", "-1"],
        &["--rounds", "0"],
        &["--store", "none"],
    ] {
        let output = nct(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

/// Waits until the process catches SIGINT and has worked for a second of processor time (if it ever does: the rest is said by what follows).
#[cfg(target_os = "linux")]
fn wait_for_work(pid: u32) {
    let proc = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    for _ in 0..1200 {
        let status = proc("status").unwrap_or_default();
        let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|m| u64::from_str_radix(m.trim(), 16).ok());
        let stat = proc("stat").unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields
            .split_whitespace()
            .nth(11)
            .and_then(|n| n.parse().ok());
        if caught.is_some_and(|m| m & 2 != 0) && ticks.is_some_and(|t: u64| t >= 100) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_run_prints_what_it_has() {
    let child = Command::new(env!("CARGO_BIN_EXE_nct"))
        .args([
            "--size",
            "500",
            "--packets",
            "5000",
            "--seconds",
            "600",
            "--json",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("nct starts");
    wait_for_work(child.id());
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill is there");
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let report = json(&output);
    assert_eq!(report["interrupted"], true);
    // How far it came is the machine's business.
    assert!(report["points"].is_array());
}

/// Bursts are classified as single packets are, every packet updates its entry, and the tracker's own time is told.
#[test]
fn bursts_find_and_update_the_same_entries() {
    let run = |more: &[&str]| {
        let mut args = vec![
            "--workload",
            "nat-ladder",
            "--size",
            "500",
            "--packets",
            "10000",
        ];
        args.extend(["--rounds", "1", "--threads", "1,2", "--json"]);
        args.extend(["--store", "nulls,dashmap,papaya,locked"]);
        args.extend(more);
        json(&nct(&args))
    };
    let (singly, bursts) = (run(&[]), run(&["--burst", "32"]));
    assert_eq!(bursts["burst"], 32);
    for report in [&singly, &bursts] {
        assert_eq!(report["problems"], Value::Array(vec![]));
        for point in report["points"].as_array().unwrap() {
            for result in point["results"].as_array().unwrap() {
                let round = &result["rounds"][0];
                assert_eq!(round["tally"]["established"], 10_000);
                assert_eq!(round["tally"]["stale"], 0);
                assert_eq!(round["entries"], 500);
                let told = round["tracker_nanoseconds"]
                    .as_f64()
                    .is_some_and(|t| t > 0.0);
                assert_eq!(told, !report["burst"].is_null());
                assert!(number(&round["tidying"]["runs"]) > 0.0);
                assert!(number(&round["tidying"]["longest_nanoseconds"]) > 0.0);
            }
        }
    }
    // Other protocols, and entries that come and go within a burst.
    let campus = json(&nct(&[
        "--workload",
        "campus",
        "--size",
        "1000",
        "--packets",
        "20000",
        "--rounds",
        "1",
        "--json",
        "--burst",
        "256",
    ]));
    assert_eq!(campus["problems"], Value::Array(vec![]));
}
