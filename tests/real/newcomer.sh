#!/bin/sh
# A newcomer's walk: a clone of the last commit, a bare home, and nothing in the environment but a PATH with Rust, git, make
# and cc. What is typed is taken from README.md as it stands there.
# `sh tests/real/newcomer.sh [check]`: `make check` only where that is asked for, since it takes as long as ever.
set -eu
wanted=${1-}
here=$(realpath "$(dirname "$0")/../..")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
mkdir "$place/home" "$place/root"
rust=$(cd "$here" && rustc --print sysroot)/bin
# In the newcomer's shell: a home and a PATH, and DESTDIR, so that nothing of this machine's own is touched.
newcomer() {
    env -i HOME="$place/home" PATH="$place/root/usr/local/bin:$rust:/usr/bin:/bin" DESTDIR="$place/root" "$@"
}
fails() {
    echo "newcomer: $*" >&2
    exit 1
}

git clone --quiet "$here" "$place/clinvk"
cd "$place/clinvk"

# The commands of a section's first block, without what is said of them.
commands() {
    awk -v section="$1" '
        $0 == section { inside = 1; next }
        inside && /^    / { found = 1; print; next }
        inside && (found || /^## /) { exit }
    ' README.md | sed 's/^    //; s/  *#.*//'
}

typed=0
# Types a command, whose words must be in what it prints.
types() {
    printf '\n$ %s\n' "$1"
    newcomer CLINVK_BACKEND=echo sh -c "$1" >"$place/out" 2>&1 </dev/null || { cat "$place/out"; fails "\`$1\` has failed"; }
    tail -5 "$place/out"
    grep -qF -- "${2-}" "$place/out" || fails "\`$1\` does not say \`$2\`"
    typed=$((typed + 1))
}

commands '# clinvk' >"$place/two"
[ "$(cat "$place/two")" = "$(printf 'make demo\nmake check')" ] || fails "README has other first commands: $(cat "$place/two")"
types 'make demo' 'The server is told to stop, and ends with status 0.'
if [ "$wanted" = check ]; then types 'make check' 'test result: ok'; else echo 'newcomer: `make check` is not typed here: say `check` for it'; fi

install=$(commands '## Install' | head -1)
types "$install" 'man1'
types 'make installcheck PREFIX=/usr/local' 'clinvk '
for page in man1/clinvk.1 man5/clinvk-config.5 man7/clinvk-api.7; do
    file=$place/root/usr/local/share/man/$page
    if command -v man >/dev/null; then types "MANWIDTH=80 man --warnings -l $file | grep -c ." ''; else types "mandoc $file | grep -c ." ''; fi
    [ "$(tail -1 "$place/out")" -gt 100 ] || fails "$page cannot be read: $(cat "$place/out")"
done

# The prompt that README shows as a file, without the options in front of it, which name another backend.
mkdir -m 700 "$place/home/.clinvk" "$place/home/.clinvk/prompts"
commands '## Prompts as files' | awk '/^---$/ { fences++; next } fences == 2' >"$place/home/.clinvk/prompts/review.md"

# Without a vendor's program the built-in backend answers. What names another one, an id or a program that is not here is left out.
for section in '## Use' '## Sessions'; do
    commands "$section" >"$place/commands"
    while read -r command <&3; do
        case $command in
        *' -b '* | *3f2a*) echo "newcomer: not typed, it needs what is not here: $command"; continue ;;
        *'| jq '*) command -v jq >/dev/null || { echo "newcomer: not typed, there is no jq: $command"; continue; } ;;
        esac
        types "$command"
    done 3<"$place/commands"
done
[ "$typed" -ge 13 ] || fails "only $typed commands were typed: README.md looks different from what this script reads"
types 'clinvk -c again' again
types 'clinvk sessions list --json' '"total"'

types 'make uninstall PREFIX=/usr/local'
left=$(find "$place/root" ! -type d)
[ -z "$left" ] || fails "uninstall has left $left"
left=$(ls -A "$place/home" | grep -vx -e .cargo -e .clinvk || true)
[ -z "$left" ] || fails "the home has $left in it"
git status --porcelain | grep . && fails 'the tree has changed'
echo "newcomer: $typed passed, 0 failed"
