"""The small simulations of the chapter on scaling out. Seeds are fixed: the same figures every time.

`conflicts`: T writers each hold one lock at a random moment; how often does a writer find its own taken? Locks are those of
buckets (a table of a million entries at the table's fill) or of shards (four for each thread, rounded to a power of two).

`moves`: n machines share the hash space; one is added. How much state moves, how uneven is the result, and into how many
contiguous pieces does what moves fall?
"""

import bisect
import random

KEYS = 1 << 20
BUCKETS = 1 << 18
THREADS = (2, 4, 8, 16, 32, 64, 128)
MACHINES = (4, 16, 64)
MAGLEV = 65_537


def mix64(x):
    """The finaliser of splitmix64."""
    x = (x + 0x9E37_79B9_7F4A_7C15) & (2**64 - 1)
    x = (x ^ (x >> 30)) * 0xBF58_476D_1CE4_E5B9 & (2**64 - 1)
    x = (x ^ (x >> 27)) * 0x94D0_49BB_1331_11EB & (2**64 - 1)
    return x ^ (x >> 31)


def scale(h, n):
    return h * n >> 64


def zipf(exponent):
    """Cumulative weights of ranks."""
    sums, total = [], 0.0
    for rank in range(1, KEYS + 1):
        total += rank**-exponent
        sums.append(total)
    return sums


def conflicts(out):
    rng = random.Random(1)
    weights = zipf(0.99)
    draws = {
        "uniform": lambda: rng.randrange(KEYS),
        "zipf": lambda: bisect.bisect_left(weights, rng.random() * weights[-1]),
    }
    for kind, draw in draws.items():
        for threads in THREADS:
            shards = 1 << (4 * threads - 1).bit_length()
            rounds = max(400, 100_000 // threads)
            hits = {"bucket": 0, "shard": 0}
            for _ in range(rounds):
                hashes = [mix64(draw()) for _ in range(threads)]
                for name, n in (("bucket", BUCKETS), ("shard", shards)):
                    hits[name] += threads - len({scale(h, n) for h in hashes})
            for name, n in hits.items():
                out[f"sim/conflict/{kind}/x{threads}|{name}|percent"] = 100 * n / (rounds * threads)


def maglev(n):
    """Maglev's table: each machine takes the first free place of its own permutation, in turns."""
    places, table, filled = [0] * n, [-1] * MAGLEV, 0
    offsets = [mix64(2 * i) % MAGLEV for i in range(n)]
    skips = [mix64(2 * i + 1) % (MAGLEV - 1) + 1 for i in range(n)]
    while True:
        for i in range(n):
            while table[c := (offsets[i] + places[i] * skips[i]) % MAGLEV] >= 0:
                places[i] += 1
            table[c] = i
            places[i] += 1
            filled += 1
            if filled == MAGLEV:
                return table


def moves(out):
    hashes = sorted(mix64(i) for i in range(1 << 17))
    out["sim/move/samples"] = len(hashes)
    for n in MACHINES:
        before_m, after_m = maglev(n), maglev(n + 1)
        # Boundaries that move as little as they must: every machine gives an equal part of its interval away. With one
        # interval per machine that shifts all boundaries; with many per machine (slices) whole slices are handed over.
        slices = 64 * n
        owner_before = [s * n // slices for s in range(slices)]
        owner_after = list(owner_before)
        for i in range(n):
            mine = [s for s in range(slices) if owner_before[s] == i]
            for s in mine[: round(len(mine) / (n + 1))]:
                owner_after[s] = n
        plans = {
            "modulo": (lambda h: h % n, lambda h: h % (n + 1)),
            "intervals": (lambda h: scale(h, n), lambda h: scale(h, n + 1)),
            "slices": (lambda h: owner_before[scale(h, slices)], lambda h: owner_after[scale(h, slices)]),
            "maglev": (lambda h: before_m[scale(h, MAGLEV)], lambda h: after_m[scale(h, MAGLEV)]),
        }
        for name, (before, after) in plans.items():
            pairs = [(before(h), after(h)) for h in hashes]
            moved = sum(a != b for a, b in pairs)
            load = [0] * (n + 1)
            for _, b in pairs:
                load[b] += 1
            runs, last = 0, None
            for p in pairs:
                here = p if p[0] != p[1] else None
                runs += here is not None and here != last
                last = here
            row = f"sim/move/{n}|{name}"
            out[f"{row}|percent"] = 100 * moved / len(hashes)
            out[f"{row}|least"] = 100 / (n + 1)
            out[f"{row}|imbalance"] = max(load) * (n + 1) / len(hashes)
            out[f"{row}|runs"] = runs


def simulate():
    out = {}
    conflicts(out)
    moves(out)
    return out


if __name__ == "__main__":
    for key, value in simulate().items():
        print(f"{key:50} {value:.4g}")
