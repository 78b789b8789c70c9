"""Programs that are started and stopped: each server is a session of its own, so that Ctrl-C reaches it only through us."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 90
END_S = 20


class Failed(Exception):
    """What, where, and what to do, for the reader of the table."""


class CannotDo(Exception):
    """The system has nothing like this workload; not a failure."""


class Interrupts:
    """SIGINT and SIGTERM as KeyboardInterrupt with the signal's number; once, since what takes everything down then shall not
    be interrupted. Never inside held(): between the start of a program, or of a directory, and the note that it has to end, an
    exception would leave it behind for good."""

    depth, pending = 0, None

    @classmethod
    def install(cls):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, cls.take)

    @classmethod
    def take(cls, number, _):
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        if cls.depth:
            cls.pending = number
        else:
            raise KeyboardInterrupt(number)

    @classmethod
    @contextlib.contextmanager
    def held(cls):
        cls.depth += 1
        try:
            yield
        finally:
            cls.depth -= 1
            if cls.depth == 0 and cls.pending:
                number, cls.pending = cls.pending, None
                raise KeyboardInterrupt(number)


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def last_lines(path, count=5):
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return "\n".join(file.read().splitlines()[-count:])
    return ""


def parts_of(session):
    """(directory in /proc, fields of stat after the name) of the living processes of a session."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name may have spaces and brackets. After it: state, parent, group, session.
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                yield path.parent, fields


@dataclass(frozen=True)
class Work:
    """What processes have done so far."""

    cpu_s: float = 0
    written_bytes: int = 0

    def __add__(self, other):
        return Work(self.cpu_s + other.cpu_s, self.written_bytes + other.written_bytes)

    @staticmethod
    def of(session):
        work = Work()
        for part, fields in parts_of(session):
            with contextlib.suppress(OSError):
                written = re.search(r"^write_bytes: (\d+)", (part / "io").read_text(encoding="utf-8"), re.M)
                work += Work((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(written.group(1)))
        return work


class Process:
    """A server, from begin to end. `log`: where its output goes."""

    def __init__(self, name, command, log, env=None):
        self.name, self.log = name, log
        with open(log, "ab") as output:
            try:
                self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                                start_new_session=True, env={**os.environ, **(env or {})})
            except OSError as error:
                raise Failed(f"cannot start {name}: {error.strerror}; see bench/packages and --build") from error

    def check(self):
        """That it still runs."""
        status = self.process.poll()
        if status is not None:
            raise Failed(f"{self.name} has ended with {status}: {last_lines(self.log) or 'it said nothing'}")

    def wait_for_port(self, port):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.check()
            with contextlib.suppress(OSError), contextlib.closing(socket.create_connection(("127.0.0.1", port), 1)):
                return
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} does not listen on port {port} after {PATIENCE_S} s: {last_lines(self.log)}")
            time.sleep(0.05)

    def wait_for_line(self, line):
        deadline = time.monotonic() + PATIENCE_S
        while line not in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            self.check()
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} does not say '{line}' within {PATIENCE_S} s: {last_lines(self.log)}")
            time.sleep(0.05)

    def work(self):
        return Work.of(self.process.pid)

    def memory_kib(self):
        """Of its own, without the pages of files."""
        return int(re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8"), re.M).group(1))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """With all of its session: a server may have a shell around it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            deadline = time.monotonic() + END_S
            while time.monotonic() < deadline:
                # Asked for in any case: it would stay a zombie.
                if self.process.poll() is not None and not any(parts_of(self.process.pid)):
                    return
                time.sleep(0.02)


def output_of(command, timeout_s, env=None):
    """(exit status, stdout, stderr). It is ended if it takes longer, and if we are."""
    with contextlib.ExitStack() as stack:
        with Interrupts.held():
            try:
                process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                           stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
            except OSError as error:
                raise Failed(f"cannot start {command[0]}: {error.strerror}; build it with -Dbench=true") from error
            stack.enter_context(process)
            stack.callback(process.kill)
        try:
            out, error = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as late:
            raise Failed(f"{os.path.basename(str(command[0]))} has not ended after {timeout_s} s: {' '.join(map(str, command[1:]))}") from late
        return process.returncode, out, error
