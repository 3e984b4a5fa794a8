#!/bin/sh
# `make distcheck`: the archives are the same when they are made again; what is in them is built, tested, installed, run and
# uninstalled without the network, and leaves nothing. TESTS are the tests, when not all.
set -eu
version=$1 dist=$(realpath "$2") tests=${3-}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
sh tests/packaging/dist.sh "$version" "$place/again" >/dev/null
for name in clinvk-$version.tar.gz clinvk-$version-vendor.tar.gz; do cmp "$dist/$name" "$place/again/$name"; done

tar -xzf "$dist/clinvk-$version.tar.gz" -C "$place"
tree=$place/clinvk-$version
tar -xzf "$dist/clinvk-$version-vendor.tar.gz" -C "$tree"
cp -a "$tree" "$place/before"
# No crate can come from anywhere else. The toolchain is where it is.
export RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}" CARGO_HOME="$place/cargo" CARGO_NET_OFFLINE=true
unset CARGO_TARGET_DIR SOURCE_COMMIT MAKEFLAGS MFLAGS MAKELEVEL
cd "$tree"
make all
if grep -aF -e "$place" -e "${HOME:?}/" target/release/clinvk; then echo "a path of this machine is in the binary" >&2; exit 1; fi
# It needs no library but those of libc.
if ldd target/release/clinvk | grep -v -e linux-vdso -e 'libc\.' -e 'ld-linux' -e 'ld-musl'; then exit 1; fi
target/release/clinvk version | grep -F "clinvk $version (unknown)"
make check TESTS="$tests"
# Installing starts no cargo.
make install CARGO=false DESTDIR="$place/root" PREFIX=/usr
grep -F 'ExecStart=/usr/bin/clinvk ' "$place/root/usr/lib/systemd/system/clinvk@.service"
make installcheck DESTDIR="$place/root" PREFIX=/usr
make uninstall DESTDIR="$place/root" PREFIX=/usr
left=$(find "$place/root" ! -type d)
[ -z "$left" ] || { echo "uninstall has left $left" >&2; exit 1; }
make distclean
rm -rf "$place/before/vendor"
diff -r "$place/before" "$tree"
echo "distcheck: clinvk-$version is fit to be distributed"
