"""The figures in the README of the repository: the same data as the paper's, between marks, so that nobody types them.

A mark is a pair of comments, `<!-- NAME -->` and `<!-- end NAME -->`; what stands between is replaced.
"""

import re

LEVEL = 1.05  # closer than that is level, as in the paper
OURS = ("nulls", "nulls-inline")
MAPS = (*OURS, "dashmap")
SIZES = (1000, 100_000, 1_000_000)
NOT_MAPS = ("hashbrown", "classic", "machine")
NOT_CONTESTS = ("geometry/", "pin/")


def number(x):
    """Three digits, in groups."""
    return f"{x:,.{0 if abs(x) >= 100 else 1 if abs(x) >= 10 else 2}f}"


def count(n, what):
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    return f"{words[n] if n < len(words) else n} {what}{'' if n == 1 else 's'}"


def size(n):
    return f"{n // 1_000_000} M" if n >= 1_000_000 else f"{n // 1000} k"


class Data:
    def __init__(self, data):
        self.values, self.tables, self.sources = data["values"], data["tables"], data["sources"]

    def ns(self, row, who):
        return self.values.get(f"{row}|{who}|ns")

    def peer(self, row):
        """The fastest of the other maps."""
        peers = [c for c in self.tables["contenders"].get(row, []) if not c.startswith("nulls") and c not in NOT_MAPS]
        return min(peers, key=lambda c: self.ns(row, c), default=None)

    def speedup(self, row, who=None, mine=("nulls",)):
        """How many times as fast the best of `mine` is as `who`, or as the best of the others; nothing if it was not measured."""
        who = who or self.peer(row)
        a, b = min((t for t in (self.ns(row, m) for m in mine) if t), default=None), who and self.ns(row, who)
        return b / a if a and b else None


def against(factor, who):
    """`level with`, `1.3 times as fast as`."""
    if factor > LEVEL:
        return f"{number(factor)} times as fast as {who}"
    return f"level with {who}" if factor >= 1 / LEVEL else f"slower than {who}, which is {number(1 / factor)} times as fast"


def entries(row):
    """Of a row of the tracker, the number of sessions."""
    return int(row.split("/")[3])


def lookups(d):
    """A row for each size, if it was measured."""
    lines = ["| entries (grown) | hit: `HashMap` / `InlineMap` / dashmap | miss: `HashMap` / `InlineMap` / dashmap |", "|---|---|---|"]
    for n, threads in ((1000, 1), (100_000, 1), (1_000_000, 1), (1000, 2)):
        cells = []
        for p in ("hit", "miss"):
            row = f"lookup/throughput/uniform/{p}/u64/{n}/x{threads}/grown"
            times = [d.ns(row, m) for m in MAPS]
            least = min((t for t in times if t), default=None)
            cells.append(" / ".join("–" if not t else f"**{number(t)}**" if t == least else number(t) for t in times))
        label = size(n) + (", one thread" if threads == 1 else ", two threads on one map")
        lines.append(f"| {label} | {cells[0]} | {cells[1]} |")
    return lines


