//! Replays recordings of a kernel through the recorder's router.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use nulls_conntrack::{Conn, Direction, Nanos, Tracker};

use super::captures::line;
use super::case::{Case, Side};
use super::op::{Filter, Op};
use super::record::{Changes, Frames};
use super::router::{Arrival, Router};
use super::table::Table;
use super::trace::Tick;
use super::{Failure, table};
use crate::capture::frame::{self, Payload};
use crate::capture::source::Capture;
use crate::cli::Replay;
use crate::store_any::AnyKind;

/// Source address of frames that the recorder sent from each side.
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 2, 2];

/// Replays every recording of `options`. `Ok(false)`: some could not be replayed, and that has been told.
pub(crate) fn run(options: &Replay, out: &mut impl Write) -> Result<bool, Failure> {
    let mut ok = true;
    for dir in &options.case {
        let done = match &options.out {
            None => case(options.store, dir, out).map(|_| ()),
            Some(base) => to_file(options.store, dir, base),
        };
        match done {
            Ok(()) => {}
            Err(Failure::Message(message)) => {
                eprintln!("nct: {message}");
                ok = false;
            }
            Err(output) => return Err(output),
        }
    }
    Ok(ok)
}

fn to_file(store: AnyKind, dir: &Path, base: &Path) -> Result<(), Failure> {
    let name = dir
        .file_name()
        .ok_or_else(|| format!("{}: a recording's directory has a name", dir.display()))?;
    let target = base.join(name);
    fs::create_dir_all(&target)?;
    let mut file = BufWriter::new(File::create(target.join("actual.jsonl"))?);
    let (frames, ticks) = case(store, dir, &mut file)?;
    file.flush()?;
    fs::write(target.join("out.pcap"), frames.into_bytes())?;
    let mut file = BufWriter::new(File::create(target.join("ticks.jsonl"))?);
    for tick in ticks {
        serde_json::to_writer(&mut file, &tick)?;
        file.write_all(b"\n")?;
    }
    file.flush()?;
    Ok(())
}

/// Replays one recording; what is not in the trace is returned.
fn case(store: AnyKind, dir: &Path, out: &mut impl Write) -> Result<(Frames, Vec<Tick>), Failure> {
    let mut case = Case::load(dir)?;
    // The number of buckets shows only when the table is full. Reading the whole table after every packet, as the
    // recorder did, is cheaper with few of them.
    if case.config.table_full.is_none() {
        case.settings.retain(|(name, _)| name != table::BUCKETS);
    }
    let place = |e: String| format!("{}: {e}", dir.display());
    let mut router = Router::new(store, &case.settings, &case.config, case.nat).map_err(place)?;
    if let Some(limit) = case.config.table_full.as_ref().and_then(|t| t.limit()) {
        router
            .set(&("nf_conntrack_max".to_owned(), limit.to_string()))
            .map_err(place)?;
    }
    router.listen();
    let mut changes = Changes::default();
    let (mut frames, mut ticks) = (Frames::new(), Vec::new());
    let mut capture = Capture::open(&case.packets).map_err(|e| e.to_string())?;
    let mut ops = case.ops.into_iter().peekable();
    let mut clock: Nanos = 0;
    let mut index: u64 = 0;
    loop {
        while let Some(op) = ops.next_if(|op| op.after < index as i64) {
            clock = clock.max(Nanos::try_from(op.time).unwrap_or(0));
            if let Some(what) = op.op {
                apply(what, &mut router, clock).map_err(place)?;
            }
            ticks.push(changes.tick(&router, op.after, clock));
        }
        let Some(record) = capture.next().map_err(|e| e.to_string())? else {
            return Ok((frames, ticks));
        };
        clock = clock.max(record.time.map_or(0, |t| Nanos::try_from(t).unwrap_or(0)));
        changes.before(&router);
        let mut outcome = match frame::decode(record.link, record.data) {
            Payload::Ip(ip) => {
                let side = side(ip.macs)
                    .ok_or_else(|| place(format!("packet {index}: unknown source address")))?;
                let arrival = Arrival {
                    family: ip.family,
                    bytes: ip.bytes,
                    side: Some(side),
                    now: clock,
                    checksum_ok: false,
                };
                Some(router.packet(&arrival))
            }
            Payload::Other | Payload::UnknownLink => None,
        };
        let sent = outcome.as_mut().map(|o| std::mem::take(&mut o.sent));
        let (entries, effects) = changes.after(&router, clock);
        let mut line = line(index, clock, outcome, Some(entries));
        line.effects = effects;
        line.out = Some(frames.add(clock, sent.unwrap_or_default()));
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
        index += 1;
    }
}

fn side(macs: Option<([u8; 6], [u8; 6])>) -> Option<Side> {
    match macs?.1 {
        CLIENT_MAC => Some(Side::Client),
        SERVER_MAC => Some(Side::Server),
        _ => None,
    }
}

fn apply(op: Op, router: &mut Router, now: Nanos) -> Result<(), String> {
    let ct = router.tracker();
    match op {
        Op::Flush => {
            ct.delete_if(now, |_| true);
        }
        Op::Delete(filter) => {
            ct.delete_if(now, |conn| wanted(&filter, conn));
        }
        Op::Sysctl(setting) => router.set(&setting)?,
        Op::AddNat(rule) => router.add_nat(&rule)?,
        Op::Update {
            sport,
            mark,
            timeout,
        } => update(ct, sport, mark, timeout, now)?,
    }
    Ok(())
}

fn update(
    ct: &Tracker<Table>,
    sport: u16,
    mark: Option<u32>,
    timeout: Option<u32>,
    now: Nanos,
) -> Result<(), String> {
    let mut result = Ok(());
    ct.for_each(now, |conn| {
        if conn.tuple(Direction::Original).src_l4() != sport {
            return;
        }
        if let Some(secs) = timeout
            && let Err(e) = ct.set_timeout(conn, secs, now)
        {
            result = Err(e.to_string());
        }
        if let Some(mark) = mark {
            conn.set_mark(mark);
        }
        ct.report_change(conn, now);
    });
    result
}

fn wanted(f: &Filter, conn: &Conn<u32>) -> bool {
    fn same<T: PartialEq>(want: Option<T>, have: T) -> bool {
        want.is_none_or(|w| w == have)
    }
    let (orig, reply) = (
        conn.tuple(Direction::Original),
        conn.tuple(Direction::Reply),
    );
    same(f.proto, orig.protonum())
        && same(f.orig_src, orig.src())
        && same(f.orig_dst, orig.dst())
        && same(f.reply_src, reply.src())
        && same(f.reply_dst, reply.dst())
        && same(f.orig_sport, orig.src_l4())
        && same(f.orig_dport, orig.dst_l4())
        && same(f.reply_sport, reply.src_l4())
        && same(f.reply_dport, reply.dst_l4())
        && same(f.mark, conn.mark())
        && same(f.zone, conn.zone().id)
}
