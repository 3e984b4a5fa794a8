"""acpx as a client of `clinvk acp`: one-shot prompts, and sessions that its own background process keeps."""

import json
import os
import subprocess

from play import ANSWER, HELLO, PROMPT, agent, heard, holds, play, play_model, same, scenario


def acpx(*words, name="echo"):
    told = agent(name)
    # One string, which acpx takes apart itself.
    words = ["acpx", "--agent", " ".join(told["command"]), "--cwd", told["folder"], "--format", "text", *words]
    env = told["env"] | {"PATH": os.pathsep.join([os.environ["PATH"], told["env"]["PATH"]])}
    how = {"cwd": told["folder"], "stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 80}
    return subprocess.run(words, env=env, **how)


def succeeds(ran, *says):
    same(ran.returncode, 0, f"status, with {ran.stdout}{ran.stderr}")
    for words in says:
        holds(words in ran.stdout, f"`{words}` is not in {ran.stdout}{ran.stderr}")


@scenario(runs=None)
def exec():
    succeeds(acpx("exec", PROMPT), PROMPT, "[done] end_turn")


@scenario(runs=None)
def exec_with_a_vendor():
    play_model(HELLO)
    succeeds(acpx("exec", PROMPT, name="vendors"), ANSWER)
    holds(PROMPT in json.dumps(heard()), "the model did not get the prompt")


@scenario(runs=None)
def session():
    """Its own process holds ours between the prompts, and ends it when it is told to."""
    succeeds(acpx("sessions", "new"))
    succeeds(acpx("prompt", "first"), "first")
    succeeds(acpx("prompt", "second"), "second")
    succeeds(acpx("sessions", "close"))


play()
