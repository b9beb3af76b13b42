# Targets for people and for CI, which runs `make test` and nothing else.

GO       ?= go
# The entry runs a stored start before Go's own: internal/sysprog/entry_*.s.
LDFLAGS  ?= -s -w -E=tare.dev/tare/internal/sysprog.entry
# Registries speak HTTP/1.1, so HTTP/2 would be 0.5 MB for nothing.
TAGS     ?= nethttpomithttp2
BUILD     = CGO_ENABLED=0 $(GO) build -trimpath -tags='$(TAGS)' -ldflags='$(LDFLAGS)'
FUZZTIME ?= 30s
# Containers need root; RUNTIME lets `make demo` use another runtime.
SUDO     := $(shell [ "$$(id -u)" = 0 ] || echo sudo RUNTIME=$(RUNTIME))

export GOTOOLCHAIN ?= local

.PHONY: help
help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/tare for this machine
	$(BUILD) -o bin/tare ./cmd/tare
	@ln -sf tare bin/tare-runtime

.PHONY: cross
cross: ## bin/tare-CPU for every CPU
	@for arch in amd64 arm64 arm riscv64; do \
		echo "GOARCH=$$arch $(BUILD) -o bin/tare-$$arch ./cmd/tare"; \
		GOOS=linux GOARCH=$$arch $(BUILD) -o bin/tare-$$arch ./cmd/tare || exit 1; \
	done

.PHONY: check
check: format vet lint rules ## format, vet, staticcheck, rules of the tree

.PHONY: format vet lint rules
format: tools
	@out=$$(git ls-files -co --exclude-standard '*.go' | xargs build/tools/gofumpt -l) || exit 1; \
	if [ -n "$$out" ]; then echo "not gofumpt's format; build/tools/gofumpt -w mends it:"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet ./...
	$(GO) vet -tags vm ./test/...

lint: tools
	build/tools/staticcheck -tags vm ./...

rules:
	$(GO) test -short -count=1 ./internal/archtest

.PHONY: tools
tools:
	@$(GO) build -C tools -o ../build/tools/ mvdan.cc/gofumpt honnef.co/go/tools/cmd/staticcheck

.PHONY: test
test: ## everything; installs what it needs (root or sudo)
	@test/run.sh

.PHONY: vm vm-arm vm-old
vm: ## only the tests in a virtual machine with cgroup v2
	@test/run.sh vm

vm-arm: ## only those in machines with 64- and 32-bit ARM
	@test/run.sh vm-arm

vm-old: ## those of vm on Linux 5.10, which make test leaves out
	@test/run.sh vm-old

.PHONY: crash
crash: ## power cuts in more than 10,000 states, which make test leaves out
	@test/run.sh crash

.PHONY: demo
demo: ## a container from Debian packages, with limits, step by step
	@test/install.sh demo
	@$(MAKE) --no-print-directory build
	@$(GO) build -o build/demo-steps ./demo
	@$(SUDO) build/demo-steps

.PHONY: bench bench-start bench-store bench-engine
bench: bench-start bench-store bench-engine ## starts beside crun and runc, pulls and an engine beside docker, containerd, podman

bench-start bench-store bench-engine: bench-%:
	@test/install.sh demo peers
	@$(MAKE) --no-print-directory build
	@$(GO) build -o build/$@ ./bench/$*
	@$(SUDO) build/$@ -tare bin/tare

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (30s)
	@$(GO) list -f '{{.Dir}}' ./... | while read -r dir; do \
		sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$dir"/*_test.go 2>/dev/null | while read -r target; do \
			echo "$$dir $$target"; \
			(cd "$$dir" && $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) .) </dev/null || exit 1; \
		done || exit 1; \
	done

.PHONY: size
size: ## bytes of cmd/tare on each CPU, against its ceiling
	$(GO) test -count=1 -v -run 'Size|Linked' ./internal/archtest

.PHONY: clean
clean: ## remove what was built
	rm -rf bin build
