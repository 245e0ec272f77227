# Needs Python 3.11 or newer, git and make; everything else comes into .venv with the first target called.
PYTHON ?= python3
VENV   ?= .venv
LOCK   ?= requirements.lock
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
STUBS  := $(VENV)/.stubs
PROTOS := $(shell find proto -name '*.proto')
GENERATE := $(BIN)/python hatch_build.py && $(BIN)/python clients/python/generate_stubs.py
FAST   := -m "not integration" --ignore=tests/integration --ignore=tests/conformance --ignore=tests/faults --ignore=tests/simulation
UV     := uv==0.13.9
RESOLVE = build/lock/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
    --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)
RESOLVE_ALL = $(RESOLVE) pyproject.toml --group dev --extra demo
SITE_LOCK := docs/site/requirements.lock
LOCKS  := requirements.lock deploy/runtime.lock deploy/tools.lock $(SITE_LOCK)
PLATFORMS := x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin
# Hundreds of daemons start in a run of the tests; without this each would compile all its modules again.
unexport PYTHONDONTWRITEBYTECODE
SYNC   := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.PHONY: help demo test check soak replay bench proto broker fix docs docs-site dist deploy-check lock floors clean lint types layers protos breaking pages fast \
    simulate mutants

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 11

demo: $(STUBS) ## deliver 20,000 records from a real Kafka to an application, and check them (KEEP=1 keeps it running)
	@$(BIN)/mpsd demo $(if $(KEEP),--keep)

test: $(STUBS) ## run every test in WORKERS=3 processes (ARGS="-k lanes" selects some, ARGS=--cov adds coverage)
	@$(BIN)/python -m pytest -p tests.progress --numprocesses $(or $(WORKERS),3) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(STUBS) ## run what CI runs before the slow tests: the parts of check below, two at a time
	@$(MAKE) --no-print-directory --keep-going -j2 $(SYNC) types fast lint layers protos breaking pages

soak: $(STUBS) ## break real brokers and daemons at random for MINUTES=60 (SEED=… repeats the order of a run)
	@MINUTES=$(or $(MINUTES),60) SEED=$(SEED) $(BIN)/python -m pytest tests/faults -o faulthandler_timeout=0 $(ARGS)

replay: $(STUBS) ## replay RECORDS=50000 dead letters at RATE=1000 a second on a real broker, over a kill -9 and a join
	@RECORDS=$(or $(RECORDS),50000) RATE=$(or $(RATE),1000) $(BIN)/python -m pytest --quiet -o faulthandler_timeout=0 \
	    tests/integration/test_replay_at_size.py $(ARGS)

simulate: $(STUBS) ## run RUNS=500 seeds of the simulation, or one seed with its trace (SEED=…)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS))

mutants: $(STUBS) ## plant bugs, one at a time, and name the guarantee by which the simulation catches each (ONLY=… selects one)
	@$(BIN)/python -m tests.mutants $(if $(ONLY),--only "$(ONLY)")

bench: $(STUBS) ## measure speed, memory and latency on a real broker
	@$(BIN)/python -m bench $(ARGS)

proto: $(READY) ## generate the stubs
	@$(GENERATE) && touch $(STUBS)

broker: $(STUBS) ## run a development broker until Ctrl-C, and print its address
	@$(BIN)/mpsd broker

fix: $(STUBS) ## format the code, correct what ruff can correct, and write the generated pages
	@$(BIN)/ruff check --quiet --fix; $(BIN)/ruff format && $(BIN)/buf format -w proto && $(BIN)/python -m docs.generate

docs: $(STUBS) ## write the pages of docs/reference that are generated from the code
	@$(BIN)/python -m docs.generate

docs-site: build/docs/.ready ## build the documentation as a site in build/site, and check its links and anchors
	@build/docs/bin/python -m docs.site.source build/docs/source
	@build/docs/bin/sphinx-build --quiet --nitpicky --fail-on-warning --keep-going --jobs auto \
	    -c docs/site -d build/docs/doctrees build/docs/source build/site
	@echo "The site begins with build/site/index.html"

dist: $(STUBS) build/deploy/.ready ## build wheels, source distributions and their bill of materials into dist/, and check them (TAG=v0.1.0)
	@$(BIN)/python -m deploy.release $(if $(TAG),--tag $(TAG))

