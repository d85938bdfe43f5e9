# make book       executes the notebooks and renders the book          (the first call installs everything)
# make test       lint, types, the stored book in a browser, notebooks, tests
# make notebooks  rewrites the committed outputs of the notebooks
# make bench      speed and memory, beside a reference
# make clean      removes what the others made, except .venv

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := book
.PHONY: book test notebooks bench clean

book: $(INSTALLED)
	$(BIN)/python tools/build_book.py

# Two files at a time, each on a thread of its own: threads that wait for each other cost more than they bring.
test: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/python tools/build_book.py --stored
	$(BIN)/python tools/check_book.py --stored
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --nbval notebooks
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

notebooks: $(INSTALLED)
	$(BIN)/python tools/run_notebooks.py $(NOTEBOOKS)

bench: $(INSTALLED)
	for script in benchmarks/[!_]*.py; do $(BIN)/python -m benchmarks.$$(basename $$script .py) || exit 1; done

clean:
	rm -rf book/_build results .pytest_cache .ruff_cache

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	touch $@

$(BIN)/pip:
	$(PYTHON) tools/make_venv.py $(VENV)
