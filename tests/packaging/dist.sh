#!/bin/sh
# `make dist VERSION FOLDER`: clinvk-VERSION.tar.gz, the files of the last commit, and clinvk-VERSION-vendor.tar.gz, the crates of
# Cargo.lock. What is in them and nothing else decides about their bytes.
set -eu
version=$1 folder=$2
git ls-files --error-unmatch tests/packaging/dist.sh >/dev/null || { echo "make dist: this is no repository of clinvk" >&2; exit 1; }
git diff --quiet HEAD || echo "make dist: what is not committed is not in it" >&2
mkdir -p "$folder"
folder=$(realpath "$folder")
time=$(git log -1 --format=%ct)
git archive --format=tar --prefix="clinvk-$version/" HEAD | gzip -n9 >"$folder/clinvk-$version.tar.gz"
crates=$(mktemp -d)
trap 'rm -rf "$crates"' EXIT
${CARGO:-cargo} vendor --quiet --locked "$crates/vendor" >/dev/null
sh tests/packaging/notices.sh >"$crates/vendor/NOTICES"
tar --create --directory="$crates" --sort=name --format=ustar --mtime="@$time" --owner=0 --group=0 --numeric-owner \
    --mode=u=rwX,go=rX vendor | gzip -n9 >"$folder/clinvk-$version-vendor.tar.gz"
ls -l "$folder"/clinvk-"$version"*.tar.gz
