#!/bin/sh
# The main job on the built-in echo backend, in a home of its own that is removed afterwards.
set -eu
clinvk=$(realpath "$1")
home=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$home"' EXIT
export HOME="$home" CLINVK_HOME="$home/clinvk" CLINVK_BACKEND=echo no_proxy='*'
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

# The server, asked as three different programs would ask it. It answers until it is told to stop.
if command -v curl >/dev/null; then
    post() { curl -sS --fail-with-body "$url$1" -d "$2"; }
elif command -v python3 >/dev/null; then
    post() {
        python3 -c 'import sys, urllib.request as web; print(web.urlopen(sys.argv[1], sys.argv[2].encode()).read().decode())' \
            "$url$1" "$2"
    }
else
    printf '\nNOT SHOWN: the server. That needs curl or python3, and neither is installed.\n' >&2
    exit 0
fi

ask() {
    printf "\n\$ curl %s -d '%s'\n" "$url$1" "$2"
    post "$1" "$2"
    echo
}

printf '\n$ clinvk serve --port 0\n'
mkfifo "$home/said"
"$clinvk" serve --port 0 >"$home/said" 2>"$home/log" </dev/null &
server=$!
exec 3<"$home/said"
url=
while read -r line <&3; do
    echo "$line"
    case $line in
    *http://*) url=${line##* } ;;
    Press*) break ;;
    esac
done
[ -n "$url" ] || { cat "$home/log" >&2; exit 1; }
message='[{"role": "user", "content": "hello over HTTP"}]'
ask /api/v1/prompt '{"prompt": "hello over HTTP"}'
ask /api/v1/prompt '{"prompt": "as a stream", "output_format": "stream-json"}'
ask /openai/v1/chat/completions '{"model": "echo", "messages": '"$message"'}'
ask /anthropic/v1/messages '{"model": "echo", "max_tokens": 100, "messages": '"$message"'}'
kill "$server"
wait "$server"
server=
printf '\nThe server is told to stop, and ends with status 0. Its log:\n'
cat "$home/log"
