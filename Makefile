# `make` lists what there is.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV := scripts/uv
RUN := $(UV) run --no-sync
# make test JOBS=3: in so many processes; by default as many as there are cores
JOBS ?= auto
# make test ORDER=random; what it prints as "Using --randomly-seed=5" is repeated by ORDER=5
ORDER ?= file
RANDOMLY = $(if $(ORDER:file=),-p randomly $(if $(ORDER:random=),--randomly-seed=$(ORDER)))
# pytest keeps what it compiles, whatever the environment says
PYTEST = PYTHONDONTWRITEBYTECODE= $(RUN) pytest -n $(JOBS) $(RANDOMLY)
SERVERS_DIR := $(CURDIR)/.servers/bin
SERVERS := hatchet-migrate hatchet-admin versitygw
HATCHET := github.com/hatchet-dev/hatchet/cmd
HATCHET_VERSION := v0.91.5
PYTHONS := 2

.PHONY: help sync demo test test-fast test-lowest test-pythons nightly mutants check format sizes docs servers servers-up servers-down bench bench-quick

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# compiled once and not in each of the hundreds of processes that tests start
sync: ## install everything that is needed to work on the project into .venv
	$(UV) sync --quiet --locked --all-extras --compile-bytecode
	@$(RUN) python -m compileall -q scythe_cli

demo: ## run the solar example: 300 systems, their yield printed
	$(UV) sync --quiet --locked --inexact --no-dev --extra solar
	$(RUN) python examples/solar/make_cases.py
	$(RUN) scythe allocate examples/solar/cases.csv --experiment solar
	$(RUN) scythe results show solar --rows 5
	$(RUN) python examples/solar/plot.py

test: sync ## run the tests; those that need real servers run after `make servers`
	$(PYTEST)

test-fast: sync ## run the tests that start no process: in less than a minute
	$(PYTEST) -m "unit or property"

test-lowest: ## run the unit tests with the lowest versions that pyproject.toml allows, in .venv-lowest
	python3 scripts/versions.py

test-pythons: ## run the unit tests with the newest Pythons of this machine (PYTHONS=2); downloads none
	python3 scripts/versions.py --pythons --at-most $(PYTHONS)

nightly: sync ## run the long rounds of the tests as well, and real simulators
	$(UV) sync --quiet --locked --inexact --all-extras --group simulators
	SCYTHE_NIGHTLY=1 $(PYTEST)
	$(MAKE) mutants

mutants: sync ## change what decides, one small thing at a time, and see that a quick test notices: most of an hour
	$(UV) sync --quiet --locked --inexact --all-extras --group mutants
	rm -rf mutants
	POLARS_MAX_THREADS=1 $(RUN) mutmut run
	$(RUN) python -m scripts.mutants

check: sync ## lint, format, types, structure, lock file, what documents say
	$(UV) lock --check --quiet
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) pyright
	$(RUN) lint-imports --no-cache --no-logo
	$(RUN) python scripts/structure.py --check
	$(RUN) python scripts/check_words.py
	$(RUN) python scripts/check_links.py
	$(RUN) python -m scripts.make_schemas --check
	$(RUN) python -m scripts.make_config_schema --check
	$(RUN) python -m scripts.make_man --check
	$(RUN) python -m scripts.make_architecture --check
	$(RUN) python -m scripts.make_field_types --check
	$(RUN) python -m scripts.make_migrating --check

format: sync ## format the code
	$(RUN) ruff check --fix
	$(RUN) ruff format

bench: sync ## measure everything beside its rivals: 20 minutes
	$(RUN) python -m bench

bench-quick: sync ## the same with small sizes: two minutes
	$(RUN) python -m bench --quick

sizes: sync ## measure what an installation takes, of the core and of all
	$(RUN) python scripts/sizes.py

docs: ## build the documents as a site into site/, and check their links; no network is needed for it
	$(UV) sync --quiet --locked --inexact --all-extras --group docs
	$(RUN) python scripts/check_links.py
	$(RUN) python -m scripts.make_front
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet
	@echo "open site/index.html"

servers: $(SERVERS_DIR)/hatchet-lite $(SERVERS:%=$(SERVERS_DIR)/%) ## build the servers of the live tests into .servers/, and install Slurm
	@scripts/find-postgres >/dev/null || true
	@scripts/find-slurm --install >/dev/null || true

servers-up: sync ## start PostgreSQL, the engine and an S3 server; prints the variables to export
	@$(RUN) python scripts/servers.py up

servers-down: sync ## end them
	@$(RUN) python scripts/servers.py down

# Without its version the SDK takes the engine for an old one.
$(SERVERS_DIR)/hatchet-lite: tools/servers/go.mod tools/servers/go.sum
	cd tools/servers && GOBIN=$(SERVERS_DIR) go install -ldflags "-X main.Version=$(HATCHET_VERSION)" $(HATCHET)/hatchet-lite
	@touch $@

$(SERVERS_DIR)/hatchet-%: tools/servers/go.mod tools/servers/go.sum
	cd tools/servers && GOBIN=$(SERVERS_DIR) go install $(HATCHET)/hatchet-$*
	@touch $@

$(SERVERS_DIR)/versitygw: tools/servers/go.mod tools/servers/go.sum
	cd tools/servers && GOBIN=$(SERVERS_DIR) go install github.com/versity/versitygw/cmd/versitygw
	@touch $@
