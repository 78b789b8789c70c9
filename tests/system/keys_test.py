"""Goal: what people do with conditions and with single keys keeps the contract of docs/bus-cli.1.
Method: as in cli_test.py."""

import json
import unittest

from broker_case import FIELDS, Case, lines, notification

MANY = 10_000
TYPE = ("--type", "SystemNotification")


class Keys(Case):
    def expecting(self, *conditions, key="user-7", expect=0):
        words = [word for condition in conditions for word in ("--expect", condition)]
        own = ["--key", key] if key else []
        return self.run_cli("-o", "json", "pub", "alerts.new", notification(1), *TYPE, *own, *words, expect=expect)

    def version(self, *words, **options):
        return json.loads(self.expecting(*words, **options).stdout)["version"]

    def show(self, *words, expect=0):
        return lines(self.run_cli("-o", "ndjson", "key", "show", *words, expect=expect))

    def versions(self, *words):
        return [event["version"] for event in self.show(*words)]


class Expect(Keys):
    def conflict(self, *conditions, version, key="user-7", named=None):
        result = self.expecting(*conditions, key=key, expect=5)
        self.assertEqual(result.stdout, "")
        self.assertIn(f"conflict: key '{named or key}' is at version {version}, ", result.stderr)

    def test_a_version(self):
        self.assertEqual(self.version("0"), 1)
        self.assertEqual(self.version("1"), 2)
        self.conflict("1", version=2)
        self.conflict("3", version=2)
        self.assertEqual(self.version("2"), 3)

    def test_that_it_exists_or_does_not(self):
        self.conflict("exists", version=0)
        self.assertEqual(self.version("absent"), 1)
        self.conflict("absent", version=1)
        self.assertEqual(self.version("exists"), 2)

    def test_of_another_key(self):
        self.version(key="lock")
        self.assertEqual(self.version("lock=1"), 1)
        self.assertEqual(self.version("lock=exists", "never=absent", "1"), 2)
        self.conflict("lock=2", version=1, named="lock")
        self.conflict("2", "lock=absent", version=1, named="lock")
        self.conflict("7", "lock=absent", version=2)
        self.assertEqual(json.loads(self.expecting("lock=1", key="").stdout)["version"], 0)

    def test_of_a_key_with_the_sign_in_it(self):
        self.version(key="a=b")
        self.assertEqual(self.version("a=b=1"), 1)
        self.conflict("a=b=absent", version=1, named="a=b")

    def test_what_makes_no_sense_is_wrong_usage(self):
        for bad in ["", "seven", "-1", "1.5", "=1", "lock=", "lock=soon", "99999999999999999999"]:
            with self.subTest(bad):
                self.assertIn("--expect", self.expecting(bad, expect=2).stderr)
        self.assertIn("has no key", self.run_cli("pub", "alerts.new", notification(1), *TYPE, "--expect", "=1", expect=2).stderr)

    def test_of_the_own_key_of_an_event_without_one_is_wrong_usage(self):
        self.assertIn("own key", self.expecting("1", key="", expect=2).stderr)
        self.assertEqual(json.loads(self.run_cli("status", "-o", "json").stdout)["committed"], 0)

    def test_as_many_conditions_as_may_be_and_not_one_more(self):
        absent = [f"key-{number}=absent" for number in range(16)]
        self.assertEqual(self.version(*absent), 1)
        self.assertIn("17 conditions", self.expecting(*absent, "1", expect=2).stderr)

    def test_of_each_line(self):
        text = "".join(notification(number) + "\n" for number in range(3))
        result = self.run_cli("-o", "ndjson", "pub", "alerts.new", "-", *TYPE, "--key", "user-7", "--expect", "absent", text=text, expect=3)
        self.assertEqual([receipt["version"] for receipt in lines(result)], [1])
        self.assertIn("line 2: conflict: key 'user-7' is at version 1", result.stderr)
        self.assertIn("1 stored, 2 refused", result.stderr)


