# Greyhound: the commands. Debian 12, root, Rust 1.89 or later.

.PHONY: help setup build run test soak fuzz bench bench-rfc2544 bench-instructions image clean
.DEFAULT_GOAL := help

help:            ## this list
	@sed -n 's/^\([a-z0-9-]*\): .*## /  make \1\t/p; s/^\([a-z0-9-]*\):  *## /  make \1\t/p' Makefile | expand -t 28

setup:           ## install what building and testing needs (Debian packages)
	@tests/lab/setup.sh

build: setup     ## build the release binary, target/release/greyhound
	cargo build --release

run: build       ## the example set-up on real packets, live until Ctrl-C; ONCE=1 ends by itself
	@/usr/bin/python3 tests/lab/run.py $(if $(ONCE),--once)

test: setup      ## every test there is; ONLY="clippy smoke" picks steps
	@tests/run.sh $(ONLY)

soak: build      ## all tunnel types at once while tables change, for ten minutes; SECONDS=60 or MINUTES=60
	@/usr/bin/python3 tests/soak/run.py --seconds $(or $(SECONDS),$(if $(MINUTES),$$(($(MINUTES) * 60)),600))

fuzz:            ## decapsulation under arbitrary bytes; EXECUTIONS=1000000000, SEED=1 to repeat a run
	@EXECUTIONS=$(or $(EXECUTIONS),1000000000) SEED=$(SEED) tests/run.sh fuzz

bench: build     ## 64-byte rates beside dpdk-testpmd on the same ports; QUICK=1, ONLY="W1 W5"
	@/usr/bin/python3 benches/run.py $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)")

bench-rfc2544: build ## zero-loss rates by frame size and the other trials of RFC 2544 and 5180; QUICK=1, ONLY="ipv4 gre"
	@/usr/bin/python3 benches/rfc2544.py $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)")

bench-instructions: build ## instructions per packet against benches/instructions.json; UPDATE="why" writes that
	@/usr/bin/python3 benches/instructions.py --stages $(if $(UPDATE),--update "$(UPDATE)")

image:           ## the container image, built with buildah from Debian packages alone
	@tests/lab/setup.sh --image
	cargo build --release
	@docker/build.sh

clean:           ## remove what was built
	cargo clean
