# make setup | run ARGS="--for 10s" | test | check | bench | bpf
# Each target does the set-up that it needs; a second run does not repeat it.

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
TOOLCHAIN := $(VENV)/.toolchain
COLLECTOR := $(VENV)/.collector
JOBS ?= 2
NAME ?=
ARGS ?=
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help setup run test check bench bpf clean

help:
	@sed -n '1,2s/^# //p' $(MAKEFILE_LIST)

setup: $(READY)

$(READY): pyproject.toml .ci/setup .ci/packages
	@.ci/setup

# What bpf/ is compiled with, and what the kernel tests load: errors name what is missing.
$(TOOLCHAIN): .ci/packages | $(READY)
	@.ci/packages clang llvm libbpf-dev libbpf1
	@touch $@

# The OpenTelemetry Collector that the system tests start: built once, from its Go modules.
$(COLLECTOR): .ci/collector.sh | $(READY)
	@.ci/collector.sh
	@touch $@

run: $(READY)
	@$(PY) -m tapio $(ARGS)

test: $(READY) $(TOOLCHAIN) $(COLLECTOR)
	@$(PY) -m pytest -q -n $(JOBS) --dist loadgroup $(ARGS)

check: $(READY)
	@$(VENV)/bin/ruff format --check --quiet
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/mypy --no-error-summary
	@$(VENV)/bin/pyright
	@$(PY) -m pytest -q tests/test_layers.py tests/test_lint_bans.py tests/test_tidy.py

bench: $(READY)
	@$(PY) -m benchmarks $(NAME) $(ARGS)

bpf: $(READY) $(TOOLCHAIN)
	@$(MAKE) --no-print-directory -C bpf PYTHON=$(CURDIR)/$(PY)

clean:
	rm -rf $(VENV) bpf/build .mypy_cache .ruff_cache .hypothesis