deploy-check: dist/changes.md ## check what stands in deploy/ with the tools of its users, and run the steps of the Dockerfile
	@build/deploy/bin/hadolint deploy/Dockerfile
	@build/deploy/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	@build/deploy/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@build/deploy/bin/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	@if command -v systemd-analyze >/dev/null; then mkdir -p build/systemd && sed 's:^ExecStart=[^ ]*:ExecStart=/bin/sh:' \
	    deploy/systemd/mpsd@.service > build/systemd/mpsd@.service && systemd-analyze verify build/systemd/mpsd@.service \
	    && systemd-analyze security --offline=true --threshold=20 build/systemd/mpsd@.service | tail -n 1; \
	    else echo "There is no systemd-analyze here: the unit is not checked"; fi
	@$(BIN)/python -m deploy.rehearse
dist/changes.md: build/deploy/.ready
	@test -e $@ || $(MAKE) --no-print-directory dist

floors: ## run the fast tests with the lowest versions that pyproject.toml allows, in build/floors
	@$(MAKE) --no-print-directory VENV=build/floors LOCK=floors.lock fast

lock: ## resolve the dependencies into the lock files (UPGRADE=1: the newest of everything)
	@$(PYTHON) -m venv build/lock && build/lock/bin/python -m pip install --quiet --disable-pip-version-check $(UV)
	@$(RESOLVE_ALL) --output-file requirements.lock
	@$(RESOLVE_ALL) --output-file floors.lock --resolution lowest-direct
	@$(RESOLVE) pyproject.toml --constraint requirements.lock --output-file deploy/runtime.lock
	@$(RESOLVE) deploy/tools.in --output-file deploy/tools.lock
	@$(RESOLVE) docs/site/requirements.in --output-file $(SITE_LOCK)
	@for python in 3.11 3.12 3.13 3.14; do for platform in $(PLATFORMS); do for lock in $(LOCKS); do \
	    build/lock/bin/uv pip install --quiet --dry-run --target build/none --no-deps --only-binary :all: --require-hashes \
	    --python-version $$python --python-platform $$platform -r $$lock \
	    || { echo "Python $$python on $$platform has to compile one of $$lock."; exit 1; }; done; done; done

clean: ## remove the environment and all that is generated
	@rm -rf .venv build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -prune -exec rm -rf {} + ; find proto clients -name '*_pb2*.py*' -delete

# The parts of `check`, each of which can be called alone.
lint: $(STUBS) ## part of check: the rules and the format of ruff
	@$(BIN)/ruff check; checked=$$?; $(BIN)/ruff format --check && exit $$checked
types: $(STUBS) ## part of check: mypy in strict mode
	@$(BIN)/mypy
layers: $(STUBS) ## part of check: the imports between packages
	@$(BIN)/lint-imports --no-logo
protos: $(STUBS) ## part of check: the rules and the format of buf
	@$(BIN)/buf lint proto && $(BIN)/buf format --diff --exit-code proto && echo "Protos ok"
breaking: $(STUBS) ## part of check: the protos against those of the last release (a tag v…)
	@release=$$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null); \
	if [ -z "$$release" ]; then echo "Protos are not compared: there is no release yet"; \
	else $(BIN)/buf breaking proto --against "$$(git rev-parse --git-common-dir)#tag=$$release,subdir=proto" \
	    && echo "Protos are compatible with $$release"; fi
pages: $(STUBS) ## part of check: the generated pages against the code
	@$(BIN)/python -m docs.generate --check
# The core is covered to the last branch by its own tests.
fast: $(STUBS) ## part of check: the tests that need neither a broker nor the simulation
	@COVERAGE_FILE=$(VENV)/.coverage-core $(BIN)/python -m pytest --quiet tests/unit/core --cov=server/mpsd/core --cov-fail-under=100 $(ARGS)
	@$(BIN)/python -m pytest --quiet $(FAST) --ignore=tests/unit/core $(ARGS)

# What the lock names is installed and nothing is resolved: see docs/decisions/the-lock.md.
$(READY): $(LOCK) pyproject.toml hatch_build.py
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("kafka-mps needs Python 3.11 or newer, but $(PYTHON) is %d.%d: say make PYTHON=/path/to/a/newer/python3" % sys.version_info[:2])'
	@echo "Preparing $(VENV) from $(LOCK) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@echo $(LOCK) > $@

$(STUBS): $(READY) $(PROTOS) clients/python/generate_stubs.py
	@$(GENERATE) && touch $@

# What builds the site, and what checks a release, has an environment of its own, so that nobody who works on the code waits for it:
# docs/decisions/site.md, docs/decisions/release.md.
build/docs/.ready: $(SITE_LOCK)
build/deploy/.ready: deploy/tools.lock
build/docs/.ready build/deploy/.ready:
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@$(@D)/bin/python -m pip check --quiet --disable-pip-version-check && touch $@
