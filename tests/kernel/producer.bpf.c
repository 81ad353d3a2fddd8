// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0
/* The process observer, and a program that user space runs to submit exit rows through it. */
#include "process.bpf.c"

struct order {
	__u64 rows; /* 64 bits: bpf_loop, inlined, looks at the whole register */
	__u64 severity;
	__u64 hold; /* each record stays busy for up to so many looks at the clock, at most 256 */
	__u64 made;
};

static long make_one(__u32 index, void *context)
{
	struct order *order = context;
	struct tapio_turn turn;
	struct process_exit *row;
	__u32 n, hold;

	if (!tapio_fired(&turn, EXIT))
		return 1;
	n = tapio_sample(&turn, order->made + index, order->severity);
	if (!n)
		return 0;
	row = tapio_reserve(&turn, &ring_exit, sizeof(*row));
	if (!row)
		return 0;
	tapio_head((struct tapio_head *)row, &turn, 1, order->made + index, n, order->severity);
	row->start_ns = row->boot_ns;
	hold = bpf_get_prandom_u32() % (order->hold + 1);
	for (int spin = 0; spin < 256 && spin < hold; spin++)
		row->boot_ns = row->start_ns = bpf_ktime_get_boot_ns();
	/* A sum over the record: a torn one would not agree with it. */
	row->cpu_ns = row->boot_ns + row->pid;
	row->peak_rss_pages = row->cpu_ns ^ 0x5555555555555555ULL;
	tapio_submit(&turn, &ring_exit, row, sizeof(*row), order->severity);
	return 0;
}

SEC("syscall")
int produce(struct order *order)
{
	struct order mine = *order;

	bpf_loop(mine.rows, make_one, &mine, 0);
	return 0;
}
