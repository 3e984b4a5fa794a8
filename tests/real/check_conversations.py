"""The compatible surfaces on the real CLIs: what the model is told when a conversation goes on, and what is left of it."""

import json
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from contextlib import contextmanager

from backends import BACKENDS
from registry import scenario
from scene import ANSWER, HELLO, files, holds, same, wait_until
from server import listens
from standin import Text


class Served:
    def __init__(self, process, url):
        self.process, self.url = process, url

    def kill(self):
        """As the system does when memory is short."""
        self.process.kill()
        self.process.wait()

    def post(self, path, body, **headers):
        """The answer's headers and its JSON."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.headers, json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read().decode()}") from error


@contextmanager
def serving(scene, pool={}, variables={}, backends={}, **server):
    """`clinvk serve` with the scenario's backend; at its end nothing of it is left."""
    # Agents read a project's files in their own way.
    trusted = {"project_config": scene.backend.name not in BACKENDS}
    of_server = {"default_backend": scene.backend.name, "server": trusted | server}
    config = {**of_server, "pool": {scene.backend.name: pool}, "backends": backends}
    scene.plant(scene.home / ".clinvk/config.json", json.dumps(config))
    with tempfile.TemporaryFile("w+") as log:
        command, env = [scene.clinvk, "serve", "--port", "0"], scene.environment | variables
        process = subprocess.Popen(command, cwd=scene.work, env=env, stdout=subprocess.PIPE, stderr=log)
        try:
            yield Served(process, listens(process, log))
        finally:
            process.terminate()
            status = process.wait(60)
            process.stdout.close()
    # One that was killed sweeps nothing.
    if status != -signal.SIGKILL:
        same(status, 0, "exit status")
        scene.expect_nothing_left()


def talk(scene, served, turns, **headers):
    """A conversation of so many turns over chat/completions; what the model was told in each, as (role, text)."""
    messages, told = [{"role": "system", "content": "You are brief."}], []
    for turn in range(turns):
        messages.append({"role": "user", "content": f"prompt number {turn}"})
        scene.server.requests.clear()
        scene.server.play(Text(HELLO))
        _, answer = served.post("/openai/v1/chat/completions", {"model": scene.backend.name, "messages": messages}, **headers)
        said = answer["choices"][0]["message"]["content"]
        same(said, ANSWER, "the answer")
        messages.append({"role": "assistant", "content": said})
        told.append(scene.server.conversation())
    return told


def vendors_sessions(scene):
    return sorted(path for path in files(scene.home) if path.endswith(".jsonl") and ("projects/" in path or ".codex/sessions/20" in path))


def ours(scene):
    return [path for path in files(scene.home / ".clinvk") if path.startswith("sessions/") and path.endswith((".json", ".turns.jsonl"))]


@scenario(only=lambda backend: backend.name in ("claude", "codex"))
def surface_conversation_is_resumed(scene):
    with serving(scene) as served:
        told = talk(scene, served, 3)
        users = [text for role, text in told[-1] if role == "user"]
        asked = [text for text in users if "prompt number" in text]
        holds(len(asked) >= 3 and asked[-1].strip().endswith("prompt number 2"), f"the last request told {users}")
        holds("prompt number 0" not in asked[-1], f"the history was told again in the new turn: {asked[-1]}")
        holds(len(vendors_sessions(scene)) == 1, f"the vendor's sessions: {vendors_sessions(scene)}")
        listed = subprocess.run(
            [scene.clinvk, "sessions", "list"], env=scene.environment, capture_output=True, text=True, check=True
        )
        holds("prompt number" not in listed.stdout, f"a hidden session is listed: {listed.stdout}")
    same((vendors_sessions(scene), ours(scene)), ([], []), "sessions after the server's end")


@scenario(only=lambda backend: backend.name in ("claude", "codex"))
def surface_reuse_ends_in_time(scene):
    with serving(scene, reuse_secs=1) as served:
        talk(scene, served, 1)
        wait_until(lambda: not vendors_sessions(scene) and not ours(scene), "the sessions are forgotten")


@scenario()
def surface_without_reuse_tells_all_again_and_leaves_nothing(scene):
    with serving(scene) as served:
        told = talk(scene, served, 2, **{"x-clinvk-session": "off"})
        last = "\n".join(text for _, text in told[-1])
        holds("prompt number 0" in last and "prompt number 1" in last, f"the last request told {last[-1500:]}")
        same((vendors_sessions(scene), ours(scene)), ([], []), "sessions beside the server")


@scenario()
def surface_previous_response(scene):
    with serving(scene) as served:
        scene.server.play(Text(HELLO))
        _, first = served.post("/openai/v1/responses", {"model": scene.backend.name, "input": "the first prompt"})
        scene.server.requests.clear()
        scene.server.play(Text(HELLO))
        body = {"model": scene.backend.name, "input": "the second prompt", "previous_response_id": first["id"], "store": False}
        _, second = served.post("/openai/v1/responses", body)
        same(second["output"][0]["content"][0]["text"], ANSWER, "the answer")
        told = "\n".join(text for _, text in scene.server.conversation())
        places = [told.find(text) for text in ("the first prompt", ANSWER, "the second prompt")]
        holds(-1 not in places and places == sorted(places), f"at {places} in {told[-1500:]}")


@scenario()
def surface_has_no_tools(scene):
    """A chat client does not expect its completion to edit files: by default the model has no tool that could."""
    with serving(scene) as served:
        scene.server.requests.clear()
        scene.server.play(Text(HELLO))
        served.post("/openai/v1/chat/completions", {"model": scene.backend.name, "messages": [{"role": "user", "content": "hi"}]})
        same([name for name in offered(scene) if name not in HARMLESS], [], "tools that the model was offered")


# codex offers these in any case: clinvk answers the first with no, the others change nothing.
HARMLESS = ["request_user_input", "view_image", "web_search"]


def offered(scene):
    """The names of the tools that the model was offered."""
    names = []
    for request in scene.server.requests:
        if request["side"]:
            continue
        for tool in request["body"].get("tools") or []:
            # gemini lists its functions in one tool, which may be empty.
            functions = tool["functionDeclarations"] if "functionDeclarations" in tool else [tool]
            names += [function.get("name") or function.get("type") for function in functions]
    return names
