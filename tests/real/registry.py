"""The list of scenarios that check.py runs: functions of a Scene, and of a case where there are some."""

from collections.abc import Callable
from dataclasses import dataclass

from backends import ALL, BACKENDS, Backend

SCENARIOS: list["Scenario"] = []


@dataclass
class Scenario:
    name: str
    backend: Backend
    play: Callable

    @property
    def label(self):
        return f"{self.backend.name} {self.name}"


def honours(option):
    """For `only`: the backends that do not refuse this option."""
    return lambda backend: option not in backend.refuses


def scenario(cases=None, only=lambda backend: True):
    """Register a function for every backend of which `only` holds.

    cases: name -> value, or a function of the backend that gives that; the function is registered
    once for each, as function-case, and called with the value.
    """

    def register(function):
        name = function.__name__.replace("_", "-")
        for backend in filter(only, BACKENDS.values()):
            if cases is None:
                SCENARIOS.append(Scenario(name, backend, function))
                continue
            for case, value in (cases(backend) if callable(cases) else cases).items():
                play = lambda scene, value=value: function(scene, value)
                SCENARIOS.append(Scenario(f"{name}-{case}", backend, play))
        return function

    return register


def scenario_of_all(function):
    """Register a function for all backends together."""
    SCENARIOS.append(Scenario(function.__name__.replace("_", "-"), ALL, function))
    return function