class Head(Keys):
    def test_of_one_key(self):
        self.version(key="other")
        self.version()
        self.version()
        self.assertEqual(json.loads(self.run_cli("key", "head", "user-7", "-o", "json").stdout), {"key": "user-7", "version": 2, "position": 3})

    def test_of_several_keys(self):
        self.version()
        rows = lines(self.run_cli("-o", "ndjson", "key", "head", "user-7", "never", "user-7"))
        self.assertEqual(rows, [{"key": "user-7", "version": 1, "position": 1}, {"key": "never", "version": 0, "position": None},
                                {"key": "user-7", "version": 1, "position": 1}])
        self.assertEqual(json.loads(self.run_cli("-o", "json", "key", "head", "user-7", "never").stdout), rows[:2])
        table = self.run_cli("key", "head", "user-7", "never").stdout.splitlines()
        self.assertEqual([line.split() for line in table], [["user-7", "1", "1"], ["never", "0", "-"]])

    def test_of_more_keys_than_one_request_may_name(self):
        self.version()
        keys = [f"key-{number}" for number in range(1500)] + ["user-7"]
        rows = lines(self.run_cli("-o", "ndjson", "key", "head", *keys))
        self.assertEqual([row["key"] for row in rows], keys)
        self.assertEqual([row["key"] for row in rows if row["version"] > 0], ["user-7"])

    def test_of_no_known_key(self):
        self.assertEqual(json.loads(self.run_cli("key", "head", "never", "-o", "json", expect=4).stdout), {"key": "never", "version": 0, "position": None})
        self.run_cli("key", "head", "never", "nor-this", expect=4)

    def test_what_makes_no_sense_is_refused(self):
        self.run_cli("key", "head", expect=2)
        self.run_cli("key", expect=2)
        self.assertIn("key", self.run_cli("key", "head", "k" * 256, expect=1).stderr)
        self.run_cli("key", "head", "k" * 255, expect=4)


class Show(Keys):
    def test_the_events_of_the_key_and_no_others(self):
        for number in range(1, 4):
            self.publish(1, "--key", "user-7", first=number)
            self.publish(1, "--key", "user-8", first=number + 10)
        events = self.show("user-7")
        self.assertEqual([(event["version"], event["position"], event["payload"]["notification_id"]) for event in events],
                         [(1, 1, "n-1"), (2, 3, "n-2"), (3, 5, "n-3")])
        self.assertEqual(list(events[0]), FIELDS)
        by_replay = lines(self.run_cli("-o", "ndjson", "replay", "--key", "user-7"))
        self.assertEqual(events, by_replay)
        self.assertEqual(json.loads(self.run_cli("-o", "json", "key", "show", "user-7").stdout), events)

    def test_a_part_of_them(self):
        self.publish(10, "--key", "user-7")
        for words, wanted in [([], range(1, 11)), (["--from", "8"], range(8, 11)), (["--count", "3"], range(1, 4)),
                              (["--from", "4", "--count", "2"], range(4, 6)), (["--reverse"], range(10, 0, -1)),
                              (["--reverse", "--count", "2"], [10, 9]), (["--reverse", "--from", "3"], [3, 2, 1]),
                              (["--reverse", "--from", "6", "--count", "2"], [6, 5]), (["--from", "10"], [10]), (["--count", "11"], range(1, 11))]:
            with self.subTest(words=words):
                self.assertEqual(self.versions("user-7", *words), list(wanted))

    def test_beyond_the_last_there_is_nothing(self):
        self.publish(2, "--key", "user-7")
        result = self.run_cli("-o", "ndjson", "key", "show", "user-7", "--from", "3")
        self.assertEqual(result.stdout, "")
        self.assertIn("key 'user-7' is at version 2", result.stderr)
        self.assertEqual(self.versions("user-7", "--from", "9", "--reverse"), [2, 1])

    def test_a_key_without_events(self):
        result = self.run_cli("-o", "ndjson", "key", "show", "never", expect=4)
        self.assertEqual(result.stdout, "")
        self.assertIn("key 'never' has no event", result.stderr)

    def test_what_it_prints_can_be_published(self):
        self.publish(5, "--key", "user-7", "--correlation-id", "c", "--attr", "a=b")
        printed = self.run_cli("-o", "ndjson", "key", "show", "user-7").stdout
        receipts = lines(self.run_cli("-o", "ndjson", "pub", "copies.of", "--events", "-", "--expect", "exists", text=printed))
        self.assertEqual([receipt["version"] for receipt in receipts], [6, 7, 8, 9, 10])
        kept = ["id", "type", "key", "time", "priority", "source", "correlation_id", "attributes", "payload"]
        events = [[event[field] for field in kept] for event in self.show("user-7")]
        self.assertEqual(events[5:], events[:5])

    def test_many_events_both_ways(self):
        self.publish(100, "--key", "other")
        self.publish(MANY, "--key", "user-7")
        forwards = self.show("user-7")
        self.assertEqual([(event["version"], event["payload"]["notification_id"]) for event in forwards],
                         [(number, f"n-{number}") for number in range(1, MANY + 1)])
        self.assertEqual(self.show("user-7", "--reverse"), forwards[::-1])
        self.assertEqual(self.versions("user-7", "--from", "5000", "--count", "2500"), list(range(5000, 7500)))
        self.assertEqual(self.versions("user-7", "--reverse", "--from", "5000"), list(range(5000, 0, -1)))

    def test_every_verb_has_an_example(self):
        for words in [[], ["head"], ["show"]]:
            self.assertIn("Example:\n  bus-cli key", self.run_cli("key", *words, "--help").stdout)


if __name__ == "__main__":
    unittest.main()
