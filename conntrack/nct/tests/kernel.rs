//! Against the running kernel: our ctnetlink messages make entries in it that conntrack(8) shows as we do, and a live interface gives us the
//! kernel's own table.
//!
//! Everything happens in network namespaces of single threads, which end with them. Where that is not allowed, or a tool is missing, the tests say
//! so and pass.
#![cfg(target_os = "linux")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use nulls_conntrack::ctnetlink::{
    Command as Ct, Message, ProtoRecord, Record, errno, flags, is_done,
};
use nulls_conntrack::format::{TextOptions, XmlOptions, write_line, write_xml};
use nulls_conntrack::tuple::{Tuple, ipproto};
use nulls_conntrack::{Config, NullsStore, Tracker, status};

/// Is there such a program?
fn has(tool: &str) -> bool {
    Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// Runs `test` in a network namespace of its own, if that may be.
fn in_namespace(name: &str, tools: &[&str], test: fn()) {
    if let Some(missing) = tools.iter().find(|t| !has(t)) {
        eprintln!("{name}: skipped: {missing} is not installed");
        return;
    }
    let name = name.to_owned();
    let done = thread::spawn(move || {
        if let Err(e) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("{name}: skipped: no network namespace ({e}); it needs root");
            return;
        }
        if Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status()
            .is_err()
        {
            eprintln!("{name}: skipped: ip is not installed");
            return;
        }
        if netlink().is_none() {
            eprintln!("{name}: skipped: the kernel has no ctnetlink");
            return;
        }
        test();
    });
    if let Err(panic) = done.join() {
        std::panic::resume_unwind(panic);
    }
}

fn netlink() -> Option<OwnedFd> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )
    .ok()?;
    // A kernel without the subsystem answers with an error to everything.
    let all = ask(&fd, &dump_request(Record::default()));
    all.last().is_some_and(|m| is_done(m)).then_some(fd)
}

fn dump_request(record: Record) -> Message {
    Message {
        flags: flags::REQUEST | flags::DUMP,
        ..Message::new(Ct::Get, record)
    }
}

/// Sends a request and returns the answers, up to an error or the end of a dump.
fn ask(fd: &OwnedFd, request: &Message) -> Vec<Vec<u8>> {
    let kernel = NetlinkAddr::new(0, 0);
    sendto(
        fd.as_raw_fd(),
        &request.encode(),
        &kernel,
        MsgFlags::empty(),
    )
    .expect("sent");
    let mut answers = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("an answer");
        let mut rest = &buffer[..n];
        while let Some(head) = rest.first_chunk::<4>() {
            let len = u32::from_ne_bytes(*head) as usize;
            let one = rest[..len].to_vec();
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            let end = errno(&one).is_some() || is_done(&one);
            answers.push(one);
            if end {
                return answers;
            }
        }
    }
}

fn make(record: Record) -> Message {
    Message {
        flags: flags::REQUEST | flags::ACK | flags::CREATE | flags::EXCL,
        ..Message::new(Ct::New, record)
    }
}

