"""A cluster of real Kafka on this machine. Owns its folders, ports and processes: starts them, waits until they serve,
kills and stops them by their process id. Whoever made it in the foreground takes its brokers along when it ends, however
it ends. What is asked of the brokers is in librdkafka.py."""

import random
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from needs import HERE, kafka, say

READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 10
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
# Below the range from which Linux takes the ports of clients: a broker that is away must find its own free.
PORTS = range(20000, 32000)
# Who may do everything, and who may do nothing, where there is SASL.
USERS = {"halley": "secret-of-halley", "guest": "secret-of-guest"}
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
# Little memory and a quick start, for brokers that live as long as a test does.
SMALL = ["-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
# What Kafka's own scripts and settings start a broker with (bin/kafka-server-start.sh, bin/kafka-run-class.sh): for
# whoever measures, since a small broker stands still for its collector ten times as long.
SHIPPED = ["-server", "-Xms1G", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"]
SHIPPED += ["-XX:+ExplicitGCInvokesConcurrent"]
SHIPPED_PROPERTIES = {"num.network.threads": 3, "num.io.threads": 8, "background.threads": 10}
SHIPPED_PROPERTIES |= {"log.segment.bytes": 1 << 30, "log.index.size.max.bytes": 10 << 20}
NEWER = """share.coordinator.state.topic.replication.factor=@REPLICAS@
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
"""


class Failed(Exception):
    """The cluster does not do what it should; the text says what was seen."""


def free_port(taken):
    for port in random.sample(PORTS, len(PORTS)):
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        return port
    raise Failed("no port of this machine between 20000 and 32000 is free")


def java(heap, lib, logs, main, *arguments, own=SMALL):
    """The command that runs a class of Kafka."""
    log4j = f"-Dlog4j.configuration=file:{HERE}/log4j.properties"
    if not lib.parent.name.startswith("3."):
        log4j = f"-Dlog4j2.configurationFile={HERE}/log4j2.xml"
    options = [f"-Xmx{heap}", *own]
    options += ["-Djava.awt.headless=true", log4j, f"-Dkafka.logs.dir={logs}"]
    return ["java", *options, "-cp", f"{lib}/*", main, *arguments]


class Node:
    """One broker that is its own controller too."""

    def __init__(self, number, folder, ports):
        self.number, self.folder, self.ports, self.process = number, folder, ports, None
        # Of one that another process has started.
        self.pid = None

    def address(self, listener="PLAINTEXT"):
        return f"127.0.0.1:{self.ports[listener]}"

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-20:])


