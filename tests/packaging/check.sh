#!/bin/sh
# What packagers take from here is well-formed and of one version. `sh tests/packaging/check.sh`, with Debian's systemd and nix-bin.
set -eu
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
grep -q "^clinvk ($version-" tests/packaging/debian/changelog
grep -qx "pkgver=$version" tests/packaging/alpine/APKBUILD
grep -q "version = \"$version\"" tests/packaging/nix/default.nix
grep -q "^## $version" CHANGELOG.md

for script in tests/packaging/*.sh tests/packaging/alpine/APKBUILD; do sh -n "$script"; done
nix-instantiate --parse tests/packaging/nix/default.nix >/dev/null

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
# The program need not be installed for that.
sed 's|/usr/bin/clinvk|/bin/true|' tests/packaging/systemd/clinvk@.service >"$place/clinvk@alice.service"
cp tests/packaging/systemd/clinvk@.socket "$place/clinvk@alice.socket"
if said=$(cd "$place" && systemd-analyze verify --man=no ./clinvk@alice.service ./clinvk@alice.socket 2>&1) && [ -z "$said" ]; then :; else
    echo "$said" >&2
    exit 1
fi
# Of 100, less is better.
systemd-analyze security --offline=true --threshold=30 "$place/clinvk@alice.service" >"$place/security" || { cat "$place/security"; exit 1; }
tail -1 "$place/security"

# As far as it goes without asking crates.io.
cargo package --locked --offline --allow-dirty --no-verify --target-dir "$place" 2>"$place/said" || { cat "$place/said"; exit 1; }
# The project has no address that could be named.
if grep '^warning' "$place/said" | grep -v 'no documentation, homepage or repository'; then exit 1; fi
grep Packaged "$place/said"
