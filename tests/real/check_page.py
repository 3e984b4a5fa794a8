#!/usr/bin/env python3
"""The server's page in a real browser: conversations, sessions, runs, figures and the API, by mouse and by keyboard, light,
dark and narrow. Its pictures are under target/page.

    check_page.py CLINVK
"""

import base64
import json
import os
import shutil
import struct
import sys
import tempfile
import time
import urllib.request
import zlib
from pathlib import Path

from browser import SHIFT, Browser, drawn
from server import PATIENCE, server

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parent.parent / "target" / "page"
KEY = "a-key-of-ours"

# An agent over HTTP needs `project_config`: nobody can say beforehand what it reads.
AGENT = {
    "default_backend": "agent",
    "backends": {"agent": {"protocol": "acp", "command": [sys.executable, str(HERE / "page_agent.py")], "models": {"fast": "agent-small"}}},
    "server": {"metrics_enabled": True, "project_config": True},
}


def element(selector):
    return f"document.querySelector({json.dumps(selector)})"


# The text of the last answer in the conversation, without what is around it.
LAST = "[...document.querySelectorAll('#transcript .answer .text')].at(-1)?.textContent"


def go_to(browser, part):
    browser.click(f"nav a[href='#{part}']")
    browser.until(f"!{element('#' + part)}.hidden && [...document.querySelectorAll('main > section')].filter((it) => !it.hidden).length == 1", part)
    assert browser.run(f"{element('nav a[aria-current]')}.hash") == f"#{part}"


def send(browser, prompt):
    browser.run(f"{element('#prompt')}.value = {json.dumps(prompt)}")
    browser.click("#send")


def last(browser):
    return browser.run(LAST)


def answers(browser, prompt):
    """Send a prompt and wait for the end of its answer."""
    send(browser, prompt)
    browser.until(f"{element('#stop')}.disabled && {element('#status')}.textContent.startsWith('done')", f"the answer to {prompt}")
    return last(browser)


def session(browser):
    return browser.run(f"{element('#facts dd')}.textContent")


