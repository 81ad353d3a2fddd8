/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * The kernel types that observers read, with the fields that they read and no others: libbpf
 * moves each access to where the running kernel has the field.
 */
#pragma once

#include <linux/types.h>
#include <stdbool.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp; /* the one in the unified tree */
};

typedef struct {
	__u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
};

typedef struct {
	int counter;
} atomic_t;

struct percpu_counter {
	__s64 count;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	unsigned long hiwater_rss; /* pages */
	struct percpu_counter rss_stat[4];
};

struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned long long sum_sched_runtime; /* of threads already gone */
};

struct sched_entity {
	__u64 sum_exec_runtime;
};

struct task_struct {
	int pid;
	int tgid;
	int exit_code;
	char comm[16];
	__u64 start_boottime;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	const struct cred *cred;
	struct mm_struct *mm;
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct sched_entity se;
};

struct linux_binprm {
	const char *filename;
};

#pragma clang attribute pop
