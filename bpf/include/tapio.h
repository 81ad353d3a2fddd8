/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * What every observer shares: the configuration, the counters of rule 7, the head of a record,
 * and the way a record reaches its ring.
 *
 *   fired     = filtered + sampled_out + limited + attempted
 *   attempted = committed + lost
 *
 * An observer has one ring a topic (process.exec: ring_exec), and in it one record of one length
 * (struct process_exec), 8-aligned and zeroed: user space reads a drain as one strided array.
 */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define TAPIO_CONFIG_VERSION 1
#define TAPIO_TOPICS 8 /* the most topics of one object */
#define TAPIO_INFO 9   /* OpenTelemetry SeverityNumbers */
#define TAPIO_WARN 13
#define TAPIO_ERROR 17

/* All zero is inert: another version, or a topic's bit unset, and its program returns at once. */
struct tapio_config {
	__u32 version;
	__u32 generation;   /* counts changes; every record carries it */
	__u32 topics;       /* bit t: topic t is on */
	__u32 wakeup_bytes; /* unread bytes of a ring from which its reader is woken */
	__u32 sample_n;     /* one subject of n is kept; 0 and 1 keep all */
	__u32 text_bytes;   /* how much of a long text (argv) is read; 0 reads none */
};

struct tapio_counts {
	__u64 fired;
	__u64 filtered;
	__u64 sampled_out;
	__u64 limited;
	__u64 attempted;
	__u64 committed;
	__u64 lost;
};

/* The first bytes of each record. */
struct tapio_head {
	__u64 boot_ns; /* CLOCK_BOOTTIME of the event */
	__u64 cgroup_id; /* the subject's cgroup in the unified tree */
	__u32 generation;
	__u32 sample_n;
	__u32 pid; /* the subject's */
	__u8 severity;
	__u8 _reserved[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tapio_config);
} tapio_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TAPIO_TOPICS);
	__type(key, __u32);
	__type(value, struct tapio_counts);
} tapio_counts SEC(".maps");

/* A ring; its size is a default, user space sets another before loading. */
#define TAPIO_RING(name)                                                                           \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                \
		__uint(max_entries, 1 << 20);                                                      \
	} name SEC(".maps")

/* Keeps a record's type in the object's BTF, where user space finds the layout. */
#define TAPIO_RECORD(type) struct type *_tapio_##type __attribute__((unused))

/* Atomic although per CPU: a program can be preempted by, or nested in, another of its topic. */
#define TAPIO_COUNT(counts, account) __sync_fetch_and_add(&(counts)->account, 1)

struct tapio_turn {
	const struct tapio_config *config;
	struct tapio_counts *counts;
};

/* Whether `topic` is on; if so it has fired. */
static __always_inline bool tapio_fired(struct tapio_turn *turn, __u32 topic)
{
	__u32 zero = 0;

	turn->config = bpf_map_lookup_elem(&tapio_config, &zero);
	if (!turn->config || turn->config->version != TAPIO_CONFIG_VERSION)
		return false;
	if (!(turn->config->topics & (1U << topic)))
		return false;
	turn->counts = bpf_map_lookup_elem(&tapio_counts, &topic);
	if (!turn->counts)
		return false;
	TAPIO_COUNT(turn->counts, fired);
	return true;
}

/*
 * Whether the subject is in the sample: all rows of one subject are kept, or none of them.
 * From ERROR on a row is always kept. Gives the n of the row, 0 where it is sampled out.
 */
static __always_inline __u32 tapio_sample(struct tapio_turn *turn, __u64 subject, __u8 severity)
{
	__u32 n = turn->config->sample_n;

	if (n <= 1 || severity >= TAPIO_ERROR)
		return 1;
	/* Fibonacci hashing: the high bits of the product with 2^64 / golden ratio mix best. */
	if ((__u32)((subject * 0x9E3779B97F4A7C15ULL) >> 32) % n == 0)
		return n;
	TAPIO_COUNT(turn->counts, sampled_out);
	return 0;
}

/* A zeroed record in `ring`, or NULL: then it is lost, and counted. */
static __always_inline void *tapio_reserve(struct tapio_turn *turn, void *ring, const __u64 size)
{
	TAPIO_COUNT(turn->counts, attempted);
	void *record = bpf_ringbuf_reserve(ring, size, 0);
	if (!record) {
		TAPIO_COUNT(turn->counts, lost);
		return NULL;
	}
	__builtin_memset(record, 0, size);
	return record;
}

static __always_inline void tapio_head(struct tapio_head *head, struct tapio_turn *turn,
				       __u64 cgroup_id, __u32 pid, __u32 sample_n,
				       __u8 severity)
{
	head->boot_ns = bpf_ktime_get_boot_ns();
	head->cgroup_id = cgroup_id;
	head->generation = turn->config->generation;
	head->sample_n = sample_n;
	head->pid = pid;
	head->severity = severity;
}

/*
 * Hands the record over. The reader looks every 50 ms; it is woken for an error, and when the
 * unread bytes pass the threshold. They are compared with a span of 16 records above it, not
 * with the threshold alone: other CPUs reserve in between, and a reader that pauses (the
 * bytes stay above) must not cost an interrupt a record.
 */
static __always_inline void tapio_submit(struct tapio_turn *turn, void *ring, void *record,
					 const __u64 size, __u8 severity)
{
	__u64 unread = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);
	__u64 above = unread - turn->config->wakeup_bytes;
	bool wake = severity >= TAPIO_ERROR || above < 16 * (size + BPF_RINGBUF_HDR_SZ);

	bpf_ringbuf_submit(record, wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
	TAPIO_COUNT(turn->counts, committed);
}
