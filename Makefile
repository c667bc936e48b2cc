# Every target brings what it needs; run them in any order. `make demo` is the place to start.
PYTHON_ENV := .venv/bin/python
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
TARGETS ?= reference:*

.PHONY: demo test bench soak lint driver bootstrap clean
.NOTPARALLEL:

demo: bootstrap
	@$(PYTHON_ENV) -m harness demo --jobs $(JOBS)

test: lint
	@tools/bootstrap.sh toolchain machines postgres browser cluster
	@$(PYTHON_ENV) -m pytest tests suites --target '$(TARGETS)' -n $(JOBS) --dist worksteal -q

bench: bootstrap
	@tools/bootstrap.sh machines
	@$(PYTHON_ENV) benchmarks/run.py
	@$(PYTHON_ENV) benchmarks/schedule.py
	@$(PYTHON_ENV) benchmarks/history.py
	@$(PYTHON_ENV) -m harness image build stand-in
	@$(PYTHON_ENV) benchmarks/machines.py

soak: bootstrap
	@tools/bootstrap.sh machines
	@$(PYTHON_ENV) -m harness image build stand-in
	@$(PYTHON_ENV) benchmarks/soak.py

lint: bootstrap
	@$(PYTHON_ENV) -m ruff check .
	@$(PYTHON_ENV) -m ruff format --check --quiet .
	@$(PYTHON_ENV) -m mypy
	@.venv/bin/lint-imports --no-cache --no-logo

driver: bootstrap
	@$(PYTHON_ENV) -m harness driver build
	@$(PYTHON_ENV) -m harness driver sign

bootstrap:
	@tools/bootstrap.sh

clean:
	rm -rf build results .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
