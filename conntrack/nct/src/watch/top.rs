//! The busiest connections on a terminal, as top(1) shows processes.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use nulls_conntrack::{Filter, Nanos, Snapshot, status};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table};
use ratatui::{DefaultTerminal, Frame};

use super::engine::Engine;
use crate::replay::trace::proto_name;

/// What connections are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Bytes a second.
    #[default]
    Rate,
    /// Bytes in all.
    Bytes,
    /// Packets in all.
    Packets,
    /// The newest first.
    Age,
}

/// A line of the view.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flow {
    c: u32,
    proto: &'static str,
    state: String,
    from: String,
    to: String,
    packets: u64,
    bytes: u64,
    rate: f64,
    timeout: u32,
}

/// What is shown.
#[derive(Debug, Default)]
pub(crate) struct View {
    sort: Sort,
    flows: Vec<Flow>,
    entries: usize,
    seen: (u64, u64),
    packet_rate: f64,
    byte_rate: f64,
    invalid: u64,
    last: HashMap<u32, u64>,
    last_seen: (u64, u64),
    last_time: Nanos,
}

fn end(addr: std::net::IpAddr, port: u16) -> String {
    match addr {
        std::net::IpAddr::V4(a) => format!("{a}:{port}"),
        std::net::IpAddr::V6(a) => format!("[{a}]:{port}"),
    }
}

/// With a unit that keeps it short.
pub(crate) fn short(n: f64) -> String {
    const UNITS: [&str; 5] = ["", "K", "M", "G", "T"];
    let (mut n, mut unit) = (n, 0);
    while n >= 1000.0 && unit + 1 < UNITS.len() {
        n /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{n:.0}")
    } else {
        format!("{n:.1}{}", UNITS[unit])
    }
}

impl View {
    /// Looks at the table.
    pub(crate) fn update(&mut self, engine: &Engine, filter: &Filter) {
        let all = engine.numbers().dump(engine.tracker(), engine.now());
        self.invalid = engine.tracker().stats().invalid;
        self.take(
            all.into_iter().filter(|(_, s)| filter.matches_snapshot(s)),
            engine.seen(),
            engine.now(),
        );
        self.entries = engine.tracker().net().count();
    }

    fn take(&mut self, all: impl Iterator<Item = (u32, Snapshot)>, seen: (u64, u64), now: Nanos) {
        let secs = now.saturating_sub(self.last_time) as f64 / 1e9;
        let per_second = |n: u64| if secs > 0.0 { n as f64 / secs } else { 0.0 };
        let mut bytes_now = HashMap::new();
        self.flows = all
            .map(|(c, s)| {
                let [o, r] = s.counters.unwrap_or_default();
                let (packets, bytes) = (o.0 + r.0, o.1 + r.1);
                bytes_now.insert(c, bytes);
                let before = self.last.get(&c).copied().unwrap_or(0);
                let t = &s.tuples[0];
                Flow {
                    c,
                    proto: proto_name(t.protonum()),
                    state: state(&s),
                    from: end(t.src(), t.src_l4()),
                    to: end(t.dst(), t.dst_l4()),
                    packets,
                    bytes,
                    rate: per_second(bytes.saturating_sub(before)),
                    timeout: s.timeout,
                }
            })
            .collect();
        self.packet_rate = per_second(seen.0.saturating_sub(self.last_seen.0));
        self.byte_rate = per_second(seen.1.saturating_sub(self.last_seen.1));
        (self.last, self.last_seen, self.last_time) = (bytes_now, seen, now);
        self.seen = seen;
        self.entries = self.flows.len();
        self.order();
    }

    fn order(&mut self) {
        let sort = self.sort;
        self.flows.sort_by(|a, b| {
            let by = match sort {
                Sort::Rate => b.rate.total_cmp(&a.rate).then(b.bytes.cmp(&a.bytes)),
                Sort::Bytes => b.bytes.cmp(&a.bytes),
                Sort::Packets => b.packets.cmp(&a.packets),
                Sort::Age => std::cmp::Ordering::Equal,
            };
            by.then(b.c.cmp(&a.c))
        });
    }

