# make test   everything the tests need, then all tests (Debian; root or sudo where something is missing)
# make lint   formatting, linters, lengths
# make ci     what .ci/run runs
# make help   all targets

SHELL := /bin/sh
GO ?= go
BIN ?= crolang-aio
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -s -w -X github.com/crolang-p2p/crolang-aio/internal/version.version=$(VERSION) -X github.com/crolang-p2p/crolang-aio/internal/version.commit=$(COMMIT)
# Seconds since 1970 that every file of a release has.
EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
# Of a release, separated by commas; empty: all.
PLATFORMS ?=
FUZZTIME ?= 5s
CHURN ?= 2m
BENCH ?= .
TOOL := $(GO) tool -modfile=tools/go.mod

# The version is set above; asking git again fails in checkouts of another user.
export GOFLAGS ?= -buildvcs=false

.NOTPARALLEL:
.PHONY: help build test unit e2e interop portable peers lint lint-fix lengths house ci release release-test elsewhere fuzz churn bench vuln clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

build: ## the program, static, with its version
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) .

test: export CROLANG_AIO_REQUIRE_PEERS = 1
test: peers unit portable e2e ## all tests, with the race detector; installs their peers first

unit: ## tests of the packages; what needs a peer that is not there is skipped
	pkgs=$$($(GO) list ./...) && $(GO) test -race -timeout 15m $$(echo "$$pkgs" | grep -v /internal/e2e)

portable: ## the data plane's engine for systems other than Linux
	$(GO) test -race -timeout 10m -tags portable ./turnsrv/...

e2e: ## tests of the program against coturn, browsers, ICE stacks and npm packages, likewise
	$(GO) test -race -timeout 15m -count=1 ./internal/e2e/...

interop: export CROLANG_AIO_REQUIRE_PEERS = 1
interop: peers ## try the clients of docs/interop.md, and write there how it went
	$(GO) test -count=1 -timeout 15m -run 'TestICEClients|TestJVM|TestChromium|TestFirefox|TestTCPRelaysOfPion|TestTurnutils|TestTurnClientProto|TestSocketIO|TestRestartLosesNoCallOfAxios' ./internal/e2e -args -interop $(CURDIR)/docs/interop.md

churn: ## relays, channels and interfaces come and go below the kernel's relaying for CHURN (2m); root
	$(GO) test -race -count=1 -timeout 2h -v -run '^TestChurn$$' ./turnsrv/relay/offload -churn $(CHURN)

peers: ## install what the tests talk to
	./tools/peers.sh

lint: lengths house ## golangci-lint, on both engines of the data plane; lengths and layout
	$(TOOL) golangci-lint run ./...
	$(TOOL) golangci-lint run --build-tags portable ./turnsrv/...
	cd tools/release && $(GO) tool -modfile=../go.mod golangci-lint run -c ../../.golangci.yml ./...
	cd internal/e2e/pion5 && $(GO) tool -modfile=../../../tools/go.mod golangci-lint run -c ../../../.golangci.yml ./...

lint-fix: ## let the linters correct what they can
	$(TOOL) golangci-lint run --fix ./...

lengths:
	./tools/lengths.sh

house:
	$(GO) test -run 'TestHouse|TestArchitecturePage' ./internal/docs

ci: export CROLANG_AIO_REQUIRE_PEERS = 1
# Both engines, both word sizes, all kinds of packages; a tag builds every platform.
ci: PLATFORMS = linux/amd64,linux/arm/7,windows/amd64
ci: test churn lint release elsewhere release-test fuzz ## everything that must pass

release: ## programs, archives, packages, image, checksums and SBOM into dist/, the same bytes each time
	$(GO) run -C tools/release . -source '$(CURDIR)' -out '$(CURDIR)/dist' -version '$(VERSION)' -commit '$(COMMIT)' -time '$(EPOCH)' $(if $(PLATFORMS),-platforms '$(PLATFORMS)')

release-test: ## build it twice and compare; install, upgrade and purge the deb; run the image's root (root, Debian)
	$(GO) test -C tools/release -count=1 -timeout 30m .

elsewhere: ## compile the portable engine's tests for systems other than Linux
	@set -e; for os in darwin freebsd windows; do echo "$$os"; CGO_ENABLED=0 GOOS=$$os GOARCH=amd64 $(GO) test -trimpath -c -o /dev/null ./turnsrv/...; done

fuzz: ## every fuzz target for FUZZTIME (5s)
	FUZZTIME=$(FUZZTIME) GO=$(GO) ./tools/fuzz.sh

bench: export CROLANG_AIO_REQUIRE_PEERS = 1
bench: peers ## benchmarks, their peers in the same run
	$(GO) run ./bench/compare
	$(GO) run ./bench/compare -kernel
	$(GO) run ./bench/broker
	$(GO) run ./bench/attack
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m ./bench/... ./turnsrv/... ./internal/... ./hooks/...

vuln: ## known vulnerabilities; needs the database of vuln.go.dev
	$(TOOL) govulncheck ./...

clean:
	rm -rf $(BIN) dist
