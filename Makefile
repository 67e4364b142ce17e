PYTHON ?= python3
RUN := .venv-run#   what running needs
DEV := .venv#       and what testing, checking and releasing need
FUZZ_MINUTES ?= 5
EVENTS ?= 500
LOCK := CUSTOM_COMPILE_COMMAND="make lock" $(DEV)/bin/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links

.PHONY: demo run test test-fast fuzz soak fleets check bench load docs kubernetes lock tools release-check clean

demo: $(RUN)/ready ## the exporter against a simulated account: http://localhost:10124/
	@echo 'Starting the exporter with a simulated account on http://localhost:10124/ (Ctrl-C stops it)'
	@$(RUN)/bin/python -m exporter --demo --poll.interval=5s --poll.idle-interval=5s

run: $(RUN)/ready ## the exporter for the account of TOGETHER_API_KEY
	@$(RUN)/bin/python -m exporter

test: $(DEV)/ready ## all tests, on all cores
	$(DEV)/bin/python -m pytest -n auto --dist worksteal -m "not alone"
	$(DEV)/bin/python -m pytest -m alone

test-fast: $(DEV)/ready ## the tests that start no other program
	$(DEV)/bin/python -m pytest -n auto --dist worksteal -m "not program"

fuzz: $(DEV)/ready ## property tests with random input for FUZZ_MINUTES; .hypothesis keeps what failed
	@end=$$(( $$(date +%s) + 60 * $(FUZZ_MINUTES) )); while [ "$$(date +%s)" -lt "$$end" ]; do \
		$(DEV)/bin/python -m pytest -n auto -m hypothesis --hypothesis-profile=fuzz --quiet || exit 1; \
	done

soak: $(DEV)/ready ## EVENTS random faults of the API, proxies and network; SEED=N replays a run
	$(DEV)/bin/python -m tests.soak --events=$(EVENTS) $(if $(SEED),--seed=$(SEED))

fleets: $(DEV)/ready ## the exporter watches 200 random fleets for a week each, in virtual time
	$(DEV)/bin/python -m tests.fleets

check: $(DEV)/ready ## format, lint and types
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy

bench: $(DEV)/ready ## speed and size, next to nginx and other exporters (about 15 minutes)
	$(DEV)/bin/python -m tests.bench

load: $(DEV)/ready ## scrapes while 2,000 hostile clients of each kind are connected
	$(DEV)/bin/python -m tests.load

docs: $(DEV)/ready ## what is generated: docs, dashboards, the screenshot
	$(DEV)/bin/python -m docs.generate
	$(DEV)/bin/python -m grafana.build
	$(DEV)/bin/python -m docs.screenshot

lock: $(DEV)/ready ## the locked dependencies, from pyproject.toml
	$(LOCK) --upgrade --output-file=deploy/docker/requirements.txt pyproject.toml
	$(LOCK) --upgrade --output-file=deploy/docker/build-requirements.txt --all-build-deps --only-build-deps pyproject.toml
	$(LOCK) --upgrade --output-file=.ci/requirements.txt --extra=test --extra=dev --allow-unsafe pyproject.toml

release-check: check test ## whether this commit can be released
	@test -z "$$(git status --porcelain)" || { echo 'Not committed:'; git status --short; exit 1; }
	@version=$$($(DEV)/bin/python -c 'import exporter; print(exporter.__version__)'); \
	grep -q "^## \[$$version\] - " CHANGELOG.md || { echo "CHANGELOG.md has no section [$$version]"; exit 1; }
	rm -rf dist
	$(DEV)/bin/python -m build

# The same as the chart, for those without Helm; applied with `kubectl apply --filename=deploy/kubernetes`.
CHART := deploy/helm/together-finetune-exporter
KUBERNETES ?= deploy/kubernetes
HELM := $(or $(wildcard .tools/helm),helm)

kubernetes: ## what is rendered from the chart (needs Helm: make tools)
	@mkdir -p $(KUBERNETES)
	@for file in config dashboards deployment networkpolicy prometheusrule service servicemonitor; do \
		$(HELM) template together-finetune-exporter $(CHART) --kube-version=1.33 \
			--values=$(CHART)/ci/kubernetes-values.yaml --show-only=templates/$$file.yaml 2>/dev/null \
			> $(KUBERNETES)/$$file.yaml || exit 1; \
	done

# Each once, into .tools, where the tests look first. All need a newer Go than Debian 12 has.
GO_TOOLS := \
	github.com/VictoriaMetrics/VictoriaMetrics/app/vmalert@v1.148.8 \
	github.com/prometheus/prometheus/cmd/promtool@v0.316.0 \
	github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0 \
	helm.sh/helm/v3/cmd/helm@v3.22.0
JSON_EXPORTER := github.com/prometheus-community/json_exporter
OPERATOR := github.com/prometheus-operator/prometheus-operator@v0.85.0

tools: ## the tools written in Go that some tests need (several minutes, needs Go 1.26)
	@for tool in $(GO_TOOLS); do \
		echo "Building $$tool"; GOBIN=$(CURDIR)/.tools nice go install "$$tool" || exit 1; \
	done
	@folder=$$(go mod download -json $(OPERATOR) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'); \
	mkdir -p .tools/crds && cp --no-preserve=mode "$$folder"/example/prometheus-operator-crd/*.yaml .tools/crds/

# Only `make bench` runs it. A module of its own, because `go install` would also look for other versions.
.tools/json_exporter: ## what the exporter is compared with (some minutes, needs Go)
	@mkdir -p .tools/src
	@printf 'module tools\n\nrequire %s v0.7.0\n' $(JSON_EXPORTER) > .tools/src/go.mod
	cd .tools/src && nice go build -mod=mod -o ../json_exporter $(JSON_EXPORTER)

clean: ## removes what the other targets made, except .tools and .hypothesis
	rm -rf $(RUN) $(DEV) .mypy_cache .pytest_cache .ruff_cache dist

$(RUN)/ready: deploy/docker/requirements.txt
	@echo 'Installing what the exporter needs into $(RUN) (once, some seconds)'
	@$(PYTHON) -m venv $(RUN)
	@$(RUN)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --requirement $<
	@touch $@

$(DEV)/ready: .ci/requirements.txt pyproject.toml
	@echo 'Installing what tests and checks need into $(DEV) (once, about a minute)'
	@$(PYTHON) -m venv $(DEV)
	@$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --requirement $<
	@$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
