//! Which check stands behind every unsafe block and every memory ordering of the table.
//!
//! `coverage.txt` holds rules, `place: checks`. A place is a file below `table/src`, or `file::item`; the longest that fits an
//! unsafe block counts. A check is the name of a model, `test:FILE`, `test:FILE::NAME`, `stress:SCENARIO`, or an argument in
//! quotation marks. The table made of it, `table/docs/coverage.md`, is compared with what the sources say now, so
//! it cannot go stale: an unsafe block without a rule, a rule without a block, a check that does not exist, or an ordering that no
//! model claims and no reason excuses is a failure.

use crate::Tally;
use crate::mutants::parse_survivors;
use crate::report::Table;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// The code of a source text: without comments, and without the tests at its end.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let tests = [
        "#[cfg(test)]\nmod tests {",
        "#[cfg(all(test, not(nulls_loom)))]\nmod tests {",
    ]
    .iter()
    .filter_map(|t| text.find(t))
    .min();
    text[..tests.unwrap_or(text.len())]
        .lines()
        .filter(|l| !l.trim_start().starts_with("//"))
}

/// The word behind `keyword` in a line, if it declares something.
fn declared<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let at = line.find(keyword)?;
    if at > 0 && !line[..at].ends_with(' ') {
        return None;
    }
    let rest = &line[at + keyword.len()..];
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (end > 0).then_some(&rest[..end])
}

/// Unsafe blocks and implementations of a source text, counted by the function or implementation they stand in.
fn unsafe_in(text: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut implementation = String::new();
    let mut function = String::new();
    for line in code(text) {
        let top = !line.starts_with(' ');
        let bare = line.trim();
        if top && (bare.starts_with("impl") || bare.starts_with("unsafe impl")) {
            let head = bare.trim_end_matches('{').trim_end_matches("{}").trim();
            let head = head.strip_prefix("unsafe ").unwrap_or(head);
            implementation = head.to_owned();
            function.clear();
        } else if top && bare == "}" {
            implementation.clear();
            function.clear();
        }
        if let Some(name) = declared(bare, "fn ") {
            function = name.to_owned();
        }
        let n = bare.matches("unsafe {").count() + usize::from(bare.starts_with("unsafe impl"));
        if n > 0 {
            let item = match (implementation.is_empty(), function.is_empty()) {
                (_, true) if !implementation.is_empty() => implementation.clone(),
                (true, _) => function.clone(),
                _ => {
                    // `impl<T> Trait for Type<T>`: the type's name.
                    let of = implementation.split(" for ").last().unwrap_or_default();
                    let of = of.strip_prefix("impl").unwrap_or(of);
                    let of = if of.starts_with('<') {
                        of.split_once("> ").map_or(of, |(_, t)| t)
                    } else {
                        of.trim()
                    };
                    let of = of.split(['<', ' ']).next().unwrap_or_default();
                    format!("{of}::{function}")
                }
            };
            *found.entry(item).or_default() += n;
        }
    }
    found
}

/// `name: Strength` of every named ordering.
fn orderings(text: &str) -> Vec<(String, String)> {
    text.lines()
        .skip_while(|l| !l.starts_with("orderings! {"))
        .filter_map(|l| {
            let (name, strength) = l.trim().strip_suffix(';')?.split_once(": ")?;
            (!name.contains(' ')).then(|| (name.to_owned(), strength.to_owned()))
        })
        .collect()
}

/// Names of models with the mutants that each claims, from their sources.
fn claims(dir: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut files = Vec::new();
    sources(dir, &mut files)?;
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        for part in text.split("name: \"").skip(1) {
            let Some((name, rest)) = part.split_once('"') else {
                continue;
            };
            let kills = rest
                .split_once("kills: &[")
                .filter(|(before, _)| !before.contains("body:"))
                .and_then(|(_, k)| k.split_once(']'))
                .map_or("", |(k, _)| k);
            let kills = kills.split('"').skip(1).step_by(2).map(str::to_owned);
            found.entry(name.to_owned()).or_default().extend(kills);
        }
    }
    Ok(found)
}

