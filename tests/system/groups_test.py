"""Goal: what operators do with consumer groups and their dead letters keeps the contract of docs/bus-cli.1 and
docs/DELIVERY.md: settings, places, what is open, what was given up, and that all of it survives a crash.
Method: as in cli_test.py. Members are `sub --exec`; a command that is to hold its event reads from a pipe."""

import contextlib
import json
import os
import signal
import time
import unittest

from broker_case import FIELDS, PATIENCE, TIME, Case, begin, end, lines, read_line, wait_until

GROUP_VERBS = ["ls", "info", "lag", "pending", "keys", "create", "edit", "pause", "resume", "copy", "next", "seek", "rm"]
DLQ_VERBS = ["ls", "reasons", "show", "redrive", "drop", "export"]

SETTINGS = {"sharing": "key_ordered", "ack_wait_ms": 120_000, "in_flight_max": 50, "member_in_flight_max": 5, "attempts_max": 2,
            "backoff": "linear", "retry_delay_ms": 10, "retry_delay_max_ms": 1000, "jitter_percent": 5, "dead_letter": "stop_key"}
OPTIONS = ["--sharing", "key_ordered", "--ack-wait", "2m", "--in-flight-max", "50", "--member-in-flight-max", "5", "--attempts-max", "2",
           "--backoff", "linear", "--retry-delay", "10ms", "--retry-delay-max", "1s", "--jitter", "5", "--dead-letter", "stop_key"]
DEFAULTS = {"sharing": "round_robin", "ack_wait_ms": 30_000, "in_flight_max": 1024, "member_in_flight_max": None, "attempts_max": 20,
            "backoff": "exponential", "retry_delay_ms": 100, "retry_delay_max_ms": 60_000, "jitter_percent": 20, "dead_letter": "park"}

PENDING_FIELDS = ["position", "state", "topic", "key", "member", "attempt", "failures", "returns", "age", "due_in", "waiting",
                  "waiting_more", "note", "given_at", "due_at", "type"]
LETTER_FIELDS = ["position", "died_at", "cause", "reason", "topic", "type", "key", "id", "stopped", "attempt", "failures", "returns",
                 "redrives", "committed_at"]


class GroupCase(Case):
    def json(self, *words, expect=0):
        return json.loads(self.run_cli(*words, "-o", "json", expect=expect).stdout)

    def fill(self, *keys, topic="orders.new"):
        """One event for each: n-1, n-2 ... at the positions 1, 2 ... of an empty log."""
        first = self.json("status")["committed"] + 1
        for number, key in enumerate(keys, first):
            self.publish(1, *(["--key", key] if key else []), first=number, topic=topic)

    def create(self, name, *words):
        return self.json("group", "create", name, *words)

    def work(self, group, count, ends):
        """As a member of the group until so many events were tried; `ends`: number of the event → exit code of the command."""
        cases = "".join(f"""*'"n-{number}"'*) exit {code};; """ for number, code in ends.items())
        command = f'case "$(cat)" in {cases}*) exit 0;; esac'
        return self.run_cli("sub", "--group", group, "--count", str(count), "--exec", command, expect=3 if ends else 0)

    def rest(self, group):
        """All that the group has left, acknowledged: (position, attempt) of each."""
        return [(event["position"], event["attempt"]) for event in lines(self.run_cli("-o", "ndjson", "sub", "--group", group, "--until-end"))]

    def positions(self, *words):
        return [letter["position"] for letter in lines(self.run_cli("-o", "ndjson", "dlq", "ls", *words))]

    @contextlib.contextmanager
    def holder(self, group):
        """A member that has an event, and keeps it until the block ends."""
        pipe = self.path("pipe")
        os.mkfifo(pipe)
        lock = os.open(pipe, os.O_RDWR)
        process = begin(self.broker, "sub", "--group", group, "--exec", f"read line < {pipe}")
        try:
            wait_until(lambda: self.group(group)["in_flight"] > 0)
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            os.write(lock, b"\n" * 100)
            wait_until(lambda: self.group(group)["in_flight"] == 0)
            end(process, signal.SIGINT)
            os.close(lock)

    def crash(self):
        self.broker.process.kill()
        self.broker.process.wait(PATIENCE)
        self.broker.start()

    def named(self, found, wanted):
        return {name: found[name] for name in wanted}


