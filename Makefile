# clinvk: everything that one does with it. `make` alone builds the release binary; `make help` lists the rest.
# The variables of the GNU conventions: DESTDIR, PREFIX or prefix, bindir, mandir ...; CARGO_TARGET_DIR says where it is built.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
CARGO ?= cargo
INSTALL ?= install
INSTALL_PROGRAM ?= $(INSTALL) -m 755
INSTALL_DATA ?= $(INSTALL) -m 644

PREFIX ?= /usr/local
prefix ?= $(PREFIX)
exec_prefix ?= $(prefix)
bindir ?= $(exec_prefix)/bin
datarootdir ?= $(prefix)/share
mandir ?= $(datarootdir)/man
docdir ?= $(datarootdir)/doc/clinvk
bashcompletiondir ?= $(datarootdir)/bash-completion/completions
zshcompletiondir ?= $(datarootdir)/zsh/site-functions
fishcompletiondir ?= $(datarootdir)/fish/vendor_completions.d
systemdunitdir ?= $(prefix)/lib/systemd/system
DESTDIR ?=

# `make PROFILE=small FEATURES=--no-default-features`: the smallest one, without the server.
PROFILE ?= release
FEATURES ?=
# What `make check` is to test, when not all.
TESTS ?=

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
BINARY = $(TARGET_DIR)/$(if $(CARGO_BUILD_TARGET),$(CARGO_BUILD_TARGET)/)$(PROFILE)/clinvk
# The crates of the second tarball, where that was unpacked: then nothing is asked of the network.
OFFLINE := $(if $(wildcard vendor),--offline --config 'source.crates-io.replace-with="vendor"' --config 'source.vendor.directory="vendor"')
# Of a repository that is ours; an archive that lies in another one has no commit.
OURS := $(shell [ "$$(git rev-parse --show-toplevel 2>/dev/null)" = "$(CURDIR)" ] && git ls-files --error-unmatch src/cli/version.rs 2>/dev/null)
export SOURCE_COMMIT ?= $(if $(OURS),$(shell git rev-parse --short=12 HEAD),unknown)

# No path of the machine that builds is in the binary.
CARGO_HOME_DIR := $(or $(CARGO_HOME),$(HOME)/.cargo)
all: export RUSTFLAGS := $(RUSTFLAGS) --remap-path-prefix=$(CURDIR)=/clinvk --remap-path-prefix=$(CARGO_HOME_DIR)=/cargo
all:
	$(CARGO) build --profile $(PROFILE) --locked $(OFFLINE) $(FEATURES)

# The main job on the built-in echo backend: needs nothing but this machine.
demo: all
	sh tests/demo.sh $(BINARY)

# All tests that need no network and no vendor. Most of them wait for other processes, so there are more than there are cores.
check: export RUST_TEST_THREADS ?= 8
check:
	$(CARGO) test --locked $(OFFLINE) $(TESTS)

# The same features on the real vendor CLIs and agents, against our stand-in model server on loopback. Installs the pinned CLIs
# and, where they differ, the newest ones from the npm registry under target/; CLINVK_VENDOR=pinned does without the newest,
# CLINVK_VENDOR=claude@2.1.197,codex@0.169.0 tests these alone. The agents are from npm and PyPI; CLINVK_AGENTS=opencode,qwen
# tests these alone, CLINVK_AGENTS=-kimi,-vibe all but these, none none. Then the real SDKs and CLIs as clients of the server and
# of `clinvk acp`; completion in bash, zsh and fish; the server's metrics through promtool, its page in Chromium, its keys from gopass, and
# two servers in one home behind haproxy. A list is distributed by GNU parallel over two hosts of sshd, and by Slurm.
check-real: all
	python3 tests/real/check.py --clinvk $(BINARY)
	python3 tests/real/clients.py --clinvk $(BINARY)
	python3 tests/real/check_metrics.py $(BINARY)
	python3 tests/real/check_completions.py $(BINARY)
	python3 tests/real/check_engines.py $(BINARY)
	$(CARGO) test --locked --lib -- --ignored promtool
	python3 tests/real/check_page.py $(BINARY)
	python3 tests/real/check_several.py $(BINARY)
	$(CARGO) test --locked --test all -- --ignored gopass

# Prints one table of all figures, ratios first, and asserts nothing; target/bench.json has the same. The vendor CLIs, agents and
# programs of the same kind that it measures beside clinvk are installed under target/.
bench: all
	python3 tests/real/table.py $(BINARY) $(TARGET_DIR)/bench.json

# A server under a mixed load on all its surfaces for MINUTES, with clients that leave and backends that hang, crash, flood and fork:
# nothing is left, memory is flat, every turn that was acknowledged is on the disk. Then a server is killed 1,000 times with requests in
# flight. At last kept children of the real vendor CLIs are killed, for MINUTES in all, S seconds of each vendor's. SEED chooses the load.
MINUTES ?= 10
S ?= $(shell expr $(MINUTES) '*' 20)
soak: all
	python3 tests/real/soak.py $(BINARY) $(MINUTES) $(SEED)
	$(CARGO) test --locked $(OFFLINE) --test all -- --ignored killed_1000_times
	python3 tests/real/soak_pool.py $(BINARY) $(S)

