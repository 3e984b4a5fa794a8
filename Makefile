# clinvk: everything that one does with it. `make` alone builds the release binary.
CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
export SOURCE_COMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
# `make PROFILE=small FEATURES=--no-default-features`: the smallest one, without the server.
PROFILE ?= release
FEATURES ?=
BINARY = target/$(PROFILE)/clinvk

all:
	$(CARGO) build --profile $(PROFILE) --locked $(FEATURES)

# The main job on the built-in echo backend: needs nothing but this machine.
demo: all
	sh tests/demo.sh $(BINARY)

# All tests that need no network and no vendor. Most of them wait for other processes, so there are more than there are cores.
check: export RUST_TEST_THREADS ?= 8
check:
	$(CARGO) test --locked

# The same features on the real vendor CLIs and agents, against our stand-in model server on loopback. Installs the pinned CLIs
# and, where they differ, the newest ones from the npm registry under target/; CLINVK_VENDOR=pinned does without the newest,
# CLINVK_VENDOR=claude@2.1.197,codex@0.169.0 tests these alone. The agents are from npm and PyPI; CLINVK_AGENTS=opencode,qwen
# tests these alone, CLINVK_AGENTS=-kimi,-vibe all but these, none none. Then the real SDKs and CLIs as clients of the server and
# of `clinvk acp`; completion in bash, zsh and fish; the server's metrics through promtool, its page in Chromium, and its keys from gopass.
check-real: all
	python3 tests/real/check.py --clinvk $(BINARY)
	python3 tests/real/clients.py --clinvk $(BINARY)
	python3 tests/real/check_metrics.py $(BINARY)
	python3 tests/real/check_completions.py $(BINARY)
	$(CARGO) test --locked --lib -- --ignored promtool
	python3 tests/real/check_page.py $(BINARY)
	$(CARGO) test --locked --test all -- --ignored gopass

# Prints ratios, asserts nothing. The second half needs the vendor CLIs, three agents and acpx, which it installs.
bench: all
	CLINVK=$(CURDIR)/$(BINARY) $(CARGO) bench --locked --bench bench
	CLINVK=$(CURDIR)/$(BINARY) $(CARGO) bench --locked --bench load
	python3 tests/real/bench.py $(BINARY)

# Requests that nobody would write, against the reader of requests: `make fuzz N=100000000`.
N ?= 1000000
fuzz:
	CLINVK_FUZZ=$(N) $(CARGO) test --release --locked --test all http::net::fuzz

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	for page in man/*; do groff -mdoc -ww -Tutf8 -z $$page 2>&1 | (! grep .) || exit 1; done

install: all
	install -d $(addprefix $(DESTDIR)$(PREFIX)/, bin share/man/man1 share/man/man5 share/man/man7)
	install -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/clinvk
	install -m 644 man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 644 man/*.7 $(DESTDIR)$(PREFIX)/share/man/man7

clean:
	$(CARGO) clean

.PHONY: all demo check check-real bench fuzz lint install clean
