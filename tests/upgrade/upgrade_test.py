"""Goal: a directory that an earlier busd has left, stopped or killed, opens with today's: every event, group, dead letter and scheduled event
is there as it was, publishers' sequences follow, and all goes on.
Method: the programs of an earlier revision (OLD_BUSD, OLD_BUS_CLI; `tools/test-upgrade` builds them) fill the directory; today's open it."""

import json
import os
import stat
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "system"))
import broker_case
from broker_case import Case, begin, lines, notification, wait_until

TODAY = (broker_case.BUSD, broker_case.BUS_CLI)
EARLIER = (os.environ["OLD_BUSD"], os.environ["OLD_BUS_CLI"])
EVENTS = 400
OF_THE_SESSION = {"members", "member_names", "in_flight", "lag", "open", "floor", "delivered", "redeliveries", "acked", "committed", "oldest_at", "blocked_keys",
                  "failures", "expired", "skipped", "stale_acks"}


def take(programs):
    broker_case.BUSD, broker_case.BUS_CLI = programs


class Upgrade(Case):
    def setUp(self):
        take(EARLIER)
        self.addCleanup(take, TODAY)
        super().setUp()

    def script(self, name, text):
        path = self.path(name, "#!/bin/sh\n" + text)
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def seen(self):
        """What both know how to tell."""
        groups = [{name: value for name, value in json.loads(self.run_cli("group", "info", one, "-o", "json").stdout).items() if name not in OF_THE_SESSION} for one in ("g", "ordered")]
        letters = lines(self.run_cli("dlq", "ls", "g", "-o", "ndjson"))
        waiting = lines(self.run_cli("schedule", "ls", "-o", "ndjson"))
        return {"events": lines(self.run_cli("replay", "-o", "ndjson")), "groups": groups, "letters": letters, "waiting": waiting}

    def fill(self):
        for number in range(10):
            self.publish(EVENTS // 10, "--publisher", f"service-{number % 3}", "--key", f"k{number}", first=1 + number * EVENTS // 10)
        self.run_cli("group", "create", "g", "--topic", "alerts.>", "--attempts-max", "2", "--retry-delay", "1ms")
        self.run_cli("group", "create", "ordered", "--topic", "alerts.>", "--sharing", "key_ordered")
        dies = self.script("dies", 'if grep -q "title 1[0-9]\\"" ; then exit 65; fi\nexit 0\n')
        self.run_cli("sub", "--group", "g", "--exec", dies, "--count", "150", expect=3)
        self.run_cli("sub", "--group", "ordered", "--count", "33")
        # Somebody has taken some, and never says what became of them.
        member = begin(self.broker, "sub", "--group", "ordered", "--exec", self.script("hangs", 'while [ -e "$0" ]; do sleep 0.1; done\n'))
        wait_until(lambda: json.loads(self.run_cli("group", "info", "ordered", "-o", "json").stdout)["in_flight"] > 0)
        for number in range(4):
            self.run_cli("pub", "alerts.later", notification(1000 + number), "--type", "SystemNotification", "--key", "later", "--publisher", "service-0", "--after", "1h")
        return member

    def check(self, kills):
        member = self.fill()
        before = self.seen()
        self.assertEqual(len(before["letters"]), 10)
        self.assertEqual(len(before["waiting"]), 4)
        if kills:
            self.broker.process.kill()
            self.broker.process.wait()
            self.broker.process = None
        member.kill()
        member.wait()
        member.stdout.close()
        member.stderr.close()
        self.broker.stop()
        take(TODAY)
        self.broker.start()
        self.addCleanup(self.broker.stop)
        self.compare(before, self.seen())
        self.go_on(before)
        self.broker.stop()
        self.run_cli("log", "verify", "--data", self.broker.data)

    def compare(self, before, now):
        """Fields may have been added since."""
        for kind, rows in before.items():
            self.assertLessEqual(len(rows), len(now[kind]), kind)
            for one, other in zip(rows, now[kind]):
                self.assertEqual(one, {name: other.get(name) for name in one}, kind)

    def go_on(self, before):
        self.run_cli("schedule", "run-now", before["waiting"][0]["id"])
        self.assertEqual(len(lines(self.run_cli("schedule", "ls", "-o", "ndjson"))), 3)
        used = max(one["sequence"] for one in before["events"] if one["publisher"] == "service-0")
        position = self.publish(1, "--publisher", "service-0")[0]["position"]
        self.assertGreater(json.loads(self.run_cli("event", "get", str(position), "-o", "json").stdout)["sequence"], used)
        total = len(before["events"]) + 2
        self.run_cli("dlq", "redrive", "g", "--yes")
        for group, left in (("g", total - 140), ("ordered", total - 33)):
            got = lines(self.run_cli("sub", "--group", group, "-o", "ndjson", "--count", str(left)))
            self.assertEqual(len({event["position"] for event in got}), left)
            wait_until(lambda: json.loads(self.run_cli("group", "info", group, "-o", "json").stdout)["lag"] == 0)
            info = json.loads(self.run_cli("group", "info", group, "-o", "json").stdout)
            self.assertEqual((info["floor"], info["open"], info["dead_letters"]), (total, 0, 0))

    def test_after_a_stop(self):
        self.check(kills=False)

    def test_after_a_kill(self):
        self.check(kills=True)


if __name__ == "__main__":
    unittest.main()