# Inputs by chance against all that reads: N of each target, `make fuzz N=1000000 SEED=7`. Those that start processes or write files do
# some hundreds a second, `make fuzz TEST=base::fuzz` does without. A failure names its target, seed and case:
# `make fuzz SEED=7 CASE=1234 TEST=backend::fuzz` tries that one of these tests alone.
N ?= 1000000
SEED ?= 0
TEST ?= fuzz::
fuzz:
	CLINVK_FUZZ=$(N) CLINVK_FUZZ_SEED=$(SEED) $(if $(CASE),CLINVK_FUZZ_CASE=$(CASE)) \
		$(CARGO) test --profile fuzz --locked $(OFFLINE) --test all $(TEST) -- --show-output

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	for page in man/*; do groff -mdoc -ww -Tutf8 -z $$page 2>&1 | (! grep .) || exit 1; done
	mandoc -Tlint -W warning man/*

# What was built, and nothing else: no cargo is started here.
install:
	@test -x $(BINARY) || { echo "make install: there is no $(BINARY): run make first" >&2; exit 1; }
	$(INSTALL) -d $(DESTDIR)$(bindir) $(addprefix $(DESTDIR)$(mandir)/, man1 man5 man7) $(DESTDIR)$(docdir) \
		$(DESTDIR)$(bashcompletiondir) $(DESTDIR)$(zshcompletiondir) $(DESTDIR)$(fishcompletiondir) $(DESTDIR)$(systemdunitdir)
	$(INSTALL_PROGRAM) $(BINARY) $(DESTDIR)$(bindir)/clinvk
	$(INSTALL_DATA) man/*.1 $(DESTDIR)$(mandir)/man1
	$(INSTALL_DATA) man/*.5 $(DESTDIR)$(mandir)/man5
	$(INSTALL_DATA) man/*.7 $(DESTDIR)$(mandir)/man7
	$(INSTALL_DATA) README.md LICENSE CHANGELOG.md $(wildcard vendor/NOTICES) $(DESTDIR)$(docdir)
	$(INSTALL_DATA) src/cli/completions/clinvk.bash $(DESTDIR)$(bashcompletiondir)/clinvk
	$(INSTALL_DATA) src/cli/completions/_clinvk $(DESTDIR)$(zshcompletiondir)
	$(INSTALL_DATA) src/cli/completions/clinvk.fish $(DESTDIR)$(fishcompletiondir)
	$(INSTALL_DATA) tests/packaging/systemd/clinvk@.socket $(DESTDIR)$(systemdunitdir)
	sed 's|/usr/bin/clinvk|$(bindir)/clinvk|' tests/packaging/systemd/clinvk@.service >$(DESTDIR)$(systemdunitdir)/clinvk@.service
	chmod 644 $(DESTDIR)$(systemdunitdir)/clinvk@.service

install-strip:
	$(MAKE) INSTALL_PROGRAM='$(INSTALL_PROGRAM) -s' install

uninstall:
	rm -f $(DESTDIR)$(bindir)/clinvk
	rm -f $(addprefix $(DESTDIR)$(mandir)/, $(foreach page,$(notdir $(wildcard man/*)),man$(subst .,,$(suffix $(page)))/$(page)))
	rm -f $(addprefix $(DESTDIR)$(docdir)/, README.md LICENSE CHANGELOG.md NOTICES)
	rm -f $(DESTDIR)$(bashcompletiondir)/clinvk $(DESTDIR)$(zshcompletiondir)/_clinvk $(DESTDIR)$(fishcompletiondir)/clinvk.fish
	rm -f $(DESTDIR)$(systemdunitdir)/clinvk@.service $(DESTDIR)$(systemdunitdir)/clinvk@.socket
	-rmdir $(DESTDIR)$(docdir) 2>/dev/null

# What `make install` has installed does its job.
installcheck:
	sh tests/packaging/installed.sh $(DESTDIR)$(bindir)/clinvk $(DESTDIR)$(mandir) $(DESTDIR)$(bashcompletiondir) \
		$(DESTDIR)$(zshcompletiondir) $(DESTDIR)$(fishcompletiondir)

# The sources of the last commit, and in a second archive the crates that they need: the same bytes each time. Unpacked into
# the first one's folder, the second makes `make` do without the network.
DIST := $(TARGET_DIR)/dist
dist:
	sh tests/packaging/dist.sh $(VERSION) $(DIST)

# Both archives are made twice, unpacked, built and tested offline, installed, run and uninstalled: nothing is left.
distcheck: dist
	sh tests/packaging/distcheck.sh $(VERSION) $(DIST) '$(TESTS)'

# The Debian package of both archives. Needs dpkg-dev, debhelper and lintian.
deb: dist
	sh tests/packaging/deb.sh $(VERSION) $(DIST)

clean:
	$(CARGO) clean

distclean: clean
	rm -rf vendor

help:
	@echo 'make              build $(BINARY)'
	@echo 'make demo         show the main job, on the built-in echo backend'
	@echo 'make check        all tests that need no network and no vendor'
	@echo 'make check-real   the same on the real vendor CLIs, agents and clients'
	@echo 'make bench        print figures;  make soak  load and kill a server, MINUTES=10;  make fuzz  inputs by chance;  make lint  format, clippy, manual'
	@echo 'make install      what was built, to DESTDIR, PREFIX (/usr/local), bindir, mandir ...; also install-strip, uninstall, installcheck'
	@echo 'make dist         the archives of the sources and of their crates;  make distcheck  prove them;  make deb  the same as a package'
	@echo 'make clean        remove what was built;  make distclean  and the crates of the second archive'

.PHONY: all demo check check-real bench soak fuzz lint install install-strip uninstall installcheck dist distcheck deb clean distclean help
