//! What the kernel's tools printed during the recordings, against what this program prints of the same packets: `/proc/net/nf_conntrack` after every
//! packet, `conntrack -E -o xml,timestamp`, `conntrack -L` as lines and as XML, `conntrack -S`.
//!
//! Numbers of connections are any; remaining times may differ by a second, and those read at the end by two. `NULLS_CORPUS` names a directory with more recordings, which are then
//! compared instead; every difference is listed.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{nct, scratch, unpack_recordings};

/// Lines that had to be printed, and those that were.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    all: usize,
    right: usize,
}

/// A line with its number taken out and its remaining time and moment apart.
fn parts(line: &str) -> (String, i64) {
    // Which program asked for a change is not ours to know.
    let line = line.split(" [USERSPACE]").next().unwrap_or(line);
    let mut time = 0;
    let mut text = String::new();
    if line.starts_with('<') {
        let mut rest = line;
        for (open, close) in [
            ("<timeout>", "</timeout>"),
            ("<id>", "</id>"),
            ("<when>", "</when>"),
        ] {
            if let Some((before, behind)) = rest.split_once(open)
                && let Some((value, after)) = behind.split_once(close)
            {
                text.push_str(before);
                text.push_str(open);
                if open == "<timeout>" {
                    time = value.parse().unwrap_or(0);
                }
                rest = after;
            }
        }
        return (text + rest, time);
    }
    // The connection's number is the last word; an earlier id= is that of ICMP.
    let words: Vec<&str> = line.split_whitespace().collect();
    let numbered = words.last().is_some_and(|w| w.starts_with("id="));
    for (i, word) in words[..words.len() - usize::from(numbered)]
        .iter()
        .enumerate()
    {
        match word.parse() {
            Ok(n) if i == 4 => time = n,
            _ => {
                text.push_str(word);
                text.push(' ');
            }
        }
    }
    (text, time)
}

/// Compares lines in any order; what differs is appended to `wrong`.
fn compare(what: &str, want: &[&str], got: &[&str], slack: i64, wrong: &mut Vec<String>) -> Score {
    let sorted = |lines: &[&str]| {
        let mut all: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for l in lines {
            let (text, time) = parts(l);
            all.entry(text).or_default().push(time);
        }
        all.values_mut().for_each(|t| t.sort_unstable());
        all
    };
    let printed = got.len();
    let (want, mut got) = (sorted(want), sorted(got));
    let mut score = Score::default();
    for (text, times) in want {
        let mine = got.remove(&text).unwrap_or_default();
        score.all += times.len();
        let right = times
            .iter()
            .zip(&mine)
            .filter(|(a, b)| (*a - *b).abs() <= slack)
            .count();
        score.right += right;
        if right < times.len() || mine.len() > times.len() {
            wrong.push(format!("{what}: {text}{times:?}, printed {mine:?}"));
        }
    }
    // A line that is not as it should be is one wrong line; it shows as one that is missing and one too many.
    score.all = score.all.max(printed);
    for (text, times) in got {
        wrong.push(format!(
            "{what}: {text}{times:?} was not printed by the kernel"
        ));
    }
    score
}

fn lines<'a>(v: &'a Value, key: &str) -> Vec<&'a str> {
    v[key].as_str().expect(key).lines().collect()
}

/// Counters of all processors together.
fn stats(v: &Value) -> BTreeMap<&str, u64> {
    let mut sums = BTreeMap::new();
    for line in lines(v, "conntrack_S_final") {
        for (name, n) in line.split_whitespace().filter_map(|w| w.split_once('=')) {
            if name != "cpu" {
                *sums.entry(name).or_default() += n.parse::<u64>().expect("a number");
            }
        }
    }
    sums
}

/// The kernel's texts: with the recording, or in the repository for some of them.
fn raw_file(dir: &Path) -> PathBuf {
    let beside = dir.join("raw.json.gz");
    if beside.exists() {
        return beside;
    }
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    kept.join(dir.file_name().expect("a name"))
        .join("raw.json.gz")
}

