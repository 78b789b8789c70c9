"""Goal: bench/compare and bus-cli understand each other, and nothing is left of a comparison, whether it ends or is ended.
Method: quick runs with busd alone, which needs neither the peers nor option `bench`."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

COMPARE = Path(__file__).resolve().parent.parent.parent / "bench" / "compare"
BUILD = Path(os.environ["BUSD"]).parent.parent
PATIENCE = float(os.environ.get("TEST_PATIENCE", "30"))


class Compare(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="compare-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.data, self.sockets = self.directory / "data", self.directory / "tmp"
        self.data.mkdir()
        self.sockets.mkdir()

    def begin(self, *words):
        command = [sys.executable, "-B", COMPARE, "--no-build", "--build", BUILD, "--data", self.data, "--output", self.directory / "results.json"]
        return subprocess.Popen([*command, "--systems", "busd", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env={**os.environ, "TMPDIR": str(self.sockets)})

    def end(self, process):
        out, err = process.communicate(timeout=PATIENCE * 4)
        self.assertEqual([*self.data.iterdir(), *self.sockets.iterdir()], [], err)
        return process.returncode, out, err

    def test_busd_is_measured(self):
        status, out, err = self.end(self.begin("--quick", "--only", "publish,consume,replay", "--count", "publish=3000"))
        self.assertEqual(status, 0, err)
        self.assertIn("publish: durable publishing", out)
        results = json.loads((self.directory / "results.json").read_text(encoding="utf-8"))
        self.assertEqual([workload["name"] for workload in results["workloads"]], ["publish", "consume", "replay"])
        for workload in results["workloads"]:
            busd = workload["systems"]["busd"]
            self.assertEqual((busd["failed"], len(busd["rounds"])), ("", 2))
            self.assertGreater(busd["median"]["rate"], 0)
        self.assertEqual(results["workloads"][0]["systems"]["busd"]["count"], 3000)

    def test_recorded_events_are_measured_with_each_compression(self):
        recorded = self.directory / "recorded events.ndjson"
        recorded.write_text("".join('{"topic": "a.b", "type": "suoke.realtime.SystemNotification", "payload": {"notification_id": "n-%d", "title": "a title"}}\n' % number
                                    for number in range(50)), encoding="utf-8")
        status, _, err = self.end(self.begin("--quick", "--only", "recorded", "--recorded", recorded, "--count", "recorded=3000",
                                             "--systems", "busd,busd-lz4,busd-zstd"))
        self.assertEqual(status, 0, err)
        systems = json.loads((self.directory / "results.json").read_text(encoding="utf-8"))["workloads"][0]["systems"]
        plain, lz4, zstd = (systems[name]["median"]["log_bytes"] for name in ("busd", "busd-lz4", "busd-zstd"))
        self.assertGreater(plain, 2 * lz4)
        self.assertGreater(plain, 2 * zstd)

    def test_recorded_events_that_do_not_fit_are_not_begun(self):
        recorded = self.directory / "events.ndjson"
        recorded.write_text("x" * (10 << 20) + "\n", encoding="utf-8")  # 2,000,000 such in each of six rounds
        status, out, err = self.end(self.begin("--only", "recorded", "--recorded", recorded))
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(err, r"GiB left, and the logs may take \d{6}; .*fewer events with --count")

    def test_ended_by_a_signal_it_takes_everything_down(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.begin("--only", "e2e")
            self.assertIn("starting busd", process.stderr.readline())
            os.kill(process.pid, number)
            status, out, err = self.end(process)
            self.assertEqual((status, out), (128 + number, ""), err)
            self.assertIn("interrupted", err)

    def test_a_wrong_word_is_named(self):
        for words, message in [(["--only", "publsh"], "publsh is none of publish,"), (["--count", "publish"], "is not WORKLOAD=N"),
                               (["--count", "publish:redis=5"], "is not WORKLOAD=N"), (["--rounds", "0"], "not a number from 1"),
                               (["--only", "recorded"], "needs --recorded"), (["--recorded", "nowhere"], "is not a file")]:
            status, _, err = self.end(self.begin(*words))
            self.assertEqual(status, 2)
            self.assertIn(message, err)


if __name__ == "__main__":
    unittest.main()
