//! Prometheus metrics over HTTP, for this host only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nulls_conntrack::{Nanos, Tracker, status};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tiny_http::{Header, Response, Server};

use crate::replay::table::Table;
use crate::replay::trace::proto_name;

type Labels = Vec<(String, String)>;

/// The metrics, and the server that offers them until this is dropped.
pub(crate) struct Metrics {
    entries: Gauge,
    buckets: Gauge,
    limit: Gauge,
    flows: Family<Labels, Gauge>,
    stats: Family<Labels, Counter>,
    packets: Counter,
    bytes: Counter,
    lost: Counter,
    server: Arc<Server>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn raise(c: &Counter, to: u64) {
    c.inc_by(to.saturating_sub(c.get()));
}

impl Metrics {
    /// Begins to listen.
    pub(crate) fn serve(addr: SocketAddr) -> Result<Self, String> {
        if !addr.ip().is_loopback() {
            return Err(format!(
                "{addr}: metrics are offered on this host only (127.0.0.1 or ::1): they tell who talks to whom"
            ));
        }
        let server = Server::http(addr).map_err(|e| format!("{addr}: {e}"))?;
        let server = Arc::new(server);
        let mut registry = Registry::with_prefix("nct");
        let (entries, buckets, limit) = (Gauge::default(), Gauge::default(), Gauge::default());
        let flows = Family::<Labels, Gauge>::default();
        let stats = Family::<Labels, Counter>::default();
        let (packets, bytes, lost) = (Counter::default(), Counter::default(), Counter::default());
        registry.register("entries", "Connections in the table", entries.clone());
        registry.register("buckets", "Buckets of the table", buckets.clone());
        registry.register("entries_limit", "nf_conntrack_max", limit.clone());
        registry.register(
            "connections",
            "Connections by protocol and state",
            flows.clone(),
        );
        registry.register(
            "conntrack_stat",
            "Counters of the tracker, by their kernel names",
            stats.clone(),
        );
        registry.register("packets", "Frames seen", packets.clone());
        registry.register("bytes", "Bytes of frames seen", bytes.clone());
        registry.register(
            "events_lost",
            "Events that found the queue full",
            lost.clone(),
        );
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
            thread::Builder::new()
                .name("metrics".into())
                .spawn(move || answer(&server, &registry, &stop))
                .map_err(|e| e.to_string())?
        };
        Ok(Self {
            entries,
            buckets,
            limit,
            flows,
            stats,
            packets,
            bytes,
            lost,
            server,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("http://{}/metrics", self.server.server_addr())
    }

    /// Brings the numbers up to date.
    pub(crate) fn update(&self, ct: &Tracker<Table>, seen: (u64, u64), lost: u64, now: Nanos) {
        use nulls_conntrack::Store;
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.entries.set(number(ct.net().count()));
        self.buckets.set(number(ct.store().buckets()));
        let limit = ct.sysctl("nf_conntrack_max").and_then(|m| m.parse().ok());
        self.limit.set(limit.unwrap_or(0));
        raise(&self.packets, seen.0);
        raise(&self.bytes, seen.1);
        raise(&self.lost, lost);
        for (name, value) in ct.stats().pairs() {
            let labels = vec![("counter".to_owned(), name.to_owned())];
            raise(&self.stats.get_or_create(&labels), value);
        }
        let mut counts = std::collections::BTreeMap::<(&str, &str), i64>::new();
        ct.for_each(now, |c| {
            let proto = proto_name(c.tuple(nulls_conntrack::Direction::Original).protonum());
            let state = match c.proto_info() {
                nulls_conntrack::ProtoInfo::Tcp { state, .. }
                | nulls_conntrack::ProtoInfo::Sctp { state, .. } => state,
                _ if c.has(status::ASSURED) => "assured",
                _ if c.has(status::SEEN_REPLY) => "replied",
                _ => "unreplied",
            };
            *counts.entry((proto, state)).or_default() += 1;
        });
        self.flows.clear();
        for ((proto, state), n) in counts {
            let labels = vec![
                ("proto".to_owned(), proto.to_owned()),
                ("state".to_owned(), state.to_owned()),
            ];
            self.flows.get_or_create(&labels).set(n);
        }
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        // Relaxed: the thread looks again within a moment.
        self.stop.store(true, Ordering::Relaxed);
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(server: &Server, registry: &Registry, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(Some(request)) = server.recv_timeout(Duration::from_millis(500)) else {
            continue;
        };
        // Whoever asked may be gone: not our business.
        let _ = if request.url() == "/metrics" {
            let mut text = String::new();
            match encode(&mut text, registry) {
                Ok(()) => {
                    let mut r = Response::from_string(text);
                    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                    if let Ok(h) = Header::from_bytes("Content-Type", kind) {
                        r = r.with_header(h);
                    }
                    request.respond(r)
                }
                Err(_) => request.respond(Response::empty(500)),
            }
        } else {
            request.respond(Response::from_string("see /metrics\n").with_status_code(404))
        };
    }
}
