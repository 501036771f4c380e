# Everything runs in .venv, made from requirements.lock and made anew when the lock changes.
# A variable is given behind the target: make table1 CONFIG=config/smoke.yaml DIR=tried
## Makes .venv; 3.11 or newer
PYTHON ?= python3
## The grid; several files in quotes: each is laid over those before it
CONFIG ?= config/config.yaml
## CPU cores to use at once
CORES ?= all
## Where resources/, results/ and reports/ of the grid lie; one folder a grid keeps them apart
DIR ?= .
## For plan: where the jobs would run
PROFILE ?= profiles/default
## For export: how the weights are stored, dense or bitmask
FORMAT ?= dense

VENV := .venv
# Named after the digest of the lock, whatever the time of the file.
STAMP := $(VENV)/lock-$(shell $(PYTHON) -c "import hashlib; print(hashlib.sha256(open('requirements.lock', 'rb').read()).hexdigest()[:16])")
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
# What Snakemake says of a file that is not there, or cannot be read, is many lines.
SNAKEMAKE = $(RUN) python -m bench read $(CONFIG) && $(RUN) snakemake
OPTIONS = --cores $(CORES) --configfile $(CONFIG) --directory $(DIR)

.PHONY: table1 quick smoke plan calibrate report tune export inference timing profile scale test test-unit test-browser test-workflow test-real test-cluster lint format lock clean help

table1: $(STAMP)  ## Run the whole benchmark of CONFIG; print results/table1.csv
	$(SNAKEMAKE) results/table1.csv $(OPTIONS)

quick: CONFIG = config/quick.yaml
quick: DIR = quick
quick: table1  ## A part of it in minutes, and its page, in a folder quick/ of its own
	$(RUN) python -m bench report $(DIR)/results $(DIR)/reports/index.html --configfile $(CONFIG)

smoke: CONFIG = config/smoke.yaml
smoke: table1  ## The same on a tiny model made on the fly, without network

plan: $(STAMP)  ## Print what CONFIG takes on PROFILE: jobs, hours, memory, disk; run nothing
	$(RUN) python -m bench plan --configfile $(CONFIG) --profile $(PROFILE)

calibrate: $(STAMP)  ## Measure for a minute how fast this machine trains CONFIG, for its plan
	$(RUN) python -m bench calibrate --configfile $(CONFIG)

report: $(STAMP)  ## Build the leaderboard, reports/index.html, of the records that there are
	$(RUN) python -m bench report $(DIR)/results $(DIR)/reports/index.html --configfile $(CONFIG)

tune: $(STAMP)  ## Sweep the learning rates; results/tuning.csv
	$(SNAKEMAKE) results/tuning.csv $(OPTIONS)

export: $(STAMP)  ## Write the sparse model of CELL=results/cells/... and its card to a folder OUT
	cd $(DIR) && $(RUN) PYTHONPATH=$(CURDIR) python -m bench export $(CELL) $(OUT) --format $(FORMAT)

inference: $(STAMP)  ## Measure what the zeros of CELL are worth at inference: bytes, tokens a second
	cd $(DIR) && $(RUN) PYTHONPATH=$(CURDIR) python -m bench inference $(CELL)

timing: $(STAMP)  ## Print what share of each stage was start-up, loading and computing
	$(RUN) python -m bench timing $(DIR)/results

profile: $(STAMP)  ## Measure memory and time of each repair's training, side by side
	cd $(DIR) && $(RUN) PYTHONPATH=$(CURDIR) python -m bench profile \
		--csv results/profile.csv --figure results/figures/profile.png

scale: $(STAMP)  ## Measure how long a grid of 10,000 cells takes to plan, and its records to collect
	$(RUN) PYTHONPATH=tests python -m scale.grid

test: test-unit test-browser test-workflow test-real  ## All tests, fast ones first

.NOTPARALLEL: test

# Tensors are tiny there: a process a core, not a thread.
test-unit: $(STAMP)  ## Those that take seconds; also test-browser, test-workflow, test-real
	$(RUN) OMP_NUM_THREADS=1 python -m pytest --numprocesses auto tests/unit

# Runs of the workflow side by side: much of each is one process after the other.
test-workflow: $(STAMP)
	$(RUN) OMP_NUM_THREADS=1 python -m pytest --numprocesses auto --dist loadgroup tests/workflow

test-browser test-real: test-%: $(STAMP)
	$(RUN) python -m pytest tests/$*

test-cluster: $(STAMP)  ## A run on a real Slurm of one machine, installed where that is allowed
	$(RUN) tests/cluster/run

lint: $(STAMP)  ## ruff, snakefmt, snakemake --lint
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) snakemake --lint

format: $(STAMP)
	$(RUN) ruff format .
	$(RUN) snakefmt Snakefile workflow

$(STAMP):
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --requirement requirements.lock
	touch $@

lock:  ## Write requirements.lock and environment.yml anew, from what pyproject.toml allows
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/pip install torch==2.13.0
	.lock/bin/pip install '.[bench,dev]'
	.lock/bin/pip freeze --exclude sparse-repair-bench | sed 's/+cpu$$//' > requirements.lock
	{ sed '/- pip:/q' environment.yml; sed 's/^/      - /' requirements.lock; } > .lock/environment.yml
	mv .lock/environment.yml environment.yml
	rm -rf .lock build

help:  ## This list
	@echo 'make TARGET [VARIABLE=value ...]'; echo
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 15
	@echo; awk '/^## /{text = substr($$0, 4); next} text && $$2 == "?=" {print $$1 "\t" text " [" $$3 "]"} {text = ""}' $(MAKEFILE_LIST) | expand -t 15
