//! The commands that watch traffic: `nct list`, `events`, `stats` and `flows` over captures, `nct live` and `nct top` over an interface.
//!
//! All of them feed an [`engine::Engine`] and look at its table or at its events. Events come through the library's bounded queue, as they would in
//! a program with threads of its own; what it lost is told.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use nulls_conntrack::event_queue::Body;
use nulls_conntrack::events::Kind;
use nulls_conntrack::{EventQueue, EventReader, Filter, Nanos, format};

use crate::capture::source::Capture;
use crate::replay::Failure;

pub(crate) mod args;
mod engine;
mod flows;
mod ipfix;
#[cfg(target_os = "linux")]
mod live;
mod metrics;
#[cfg(feature = "parquet")]
mod parquet;
mod print;
#[cfg(target_os = "linux")]
mod run_live;
#[cfg(test)]
mod tests;
mod top;

use args::{Captures, EventWord, Events, Flows, List, Stats, StatsFormat};
use engine::{Engine, tell_summary};
use flows::Recorder;
use print::Printer;

#[cfg(target_os = "linux")]
pub(crate) use run_live::live;

/// Events that may wait. With captures they are read after every packet: only mass deletions need more room than this, and then it is told.
const QUEUE: usize = 1 << 16;

/// Counters and time stamps, which flow records need.
const ACCOUNTING: [(&str, &str); 2] = [("acct", "1"), ("timestamp", "1")];

/// Listens to the engine's events; the text beside each is the entry's number.
fn listen(engine: &Engine, kinds: &[Kind]) -> EventReader {
    let (queue, reader) = EventQueue::<u32>::new(QUEUE);
    let queue = queue
        .only(kinds)
        .with_formatter(|c| c.user().get().map(u32::to_string));
    engine.tracker().set_listener(Some(Arc::new(queue)));
    reader
}

/// What is done after every frame.
type Each<'a> = dyn FnMut(&mut Engine, Option<u32>) -> Result<(), Failure> + 'a;

