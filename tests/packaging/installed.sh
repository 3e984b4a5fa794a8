#!/bin/sh
# `make installcheck`: the installed program runs, and its pages and completions are those that belong to it.
set -eu
clinvk=$1 man=$2 bash=$3 zsh=$4 fish=$5
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export HOME="$home"
"$clinvk" version
[ "$("$clinvk" -b echo 'it runs')" = 'it runs' ]
for page in man1/clinvk.1 man5/clinvk-config.5 man7/clinvk-api.7; do test -r "$man/$page"; done
"$clinvk" completions bash | cmp - "$bash/clinvk"
"$clinvk" completions zsh | cmp - "$zsh/_clinvk"
"$clinvk" completions fish | cmp - "$fish/clinvk.fish"