class Usage(GroupCase):
    def test_every_help_has_an_example(self):
        for words in [["dlq"]] + [["group", verb] for verb in GROUP_VERBS] + [["dlq", verb] for verb in DLQ_VERBS]:
            with self.subTest(words=words):
                self.assertIn("Example:\n  bus-cli ", self.run_cli(*words, "--help").stdout)

    def test_wrong_usage_ends_with_2(self):
        for words in [["group"], ["group", "create"], ["group", "create", "g", "--sharing", "fair"], ["group", "create", "g", "--jitter", "much"],
                      ["group", "create", "g", "--attempts-max", "never"], ["group", "create", "g", "--backoff", "slow"],
                      ["group", "create", "g", "--dead-letter", "burn"], ["group", "create", "g", "--ack-wait", "5"], ["group", "copy", "g"],
                      ["group", "next", "g", "--count", "0"], ["group", "seek", "g"], ["dlq"], ["dlq", "ls"], ["dlq", "show", "g"],
                      ["dlq", "show", "g", "1", "2"], ["dlq", "ls", "g", "--cause", "fate"], ["dlq", "redrive", "g", "--rate", "0"],
                      ["dlq", "drop", "g", "--again"], ["sub", ">", "--attempts-max", "3"], ["sub", ">", "--group", "g", "--peek", "--jitter", "3"]]:
            with self.subTest(words=words):
                self.assertEqual(self.run_cli(*words, expect=2).stdout, "")

    def test_positions_and_a_filter_exclude_each_other(self):
        for verb in ["redrive", "drop", "export"]:
            for words in [["--topic", ">"], ["--key", "k"], ["--reason", "x"], ["--cause", "nack"], ["--older", "1h"], ["--limit", "3"]]:
                with self.subTest(verb=verb, words=words):
                    self.assertIn("not both", self.run_cli("dlq", verb, "g", "1", *words, expect=2).stderr)