fn run(tool: &str, args: &[&str]) -> String {
    let output = Command::new(tool).args(args).output().expect("it runs");
    assert!(
        output.status.success(),
        "{tool} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// One entry of every kind that dumps show differently.
fn records() -> Vec<Record> {
    let v4 = |proto, a, b| Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], proto, a, b);
    let v6 = |proto, a, b| {
        let ip = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        Tuple::v6(ip(1), ip(2), proto, a, b)
    };
    let base = |t: Tuple| Record {
        tuples: [Some(t), t.invert()],
        timeout: Some(1000),
        ..Record::default()
    };
    let replied = Some(status::SEEN_REPLY | status::ASSURED);
    let mut all = vec![
        base(v4(ipproto::UDP, 9, 53)),
        base(v6(ipproto::UDP, 9, 53)),
        base(v4(ipproto::ICMP, 77, 8 << 8)),
        base(v6(ipproto::ICMPV6, 77, 128 << 8)),
        base(v4(ipproto::GRE, 0x10, 0x20)),
        base(v4(ipproto::UDPLITE, 1, 2)),
        base(v4(50, 0, 0)),
        base(v4(33, 0, 0)),
        Record {
            mark: Some(0x1234),
            zone: Some(7),
            status: replied,
            ..base(v4(ipproto::UDP, 10, 53))
        },
        Record {
            tuple_zones: [Some(5), None],
            ..base(v4(ipproto::UDP, 11, 53))
        },
        Record {
            tuple_zones: [None, Some(6)],
            status: Some(status::SEEN_REPLY | status::FIXED_TIMEOUT),
            ..base(v4(ipproto::UDP, 12, 53))
        },
        Record {
            // Translated: the reply tuple is not the mirror image.
            tuples: [
                Some(v4(ipproto::UDP, 13, 53)),
                Some(Tuple::v4(
                    [10, 0, 0, 9],
                    [203, 0, 113, 1],
                    ipproto::UDP,
                    5353,
                    4444,
                )),
            ],
            ..base(v4(ipproto::UDP, 13, 53))
        },
        Record {
            labels: Some([1 << 5, 0, 1, 1 << 31]),
            ..base(v4(ipproto::UDP, 14, 53))
        },
        Record {
            proto: Some(ProtoRecord::Sctp {
                state: 4,
                vtag: [Some(0x1122_3344), Some(0x5566_7788)],
            }),
            status: replied,
            ..base(v4(ipproto::SCTP, 3000, 36412))
        },
    ];
    for state in 1..10 {
        all.push(Record {
            proto: Some(ProtoRecord::Tcp {
                state,
                wscale: [Some(3), Some(7)],
                flags: [Some((0x0b, 0x0b)), Some((0x03, 0x0b))],
            }),
            status: replied,
            ..base(v4(ipproto::TCP, 1000 + u16::from(state), 80))
        });
    }
    all
}

