//! `nct live` and `nct top`: an interface, until somebody ends it.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nulls_conntrack::Nanos;

use super::args::{Live, Show};
use super::engine::{Engine, tell_summary};
use super::flows::Recorder;
use super::live::{Interface, wall_clock};
use super::metrics::Metrics;
use super::print::Printer;
use super::top::{Screen, View};
use super::{ACCOUNTING, close, finish, kinds, listen, print_events, print_table, tell_lost};
use crate::capture::source::Record;
use crate::replay::Failure;

/// Between two looks at the clock, the screen and the metrics.
const TICK: Duration = Duration::from_millis(500);
/// Longest wait for a frame.
const WAIT: Duration = Duration::from_millis(100);

/// Runs the command.
pub(crate) fn live(o: &Live) -> ExitCode {
    finish(|out| run(o, out))
}

fn run(o: &Live, out: &mut impl Write) -> Result<bool, Failure> {
    if o.show == Show::Top && !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err("the view of the busiest connections needs a terminal"
            .to_owned()
            .into());
    }
    let mut first = ACCOUNTING.to_vec();
    if !o.checksums {
        first.push(("checksum", "0"));
    }
    let mut engine = Engine::new(&o.settings, &first)?;
    let filter = o.filter.only.clone().unwrap_or_default();
    let mut reader =
        (o.show == Show::Events || o.flows.write.is_some()).then(|| listen(&engine, &kinds(&[])));
    let mut recorder = match o.flows.write {
        Some(_) => Some(Recorder::new(&o.flows, filter.clone())?),
        None => None,
    };
    let metrics = o.metrics.map(Metrics::serve).transpose()?;
    let mut interface = Interface::open(&o.interface)?;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    // Relaxed: a flag that is looked at again and again.
    ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed))
        .map_err(|e| format!("cannot listen for Ctrl-C: {e}"))?;
    eprintln!("listening on {}; Ctrl-C ends it", o.interface);
    if let Some(m) = &metrics {
        eprintln!("metrics at {}", m.address());
    }
    let mut screen = match o.show {
        Show::Top => Some(Screen::take()?),
        _ => None,
    };
    let (mut view, mut printer) = (View::default(), Printer::new(&o.format));
    let began = Instant::now();
    let mut next_tick = began;
    let mut frames = 0;
    while !stop.load(Ordering::Relaxed)
        && o.seconds
            .is_none_or(|s| began.elapsed() < Duration::from_secs(s))
        && o.packets.is_none_or(|n| frames < n)
    {
        let frame = interface
            .next(WAIT)
            .map_err(|e| format!("{}: {e}", o.interface))?;
        if let Some(f) = frame {
            frames += 1;
            let outcome = engine.frame(&Record {
                time: Some(f.time),
                link: interface.link(),
                data: interface.data(&f),
                wire_len: f.wire_len,
            });
            let c = outcome.and_then(|o| o.entry).map(|(c, _)| c);
            if let (Some(r), Some(c)) = (&mut recorder, c) {
                r.packet(c, engine.now());
            }
        } else {
            engine.tick(Nanos::try_from(wall_clock()).unwrap_or(0));
        }
        if let Some(reader) = &mut reader {
            match &mut recorder {
                Some(r) if o.show != Show::Events => {
                    reader.by_ref().try_for_each(|e| r.event(&e))?;
                }
                Some(r) => {
                    for e in reader.by_ref() {
                        r.event(&e)?;
                        printer.event(out, &e)?;
                    }
                }
                None => print_events(reader, &filter, &mut printer, out)?,
            }
        }
        let now = Instant::now();
        if now >= next_tick {
            next_tick = now + TICK;
            out.flush()?;
            let lost = reader.as_ref().map_or(0, |r| r.lost());
            if let Some(m) = &metrics {
                m.update(engine.tracker(), engine.seen(), lost, engine.now());
            }
            if let Some(s) = &mut screen {
                view.update(&engine, &filter);
                if s.show(&mut view)? {
                    break;
                }
            }
        }
    }
    drop(screen);
    if let (Some(reader), Some(recorder)) = (&mut reader, &mut recorder) {
        close(&engine, reader, recorder)?;
    }
    match o.show {
        Show::Table => print_table(&engine, &filter, &o.format, false, out)?,
        Show::Events => printer.end(out)?,
        Show::Top | Show::None => {}
    }
    tell_summary(&engine);
    if let Some(reader) = &reader {
        tell_lost(reader);
    }
    Ok(true)
}