class Making(GroupCase):
    def test_takes_every_setting(self):
        self.fill("a", "b", "a")
        made = self.create("g", "--topic", "bills.*", "--topic", "orders.>", "--type", "SystemNotification", "--key", "a", "--key", "b",
                           "--priority", "high", "--attribute", "tenant=x", "--attribute", "urgent", "--attribute", "tenant=y", "--from", "2", *OPTIONS)
        info = self.json("group", "info", "g")
        self.assertEqual({name: info[name] for name in made}, made)
        self.assertEqual(set(info) - set(made), {"member_names", "oldest_at"})
        self.assertEqual(self.named(info, SETTINGS), SETTINGS)
        self.assertEqual((info["patterns"], info["types"], info["keys"]), (["bills.*", "orders.>"], ["suoke.realtime.SystemNotification"], ["a", "b"]))
        self.assertEqual((info["priorities"], info["attributes"]), (["high"], {"tenant": ["x", "y"], "urgent": []}))
        self.assertEqual((info["floor"], info["delivered"], info["committed"], info["lag"], info["members"]), (3, 3, 3, 0, 0), "it has passed what does not match")
        self.assertEqual((info["paused"], info["dead_letters"], info["skipped"], info["failures"], info["blocked_keys"]), (False, 0, 0, 0, 0))
        self.assertRegex(info["created_at"], TIME)
        self.assertEqual(self.json("group", "ls"), [made])

    def test_has_defaults_takes_unlimited_and_is_made_once(self):
        self.assertEqual(self.named(self.create("g"), DEFAULTS), DEFAULTS)
        free = self.create("free", "--attempts-max", "unlimited", "--member-in-flight-max", "unlimited")
        self.assertEqual((free["attempts_max"], free["member_in_flight_max"]), (None, None))
        self.assertIn("group_exists", self.run_cli("group", "create", "g", "--attempts-max", "3", expect=5).stderr)
        self.assertEqual(self.named(self.group("g"), DEFAULTS), DEFAULTS)

    def test_begins_where_it_is_told(self):
        self.fill("a", "b", "c")
        for name, words, floor in [("none", [], 0), ("start", ["--from", "start"], 0), ("end", ["--from", "end"], 3), ("last", ["--from", "-1"], 2)]:
            self.assertEqual(self.create(name, *words)["floor"], floor)
        self.assertIn("beyond_end", self.run_cli("group", "create", "g", "--from", "100", expect=4).stderr)

    def test_bad_settings_end_with_2_and_make_nothing(self):
        for words, reason in [(["--ack-wait", "1ms"], "ack_wait"), (["--ack-wait", "25h"], "ack_wait"), (["--ack-wait", "50d"], "--ack-wait"),
                              (["--dead-letter", "stop_key"], "key_ordered"), (["--in-flight-max", "0"], "in_flight_max"),
                              (["--in-flight-max", "131073"], "in_flight_max"), (["--member-in-flight-max", "0"], "member_in_flight_max"),
                              (["--attempts-max", "0"], "attempts_max"), (["--attempts-max", "1000001"], "attempts_max"),
                              (["--retry-delay", "2s", "--retry-delay-max", "1s"], "retry_delay"), (["--retry-delay-max", "8d"], "7 days"),
                              (["--jitter", "101"], "jitter"), (["--sharing", "fair"], "round_robin|least_in_flight|exclusive|key_ordered"),
                              (["--topic", "a..b"], "bad_pattern")]:
            with self.subTest(words=words):
                self.assertIn(reason, self.run_cli("group", "create", "g", *words, expect=2).stderr)
        self.run_cli("group", "create", "a b", expect=2)
        self.run_cli("group", "create", "g", "--type", "Nothing", expect=4)
        self.assertEqual(self.json("group", "ls"), [])

    def test_what_is_not_there_ends_with_4(self):
        for words in [["info", "g"], ["lag", "g"], ["pending", "g"], ["keys", "g"], ["edit", "g", "--jitter", "1"], ["pause", "g"], ["resume", "g"],
                      ["copy", "g", "h"], ["next", "g"], ["seek", "g", "end", "--dry-run"], ["rm", "g", "--dead-letters"]]:
            with self.subTest(words=words):
                self.assertEqual(self.run_cli("group", *words, expect=4).stdout, "")
        for verb, words in [("ls", []), ("reasons", []), ("show", ["1"]), ("redrive", ["--dry-run"]), ("drop", []), ("export", [])]:
            with self.subTest(verb=verb):
                self.assertEqual(self.run_cli("dlq", verb, "g", *words, expect=4).stdout, "")
        self.assertEqual(self.json("group", "ls"), [])

    def test_a_subscriber_makes_a_group_with_settings(self):
        self.run_cli("sub", "orders.>", "--group", "g", "--until-end", *OPTIONS)
        self.assertEqual(self.named(self.group("g"), SETTINGS), SETTINGS)
        self.run_cli("sub", "--group", "g", "--until-end", "--jitter", "5")  # as it is
        self.assertIn("attempts_max", self.run_cli("sub", "--group", "g", "--until-end", "--attempts-max", "3", expect=5).stderr)
        self.assertIn("ack_wait", self.run_cli("sub", "orders.>", "--group", "h", "--until-end", "--ack-wait", "1ms", expect=2).stderr)