def asked(url, path, key=None):
    request = urllib.request.Request(url + path, headers={"X-Api-Key": key} if key else {})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def png(path):
    """A picture to be sent along."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([40, 120, 200] * 24) for _ in range(24))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 24, 24, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(data)
    return data


def streams(browser, home):
    browser.until(f"{element('#backend')}.value == 'agent'", "the backends")
    browser.until(f"{element('#models option')}?.value == 'fast'", "the models")
    send(browser, "hold")
    browser.until(f"{LAST}.startsWith('first')", "the first words, while the agent waits for us")
    assert "second" not in last(browser) and browser.run(f"{element('#transcript')}.getAttribute('aria-busy')") == "true"
    assert browser.run(f"{element('#send')}.disabled && {element('#new')}.disabled && !{element('#stop')}.disabled"), "what can be done meanwhile"
    (home / "go").write_text("\n")
    browser.shows("#status", "done")
    assert last(browser) == "first of <b>hold</b>\nsecond", last(browser)
    assert browser.run("document.querySelector('.answer .text').childElementCount") == 0, "text became markup"


def goes_on(browser, url, home, picture):
    first = session(browser)
    assert len(first) == 32, first
    assert answers(browser, "and then?") == "turn 2: and then?"
    sent = png(picture)
    browser.choose("#images", picture)
    assert answers(browser, "what is this?") == "turn 3: what is this?, 1 image"
    assert browser.run(f"{element('#images')}.files.length") == 0, "the next prompt would have the image again"
    assert browser.run("document.querySelector('#transcript .prompt img').naturalWidth") == 24, "the image is shown"
    record = [json.loads(line) for line in (home / "record").read_text().splitlines()]
    [image] = [part for part in record[-1]["prompt"] if part["type"] == "image"]
    assert base64.b64decode(image["data"]) == sent and image["mimeType"] == "image/png", image
    assert len({turn["sessionId"] for turn in record}) == 1 and session(browser) == first, "all in one session"
    assert [turn["prompt"] for turn in asked(url, f"/api/v1/sessions/{first}/turns")["turns"]] == ["hold", "and then?", "what is this?"]
    facts = browser.text("#facts")
    for words in [first, "agent", str(home)]:
        assert words in facts, f"{words} is not in {facts}"
    browser.run(f"{element('#approval')}.value = 'default'")
    answers(browser, "think")
    shown = browser.run("[...document.querySelectorAll('#transcript .answer:last-child details')].map((it) => it.textContent).join()")
    assert "let me see" in shown and "notes.txt" in shown and "some notes" in shown, shown
    (PICTURES / "transcript.png").write_bytes(browser.picture("#conversation"))
    assert "Approval\ndefault" in browser.text("#facts") and last(browser) == "I have seen the notes"


def takes_back(browser):
    """An answer that broke off begins anew: what came before is counted in characters."""
    script = "import('/docs/transcript.js').then(({AnswerItem}) => { const it = new AnswerItem('x'); it.add('good b\u00e4d \U0001f600'); it.takeBack(5); return it.element.textContent; })"
    assert browser.run(script) == "xgood ", browser.run(script)


def follows(browser):
    answers(browser, "long")
    rest = f"(it => it.scrollHeight - it.scrollTop - it.clientHeight)({element('#transcript')})"
    assert browser.run(rest) < 5, "the transcript follows the stream"
    browser.run(f"{element('#transcript')}.scrollTop = 0")
    # The prompt itself is shown; what is scrolled up behind that stays.
    send(browser, "hold")
    browser.until(f"{LAST}.startsWith('first of <b>')", "the first words")
    browser.run(f"{element('#transcript')}.scrollTop = 7")


def stays(browser, home):
    (home / "go").write_text("\n")
    browser.until(f"{element('#status')}.textContent.startsWith('done')", "the end")
    assert browser.run(f"{element('#transcript')}.scrollTop") == 7, "the transcript was scrolled away from the reader"


def stops(browser, url):
    before = session(browser)
    for how in ["button", "key"]:
        send(browser, "slow")
        browser.until(f"{LAST} == 'first of slow'", "the first words")
        assert asked(url, "/api/v1/runs")["runs"], "no run is under way"
        if how == "button":
            browser.click("#stop")
        else:
            browser.press("Escape")
        browser.until(f"{element('#status')}.textContent == 'stopped'", "the stop")
        deadline = time.monotonic() + PATIENCE
        while asked(url, "/api/v1/runs")["runs"]:
            assert time.monotonic() < deadline, "what was stopped still runs"
            time.sleep(0.05)
    assert answers(browser, "go on").startswith("turn ") and session(browser) == before, "the session goes on after a stop"
    send(browser, "")
    assert browser.run("document.activeElement.id") == "prompt", "an empty prompt is asked for"


def by_keyboard_alone(browser, url):
    browser.open(url + "/docs")
    browser.until(f"{element('#backend')}.value == 'agent'", "the backends")
    browser.tab_to("it.id == 'prompt'")
    style = browser.run("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid", f"the focus is not to be seen: {style}"
    browser.write("two")
    browser.press("Enter", SHIFT)
    browser.write("lines")
    browser.press("Enter")
    browser.shows("#status", "done")
    assert last(browser) == "turn 1: two\nlines", last(browser)
    assert browser.run("document.activeElement.id") == "prompt", "the next prompt can be written"
    browser.tab_to("it.id == 'approval'")
    browser.press("ArrowDown")
    browser.until(f"{element('#approval')}.value == 'default'", "the choice by keyboard")
    browser.tab_to("it.hash == '#sessions'")
    browser.press("Enter")
    browser.shows("#sessions .note", "2 of 2 sessions")
    browser.tab_to("it.matches('summary')")
    browser.press("Enter")
    browser.shows("#session-list details[open]", "turn 1: two")
    browser.tab_to("it.innerText == 'Continue'")
    browser.press("Enter")
    browser.until("document.activeElement.id == 'prompt'", "the conversation")
    browser.write("three")
    browser.press("Enter")
    browser.until(f"{LAST} == 'turn 2: three'", "the answer in the same session")


def lists_sessions(browser, url):
    # What was listed before is not waited for.
    browser.run(f"{element('#sessions .note')}.replaceChildren()")
    go_to(browser, "sessions")
    browser.shows("#sessions .note", "2 of 2 sessions")
    titles = browser.run("[...document.querySelectorAll('#session-list summary')].map((it) => it.firstChild.data)")
    assert titles == ["two", "hold"], titles
    browser.run("document.querySelectorAll('#session-list details')[1].open = true")
    browser.shows("#session-list", "turn 3: what is this?, 1 image")
    browser.run("[...document.querySelectorAll('#session-list button')].at(-1).click()")
    browser.until(f"!{element('#conversation')}.hidden", "the conversation")
    older = asked(url, "/api/v1/sessions")["sessions"][1]["id"]
    prompts = [turn["prompt"] for turn in asked(url, f"/api/v1/sessions/{older}/turns")["turns"]]
    shown = browser.run("[...document.querySelectorAll('#transcript .prompt .text')].map((it) => it.textContent)")
    assert session(browser) == older and shown == prompts and len(shown) > 5, (shown, prompts)
    assert answers(browser, "still there?").endswith(": still there?") and session(browser) == older
    browser.click("#new")
    assert session(browser) == "a new one" and browser.run(f"{element('#transcript')}.childElementCount") == 0
    markup = "<img src=x onerror=alert(1)>"
    assert answers(browser, markup) == f"turn 1: {markup}" and session(browser) != older
    go_to(browser, "sessions")
    browser.shows("#session-list", markup)
    assert not browser.run("document.querySelectorAll('#session-list img').length"), "text became markup"


def lists_more_sessions_each_once(browser, url):
    for number in range(25):
        body = json.dumps({"prompt": f"one more: {number}", "backend": "echo"}).encode()
        urllib.request.urlopen(urllib.request.Request(url + "/api/v1/prompt", data=body)).close()
    total = asked(url, "/api/v1/sessions")["total"]
    go_to(browser, "sessions")
    browser.shows("#sessions .note", f"20 of {total} sessions")
    # Whose button is pressed twice asks twice.
    browser.run(f"Promise.all([1, 2].map({element('#more')}.onclick)).then(() => 0)")
    listed = browser.run(f"{element('#session-list')}.childElementCount")
    assert listed == total, f"{listed} are listed of {total}"


def cancels_a_run(browser, url):
    body = json.dumps({"prompt": "slow", "detach": True}).encode()
    with urllib.request.urlopen(urllib.request.Request(url + "/api/v1/prompt", data=body)) as answer:
        run = json.load(answer)["run_id"]
    go_to(browser, "runs")
    item = f"[data-run='{run}']"
    browser.shows(item, "running")
    browser.shows(item, "agent")
    assert "detached" in browser.text(item)
    browser.click(f"{item} button")
    browser.shows(item, "cancelled")
    assert browser.run(f"{element(item + ' button')}.hidden"), "what is over cannot be stopped"
    assert asked(url, f"/api/v1/runs/{run}")["kind"] == "cancelled"
    browser.shows("#runs .note", "0 runs under way, 1 over")


def draws_figures(browser):
    go_to(browser, "figures")
    titles = "[...document.querySelectorAll('#plots figcaption')].map((it) => it.firstChild.data)"
    browser.until(f"{titles}.length == 10", "the plots")
    # The second look at the figures is the first one with a rate.
    browser.until("document.querySelectorAll('#plots polyline').length == 5", "the lines")
    told = browser.text("#plots")
    for words in ["Runs under way", "0 of ", "agent", "agent: cancelled", "Tokens", "half ≤", "MiB", "Kept programs"]:
        assert words in told, f"{words} is not in {told}"
    for kind in ["polyline", "polygon", "rect"]:
        sizes = browser.run(f"[...document.querySelectorAll('#plots {kind}')].map((it) => it.getBoundingClientRect()).map(({{width, height}}) => [width, height])")
        assert sizes and all(width > 0 for width, _ in sizes), f"{kind}: {sizes}"


def shows_the_api(browser, url):
    go_to(browser, "api")
    browser.until("document.querySelectorAll('#routes details').length > 20", "the routes")
    prompt = "[...document.querySelectorAll('#routes details')].find((it) => it.innerText.includes('/api/v1/prompt'))"
    browser.run(f"{prompt}.open = true")
    browser.until(f"{prompt}.innerText.includes('approval_mode')", "the fields of a prompt")
    said = browser.run(f"{prompt}.innerText")
    for words in ["default | auto | none | always", "the same as approval_mode", "session_id", "text/event-stream", f"curl {url}/api/v1/prompt -d"]:
        assert words in said, f"{words} is not in {said}"


# What has to be drawn in each part.
REGIONS = {
    "conversation": ["header", "#transcript", "#prompt", "#send", ".grid"],
    "sessions": ["#session-list"],
    "runs": ["#run-list"],
    "figures": ["#plots figure:nth-child(1) svg", "#plots figure:nth-child(6)", "#plots figure:nth-child(8) svg"],
    "api": ["#routes h3"],
}
LOOKS = {"light": (1000, 900, "light"), "dark": (1000, 900, "dark"), "phone": (360, 740, "light"), "phone-dark": (360, 740, "dark")}


def looks_right(browser):
    """Something is drawn in every part, in every look, and nothing sticks out."""
    grounds = {}
    for look, (width, height, scheme) in LOOKS.items():
        browser.look(width, height, scheme)
        for part, regions in REGIONS.items():
            go_to(browser, part)
            if part == "figures":
                browser.until("document.querySelector('#plots figure svg')", "the plots")
            wide = browser.run("document.documentElement.scrollWidth")
            assert wide <= width, f"{part} is {wide} pixels wide of {width}"
            clipped = browser.run(
                "[...document.querySelectorAll('main > section:not([hidden]) :is(button, select, label, summary, figcaption, h2, dd, p), header *')]"
                ".filter((it) => it.clientWidth && it.scrollWidth > it.clientWidth + 1).map((it) => it.outerHTML.slice(0, 120))"
            )
            assert not clipped, f"{part}, {look}: {clipped}"
            (PICTURES / f"{part}-{look}.png").write_bytes(browser.picture())
            for region in regions:
                ground, share = drawn(browser.picture(region))
                assert 0.002 < share < 0.95, f"{region} of {part}, {look}: {share:.4f} of its pixels are drawn"
                grounds[scheme, part, region] = ground
    for scheme, is_right in [("light", lambda colour: colour > 150), ("dark", lambda colour: colour < 100)]:
        of_text = {region: ground for (of, _, region), ground in grounds.items() if of == scheme and region in ("#transcript", "#session-list")}
        assert all(is_right(colour) for ground in of_text.values() for colour in ground), of_text
    browser.look(320, 640, "light")
    assert browser.run("document.documentElement.scrollWidth") <= 320, "wider than the narrowest phone"


def wants_a_key(browser, url):
    browser.shows("#status", "the API key is missing or wrong")
    for part in ["sessions", "runs", "figures"]:
        go_to(browser, part)
        browser.shows(f"#{part} .note.bad", "401 unauthorized")
    go_to(browser, "conversation")
    send(browser, "hello there")
    browser.shows("#transcript .foot.bad", "the API key is missing or wrong")
    assert browser.run(f"[document.activeElement.id, {element('#prompt')}.value]") == ["key", "hello there"], "what is missing has the focus, and nothing is lost"
    browser.write(KEY)
    browser.press("Tab")
    browser.until(f"{element('#backend')}.value == 'echo'", "the backends")
    assert answers(browser, "hello there") == "hello there"
    assert answers(browser, "and again") == "and again"
    assert asked(url, "/api/v1/sessions", KEY)["sessions"][0]["turn_count"] == 2, "one session"
    # What a key may not do is told in the server's own words.
    browser.run(f"{element('#approval')}.value = 'none'")
    send(browser, "x")
    browser.shows("#status.bad", "(403 policy")
    go_to(browser, "figures")
    browser.shows("#figures .note.bad", "server.metrics_enabled")


def keeps_its_key(browser, url):
    everywhere = "JSON.stringify([Object.values(sessionStorage), localStorage.length, document.cookie])"
    assert browser.run(everywhere) == json.dumps([[KEY], 0, ""], separators=(",", ":")), browser.run(everywhere)
    browser.reload()
    assert browser.run(f"{element('#key')}.value") == KEY, "a reload keeps the key"
    browser.run("location.hash = '#sessions'")
    browser.shows("#sessions .note", "1 of 1 session")
    browser.tab()
    browser.open(url + "/docs")
    assert browser.run(everywhere) == '[[],0,""]' and browser.run(f"{element('#key')}.value") == "", "another tab has no key"
    browser.shows("#status", "401 unauthorized")


def is_clean(browser, url, allowed=()):
    problems = [problem for problem in browser.problems if not any(word in json.dumps(problem) for word in allowed)]
    assert not problems, problems
    assert all(request.startswith((url, "data:", "about:")) for request in browser.requests), browser.requests


def with_an_agent(clinvk, program, home):
    with server(clinvk, AGENT) as (url, place), Browser(program, os.path.join(home, "one")) as browser:
        os.mkfifo(place / "go")
        browser.look(1000, 900, "light")
        browser.open(url + "/", leads_to=url + "/docs")
        streams(browser, place)
        goes_on(browser, url, place, Path(home, "picture.png"))
        takes_back(browser)
        follows(browser)
        stays(browser, place)
        stops(browser, url)
        by_keyboard_alone(browser, url)
        lists_sessions(browser, url)
        cancels_a_run(browser, url)
        draws_figures(browser)
        shows_the_api(browser, url)
        looks_right(browser)
        lists_more_sessions_each_once(browser, url)
        is_clean(browser, url)


def with_a_key(clinvk, program, home):
    with server(clinvk, {}, CLINVK_API_KEYS=KEY) as (url, _), Browser(program, os.path.join(home, "two")) as browser:
        browser.open(url + "/docs")
        wants_a_key(browser, url)
        keeps_its_key(browser, url)
        # A browser says of every failure that there was one.
        is_clean(browser, url, ["status of 401", "status of 403", "status of 404"])


def main():
    (clinvk,) = sys.argv[1:]
    program = shutil.which("chromium")
    if not program:
        sys.exit("check_page.py: chromium is not installed: apt-get install chromium")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="clinvk-page-") as home:
        with_an_agent(clinvk, program, home)
        with_a_key(clinvk, program, home)
    print("ok     the page converses, lists, cancels, draws and asks for a key, by mouse and keyboard, light, dark and narrow, and loads nothing from elsewhere")


if __name__ == "__main__":
    main()
