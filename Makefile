PYTHON ?= python3
PROFILE ?= quick
PORT ?= 8888
BIN := .venv/bin
READY := .venv/.installed
DEV := .venv/.installed-dev
PEERS := .venv-bench/.installed
COLAB := .venv-colab/.installed

.DEFAULT_GOAL := help
.PHONY: help run test lab record sync bench book slides test-browser test-colab \
	test-versions test-mutants lint clean

help:  ## list these targets
	@grep -hE '^[a-z -]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'
	@echo
	@echo "  NB=04_pong_dqn   with run, record, test: one notebook    PROFILE=full   with run: train in full"
	@echo "  STUDY=1          with record: repeat the long studies behind the recorded curves"

$(READY): requirements.txt helpers/requirements.txt constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	@touch $(READY)

$(DEV): $(READY) requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $(DEV)

run: $(READY)  ## execute the notebooks into build/ and show what they learned
	$(BIN)/python -m tools.execute run $(NB) --profile $(PROFILE)

UNIT := $(if $(NB),tests/exercises tests/notebooks/test_$(NB).py \
	$(if $(filter 05% 06% 07%,$(NB)),tests/notebooks/test_beyond_dqn.py))
BOOKS := $(if $(NB),notebooks/$(NB).ipynb notebooks/solutions/$(NB).ipynb,\
	notebooks/*.ipynb notebooks/solutions/*.ipynb)

test: $(DEV)  ## style, unit tests, every notebook in quick
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q -n 2 --dist loadfile $(UNIT)
	$(if $(NB),$(BIN)/python -m pytest -q tests/test_hygiene.py -k $(NB))
	DQN_PROFILE=quick DQN_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q \
		-p no:cacheprovider -n 2 --dist loadfile \
		--nbval-lax --nbval-current-env --nbval-cell-timeout=300 --durations=4 $(BOOKS)

lab: $(READY)  ## open JupyterLab on the first notebook
	$(BIN)/jupyter lab --ip=127.0.0.1 --port=$(PORT) \
		$(if $(filter 0,$(shell id -u)),--allow-root) \
		$(if $(DISPLAY),,--no-browser) notebooks/01_q_table.ipynb

record: $(READY)  ## execute NB=… in full and keep its outputs
	DQN_STUDY=$(STUDY) $(BIN)/python -m tools.execute record $(NB) --profile full

sync: $(READY)  ## copy changed text from notebooks/py into the notebooks
	$(BIN)/python -m tools.execute sync

$(PEERS): benchmarks/requirements.txt requirements.txt constraints.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt -c constraints.txt
	@touch $(PEERS)

bench: $(READY) $(PEERS)  ## measure against stable-baselines3 (QUICK=1: a few minutes)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

book slides: $(READY)  ## the notebooks as web pages; as slides for a class
	$(BIN)/pip install --quiet --disable-pip-version-check -r book/requirements.txt -c constraints.txt
	$(BIN)/python -m tools.pages $@

test-browser: $(DEV) book slides  ## notebooks and pages in Debian's Chromium
	$(BIN)/pip install --quiet --disable-pip-version-check -r tests/browser/requirements.txt -c constraints.txt
	$(BIN)/python -m pytest -q -n 2 tests/browser

$(COLAB): tests/colab/requirements.txt
	$(PYTHON) -m venv .venv-colab
	.venv-colab/bin/pip install --quiet --disable-pip-version-check -r tests/colab/requirements.txt
	@touch $(COLAB)

test-colab: $(DEV) $(COLAB)  ## notebooks with Colab's library versions
	$(BIN)/python -m pytest -q -n 2 tests/colab

test-versions: $(DEV)  ## lowest, pinned and newest libraries, Python 3.10 to 3.13 (an hour)
	$(BIN)/pip install --quiet --disable-pip-version-check uv -c constraints.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.versions $(ONLY)

test-mutants: $(DEV)  ## do the unit tests notice small changes of the algorithm code? (an hour)
	$(BIN)/pip install --quiet --disable-pip-version-check cosmic-ray -c constraints.txt
	$(BIN)/python -m tests.mutants $(ONLY)

lint: $(DEV)  ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## delete build/ (checkpoints/ stays)
	rm -rf build