class Editing(GroupCase):
    def test_changes_what_is_named(self):
        before = self.create("g", "--topic", "orders.>", "--key", "a", *OPTIONS)
        after = self.json("group", "edit", "g", "--ack-wait", "3m", "--attempts-max", "unlimited", "--backoff", "fixed")
        self.assertEqual(after, dict(before, ack_wait_ms=180_000, attempts_max=None, backoff="fixed"))
        self.assertEqual(self.named(self.group("g"), after), after)

    def test_that_contradicts_itself_or_is_empty_changes_nothing(self):
        before = self.create("g", "--topic", "orders.>", *OPTIONS)
        self.assertIn("nothing to change", self.run_cli("group", "edit", "g", expect=2).stderr)
        for words in [["--sharing", "exclusive", "--jitter", "50"], ["--topic", "bills.>", "--ack-wait", "1ms"], ["--jitter", "50", "--topic", "a..b"],
                      ["--retry-delay", "2s"]]:
            with self.subTest(words=words):
                self.run_cli("group", "edit", "g", *words, expect=2)
                self.assertEqual(self.named(self.group("g"), before), before)
        self.assertEqual(self.json("group", "edit", "g", "--sharing", "exclusive", "--dead-letter", "park")["sharing"], "exclusive")

    def test_replaces_the_whole_filter(self):
        self.fill("a", "b")
        self.create("g", "--topic", "orders.>", "--key", "a")
        self.assertEqual(self.named(self.json("group", "edit", "g", "--topic", ">"), ["patterns", "types", "keys"]), {"patterns": [">"], "types": [], "keys": []})
        self.assertEqual([position for position, _ in self.rest("g")], [1, 2])

    def test_a_paused_group_gets_nothing(self):
        self.fill("a")
        self.create("g")
        member = begin(self.broker, "-o", "ndjson", "sub", "--group", "g")
        self.assertEqual(json.loads(read_line(member))["position"], 1)
        self.assertEqual(self.json("group", "pause", "g"), {"group": "g", "paused": True})
        self.fill("a")
        self.run_cli("sub", "orders.>", "--group", "other", "--until-end")
        self.assertEqual(self.run_cli("sub", "--group", "g", "--idle-exit", "100ms").stdout, "")
        refused = self.run_cli("group", "next", "g", expect=5)
        self.assertEqual(refused.stdout, "")
        self.assertIn("paused", refused.stderr)
        self.json("group", "edit", "g", "--jitter", "3")  # it stays paused
        info = self.group("g")
        self.assertEqual((info["paused"], info["acked"], info["open"], info["lag"]), (True, 1, 0, 1))
        self.assertEqual(self.json("group", "resume", "g"), {"group": "g", "paused": False})
        self.assertEqual(json.loads(read_line(member))["position"], 2)
        self.assertEqual(end(member, signal.SIGINT)[0], 130)
        self.assertFalse(self.group("g")["paused"])

    def test_a_copy_starts_where_the_other_is(self):
        self.fill("a", "b", "c")
        self.create("g", "--topic", "orders.>", "--key", "a", "--key", "c", *OPTIONS)
        self.work("g", 1, {})
        copied = self.json("group", "copy", "g", "h")
        self.assertEqual(self.named(copied, SETTINGS), SETTINGS)
        self.assertEqual((copied["patterns"], copied["keys"], copied["acked"]), (["orders.>"], ["a", "c"], 0))
        self.assertEqual(self.rest("h"), [(3, 1)])
        self.assertEqual(self.json("group", "copy", "g", "again", "--from", "start")["floor"], 0)
        self.assertEqual([position for position, _ in self.rest("again")], [1, 3])
        self.assertEqual(self.group("g")["acked"], 1)
        self.assertIn("group_exists", self.run_cli("group", "copy", "g", "h", expect=5).stderr)


