"""Goal: what operators do with bus-cli keeps its contract, too: import, inspection, verification, measuring.
Method: as in cli_test.py."""

import json
import os
import signal
import subprocess
import unittest

from broker_case import BUSD, Case, begin, end, lines, notification, read_line, run, wait_until

MAP = """
type = "suoke.health.HealthDataUpdate"
topic = "health.data.updated"
key = "{Id}"
[time]
column = "When"
formats = ["M/D/YYYY H:mm"]
timezone = "UTC"
[[fields]]
path = "record_id"
template = "{Id}/{@time}"
[[fields]]
path = "user_id"
column = "Id"
convert = "text"
[[fields]]
path = "data_type"
constant = "steps"
[[fields]]
path = "value.number"
column = "Steps"
convert = "number"
"""


class Importing(Case):
    CSV = "Id,When,Steps\nu1,4/12/2016 0:00,373\nu2,4/12/2016 1:00,x\nu1,4/12/2016 2:00,151.5\nu2,13/12/2016 3:00,1\n"

    def setUp(self):
        super().setUp()
        self.csv = self.path("steps.csv", self.CSV)
        self.map = self.path("map.toml", MAP)

    def import_csv(self, *words, expect):
        result = self.run_cli("import", "csv", self.csv, "--map", self.map, *words, expect=expect)
        return json.loads(result.stdout), result.stderr

    def test_stores_good_rows_once_and_names_the_bad_ones(self):
        summary, err = self.import_csv(expect=3)
        self.assertEqual(summary, {"rows": 4, "published": 2, "duplicates": 0, "bad": 2})
        self.assertRegex(err, r"line 3: .*'x'")
        self.assertIn("line 5: ", err)
        summary, _ = self.import_csv(expect=3)
        self.assertEqual(summary, {"rows": 4, "published": 0, "duplicates": 2, "bad": 2})
        events = lines(self.run_cli("replay", "-o", "ndjson"))
        self.assertEqual([(event["sequence"], event["payload"]["value"]["number"]) for event in events], [(1, 373), (3, 151.5)])
        self.assertEqual(events[0]["time"], "2016-04-12T00:00:00.000000000Z")

    def test_a_row_given_up_before_is_told_as_bad(self):
        self.import_csv(expect=3)
        self.map = self.path("map.toml", MAP.replace('column = "Steps"\nconvert = "number"', "constant = 1"))
        summary, err = self.import_csv(expect=3)
        self.assertEqual((summary["duplicates"], summary["bad"]), (2, 2))
        self.assertRegex(err, r"line 3: refused_before.*--publisher NAME")
        summary, _ = self.import_csv("--publisher", "again", expect=3)
        self.assertEqual((summary["published"], summary["bad"]), (3, 1))

    def test_a_dry_run_stores_nothing(self):
        summary, _ = self.import_csv("--dry-run", expect=3)
        self.assertEqual(summary, {"rows": 4, "published": 0, "duplicates": 0, "bad": 2})
        self.assertEqual(json.loads(self.run_cli("status", "-o", "json").stdout)["committed"], 0)

    def test_ends_when_another_publishes_under_its_name(self):
        self.csv = self.path("many.csv", "Id,When,Steps\n" + "u1,4/12/2016 0:00,373\n" * 10_000)
        committed = lambda: json.loads(self.run_cli("status", "-o", "json").stdout)["committed"]
        process = begin(self.broker, "import", "csv", self.csv, "--map", self.map, "--rate", "20", "--publisher", "p")
        wait_until(lambda: committed() > 0)
        self.run_cli("pub", "a.b", notification(1), "--type", "SystemNotification", "--publisher", "p")
        code, out, err = end(process)
        self.assertEqual(code, 5, err)
        self.assertIn("publisher_fenced", err)
        self.assertEqual(json.loads(out)["bad"], 0, "a row whose fate is unknown is no bad row")

    def test_what_is_not_there(self):
        self.run_cli("import", "csv", "/no/such.csv", "--map", self.map, expect=4)
        self.run_cli("import", "csv", self.csv, "--map", "/no/such.toml", expect=4)
        self.map = self.path("map.toml", MAP.replace('"Steps"', '"Nothing"'))
        self.run_cli("import", "csv", self.csv, "--map", self.map, expect=2)


