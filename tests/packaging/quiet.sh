#!/bin/sh
# No command but `serve`, `--server` and those that start a vendor's program makes a system call of the network.
# `sh tests/packaging/quiet.sh CLINVK`
set -eu
clinvk=$(realpath "$1")
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export HOME="$home" CLINVK_BACKEND=echo
cd "$home"
echo '{"tasks": [{"prompt": "a"}, {"prompt": "b"}]}' >tasks.json
mkdir -p .clinvk/prompts
echo 'Review {{lang}}: {{input}}' >.clinvk/prompts/review.md
echo '{"steps": [{"prompt": "a"}, {"prompt": "{{previous}}"}]}' >steps.json
commands=0
# What its calls may have in them.
allowed=+++
quiet() {
    commands=$((commands + 1))
    status=0
    strace -f -qq -e trace=%network -e signal=none -o calls "$clinvk" "$@" </dev/null >/dev/null 2>said || status=$?
    [ "$status" = 0 ] || { echo "clinvk $*: status $status: $(cat said)" >&2; exit 1; }
    if grep -v -e '+++' -e "$allowed" calls; then echo "clinvk $*: the network" >&2; exit 1; fi
}
quiet version
quiet -h
quiet help sessions list
quiet hello
quiet -c again
quiet --dry-run -b claude hello
quiet resume --last again
quiet parallel -f tasks.json
quiet map -f tasks.json '{}'
quiet compare --backends echo hello
quiet -t review --var lang=C hello
quiet map -f tasks.json --prompt-file .clinvk/prompts/review.md --var lang=C
quiet prompts
quiet chain -f steps.json
quiet sessions list
quiet sessions clean --all --dry-run
quiet sessions fsck
quiet config show --origin
quiet config set default_backend echo
quiet config validate
quiet backends --all
quiet models
quiet completions bash
quiet completions -- -b ''
quiet acp
quiet mcp
# It looks whether the user's own server is there, on a Unix socket.
allowed=AF_UNIX
quiet doctor
echo "quiet: $commands passed, 0 failed"
