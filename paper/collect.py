"""Gathers every figure that the paper states into one JSON file.

Sources are what other commands of this repository wrote: the raw and derived results of `bench-results`, the tables that
`loom-tests` put into its README, and constants, models and orderings as the sources declare them. Nothing is measured
here. A figure is a number under a name; the text asks for names, and a name that is not there fails the build.

Names of timings are those of `bench-results`: `lookup/throughput/uniform/hit/u64/1000/x1/grown|dashmap|ns`, with
`…|low` and `…|high` beside `…|ns`. The full comparison wins over the small ones where both have a row.
"""

import csv
import gzip
import json
import re
import statistics
import struct
import tarfile
from pathlib import Path


class Stale(Exception):
    """What is derived does not agree with what it was derived from."""


def raw_file(results):
    """The raw results that the report is made from: a full run before a quick one, then the one begun last."""
    best = None
    for path in results.glob("*.jsonl"):
        for text in path.read_text().splitlines():
            line = json.loads(text)
            if line.get("line") == "environment":
                key = (line["plan"] == "full", line["environment"]["date"], str(path))
                best = max(best, (key, path)) if best else (key, path)
                break
    return best[1] if best else None


def full_run(results, out, tables, sources):
    """The comparison of `cargo run -p bench-results`, by way of its derived table, which must agree with the raw data.

    Rows that were planned and not measured stand in the derived table without figures; they are counted, and have no names here.
    """
    raw, derived = raw_file(results), results / "derived.csv"
    if raw is None or not derived.exists():
        return None
    samples, curves, begins, done, failed = {}, {}, [], set(), set()
    for text in raw.read_text().splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue  # the last line of a run that was cut short
        if line["line"] == "environment":
            begins.append(line)
            continue
        contender = line["spec"]["contender"]
        work = json.dumps(line["spec"], sort_keys=True)
        if line["line"] == "failure":
            failed.add((work, line["repetition"]))
        elif line["line"] == "sample":
            done.add((work, line["repetition"]))
            for metric, value in line.get("values", {}).items():
                if isinstance(value, (int, float)):
                    samples.setdefault((contender, metric, work), []).append(value)
            for name, points in line.get("series", {}).items():
                curves.setdefault((row_of(line["spec"]), contender, name), []).append(points)
    # The median of each measurement, whatever row it belongs to.
    medians = {}
    for (contender, metric, _), values in samples.items():
        medians.setdefault((contender, metric, len(values)), []).append(statistics.median(values))
    measured, unmeasured = set(), set()
    for row in csv.DictReader(derived.open()):
        n = int(row["n"])
        if n == 0:
            unmeasured.add(row["row"])
            continue
        measured.add(row["row"])
        name, median = f"{row['row']}|{row['contender']}|{row['metric']}", float(row["median"])
        out[name], out[name + ".low"], out[name + ".high"], out[name + ".n"] = median, float(row["low95"]), float(row["high95"]), n
        if not any(abs(v - median) <= 1e-9 * max(1.0, abs(v)) for v in medians.get((row["contender"], row["metric"], n), [])):
            raise Stale(f"{derived.name} has {name} = {median}, which {n} samples of {raw.name} do not give: run the report again")
    # Of the curves of several processes the one with the middle maximum, as the report has it.
    for (row, contender, name), all_ in curves.items():
        all_.sort(key=lambda points: max((p[1] for p in points), default=0))
        tables.setdefault("curves", {}).setdefault(f"{row}|{name}", {})[contender] = all_[(len(all_) - 1) // 2]
    sources["run"] = {
        "file": raw.name,
        "plan": "full" if any(b["plan"] == "full" for b in begins) else begins[-1]["plan"],
        "environment": begins[-1]["environment"],
        "busy_ok": any(b.get("busy_ok") for b in begins),
        "versions": begins[-1].get("versions", []),
        "failures": len(failed - done),
        "rows": len(measured | unmeasured),
        "unmeasured": len(unmeasured - measured),
    }
    tables["run_rows"] = sorted(measured)
    sources["run"]["partial"] = bool(unmeasured)
    counts = [v for k, v in out.items() if k.endswith("|ns.n")]
    if counts:
        out["run|least_n"], out["run|most_n"] = min(counts), max(counts)
    return sources["run"]


def row_of(spec):
    """The name of a measurement that notes a curve, as the report names its row."""
    work = spec["work"]
    kind = [work["kind"]] + [f"{k}{work[k]}" for k in ("rate", "readers") if k in work]
    return "/".join([*kind, spec["key"], str(spec["entries"]), f"x{spec['threads']}", spec["build"]])


def ratios(results, out, sources):
    """The small comparison with dashmap: `ratios*.json`, for rows that the full run has not."""
    measured = {key.split("|")[0] for key in out}
    for path in sorted(results.glob("ratios*.json")):
        data = json.loads(path.read_text())
        sources.setdefault("ratios", []).append({"file": path.name, "environment": data["environment"]})
        for row in data["rows"]:
            figure = row["figure"]
            work = f"lookup/throughput/uniform/{figure}" if figure in ("hit", "miss") else figure
            name = f"{work}/u64/{row['entries']}/x{row['threads']}/{row['build']}"
            if name in measured:
                continue  # contenders of one row are of one run
            for contender, times in row["nanoseconds"].items():
                key = f"{name}|{contender}|ns"
                out[key] = statistics.median(times)
                out[key + ".low"], out[key + ".high"], out[key + ".n"] = min(times), max(times), len(times)


def growth(results, out, sources):
    """Single insertions while a map grows: `growth.json`, which the report derives. Of several growths the median, and of maxima the largest."""
    path = results / "growth.json"
    if not path.exists():
        return
    data = json.loads(path.read_text())
    sources["growth"] = {"file": path.name, "environment": data["environment"]}
    groups = {}
    for g in data["growths"]:
        groups.setdefault((g["contender"], g["threads"]), []).append(g)
    for (contender, threads), runs in groups.items():
        name = f"growth/x{threads}|{contender}"
        out[f"{name}|entries"] = runs[0]["entries"]
        out[f"{name}|runs"] = len(runs)
        out[f"{name}|seconds"] = statistics.median(r["seconds"] for r in runs)
        for q in ("p50", "p99", "p99_9", "p99_99"):
            told = [r["insert"][q] for r in runs if r["insert"][q] is not None]
            if told:
                out[f"{name}|{q}"] = statistics.median(told)
        for role in ("insert", "floor"):
            told = [r[role]["max"] for r in runs if r[role]["max"] is not None]
            if told:
                out[f"{name}|{'max' if role == 'insert' else 'floor_max'}"] = max(told)
        moved = [r["most_moved"] for r in runs if r["most_moved"] is not None]
        if moved:
            out[f"{name}|most_moved"] = max(moved)


def instructions(results, out, sources):
    """Instruction counts: `instructions.json`."""
    path = results / "instructions.json"
    if not path.exists():
        return
    data = json.loads(path.read_text())
    sources["instructions"] = {"file": path.name, "environment": data["environment"]}
    for row, counts in data["counts"].items():
        for metric, value in counts.items():
            out[f"count/{row}|{metric}"] = value


CONSTANTS = {
    # name: (file, pattern); `if cfg!(nulls_loom) { small } else { real }` yields the real one.
    "slots": ("table/src/tags.rs", r"const SLOTS: usize = if cfg!\(nulls_loom\) \{ 2 \} else \{ (\d+) \}"),
    "share": ("table/src/generations/mod.rs", r"const SHARE: usize = if cfg!\(nulls_loom\) \{ 1 \} else \{ (\d+) \}"),
    "slice_kib": ("table/src/generations/mod.rs", r"const SLICE: usize = (\d+) << 10"),
    "fill": ("table/src/generations/mod.rs", r"const FILL: usize = if cfg!\(nulls_loom\) \{ 1 \} else \{ (\d+) \}"),
    "fraction_bits": ("table/src/raw/buckets.rs", r"const FRACTION_BITS: u32 = (\d+)"),
    "batch": ("table/src/raw/find.rs", r"const BATCH: usize = (\d+)"),
    "retire_batch": ("table/src/rcu/garbage.rs", r"const MAX_BATCH: usize = if cfg!\(nulls_loom\) \{ 1 \} else \{ (\d+) \}"),
    "live_seeds": ("conntrack/nct/tests/live/main.rs", r'setting\("NCT_LIVE_SEEDS", (\d+)\)'),
    "live_packets": ("conntrack/nct/tests/live/main.rs", r'setting\("NCT_LIVE_PACKETS", (\d+)\)'),
    "slab_offset_bits": ("table/src/slab/mod.rs", r"const OFFSET_BITS: u32 = if cfg!\(nulls_loom\) \{ 3 \} else \{ (\d+) \}"),
}


def constants(root, out):
    """Constants of the design, as the sources have them."""
    for name, (file, pattern) in CONSTANTS.items():
        found = re.search(pattern, (root / file).read_text())
        if found is None:
            raise Stale(f"{file} no longer declares what the paper calls {name}")
        out[f"const|{name}"] = int(found[1])


def section(text, name):
    """The lines of a generated table of the README: lists of cells, without the head."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end {name} -->", text, re.S)
    if found is None:
        return [], ""
    rows = []
    for line in found[1].splitlines():
        if line.startswith("|") and not set(line) <= set("|- "):
            rows.append([c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows, found[1]


def number(text):
    found = re.search(r"\d[\d,]*(\.\d+)?", text)
    return float(found[0].replace(",", "")) if found else None


def declared_models(folder):
    """Names of the models in the sources, those wrong on purpose aside."""
    names = set()
    for path in sorted(folder.rglob("*.rs")):
        text = path.read_text()
        names.update(re.findall(r'^\s+name: "([a-z0-9-]+/[a-z0-9-]+)"', text, re.M))
        for pair in re.findall(r'pair!\(\s*"([a-z0-9-]+)"', text):
            names.update((f"kernel/{pair}", f"kernel/{pair}-bug"))
    return names


def models(root, out, tables, sources):
    """What `loom-tests` declares, and the tables of its last whole runs."""
    folder = root / "loom-tests"
    names = declared_models(folder / "models")
    kernel = {n for n in names if n.startswith("kernel/")}
    litmus = {n for n in names if n.startswith("litmus/")}
    shipped = names - kernel - litmus
    out["models|declared"] = len(shipped)
    out["models|litmus"] = len(litmus)
    out["models|kernel"] = len(kernel)
    bugs = {m[1] for n in kernel if (m := re.match(r"kernel/(g\d+)-.*-bug$", n))}
    out["models|kernel_bugs"] = len(bugs)
    out["models|files"] = len({n.split("/")[0] for n in shipped})
    for file in sorted({n.split("/")[0] for n in shipped}):
        tables.setdefault("models_by_file", []).append([file, sum(n.startswith(file + "/") for n in shipped)])
    tables["model_names"] = sorted(names)
    tables.setdefault("curves", {})
    tables.setdefault("run_rows", [])

    order = (root / "table/src/sync/order.rs").read_text()
    orders = re.findall(r"^    ([a-z_0-9]+): (Relaxed|Acquire|Release|AcqRel|SeqCst);", order, re.M)
    seeded = {p: mutants_in(root / p) for p in ("table/src", "conntrack/src")}
    bugs = {m for p in seeded.values() for m in p if not m.startswith("order:")}
    weakened = {f"order:{n}" for n, o in orders if o != "Relaxed"} | {m for p in seeded.values() for m in p if m.startswith("order:")}
    out["orderings|all"] = len(orders)
    out["orderings|strong"] = len(weakened)
    out["orderings|table"] = sum(o != "Relaxed" for _, o in orders)
    out["mutants|seeded"] = len(bugs)
    out["mutants|all"] = len(bugs | weakened)
    survivors = [l for l in (folder / "survivors.txt").read_text().splitlines() if l.strip() and not l.startswith("#")]
    out["mutants|excused"] = len(survivors)

    coverage = root / "table/docs/coverage.md"
    if coverage.exists():
        rows = [l for l in coverage.read_text().split("## Unsafe code")[-1].splitlines() if l.startswith("| `")]
        out["unsafe|places"] = len(rows)
        out["unsafe|blocks"] = sum(int(l.split("|")[3]) for l in rows)

    readme = (folder / "README.md").read_text()
    rows, _ = section(readme, "models")
    rows = [r for r in rows if r[0].startswith("`")]
    run = {r[0].strip("`") for r in rows}
    if run:
        if odd := run - litmus - shipped:
            raise Stale(f"loom-tests/README.md lists models that the sources lack: {sorted(odd)[:5]}; `fast --write` writes it anew")
        if lacking := shipped - run:  # newer than the record: the text marks them
            out["models|unrecorded"] = len(lacking)
        head = re.search(r"<!-- models -->\n(\|.*)", readme)[1]
        at = [c.strip() for c in head.split("|")[1:-1]].index("executions")
        out["models|executions"] = sum(number(r[at]) or 0 for r in rows)
        out["models|seconds"] = sum(number(r[at + 1]) or 0 for r in rows if r[at + 1].endswith(" s"))
        for entry in tables["models_by_file"]:
            if own := [r for r in rows if r[0].startswith(f"`{entry[0]}/")]:
                entry.append(sum(number(r[at]) or 0 for r in own))
        sources["models"] = "loom-tests/README.md"
    rows, _ = section(readme, "full")
    rows = [r for r in rows if r[0].strip("`") in shipped]
    if rows:
        out["models|full_models"] = len(rows)
        out["models|full_executions"] = sum(number(r[2]) or 0 for r in rows)
        out["models|full_seconds"] = sum(number(r[3]) or 0 for r in rows if r[3].endswith(" s"))
        out["models|full_most"] = max(number(r[2]) or 0 for r in rows)
    rows, _ = section(readme, "kernel")
    if rows:
        # Name, what holds once it is fixed, executions of the fixed variant; those with both variants.
        both = [r for r in rows if r[0].startswith("`") and "executions" in r[2] and r[3].startswith("caught")]
        tables["kernel"] = [[r[0].strip("`").removeprefix("kernel/"), r[1], int(number(r[2]))] for r in both]
        tables["kernel"].sort(key=lambda r: int(re.match(r"g(\d+)", r[0])[1]))
    matrix(readme, bugs | weakened, out, tables, sources)
    stress(readme, out)
    other_tools(readme, out)


def mutants_in(folder):
    """The names of the bugs seeded in the sources below a folder."""
    names = set()
    for path in folder.rglob("*.rs"):
        for line in path.read_text().splitlines():
            if not line.lstrip().startswith("//"):
                names.update(re.findall(r'mutant\("([^"]+)"', line))
    return names


# Which part of the code a mutant breaks, by the beginning of its name.
PARTS = {
    "lines and look-up": ("tag", "handle", "head", "line", "link", "unlink", "find", "write"),
    "bucket's ticket": ("ticket",),
    "table's latch": ("latch",),
    "resize": ("next", "watermark", "wanted", "resize"),
    "grace periods": ("rcu",),
    "pool and slab": ("pool", "slab", "lock"),
    "capacity, cursors": ("count", "cursor", "step"),
    "entries in buckets": ("inline",),
    "tracker": ("ct", "conn"),
}


def part_of(mutant):
    word = re.match(r"[a-z]+", mutant.removeprefix("order:"))[0]
    for part, words in PARTS.items():
        if word in words or word.rstrip("s") in words:
            return part
    return "others"


def matrix(readme, mutants, out, tables, sources):
    """The kill matrix, if a whole run of it is recorded; of no mutants but those that the sources have."""
    rows, text = section(readme, "matrix")
    rows = [[c.strip("`") for c in r] for r in rows if ":" in r[0]]
    if not rows:
        return
    names = {r[0] for r in rows}
    if odd := names - mutants:
        raise Stale(f"the kill matrix in loom-tests/README.md has mutants that the sources lack ({', '.join(sorted(odd)[:4])}): run it again")
    if untried := mutants - names:  # newer than the record: the text marks them
        out["matrix|untried"] = len(untried)
    verdict = {r[0]: r[1] for r in rows}
    caught = {n for n, v in verdict.items() if v == "caught"}
    excused = {n for n, v in verdict.items() if "with reason" in v}
    out["matrix|tried"], out["matrix|caught"], out["matrix|excused"] = len(names), len(caught), len(excused)
    out["matrix|open"] = len(names) - len(caught) - len(excused)
    out["matrix|orderings"] = sum(n.startswith("order:") for n in caught)
    out["matrix|models"] = len({r[4] for r in rows if r[0] in caught})
    parts = {}
    for n in sorted(names):
        sums = parts.setdefault(part_of(n), [0, 0, 0, 0, 0])
        column = 0 if n.startswith("order:") else 2
        sums[column] += 1
        sums[column + 1] += n in caught
        sums[4] += n not in caught
    order = [*PARTS, "others"]
    tables["matrix"] = [[p, *parts[p]] for p in order if p in parts]
    reasons = dict(re.findall(r"^\* `([^`]+)` survives: (.*)$", text, re.M))
    tables["survivors"] = [[n, reasons.get(n, "")] for n in sorted(names - caught)]
    sources["matrix"] = "loom-tests/README.md"


def stress(readme, out):
    """Real threads: scenarios, and seeded bugs that they were shown."""
    rows, _ = section(readme, "stress")
    scenarios = [r for r in rows if r[0].startswith("`")]
    bugs = [r for r in rows if ":" in r[0] and not r[0].startswith("`")]
    if scenarios:
        out["stress|scenarios"] = len(scenarios)
    if bugs:
        out["stress|bugs"], out["stress|caught"] = len(bugs), sum(r[4] == "caught" for r in bugs)


def other_tools(readme, out):
    """Random schedules and sanitizers: what ran, and how it ended."""
    rows, _ = section(readme, "shuttle")
    scenarios = [r for r in rows if r[0].startswith("`") and len(r) == 5]
    bugs = [r for r in rows if ":" in r[0] and len(r) == 6]
    if scenarios:
        out["shuttle|scenarios"], out["shuttle|schedules"] = len(scenarios), sum(number(r[3]) or 0 for r in scenarios)
    if bugs:
        out["shuttle|bugs"], out["shuttle|caught"] = len(bugs), sum(r[4] == "caught" for r in bugs)
    chapter = readme.partition("## Mutants of the sequential code")[2].partition("\n## ")[0]
    cells = [[c.strip() for c in l.split("|")[1:-1]] for l in chapter.splitlines() if l.startswith("| ") and "---" not in l]
    head = cells[0] if cells else []
    for column in ("mutants", "tried", "caught", "survived at first", "survive"):
        if column in head:
            out[f"cargo-mutants|{column}"] = sum(number(r[head.index(column)]) or 0 for r in cells[1:])
    rows, _ = section(readme, "sanitizers")
    runs = [r for r in rows if "/" in r[1]]
    if runs:
        out["sanitizers|runs"], out["sanitizers|ok"] = len(runs), sum(r[-1].startswith("ok") for r in runs)


def packets_of(data):
    """The number of packets in a capture: classic pcap of either byte order."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    at, n = 24, 0
    while at + 16 <= len(data):
        at += 16 + struct.unpack(order + "I", data[at + 8:at + 12])[0]
        n += 1
    return n


def recordings(root, out, tables):
    """Recordings of the kernel in the tests: how many, of which families, how many packets."""
    found = {}
    for archive in sorted((root / "conntrack/tests/recordings").glob("*.tar.gz")):
        with tarfile.open(archive) as tar:
            members = {m.name: m for m in tar.getmembers()}
            for name in members:
                case, _, file = name.rpartition("/")
                if file == "meta.json":
                    meta = json.load(tar.extractfile(members[name]))
                    captures = [n for n in members if re.fullmatch(re.escape(case) + r"/packets\.pcap(\.gz)?", n)]
                    found[case] = (meta, sum(packets_of(tar.extractfile(members[c]).read()) for c in captures))
    for meta in sorted((root / "conntrack/nct/tests/recordings").glob("*/meta.json")):
        captures = [p for p in meta.parent.iterdir() if re.fullmatch(r"packets\.pcap(\.gz)?", p.name)]
        found[meta.parent.name] = (json.loads(meta.read_text()), sum(packets_of(p.read_bytes()) for p in captures))
    if not found:
        raise Stale("no recordings in the tests")
    fixed = {k: v for k, v in found.items() if not v[0].get("config", {}).get("nondeterministic")}
    families = {}
    for case, (meta, packets) in fixed.items():
        family = meta.get("family") or case.rsplit("-", 2)[0]
        cases, sum_ = families.get(family, (0, 0))
        families[family] = (cases + 1, sum_ + packets)
    out["recordings|all"] = len(found)
    out["recordings|compared"] = len(fixed)
    out["recordings|packets"] = sum(p for _, p in fixed.values())
    out["recordings|families"] = len(families)
    out["recordings|real"] = sum(k.startswith("real_pcap") for k in fixed)
    known = re.search(r"const KNOWN: \[[^;]*; (\d+)\]", (root / "conntrack/nct/tests/recordings.rs").read_text())
    if known is None:
        raise Stale("the test of the recordings no longer declares what it excuses")
    out["recordings|excused"] = int(known[1])
    tables["recordings"] = [[f, *v] for f, v in sorted(families.items())]


def dependencies(root, out):
    """Versions of the peers, from the lock file."""
    versions = {}
    for name, version in re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"', (root / "Cargo.lock").read_text()):
        versions[name] = version
    return {n: versions[n] for n in ("dashmap", "papaya", "scc", "flurry", "loom", "shuttle") if n in versions}


def collect(root):
    """Everything: `values` by name, `tables`, `sources`."""
    out, tables, sources = {}, {}, {}
    results = root / "bench-results/results"
    full_run(results, out, tables, sources)
    ratios(results, out, sources)
    growth(results, out, sources)
    instructions(results, out, sources)
    constants(root, out)
    models(root, out, tables, sources)
    recordings(root, out, tables)
    sources["versions"] = dependencies(root, out)
    if "run" not in sources and "ratios" not in sources:
        raise Stale("bench-results/results holds no timings")
    # Who has a time in which row, in the order of the plan.
    contenders = {}
    for key in out:
        row, _, rest = key.partition("|")
        if rest.endswith("|ns"):
            contenders.setdefault(row, []).append(rest.removesuffix("|ns"))
    tables["contenders"] = contenders
    return {"values": out, "tables": tables, "sources": sources}
