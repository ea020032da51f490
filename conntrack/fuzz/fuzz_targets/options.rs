//! What a user gives `nct` as text: settings in both forms of file and on the command line, and operations of a recorded case.
#![no_main]
#![allow(dead_code)]

#[path = "../../nct/src/replay/case.rs"]
mod case;
#[path = "../../nct/src/replay/op.rs"]
mod op;
#[path = "../../nct/src/replay/settings.rs"]
mod settings;

use libfuzzer_sys::fuzz_target;
use nulls_conntrack::{Config, LockedStore, Tracker};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let ct = Tracker::new(LockedStore::<()>::new(16), Config::default());
    let set = |s: &settings::Setting| {
        let _ = ct.set_sysctl(&s.0, &s.1);
    };
    for line in text.lines() {
        if let Ok(s) = settings::assignment(line) {
            set(&s);
        }
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let _ = op::Op::parse(&words);
    }
    if let Ok(all) = settings::file(text) {
        all.iter().for_each(set);
    }
    let _ = serde_json::from_str::<case::Config>(text);
});
