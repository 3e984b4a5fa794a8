#!/usr/bin/env python3
"""Run clinvk with the real vendor CLIs and agents against the stand-in model server.

    check.py [--clinvk PATH] [backend ...] [scenario ...]

Without words everything runs; a word that is no backend chooses the scenarios whose names start
with it.  CLINVK is another way to name the binary; which versions of the CLIs run, CLINVK_VENDOR
says (vendor.py), which agents, CLINVK_AGENTS (agents.py).  --list prints what there is.
"""

import argparse
import os
import signal
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed

import agents
import check_agents  # noqa: F401  these fill the list of scenarios
import check_answers  # noqa: F401
import check_batch  # noqa: F401
import check_client_tools  # noqa: F401
import check_conversations  # noqa: F401
import check_endings  # noqa: F401
import check_launchers  # noqa: F401
import check_mcp  # noqa: F401
import check_options  # noqa: F401
import check_permissions  # noqa: F401
import check_pool  # noqa: F401
import check_sessions  # noqa: F401
import vendor
from backends import ALL, BACKENDS
from registry import SCENARIOS
from scene import Scene

# More than two cores' worth: many scenarios wait most of the time.
AT_ONCE = 3


def chosen(words):
    """The scenarios that these words choose."""
    known = [*BACKENDS, ALL.name, *agents.AGENTS]
    backends = [word for word in words if word in known] or known
    names = [word for word in words if word not in known]
    for name in names:
        if not any(scenario.name.startswith(name) for scenario in SCENARIOS):
            sys.exit(f"check.py: no scenario's name starts with `{name}`: see --list")
    return [
        scenario
        for scenario in SCENARIOS
        if scenario.backend.name in backends and (not names or scenario.name.startswith(tuple(names)))
    ]


def folders(scenarios):
    """Where the programs are that these scenarios need, each installed."""
    names = [name for name in agents.AGENTS if any(one.backend.name == name for one in scenarios)]
    vendors = any(one.backend.name not in names for one in scenarios)
    return [*(vendor.installed() if vendors else []), *([agents.installed(names)] if names else [])]


def label(clis, scenario):
    version = clis.label(scenario.backend.name)
    return f"{version}: {scenario.label}" if version else scenario.label


def play(scenario, clis, clinvk):
    """Play one scenario; gives (what went wrong or "", its runs, seconds)."""
    since, problem = time.monotonic(), ""
    with Scene(clinvk, scenario.backend, clis) as scene:
        try:
            scenario.play(scene)
        except AssertionError as error:
            problem = str(error) or traceback.format_exc()
        except Exception:
            problem = traceback.format_exc()
    return problem, scene.runs, time.monotonic() - since


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = vendor.ROOT / "target" / "release" / "clinvk"
    parser.add_argument("--clinvk", default=os.environ.get("CLINVK", default))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    scenarios = chosen(options.words)
    if options.list:
        print("\n".join(scenario.label for scenario in scenarios))
        return 0
    clinvk = os.path.abspath(options.clinvk)
    if not os.access(clinvk, os.X_OK):
        sys.exit(f"check.py: `{clinvk}` is no program: build it first, or name it with --clinvk")
    played = [one for one in scenarios if not one.skipped]
    rounds = [(clis, one) for clis in folders(played) for one in played if clis.tests(one.backend.name)]
    left_out = [one for one in scenarios if not any(one is other for _, other in rounds)]
    for one in left_out:
        print(f"skipped           {one.label}: {one.skipped or 'its program is not tested, see above'}", flush=True)
    # A shell that starts this with `&` has it ignore SIGINT, as nohup does SIGHUP, and clinvk, to which some scenarios send
    # them, would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, lambda *_: None)
    since, failed = time.monotonic(), []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = {pool.submit(play, scenario, clis, clinvk): label(clis, scenario) for clis, scenario in rounds}
        try:
            for done in as_completed(waiting):
                name = waiting[done]
                problem, runs, seconds = done.result()
                print(f"{'FAILED' if problem else 'ok':6} {seconds:6.2f} s  {name}", flush=True)
                if problem:
                    failed.append(name)
                    print(f"    {problem}", *(ran.report() for ran in runs), sep="\n", flush=True)
                else:
                    # A dry run has nothing to tell.
                    lines = [ran.line() for ran in runs if "--dry-run" not in ran.words]
                    print(*lines, sep="\n", end="\n" if lines else "", flush=True)
        except KeyboardInterrupt:
            print("interrupted: the scenarios that are under way come to their ends", file=sys.stderr)
            pool.shutdown(cancel_futures=True)
            return 130
    print(f"{time.monotonic() - since:.0f} s", *(f"FAILED {name}" for name in failed), sep="\n")
    print(f"{len(rounds) - len(failed)} passed, {len(failed)} failed, {len(left_out)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
