# Each target sets up what it needs, once: the virtual environment in .venv, and what is installed in it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# JupyterLab asks everyone who opens it for the first time whether it may fetch its news; in this environment it does not.
QUIET_NEWS = $(BIN)/jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements 2>/dev/null
# What a wheel brings to Jupyter, and an editable installation does not: the menu's entries and what a sanitised export keeps.
define JUPYTER_FILES
@mkdir -p $(VENV)/etc/jupyter/jupyter_server_config.d
@cp fmnist_lib/report/jupyter/server/fmnist_lib.json $(VENV)/etc/jupyter/jupyter_server_config.d/
@cp fmnist_lib/report/jupyter/nbconvert/jupyter_nbconvert_config.json $(VENV)/etc/jupyter/
endef
RECIPE ?= original
MODEL ?= resnet18

.DEFAULT_GOAL := help
.PHONY: help report handout lab test train bench faults lint notebooks clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  options: make report RETRAIN=1 trains every network again; make train MODEL=alexnet RECIPE=original"

report: $(VENV)/.lab ## run all notebooks on the real data; write report.md, build/report.html and build/report.pdf
	$(BIN)/python -m fmnist_lib report $(if $(RETRAIN),--retrain)

handout: $(VENV)/.lab ## write the students' version of the notebooks, without solutions, to build/handout/
	$(BIN)/python -m fmnist_lib handout $(if $(REPOSITORY),--repository $(REPOSITORY))

lab: $(VENV)/.lab ## open JupyterLab in this folder, on the first notebook
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --ServerApp.root_dir=. $(LAB) \
	  notebooks/01_data.ipynb

train: $(VENV)/.lab ## train a network, or go on with its training: MODEL=resnet18 RECIPE=original
	$(BIN)/python -m fmnist_lib train $(MODEL) --recipe $(RECIPE)

test: $(VENV)/.dev ## check style and types, run all tests and every notebook
	@scripts/install_browser.sh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist loadfile

bench: $(VENV)/.dev ## measure all anew, write benchmarks/*.json (five and a half hours, on an idle machine)
	@scripts/install_browser.sh
	@for name in recorder explorer watching loader muon roofline profile_step views units scaling "scaling --page" race results "results --page" claims; do \
	  set -- $$name; echo "benchmarks/$$1.py $$2"; $(BIN)/python benchmarks/$$1.py $$2 || exit; done

faults: $(VENV)/.dev ## try to break all that docs/promises.md promises (20 minutes); FRESH=1 tries what was tried, too
	$(BIN)/python benchmarks/faults.py $(if $(FRESH),--fresh)

lint: $(VENV)/.dev ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(VENV)/.lab ## run the notebooks anew in place, as they are committed
	$(BIN)/python -m fmnist_lib report --in-place

clean: ## remove what was built, but no run and no environment
	rm -rf build

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
	  { echo "error: Python 3.10 or newer is needed as '$(PYTHON)'. Install it, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "error: '$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# The stamps are written last, so that an installation that was interrupted is taken up again.
$(VENV)/.lab: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[lab]'
	@$(QUIET_NEWS)
	$(JUPYTER_FILES)
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@$(QUIET_NEWS)
	$(JUPYTER_FILES)
	@touch $@ $(VENV)/.lab