class Looking(GroupCase):
    def next(self, *words):
        return [event["position"] for event in lines(self.run_cli("-o", "ndjson", "group", "next", *words))]

    def test_next_takes_so_many_and_acknowledges_them(self):
        self.fill("a", "b", "c", "d")
        self.create("g", "--topic", "orders.>")
        event = self.json("group", "next", "g")[0]
        self.assertEqual(list(event), FIELDS + ["group", "attempt"])
        self.assertEqual((event["position"], event["group"]), (1, "g"))
        self.assertEqual(self.next("g", "--count", "2"), [2, 3])
        self.assertEqual(self.next("g", "--count", "10"), [4])
        self.assertEqual(self.next("g"), [])
        info = self.group("g")
        self.assertEqual((info["acked"], info["lag"], info["open"], info["failures"], info["members"]), (4, 0, 0, 0, 0))

    def test_lag_is_told_in_events_and_in_seconds(self):
        self.fill("a", "b", "c")
        self.create("done", "--from", "end")
        self.create("g", "--topic", "orders.>")
        rows = self.json("group", "lag")
        self.assertEqual([(row["group"], row["lag"]) for row in rows], [("done", 0), ("g", 3)])
        self.assertEqual((rows[0]["lag_seconds"], rows[0]["oldest_at"]), (0, None))
        first = self.json("event", "get", "1")["committed_at"]
        self.assertEqual(rows[1]["oldest_at"], first)
        wait_until(lambda: self.json("group", "lag", "g")[0]["lag_seconds"] >= 1)
        self.work("g", 2, {2: 65})  # a dead letter holds up nothing
        row = self.json("group", "lag", "g")[0]
        self.assertEqual((row["lag"], row["dead_letters"], row["in_flight"], row["blocked_keys"], row["members"]), (1, 1, 0, 0, 0))
        self.assertEqual(row["oldest_at"], self.json("event", "get", "3")["committed_at"])
        self.rest("g")
        row = self.json("group", "lag", "g")[0]
        self.assertEqual((row["lag"], row["lag_seconds"], row["oldest_at"]), (0, 0, None))

    def test_pending_shows_who_has_an_event_and_at_which_attempt(self):
        self.fill("a", None)
        self.create("g", "--ack-wait", "1m", "--retry-delay", "1h", "--retry-delay-max", "2h", "--jitter", "0")
        self.assertEqual(self.json("group", "pending", "g"), [])
        with self.holder("g"):
            event, = self.json("group", "pending", "g")
            self.assertEqual(list(event), PENDING_FIELDS)
            self.assertEqual(self.named(event, ["position", "state", "key", "member", "attempt", "failures", "returns", "topic", "type"]),
                             {"position": 1, "state": "in_flight", "key": "a", "member": "bus-cli", "attempt": 1, "failures": 0, "returns": 0,
                              "topic": "orders.new", "type": "suoke.realtime.SystemNotification"})
            self.assertRegex(event["given_at"], TIME)
            self.assertRegex(event["due_at"], TIME)
            self.assertTrue(event["age"] and event["due_in"])
            self.assertEqual(self.group("g")["member_names"], ["bus-cli"])
            self.work("g", 1, {2: 1})
            held, delayed = self.json("group", "pending", "g")
            self.assertEqual((held["position"], held["state"]), (1, "in_flight"))
            self.assertEqual(self.named(delayed, ["position", "state", "key", "member", "attempt", "failures", "given_at"]),
                             {"position": 2, "state": "delayed", "key": None, "member": None, "attempt": 1, "failures": 1, "given_at": None})
            self.assertRegex(delayed["due_in"], r"^(1h|59m)")
        self.assertEqual([event["position"] for event in self.json("group", "pending", "g")], [2])

    def test_an_event_that_is_given_back_has_another_attempt(self):
        self.fill("a")
        self.create("g", "--retry-delay", "0s")
        self.work("g", 1, {1: 1})
        with self.holder("g"):
            event, = self.json("group", "pending", "g")
            self.assertEqual((event["state"], event["failures"]), ("in_flight", 1))
            self.assertEqual(event["attempt"], 2 + event["returns"])

    def test_keys_shows_what_is_held_up_and_behind_which(self):
        self.fill("a", "a", "a", "b", None)
        self.create("g", "--sharing", "key_ordered", "--dead-letter", "stop_key")
        self.work("g", 3, {1: 65, 5: 65})
        blocked, = self.json("group", "keys", "g")
        self.assertEqual(self.named(blocked, ["key", "position", "state", "waiting", "waiting_more", "failures"]),
                         {"key": "a", "position": 1, "state": "stopped", "waiting": 2, "waiting_more": False, "failures": 1})
        self.assertEqual([(letter["position"], letter["stopped"]) for letter in self.json("dlq", "ls", "g")], [(1, True), (5, False)])
        self.assertEqual(self.group("g")["blocked_keys"], 1)
        self.json("dlq", "redrive", "g", "1")
        self.assertEqual([position for position, _ in self.rest("g")], [1, 2, 3])
        self.assertEqual(self.json("group", "keys", "g"), [])

    def test_a_dropped_letter_lets_its_key_go_on(self):
        self.fill("a", "a", "b")
        self.create("g", "--sharing", "key_ordered", "--dead-letter", "stop_key")
        self.work("g", 2, {1: 65})
        self.assertEqual(self.json("dlq", "drop", "g", "1")["dropped"], 1)
        self.assertEqual(self.rest("g"), [(2, 1)])


