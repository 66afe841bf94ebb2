# robinfo: `make demo` and `make test` do everything on a machine with Python 3.11-3.13 and nothing else installed.
#   VENV=DIR      where the environment is, or is to be made (default .venv); one that is there is reused
#   PYTHON=PATH   the interpreter to make it from (default: the first of python3, python, python3.13, ... that fits)
VENV ?= .venv
PYTHON ?=
BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
THEORY_AND_METHODS = nbs/index.ipynb $(wildcard nbs/theory/*.ipynb nbs/methods/*.ipynb nbs/guides/*.ipynb)

.PHONY: help env demo test properties lab docs docs-serve notebooks export lint clean
.DEFAULT_GOAL := help

help:
	@echo "make demo        environment, then the quickstart: two representations of real images, measured and compared"
	@echo "make test        environment, then every check (ARGS='ruff mypy' runs only those)"
	@echo "make properties  every statement of the theory on 5,000 random examples instead of 300"
	@echo "make lab         JupyterLab on the notebooks"
	@echo "make docs        the site, into docs/_build/html;  make docs-serve  the same on http://127.0.0.1:8000"
	@echo "make notebooks   run the theory and methods notebooks in place;  make export  write robinfo/ from them"
	@echo "make lint        ruff and mypy;  make clean  remove what was built (not the environment, not results/)"

# The environment is made by a script that needs nothing but the standard library; it returns at once when all is there.
env:
	@set -e; py="$(PYTHON)"; \
	if [ -z "$$py" ] && [ -x "$(BIN)/python" ]; then py="$(BIN)/python"; fi; \
	if [ -z "$$py" ]; then \
	  for name in python3 python python3.13 python3.12 python3.11; do \
	    if "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then py=$$name; break; fi; \
	  done; \
	fi; \
	if [ -z "$$py" ]; then \
	  echo "robinfo needs Python 3.11, 3.12 or 3.13, and none of python3, python, python3.13, python3.12, python3.11 is one." >&2; \
	  echo "Install one, or name it: make $(or $(MAKECMDGOALS),env) PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! "$$py" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  echo "robinfo needs Python 3.11 or later; $$py is $$("$$py" --version 2>&1)" >&2; exit 1; \
	fi; \
	"$$py" tests/make_environment.py "$(VENV)"

demo: env
	@echo "== demo: robinfo run quickstart --profile cpu"
	@echo "   Scikit-learn's handwritten digits; one representation trained the usual way and one for the worst case."
	@echo "   For both: normal and worst-case mutual information, the accuracy bound that follows, and the accuracy"
	@echo "   under attack of classifiers above them. A few minutes on two cores."
	@start=$$(date +%s); robinfo run quickstart --profile cpu && \
	echo "== demo: done in $$(( $$(date +%s) - start )) s. What was measured:" && \
	folder=$$(robinfo run quickstart --profile cpu 2>/dev/null | tail -n 1) && \
	find "$$folder" -type f \( -name '*.png' -o -name '*.svg' -o -name 'metrics.json' -o -name 'notebook.ipynb' \) | sort | \
	sed -e '/metrics.json$$/s/^/   table     /' -e '/notebook.ipynb$$/s/^/   notebook  /' -e '/[gn]$$/{/metrics\|notebook/!s/^/   figure    /;}'

test: env
	@python tests/run_checks.py $(ARGS)

properties: env
	pytest tests/test_theory_*.py --examples 5000

lab: env
	jupyter lab nbs

docs: env
	python -m sphinx -q -W --keep-going -j auto -c docs nbs docs/_build/html
	@echo "the site: docs/_build/html/index.html"

docs-serve: docs
	python -m http.server --directory docs/_build/html --bind 127.0.0.1 8000

notebooks: env
	python tests/run_notebooks.py $(THEORY_AND_METHODS)
	nbdev_clean

export: env
	nbdev_export
	nbdev_clean

lint: env
	ruff check .
	python -m mypy

clean:
	rm -rf docs/_build nbs/api/generated nbs/experiments/_runs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find robinfo tests docs nbs -name __pycache__ -type d -prune -exec rm -rf {} +
