"""The list of scenarios that check.py runs: functions of a Scene, and of a case where there are some."""

from collections.abc import Callable
from dataclasses import dataclass

from agents import Agent
from backends import ALL, BACKENDS, Backend

SCENARIOS: list["Scenario"] = []


@dataclass
class Scenario:
    name: str
    backend: Backend | Agent
    play: Callable
    # Why it is not played; "" for what is.
    skipped: str = ""

    @property
    def label(self):
        return f"{self.backend.name} {self.name}"


def honours(option):
    """For `only`: the backends that do not refuse this option."""
    return lambda backend: option not in backend.refuses


def scenario(cases=None, only=lambda backend: True, of=BACKENDS, skips=lambda backend, name: ""):
    """Register a function for every one `of` these backends of which `only` holds.

    cases: name -> value, or a function of the backend that gives that; the function is registered
    once for each, as function-case, and called with the value.
    skips: why this one is not played for this backend; "" if it is.
    """

    def register(function):
        name = function.__name__.replace("_", "-")
        for backend in filter(only, of.values()):
            if cases is None:
                SCENARIOS.append(Scenario(name, backend, function, skips(backend, name)))
                continue
            for case, value in (cases(backend) if callable(cases) else cases).items():
                play, full = lambda scene, value=value: function(scene, value), f"{name}-{case}"
                SCENARIOS.append(Scenario(full, backend, play, skips(backend, full)))
        return function

    return register


def scenario_of_all(function):
    """Register a function for all backends together."""
    SCENARIOS.append(Scenario(function.__name__.replace("_", "-"), ALL, function))
    return function
