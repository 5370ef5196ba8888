#!/usr/bin/env python3
"""Runs the Autobahn cases of RFC 6455 (sections 1-7, 9, 10) against the echo server.

    autobahn.py ECHO_SERVER KOSOKU REPORT_FOLDER

The echo server is the gateway's connection code in the strict profile (`gateway/examples/echo.rs`); kosoku drives Autobahn's own case
files. Sections 12 and 13 (compression) are left out: no extension is ever negotiated. A case passes when Autobahn judges
both its behaviour and its closing OK; NON-STRICT and INFORMATIONAL are Autobahn's words for cases where the RFC leaves a
choice, and are listed. Exit code 0 when every case passes.
"""

import collections
import json
import pathlib
import subprocess
import sys

SECTIONS = ["1", "2", "3", "4", "5", "6", "7", "9", "10"]
CASES_MIN = 290  # of 301: a report of fewer means that the suite did not run
GOOD = {"OK"}
CHOICE = {"NON-STRICT", "INFORMATIONAL"}
SECONDS_MAX = 900


def main() -> int:
    echo, kosoku, folder = sys.argv[1:]
    report = pathlib.Path(folder)
    (report / "index.json").unlink(missing_ok=True)
    server = subprocess.Popen([echo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        if not url:
            print("the echo server did not start", file=sys.stderr)
            return 1
        include = [word for section in SECTIONS for word in ("-i", f"{section}.*")]
        subprocess.run([kosoku, *include, "-p", "4", "-o", folder, url], timeout=SECONDS_MAX, check=False)
        if server.poll() is not None:
            print(f"the echo server died with {server.returncode}", file=sys.stderr)
            return 1
    finally:
        server.stdin.close()  # ends it
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    agents = json.loads((report / "index.json").read_text())
    cases = {case: result for agent in agents.values() for case, result in agent.items()}
    by_section = collections.Counter(case.split(".")[0] for case in cases)
    missing = [section for section in SECTIONS if not by_section[section]]
    failed = []
    for case, result in cases.items():
        verdicts = {result["behavior"], result["behaviorClose"]}
        if not verdicts <= GOOD | CHOICE:
            failed.append(f"{case}: {result['behavior']}, closing {result['behaviorClose']} ({result['reportfile']})")
        elif verdicts & CHOICE:
            print(f"{case}: {result['behavior']}, closing {result['behaviorClose']}")
    for line in failed:
        print("FAILED", line)
    if missing or len(cases) < CASES_MIN:
        print(f"FAILED only {len(cases)} cases ran, none of sections {missing}")
        return 1
    print(f"cases: {len(cases) - len(failed)} passed; {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
