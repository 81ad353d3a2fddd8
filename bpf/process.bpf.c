// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0
/*
 * Processes: a row for each exec, and one for each process (not thread) that ends.
 *
 * Both rows of a process carry (pid, start_ns), which no other process ever has.
 */
#include "kernel.h"
#include "tapio.h"

#define FILE_BYTES 256
#define ARGV_BYTES 512

#define WAIT_CODE(status) (((status) >> 8) & 0xff) /* as waitpid(2) packs them */
#define WAIT_SIGNAL(status) ((status)&0x7f)
#define WAIT_CORE(status) (((status) >> 7) & 1)

enum { EXEC, EXIT };

/* The order of mm->rss_stat; MM_SWAPENTS, 2, is not resident. */
enum { MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES };

struct process_exec {
	struct tapio_head;
	__u64 start_ns; /* CLOCK_BOOTTIME at which the process began */
	__u32 parent_pid;
	__u32 uid;
	__u32 argv_bytes; /* whole length, of which argv has the first bytes */
	__u16 argv_kept;
	__u16 file_kept;
	char comm[16];
	char file[FILE_BYTES];
	char argv[ARGV_BYTES]; /* arguments, each ended by NUL */
};

struct process_exit {
	struct tapio_head;
	__u64 start_ns;
	__u64 cpu_ns;
	__u64 peak_rss_pages;
	__u32 parent_pid;
	__u32 uid;
	__u8 exit_code;
	__u8 signal;
	bool core;
	__u8 _pad[5];
	char comm[16];
};

TAPIO_RECORD(process_exec);
TAPIO_RECORD(process_exit);
TAPIO_RING(ring_exec);
TAPIO_RING(ring_exit);

static __always_inline __u64 cgroup_of(struct task_struct *task)
{
	return task->cgroups->dfl_cgrp->kn->id;
}

static __always_inline void read_argv(struct process_exec *row, struct task_struct *task,
				      __u32 most)
{
	struct mm_struct *mm = task->mm;
	__u64 start, length;

	if (!mm)
		return;
	start = mm->arg_start;
	length = mm->arg_end - start;
	row->argv_bytes = length;
	if (length > most)
		length = most;
	/* The barrier stops clang from checking one register and using another. */
	barrier_var(length);
	if (length > ARGV_BYTES)
		length = ARGV_BYTES;
	if (bpf_probe_read_user(row->argv, length, (const void *)start) == 0)
		row->argv_kept = length;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *binary)
{
	struct tapio_turn turn;
	struct process_exec *row;
	__u32 sample_n;
	long kept;

	if (!tapio_fired(&turn, EXEC))
		return 0;
	sample_n = tapio_sample(&turn, task->start_boottime ^ task->tgid, TAPIO_INFO);
	if (!sample_n)
		return 0;
	row = tapio_reserve(&turn, &ring_exec, sizeof(*row));
	if (!row)
		return 0;
	tapio_head((struct tapio_head *)row, &turn, cgroup_of(task), task->tgid, sample_n, TAPIO_INFO);
	row->start_ns = task->start_boottime;
	row->parent_pid = task->real_parent->tgid;
	row->uid = task->cred->uid.val;
	bpf_probe_read_kernel_str(row->comm, sizeof(row->comm), task->comm);
	kept = bpf_probe_read_kernel_str(row->file, sizeof(row->file), binary->filename);
	row->file_kept = kept > 0 ? kept - 1 : 0;
	read_argv(row, task, turn.config->text_bytes);
	tapio_submit(&turn, &ring_exec, row, sizeof(*row), TAPIO_INFO);
	return 0;
}

/*
 * Signals that a program is asked to stop with, and that its reader leaves it with (HUP, INT,
 * PIPE, TERM), are not errors; any other that ends a process is.
 */
static __always_inline __u8 severity_of(__u32 status)
{
	const __u64 asked = 1ULL << 1 | 1ULL << 2 | 1ULL << 13 | 1ULL << 15;
	__u32 signal = WAIT_SIGNAL(status);

	if (signal)
		return (asked >> (signal & 63)) & 1 ? TAPIO_WARN : TAPIO_ERROR;
	return WAIT_CODE(status) ? TAPIO_WARN : TAPIO_INFO;
}

/* The group's code where one was set, else (before 6.x for a plain exit(2)) the leader's. */
static __always_inline __u32 status_of(struct task_struct *task)
{
	__u32 status = task->signal->group_exit_code;

	return status ? status : task->group_leader->exit_code;
}

/* Pages. hiwater_rss lags behind what is resident now, so the greater of the two is meant. */
static __always_inline __u64 peak_rss(struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	__s64 now;

	if (!mm)
		return 0;
	now = mm->rss_stat[MM_FILEPAGES].count + mm->rss_stat[MM_ANONPAGES].count +
	      mm->rss_stat[MM_SHMEMPAGES].count;
	return now > (__s64)mm->hiwater_rss ? now : mm->hiwater_rss;
}

/*
 * Threads gone, this one, and the leader where it went first and waits for the others. What ran
 * since the scheduler last looked, at its tick or at a switch, is not in it yet.
 */
static __always_inline __u64 cpu_time(struct task_struct *task)
{
	__u64 ns = task->signal->sum_sched_runtime + task->se.sum_exec_runtime;

	if (task->pid != task->tgid)
		ns += task->group_leader->se.sum_exec_runtime;
	return ns;
}

static __always_inline int process_ended(struct task_struct *task)
{
	struct tapio_turn turn;
	struct process_exit *row;
	__u32 status, sample_n;
	__u8 severity;

	if (!tapio_fired(&turn, EXIT))
		return 0;
	status = status_of(task);
	severity = severity_of(status);
	sample_n = tapio_sample(&turn, task->group_leader->start_boottime ^ task->tgid, severity);
	if (!sample_n)
		return 0;
	row = tapio_reserve(&turn, &ring_exit, sizeof(*row));
	if (!row)
		return 0;
	tapio_head((struct tapio_head *)row, &turn, cgroup_of(task), task->tgid, sample_n, severity);
	row->start_ns = task->group_leader->start_boottime;
	row->cpu_ns = cpu_time(task);
	row->peak_rss_pages = peak_rss(task);
	row->parent_pid = task->real_parent->tgid;
	row->uid = task->cred->uid.val;
	row->exit_code = WAIT_CODE(status);
	row->signal = WAIT_SIGNAL(status);
	row->core = WAIT_CORE(status);
	bpf_probe_read_kernel_str(row->comm, sizeof(row->comm), task->group_leader->comm);
	tapio_submit(&turn, &ring_exit, row, sizeof(*row), severity);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task, bool group_dead)
{
	return group_dead ? process_ended(task) : 0;
}

/*
 * For kernels whose tracepoint has only the task. Two last threads that end at the same time
 * may both see none alive.
 */
SEC("?tp_btf/sched_process_exit")
int BPF_PROG(process_exit_live, struct task_struct *task)
{
	return task->signal->live.counter == 0 ? process_ended(task) : 0;
}

/* The kernel knows no "Apache-2.0 OR GPL-2.0"; loaded, the program is under the GPL. */
char LICENSE[] SEC("license") = "GPL";
