//! Lines of `/proc/net/nf_conntrack`, compared with lines of a running kernel.

use super::support::*;
use nulls_conntrack::{Store, Tracker, Zone};

with_each_store!(
    lines,
    accounting_and_timestamps,
    ipv6_in_full,
    the_applications_text
);

fn lines<St: Store>(ct: &Tracker<St>) {
    let t = |flags, seq, ack| Tcp {
        flags,
        seq,
        ack,
        win: 1000,
        ..Tcp::default()
    };
    pass(ct, &tcp(C, 40000, D, 80, &t("S", 0, 0)), 0);
    pass(ct, &tcp(D, 80, C, 40000, &t("SA", 0, 1)), 0);
    pass(ct, &tcp(C, 40000, D, 80, &t("A", 1, 1)), 0);
    assert_eq!(
        ct.proc_net_nf_conntrack(S / 2),
        "ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 \
         src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 [ASSURED] mark=0 zone=0 use=2\n"
    );
    ct.delete_if(0, |_| true);
    pass(ct, &udp(C, 5353, D, 53, 0), 0);
    assert_eq!(
        ct.proc_net_nf_conntrack(S / 2),
        "ipv4     2 udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=5353 dport=53 [UNREPLIED] \
         src=10.0.0.2 dst=10.0.0.1 sport=53 dport=5353 mark=0 zone=0 use=2\n"
    );
    ct.delete_if(0, |_| true);
    pass(ct, &icmp(C, D, 8, 0, 7, b""), 0);
    pass(ct, &icmp(D, C, 0, 0, 7, b""), 0);
    assert_eq!(
        ct.proc_net_nf_conntrack(S / 2),
        "ipv4     2 icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=7 \
         src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=7 mark=0 zone=0 use=2\n"
    );
    ct.delete_if(0, |_| true);
    pass(ct, &ip(C, D, 50, b""), 0);
    ct.for_each(0, |r| r.set_mark(77));
    assert_eq!(
        ct.proc_net_nf_conntrack(S / 2),
        "ipv4     2 unknown  50 599 src=10.0.0.1 dst=10.0.0.2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 mark=77 zone=0 use=2\n"
    );
    ct.delete_if(0, |_| true);
    pass(ct, &ip(C, D, 47, &[0, 0, 8, 0]), 0);
    assert_eq!(
        ct.proc_net_nf_conntrack(S / 2),
        "ipv4     2 gre      47 29 timeout=30, stream_timeout=180 src=10.0.0.1 dst=10.0.0.2 srckey=0x0 dstkey=0x0 [UNREPLIED] \
         src=10.0.0.2 dst=10.0.0.1 srckey=0x0 dstkey=0x0 mark=0 zone=0 use=2\n"
    );
}

fn accounting_and_timestamps<St: Store>(ct: &Tracker<St>) {
    ct.set_sysctl("nf_conntrack_acct", "1").expect("a knob");
    ct.set_sysctl("nf_conntrack_timestamp", "1")
        .expect("a knob");
    let p = udp(C, 5353, D, 53, 2);
    pass_with(ct, &p, 10 * S, |pkt| {
        let zone = Zone::one_way(3, Direction::Original);
        pkt.template = Some(std::sync::Arc::new(nulls_conntrack::Template {
            zone,
            ..Default::default()
        }));
    });
    pass(ct, &udp(D, 53, C, 5353, 1), 11 * S);
    assert_eq!(
        ct.proc_net_nf_conntrack(14 * S + S / 2),
        "ipv4     2 udp      17 26 src=10.0.0.1 dst=10.0.0.2 sport=5353 dport=53 zone-orig=3 packets=1 bytes=30 \
         src=10.0.0.2 dst=10.0.0.1 sport=53 dport=5353 packets=1 bytes=29 mark=0 delta-time=4 use=2\n"
    );
}

fn ipv6_in_full<St: Store>(ct: &Tracker<St>) {
    pass(ct, &icmp(C6, D6, 128, 0, 9, b""), 0);
    assert_eq!(
        ct.proc_net_nf_conntrack(S / 2),
        "ipv6     10 icmpv6   58 29 src=2001:0db8:0000:0000:0000:0000:0000:0001 dst=2001:0db8:0000:0000:0000:0000:0000:0002 \
         type=128 code=0 id=9 [UNREPLIED] src=2001:0db8:0000:0000:0000:0000:0000:0002 \
         dst=2001:0db8:0000:0000:0000:0000:0000:0001 type=129 code=0 id=9 mark=0 zone=0 use=2\n"
    );
}

fn the_applications_text<St: Store<User = u32>>(ct: &Tracker<St>) {
    pass(ct, &udp(C, 5353, D, 53, 2), 0);
    ct.set_formatter(|c| c.user().get().map(|u| format!("app={u}")));
    assert!(
        ct.proc_net_nf_conntrack(0)
            .ends_with("mark=0 zone=0 use=2\n")
    );
    ct.for_each(0, |r| {
        r.user().get_or_set_with(|| 5);
    });
    assert!(
        ct.proc_net_nf_conntrack(0)
            .ends_with("mark=0 zone=0 app=5 use=2\n")
    );
}

#[test]
fn the_statistics_file() {
    let ct = nulls();
    pass(&ct, &udp(C, 1, D, 2, 0)[..23], 0);
    pass(&ct, &udp(C, 1, D, 2, 0), 0);
    let text = ct.proc_net_stat_nf_conntrack();
    let (head, line) = text.split_once('\n').expect("two lines");
    assert!(
        head.starts_with("entries  clashres found new invalid ignore delete chainlength insert ")
    );
    let fields: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        (fields.len(), fields[0], fields[4]),
        (17, "00000001", "00000001")
    );
}

/// A line for each group of threads; every line has the number of all entries, and the counters add up.
#[test]
fn the_statistics_file_of_several_threads() {
    let ct = nulls();
    let short = &udp(C, 1, D, 2, 0)[..23];
    assert_eq!(ct.proc_net_stat_nf_conntrack().lines().count(), 2);
    pass(&ct, &udp(C, 1, D, 2, 0), 0);
    std::thread::scope(|s| {
        for _ in 0..5 {
            s.spawn(|| pass(&ct, short, 0));
        }
    });
    let text = ct.proc_net_stat_nf_conntrack();
    let lines: Vec<Vec<u64>> = text
        .lines()
        .skip(1)
        .map(|line| {
            let fields = line.split_whitespace();
            fields
                .map(|n| u64::from_str_radix(n, 16).expect("hexadecimal"))
                .collect()
        })
        .collect();
    assert!((1..=5).contains(&lines.len()), "{text}");
    assert!(lines.iter().all(|l| (l.len(), l[0]) == (17, 1)), "{text}");
    assert_eq!(lines.iter().map(|l| l[4]).sum::<u64>(), 5, "{text}");
}
