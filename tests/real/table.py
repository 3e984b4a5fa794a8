#!/usr/bin/env python3
"""All benchmarks, one after the other, as one table: ratios first. They assert nothing.

    table.py PATH-OF-CLINVK FILE      FILE gets the same as JSON
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CARGO = [os.environ.get("CARGO", "cargo"), "bench", "--locked", "--bench"]
FIELDS = ("what", "value", "unit", "wanted", "detail")


def row(what, value, unit, wanted, detail=""):
    """Prints a figure for the table; tests/bench/row.rs says what its parts are."""
    print(what, f"{value:.3f}", unit, wanted, detail, sep="\t", flush=True)


def ms(seconds):
    return f"{seconds * 1000:.0f} ms"


def rows(command, env):
    """The figures that a benchmark prints, as they come."""
    with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            parts = line.rstrip("\n").split("\t")
            if len(parts) == len(FIELDS):
                figure = dict(zip(FIELDS, parts, strict=True))
                print(shown(figure), flush=True)
                yield figure | {"value": float(figure["value"])}
    if process.returncode:
        raise AssertionError(f"`{' '.join(map(str, command))}` ended with {process.returncode}")


def shown(figure):
    value, unit = float(figure["value"]), figure["unit"]
    number = f"{value:.2f}" if value < 10 else f"{value:.0f}"
    gap = "" if unit in ("x", "/s") else " "
    wanted = figure["wanted"] and f"{figure['wanted']}{gap}{unit}"
    return f"{number + gap + unit:>10}  {wanted:>8}  {figure['what']}" + (f"  ({figure['detail']})" if figure["detail"] else "")


def machine():
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({model or platform.machine()}), {memory:.0f} GiB, Linux {platform.release()}"


def main():
    clinvk, file = sys.argv[1:]
    clinvk = str(Path(clinvk).resolve())
    env = os.environ | {"CLINVK": clinvk}
    python = [[sys.executable, str(HERE / name), clinvk] for name in ("bench.py", "bench_pool.py")]
    figures, problems = [], []
    for command in [[*CARGO, "bench"], [*CARGO, "load"], *python]:
        try:
            figures.extend(rows(command, env))
        except AssertionError as problem:
            problems.append(str(problem))
    # Ratios of one run on one machine say more than what a machine takes.
    figures.sort(key=lambda figure: figure["unit"] != "x")
    about = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "load": os.getloadavg()[1]}
    Path(file).write_text(json.dumps(about | {"figures": figures, "problems": problems}, indent=1) + "\n")
    print(f"\n{about['date']}, {about['machine']}\n{'seen':>10}  {'wanted':>8}")
    for figure in figures:
        print(shown(figure))
    sys.exit("\n".join(problems) or None)


if __name__ == "__main__":
    main()
