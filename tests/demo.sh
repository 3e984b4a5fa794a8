#!/bin/sh
# The main job on the built-in echo backend, in a home of its own that is removed afterwards.
set -eu
clinvk=$(realpath "$1")
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export HOME="$home" CLINVK_HOME="$home/clinvk" CLINVK_BACKEND=echo
cd "$home"

show() {
    printf '\n$ clinvk'
    for word; do printf ' %s' "'$word'"; done
    printf '\n'
    "$clinvk" "$@" </dev/null
}

show version
show 'hello from the echo backend'
printf '\n$ echo "and standard input" | clinvk "an argument"\n'
echo 'and standard input' | "$clinvk" 'an argument'
show -o json 'as one object'
show -o stream-json 'as events'
show -c 'the same session goes on'
show sessions list
show sessions show --turns "$("$clinvk" sessions list --json | sed -n 's/.*"id": "\(.*\)".*/\1/p' | head -1)"
show --dry-run 'and what would be executed'
show config get default_backend

echo '{"tasks": [{"id": "a", "prompt": "one"}, {"prompt": "two, after {{a.output}}", "depends_on": ["a"]}]}' >tasks.json
show parallel -q -f tasks.json
printf '\n$ printf "a.txt\\nb.txt\\n" | clinvk map -q "summarise {}"\n'
printf 'a.txt\nb.txt\n' | "$clinvk" map -q 'summarise {}'
show compare -q --agree --backends echo,echo:fast 'do you agree?'
echo '{"steps": [{"prompt": "a draft about {{input}}"}, {"prompt": "shorter: {{previous}}"}]}' >chain.json
show chain -q -f chain.json --input 'the weather'