class Inspecting(Case):
    def test_lists_topics_groups_and_schemas(self):
        self.publish(2)
        self.publish(1, first=3, topic="b.c")
        topics = json.loads(self.run_cli("topic", "ls", "-o", "json").stdout)
        self.assertEqual([(topic["topic"], topic["events"]) for topic in topics], [("alerts.new", 2), ("b.c", 1)])
        self.run_cli("sub", "alerts.>", "--group", "g", "--until-end")
        self.assertEqual(json.loads(self.run_cli("topic", "info", "alerts.new", "-o", "json").stdout)["groups"], ["g"])
        self.assertEqual([group["group"] for group in lines(self.run_cli("group", "ls", "-o", "ndjson"))], ["g"])
        types = [schema["type"] for schema in json.loads(self.run_cli("schema", "ls", "-o", "json").stdout)]
        self.assertIn("suoke.health.HealthDataUpdate", types)
        shown = json.loads(self.run_cli("schema", "show", "HealthDataUpdate", "-o", "json").stdout)
        names = [field["name"] for field in shown["tables"]["suoke.health.HealthDataUpdate"]]
        self.assertEqual(names[:3], ["record_id", "user_id", "data_type"])
        self.assertIn("table suoke.health.Value {", self.run_cli("schema", "show", "HealthDataUpdate").stdout)

    def test_top_shows_what_changes(self):
        self.publish(3)
        self.run_cli("group", "create", "g", "--topic", "alerts.>")
        top = begin(self.broker, "-o", "ndjson", "top", "--interval", "300ms")
        first = json.loads(read_line(top))
        self.assertEqual((first["committed"], first["events_per_second"], first["groups"][0]["lag"]), (3, 0, 3))
        self.publish(100)
        self.run_cli("sub", "--group", "g", "--count", "50")
        views = []
        wait_until(lambda: views.append(json.loads(read_line(top))) or views[-1]["committed"] == 103 and views[-1]["groups"][0]["lag"] == 53)
        self.assertGreater(max(view["topics"][0]["events_per_second"] for view in views), 0)
        self.assertGreater(max(view["groups"][0]["acked_per_second"] for view in views), 0)
        end(top, signal.SIGINT)
        once = json.loads(self.run_cli("top", "--count", "1", "--interval", "100ms", "--lines", "1", "-o", "json").stdout)
        self.assertEqual(list(once["topics"][0]), ["topic", "events_per_second", "bytes_per_second", "events", "last_at"])
        self.assertIn("alerts.new", self.run_cli("top", "--count", "1", "--interval", "100ms").stdout)
        self.run_cli("top", "--interval", "1ms", expect=2)

    def test_plain_text_is_columns_between_tabs(self):
        self.publish(1, "--key", "a\tb")
        self.assertEqual(self.run_cli("replay").stdout.split("\t")[3], "a b")
        self.assertEqual(self.run_cli("topic", "ls").stdout.split("\t")[:2], ["alerts.new", "1"])


class LogCase(Case):
    def data_file(self):
        return next(os.path.join(base, "data.mdb") for base, _, files in os.walk(self.broker.data) if "data.mdb" in files)


