PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo run test check bench docs clean

demo: .venv/ready ## the exporter against a simulated account: http://localhost:10124/metrics
	$(BIN)/together-finetune-exporter --demo --poll.interval=5s --poll.idle-interval=5s

run: .venv/ready ## the exporter for the account of TOGETHER_API_KEY
	$(BIN)/together-finetune-exporter

test: .venv/ready ## all tests
	$(BIN)/python -m pytest

check: .venv/ready ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/ready ## ratios of speed and size
	$(BIN)/python -m tests.bench

docs: .venv/ready ## what is generated: docs, the tables of README.md, dashboards, the screenshot
	$(BIN)/python -m docs.generate
	$(BIN)/python -m grafana.build
	$(BIN)/python -m docs.screenshot

clean: ## all that the other targets made
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	touch $@
