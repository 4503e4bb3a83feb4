# Everything here needs Python >= 3.11 and make, nothing else: the rest is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
PACKAGES := -e core -e transformer -e predictor -e rollout -e offline -e stream -e cli
IMAGES := transformer predictor rollout

.DEFAULT_GOAL := help
.PHONY: help fmt check quick test test-feast coverage e2e e2e-core bench bench-controller fuzz fairness chaos modes structure sim demo
.PHONY: docs lock proto manifests version clean

help:  ## Show this text
	@awk 'BEGIN {FS = ":.*## "} /^[-a-z0-9]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/build.txt

# The demo installs less than the tests do; both are pinned by hash.
$(VENV)/.demo: requirements/local.txt */pyproject.toml | $(UV)
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --require-hashes -r requirements/local.txt
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-build-isolation --no-deps $(PACKAGES)
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.demo
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

fmt: $(VENV)/.dev  ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: $(VENV)/.dev  ## Formatting, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy core/tandem transformer/tandem_transformer predictor/tandem_predictor rollout/tandem_rollout offline/tandem_offline stream/tandem_stream cli/tandem_cli
	$(BIN)/mypy --exclude benchmarks/model benchmarks
	$(BIN)/lint-imports --no-cache

# Whole folders of what computes and what is served in one process, less the files whose tests start processes and wait for
# them: about 75 s of processor time. Nothing is chosen by luck or by what failed last.
QUICK := core/tests rollout/tests/engine rollout/tests/render transformer/tests predictor/tests
SLOW := core/tests/oip core/tests/stores $(addprefix transformer/tests/test_,server.py metrics.py balancing.py) predictor/tests/test_server.py

quick: $(VENV)/.dev  ## The fast core of the tests, in less than a minute on two cores
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(QUICK) $(addprefix --ignore=,$(SLOW))

# Feast needs an older prometheus-client than Tandem's images have, so its tests have an environment of their own.
FEAST := .cache/feast

$(FEAST)/.installed: requirements/feast.txt | $(UV)
	$(UV) venv --quiet --clear --python $(BIN)/python $(FEAST)
	VIRTUAL_ENV=$(FEAST) $(UV) pip install --quiet --require-hashes -r requirements/feast.txt
	VIRTUAL_ENV=$(FEAST) $(UV) pip install --quiet --no-build-isolation --no-deps $(PACKAGES)
	@touch $@

test-feast: $(FEAST)/.installed  ## The tests of Feast repositories, in their own environment
	$(FEAST)/bin/python -m pytest tests/feast_repository

# What computes runs in two processes. What starts whole stacks, and asks whether they keep up, has the machine to itself.
COMPUTES := tests/charts tests/simulation tests/validation

test: $(VENV)/.dev $(FEAST)/.installed  ## All tests, against real Valkey, Envoy and ONNX Runtime
	$(BIN)/python -m pytest -n 2 --dist worksteal */tests $(COMPUTES)
	$(FEAST)/bin/python -m pytest tests/feast_repository
	$(BIN)/python -m pytest tests $(addprefix --ignore=,$(COMPUTES))

coverage: $(VENV)/.dev  ## Coverage of the packages by their own tests; fails below the floor in pyproject.toml
	$(BIN)/python -m pytest -q -n 2 --dist worksteal --cov --cov-report=term:skip-covered --cov-report=xml:build/coverage.xml */tests

e2e: $(VENV)/.dev  ## All tests on the Kubernetes cluster that KUBECONFIG names
	TANDEM_E2E=1 $(BIN)/python -m pytest -v --timeout=1800 tests/cluster

e2e-core: $(VENV)/.dev  ## Of these the core: install, answers, weights, a good and a bad canary, a refusal
	TANDEM_E2E=1 $(BIN)/python -m pytest -v --timeout=1800 -m core tests/cluster

bench: $(VENV)/.dev  ## Side by side with a stock KServe pair; results in benchmarks/results
	$(BIN)/python -m benchmarks.pair

bench-controller: $(VENV)/.dev  ## The controller with 1000 rollouts; etcd and kube-apiserver from KUBEBUILDER_ASSETS or PATH
	$(BIN)/python -m benchmarks.controller