class Verifying(LogCase):
    def verify(self, *words, expect):
        return json.loads(self.run_cli("log", "verify", "-o", "json", *words, expect=expect).stdout)

    def test_a_whole_log_has_no_faults(self):
        self.publish(100)
        expected = {"events": 100, "last": 100, "faults": []}
        found = self.verify(expect=0)
        self.assertEqual({name: found[name] for name in expected}, expected)
        self.assertEqual(json.loads(self.run_cli("log", "stat", "-o", "json").stdout)["records"], found["records"])
        self.run_cli("log", "verify", "--data", self.broker.data, expect=7)  # the broker has it open
        self.broker.stop()
        self.assertEqual(self.verify("--data", self.broker.data, expect=0), found)

    def proof(self, head, expect, *words):
        return self.verify("--from-head", head, *words, expect=expect)["from_head"]

    def test_a_head_of_yesterday_is_proven(self):
        heads = []
        for first in (1, 4, 7):
            self.publish(3, first=first)
            heads.append(self.verify(expect=0)["head"])
        self.assertEqual([head.split(":")[0] for head in heads], ["3", "6", "9"])
        self.assertEqual(heads[2].split(":")[1], json.loads(self.run_cli("log", "stat", "-o", "json").stdout)["chain"])
        self.assertIn(f"head {heads[2]}\nextends {heads[0]}\n", self.run_cli("log", "verify", "--from-head", heads[0]).stdout)
        self.broker.stop()
        offline = ("--data", self.broker.data)
        longer, other = "10" + heads[2][1:], heads[1][:-1] + ("0" if heads[1][-1] != "0" else "1")
        for words, start in ((offline, self.broker.start), ((), lambda: None)):
            for head in heads + ["0:0000000000000000"]:
                self.assertEqual(self.proof(head, 0, *words), {"head": head, "extended": True, "why_not": None})
            self.assertIn("shorter than that head: it ends at position 9", self.proof(longer, 1, *words)["why_not"])
            self.assertIn("the chain differs", self.proof(other, 1, *words)["why_not"])
            self.assertIn("the chain differs", self.proof("0:0000000000000001", 1, *words)["why_not"])
            start()
        self.assertIn("DOES NOT EXTEND " + other, self.run_cli("log", "verify", "--from-head", other, expect=1).stdout)
        for wrong in ("3", "3:12", "x:0123456789abcdef", "3:0123456789abcdeg", ":0123456789abcdef"):
            self.assertIn("POSITION:CHAIN", self.run_cli("log", "verify", "--from-head", wrong, expect=2).stderr)

    def flip(self, mark):
        """In all copies of the page that LMDB has left behind, because only one of them is in use."""
        with open(self.data_file(), "r+b") as file:
            content = file.read()
            self.assertIn(mark, content)
            file.seek(0)
            file.write(content.replace(mark, bytes([mark[0] ^ 1]) + mark[1:]))

    def test_a_flipped_byte_is_found_and_named(self):
        for number in (1, 2, 3):
            self.publish(1, first=number)
        self.broker.stop()
        self.flip(b"title 2")
        self.assertEqual([fault["position"] for fault in self.verify("--data", self.broker.data, expect=1)["faults"]], [2])
        self.broker.start()
        self.assertEqual([fault["position"] for fault in self.verify(expect=1)["faults"]], [2])
        self.assertIn("position 2", self.run_cli("log", "verify", expect=1).stdout)
        self.run_cli("event", "get", "2", expect=1)
        self.assertEqual(json.loads(self.run_cli("event", "get", "3", "-o", "json").stdout)["payload"]["title"], "title 3")