class Brokers:
    """All nodes of one cluster. `tls` is a folder with ca.pem and server.pem (its key and certificate)."""

    def __init__(self, target, folder, version, nodes, sasl=False, tls=None, properties=None, detached=False, ports=None):
        self.folder, self.version, self.sasl, self.tls = Path(folder), version, sasl, tls
        self.properties, self.detached = properties or {}, detached
        self.heap, self.java = "512m" if nodes == 1 else "384m", SMALL
        self.lib = kafka(Path(target), version)
        names = ["PLAINTEXT"] + ["SASL"] * bool(sasl) + ["TLS", "MTLS"] * bool(tls) + ["SASLTLS"] * bool(sasl and tls)
        taken = set()
        ports = ports or [{name: free_port(taken) for name in [*names, "CONTROLLER"]} for _ in range(nodes)]
        self.nodes = [Node(at + 1, self.folder / str(at + 1), own) for at, own in enumerate(ports)]

    def as_shipped(self):
        """Before they start: as Kafka comes, not small."""
        self.heap, self.java, self.properties = "1G", SHIPPED, SHIPPED_PROPERTIES | self.properties
        return self

    def bootstrap(self, listener="PLAINTEXT"):
        return ",".join(node.address(listener) for node in self.nodes)

    def node(self, number):
        return self.nodes[number - 1]

    def start(self):
        """Every node, from nothing, until all of them serve."""
        self.format_all()
        for node in self.nodes:
            self.run(node)
        self.wait_ready()

    def format_all(self):
        """Storage for every node; what was there before goes."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for node in self.nodes:
            node.folder.mkdir(parents=True)
            (node.folder / "server.properties").write_text(self.settings(node))
        formats = [self.spawn(node, "kafka.tools.StorageTool", *self.format(node)) for node in self.nodes]
        for node, process in zip(self.nodes, formats):
            if process.wait() != 0:
                raise Failed(f"the storage of node {node.number} cannot be formatted:\n{node.log()}")

    def spawn(self, node, main, *arguments):
        command = java(self.heap, self.lib, node.folder, main, *arguments, own=self.java)
        if not self.detached:
            # Ends with this process even when that is killed.
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with open(node.folder / "log", "a") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=self.detached,
                cwd=node.folder,
            )

    def run(self, node):
        if not node.runs():
            node.process = self.spawn(node, "kafka.Kafka", str(node.folder / "server.properties"))

    def kill(self, node, with_signal=signal.SIGKILL):
        """Ends it at once, as a crash does; SIGTERM lets it hand over first."""
        if not node.runs():
            return
        node.process.send_signal(with_signal)
        # A broker that was stopped in its tracks takes no other signal.
        node.process.send_signal(signal.SIGCONT)
        try:
            node.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            node.process.kill()
            node.process.wait()
        node.process = None

    def stop(self):
        """All of them, at once: their data is of no use afterwards."""
        for node in self.nodes:
            self.kill(node)

    def wait_ready(self):
        """Until every node that runs answers and knows of all of those."""
        deadline, began, told = time.monotonic() + READY_SECONDS_MAX, time.monotonic(), time.monotonic()
        waited = [node for node in self.nodes if node.process is not None or node.pid is not None]
        wanted = {node.number for node in waited}
        say(f"waiting for {len(waited)} broker(s) of Apache Kafka {self.version}")
        while True:
            for node in waited:
                if node.process is not None and not node.runs():
                    raise Failed(f"node {node.number} ended with {node.process.returncode}:\n{node.log()}")
            late = [node.number for node in waited if not wanted <= known_brokers(node.ports["PLAINTEXT"])]
            if not late:
                say(f"Apache Kafka {self.version} serves after {time.monotonic() - began:.1f} s: {self.bootstrap()}")
                return
            if time.monotonic() > deadline:
                logs = "\n".join(self.node(number).log() for number in late)
                raise Failed(f"nodes {late} do not serve within {READY_SECONDS_MAX} s:\n{logs}")
            if time.monotonic() - told > 5:
                told = time.monotonic()
                say(f"waiting for nodes {late}: {told - began:.0f} s")
            time.sleep(0.1)

    def format(self, node):
        arguments = ["format", "-t", CLUSTER_ID, "-c", str(node.folder / "server.properties"), "--ignore-formatted"]
        for mechanism in MECHANISMS[1:] if self.sasl else ():
            for user, password in USERS.items():
                arguments += ["--add-scram", f"{mechanism}=[name={user},password={password}]"]
        return arguments

    def settings(self, node):
        """The text of its server.properties."""
        replicas = min(3, len(self.nodes))
        listeners = [f"{name}://127.0.0.1:{port}" for name, port in node.ports.items() if name != "CONTROLLER"]
        voters = [f"{one.number}@127.0.0.1:{one.ports['CONTROLLER']}" for one in self.nodes]
        filled = {"NODE": node.number, "FOLDER": node.folder, "REPLICAS": replicas, "IN_SYNC": max(1, replicas - 1)}
        filled |= {"LISTENERS": ",".join(listeners), "VOTERS": ",".join(voters)}
        filled |= {"CONTROLLER_PORT": node.ports["CONTROLLER"]}
        text = (HERE / "server.properties").read_text() + ("" if self.version.startswith("3.") else NEWER)
        for name, value in filled.items():
            text = text.replace(f"@{name}@", str(value))
        lines = [*(self.sasl_settings() if self.sasl else ()), *(self.tls_settings() if self.tls else ())]
        lines += [f"{name}={value}" for name, value in self.properties.items()]
        return text + "\n".join(lines) + "\n"

    def sasl_settings(self):
        """Every mechanism on every listener that has SASL, and rights for whom they were given."""
        package = "org.apache.kafka.common.security"
        users = " ".join(f'user_{user}="{password}"' for user, password in USERS.items())
        yield f"sasl.enabled.mechanisms={','.join(MECHANISMS)}"
        for listener in ["sasl"] + ["sasltls"] * bool(self.tls):
            yield f"listener.name.{listener}.plain.sasl.jaas.config={package}.plain.PlainLoginModule required {users};"
            for scram in MECHANISMS[1:]:
                name = f"listener.name.{listener}.{scram.lower()}.sasl.jaas.config"
                yield f"{name}={package}.scram.ScramLoginModule required;"
        yield "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        yield "super.users=User:ANONYMOUS;User:halley"

    def tls_settings(self):
        yield "ssl.keystore.type=PEM"
        yield f"ssl.keystore.location={self.tls}/server.pem"
        yield "ssl.truststore.type=PEM"
        yield f"ssl.truststore.location={self.tls}/ca.pem"
        yield "listener.name.mtls.ssl.client.auth=required"
        yield "ssl.principal.mapping.rules=RULE:^.*$/halley/"


def known_brokers(port):
    """The ids that the broker at this port names; none while it does not serve."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as broker:
            broker.settimeout(2)
            ask(broker, 18, 0, b"")  # ApiVersions
            answer = ask(broker, 3, 1, struct.pack(">i", 0))  # Metadata of no topic
    except (OSError, struct.error):
        return set()
    (count,), at, found = struct.unpack_from(">i", answer), 4, set()
    for _ in range(count):
        node, length = struct.unpack_from(">ih", answer, at)
        at += 6 + length + 4
        (rack,) = struct.unpack_from(">h", answer, at)
        at += 2 + max(0, rack)
        found.add(node)
    return found


def ask(broker, key, version, body):
    """One request of Kafka's protocol: the body of its answer."""
    broker.sendall(struct.pack(">ihhih", 10 + len(body), key, version, 1, -1) + body)
    (length,) = struct.unpack(">i", receive(broker, 4))
    return receive(broker, length)[4:]


def receive(broker, length):
    got = b""
    while len(got) < length:
        piece = broker.recv(length - len(got))
        if not piece:
            raise OSError("the broker closed the connection")
        got += piece
    return got