/// Line without what differs between two tables: number, references and what is left of the timeout.
fn comparable(line: &str) -> String {
    line.split_whitespace()
        .filter(|w| !w.starts_with("id=") && !w.starts_with("use="))
        .enumerate()
        .map(|(i, w)| match (i, w.parse::<u32>()) {
            (4, Ok(1..=1000)) => "~",
            _ => w,
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn our_entries_live_in_the_kernel_and_its_tool_prints_them_as_we_do() {
    in_namespace("ctnetlink", &["ip", "conntrack", "nft"], || {
        let fd = netlink().expect("checked");
        // The kernel keeps labels only where a rule sets some.
        run(
            "nft",
            &[
                "add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c ct label set 5",
            ],
        );
        let ct = Tracker::new(
            NullsStore::<()>::new(1000, 64).expect("memory"),
            Config::default(),
        );
        for r in records() {
            // First into our table, then what our table says of it into the kernel's.
            let ours = ct.insert(&r, 0).expect("made");
            let told = Record::dump(&nulls_conntrack::Snapshot::of(&ours, 2, 0));
            let flags = match told.proto {
                // A dump tells flags without a mask; to set them they need one.
                Some(ProtoRecord::Tcp {
                    state,
                    wscale,
                    flags,
                }) => Some(ProtoRecord::Tcp {
                    state,
                    wscale,
                    flags: flags.map(|f| f.map(|(f, _)| (f, 0xff))),
                }),
                other => other,
            };
            let told = Record {
                proto: flags,
                ..told
            };
            let answer = ask(&fd, &make(told.clone()));
            assert_eq!(errno(&answer[0]), Some(0), "{told:?}");
            assert_eq!(errno(&ask(&fd, &make(told))[0]), Some(17), "EEXIST");
        }
        let n = records().len();
        // The kernel's dump decodes, and what we encode of it decodes the same.
        let answers = ask(&fd, &dump_request(Record::default()));
        let decoded: Vec<Message> = answers[..answers.len() - 1]
            .iter()
            .map(|a| {
                let (m, used) = Message::decode(a).expect("the kernel's message");
                assert_eq!(used, a.len());
                assert_eq!(m.encode(), *a, "byte for byte");
                m
            })
            .collect();
        assert_eq!(decoded.len(), n);
        // The tool prints the kernel's table as we print what we decoded...
        let o = TextOptions {
            extended: true,
            id: true,
            ..TextOptions::default()
        };
        let mut ours: Vec<String> = decoded
            .iter()
            .map(|m| {
                let mut line = String::new();
                write_line(&mut line, &m.record, None, o, 0).expect("a string");
                line
            })
            .collect();
        let tool = |format: &str| {
            let mut all = run("conntrack", &["-L", "-o", format]);
            all.push_str(&run("conntrack", &["-L", "-f", "ipv6", "-o", format]));
            let mut lines: Vec<String> = all.lines().map(str::to_owned).collect();
            lines.sort();
            lines.dedup();
            lines
        };
        ours.sort();
        let theirs = tool("extended,id");
        let seconds = |lines: &[String]| {
            let mut all: Vec<String> = lines.iter().map(|l| comparable_with_id(l)).collect();
            all.sort();
            all
        };
        assert_eq!(seconds(&ours), seconds(&theirs));
        // ... and as we print our own table.
        let mut own: Vec<String> = ct
            .dump(0)
            .iter()
            .map(|s| {
                let mut line = String::new();
                write_line(&mut line, &Record::dump(s), None, o, 0).expect("a string");
                comparable(&line)
            })
            .collect();
        own.sort();
        let mut theirs: Vec<String> = theirs.iter().map(|l| comparable(l)).collect();
        theirs.sort();
        assert_eq!(own, theirs);
        // XML too.
        let mut own: Vec<String> = decoded
            .iter()
            .map(|m| {
                let mut line = String::new();
                let o = XmlOptions {
                    id: true,
                    ..XmlOptions::default()
                };
                write_xml(&mut line, &m.record, None, o, 0).expect("a string");
                without_timeout(&line)
            })
            .collect();
        own.sort();
        let mut theirs: Vec<String> = tool("xml,id")
            .iter()
            .filter(|l| l.starts_with("<flow"))
            .map(|l| without_timeout(l))
            .collect();
        theirs.sort();
        assert_eq!(own, theirs);
        // Labels, by number.
        let labelled = decoded
            .iter()
            .find(|m| m.record.labels.is_some())
            .expect("labels came back");
        assert_eq!(labelled.record.labels, Some([1 << 5, 0, 1, 1 << 31]));
        // Deleting by tuple, changing, flushing by zone.
        let zone7 = Record {
            zone: Some(7),
            ..Record::default()
        };
        let flush = Message {
            flags: flags::REQUEST | flags::ACK,
            ..Message::new(Ct::Delete, zone7)
        };
        assert_eq!(errno(&ask(&fd, &flush)[0]), Some(0));
        assert_eq!(run("conntrack", &["-C"]).trim(), (n - 1).to_string());
    });
}

fn comparable_with_id(line: &str) -> String {
    line.split_whitespace()
        .enumerate()
        .map(|(i, w)| match (i, w.parse::<u32>()) {
            (4, Ok(1..=1000)) => "~",
            _ => w,
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn without_timeout(xml: &str) -> String {
    let (a, rest) = xml.split_once("<timeout>").expect("a timeout");
    let (_, b) = rest.split_once("</timeout>").expect("its end");
    format!("{a}{b}")
}

/// A program that is stopped when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lines of `conntrack -L -o extended`, without what differs from ours: timeouts may differ by the moment of reading.
fn table(text: &str) -> Vec<(String, i64)> {
    let mut lines: Vec<(String, i64)> = text
        .lines()
        // IPv6 neighbours talk unasked; the metrics were fetched over the loopback interface.
        .filter(|l| l.starts_with("ipv4") && !l.contains("src=127."))
        .map(|l| {
            let mut words: Vec<&str> = l.split_whitespace().collect();
            let timeout = words.remove(4).parse().expect("a timeout");
            // Ours has ages, because it keeps times.
            words.retain(|w| !w.starts_with("use=") && !w.starts_with("delta-time="));
            (words.join(" "), timeout)
        })
        .collect();
    lines.sort();
    lines
}

/// Timeouts of kernel and tool alike: so long that nothing ends while the test runs, however slow, and so different that a wrong one is seen.
const TIMEOUTS: [(&str, &str); 10] = [
    ("udp_timeout", "10000"),
    ("udp_timeout_stream", "20000"),
    ("icmp_timeout", "30000"),
    ("tcp_timeout_syn_sent", "40000"),
    ("tcp_timeout_syn_recv", "50000"),
    ("tcp_timeout_fin_wait", "60000"),
    ("tcp_timeout_close_wait", "70000"),
    ("tcp_timeout_last_ack", "80000"),
    ("tcp_timeout_time_wait", "90000"),
    ("tcp_timeout_close", "100000"),
];

/// Asks again and again until it is so; after a minute it will not be any more, and what follows says what is wrong.
fn wait_until(mut so: impl FnMut() -> bool) -> bool {
    for _ in 0..600 {
        if so() {
            return true;
        }
        thread::sleep(Duration::from_millis(100));
    }
    false
}

/// Frames that went over a device of this thread's namespace, both ways.
fn frames(device: &str) -> u64 {
    let all = std::fs::read_to_string("/proc/thread-self/net/dev").expect("devices");
    let line = all.lines().find_map(|l| {
        let (name, numbers) = l.split_once(':')?;
        (name.trim() == device).then_some(numbers)
    });
    let numbers: Vec<u64> = line
        .expect("the device is there")
        .split_whitespace()
        .map(|n| n.parse().expect("a number"))
        .collect();
    numbers[1] + numbers[9]
}

#[test]
fn a_live_interface_gives_the_kernels_own_table() {
    in_namespace("live", &["ip", "conntrack", "nft"], || {
        // A peer at the other end of a veth pair, in a namespace that lives as long as its program.
        let peer = Running(
            Command::new("unshare")
                .args(["-n", "sleep", "600"])
                .spawn()
                .expect("unshare is in util-linux"),
        );
        let pid = peer.0.id().to_string();
        let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
        let apart = || namespace(&pid).is_some_and(|n| Some(n) != namespace("thread-self"));
        if !wait_until(apart) {
            eprintln!("live: skipped: no second namespace");
            return;
        }
        let ip = |args: &[&str]| run("ip", args);
        ip(&[
            "link", "add", "nct0", "type", "veth", "peer", "name", "nct1",
        ]);
        ip(&["link", "set", "nct1", "netns", &pid]);
        let over = |args: &[&str]| {
            let all = [&["-t", &pid, "-n"][..], args].concat();
            run("nsenter", &all)
        };
        // No chatter of IPv6 (which the kernel may not have).
        let quiet = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 || true";
        run("bash", &["-c", quiet]);
        over(&["bash", "-c", quiet]);
        ip(&["addr", "add", "10.77.0.1/24", "dev", "nct0"]);
        ip(&["link", "set", "nct0", "up"]);
        over(&["ip", "addr", "add", "10.77.0.2/24", "dev", "nct1"]);
        over(&["ip", "link", "set", "nct1", "up"]);
        over(&["ip", "link", "set", "lo", "up"]);
        let mut settings = Vec::new();
        for (name, value) in TIMEOUTS {
            run(
                "sysctl",
                &["-qw", &format!("net.netfilter.nf_conntrack_{name}={value}")],
            );
            settings.push(format!("--sysctl={name}={value}"));
        }
        run("sysctl", &["-qw", "net.netfilter.nf_conntrack_acct=1"]);
        // A rule that makes the kernel track.
        run(
            "nft",
            &[
                "add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c ct state new accept",
            ],
        );
        let live = Command::new(env!("CARGO_BIN_EXE_nct"))
            .args(["live", "nct0", "-o", "extended"])
            .args(["--metrics", "127.0.0.1:0"])
            .args(&settings)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nct starts");
        let mut live = Running(live);
        let mut told = String::new();
        let mut stderr = std::io::BufReader::new(live.0.stderr.take().expect("piped"));
        // From then on the interface is listened to.
        while !told.contains("/metrics") {
            use std::io::BufRead;
            assert_ne!(stderr.read_line(&mut told).expect("text"), 0, "{told}");
        }
        let metrics = told
            .split("http://")
            .nth(1)
            .and_then(|r| r.split('/').next())
            .expect("an address")
            .to_owned();
        let before = frames("nct0");
        traffic(&pid);
        let list = || run("conntrack", &["-L", "-f", "ipv4", "-o", "extended"]);
        // The last acknowledgements are on their way.
        wait_until(|| {
            let tcp = table(&list());
            let mut tcp = tcp.iter().filter(|(l, _)| l.contains(" tcp "));
            tcp.all(|(l, _)| l.contains("TIME_WAIT") || l.contains("CLOSE "))
        });
        let sent = frames("nct0") - before;
        let mut page = String::new();
        wait_until(|| {
            page = fetch(&metrics);
            let seen = page
                .lines()
                .find_map(|l| l.strip_prefix("nct_packets_total "));
            seen.and_then(|n| n.parse::<u64>().ok())
                .is_some_and(|n| n >= sent)
        });
        let kernel = list();
        run("bash", &["-c", &format!("kill -INT {}", live.0.id())]);
        let mut ours = String::new();
        live.0
            .stdout
            .take()
            .expect("piped")
            .read_to_string(&mut ours)
            .expect("text");
        stderr.read_to_string(&mut told).expect("text");
        assert!(live.0.wait().expect("it ends").success(), "{told}");
        let (ours, kernel) = (table(&ours), table(&kernel));
        let names = |t: &[(String, i64)]| t.iter().map(|l| l.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&kernel));
        for proto in [" icmp ", " tcp ", " udp "] {
            assert!(kernel.iter().any(|l| l.0.contains(proto)), "{kernel:#?}");
        }
        assert_eq!(kernel.len(), 5, "{kernel:#?}");
        for (o, k) in ours.iter().zip(&kernel) {
            // They were printed at different moments.
            assert!((k.1 - o.1).abs() < 5000, "{o:?} {k:?}");
        }
        for word in [
            "nct_entries ",
            "nct_connections{proto=\"tcp\"",
            "nct_conntrack_stat_total{counter=\"invalid\"} 0",
            "# EOF",
        ] {
            assert!(page.contains(word), "no {word}: {page}");
        }
    });
}

/// An echo request to `to`, and its answer.
fn ping(to: [u8; 4]) {
    use socket2::{Domain, Protocol, SockAddr, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).expect("root");
    let mut request = [8, 0, 0, 0, 0x4e, 0x43, 0, 1];
    let check = !nulls_conntrack::checksum::fold(nulls_conntrack::checksum::sum(&request, 0));
    request[2..4].copy_from_slice(&check.to_be_bytes());
    let to = SockAddr::from(std::net::SocketAddrV4::new(to.into(), 0));
    socket.send_to(&request, &to).expect("sent");
    let mut answer = [0; 128];
    // Behind the IP header; other messages may come first.
    while (&socket).read(&mut answer).expect("an answer") < 28
        || answer[20] != 0
        || answer[24..26] != [0x4e, 0x43]
    {}
}

/// TCP to an open and to a closed port, UDP with and without an answer, an echo request and its answer, in both directions.
fn traffic(pid: &str) {
    ping([10, 77, 0, 2]);
    let server = TcpListener::bind("10.77.0.1:8080").expect("a port");
    let udp = UdpSocket::bind("10.77.0.1:5353").expect("a port");
    let client = Command::new("nsenter")
        .args(["-t", pid, "-n", "bash", "-c"])
        .arg(
            "exec 3<>/dev/tcp/10.77.0.1/8080; echo hello >&3; read -r line <&3; \
             exec 4<>/dev/udp/10.77.0.1/5353; echo question >&4; read -r -n 1 line <&4; \
             echo nobody > /dev/udp/10.77.0.1/5354; exec 3>&-; exec 4>&-",
        )
        .spawn()
        .expect("nsenter is in util-linux");
    let mut client = Running(client);
    let (mut stream, _) = server.accept().expect("a connection");
    let mut buffer = [0; 64];
    let n = stream.read(&mut buffer).expect("bytes");
    assert_eq!(&buffer[..n], b"hello\n");
    stream.write_all(b"world\n").expect("sent");
    let (_, from) = udp.recv_from(&mut buffer).expect("a datagram");
    udp.send_to(b"answer\n", from).expect("sent");
    client.0.wait().expect("it ends");
    drop(stream);
    // From here to there: ports that nobody serves.
    let refused = TcpStream::connect("10.77.0.2:9");
    assert!(refused.is_err());
    let lonely = UdpSocket::bind("10.77.0.1:0").expect("a port");
    lonely.connect("10.77.0.2:7").expect("an address");
    lonely.send(b"x").expect("sent");
    // The error that says so.
    assert!(lonely.recv(&mut buffer).is_err());
}

/// The page of metrics.
fn fetch(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("metrics are offered");
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .expect("asked");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("text");
    page
}

#[test]
fn an_interface_that_is_not_there_is_told_with_those_that_are() {
    let output = support::nct(&["live", "no-such-interface"], None);
    assert_eq!(output.status.code(), Some(1));
    let told = support::stderr(&output);
    assert!(
        told.contains("no-such-interface") && told.contains("lo"),
        "{told}"
    );
    let output = support::nct(&["live", "lo", "--metrics", "192.0.2.1:80"], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(support::stderr(&output).contains("this host only"));
    let output = support::nct(&["top", "lo"], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(support::stderr(&output).contains("terminal"));
}