class Salvaging(LogCase):
    def salvage(self, *words, expect):
        return json.loads(self.run_cli("log", "salvage", *words, self.path("new"), "-o", "json", expect=expect).stdout)

    def serve_new(self):
        self.broker.data = self.path("new")
        self.broker.start()

    def replayed(self, *words):
        return lines(self.run_cli("replay", "-o", "ndjson", *words))

    def fill(self):
        for first in (1, 11, 21):
            self.publish(10, "--key-field", "notification_id", first=first)
        self.run_cli("sub", "alerts.*", "--group", "dashboard", "--until-end")
        before = self.replayed()
        head = json.loads(self.run_cli("log", "verify", "-o", "json").stdout)["head"]
        self.broker.stop()
        return before, head

    def test_a_broken_tree_costs_no_event(self):
        """Both pages from which all trees are found are broken: busd refuses, and the new log has every event."""
        before, head = self.fill()
        with open(self.data_file(), "r+b") as file:
            for page in (0, 4096):
                file.seek(page + 16)
                file.write(b"\0")
        self.assertIn("meta page", self.run_cli("log", "verify", "--data", self.broker.data, expect=1).stderr)
        report = self.salvage(self.broker.data, expect=3)
        self.assertEqual((report["events"], report["lost"], report["head"]), (30, [], head))
        self.assertTrue(any(note.startswith("rows of table groups are lost") for note in report["notes"]))
        self.serve_new()
        self.assertEqual(self.replayed(), before)
        self.assertEqual(self.run_cli("log", "verify", "--from-head", head).stdout.splitlines()[-1], "extends " + head)
        self.publish(1, "--key", "n-7", first=31)
        self.assertEqual([event["version"] for event in self.replayed("--key", "n-7")], [1, 2])

    def test_a_damaged_event_is_the_only_one_that_is_lost(self):
        before, head = self.fill()
        with open(self.data_file(), "r+b") as file:
            content = file.read()
            file.seek(0)
            file.write(content.replace(b"title 14", b"tit1e 14"))
        self.assertEqual(self.salvage(self.broker.data, expect=3)["lost"], [{"first": 14, "last": 14}])
        self.assertEqual(self.run_cli("log", "verify", "--data", self.path("new")).stdout.splitlines()[0], "LOST positions 14 to 14")
        self.serve_new()
        self.assertEqual(self.replayed("--from", "15"), before[14:])
        self.assertEqual(self.replayed("--from", "1", "--to", "13"), before[:13])
        self.assertIn("positions 14 to 14 are missing", self.run_cli("event", "get", "14", expect=1).stderr)
        self.assertEqual(self.group("dashboard")["floor"], 30)
        self.assertEqual(self.publish(1, first=31)[0]["position"], 31)
        self.assertEqual(self.run_cli("log", "verify", "--from-head", head).returncode, 0)
        online = json.loads(self.run_cli("log", "verify", "--from-head", "14:" + head.split(":")[1], "-o", "json", expect=1).stdout)
        self.assertEqual(online["lost"], [{"first": 14, "last": 14}])
        self.assertIn("that position is lost", online["from_head"]["why_not"])

    def test_a_file_that_is_cut_off_is_refused_with_the_last_good_position(self):
        self.fill()
        used = json.loads(self.run_stat())["used_bytes"]
        os.truncate(self.data_file(), used - 4096)
        for words in (["log", "verify", "--data", self.broker.data],):
            self.assertRegex(self.run_cli(*words, expect=1).stderr, r"cut off.*the last whole record in it ends at position \d+")
        refused = subprocess.run([BUSD, "--data", self.broker.data, "--listen", self.broker.endpoint], capture_output=True, text=True, timeout=30)
        self.assertNotEqual(refused.returncode, 0)
        self.assertRegex(refused.stderr, r"cut off.*the last whole record in it ends at position \d+")

    def run_stat(self):
        self.broker.start()
        stat = self.run_cli("log", "stat", "-o", "json").stdout
        self.broker.stop()
        return stat

    def test_it_never_writes_where_a_log_is(self):
        self.fill()
        self.run_cli("log", "salvage", self.broker.data, self.broker.data, expect=7)
        self.run_cli("log", "salvage", self.path("nowhere"), self.path("new"), expect=4)


