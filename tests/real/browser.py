"""Headless Chromium, led over a pipe, and what is to be seen in its pictures."""

import base64
import fcntl
import json
import os
import struct
import subprocess
import time
import zlib
from collections import Counter

from server import PATIENCE

# The keys that are pressed by name: their codes.
KEYS = {"Enter": 13, "Escape": 27, "Tab": 9, "Space": 32, "ArrowDown": 40}
SHIFT = 8


class Browser:
    """The messages of its DevTools protocol, a NUL behind each."""

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
        self.tab()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def tab(self):
        """Go on in a new tab."""
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network", "DOM"]:
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
                assert "error" not in heard, (method, heard)
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
        assert "exceptionDetails" not in result, (script, result)
        return result["result"].get("value")

    def until(self, script, what):
        deadline = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < deadline, f"{what}: {self.run('document.body.innerText')}\n{self.problems}"
            time.sleep(0.05)

    def open(self, url, leads_to=None):
        self.call("Page.navigate", url=url)
        self.until(f"location.href == {json.dumps(leads_to or url)} && document.readyState == 'complete'", "the page")

    def reload(self):
        self.run("window.isOld = true")
        self.call("Page.reload")
        self.until("!window.isOld && document.readyState == 'complete'", "the page again")

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def shows(self, selector, words):
        """Wait until these words are to be read there."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.until(f"{place} && {place}.innerText.includes({json.dumps(words)})", f"`{words}` in {selector}")

    def click(self, selector):
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def press(self, key, modifiers=0):
        press = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": modifiers}
        text = {"Enter": "\r", "Space": " "}.get(key)
        self.call("Input.dispatchKeyEvent", type="keyDown", **press, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **press)

    def write(self, text):
        """As from a keyboard, into what has the focus."""
        self.call("Input.insertText", text=text)

    def tab_to(self, script):
        """Go on with the Tab key until this is true of `it`, the element with the focus."""
        for _ in range(60):
            self.press("Tab")
            if self.run(f"((it) => {script})(document.activeElement)"):
                return
        raise AssertionError(f"no Tab leads to {script}")

    def choose(self, selector, *files):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def look(self, width, height, scheme):
        """The size of the window, and `dark` or `light`."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, selector=None):
        """A PNG of the window, or of what is there in the page."""
        clip = {}
        if selector:
            box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
            x, y, width, height = self.run(f"(({{x, y, width, height}}) => [x + scrollX, y + scrollY, width, height])({box})")
            assert width > 20 and height > 20, f"{selector} is {width} x {height}"
            clip = {"clip": {"x": x, "y": y, "width": width, "height": height, "scale": 1}, "captureBeyondViewport": True}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **clip)["data"])


def pixels(png):
    """Width, height and the rows of a PNG of 8 bits a channel, as the browser makes them: each row a list of colours."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n", png[:8]
    at, data = 8, b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        part = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", part)
            assert depth == 8 and colours in (2, 6) and not interlaced, part
        if kind == b"IDAT":
            data += part
        at += 12 + length
    size = 3 if colours == 2 else 4
    raw, before, rows = zlib.decompress(data), bytearray(width * size), []
    for row in range(height):
        start = row * (width * size + 1)
        before = unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + width * size]), before, size)
        rows.append([bytes(before[pixel : pixel + 3]) for pixel in range(0, len(before), size)])
    return width, height, rows


def unfiltered(kind, line, above, size):
    """A line as it was before the PNG filter of that kind."""
    for at in range(len(line) if kind else 0):
        left, up, corner = (line[at - size] if at >= size else 0), above[at], (above[at - size] if at >= size else 0)
        if kind == 4:
            guess = left + up - corner
            by = min((left, up, corner), key=lambda value: abs(guess - value))
        else:
            by = (0, left, up, (left + up) // 2)[kind]
        line[at] = (line[at] + by) & 255
    return line


def drawn(png):
    """The colour that most of a picture has, and the share of the pixels that have another."""
    _, _, rows = pixels(png)
    counts = Counter(pixel for row in rows for pixel in row)
    ground, most = counts.most_common(1)[0]
    return ground, 1 - most / counts.total()
