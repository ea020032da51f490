/*
 * C maps on the work of the harness's `peers` rows: 95 % look-ups, 5 % updates in place, all of keys that are there.
 * One map per program, chosen when it is compiled: PEER_RCULFHASH (liburcu, QSBR) or PEER_RTE_HASH (DPDK, lock-free).
 *
 *     peers ENTRIES THREADS 8|16 uniform|zipf single|bulk MILLISECONDS
 *
 * prints {"values": {"ns": …, "mops": …}} as the harness reads it. Keys are mix64(2i + 1), sixteen-byte ones with
 * mix64(~that) behind it; values (i << 8) | 1. Streams of 2^20 positions per thread are made beforehand (uniform: one
 * permutation of the keys after the other, so that so short a stream names them all), threads are pinned as the harness pins its own, and announce a quiescent state every 32 operations. A key that is not found, or a
 * value of another key, ends the program with an error.
 */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32, LENGTH = 1 << 20, CAPACITY = 1 << 21 };

static uint64_t entries, milliseconds, rounds;
static int threads, key_bytes, zipf, bulk;
static pthread_barrier_t barrier;

struct key {
	uint64_t words[2];
};

static uint64_t mix64(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static struct key key_of(uint64_t i)
{
	uint64_t n = mix64(2 * i + 1);
	return (struct key){ { n, key_bytes == 16 ? mix64(~n) : 0 } };
}

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

/* The hash of both maps: a multiplication folded over the words, as cheap as the harness's. */
static inline uint64_t hash_of(const struct key *k)
{
	__uint128_t p = (__uint128_t)(k->words[0] ^ 0x243f6a8885a308d3ull) * (k->words[1] ^ 0x13198a2e03707344ull);
	uint64_t h = (uint64_t)p ^ (uint64_t)(p >> 64);
	p = (__uint128_t)(h ^ 0xa4093822299f31d0ull) * 0x082efa98ec4e6c89ull;
	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

#ifdef PEER_RCULFHASH

#define URCU_INLINE_SMALL_FUNCTIONS
#define _LGPL_SOURCE
#include <urcu/urcu-qsbr.h>
#include <urcu/rculfhash.h>

struct node {
	struct cds_lfht_node link;
	struct key key;
	_Atomic uint64_t value;
};

static struct cds_lfht *table;
static struct node *nodes;

static int matches(struct cds_lfht_node *link, const void *key)
{
	return !memcmp(&caa_container_of(link, struct node, link)->key, key, sizeof(struct key));
}

static void map_thread_begin(void)
{
	urcu_qsbr_register_thread();
}

static void map_thread_end(void)
{
	urcu_qsbr_unregister_thread();
}

static void map_quiescent(void)
{
	urcu_qsbr_quiescent_state();
}

static void map_fill(void)
{
	map_thread_begin();
	table = cds_lfht_new_flavor(CAPACITY, CAPACITY, 0, CDS_LFHT_AUTO_RESIZE, &urcu_qsbr_flavor, NULL);
	nodes = calloc(entries, sizeof *nodes);
	if (!table || !nodes)
		fail("no memory");
	for (uint64_t i = 0; i < entries; i++) {
		nodes[i].key = key_of(i);
		atomic_init(&nodes[i].value, i << 8 | 1);
		cds_lfht_add(table, hash_of(&nodes[i].key), &nodes[i].link);
	}
	map_thread_end();
}

static inline _Atomic uint64_t *map_find(const struct key *k)
{
	struct cds_lfht_iter iter;
	cds_lfht_lookup(table, hash_of(k), matches, k, &iter);
	struct cds_lfht_node *link = cds_lfht_iter_get_node(&iter);
	return link ? &caa_container_of(link, struct node, link)->value : NULL;
}

static void map_find_bulk(const struct key *k, _Atomic uint64_t **out)
{
	for (int j = 0; j < BATCH; j++)
		out[j] = map_find(&k[j]);
}

#elif defined(PEER_RTE_HASH)

#include <rte_eal.h>
#include <rte_hash.h>
#include <rte_rcu_qsbr.h>

static struct rte_hash *table;
static struct rte_rcu_qsbr *quiescence;
static _Atomic uint64_t *values;
static _Thread_local unsigned me;
static atomic_uint next_thread;

static uint32_t hash32(const void *key, uint32_t length, uint32_t seed)
{
	struct key k = { { 0, 0 } };
	memcpy(&k, key, length);
	return (uint32_t)hash_of(&k) ^ seed;
}

static void map_thread_begin(void)
{
	me = atomic_fetch_add(&next_thread, 1);
	rte_rcu_qsbr_thread_register(quiescence, me);
	rte_rcu_qsbr_thread_online(quiescence, me);
}

static void map_thread_end(void)
{
	rte_rcu_qsbr_thread_offline(quiescence, me);
}

static void map_quiescent(void)
{
	rte_rcu_qsbr_quiescent(quiescence, me);
}

static void map_fill(void)
{
	char *arguments[] = { "peers", "--no-huge", "--no-pci", "--no-shconf", "--log-level=1", "-m", "1024", "-l", "0" };
	if (rte_eal_init(sizeof arguments / sizeof *arguments, arguments) < 0)
		fail("rte_eal_init failed");
	struct rte_hash_parameters p = {
		.name = "peers",
		.entries = CAPACITY,
		.key_len = (uint32_t)key_bytes,
		.hash_func = hash32,
		.socket_id = SOCKET_ID_ANY,
		.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF,
	};
	table = rte_hash_create(&p);
	quiescence = aligned_alloc(128, (rte_rcu_qsbr_get_memsize(64) + 127) & ~(size_t)127);
	values = calloc(CAPACITY * 2, sizeof *values);
	if (!table || !quiescence || !values || rte_rcu_qsbr_init(quiescence, 64))
		fail("no memory");
	for (uint64_t i = 0; i < entries; i++) {
		struct key k = key_of(i);
		int32_t at = rte_hash_add_key(table, &k);
		if (at < 0 || at >= CAPACITY * 2)
			fail("the map is full");
		values[at] = i << 8 | 1;
	}
}

static inline _Atomic uint64_t *map_find(const struct key *k)
{
	int32_t at = rte_hash_lookup(table, k);
	return at < 0 ? NULL : &values[at];
}

static void map_find_bulk(const struct key *k, _Atomic uint64_t **out)
{
	const void *keys[BATCH];
	int32_t at[BATCH];
	for (int j = 0; j < BATCH; j++)
		keys[j] = &k[j];
	if (rte_hash_lookup_bulk(table, keys, BATCH, at))
		fail("a bulk look-up failed");
	for (int j = 0; j < BATCH; j++) {
		if (at[j] >= 0)
			__builtin_prefetch((const void *)&values[at[j]]);
		out[j] = at[j] < 0 ? NULL : &values[at[j]];
	}
}

#else
#error "which map?"
#endif

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

/* Ranks by Zipf 0.99 from a table of the cumulative distribution. */
static double *cumulative(void)
{
	double *c = malloc(entries * sizeof *c), sum = 0;
	if (!c)
		fail("no memory");
	for (uint64_t i = 0; i < entries; i++)
		c[i] = sum += 1 / pow((double)(i + 1), 0.99);
	for (uint64_t i = 0; i < entries; i++)
		c[i] /= sum;
	return c;
}

static uint64_t rank_of(const double *c, double u)
{
	uint64_t low = 0, high = entries - 1;
	while (low < high) {
		uint64_t middle = (low + high) / 2;
		if (c[middle] < u)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct stream {
	struct key *keys;
	uint32_t *indices;
	double start, end;
};

static void make_stream(struct stream *s, int t, const double *c)
{
	s->keys = malloc(LENGTH * sizeof *s->keys);
	s->indices = malloc(LENGTH * sizeof *s->indices);
	uint32_t *order = malloc(entries * sizeof *order);
	if (!s->keys || !s->indices || !order)
		fail("no memory");
	for (uint64_t i = 0; i < entries; i++)
		order[i] = (uint32_t)i;
	for (uint64_t j = 0; j < LENGTH; j++) {
		uint64_t r = mix64((uint64_t)(t + 1) << 40 | j), i;
		if (zipf) {
			i = rank_of(c, (double)(r >> 11) * 0x1p-53) * 4294967291ull % entries;
		} else {
			/* The next of a shuffle that goes on where it is: each stretch of so many is a permutation. */
			uint64_t at = j % entries;
			uint64_t other = at + (uint64_t)((__uint128_t)r * (entries - at) >> 64);
			i = order[other];
			order[other] = order[at];
			order[at] = (uint32_t)i;
		}
		s->indices[j] = (uint32_t)i;
		s->keys[j] = key_of(i);
	}
	free(order);
}

static inline void check(_Atomic uint64_t *value, uint32_t i)
{
	/* Updates add 256 · 2^32: the key's number and the mark stay what they were. */
	uint64_t v = value ? atomic_load_explicit(value, memory_order_relaxed) : 0;
	if ((uint32_t)(v >> 8) != i || (v & 0xff) != 1)
		fail("a wrong value, or none");
}

static inline void update(_Atomic uint64_t *value, uint32_t i)
{
	check(value, i);
	atomic_fetch_add_explicit(value, (uint64_t)1 << 40, memory_order_relaxed);
}

static void one_round(const struct stream *s)
{
	for (int c = 0; c < LENGTH / BATCH; c++) {
		const struct key *k = &s->keys[c * BATCH];
		const uint32_t *i = &s->indices[c * BATCH];
		int first = (int)(mix64((uint64_t)c) % 20);
		if (bulk) {
			_Atomic uint64_t *found[BATCH];
			map_find_bulk(k, found);
			for (int j = 0; j < BATCH; j++)
				check(found[j], i[j]);
			for (int j = first; j < BATCH; j += 20)
				update(map_find(&k[j]), i[j]);
		} else {
			for (int j = 0; j < BATCH; j++) {
				if (j % 20 == first)
					update(map_find(&k[j]), i[j]);
				else
					check(map_find(&k[j]), i[j]);
			}
		}
		map_quiescent();
	}
}

static struct stream streams[64];

static void *work(void *arg)
{
	int t = (int)(intptr_t)arg;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpus - 1 - t % cpus, &set);
	pthread_setaffinity_np(pthread_self(), sizeof set, &set);
	map_thread_begin();
	double start = now();
	one_round(&streams[t]);
	if (t == 0) {
		double once = now() - start;
		rounds = (uint64_t)ceil((double)milliseconds / 1e3 / once);
		rounds = rounds ? rounds : 1;
	}
#ifdef PEER_RCULFHASH
	urcu_qsbr_thread_offline();
#endif
	pthread_barrier_wait(&barrier);
#ifdef PEER_RCULFHASH
	urcu_qsbr_thread_online();
#endif
	streams[t].start = now();
	for (uint64_t r = 0; r < rounds; r++)
		one_round(&streams[t]);
	streams[t].end = now();
	map_thread_end();
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 7)
		fail("usage: peers ENTRIES THREADS 8|16 uniform|zipf single|bulk MILLISECONDS");
	entries = strtoull(argv[1], NULL, 10);
	threads = atoi(argv[2]);
	key_bytes = atoi(argv[3]);
	zipf = !strcmp(argv[4], "zipf");
	bulk = !strcmp(argv[5], "bulk");
	milliseconds = strtoull(argv[6], NULL, 10);
	if (entries < 1 || entries > CAPACITY || threads < 1 || threads > 63 || (key_bytes != 8 && key_bytes != 16))
		fail("out of range");
	map_fill();
	double *c = zipf ? cumulative() : NULL;
	for (int t = 0; t < threads; t++)
		make_stream(&streams[t], t, c);
	free(c);
	pthread_barrier_init(&barrier, NULL, (unsigned)threads);
	pthread_t ids[64];
	for (int t = 0; t < threads; t++)
		if (pthread_create(&ids[t], NULL, work, (void *)(intptr_t)t))
			fail("no thread");
	double start = HUGE_VAL, end = 0;
	for (int t = 0; t < threads; t++) {
		pthread_join(ids[t], NULL);
		start = fmin(start, streams[t].start);
		end = fmax(end, streams[t].end);
	}
	double each = (double)rounds * LENGTH, time = end - start;
	printf("{\"values\": {\"ns\": %.4f, \"mops\": %.4f}}\n", time * 1e9 / each, each * threads / time / 1e6);
	return 0;
}