class Repairing(LogCase):
    def repair(self, *words, expect):
        return json.loads(self.run_cli("log", "repair", "--data", self.broker.data, "-o", "json", *words, expect=expect).stdout)

    def replayed(self, *words):
        return lines(self.run_cli("replay", "-o", "ndjson", *words))

    def change(self, mark, at=0):
        """One bit, in all copies of the page."""
        with open(self.data_file(), "r+b") as file:
            content = file.read()
            self.assertIn(mark, content)
            file.seek(0)
            file.write(content.replace(mark, mark[:at] + bytes([mark[at] ^ 1]) + mark[at + 1:]))

    def test_what_is_intact_stays_and_a_second_run_finds_nothing(self):
        for first in (1, 11, 21):
            self.publish(10, "--key-field", "notification_id", first=first)
        self.run_cli("sub", "alerts.*", "--group", "dashboard", "--until-end")
        before = self.replayed()
        head = json.loads(self.run_cli("log", "verify", "-o", "json").stdout)["head"]
        self.run_cli("log", "repair", "--data", self.broker.data, expect=7)
        self.broker.stop()
        self.change(b"title 14")
        dry = self.repair("--dry-run", expect=3)
        self.assertFalse(os.path.exists(os.path.join(self.broker.data, "aside")))
        report = self.repair(expect=3)
        self.assertEqual((report["faults"], report["notes"]), ([], []))
        place = report["repaired"][0]
        self.assertEqual((place["kept"], place["lost"], place["topics"]), (place["last"] - place["first"], [{"first": 14, "last": 14}], [before[13]["topic"]]))
        self.assertEqual([one["lost"] for one in dry["repaired"]], [place["lost"]])
        with open(os.path.join(report["aside"], place["file"]), "rb") as file:
            self.assertTrue(file.read().startswith(b"BREC"))
        with open(os.path.join(report["aside"], "report.ndjson"), encoding="utf-8") as file:
            self.assertEqual([json.loads(line) for line in file], [place])
        self.assertEqual(self.repair(expect=0)["repaired"], [])
        self.assertEqual(self.run_cli("log", "verify", "--data", self.broker.data).stdout.splitlines()[0], "LOST positions 14 to 14")
        self.broker.start()
        self.assertEqual(self.replayed("--from", "15"), before[14:])
        self.assertEqual(self.replayed("--from", "1", "--to", "13"), before[:13])
        self.assertIn("positions 14 to 14 are missing", self.run_cli("event", "get", "14", expect=1).stderr)
        self.assertEqual(self.group("dashboard")["floor"], 30)
        self.assertEqual(self.run_cli("log", "verify", "--from-head", head).returncode, 0)
        self.publish(1, "--key", "n-30", first=31)
        self.assertEqual([event["version"] for event in self.replayed("--from", "15", "--key", "n-30")], [1, 2])

    def test_busd_names_it_where_a_record_stops_its_start(self):
        """Killed before any checkpoint: all records are needed at the start, and one of them has a damaged index."""
        self.publish(5)
        self.broker.process.kill()
        self.broker.process.wait()
        self.broker.process = None
        with open(self.data_file(), "rb") as file:
            content = file.read()
        record = content[content.index(b"BREC"):][:64]
        self.change(record, 40)
        refused = subprocess.run([BUSD, "--data", self.broker.data, "--listen", self.broker.endpoint], capture_output=True, text=True, timeout=30)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("bus-cli log repair", refused.stderr)
        lost = self.repair(expect=3)["repaired"][0]["lost"][0]["first"]
        self.assertIn(f"position {lost}: ", refused.stderr)
        self.broker.start()
        self.assertIn("are missing", self.run_cli("event", "get", str(lost), expect=1).stderr)
        self.assertEqual(self.publish(1, first=6)[0]["position"], 6)