fuzz: $(VENV)/.dev  ## 1,000,000 changed requests at both servers, going on where it was broken off; SECONDS=60: a part of them
	$(BIN)/python -m benchmarks.fuzz $(if $(SECONDS),--seconds $(SECONDS))

fairness: $(VENV)/.dev  ## What one client's attacks do to another's latency; results in benchmarks/results
	$(BIN)/python -m benchmarks.fairness

chaos: $(VENV)/.dev  ## Clients while store, predictor and transformer fail; results in benchmarks/results
	$(BIN)/python -m benchmarks.chaos

modes: $(VENV)/.dev  ## Every mode over the same rows; batch and joins beside bare ONNX Runtime and DuckDB
	$(BIN)/python -m benchmarks.modes

structure: $(VENV)/.dev  ## How long modules and functions are, what is named vaguely, what has no docstring
	$(BIN)/python -m benchmarks.structure

sim: $(VENV)/.dev  ## Rollouts of simulated traffic; results in benchmarks/results
	$(BIN)/python -m benchmarks.rollouts

demo: $(VENV)/.demo  ## Train, serve, and ship a second version as a canary; BAD=errors|latency|drift: a faulty one
	$(BIN)/python examples/athlete/demo.py $(if $(BAD),--bad $(BAD))

docs: $(VENV)/.dev  ## The docs as a site, in build/site; fails at a link that leads nowhere
	$(BIN)/python docs/make_site.py

COMPILE := compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	--no-emit-package tandem-core --no-emit-package tandem-transformer --no-emit-package tandem-predictor --no-emit-package tandem-rollout \
	--no-emit-package tandem-offline --no-emit-package tandem-stream

lock: $(UV)  ## Compile requirements/*.txt anew
	$(UV) pip $(COMPILE) cli/pyproject.toml --extra examples --extra offline --extra registry --extra stream --group pyproject.toml:workspace --group pyproject.toml:dev -o requirements/dev.txt
	$(UV) pip $(COMPILE) cli/pyproject.toml --extra examples --group pyproject.toml:workspace -c requirements/dev.txt -o requirements/local.txt
	for image in $(IMAGES); do \
	  $(UV) pip $(COMPILE) $$image/pyproject.toml -c requirements/dev.txt -o requirements/$$image.txt || exit 1; done
	$(UV) pip $(COMPILE) cli/pyproject.toml --extra offline --extra registry --extra stream -c requirements/dev.txt -o requirements/cli.txt
	echo 'onnxruntime-gpu[cuda,cudnn]' | $(UV) pip $(COMPILE) --no-emit-package onnxruntime - predictor/pyproject.toml -c requirements/dev.txt -o requirements/predictor-cuda.txt
	$(UV) pip $(COMPILE) cli/pyproject.toml core/pyproject.toml --extra feast --group pyproject.toml:workspace --group pyproject.toml:feast -o requirements/feast.txt
	$(UV) pip $(COMPILE) --no-annotate core/pyproject.toml --extra onnx -c requirements/dev.txt -o cli/tandem_cli/edge_requirements.txt
	$(UV) pip $(COMPILE) --group pyproject.toml:build -c requirements/dev.txt -o requirements/build.txt

proto: $(VENV)/.dev  ## Generate the protobuf code of the Open Inference Protocol
	$(BIN)/python core/tandem/oip/generate.py

manifests: $(VENV)/.dev  ## Generate what is generated in charts and manifests
	$(BIN)/tandem crd > charts/tandem/files/crd.yaml
	$(BIN)/python -m tandem_rollout.api.reference > docs/kubernetes/inferencerollout.md
	$(BIN)/python -m charts.dashboards
	$(BIN)/python charts/model_schema.py
	$(BIN)/python charts/values_docs.py charts/tandem charts/model
	$(BIN)/python manifests/generate.py

version:  ## Print the version; TO=0.2.0 writes another one everywhere
	@$(PYTHON) .ci/version.py $(TO)
	$(if $(TO),@$(MAKE) manifests)

clean:  ## Remove what was installed and generated
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build examples/*/data examples/*/bundles
