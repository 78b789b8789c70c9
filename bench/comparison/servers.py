"""The systems: how each is started with its data in a directory of its own, on loopback, and which program measures it.

Each has its defaults but for what is said here. Where a setting makes a difference to durability, or to speed, the choice is
the peer's advantage: none of them compacts, snapshots or rewrites its files while it is measured.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .processes import PATIENCE_S, Failed, Interrupts, Process, Work, free_port, output_of
from .workloads import FLOORS, START


CROWD = "bench/crowd/bench-crowd"


class Programs:
    """Where the programs are. `bus`: the build directory of busd and bus-cli, `build` of the others."""

    def __init__(self, build, bus):
        self.busd, self.bus_cli = bus / "broker" / "busd", bus / "tools" / "bus-cli"
        self.build = build


class Server:
    """One system, from start() to stop(). A failed start() wants a stop(), too."""

    client = None  # the program that measures it, in the build directory
    settings = ""  # of the server, as printed
    acknowledges = ""  # what an acknowledgement means, where only the server's settings tell; else the program says it

    def __init__(self, name, programs, directory):
        self.name, self.programs, self.directory = name, programs, directory
        self.data = directory / "data"
        self.processes = []
        self.port = None

    def begin(self, command, env=None):
        name = os.path.basename(str(command[0]))
        with Interrupts.held():
            process = Process(name, command, self.directory / f"{name}.log", env)
            self.processes.append(process)
        return process

    @property
    def called(self):
        """What measures it, in messages."""
        return os.path.basename(self.client)

    def start(self):
        raise NotImplementedError

    def command(self, words):
        """The program that measures, with these words of a workload."""
        return [self.programs.build / self.client, *words, "--server", f"127.0.0.1:{self.port}"]

    def measure(self, words, timeout_s):
        """(exit status, stdout, stderr)."""
        return output_of(self.command(words), timeout_s)

    def check(self):
        for process in self.processes:
            process.check()

    def work(self):
        """Done so far, whoever asked for it."""
        return sum((process.work() for process in self.processes), Work())

    def stop(self):
        for process in reversed(self.processes):
            process.end()
        shutil.rmtree(self.directory, ignore_errors=True)


class Busd(Server):
    called = "bus-cli bench"
    settings = "defaults"
    flags = ()

    def start(self):
        # Not in the data directory: the path of a Unix socket has to be short.
        with Interrupts.held():
            self.sockets = tempfile.mkdtemp(prefix="bus-compare-")
        self.endpoint = f"ipc://{self.sockets}/bus.sock"
        self.figures = {}
        self.start_busd()

    def start_busd(self):
        """Returns the seconds until it has told systemd, here a socket, that it is ready."""
        path = f"{self.sockets}/notify"
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as told:
            told.bind(path)
            told.settimeout(0.5)
            begun = time.monotonic()
            try:
                self.busd = self.begin([self.programs.busd, "--data", self.data, "--listen", self.endpoint, "--log-level", "warn", *self.flags],
                                       {"NOTIFY_SOCKET": path})
                while time.monotonic() < begun + PATIENCE_S:
                    with contextlib.suppress(TimeoutError):
                        if b"READY=1" in told.recv(4096):
                            return time.monotonic() - begun
                    self.check()
            finally:
                os.unlink(path)
            raise Failed(f"busd is not ready after {PATIENCE_S} s")

    def measure(self, words, timeout_s):
        if words != [START]:
            return super().measure(words, timeout_s)
        self.busd.kill()
        self.processes.remove(self.busd)
        return 0, json.dumps({"start_ms": self.start_busd() * 1000}), ""

    def gather(self, words):
        """Lets bench-crowd keep it company, until it is stopped."""
        before = self.busd.memory_kib()
        crowd = self.begin([self.programs.build / CROWD, *words, "--server", self.endpoint])
        crowd.wait_for_line("ready")
        if "--sessions" in words:
            self.figures["session_kib"] = (self.busd.memory_kib() - before) / int(words[words.index("--sessions") + 1])

    def command(self, words):
        return [self.programs.bus_cli, "-s", self.endpoint, "-o", "json", "--timeout", f"{PATIENCE_S}s", "bench", *words]

    def stop(self):
        super().stop()
        shutil.rmtree(getattr(self, "sockets", ""), ignore_errors=True)


class BusdLz4(Busd):
    settings, flags = "--compression lz4", ("--compression", "lz4")


class BusdZstd(Busd):
    settings, flags = "--compression zstd", ("--compression", "zstd")


class Nats(Server):
    client = "bench/bench-nats"
    settings = "-js, file storage; its sync_interval is 2 minutes"

    def start(self):
        self.port = free_port()
        self.begin(["nats-server", "-js", "-sd", self.data, "-a", "127.0.0.1", "-p", self.port]).wait_for_port(self.port)


class Redis(Server):
    client = "bench/bench-redis"

    fsync = None

    def start(self):
        self.port = free_port()
        self.data.mkdir()
        self.begin(["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--dir", self.data, "--appendonly", "yes",
                    "--appendfsync", self.fsync, "--save", "", "--auto-aof-rewrite-percentage", "0"]).wait_for_port(self.port)


class RedisAlways(Redis):
    fsync = "always"
    settings = "--appendonly yes --appendfsync always; no snapshots, no rewriting of the file"
    acknowledges = "The event is synced to the append-only file."


class RedisEverySecond(Redis):
    fsync = "everysec"
    settings = "--appendonly yes --appendfsync everysec; no snapshots, no rewriting of the file"
    acknowledges = "The event is written to the append-only file, which is synced once a second."


class RabbitMq(Server):
    client = "bench/bench-rabbitmq"
    settings = "quorum queues, no plugins"
    # Debian's wrapper in the path changes the user; this is what it calls.
    program = "/usr/lib/rabbitmq/bin/rabbitmq-server"

    def start(self):
        self.port, names, distribution = free_port(), free_port(), free_port()
        home, plugins = self.directory / "home", self.directory / "plugins"
        home.mkdir()
        plugins.write_text("[].\n", encoding="utf-8")
        env = {
            "HOME": home,                        # of the cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": names,
            "RABBITMQ_NODENAME": "bench@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_NODE_PORT": self.port, "RABBITMQ_DIST_PORT": distribution,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": self.data, "RABBITMQ_LOG_BASE": self.directory / "log",
            "RABBITMQ_PID_FILE": self.directory / "pid", "RABBITMQ_ENABLED_PLUGINS_FILE": plugins,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_CONFIG_FILE": self.directory / "none",
        }
        env = {name: str(value) for name, value in env.items()}
        # Erlang would start one in the background, which nobody stops.
        self.begin(["epmd", "-address", "127.0.0.1", "-port", names], env).wait_for_port(names)
        self.begin([self.program], env).wait_for_port(self.port)


class Floor(Server):
    """No server: the program alone does it all."""

    client = "bench/floors/bench-floors"
    settings = "no server"

    def start(self):
        self.data.mkdir()

    def command(self, words):
        return [self.programs.build / self.client, *words]


KINDS = {"busd": Busd, "busd-small": Busd, "busd-lz4": BusdLz4, "busd-zstd": BusdZstd, "nats": Nats, "redis-always": RedisAlways,
         "redis-everysec": RedisEverySecond, "rabbitmq": RabbitMq}
KINDS |= dict.fromkeys(FLOORS, Floor)


class Factory:
    """Makes servers; each gets a directory below `data`, or where the workload wants it."""

    def __init__(self, programs, data):
        self.programs, self.data = programs, data

    def make(self, name, data=None):
        directory = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=data or self.data))
        os.chmod(directory, 0o700)
        return KINDS[name](name, self.programs, directory)


def package_version(package):
    status, out, _ = output_of(["dpkg-query", "-W", "-f", "${Version}", package], 10)
    return out.strip() if status == 0 else "unknown"


PACKAGES = {"nats": ["nats-server", "libnats3.4"], "redis": ["redis-server", "libhiredis0.14"],
            "rabbitmq": ["rabbitmq-server", "librabbitmq4"], "floors": ["liblmdb0", "libzmq5"]}


def versions(programs):
    """Of all programs, and of the libraries that measure them."""
    found = {}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found["busd"] = re.sub(r"^busd ", "", subprocess.run([programs.busd, "--version"], capture_output=True, text=True, check=True).stdout.strip())
    for packages in PACKAGES.values():
        found |= {package: package_version(package) for package in packages}
    return found

