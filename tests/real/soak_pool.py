#!/usr/bin/env python3
"""Chats on a server whose kept children are killed all the time: nothing of an answer may be lost, no chat may hear of another,
and nothing may be left.

    soak_pool.py PATH-OF-CLINVK SECONDS [backend ...]

Of each backend one after the other for so long.
"""

import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

import agents
import vendor
from agents import AGENTS
from backends import BACKENDS
from check_conversations import serving
from check_pool import SECRET, called, lines, secret
from scene import Scene, holds
from standin import Chosen, Text

# At once.
CHATS = 6
# Of each chat.
TURNS = 4
# Between two kills, about.
PAUSE = 1.0
# Seconds after which the first run of a child is over.
STARTED = 6.0


def answer(said):
    last = SECRET.findall("\n".join(text for role, text in said if role == "user"))[-1]
    return Text(["I heard ", last, "."], delay=0.1)


class Soak:
    def __init__(self, scene, served, seconds):
        self.scene, self.served, self.until = scene, served, time.monotonic() + seconds
        self.counts, self.problems, self.lock = Counter(), [], threading.Lock()
        self.chats = {}  # secret -> number of its chat
        self.under_way = set()  # secrets of turns

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def goes_on(self):
        return time.monotonic() < self.until and not self.problems

    def turn(self, number, session):
        """One turn of a chat; gives its session."""
        prompt = secret()
        with self.lock:
            self.chats[prompt] = number
            self.under_way.add(prompt)
        try:
            return self.said(prompt, session)
        finally:
            with self.lock:
                self.under_way.remove(prompt)

    def said(self, prompt, session):
        stops = random.random() < 0.1
        # What a client has left may not be over.
        options = {"session_id": session, "wait_secs": 60} if session else {}
        heard, ended = "", None
        for event in lines(self.served, prompt, **options):
            if event["type"] == "message":
                heard += event["content"]["text"]
                if stops:
                    # The client goes away in the middle.
                    self.count("left by the client")
                    return session
            ended = event
        holds(ended["type"] == "done", f"the last event is {ended}")
        kind, whole = ended["content"]["kind"], f"I heard {prompt}."
        if kind is None:
            holds((heard, ended["content"]["content"]) == (whole, whole), f"of `{whole}` was heard `{heard}`: {ended}")
            self.count("answered")
            return ended["session_id"]
        # Of an answer that was begun there is no second one.
        holds(heard, f"a run that had told nothing ended with {ended['content']}")
        holds(kind in ("crash", "unreachable") and whole.startswith(heard), f"`{heard}` ended with {ended['content']}")
        self.count("cut when it had begun")
        return session

    def chat(self):
        while self.goes_on():
            with self.lock:
                self.counts["chats"] += 1
                number = self.counts["chats"]
            session = None
            for _ in range(TURNS):
                if self.goes_on():
                    session = self.turn(number, session)

    def watched(self, work):
        try:
            work()
        except Exception:
            self.problems.append(traceback.format_exc())

    def kill(self):
        """Each run may meet one dead child: with two it fails, as it should, and so does one that a child was started for."""
        while self.goes_on():
            time.sleep(random.uniform(0, 2 * PAUSE))
            children = called(self.served, "GET", "/api/v1/pool")["children"]
            children = [child for child in children if child["age_seconds"] > STARTED]
            met = set(self.under_way)
            for child in random.sample(children, min(1, len(children))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child["pid"], signal.SIGKILL)
                    self.count("killed")
            while met & self.under_way and self.goes_on():
                time.sleep(0.1)

    def run(self):
        self.scene.server.play(Chosen(answer))
        works = [self.chat] * CHATS + [self.kill]
        threads = [threading.Thread(target=self.watched, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for request in self.scene.server.requests:
            known = {self.chats[each] for each in SECRET.findall(json.dumps(request["body"]))}
            if len(known) > 1:
                self.problems.append(f"a request knows of {len(known)} chats")


def main():
    clinvk, seconds, *names = sys.argv[1:]
    failed = False
    for name in names or list(BACKENDS):
        clis = agents.installed([name]) if name in AGENTS else vendor.one()
        with Scene(str(Path(clinvk).resolve()), {**BACKENDS, **AGENTS}[name], clis) as scene:
            try:
                with serving(scene) as served:
                    soak = Soak(scene, served, float(seconds))
                    soak.run()
            except AssertionError as error:
                soak.problems.append(str(error))
            problems = soak.problems
            print(f"{'FAILED' if problems else 'ok':6} {name}: {dict(soak.counts)}", *problems, sep="\n", flush=True)
            failed = failed or bool(problems)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
