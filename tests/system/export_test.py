"""Goal: what `export` writes, `import ndjson` makes again in another log: every event with all that its publisher said, every schema
with its history; exactly once, however often it is killed; and a file that is not whole, or was changed, imports nothing.
Method: the real programs over a socket in a temporary directory, two brokers; SIGKILL while it imports."""

import json
import os
import signal
import subprocess
import unittest

from broker_case import PATIENCE, Broker, Case, begin, end, lines, notification, run, wait_until

EXAMPLES = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "schemas")
VISIT = os.path.join(EXAMPLES, "visit.fbs")
NEXT = os.path.join(EXAMPLES, "visit_next.fbs")
BROKEN = os.path.join(EXAMPLES, "visit_broken.fbs")
OF_THE_LOG = ["position", "committed_at", "publisher", "sequence"]


class Export(Case):
    def setUp(self):
        super().setUp()
        self.other = self.broker_at("other")

    def broker_at(self, name, *flags):
        directory = os.path.join(self.directory, name)
        os.mkdir(directory)
        broker = Broker(directory)
        self.addCleanup(broker.close)
        broker.start(*flags)
        return broker

    def export(self, name="events.ndjson", *words, broker=None):
        path = self.path(name)
        told = run(broker or self.broker, "export", path, *words, "-o", "json", expect=0)
        return path, json.loads(told.stdout)

    def imported(self, path, *words, broker=None, expect=0):
        result = run(broker or self.other, "import", "ndjson", path, *words, expect=expect)
        return json.loads(result.stdout), result.stderr

    def refused(self, path, *words, expect):
        result = run(self.other, "import", "ndjson", path, *words, expect=expect)
        self.assertEqual(lines(run(self.other, "replay", "-o", "ndjson")), [])
        return result.stderr

    def written(self, path):
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def events_of(self, path):
        """The events of an export without what belongs to the log."""
        return [{name: value for name, value in line.items() if name not in OF_THE_LOG and name != "bytes"} for line in self.written(path) if "topic" in line]

    def schemas_of(self, path):
        """Its schemas, without when they were added, and the types."""
        return [(sorted(line["schema"]["types"].items()), line["schema"]["bfbs"]) if "schema" in line else line for line in self.written(path) if "schema" in line or "schema_type" in line]

    def publish_variety(self):
        self.publish(3, "--key", "k", "--attr", "a=b", "--priority", "high", "--time", "2024-06-13T08:05:00.123456789Z", "--correlation-id", "c",
                     "--causation-id", "before", "--subject", "ana", "--source", "gateway", "--traceparent", "00-t-s-01", "--expires-after", "1h")
        self.publish(2, "--publisher", "named", topic="other.topic")
        self.run_cli("schema", "add", VISIT)
        self.run_cli("pub", "clinic.visits", '{"room": "7", "minutes": 20}', "--type", "clinic.Visit", "--key", "k")
        self.run_cli("schema", "add", NEXT)
        self.run_cli("pub", "clinic.visits", '{"room": "8", "minutes": 5, "note": "é\\n"}', "--type", "clinic.Visit")
        # Its history could not have been so in the mode that it has at the end.
        self.run_cli("schema", "add", BROKEN, "--compatibility", "none")
        self.run_cli("pub", "clinic.visits", '{"room": "9"}', "--type", "clinic.Visit")
        self.run_cli("schema", "edit", "Visit", "--compatibility", "full", "--deprecate", "of no use")

    def test_a_log_is_made_again_and_exported_again_is_the_same(self):
        self.publish_variety()
        path, told = self.export()
        self.assertEqual((told["events"], told["first"], told["last"]), (8, 1, 8))
        summary, _ = self.imported(path)
        self.assertEqual((summary["events"], summary["published"], summary["duplicates"], summary["bad"], summary["schemas"]), (8, 8, 0, 0, 3))
        again, _ = self.export("again.ndjson", broker=self.other)
        self.assertEqual(self.events_of(again), self.events_of(path))
        self.assertEqual(self.schemas_of(again), self.schemas_of(path))
        self.assertEqual([one["version"] for one in lines(run(self.other, "schema", "history", "Visit", "-o", "ndjson"))], [1, 2, 3])
        schema = {one["type"]: one for one in lines(run(self.other, "schema", "ls", "-o", "ndjson"))}["clinic.Visit"]
        self.assertEqual((schema["version"], schema["compatibility"], schema["deprecated"]), (3, "full", "of no use"))

    def test_each_schema_stands_before_the_events_that_are_younger(self):
        self.publish_variety()
        path, _ = self.export()
        kinds = [line["payload"]["room"] if line.get("type") == "clinic.Visit" else "schema" for line in self.written(path)
                 if line.get("type") == "clinic.Visit" or "clinic.Visit" in line.get("schema", {}).get("types", {})]
        self.assertEqual(kinds, ["schema", "7", "schema", "8", "schema", "9"])

    def test_run_again_it_stores_nothing_twice(self):
        self.publish_variety()
        path, _ = self.export()
        self.imported(path)
        summary, err = self.imported(path)
        self.assertEqual((summary["published"], summary["duplicates"], summary["schemas"]), (0, 8, 0))
        self.assertEqual(err, "")
        self.other.stop()
        self.other.start()
        self.assertEqual(self.imported(path)[0]["duplicates"], 8)

    def test_run_again_after_retention_has_removed_what_it_stored_it_stores_nothing(self):
        self.publish(3000)
        path, _ = self.export()
        self.imported(path)
        run(self.other, "retention", "set", ">", "--max-events", "1", expect=0)
        run(self.other, "retention", "run", expect=0)
        self.assertLess(len(lines(run(self.other, "replay", "-o", "ndjson"))), 3000)
        summary, _ = self.imported(path)
        self.assertEqual((summary["published"], summary["duplicates"]), (0, 3000))

    def test_exports_that_overlap_are_stored_once_by_their_ids(self):
        self.publish(6, "--publisher", "named")
        first, _ = self.export("first.ndjson", "--to", "4")
        second, _ = self.export("second.ndjson", "--from", "3")
        self.assertEqual(self.imported(first, "--unique-id")[0]["published"], 4)
        summary, _ = self.imported(second, "--unique-id")
        self.assertEqual((summary["published"], summary["duplicates"]), (2, 2))
        self.assertEqual([event["source"] for event in lines(run(self.other, "replay", "-o", "ndjson"))], ["named"] * 6)

    def test_a_filter_and_standard_output(self):
        self.publish(3)
        self.publish(2, topic="other.topic")
        out = self.run_cli("export", "-", "--topic", "other.>").stdout
        path = self.path("piped.ndjson", out)
        self.assertEqual(self.imported(path)[0]["published"], 2)
        self.assertEqual(json.loads(out.splitlines()[-1])["end"]["events"], 2)

    def test_an_empty_log(self):
        path, told = self.export()
        self.assertEqual((told["events"], told["first"]), (0, None))
        self.assertEqual(self.imported(path)[0]["events"], 0)

    def test_killed_in_the_middle_it_stores_each_event_once(self):
        self.publish(30000)
        path, _ = self.export()
        for least in [1, 5000, 15000]:
            importing = begin(self.other, "import", "ndjson", path)
            wait_until(lambda: importing.poll() is not None or json.loads(run(self.other, "status", "-o", "json").stdout)["committed"] >= least)
            end(importing, signal.SIGKILL)
        summary, _ = self.imported(path)
        self.assertEqual((summary["events"], summary["published"] + summary["duplicates"], summary["bad"]), (30000, 30000, 0))
        again, _ = self.export("again.ndjson", broker=self.other)
        self.assertEqual(self.events_of(again), self.events_of(path))

    def test_killed_while_the_broker_restarts_it_goes_on(self):
        self.publish(20000)
        path, _ = self.export()
        importing = begin(self.other, "import", "ndjson", path)
        wait_until(lambda: json.loads(run(self.other, "status", "-o", "json").stdout)["committed"] >= 1)
        self.other.process.kill()
        self.other.process.wait(PATIENCE)
        self.other.start()
        code, out, _ = end(importing)
        self.assertEqual((code, json.loads(out)["events"]), (0, 20000))
        again, _ = self.export("again.ndjson", broker=self.other)
        self.assertEqual(self.events_of(again), self.events_of(path))

    def test_a_file_that_was_cut_off_imports_nothing(self):
        self.publish(5)
        path, _ = self.export()
        with open(path, encoding="utf-8") as file:
            whole = file.read().splitlines(keepends=True)
        self.assertIn("cut off", self.refused(self.path("cut.ndjson", "".join(whole[:-1])), expect=1))
        self.assertIn("line", self.refused(self.path("half.ndjson", "".join(whole)[:-10]), expect=1))
        self.assertIn("does not begin", self.refused(self.path("headless.ndjson", "".join(whole[1:])), expect=1))
        self.assertIn("changed", self.refused(self.path("less.ndjson", "".join(whole[:-3] + whole[-2:])), expect=1))
        self.assertIn("changed", self.refused(self.path("flipped.ndjson", "".join(whole).replace("title 2", "title 9")), expect=1))
        self.assertIn("after the end", self.refused(self.path("more.ndjson", "".join(whole) + whole[-2]), expect=1))
        self.assertIn("No such file", self.refused(self.path("absent.ndjson"), expect=4))

    def test_what_cannot_be_read_twice_is_refused(self):
        self.publish(1)
        path, _ = self.export()
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        with subprocess.Popen(["cat", path], stdout=os.open(fifo, os.O_RDWR)):
            self.assertIn("read twice", self.refused(fifo, expect=2))

    def test_lines_that_are_no_events_are_told_and_the_others_published(self):
        self.publish(3)
        path, _ = self.export()
        with open(path, encoding="utf-8") as file:
            whole = file.read().splitlines(keepends=True)
        events = [line for line in whole if line.startswith('{"position":')]
        bad = ['{"position":garbage\n', '{"position":1,"schema":{"types":{}}}\n', '{"topic":"a","payload":' + "[" * 200000 + "]" * 200000 + "}\n", '{"position":1,"topic":3}\n']
        edited = self.path("edited.ndjson", "".join([events[0], bad[0], events[1], bad[1], bad[3], events[2]]))
        summary, err = self.imported(edited, "--edited", expect=3)
        self.assertEqual((summary["events"], summary["published"], summary["bad"]), (6, 3, 3))
        for line in [2, 4, 5]:
            self.assertIn(f"line {line}: ", err)
        self.assertIn("nested", self.refused_text(self.path("deep.ndjson", bad[2])))

    def refused_text(self, path):
        return run(self.other, "import", "ndjson", path, "--edited", expect=1).stderr

    def test_a_mode_that_another_type_has_here_stays_when_a_schema_has_both(self):
        both = "namespace m; table A { %s } table B { x: int; } root_type A;"
        first, second = self.path("first.fbs", both % "a: int; b: int;"), self.path("second.fbs", both % "a: int;")
        self.run_cli("schema", "add", first, "--compatibility", "none")
        self.run_cli("schema", "add", second)
        path, _ = self.export()
        own = self.path("own.fbs", "namespace m; table B { x: int; } root_type B;")
        run(self.other, "schema", "add", own, "--compatibility", "full_transitive", expect=0)
        self.imported(path)
        modes = {one["type"]: one["compatibility"] for one in lines(run(self.other, "schema", "ls", "-o", "ndjson"))}
        self.assertEqual((modes["m.A"], modes["m.B"]), ("none", "full_transitive"))

    def test_an_import_that_was_killed_leaves_no_type_without_its_deprecation(self):
        self.publish_variety()
        self.publish(30000)
        path, _ = self.export()
        importing = begin(self.other, "import", "ndjson", path)
        wait_until(lambda: json.loads(run(self.other, "status", "-o", "json").stdout)["committed"] >= 1000)
        end(importing, signal.SIGKILL)
        self.imported(path)
        schema = {one["type"]: one for one in lines(run(self.other, "schema", "ls", "-o", "ndjson"))}["clinic.Visit"]
        self.assertEqual((schema["version"], schema["compatibility"], schema["deprecated"]), (3, "full", "of no use"))

    def test_an_export_that_is_ended_leaves_no_file(self):
        self.publish(60000)
        path = self.path("ended.ndjson")
        exporting = begin(self.broker, "export", path)
        wait_until(lambda: exporting.poll() is not None or os.path.exists(path))
        code, _, err = end(exporting, signal.SIGTERM)
        self.assertNotEqual(code, 0, err)
        self.assertFalse(os.path.exists(path))

    def test_an_edited_file(self):
        self.publish(4)
        path, _ = self.export()
        edited = []
        for line in self.written(path):
            if line.get("position") == 2:
                line["key"] = "mine"
                del line["bytes"]
            if line.get("position") == 3:
                line["key"] = "not imported, as its bytes say otherwise"
            if line.get("position") != 4 and "end" not in line:
                edited.append(json.dumps(line, separators=(",", ":")) + "\n")
        path = self.path("edited.ndjson", "".join(edited))
        self.refused(path, expect=1)
        summary, err = self.imported(path, "--edited", expect=3)
        self.assertEqual((summary["published"], summary["bad"]), (2, 1))
        self.assertIn("'key' is not what 'bytes' has", err)
        self.assertEqual([event["key"] for event in lines(run(self.other, "replay", "-o", "ndjson"))], [None, "mine"])

    def test_a_dry_run_changes_nothing(self):
        self.publish_variety()
        path, _ = self.export()
        summary, _ = self.imported(path, "--dry-run")
        self.assertEqual((summary["events"], summary["published"], summary["bad"], summary["schemas"]), (8, 0, 0, 3))
        self.assertEqual(lines(run(self.other, "replay", "-o", "ndjson")), [])
        self.assertNotIn("clinic.Visit", run(self.other, "schema", "ls", "-o", "ndjson").stdout)

    def test_a_type_that_has_a_history_of_its_own_keeps_it(self):
        self.publish_variety()
        path, _ = self.export()
        run(self.other, "schema", "add", NEXT, expect=0)
        result = run(self.other, "import", "ndjson", path, expect=5)
        self.assertIn("incompatible_schema", result.stderr)
        self.assertIn("--without-schemas", result.stderr)
        summary, _ = self.imported(path, "--without-schemas")
        self.assertEqual(summary["schemas"], 0)
        schema = {one["type"]: one for one in lines(run(self.other, "schema", "ls", "-o", "ndjson"))}["clinic.Visit"]
        self.assertEqual((schema["version"], schema["compatibility"]), (1, "backward_transitive"))

    def test_a_mode_that_was_changed_since_is_told_and_left(self):
        self.publish_variety()
        path, _ = self.export()
        self.imported(path)
        run(self.other, "schema", "edit", "Visit", "--compatibility", "backward", expect=0)
        _, err = self.imported(path)
        self.assertIn("clinic.Visit is backward here, and was full", err)

    def test_an_event_that_the_broker_refuses_is_told_with_its_line(self):
        self.publish(2)
        self.publish(1, topic="other.topic")
        path, _ = self.export()
        strict = self.broker_at("strict", "--auto-create-topics", "false")
        run(strict, "topic", "create", "alerts.new", expect=0)
        summary, err = self.imported(path, broker=strict, expect=3)
        self.assertEqual((summary["published"], summary["bad"]), (2, 1))
        self.assertRegex(err, r"line \d+: unknown_topic")

    def test_a_mode_that_an_import_left_when_it_was_broken_off_is_told(self):
        self.publish_variety()
        path, _ = self.export()
        # All versions are there, and nothing says any more whose mode it is.
        for words in ([VISIT], [NEXT], [BROKEN, "--compatibility", "none"]):
            run(self.other, "schema", "add", *words, expect=0)
        summary, err = self.imported(path)
        self.assertEqual((summary["schemas"], summary["published"]), (0, 8))
        self.assertIn("clinic.Visit is none here, and was full", err)
        self.assertIn("clinic.Visit is not deprecated here", err)

    def test_what_is_there_is_not_overwritten(self):
        self.publish(1)
        path = self.path("mine.txt", "precious")
        self.assertIn("not overwritten", self.run_cli("export", path, expect=2).stderr)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "precious")
        self.run_cli("export", os.path.join(self.directory, "absent", "x"), expect=1)


if __name__ == "__main__":
    unittest.main()
