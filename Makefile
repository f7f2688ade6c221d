# What a person types. Needs make and Python 3.11 or newer with venv; .ci/run calls the same targets.
# Another Python: make PYTHON=python3.12 test · more to pytest: make test ARGS="-x -k leases"

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed.stamp
# One more than there are cores: a third of what daemons, kills and leases take is waiting.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
ARGS ?=
DEMO ?=
PICKED := not rules and not long and not full and not chaos and not bench
POSTGRES_15 := /usr/lib/postgresql/15/bin

# requirements.lock alone says what is installed: a caller's constraints, targets and build
# switches would contradict it. Where packages come from stays the caller's choice.
export PIP_CONSTRAINT := /dev/null
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER PIP_NO_BINARY PIP_NO_INDEX PIP_NO_DEPS
unexport PIP_REQUIRE_VIRTUALENV PIP_BUILD_CONSTRAINT PIP_REQUIREMENT PYTHONPATH PYTHONHOME
# Some hundred programs are started by the suite: each would compile all of ours anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-full lint lint-format lint-rules lint-types lint-imports lint-tidy \
	format bench chaos pictures lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED) ## the main job on a sandbox world, then the dashboard (DEMO="--headless --hours 48": without it)
	@$(BIN)/python -m sandbox.demo $(DEMO)

test: $(INSTALLED) ## the suite (ARGS= goes to pytest)
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "$(PICKED)" $(ARGS)

test-full: $(INSTALLED) ## what takes long, and what needs Debian packages; says which are missing, and fails
	$(BIN)/python tests/full_requirements.py
	$(BIN)/pytest -m full $(ARGS)
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m long $(ARGS)
	HOPSMETER_TEST_POSTGRES_BIN=$(POSTGRES_15) $(BIN)/pytest -n $(JOBS) -m "$(PICKED)" \
		tests/core/db tests/core/metering $(ARGS)

lint: lint-format lint-rules lint-types lint-imports lint-tidy ## everything that needs no run (make -k lint: all faults at once)

lint-format: $(INSTALLED)
	$(BIN)/ruff format --check .

lint-rules: $(INSTALLED)
	$(BIN)/ruff check .

lint-types: $(INSTALLED)
	$(BIN)/mypy

lint-imports: $(INSTALLED)
	$(BIN)/lint-imports --no-cache

lint-tidy: $(INSTALLED)
	$(BIN)/pytest -q --tb=short tests/test_tidy.py

format: $(INSTALLED) ## lay out the code, and mend what can be mended by rule
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## ratios to the floor, medians, side by side (some minutes)
	$(BIN)/pytest -s -q --timeout=1800 -m bench tests/bench $(ARGS)

chaos: $(INSTALLED) ## the long series of kill -9 (tens of minutes)
	$(BIN)/pytest --timeout=3600 -m chaos $(ARGS)

pictures: $(INSTALLED) ## docs/pictures anew, from the tests' own screens (Debian: libcairo2 fonts-dejavu-core)
	$(BIN)/python -m tests.tui.pictures

lock: $(INSTALLED) ## requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --all-extras pyproject.toml -o requirements.lock

clean: ## all that these targets made
	rm -rf .venv .demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# Hashes for all that is downloaded, and nothing resolved anew; the project itself is only linked.
# An interrupted install leaves no stamp and is taken up again.
$(INSTALLED): requirements.lock pyproject.toml
	@$(BIN)/python -c "" 2>/dev/null || { \
		command -v $(PYTHON) >/dev/null \
			|| { echo "There is no $(PYTHON) here; install Python 3.11 or newer, or name yours: make PYTHON=/path/to/python3"; exit 1; }; \
		$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" \
			|| { echo "$$($(PYTHON) --version 2>&1) is too old, hopsmeter needs 3.11 or newer; name a newer one: make PYTHON=python3.12"; exit 1; }; \
		$(PYTHON) -c "import ensurepip, venv" 2>/dev/null \
			|| { echo "$(PYTHON) comes without venv; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }; \
		echo "making .venv with $$($(PYTHON) --version)"; \
		$(PYTHON) -m venv --clear .venv; }
	@echo "installing the pinned packages into .venv (a minute, once)"
	@$(BIN)/python -m pip install -qq --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@
