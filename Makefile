# The whole work in one word each. Assumes python3 (3.11 or newer), git and make; everything else goes into .venv.

PYTHON ?= python3
PROFILE ?= quick
PUBLISHED ?= paper
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help report study book lab test slow check canary bench publish clean distclean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */\1\t/' | awk -F '\t' '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo "  PROFILE=$(PROFILE) can be smoke, quick or paper: make study PROFILE=paper"

report: study  ## train the quick profile and build its report (PROFILE=quick)
	$(BIN)/lnlab report $(PROFILE)

study: $(STAMP)  ## train all runs of a profile, skipping what is done (PROFILE=quick)
	$(BIN)/lnlab study $(PROFILE)

book: $(STAMP)  ## build the published book from its committed pages and data, no training
	@$(BIN)/python -m lnlab.digests
	$(BIN)/jupyter-book build book -n -W --keep-going
	@test -f _build/html/index.html || { echo "error: _build/html/index.html was not written" >&2; exit 1; }
	@echo "Open file://$(CURDIR)/_build/html/index.html"

lab: $(STAMP)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

test: $(STAMP)  ## run the tests: unit, doctest, notebooks
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

slow: $(STAMP)  ## run the slow tests: every page executed again, the book built, simulations
	$(BIN)/python -m pytest -n auto --dist loadfile -m slow

check: $(STAMP)  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

NEXT := 'sphinx>=9,<10' 'myst-nb>=1.4' 'sphinx-book-theme>=1.4' sphinx-togglebutton sphinx-copybutton sphinx-comments \
	sphinx-design sphinx-external-toc sphinx-jupyterbook-latex sphinx-multitoc-numbering sphinxcontrib-bibtex \
	sphinx-mathjax-offline vl-convert-python linkify-it-py
CANARY := _build/canary

canary: $(STAMP)  ## build the book with the Sphinx that jupyter-book does not take yet
	rm -rf $(CANARY)/book $(CANARY)/html && mkdir -p $(CANARY) && cp -r book _config.yml CHANGELOG.md $(CANARY)
	cp lnlab/book/terms.py $(CANARY)/book/_ext
	cd $(CANARY) && $(CURDIR)/$(BIN)/jupyter-book config sphinx book
	@{ echo "import sys; sys.path.insert(0, 'book/_ext')"; \
		sed "s/'jupyter_book', //; s/'lnlab.book.terms'/'terms'/" $(CANARY)/conf.py; } > $(CANARY)/book/conf.py
	test -d $(CANARY)/venv || $(PYTHON) -m venv $(CANARY)/venv
	$(CANARY)/venv/bin/python -m pip install -q $(NEXT)
	cd $(CANARY) && venv/bin/python -m sphinx -W --keep-going -q book html
	@echo "Open file://$(CURDIR)/$(CANARY)/html/index.html"

bench: $(STAMP)  ## time the trainer against its peers
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench]'
	$(BIN)/lnlab bench

publish: $(STAMP)  ## maintainers: refresh the committed pages and data from results/paper (PUBLISHED=paper)
	$(BIN)/lnlab publish $(PUBLISHED)

clean:  ## remove built books and caches; keeps results and .venv
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## also remove .venv; keeps results
	rm -rf $(VENV)

# Reinstalled when the list of packages or their versions change.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: lnlab needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "       Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[book,test,cluster]'
	@touch $@
