# make setup | run ARGS="--for 10s" | test | check | bench | bpf
# Each target does the set-up that it needs; a second run does not repeat it.

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
# What bpf/ is compiled with and the kernel tests load; an error names what is missing.
TOOLCHAIN := .ci/packages clang llvm libbpf-dev libbpf1
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

run: $(READY)
	@$(PY) -m tapio $(ARGS)

# The OpenTelemetry Collector that tests start is built once, from its Go modules.
test: $(READY)
	@$(TOOLCHAIN)
	@.ci/collector.sh >/dev/null
	@$(PY) -m pytest -q -n $(JOBS) --dist loadgroup $(ARGS)

check: $(READY)
	@$(VENV)/bin/ruff format --check --quiet
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/mypy --no-error-summary
	@$(VENV)/bin/pyright
	@$(PY) -m pytest -q tests/test_layers.py tests/test_lint_bans.py tests/test_tidy.py

bench: $(READY)
	@$(PY) -m benchmarks $(NAME) $(ARGS)

bpf: $(READY)
	@$(TOOLCHAIN)
	@$(MAKE) --no-print-directory -C bpf PYTHON=$(CURDIR)/$(PY)

clean:
	rm -rf $(VENV) bpf/build .mypy_cache .ruff_cache .hypothesis
