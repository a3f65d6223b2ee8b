# Two commands need nothing but Python 3.11+, pip and make: `make demo` and `make test`.
# PYTHON chooses the interpreter, ARGS is handed on: make test PYTHON=python3.13 ARGS="tests/policies --no-cov"

PYTHON ?= python3
ARGS ?=
STEPS ?= 1000000
# No shell metacharacters in the recipes: make then starts the command itself, and Ctrl-C meets no shell on its way.
RUN = @$(PYTHON) tools/bootstrap.py

# flake8-async sees what ruff does not (a swallowed Cancelled, a yield inside a nursery), but wants its files named.
ASYNC_FILES = $(shell find genesis_trio -name '*.py')
# ASYNC109: `timeout=` is part of the public contract, and our own scopes carry it out.
# ASYNC9xx want a Trio checkpoint on every path of every function; we promise them for public ones, and test them.
# ASYNC114 wants every startable function named for a rule about nurseries in context managers, which we do not use.
ASYNC_IGNORED = ASYNC109,ASYNC114,ASYNC900,ASYNC910,ASYNC911,ASYNC912,ASYNC913

.PHONY: help demo demo-soak test check check-format check-lint check-async check-mypy check-pyright bench torture fuzz fuzz-trees fuzz-orders docs format clean

define HELP
make demo      run the demonstration
make demo-soak an hour of it: 200 simulated seeds, then the whole recording
make test      run the tests, with branch coverage
make check     format, lint, async rules and types; changes nothing (with -k: all of it, whatever fails)
make format    format, and repair what the linter can repair
make bench     run the benchmarks
make fuzz      make 100000 random trees fail, and a million orders meet modes that change (fuzz-trees ARGS="--trees 1000", fuzz-orders STEPS=10000)
make torture   kill, cut, flip and fill stores at length, and count what is lost
make docs      build the documentation into docs/_build/html
make clean     remove everything that the other commands made

PYTHON=python3.13 chooses the interpreter, ARGS="..." is handed on to the command.
endef

help:
	$(info $(HELP))
	@:

demo:
	$(RUN) demo,data -m genesis_trio.demo $(ARGS)

# An hour: 200 seeds in virtual time, then the whole half hour in real time.
demo-soak:
	$(RUN) demo,data -m genesis_trio.demo --simulate --seeds 200 --report -
	$(RUN) demo,data -m genesis_trio.demo --full --headless $(ARGS)

test:
	$(RUN) dev -m pytest --numprocesses=auto --cov --cov-report=term:skip-covered $(ARGS)

check: check-format check-lint check-async check-mypy check-pyright

check-format:
	$(RUN) dev ruff format --check .

check-lint:
	$(RUN) dev ruff check .

check-async:
	$(RUN) dev flake8-async --disable=$(ASYNC_IGNORED) $(ASYNC_FILES)

check-mypy:
	$(RUN) dev mypy

check-pyright:
	$(RUN) dev pyright

bench:
	$(RUN) dev -m benchmarks $(ARGS)

# Half an hour; ARGS="--json" for figures that a machine reads.  The short forms are part of `make test`.
torture:
	$(RUN) dev -m tests.torture $(ARGS)

fuzz: fuzz-trees fuzz-orders

fuzz-trees:
	$(RUN) dev python tests/supervision/fuzz.py $(ARGS)

# A million steps take some six minutes.
fuzz-orders:
	$(RUN) dev python tests/modes/test_fuzz_orders.py $(STEPS)

docs:
	$(RUN) docs -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build/html

format:
	$(RUN) dev ruff check --fix-only .
	$(RUN) dev ruff format .

clean:
	@rm -rf .venv .venv-3.* docs/_build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
