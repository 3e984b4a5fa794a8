#!/bin/sh
# `make deb`: builds the Debian package of both archives, looks at it with lintian, and runs what is in it. The archives'
# own tests are run, too, unless DEB_BUILD_OPTIONS=nocheck.
set -eu
version=$1 dist=$(realpath "$2")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cp "$dist/clinvk-$version.tar.gz" "$place/clinvk_$version.orig.tar.gz"
cp "$dist/clinvk-$version-vendor.tar.gz" "$place/clinvk_$version.orig-vendor.tar.gz"
tar -xzf "$dist/clinvk-$version.tar.gz" -C "$place"
tar -xzf "$dist/clinvk-$version-vendor.tar.gz" -C "$place/clinvk-$version"
cp -r tests/packaging/debian "$place/clinvk-$version/debian"
cd "$place/clinvk-$version"
export RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}"
unset CARGO_TARGET_DIR SOURCE_COMMIT MAKEFLAGS MFLAGS MAKELEVEL
# -d: cargo and rustc may be rustup's.
dpkg-buildpackage --no-sign --build=full -d
cd ..
# The sources are ours but for the crates, in which lintian would look for an hour.
lintian --allow-root --fail-on error --info --display-level '>=warning' ./*.deb
dpkg-deb --extract ./clinvk_"$version"-1_*.deb root
HOME="$place" root/usr/bin/clinvk -b echo 'the package runs'
