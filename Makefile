# Everything a fresh checkout needs: `make demo` shows the bench at work, `make test` checks it.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/hashbench run --method soda --backbone lite --bits 16,32,64,128

.DEFAULT_GOAL := help

help:  ## Say what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /	/'

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hashbench needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev]'
	touch $@

setup: .venv/.installed  ## Create .venv with everything in it

demo: setup  ## Run SODA on the built-in data at four code lengths, print the table, draw the curves, write the report
	$(RUN)
	$(BIN)/hashbench plot pr --where method=soda
	$(BIN)/hashbench report --where method=soda

test: setup  ## Run the test suite, on all cores
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

nightly: studies  ## What takes hours: every built-in study, and the slow tests
	$(BIN)/python -m pytest -m slow

studies: setup  ## Carry out every built-in study in its quick size (hours on two cores)
	@for study in $$($(BIN)/python -c 'from hashbench import studies; print(*studies.names())'); do \
		$(BIN)/hashbench ablate $$study || exit 1; done

lint: setup  ## Check style, types and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## Remove the environment and everything built; records and caches stay
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help setup demo test nightly studies lint clean