def figures(d):
    """The chapter of figures."""
    run = d.sources.get("run")
    environment = run["environment"] if run else d.sources["ratios"][0]["environment"]
    cpu, cpus = environment["cpu"], environment["cpus"]
    out = [
        f"From its run on a virtual machine with {count(cpus, 'processor')} ({cpu}), shared and noisy. Look-ups, u64 → u64, the same hasher for all,",
        "one pin per look-up, ns for each; bold is the least:",
        "",
        *lookups(d),
        "",
    ]
    contests = [r for r in d.tables["run_rows"] or d.tables["contenders"] if not r.startswith(NOT_CONTESTS) and d.speedup(r)]
    ahead = [r for r in contests if d.speedup(r) >= 1]
    either = [r for r in contests if d.speedup(r, mine=OURS) >= 1]
    out.append(f"* Of the {len(contests)} rows that have a peer, `HashMap` is ahead of all peers in {len(ahead)}, the better of `HashMap` and `InlineMap` in {len(either)}.")
    for threads in (1, 2):
        for mine, name in zip(OURS, ("`HashMap`", "`InlineMap`")):
            rows = [f"{w}/u64/1000000/x{threads}/grown" for w in ("insert", "remove", "update", "replace")]
            writes = [1 / f for f in (d.speedup(r, "dashmap", (mine,)) for r in rows) if f]
            if writes:
                out.append(
                    f"* Writes with {count(threads, 'thread')}, a million entries: {name} takes {number(min(writes))} to {number(max(writes))} times dashmap's time."
                )
    mixes = [(r, d.speedup(r, mine=OURS)) for r in contests if r.startswith("mix/ycsb/") and "/x2/" in r]
    if mixes:
        won, level = sum(f > LEVEL for _, f in mixes), sum(1 / LEVEL <= f <= LEVEL for _, f in mixes)
        out.append(f"* YCSB's mixes with two threads: of {len(mixes)}, the better of the two is clearly ahead of the best peer in {won} and level in {level}.")
    bulk = [(r, d.speedup(r, "rte_hash", OURS)) for r in contests if r.startswith("peers/") and "bulk" in r and "bytes16" in r]
    bulk = [(r, f) for r, f in bulk if f]
    if bulk:
        least = min(f for _, f in bulk)
        out.append(f"* Batches of 16-byte keys with five per cent updates: the better of the two is {against(least, 'the `rte_hash` of DPDK')} (the least of {count(len(bulk), 'row')}).")
    bursts = [r for r in contests if r.startswith("established/") and "/x1/" in r and entries(r) in SIZES and d.speedup(r, "dashmap")]
    if bursts:
        told = [f"{number(d.ns(r, 'nulls'))} ns at {size(entries(r))} (dashmap {number(d.ns(r, 'dashmap'))})" for r in bursts]
        out.append(f"* The tracker alone, established UDP flows, packets in bursts, one thread: {', '.join(told)} sessions.")
    tracker = [r for r in d.tables["contenders"] if r.startswith("conntrack/campus/") and entries(r) in SIZES[1:] and d.speedup(r, "dashmap")]
    for r in tracker:
        n, threads = entries(r), int(r.split("/")[4][1:])
        out.append(
            f"* The tracker, campus traffic, {size(n)} connections, {count(threads, 'thread')}: {number(d.ns(r, 'nulls'))} ns a packet on this table,"
            f" {number(d.ns(r, 'dashmap'))} on dashmap."
        )
    growth = {(t, c): d.values.get(f"growth/x{t}|{c}|max") for t in (1, 2) for c in ("nulls", "dashmap")}
    if all(growth.values()):
        ms = {k: number(v / 1e6) for k, v in growth.items()}
        in_run = any(r.startswith("growth/") for r in d.tables["run_rows"])
        floors = [d.values[f"growth/x{t}|nulls|floor_max"] / 1e6 for t in (1, 2)]
        out += [
            f"* Growing from empty to {d.values['growth/x1|nulls|entries'] // 1_000_000} million entries, the longest single insertion took {ms[1, 'nulls']} ms with one"
            f" thread and {ms[2, 'nulls']} ms with two",
            f"  (dashmap {ms[1, 'dashmap']} and {ms[2, 'dashmap']} ms; the machine itself stalled an empty loop for up to {number(max(floors))} ms), and none moved more than"
            f" {d.values['growth/x1|nulls|most_moved']} buckets",
            "  (`growth.json`" + ("" if in_run else f", a run of its own at commit `{d.sources['growth']['environment']['commit'][:10]}`") + ").",
        ]
    return "\n".join(out)


def recordings(d):
    v = d.values
    return f"{v['recordings|packets']:,} packets of {v['recordings|compared']} recordings"


def texts(data):
    """What stands between which marks: a name, the text, and whether it is a paragraph of its own."""
    d = Data(data)
    return [("figures", figures(d), True), ("recordings", recordings(d), False)]


def filled(readme, data):
    """The README with its marks filled in."""
    for name, text, block in texts(data):
        begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
        if readme.count(begin) != 1 or readme.count(end) != 1:
            raise ValueError(f"README.md has no marks for {name}")
        between = f"\n\n{text}\n\n" if block else text
        readme = re.sub(f"{begin}.*?{end}", lambda _: begin + between + end, readme, flags=re.S)
    return readme
