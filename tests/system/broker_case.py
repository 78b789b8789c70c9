"""What the system tests share: a broker of their own, and bus-cli towards it. Nothing sleeps: what is waited for is a
line, an end, or a state that the broker reports."""

import json
import os
import re
import select
import shutil
import subprocess
import tempfile
import time
import unittest

BUSD = os.environ["BUSD"]
BUS_CLI = os.environ["BUS_CLI"]
PATIENCE = float(os.environ.get("TEST_PATIENCE", "30"))

FIELDS = ["position", "id", "topic", "type", "source", "key", "version", "time", "committed_at", "priority", "publisher",
          "sequence", "correlation_id", "causation_id", "traceparent", "subject", "dataschema", "attributes", "payload"]
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$")



def notification(number):
    return json.dumps({"notification_id": f"n-{number}", "title": f"title {number}"})


class Broker:
    """One busd on a directory of its own."""

    def __init__(self, directory):
        self.data = os.path.join(directory, "data")
        self.endpoint = "ipc://" + os.path.join(directory, "bus.sock")
        self.log = open(os.path.join(directory, "busd.log"), "ab")
        self.process = None

    def start(self, *flags):
        self.process = subprocess.Popen([BUSD, "--data", self.data, "--listen", self.endpoint, *flags], stderr=self.log)
        result = run(self, "status", "--wait", "--timeout", f"{int(PATIENCE)}s")
        assert result.returncode == 0, result.stderr

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(PATIENCE)
            self.process = None

    def close(self):
        self.stop()
        self.log.close()


def command(broker, *words):
    return [BUS_CLI, "-s", broker.endpoint, *words]


def environment():
    return {name: value for name, value in os.environ.items() if name != "BUS_SERVER"}


def run(broker, *words, text="", expect=None):
    result = subprocess.run(command(broker, *words), input=text, capture_output=True, text=True, timeout=PATIENCE * 2, env=environment())
    if expect is not None and result.returncode != expect:
        raise AssertionError(f"{words} ended with {result.returncode}, not {expect}: {result.stdout}{result.stderr}")
    return result


def begin(broker, *words):
    return subprocess.Popen(command(broker, *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=environment())


def read_line(process, stream="stdout"):
    source = getattr(process, stream)
    ready, _, _ = select.select([source], [], [], PATIENCE)
    if not ready:
        raise AssertionError("no line came")
    return source.readline().decode()


def end(process, signal_number=None):
    if signal_number is not None:
        process.send_signal(signal_number)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out.decode(), err.decode()


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the condition never came true")


class Case(unittest.TestCase):
    """With a broker of its own, so that positions are known."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="bus-cli-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.broker = Broker(self.directory)
        self.addCleanup(self.broker.close)
        self.broker.start()

    def run_cli(self, *words, text="", expect=0):
        return run(self.broker, *words, text=text, expect=expect)

    def path(self, name, content=None):
        path = os.path.join(self.directory, name)
        if content is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
        return path

    def publish(self, count, *words, first=1, topic="alerts.new"):
        text = "".join(notification(number) + "\n" for number in range(first, first + count))
        return lines(self.run_cli("-o", "ndjson", "pub", topic, "-", "--type", "SystemNotification", *words, text=text))

    def group(self, name):
        return json.loads(self.run_cli("group", "info", name, "-o", "json").stdout)
