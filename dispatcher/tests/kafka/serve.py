"""Kafka for one test: a cluster that lives as long as whoever holds the pipe to this program. Reads one JSON object a
line, `{"do": NAME, ...}`, and answers each with one line, `{"ok": ...}` or `{"error": "..."}`; the first line says where
the brokers are. Owns the pipe; the work is that of brokers.py and librdkafka.py."""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import needs  # noqa: E402

parser = argparse.ArgumentParser(description="Starts real Kafka and ends it with its standard input.")
parser.add_argument("--target", type=Path, required=True, help="the build folder")
parser.add_argument("--version", default=needs.NEWEST)
parser.add_argument("--nodes", type=int, default=1)
parser.add_argument("--sasl", action="store_true")
parser.add_argument("--tls", help="a folder with ca.pem and server.pem")
parser.add_argument("--property", action="append", default=[], help="name=value for server.properties")


def alone(target):
    """One cluster at a time in this build folder, until the file closes: three brokers are what a small machine bears."""
    lock = open(target / "kafka" / "running", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def own_folder(target):
    """One of this process; those of processes that are gone go first."""
    runs = target / "kafka" / "run"
    runs.mkdir(parents=True, exist_ok=True)
    for old in runs.iterdir():
        if not Path("/proc", old.name).exists():
            shutil.rmtree(old, ignore_errors=True)
    return runs / str(os.getpid())


def answer(words):
    print(json.dumps(words), flush=True)


def actions(brokers, client):
    """What can be asked, by name."""
    def java(main, arguments):
        from brokers import java as command
        made = command("256m", brokers.lib, brokers.folder, main, *arguments)
        ended = subprocess.run(made, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if ended.returncode != 0:
            raise RuntimeError(f"{main} ended with {ended.returncode}: {ended.stdout} {ended.stderr}")
        return ended.stdout

    def send(kind):
        return lambda node: brokers.node(node).process.send_signal(kind)

    of_nodes = {
        "kill": lambda node: brokers.kill(brokers.node(node)),
        "stop": lambda node: brokers.kill(brokers.node(node), signal.SIGTERM),
        "pause": send(signal.SIGSTOP),
        "resume": send(signal.SIGCONT),
        "run": lambda node: brokers.run(brokers.node(node)),
        "wait_ready": brokers.wait_ready,
        "java": java,
    }
    names = ["create_topic", "delete_topic", "add_partitions", "alter_config", "delete_records", "leaders", "edges"]
    return of_nodes | {name: getattr(client, name) for name in [*names, "produce", "consume"]}


def main():
    arguments = parser.parse_args()
    arguments.target = arguments.target.resolve()
    needs.with_librdkafka(arguments.target)
    from brokers import Brokers
    from librdkafka import Librdkafka

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    properties = dict(line.split("=", 1) for line in arguments.property)
    lock, folder = alone(arguments.target), own_folder(arguments.target)
    brokers = Brokers(
        arguments.target, folder, arguments.version, arguments.nodes, arguments.sasl, arguments.tls, properties
    )
    try:
        brokers.start()
        able = actions(brokers, Librdkafka(brokers.bootstrap()))
        answer({"ok": {"ports": [node.ports for node in brokers.nodes], "folder": str(folder)}})
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                answer({"ok": able[asked.pop("do")](**asked)})
            except Exception as error:
                answer({"error": f"{type(error).__name__}: {error}"})
    finally:
        brokers.stop()
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        answer({"error": str(error)})
        sys.exit(1)
