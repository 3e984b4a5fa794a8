#!/usr/bin/env python3
"""What a server counts, read by Prometheus' own checker.

    check_metrics.py CLINVK
"""

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

from server import server


# Whatever proxy this machine has, it is not for us.
WEB = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url, body=None, **headers):
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    try:
        with WEB.open(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def main():
    (clinvk,) = sys.argv[1:]
    if not shutil.which("promtool"):
        sys.exit("check_metrics.py: promtool is not installed: apt-get install prometheus")
    with server(clinvk, {"server": {"metrics_enabled": True}}) as (url, _):
        prompt = {"prompt": "hello"}
        expected = {
            ("health", 200): ask(url + "/health"),
            ("prompt", 200): ask(url + "/api/v1/prompt", prompt),
            ("stream", 200): ask(url + "/api/v1/prompt", prompt, Accept="text/event-stream"),
            ("not installed", 503): ask(url + "/api/v1/prompt", prompt | {"backend": "claude"}),
            ("bad request", 400): ask(url + "/api/v1/prompt", {"promt": "hello"}),
            ("unknown path", 404): ask(url + '/"}\\'),
        }
        for (what, status), answer in expected.items():
            assert answer[0] == status, f"{what}: {answer}"
        status, text = ask(url + "/metrics")
        assert status == 200, text
    for line in [
        'clinvk_http_requests_total{route="/api/v1/prompt",method="POST",status="200"} 2',
        'clinvk_http_requests_total{route="unknown",method="GET",status="404"} 1',
        'clinvk_runs_total{backend="echo",kind="ok"} 2',
    ]:
        assert line in text.splitlines(), f"{line} is not in\n{text}"
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    words = checked.stdout + checked.stderr
    if checked.returncode or words:
        sys.exit(f"promtool ended with {checked.returncode}: {words}\n{text}")
    print(f"ok     promtool has nothing to say about {len(text.splitlines())} lines of metrics")


if __name__ == "__main__":
    main()
