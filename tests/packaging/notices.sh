#!/bin/sh
# Prints which crates of others are in the program, with their licences and the texts of those, from Cargo.lock and what it
# names. `sh tests/packaging/notices.sh [FEATURES]`, such as --no-default-features.
set -eu
metadata=$(mktemp)
trap 'rm -f "$metadata"' EXIT
cargo metadata --locked --format-version 1 "$@" --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" >"$metadata"
python3 - "$metadata" <<'PY'
import json, pathlib, sys

facts = json.load(open(sys.argv[1]))
packages = {package["id"]: package for package in facts["packages"]}
nodes = {node["id"]: node for node in facts["resolve"]["nodes"]}
# What only builds, such as macros, is not in the program.
open_, found = [facts["resolve"]["root"]], set()
while open_:
    for dep in nodes[open_.pop()]["deps"]:
        is_normal = any(kind["kind"] is None for kind in dep["dep_kinds"])
        is_macro = any("proc-macro" in target["kind"] for target in packages[dep["pkg"]]["targets"])
        if is_normal and not is_macro and dep["pkg"] not in found:
            found.add(dep["pkg"])
            open_.append(dep["pkg"])
print("clinvk has in it the crates of others that are listed here, under these licences.")
for package in sorted((packages[id] for id in found), key=lambda package: package["name"]):
    print(f"\n{package['name']} {package['version']}: {package['license']}")
    print(f"    {', '.join(package['authors']) or 'its authors'}, {package['repository'] or package['name']}")
texts = {}
for package in sorted((packages[id] for id in found), key=lambda package: package["name"]):
    folder = pathlib.Path(package["manifest_path"]).parent
    files = sorted(file for file in folder.iterdir() if file.name.upper().startswith(("LICENSE", "COPYING", "NOTICE")))
    if not files:
        raise SystemExit(f"{package['name']} {package['version']} has no text of its licence")
    for file in files:
        texts.setdefault(file.read_text().strip(), []).append(f"{package['name']} ({file.name})")
for text, names in texts.items():
    print(f"\n{'-' * 100}\n{', '.join(names)}\n\n{text}")
PY