class Moving(GroupCase):
    def test_a_dry_run_and_a_place_beyond_the_end_change_nothing(self):
        self.fill("a", "b", "c")
        self.create("g", "--topic", "orders.>")
        self.work("g", 3, {})
        self.fill("d")
        before = self.group("g")
        self.assertEqual(self.json("group", "seek", "g", "2", "--dry-run"), {"group": "g", "floor_before": 3, "floor": 1, "again": 2, "skipped": 0,
                                                                            "open_forgotten": 0, "dead_letters_removed": 0, "moved": False})
        self.assertEqual(self.named(self.json("group", "seek", "g", "end", "--dry-run"), ["floor", "again", "skipped"]), {"floor": 4, "again": 0, "skipped": 1})
        for words in [["100"], ["100", "--dry-run"]]:
            self.assertIn("beyond_end", self.run_cli("group", "seek", "g", *words, expect=4).stderr)
        self.assertEqual(self.group("g"), before)
        moved = self.json("group", "seek", "g", "2")
        self.assertEqual((moved["floor_before"], moved["floor"], moved["again"], moved["moved"]), (3, 1, 2, True))
        self.assertEqual([position for position, _ in self.rest("g")], [2, 3, 4])

    def test_takes_dead_letters_behind_its_place_away(self):
        self.fill("a", "b", "c", "d")
        self.create("g", "--topic", "orders.>")
        self.work("g", 4, {1: 65, 3: 65})
        self.assertEqual([self.json("group", "seek", "g", place, "--dry-run")["dead_letters_removed"] for place in ("1", "2", "end")], [2, 1, 0])
        self.assertEqual(self.positions("g"), [1, 3])
        self.assertEqual(self.json("group", "seek", "g", "2")["dead_letters_removed"], 1)
        self.assertEqual(self.positions("g"), [1])
        self.assertEqual(self.rest("g"), [(2, 1), (3, 1), (4, 1)])

    def test_a_group_with_dead_letters_is_not_removed_by_accident(self):
        self.fill("a")
        self.create("g", "--topic", "orders.>")
        self.work("g", 1, {1: 65})
        self.assertIn("group_busy", self.run_cli("group", "rm", "g", "--yes", expect=5).stderr)
        self.assertEqual(self.positions("g"), [1])
        self.assertEqual(self.json("group", "rm", "g", "--dead-letters"), {"group": "g", "removed": True})
        self.run_cli("group", "info", "g", expect=4)
        self.create("g", "--topic", "orders.>")
        self.assertEqual((self.positions("g"), self.rest("g")), ([], [(1, 1)]))

