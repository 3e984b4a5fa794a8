#!/bin/sh
# Other systems: clinvk compiles for them, and its static build runs in an empty root without /proc, /dev and a user database.
set -eu
cd "$(dirname "$0")/../.."
static=x86_64-unknown-linux-musl
for target in aarch64-apple-darwin x86_64-unknown-freebsd aarch64-unknown-linux-gnu $static; do
    # It may have to be fetched, and there may be nowhere to fetch it from.
    timeout 300 rustup target add "$target" >/dev/null 2>&1 || true
    if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
        echo "systems: this machine has no standard library for $target, and gets none: not checked"
        continue
    fi
    cargo check --quiet --locked --target $target
    echo "systems: compiles for $target"
done
[ -d "$(rustc --print sysroot)/lib/rustlib/$static/lib" ] || exit 0
cargo build --quiet --locked --target $static
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cp "${CARGO_TARGET_DIR:-target}/$static/debug/clinvk" "$root"
# There is nothing in it that could be linked at run time.
is() {
    [ "$1" = "$2" ] || { echo "systems: $1, not $2" >&2; exit 1; }
}
chroot=$(PATH=$PATH:/usr/sbin command -v chroot)
here() { env -i PATH=/ HOME=/ "$chroot" "$root" "$@" 2>&1; }
if [ "$(id -u)" != 0 ]; then here() { env -i PATH=/ HOME=/ /usr/bin/unshare --map-root-user "$chroot" "$root" "$@" 2>&1; }; fi
is "$(here /clinvk -b echo 'it runs')" 'it runs'
# By PATH and by its own name: it starts itself again, which /proc cannot tell it.
is "$(here clinvk -b echo 'found again')" 'found again'
is "$(here /clinvk -c 'and goes on')" 'and goes on'
is "$(here /clinvk sessions list --json | grep -c '"id"')" 2
# What cannot be known is said once, when a run is stopped: here one of a program that never ends.
here /clinvk config set backends.slow.command '["/clinvk", "serve", "--port", "0"]' >/dev/null
said=$(here /clinvk -b slow --timeout 1 hello || true)
is "$(echo "$said" | grep -c 'without /proc')" 1
is "$(echo "$said" | grep -c 'timed out\|time limit')" 1
echo "systems: the static build runs in an empty root"