/// Reads the captures; `each` is called after every frame with the number of its connection. `Ok(false)`: something was wrong and has been told.
fn feed(from: &Captures, engine: &mut Engine, each: &mut Each<'_>) -> Result<bool, Failure> {
    let mut ok = true;
    for path in &from.files {
        let bar = progress(from, path);
        let mut capture = match open(path, bar.as_ref()) {
            Ok(c) => c,
            Err(e) => {
                eprintln!("nct: {e}");
                ok = false;
                continue;
            }
        };
        loop {
            match capture.next() {
                Ok(Some(record)) => {
                    let outcome = engine.frame(&record);
                    let c = outcome.and_then(|o| o.entry).map(|(c, _)| c);
                    each(engine, c)?;
                }
                Ok(None) => break,
                Err(e) => {
                    eprintln!("nct: {e}");
                    ok = false;
                    break;
                }
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
    Ok(ok && !engine.summary().has_unknown_links())
}

/// How far a file has been read, on a terminal; small files are read before anybody could look.
fn progress(from: &Captures, path: &Path) -> Option<ProgressBar> {
    const WORTH_IT: u64 = 16 << 20;
    let len = std::fs::metadata(path).ok()?.len();
    if from.quiet || len < WORTH_IT || !io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template(
        "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
    );
    Some(ProgressBar::new(len).with_style(style.ok()?))
}

fn open(path: &Path, bar: Option<&ProgressBar>) -> Result<Capture, String> {
    match bar {
        None => Capture::open(path).map_err(|e| e.to_string()),
        Some(bar) => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|e| format!("{name}: {e}"))?;
            Capture::new(name, Box::new(bar.wrap_read(file))).map_err(|e| e.to_string())
        }
    }
}

/// `nct list`.
pub(crate) fn list(o: &List) -> ExitCode {
    finish(|out| {
        let mut engine = Engine::new(&o.from.settings, &[])?;
        let ok = feed(&o.from, &mut engine, &mut |_, _| Ok(()))?;
        let filter = o.filter.filter();
        print_table(&engine, &filter, &o.format, o.count, out)?;
        tell_summary(&engine);
        Ok(ok)
    })
}

fn print_table(
    engine: &Engine,
    filter: &Filter,
    format: &args::Format,
    count: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let now = engine.now();
    let all = engine.numbers().dump(engine.tracker(), now);
    let mut fit = all.iter().filter(|(_, s)| filter.matches_snapshot(s));
    if count {
        writeln!(out, "{}", fit.count())?;
        return Ok(());
    }
    let mut printer = Printer::new(format);
    fit.try_for_each(|(c, s)| printer.connection(out, *c, s, now))?;
    printer.end(out)
}

/// `nct events`.
pub(crate) fn events(o: &Events) -> ExitCode {
    finish(|out| {
        let mut engine = Engine::new(&o.from.settings, &[])?;
        let mut reader = listen(&engine, &kinds(&o.kinds));
        let filter = o.filter.filter();
        let mut printer = Printer::new(&o.format);
        let ok = feed(&o.from, &mut engine, &mut |_, _| {
            print_events(&mut reader, &filter, &mut printer, out)
        })?;
        printer.end(out)?;
        tell_summary(&engine);
        tell_lost(&reader);
        Ok(ok)
    })
}

fn kinds(words: &[EventWord]) -> Vec<Kind> {
    if words.is_empty() {
        return vec![Kind::New, Kind::Update, Kind::Destroy];
    }
    words
        .iter()
        .map(|w| match w {
            EventWord::New => Kind::New,
            EventWord::Updates => Kind::Update,
            EventWord::Destroy => Kind::Destroy,
        })
        .collect()
}

fn print_events(
    reader: &mut EventReader,
    filter: &Filter,
    printer: &mut Printer,
    out: &mut impl Write,
) -> Result<(), Failure> {
    for e in reader.by_ref() {
        if matches!(&e.body, Body::Connection { snapshot, .. } if filter.matches_snapshot(snapshot))
        {
            printer.event(out, &e)?;
        }
    }
    Ok(())
}

fn tell_lost(reader: &EventReader) {
    if reader.lost() > 0 {
        eprintln!("{} events were lost: the queue was full", reader.lost());
    }
}

/// `nct stats`.
pub(crate) fn stats(o: &Stats) -> ExitCode {
    finish(|out| {
        let mut engine = Engine::new(&o.from.settings, &[])?;
        let ok = feed(&o.from, &mut engine, &mut |_, _| Ok(()))?;
        let ct = engine.tracker();
        match o.output {
            StatsFormat::Conntrack => {
                let mut line = String::new();
                // Writing to a string does not fail.
                let _ = format::write_stats(&mut line, 0, &ct.stats());
                out.write_all(line.as_bytes())?;
            }
            StatsFormat::Proc => out.write_all(ct.proc_net_stat_nf_conntrack().as_bytes())?,
            StatsFormat::Json => {
                let mut all = serde_json::Map::new();
                all.insert("entries".into(), ct.net().count().into());
                for (name, value) in ct.stats().pairs() {
                    all.insert(name.into(), value.into());
                }
                serde_json::to_writer(&mut *out, &all)?;
                out.write_all(b"\n")?;
            }
        }
        tell_summary(&engine);
        Ok(ok)
    })
}

/// `nct flows`.
pub(crate) fn flows(o: &Flows) -> ExitCode {
    finish(|_| {
        let mut engine = Engine::new(&o.from.settings, &ACCOUNTING)?;
        let mut reader = listen(&engine, &[Kind::Destroy]);
        let filter = o.filter.only.clone().unwrap_or_default();
        let mut recorder = Recorder::new(&o.output, filter)?;
        let ok = feed(&o.from, &mut engine, &mut |engine, c| {
            if let Some(c) = c {
                recorder.packet(c, engine.now());
            }
            reader.by_ref().try_for_each(|e| recorder.event(&e))
        })?;
        close(&engine, &mut reader, &mut recorder)?;
        tell_summary(&engine);
        eprintln!("{} flow records", recorder.written());
        tell_lost(&reader);
        Ok(ok)
    })
}

/// What is expired and what is still open at the end.
fn close(
    engine: &Engine,
    reader: &mut EventReader,
    recorder: &mut Recorder,
) -> Result<(), Failure> {
    let now: Nanos = engine.now();
    let open = engine.numbers().dump(engine.tracker(), now);
    reader.try_for_each(|e| recorder.event(&e))?;
    recorder.finish(open, now)
}

/// Runs a command and makes its result an exit code.
fn finish(
    run: impl FnOnce(&mut BufWriter<io::StdoutLock<'static>>) -> Result<bool, Failure>,
) -> ExitCode {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let done = run(&mut out).and_then(|ok| {
        out.flush()?;
        Ok(ok)
    });
    crate::replay::exit_code(done)
}
