# Developers' commands; each is also run, by hand or by .ci/run, as it stands here.
PYTHON ?= python

.PHONY: check format test test-slow models flops parity bench

check:  ## linters, types, import rules
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"

format:  ## what the linters can mend
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

test:  ## what must pass before a commit
	$(PYTHON) -m pytest -n 2 --dist worksteal

test-slow:  ## the rest, in minutes
	$(PYTHON) -m pytest -m slow

models:  ## the README's table of models, from the cards
	$(PYTHON) -m zoo.cli list --update README.md

flops:  ## operations of each network, into the cards; needs JAX
	KERAS_BACKEND=jax $(PYTHON) tools/flops.py --write

parity:  ## docs/parity.md: our networks beside docTR's, and their exports; takes an hour, needs TensorFlow and JAX
	KERAS_BACKEND=tensorflow $(PYTHON) tools/parity.py differences
	KERAS_BACKEND=jax $(PYTHON) tools/parity.py differences
	KERAS_BACKEND=tensorflow $(PYTHON) tools/parity.py exports
	$(PYTHON) tools/parity.py table

bench:  ## every measurement in bench/, one table each
	set -e; for file in bench/*.py; do echo "== $$file"; $(PYTHON) "$$file"; done
