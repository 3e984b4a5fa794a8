#!/usr/bin/env python3
"""The server's page in a real browser: it reads the API, streams an answer, stops one, asks for a key.

    check_page.py CLINVK
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from server import PATIENCE, server

# Says one word, waits for us, says another; with `slow` for ever.
FAKE = """#!/bin/sh
read prompt
echo "first of <b>$prompt</b>"
[ "$prompt" = slow ] && exec sleep 600
read line <"$HOME/go"
echo "second"
"""


class Browser:
    """Headless Chromium, led over a pipe: messages of its DevTools protocol, a NUL behind each."""

    def __init__(self, program, home):
        ours, theirs = os.pipe(), os.pipe()
        # The protocol's descriptors are 3 and 4: neither end may be one of them on its way there.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (ours[0], theirs[1])]
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
        self.process = subprocess.Popen(
            [*command, f"--user-data-dir={home}/profile", "about:blank"],
            env={"HOME": home, "PATH": "/usr/bin:/bin"},
            preexec_fn=lambda: [os.dup2(end, place) for end, place in zip(ends, (3, 4))],
            pass_fds=[3, 4],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (ours[0], theirs[1], *ends):
            os.close(end)
        self.to, self.of = os.fdopen(ours[1], "wb", 0), os.fdopen(theirs[0], "rb")
        self.held, self.number, self.session = b"", 0, None
        self.problems, self.requests = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(domain + ".enable")

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        while True:
            heard = self.hear()
            if heard.get("id") == self.number:
                assert "error" not in heard, heard
                return heard["result"]

    def hear(self):
        while b"\0" not in self.held:
            part = self.of.read1(1 << 16)
            assert part, "the browser ended"
            self.held += part
        message, self.held = self.held.split(b"\0", 1)
        heard = json.loads(message)
        is_advice = heard.get("params", {}).get("entry", {}).get("level") == "verbose"
        if heard.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled") and not is_advice:
            self.problems.append(heard["params"])
        if heard.get("method") == "Network.requestWillBeSent":
            self.requests.append(heard["params"]["request"]["url"])
        return heard

    def run(self, script):
        """What a script in the page gives."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, script, what):
        deadline = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < deadline, f"{what}: {self.run('document.body.innerText')}\n{self.problems}"
            time.sleep(0.05)

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until(f"location.href == {json.dumps(url)} && document.readyState == 'complete'", "the page")

    def send(self, prompt):
        self.run(f"document.getElementById('prompt').value = {json.dumps(prompt)}; document.getElementById('send').click()")

    def end(self):
        self.process.kill()
        self.process.wait()


def text(name):
    return f"document.getElementById('{name}').textContent"


def shows_the_api(browser, url):
    browser.until("document.querySelectorAll('#routes details').length > 20", "the routes")
    prompt = "[...document.querySelectorAll('#routes details')].find((it) => it.innerText.includes('/api/v1/prompt'))"
    browser.run(f"{prompt}.open = true")
    browser.until(f"{prompt}.innerText.includes('approval_mode')", "the fields of a prompt")
    said = browser.run(f"{prompt}.innerText")
    for words in ["default | auto | none | always", "the same as approval_mode", "session_id", "text/event-stream", f"curl {url}/api/v1/prompt -d"]:
        assert words in said, f"{words} is not in {said}"


def streams(browser, home):
    browser.until("document.getElementById('backend').value == 'fake'", "the backends")
    browser.send("<img src=x onerror=alert(1)>")
    browser.until(f"{text('output')}.startsWith('first')", "the first words, while the backend waits for us")
    assert "second" not in browser.run(text("output"))
    (home / "go").write_text("\n")
    browser.until(f"{text('status')}.startsWith('done')", "the end")
    said = browser.run(text("output"))
    assert said.rstrip() == "first of <b><img src=x onerror=alert(1)></b>\nsecond", said
    assert browser.run("document.getElementById('output').childElementCount") == 0, "text became markup"


def stops(browser, home):
    browser.send("slow")
    browser.until(f"{text('output')}.startsWith('first')", "the first words")
    assert sleepers(home), "nothing runs"
    browser.run("document.getElementById('stop').click()")
    browser.until(f"{text('status')} == 'stopped'", "the stop")
    deadline = time.monotonic() + PATIENCE
    while sleepers(home):
        assert time.monotonic() < deadline, "what was stopped still runs"
        time.sleep(0.05)
    browser.send("")
    assert browser.run("document.activeElement.id") == "prompt", "an empty prompt is asked for"


def sleepers(home):
    """Processes of a run in this home."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environ = file.read()
        except OSError:
            continue
        if b"CLINVK_RUN=" in environ and f"HOME={home}\0".encode() in environ:
            found.append(pid)
    return found


def wants_a_key(browser, key):
    browser.until(f"{text('status')}.includes('401 unauthorized')", "the server wants a key")
    browser.run(f"const it = document.getElementById('key'); it.value = {json.dumps(key)}; it.onchange()")
    browser.until("document.getElementById('backend').value == 'echo'", "the backends")
    browser.send("hello there")
    browser.until(f"{text('status')}.startsWith('done')", "the end")
    assert browser.run(text("output")) == "hello there"
    stored = browser.run("JSON.stringify([localStorage.length, sessionStorage.length, document.cookie])")
    assert stored == '[0,0,""]', f"the key is kept: {stored}"


def fits_a_phone(browser):
    size = {"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": True}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    wide = browser.run("document.documentElement.scrollWidth")
    assert wide <= 320, f"{wide} pixels wide"


def is_clean(browser, url, allowed=()):
    problems = [problem for problem in browser.problems if not any(word in json.dumps(problem) for word in allowed)]
    assert not problems, problems
    assert all(request.startswith((url, "data:", "about:")) for request in browser.requests), browser.requests


def main():
    (clinvk,) = sys.argv[1:]
    program = shutil.which("chromium")
    if not program:
        sys.exit("check_page.py: chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="clinvk-page-") as home:
        fake = os.path.join(home, "fake")
        with open(fake, "w") as file:
            file.write(FAKE)
        os.chmod(fake, 0o755)
        with server(clinvk, {"default_backend": "fake", "backends": {"fake": {"command": [fake]}}}) as (url, place):
            os.mkfifo(place / "go")
            browser = Browser(program, os.path.join(home, "one"))
            try:
                browser.open(url + "/docs")
                shows_the_api(browser, url)
                streams(browser, place)
                stops(browser, place)
                fits_a_phone(browser)
                is_clean(browser, url)
            finally:
                browser.end()
        with server(clinvk, {}, CLINVK_API_KEYS="a-key-of-ours") as (url, _):
            browser = Browser(program, os.path.join(home, "two"))
            try:
                browser.open(url + "/docs")
                wants_a_key(browser, "a-key-of-ours")
                # A browser says of every 401 that there was one.
                is_clean(browser, url, ["status of 401"])
            finally:
                browser.end()
    print("ok     the page shows the API, streams, stops, asks for a key, and loads nothing from elsewhere")


if __name__ == "__main__":
    main()