    /// Draws it.
    pub(crate) fn draw(&self, frame: &mut Frame<'_>) {
        let [head, body, foot] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let summary = format!(
            "{} connections   {} packets/s   {}B/s   {} packets, {} invalid",
            self.entries,
            short(self.packet_rate),
            short(self.byte_rate),
            self.seen.0,
            self.invalid
        );
        frame.render_widget(Line::from(summary).bold(), head);
        let rows = self.flows.iter().take(usize::from(body.height)).map(|f| {
            Row::new([
                Cell::from(f.proto),
                Cell::from(f.state.as_str()),
                Cell::from(f.from.as_str()),
                Cell::from(f.to.as_str()),
                Cell::from(format!("{}B/s", short(f.rate))),
                Cell::from(format!("{}B", short(f.bytes as f64))),
                Cell::from(short(f.packets as f64)),
                Cell::from(format!("{}s", f.timeout)),
            ])
        });
        let widths = [
            Constraint::Length(7),
            Constraint::Length(12),
            Constraint::Fill(1),
            Constraint::Fill(1),
            Constraint::Length(10),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(8),
        ];
        let titles = [
            "PROTO", "STATE", "FROM", "TO", "RATE", "BYTES", "PACKETS", "LEFT",
        ];
        let table =
            Table::new(rows, widths).header(Row::new(titles).style(Style::new().reversed()));
        frame.render_widget(table, body);
        let sorted = match self.sort {
            Sort::Rate => "rate",
            Sort::Bytes => "bytes",
            Sort::Packets => "packets",
            Sort::Age => "age",
        };
        let keys = format!("sorted by {sorted}; r rate  b bytes  p packets  n newest  q quit");
        frame.render_widget(Line::from(keys).dim(), foot);
    }

    /// A key was pressed; true ends the view.
    pub(crate) fn key(&mut self, code: KeyCode, ctrl: bool) -> bool {
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if ctrl => return true,
            KeyCode::Char('r') => self.sort = Sort::Rate,
            KeyCode::Char('b') => self.sort = Sort::Bytes,
            KeyCode::Char('p') => self.sort = Sort::Packets,
            KeyCode::Char('n') => self.sort = Sort::Age,
            _ => return false,
        }
        self.order();
        false
    }
}

fn state(s: &Snapshot) -> String {
    use nulls_conntrack::ProtoInfo;
    match &s.proto {
        ProtoInfo::Tcp { state, .. } | ProtoInfo::Sctp { state, .. } => (*state).to_owned(),
        _ if s.status & status::ASSURED != 0 => "assured".to_owned(),
        _ if s.status & status::SEEN_REPLY != 0 => "replied".to_owned(),
        _ => "unreplied".to_owned(),
    }
}

/// The terminal while the view is on it; given back when dropped.
pub(crate) struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal.
    pub(crate) fn take() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }

    /// Draws the view, and obeys the keys pressed since the last time. True: it is to end.
    pub(crate) fn show(&mut self, view: &mut View) -> io::Result<bool> {
        while event::poll(Duration::ZERO)? {
            if let Event::Key(k) = event::read()?
                && k.is_press()
                && view.key(k.code, k.modifiers.contains(KeyModifiers::CONTROL))
            {
                return Ok(true);
            }
        }
        self.0.draw(|frame| view.draw(frame))?;
        Ok(false)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nulls_conntrack::{Conn, Tuple};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn flow(port: u16, bytes: u64) -> Snapshot {
        let t = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6, port, 80);
        Snapshot {
            tuples: [t, t.invert().expect("TCP inverts")],
            counters: Some([(bytes / 100, bytes), (0, 0)]),
            timeout: 30,
            ..Snapshot::of(&Conn::<()>::blank(), 0, 0)
        }
    }

    #[test]
    fn the_busiest_come_first_and_keys_change_that() {
        let mut v = View::default();
        v.take(
            [(1, flow(1, 5000)), (2, flow(2, 900))].into_iter(),
            (59, 5900),
            1_000_000_000,
        );
        v.take(
            [(1, flow(1, 5000)), (2, flow(2, 2900))].into_iter(),
            (79, 7900),
            2_000_000_000,
        );
        let order = |v: &View| v.flows.iter().map(|f| f.c).collect::<Vec<_>>();
        assert_eq!(order(&v), [2, 1], "2000 bytes a second beat none");
        assert!(!v.key(KeyCode::Char('b'), false));
        assert_eq!(order(&v), [1, 2]);
        assert!(!v.key(KeyCode::Char('n'), false));
        assert_eq!(order(&v), [2, 1]);
        assert!(v.key(KeyCode::Char('q'), false) && v.key(KeyCode::Char('c'), true));
        let mut t = Terminal::new(TestBackend::new(100, 8)).expect("a terminal");
        t.draw(|f| v.draw(f)).expect("drawn");
        let text = t.backend().to_string();
        for word in [
            "2 connections",
            "2.0KB/s",
            "10.0.0.1:2",
            "10.0.0.2:80",
            "30s",
            "q quit",
        ] {
            assert!(text.contains(word), "no {word}: {text}");
        }
        assert!(text.find("10.0.0.1:2") < text.find("10.0.0.1:1"));
    }

    #[test]
    fn numbers_are_short() {
        for (n, text) in [
            (0.0, "0"),
            (999.0, "999"),
            (1000.0, "1.0K"),
            (2.5e9, "2.5G"),
        ] {
            assert_eq!(short(n), text);
        }
    }
}