fn rules(text: &str) -> Result<Vec<(String, Vec<String>)>> {
    text.lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|l| {
            let (place, checks) = l
                .split_once(": ")
                .with_context(|| format!("no checks: {l}"))?;
            let mut list = Vec::new();
            let mut rest = checks.trim();
            while !rest.is_empty() {
                let end = if let Some(quoted) = rest.strip_prefix('"') {
                    2 + quoted
                        .find('"')
                        .with_context(|| format!("open quotation: {l}"))?
                } else {
                    rest.find(',').unwrap_or(rest.len())
                };
                list.push(rest[..end].trim().to_owned());
                rest = rest[end..].trim_start_matches(',').trim();
            }
            ensure!(!list.is_empty(), "no checks: {l}");
            Ok((place.to_owned(), list))
        })
        .collect()
}

/// Compares the table with the sources, and writes it if asked to.
///
/// # Errors
///
/// A file cannot be read or written. What is missing or stale is no error but counted.
pub fn run(write: bool) -> Result<Tally> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.parent().context("a workspace")?;
    let table = root.join("table");
    let mut tally = Tally::default();
    let mut fail = |what: String| {
        println!("{what}");
        tally.failed += 1;
    };

    let models = claims(&package.join("models"))?;
    let scenarios = claims(&package.join("stress"))?;
    let schedules = claims(&package.join("schedules"))?;
    let accepted = parse_survivors(&fs::read_to_string(package.join("survivors.txt"))?)?;
    let rules = rules(&fs::read_to_string(package.join("coverage.txt"))?)?;

    // Every check exists.
    let exists = |check: &str| -> bool {
        if check.starts_with('"') {
            return check.len() > 12;
        }
        if let Some(name) = check.strip_prefix("stress:") {
            return scenarios.contains_key(name);
        }
        if let Some(name) = check.strip_prefix("schedules:") {
            return schedules.contains_key(name);
        }
        if let Some(test) = check.strip_prefix("test:") {
            let (file, name) = test
                .split_once("::")
                .map_or((test, None), |(f, n)| (f, Some(n)));
            return fs::read_to_string(table.join(file)).is_ok_and(|text| {
                text.contains("#[test]") && name.is_none_or(|n| text.contains(&format!("fn {n}(")))
            });
        }
        models.contains_key(check)
    };
    for (place, checks) in &rules {
        for check in checks.iter().filter(|c| !exists(c)) {
            fail(format!("coverage.txt, {place}: there is no {check}"));
        }
    }

    // Every unsafe block has a rule, and every rule a block.
    let mut files = Vec::new();
    sources(&table.join("src"), &mut files)?;
    files.sort();
    let mut used = BTreeSet::new();
    let mut blocks = Table::new(&["file", "item", "unsafe", "checked by"]);
    let mut count = 0;
    for path in &files {
        let file = path
            .strip_prefix(table.join("src"))?
            .to_string_lossy()
            .replace('\\', "/");
        if file.ends_with("tests.rs") || file == "raw/models.rs" || file == "sync/check.rs" {
            continue;
        }
        for (item, n) in unsafe_in(&fs::read_to_string(path)?) {
            count += n;
            let place = format!("{file}::{item}");
            let rule = rules
                .iter()
                .filter(|(p, _)| *p == place || *p == file)
                .max_by_key(|(p, _)| p.len());
            let Some((p, checks)) = rule else {
                fail(format!("coverage.txt has no rule for {place} ({n} unsafe)"));
                continue;
            };
            used.insert(p.clone());
            blocks.row([
                format!("`{file}`"),
                format!("`{item}`"),
                n.to_string(),
                checks.join(", "),
            ]);
        }
    }
    for (place, _) in rules.iter().filter(|(p, _)| !used.contains(p)) {
        fail(format!("coverage.txt: no unsafe code at {place}"));
    }

    // Every named ordering is claimed, excused, or relaxed already; and nothing stronger goes unnamed.
    let order = fs::read_to_string(table.join("src/sync/order.rs"))?;
    let mut names = Table::new(&["ordering", "strength", "checked by"]);
    for (name, strength) in orderings(&order) {
        let mutant = format!("order:{name}");
        let by: Vec<String> = models
            .iter()
            .filter(|(_, kills)| kills.contains(&mutant))
            .map(|(m, _)| format!("`{m}`"))
            .collect();
        let by = match (by.is_empty(), accepted.get(&mutant)) {
            (false, _) => by.join(", "),
            (true, Some(reason)) => format!("argument: {reason}"),
            (true, None) if strength == "Relaxed" => {
                "nothing to weaken; the reason stands beside it in `sync/order.rs`".to_owned()
            }
            (true, None) => {
                fail(format!(
                    "{mutant}: no model claims it and no reason excuses it"
                ));
                continue;
            }
        };
        names.row([format!("`{name}`"), strength, by]);
    }
    for path in &files {
        let text = fs::read_to_string(path)?;
        let file = path
            .strip_prefix(table.join("src"))?
            .to_string_lossy()
            .replace('\\', "/");
        if file == "sync/order.rs" || file == "sync/check.rs" || file.ends_with("tests.rs") {
            continue;
        }
        for line in code(&text) {
            let strong = ["Acquire", "Release", "AcqRel", "SeqCst"].iter().any(|o| {
                line.contains(&format!("Ordering::{o}")) || line.contains(&format!("({o})"))
            });
            if strong && !line.contains("compiler_fence") {
                fail(format!(
                    "{file}: an ordering without a name: {}",
                    line.trim()
                ));
            }
        }
    }

    let mut text = String::from(
        "# What stands behind every unsafe block and every ordering\n\nMade by `cargo run -p loom-tests -- coverage --write`; \
         the command `lint` compares it with the sources. Checks are models of `loom-tests`, its stress scenarios \
         (`stress:`) and random schedules (`schedules:`), tests of this package (`test:`), or an argument.\n\n## Orderings\n\n",
    );
    let _ = write!(text, "{}", names.markdown());
    text += "\nWeaker than these is only `Relaxed`, with its reason beside each use.\n\n## Unsafe code\n\n";
    let _ = write!(text, "{}", blocks.markdown());
    let path = table.join("docs/coverage.md");
    if write {
        fs::write(&path, &text)?;
    } else if fs::read_to_string(&path).unwrap_or_default() != text {
        fail(
            "table/docs/coverage.md is stale: run `cargo run -p loom-tests -- coverage --write`"
                .to_owned(),
        );
    }
    println!(
        "{count} unsafe blocks and implementations, {} orderings",
        orderings(&order).len()
    );
    tally.passed += usize::from(tally.failed == 0);
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_is_found_by_item() {
        let text = "\
// unsafe { comment }
// SAFETY: x
unsafe impl<T> Sync for A<T> {}
impl<T> A<T> {
    pub fn get(&self) {
        unsafe { a() };
        b(|| unsafe { c() });
    }
}
fn free() {
    unsafe { d() }
}
#[cfg(test)]
mod tests {
    fn t() { unsafe { e() } }
}
";
        let found: Vec<_> = unsafe_in(text).into_iter().collect();
        assert_eq!(
            found,
            [
                ("A::get".to_owned(), 2),
                ("free".to_owned(), 1),
                ("impl<T> Sync for A<T>".to_owned(), 1)
            ]
        );
    }

    #[test]
    fn rules_have_checks() {
        let r = rules("# c\na.rs: x/y, \"because, so\", test:tests/a.rs::b\n").unwrap();
        assert_eq!(r[0].1, ["x/y", "\"because, so\"", "test:tests/a.rs::b"]);
        assert!(rules("a.rs\n").is_err());
    }

    #[test]
    fn orderings_are_read() {
        let text = "orderings! {\n    /// Doc: x.\n    a_b: Acquire;\n}\n";
        assert_eq!(orderings(text), [("a_b".to_owned(), "Acquire".to_owned())]);
    }
}
