"""Goal: what people do with the schedule, and with events that expire, keeps the contract of docs/bus-cli.1.
Method: as in cli_test.py. What is due is waited for by a subscription that ends with it."""

import datetime
import json
import unittest

from broker_case import FIELDS, PATIENCE, TIME, Case, begin, end, lines, notification, read_line, wait_until

YEAR_AHEAD = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=365)).strftime("%Y-%m-%dT08:00:00Z")
EVENT_FIELDS = ["id", "due_at", "due_in", "topic", "type", "key", "publisher", "sequence", "event_id", "bytes", "scheduled_at"]


class Schedule(Case):
    def json(self, *words, expect=0):
        return json.loads(self.run_cli(*words, "-o", "json", expect=expect).stdout)

    def schedule(self, number, *when, topic="reminders.walk", publisher="reminders"):
        return self.json("pub", topic, notification(number), "--type", "SystemNotification", "--publisher", publisher, *when)

    def ids(self, *words):
        return [event["id"] for event in lines(self.run_cli("-o", "ndjson", "schedule", "ls", *words))]

    def log(self):
        return lines(self.run_cli("-o", "ndjson", "replay"))

    def test_is_published_when_it_is_due(self):
        reader = begin(self.broker, "-o", "ndjson", "sub", ">", "--from", "start", "--count", "1")
        receipt = self.schedule(1, "--after", "300ms", "--key", "user-7")
        self.assertEqual(receipt, {"position": None, "topic": "reminders.walk", "key": "user-7", "schedule_id": "reminders/1", "duplicate": False})
        self.assertEqual(self.json("status")["committed"], 0)
        event = json.loads(read_line(reader))
        end(reader)
        self.assertEqual(list(event), FIELDS + ["deliver_at"])
        self.assertEqual((event["position"], event["version"], event["publisher"], event["sequence"]), (1, 1, "reminders", 1))
        self.assertGreaterEqual(event["committed_at"], event["deliver_at"])
        self.assertEqual(self.json("schedule", "show", "reminders/1"), {"id": "reminders/1", "state": "published", "position": 1})
        self.assertEqual(self.json("status")["scheduled"], 0)

    def test_is_listed_and_shown(self):
        self.schedule(1, "--at", YEAR_AHEAD, "--key", "k")
        self.schedule(2, "--after", "1h", topic="reminders.sleep")
        self.schedule(3, "--after", "2h", publisher="others")
        self.assertEqual(self.ids(), ["reminders/2", "others/1", "reminders/1"])
        self.assertEqual(self.ids("--limit", "2"), ["reminders/2", "others/1"])
        self.assertEqual(self.ids("--topic", "*.walk"), ["others/1", "reminders/1"])
        self.assertEqual(self.ids("--key", "k", "--type", "SystemNotification"), ["reminders/1"])
        self.assertEqual(self.ids("--publisher", "others"), ["others/1"])
        row = lines(self.run_cli("-o", "ndjson", "schedule", "ls", "--key", "k"))[0]
        self.assertEqual(list(row), EVENT_FIELDS)
        self.assertEqual(row["due_at"], YEAR_AHEAD.replace("Z", ".000000000Z"))
        self.assertRegex(row["scheduled_at"], TIME)
        shown = self.json("schedule", "show", "reminders/1")
        self.assertEqual((shown["state"], shown["due_at"]), ("waiting", row["due_at"]))
        self.assertEqual((shown["event"]["payload"]["notification_id"], shown["event"]["position"]), ("n-1", None))
        self.assertIn("reminders/1", self.run_cli("schedule", "ls").stdout)
        self.assertEqual(self.json("status")["scheduled"], 3)

    def test_outlives_a_kill_and_comes_once(self):
        self.schedule(1, "--after", "500ms")
        self.schedule(2, "--after", "1h")
        self.broker.process.kill()
        self.broker.process.wait(PATIENCE)
        self.broker.start()
        wait_until(lambda: self.json("status")["committed"] == 1)
        self.broker.process.kill()
        self.broker.process.wait(PATIENCE)
        self.broker.start()
        self.assertEqual(self.ids(), ["reminders/2"])
        self.assertEqual([event["sequence"] for event in self.log()], [1])

    def test_is_cancelled_and_run_by_hand(self):
        for number in range(1, 4):
            self.schedule(number, "--after", "1h")
        self.assertEqual(self.json("schedule", "run-now", "reminders/2"), {"id": "reminders/2", "position": 1, "version": 0})
        self.assertEqual(self.json("schedule", "cancel", "reminders/1", "reminders/1"), {"cancelled": 1, "not_waiting": 0, "unknown": 0})
        some = self.json("schedule", "cancel", "reminders/1", "reminders/3", "reminders/9", expect=3)
        self.assertEqual(some, {"cancelled": 1, "not_waiting": 1, "unknown": 1})
        self.assertEqual(self.json("schedule", "show", "reminders/1")["state"], "cancelled")
        self.assertEqual(self.ids(), [])
        self.assertEqual([event["sequence"] for event in self.log()], [2])

    def test_what_cannot_be_is_refused(self):
        self.schedule(1, "--after", "1h")
        for words, code in [(["schedule", "show", "reminders/7"], 4), (["schedule", "show", "nobody/1"], 4), (["schedule", "run-now", "reminders/7"], 4),
                            (["schedule", "cancel", "reminders/7"], 4), (["schedule", "show", "17"], 2), (["schedule", "cancel", "a/0"], 2),
                            (["schedule", "ls", "--topic", "a..b"], 2), (["schedule"], 2)]:
            with self.subTest(words=words):
                self.assertNotEqual(self.run_cli(*words, expect=code).stderr, "")
        self.run_cli("schedule", "run-now", "reminders/1")
        self.run_cli("schedule", "run-now", "reminders/1", expect=5)
        self.run_cli("schedule", "cancel", "reminders/1", expect=5)
        publish = ["pub", "a.b", notification(1), "--type", "SystemNotification"]
        for words, code in [(["--at", "2100-01-01", "--after", "1h"], 2), (["--at", "yesterday"], 2), (["--at", "2200-01-01"], 1),
                            (["--at", YEAR_AHEAD, "--expires-at", YEAR_AHEAD], 1), (["--events", "--after", "1h"], 2)]:
            with self.subTest(words=words):
                self.assertNotEqual(self.run_cli(*publish, *words, expect=code).stderr, "")

    def test_every_verb_has_an_example(self):
        for words in [[], ["ls"], ["show"], ["cancel"], ["run-now"]]:
            self.assertIn("Example:\n  bus-cli schedule", self.run_cli("schedule", *words, "--help").stdout)


class Expiry(Case):
    def test_no_group_gets_what_has_expired(self):
        for life in [["--expires-at", "2020-01-01"], ["--expires-after", "1h"], []]:
            self.publish(1, *life)
        got = lines(self.run_cli("-o", "ndjson", "sub", ">", "--group", "g", "--until-end"))
        self.assertEqual([event["position"] for event in got], [2, 3])
        self.assertEqual(list(got[0])[-3:], ["expires_at", "group", "attempt"])
        info = self.group("g")
        self.assertEqual((info["expired"], info["acked"], info["lag"]), (1, 2, 0))
        self.assertEqual([event["position"] for event in lines(self.run_cli("-o", "ndjson", "replay"))], [1, 2, 3])


if __name__ == "__main__":
    unittest.main()
