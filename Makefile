# Gapless. Everything here runs on a machine that has Go and nothing else;
# the race detector also needs a C compiler.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CGO_ENABLED ?= 0

GO       ?= go
# Packages built and tested at the same time.
JOBS     ?= 2
FUZZTIME ?= 10s
# Histories that sim plays, and the first of them.
SEEDS    ?= 20000
FROM     ?= 1
CACHE    ?= $(shell $(GO) env GOCACHE)/gapless-tools
# SQLite is C made into Go by a machine, and many times slower if the race
# detector watches it. Our own code, down to the calls of it, is watched.
UNWATCHED := -race=false -d=checkptr=0
RACEFLAGS := $(foreach p,modernc.org/sqlite/lib modernc.org/libc/... modernc.org/memory,-gcflags='$(p)=$(UNWATCHED)')
LINT     := $(CACHE)/golangci-lint-$(shell awk '$$1 == "github.com/golangci/golangci-lint/v2" {print $$2}' tools/go.mod)

.PHONY: help build check fmt vet floors test race fuzz soak sim bench cover mutants reliability docs lint install-lint

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/gapless, a static binary
	$(GO) build -trimpath -ldflags="-s -w" -o bin/gapless ./cmd/gapless

check: fmt vet lint floors test race ## All that decides: format, vet, lint, floors, tests, race detector

fmt: ## Fail if a file is not formatted
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; fi

vet: ## Run go vet
	$(GO) vet ./...

floors: ## Check imports, dependencies, package comments and generated pages
	$(GO) test ./internal/repocheck

test: ## Run go vet and all tests; needs nothing but Go
	$(GO) vet ./...
	$(GO) test -p $(JOBS) $(TESTFLAGS) ./...

race: ## Run the short tests under the race detector; needs a C compiler
	CGO_ENABLED=1 GORACE="$(GORACE) atexit_sleep_ms=20" $(GO) test -p $(JOBS) -race $(RACEFLAGS) -short $(TESTFLAGS) ./...

fuzz: ## Run every fuzz target for FUZZTIME, 10s unless told otherwise
	FUZZTIME=$(FUZZTIME) JOBS=$(JOBS) .ci/fuzz

soak: ## Run the acceptance list of the Push API with a million documents, and histories by chance
	GAPLESS_SOAK=1 $(GO) test -count=1 -timeout 30m -run Acceptance -v ./connectors/pushapi
	GAPLESS_SOAK=1 $(GO) test -count=1 -timeout 60m -run 'ReplicasSoak|HistorySoak' ./engine -rapid.checks=10000

sim: ## Play SEEDS histories of the whole engine in virtual time from FROM on, or show every call of SEED
	@if [ -n "$(SEED)" ]; then \
		GAPLESS_SIM_SEED=$(SEED) $(GO) test -count=1 -run TestOneSeed -v ./internal/sim; \
	else \
		GAPLESS_SIM_SEEDS=$(SEEDS) GAPLESS_SIM_FROM=$(FROM) $(GO) test -count=1 -timeout 0 -run TestSeeds -v ./internal/sim; \
	fi

bench: ## Measure rates, CPU and memory against a bare loop
	$(GO) run ./internal/bench -check -o bench.md

mutants: ## Take out each safety line, one at a time, and show that a test notices
	$(GO) run ./internal/mutation -jobs $(JOBS)

reliability: ## Measure the tables of docs/reliability.md anew; takes some ten minutes
	$(GO) run ./internal/reliability --jobs $(JOBS)

cover: ## Show how much of each package its tests reach
	$(GO) test -p $(JOBS) -short -coverprofile=coverage.out ./...
	$(GO) tool cover -func=coverage.out | tail -1

docs: ## Rewrite the generated parts of the documents
	$(GO) test ./internal/repocheck -update

lint: $(LINT) ## Run the linter
	$(LINT) run --allow-parallel-runners ./...

install-lint: $(LINT) ## Build the linter at the version of tools/go.mod, once

$(LINT): tools/go.mod tools/go.sum
	@mkdir -p $(CACHE)
	cd tools && $(GO) build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@