class DeadLetters(GroupCase):
    """Of six events the first five die: 1 and 2 are rejected, 3 to 5 fail with changing numbers."""

    def setUp(self):
        super().setUp()
        self.fill("a", "b", "a")
        self.fill("a", None, "b", topic="bills.new")
        self.create("g", "--attempts-max", "1")
        self.work("g", 6, {1: 65, 2: 65, 3: 3, 4: 14, 5: 5})

    def test_ls_names_each_with_its_reason(self):
        letters = self.json("dlq", "ls", "g")
        self.assertEqual([list(letter) for letter in letters], [LETTER_FIELDS] * 5)
        event = self.json("event", "get", "4")
        self.assertEqual({name: letters[3][name] for name in LETTER_FIELDS if name != "died_at"},
                         {"position": 4, "cause": "nack", "reason": "the command ended with 14", "topic": "bills.new", "type": event["type"], "key": "a",
                          "id": event["id"], "stopped": False, "attempt": 1, "failures": 1, "returns": 0, "redrives": 0,
                          "committed_at": event["committed_at"]})
        self.assertEqual((letters[0]["cause"], letters[4]["key"]), ("reject", None))
        self.assertGreater(letters[3]["died_at"], event["committed_at"])
        self.assertEqual(self.run_cli("dlq", "ls", "g", "--limit", "1").stdout.split("\t")[::7], ["1", "the command ended with 65\n"])
        info = self.group("g")
        self.assertEqual((info["dead_letters"], info["failures"], info["acked"], info["lag"], info["skipped"]), (5, 5, 1, 0, 0))

    def test_filters(self):
        for words, expected in [([], [1, 2, 3, 4, 5]), (["--cause", "reject"], [1, 2]), (["--cause", "nack"], [3, 4, 5]), (["--cause", "ack_wait"], []),
                                (["--reason", "with 14"], [4]), (["--reason", "ended"], [1, 2, 3, 4, 5]), (["--reason", "Ended"], []),
                                (["--topic", "bills.*"], [4, 5]), (["--topic", "orders.>", "--topic", "x"], [1, 2, 3]), (["--key", "b"], [2]),
                                (["--key", "a", "--key", "b"], [1, 2, 3, 4]), (["--type", "SystemNotification"], [1, 2, 3, 4, 5]),
                                (["--type", "SyncRequest"], []), (["--limit", "2"], [1, 2]), (["--cause", "nack", "--limit", "2"], [3, 4]),
                                (["--key", "a", "--cause", "nack", "--topic", "bills.>"], [4]), (["--newer", "1h"], [1, 2, 3, 4, 5]),
                                (["--older", "1h"], [])]:
            with self.subTest(words=words):
                self.assertEqual(self.positions("g", *words), expected)
                exported = [letter["position"] for letter in lines(self.run_cli("dlq", "export", "g", *words, expect=0 if expected else 4))]
                self.assertEqual(exported, expected)
        self.run_cli("dlq", "ls", "g", "--topic", "a..b", expect=2)

    def test_reasons_that_differ_in_numbers_are_one(self):
        rows = self.json("dlq", "reasons", "g")
        self.assertEqual([(row["count"], row["cause"], row["reason"], row["position"]) for row in rows],
                         [(3, "nack", "the command ended with #", 3), (2, "reject", "the command ended with #", 1)])
        died = [letter["died_at"] for letter in self.json("dlq", "ls", "g")]
        self.assertEqual((rows[0]["oldest_at"], rows[0]["newest_at"]), (died[2], died[4]))
        self.assertEqual([row["count"] for row in self.json("dlq", "reasons", "g", "--topic", "bills.>")], [2])

    def test_show_and_export_have_the_event_and_its_failures(self):
        self.json("dlq", "redrive", "g", "3")
        self.work("g", 1, {3: 65})
        shown = self.json("dlq", "show", "g", "3")
        self.assertEqual(list(shown), LETTER_FIELDS + ["failures_kept", "event"])
        self.assertEqual(shown["event"], self.json("event", "get", "3"))
        self.assertEqual((shown["failures"], shown["redrives"], shown["cause"]), (2, 1, "reject"))
        self.assertEqual([list(failure) for failure in shown["failures_kept"]], [["failure", "attempt", "at", "cause", "member", "error"]] * 2)
        self.assertEqual([(failure["failure"], failure["attempt"], failure["cause"], failure["member"], failure["error"]) for failure in shown["failures_kept"]],
                         [(1, 1, "nack", "bus-cli", "the command ended with 3"), (2, 2, "reject", "bus-cli", "the command ended with 65")])
        self.assertEqual(shown["failures_kept"][1]["at"], shown["died_at"])
        self.assertEqual(lines(self.run_cli("dlq", "export", "g", "3")), [shown])
        self.run_cli("dlq", "show", "g", "6", expect=4)  # it was acknowledged

    def test_redrive_delivers_again(self):
        before = self.json("dlq", "ls", "g")
        planned = self.json("dlq", "redrive", "g", "--cause", "nack", "--dry-run")
        self.assertEqual({name: planned[name] for name in planned if name != "reasons"}, {"group": "g", "matching": 3, "came_back": 0, "would_do": 3})
        self.assertEqual(planned["reasons"], self.json("dlq", "reasons", "g", "--cause", "nack"))
        self.assertEqual(self.json("dlq", "ls", "g"), before)
        self.assertEqual(self.json("dlq", "redrive", "g", "4", "1"), {"group": "g", "redriven": 2, "came_back": 0, "gone": 0, "busy": 0, "left": 0})
        self.assertEqual(self.positions("g"), [2, 3, 5])
        self.assertEqual(self.rest("g"), [(1, 2), (4, 2)])
        self.assertEqual(self.json("dlq", "redrive", "g", "--key", "a")["redriven"], 1)
        self.assertEqual(self.rest("g"), [(3, 2)])
        for words in [["1"], ["2", "1"], ["99"], ["--cause", "ack_wait"], ["--reason", "x", "--dry-run"]]:
            with self.subTest(words=words):
                self.assertEqual(self.run_cli("dlq", "redrive", "g", *words, expect=4).stdout, "")
        self.assertEqual(self.positions("g"), [2, 5])

    def died_again(self):
        self.json("dlq", "redrive", "g", "1", "2")
        self.work("g", 2, {1: 65, 2: 65})

    def test_what_came_back_is_redriven_on_demand_only(self):
        self.died_again()
        for positions in ([1, 2, 4, 5], [1, 2, 5]):  # those that came back do not use up the limit
            self.assertEqual(self.json("dlq", "redrive", "g", "--limit", "1", "--dry-run")["would_do"], 1)
            self.assertEqual(self.json("dlq", "redrive", "g", "--limit", "1", expect=3), {"group": "g", "redriven": 1, "came_back": 2, "gone": 0, "busy": 0, "left": 2})
            self.assertEqual(self.positions("g"), positions)
        self.assertEqual(self.json("dlq", "redrive", "g", "--again", "--dry-run")["would_do"], 3)
        self.assertEqual(self.json("dlq", "redrive", "g", "--again")["redriven"], 3)
        self.assertEqual([position for position, _ in self.rest("g")], [1, 2, 3, 4, 5])

    def test_nothing_is_done_where_all_came_back(self):
        self.died_again()
        self.assertEqual(self.json("dlq", "redrive", "g", "1", "2", expect=3), {"group": "g", "redriven": 0, "came_back": 2, "gone": 0, "busy": 0, "left": 2})
        self.assertEqual(self.positions("g"), [1, 2, 3, 4, 5])

    def test_a_rate_is_kept_and_an_interrupt_leaves_the_rest(self):
        begun = time.monotonic()
        self.assertEqual(self.json("dlq", "redrive", "g", "1", "2", "3", "--rate", "5")["redriven"], 3)
        self.assertGreaterEqual(time.monotonic() - begun, 0.4)
        process = begin(self.broker, "dlq", "drop", "g", "--rate", "0.01", "-o", "json")
        wait_until(lambda: self.positions("g") == [5])
        code, out, err = end(process, signal.SIGINT)
        self.assertEqual((code, json.loads(out)["dropped"], json.loads(out)["left"]), (130, 1, 1))
        self.assertIn("1 that are left", err)

    def test_drop_is_for_good(self):
        self.assertEqual(self.json("dlq", "drop", "g", "--cause", "nack", "--limit", "2", "--dry-run")["would_do"], 2)
        self.assertEqual(self.positions("g"), [1, 2, 3, 4, 5])
        self.assertEqual(self.json("dlq", "drop", "g", "--cause", "nack", "--limit", "2"), {"group": "g", "dropped": 2, "gone": 0, "busy": 0, "left": 0})
        self.assertEqual(self.json("dlq", "drop", "g", "5")["dropped"], 1)
        self.assertEqual((self.positions("g"), self.rest("g")), ([1, 2], []))
        self.json("event", "get", "5")  # stays in the log
        self.run_cli("dlq", "drop", "g", "5", expect=4)

    def test_a_crash_takes_nothing_with_it(self):
        self.died_again()
        self.json("group", "edit", "g", "--attempts-max", "2", "--retry-delay", "1h", "--retry-delay-max", "2h")
        self.json("dlq", "redrive", "g", "3")
        self.work("g", 1, {3: 9})
        looks = [["dlq", "ls", "g"], ["dlq", "show", "g", "1"], ["dlq", "show", "g", "4"], ["dlq", "reasons", "g"]]
        before = [self.json(*words) for words in looks]
        delayed, = self.json("group", "pending", "g")
        self.crash()
        self.assertEqual([self.json(*words) for words in looks], before)
        after, = self.json("group", "pending", "g")
        self.assertEqual([(event["position"], event["state"], event["failures"]) for event in (delayed, after)], [(3, "delayed", 2)] * 2)
        self.assertEqual(self.group("g")["attempts_max"], 2)
        self.assertEqual(self.json("dlq", "redrive", "g", "1", "4", expect=3)["came_back"], 1)  # it knows who came back
        self.crash()
        self.assertEqual(self.positions("g"), [1, 2, 5])
        self.assertEqual(self.work("g", 1, {}).stderr, "")
        self.assertEqual(self.json("dlq", "drop", "g")["dropped"], 3)
        self.crash()
        self.assertEqual((self.positions("g"), [event["position"] for event in self.json("group", "pending", "g")]), ([], [3]))


class GivingUp(GroupCase):
    def test_an_ack_wait_that_ran_out_is_a_failure(self):
        self.fill("a")
        self.create("g", "--ack-wait", "100ms", "--attempts-max", "1")
        with self.holder("g") as member:
            member.send_signal(signal.SIGSTOP)  # it cannot extend
            wait_until(lambda: self.positions("g", "--cause", "ack_wait") == [1])
            self.assertEqual(self.json("dlq", "show", "g", "1")["failures_kept"][0]["error"], "was not acknowledged in time")

    def test_skip_keeps_nothing(self):
        self.fill("a", "b")
        self.create("g", "--dead-letter", "skip")
        self.work("g", 2, {1: 65})
        self.assertEqual(self.named(self.group("g"), ["skipped", "dead_letters", "acked", "lag"]), {"skipped": 1, "dead_letters": 0, "acked": 1, "lag": 0})


if __name__ == "__main__":
    unittest.main(verbosity=2)
