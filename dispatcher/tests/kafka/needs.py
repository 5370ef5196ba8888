"""What real Kafka needs on this machine: Java, Maven, Kafka's jars, librdkafka. Owns finding, installing and fetching
it, everything below the build folder but Java and Maven. Never leaves half of something under its final name. The
brokers are started by brokers.py."""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What is tested against: the oldest line that is still maintained, and the newest.
VERSIONS = ("3.9.1", "4.3.1")
NEWEST = VERSIONS[-1]
LIBRDKAFKA = "confluent-kafka==2.16.1"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


class Missing(Exception):
    """Something cannot be had; the text is one sentence that says what to do."""


def say(text):
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def alone(target):
    """One process at a time fetches into this build folder."""
    (target / "kafka").mkdir(parents=True, exist_ok=True)
    with open(target / "kafka" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(*packages):
    """From Debian, where we may; whether it is there afterwards is for the caller to see."""
    if os.getuid() != 0 or not shutil.which("apt-get"):
        return
    say(f"installing {' and '.join(packages)} with apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    subprocess.run(["apt-get", "update", "-q"], **quiet)
    subprocess.run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages], **quiet)


def java_version():
    if not shutil.which("java"):
        return 0
    told = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', told)
    return int(found[1]) if found else 0


def need_java():
    if java_version() < 17:
        install("default-jre-headless")
    if java_version() < 17:
        raise Missing("Java 17 or newer is missing: install it, on Debian with `apt-get install default-jre-headless`.")
    if not shutil.which("setpriv"):
        raise Missing("setpriv is missing: install util-linux.")


def need_maven():
    if not shutil.which("mvn"):
        install("maven")
    if not shutil.which("mvn"):
        raise Missing("mvn is missing: install Maven, on Debian with `apt-get install maven`.")


def kafka(target, version):
    """The folder with the jars of this version; fetched from Maven Central when it is not there."""
    lib = target / "kafka" / version / "lib"
    need_java()
    with alone(target):
        if lib.is_dir():
            return lib
        need_maven()
        part = lib.with_name("part")
        shutil.rmtree(part, ignore_errors=True)
        say(f"fetching Apache Kafka {version} from Maven Central (about 46 MB)")
        profile = "k3" if version.startswith("3.") else "k4"
        command = ["mvn", "-B", "-f", HERE / "pom.xml", f"-P{profile}", f"-Dkafka.version={version}"]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={part}", COPY]
        run_maven([str(word) for word in command], version)
        part.rename(lib)
    return lib


def run_maven(command, version):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    maven = subprocess.Popen(command, **pipes, text=True)
    files, told, errors = 0, time.monotonic(), []
    for line in maven.stdout:
        files += ".jar (" in line and "Downloaded" in line
        if "ERROR" in line:
            errors.append(line.strip())
        if time.monotonic() - told > 2:
            told = time.monotonic()
            say(f"fetching Apache Kafka {version}: {files} jars")
    if maven.wait() != 0:
        why = errors[0] if errors else f"mvn ended with {maven.returncode}"
        raise Missing(f"Apache Kafka {version} cannot be fetched from Maven Central: {why}")


def librdkafka(target):
    """The Python that has librdkafka, in an environment of its own; made when it is not there."""
    folder = target / "tools" / "kafka"
    python = folder / "bin" / "python"
    made = folder / "made"
    with alone(target):
        if made.is_file() and made.read_text() == LIBRDKAFKA:
            return python
        say(f"installing {LIBRDKAFKA} with pip")
        if subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True).returncode != 0:
            install("python3-venv")
        for command in ([sys.executable, "-m", "venv", folder], [folder / "bin" / "pip", "install", "-q", LIBRDKAFKA]):
            if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode != 0:
                raise Missing(f"librdkafka is missing: `pip install {LIBRDKAFKA}` in {folder} failed.")
        made.write_text(LIBRDKAFKA)
    return python


def with_librdkafka(target):
    """Goes on as the Python that has librdkafka: the same process, with the same arguments."""
    python = librdkafka(target)
    if Path(sys.prefix).resolve() != (target / "tools" / "kafka").resolve():
        os.execv(python, [str(python), *sys.argv])