class Compressing(LogCase):
    def bench(self, recorded):
        figures = json.loads(self.run_cli("bench", "pub", "--events", recorded, "--count", "3000", "--rounds", "1", "-o", "json").stdout)
        return figures["event_bytes"], figures["log_bytes_per_event"]

    def test_each_start_may_have_another_setting(self):
        self.publish(100)
        recorded = self.path("events.ndjson", self.run_cli("replay", "-o", "ndjson").stdout)
        for method, found in (("lz4", {1}), ("zstd", {1, 2})):
            self.broker.stop()
            self.broker.start("--compression", method)
            event_bytes, log_bytes = self.bench(recorded)
            self.assertLess(log_bytes, event_bytes / 2)
            with open(self.data_file(), "rb") as file:
                content = file.read()
            self.assertEqual({number for number in (1, 2) if b"BPAK\x01\x00" + bytes([number, 0]) in content}, found)
        self.broker.stop()
        self.broker.start()
        event_bytes, log_bytes = self.bench(recorded)
        self.assertGreater(log_bytes, event_bytes)
        payloads = [event["payload"] for event in lines(self.run_cli("replay", "-o", "ndjson"))]
        self.assertEqual(payloads, payloads[:100] * 91)
        self.run_cli("log", "verify")
        stat, topic = (json.loads(self.run_cli(*words, "-o", "json").stdout) for words in (("log", "stat"), ("topic", "info", "alerts.new")))
        self.assertEqual(stat["event_bytes"], topic["bytes"])

    def test_a_bench_names_the_line_that_is_no_event(self):
        recorded = self.path("events.ndjson", '{"topic": "a", "type": "suoke.realtime.SystemNotification", "payload": {"notification_id": "n", "title": "t"}}\n{"topic": 1}\n')
        self.assertIn("events.ndjson:2: ", self.run_cli("bench", "pub", "--events", recorded, expect=1).stderr)
        self.assertIn("no events", self.run_cli("bench", "pub", "--events", self.path("empty", ""), expect=2).stderr)
        self.run_cli("bench", "pub", "--events", recorded, "--size", "300", expect=2)


class Measuring(Case):
    def test_benches_print_figures(self):
        for name, words in [("pub", ["--rounds", "1", "--floor", "--data", self.directory]), ("sub", ["--rounds", "1"]),
                            ("replay", ["--rounds", "1"]), ("e2e", ["--rate", "10000"]), ("each", ["--publishers", "3"]),
                            ("fanout", ["--subscribers", "3"])]:
            with self.subTest(name=name):
                figures = json.loads(self.run_cli("bench", name, "--count", "500", *words, "-o", "json").stdout)
                self.assertEqual((figures["bench"], figures["events"]), (name, 500))
                for figure in {"pub": ["ratio", "floor_events_per_second", "rounds"], "e2e": ["delivery_us", "receipt_us"],
                               "each": ["events_per_second", "events_per_commit", "receipt_us"],
                               "fanout": ["events_per_second", "deliveries_per_second"]}.get(name, ["events_per_second"]):
                    self.assertTrue(figures[figure])
        self.assertEqual([name for name in os.listdir(self.directory) if name.startswith("floor-")], [])

    def test_a_bench_is_compared_with_one_from_before(self):
        base = self.path("base.json")
        words = ["bench", "replay", "--count", "500", "--rounds", "1", "--compare", base, "-o", "json"]
        self.assertIn("base.json", self.run_cli(*words, expect=4).stderr)
        result = json.loads(self.run_cli(*words[:6], "-o", "json").stdout)
        self.path("base.json", json.dumps(dict(result, events_per_second=1.0)))
        compared = json.loads(self.run_cli(*words).stdout)["compared"]["events_per_second"]
        self.assertEqual(compared["base"], 1.0)
        self.assertLess(compared["regress_percent"], 0)
        self.path("base.json", json.dumps(dict(result, events_per_second=1e12)))
        self.assertIn("events_per_second is worse", self.run_cli(*words, expect=1).stderr)
        self.path("base.json", json.dumps(dict(result, events=501)))
        self.assertIn("measure both alike", self.run_cli(*words, expect=2).stderr)
        self.path("base.json", "[]")
        self.run_cli(*words, expect=2)
        pub = ["bench", "pub", "--count", "500", "--rounds", "1", "-o", "json"]
        self.path("base.json", self.run_cli(*pub, "--keys", "5").stdout)
        self.assertIn("keys is 1000 here", self.run_cli(*pub, "--compare", base, expect=2).stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