fn raw(dir: &Path) -> Value {
    let file = fs::File::open(raw_file(dir)).expect("texts");
    serde_json::from_reader(flate2::read::GzDecoder::new(file)).expect("JSON")
}

#[test]
fn the_texts_are_the_kernels() {
    let corpus = std::env::var_os("NULLS_CORPUS").map(PathBuf::from);
    let base = corpus.unwrap_or_else(|| {
        let dir = scratch("texts-recordings");
        unpack_recordings(&dir);
        dir
    });
    let mut dirs: Vec<PathBuf> = fs::read_dir(&base)
        .expect("recordings")
        .map(|e| e.expect("readable").path())
        .filter(|d| raw_file(d).exists())
        // Fillers of a table that was full before the recording began are in the kernel's texts; ports drawn at random differ.
        .filter(|d| {
            let meta = fs::read_to_string(d.join("meta.json")).expect("meta.json");
            let meta: Value = serde_json::from_str(&meta).expect("JSON");
            meta["config"]["table_full"].is_null() && meta["config"]["nondeterministic"].is_null()
        })
        .collect();
    dirs.sort();
    assert!(dirs.len() >= 20, "{}", dirs.len());
    let out = scratch("texts");
    let names: Vec<String> = dirs.iter().map(|d| d.display().to_string()).collect();
    let mut args = vec![
        "replay",
        "--texts",
        "--out",
        out.to_str().expect("plain"),
        "--case",
    ];
    args.extend(names.iter().map(String::as_str));
    let output = nct(&args, None);
    assert!(output.status.success(), "{}", support::stderr(&output));
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    let mut wrong = Vec::new();
    for dir in &dirs {
        let name = dir
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let want = raw(dir);
        let text = fs::read_to_string(out.join(&name).join("raw.json")).expect("written");
        let got: Value = serde_json::from_str(&text).expect("JSON");
        let mut add = |key: &'static str, s: Score| {
            let sum = scores.entry(key).or_default();
            sum.all += s.all;
            sum.right += s.right;
        };
        let tables = |v: &Value| -> Vec<Vec<String>> {
            serde_json::from_value(v["proc_nf_conntrack"].clone()).expect("lines")
        };
        let (w, g) = (tables(&want), tables(&got));
        assert_eq!(w.len(), g.len(), "{name}: packets");
        for (i, (w, g)) in w.iter().zip(&g).enumerate() {
            let (w, g): (Vec<&str>, Vec<&str>) = (
                w.iter().map(String::as_str).collect(),
                g.iter().map(String::as_str).collect(),
            );
            add(
                "proc",
                compare(&format!("{name} packet {i} proc"), &w, &g, 1, &mut wrong),
            );
        }
        for (key, short, slack) in [
            ("conntrack_E_xml", "events", 1),
            ("conntrack_L_final", "list", 2),
            ("conntrack_L_xml_final", "xml", 2),
        ] {
            let s = compare(
                &format!("{name} {short}"),
                &lines(&want, key),
                &lines(&got, key),
                slack,
                &mut wrong,
            );
            add(short, s);
        }
        let (w, g) = (stats(&want), stats(&got));
        for (name_of, n) in &w {
            let right = g.get(name_of) == Some(n);
            add(
                "stats",
                Score {
                    all: 1,
                    right: usize::from(right),
                },
            );
            if !right {
                wrong.push(format!(
                    "{name} stats: {name_of}={n}, printed {:?}",
                    g.get(name_of)
                ));
            }
        }
    }
    for w in &wrong {
        eprintln!("{w}");
    }
    eprintln!("{scores:#?}");
    for (key, s) in &scores {
        assert!(s.all > 0, "{key}");
        assert!(s.right * 100 >= s.all * 99, "{key}: {s:?}");
    }
}
