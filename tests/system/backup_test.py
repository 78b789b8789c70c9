"""Goal: a broker under load is backed up, and what is restored is the log as it was: events, groups, keys, sequences and unique ids go on.
Method: as in cli_test.py; publishers that never stop, backups that are killed, files of a repository that are changed."""

import json
import os
import shutil
import signal
import unittest

from broker_case import Broker, Case, begin, end, lines, notification, run, wait_until


class Backups(Case):
    def setUp(self):
        super().setUp()
        self.repository = self.path("repository")
        self.target = self.path("restored")

    def json_of(self, *words, expect=0):
        return json.loads(self.run_cli(*words, "-o", "json", expect=expect).stdout)

    def create(self):
        return self.json_of("backup", "create", self.repository)

    # The session of one that was killed may last for a while, and its snapshot with it.
    def create_when_free(self):
        results = []

        def is_done():
            results.append(run(self.broker, "backup", "create", self.repository, "-o", "json"))
            self.assertIn(results[-1].returncode, (0, 7), results[-1].stderr)
            return results[-1].returncode == 0

        wait_until(is_done)
        return json.loads(results[-1].stdout)

    def restore(self, *words, expect=0):
        return self.json_of("restore", self.repository, "--data", self.target, *words, expect=expect)

    def replay(self, *words, broker=None):
        return lines(run(broker or self.broker, "replay", "-o", "ndjson", *words, expect=0))

    # A broker on what was restored.
    def serve(self):
        other = Broker(os.path.dirname(self.path("x")))
        other.data = self.target
        other.endpoint = "ipc://" + self.path("other.sock")
        self.addCleanup(other.close)
        other.start()
        return other

    def test_a_broker_under_load_is_backed_up_and_restored(self):
        self.run_cli("group", "create", "workers", "--topic", ">", "--from", "start")
        publisher = begin(self.broker, "bench", "pub", "--count", "2000000", "--rounds", "1")
        self.addCleanup(publisher.kill)
        wait_until(lambda: self.json_of("status")["committed"] > 1000)
        first = self.create()
        wait_until(lambda: self.json_of("status")["committed"] > first["position"] + 1000)
        killed = begin(self.broker, "backup", "create", self.repository)
        wait_until(lambda: killed.poll() is not None or len(os.listdir(os.path.join(self.repository, "segments"))) > 1)
        end(killed, signal.SIGKILL)
        committed = self.json_of("status")["committed"]
        second = self.create_when_free()
        end(publisher, signal.SIGTERM)
        self.assertGreaterEqual(second["position"], committed)
        self.assertLess(second["new_bytes"], second["bytes"])
        listed = self.json_of("backup", "ls", self.repository)
        self.assertEqual([one["position"] for one in listed][-1], second["position"])
        self.assertEqual(self.json_of("backup", "verify", self.repository)["faults"], [])

        done = self.restore()
        self.assertEqual((done["position"], done["later_backup"]), (second["position"], None))
        checked = json.loads(self.run_cli("log", "verify", "--data", self.target, "-o", "json").stdout)
        self.assertEqual((checked["faults"], checked["head"]), ([], done["head"]))
        other = self.serve()
        part = ["--from", str(second["position"] - 999), "--to", str(second["position"])]
        self.assertEqual(self.replay(*part, broker=other), self.replay(*part))
        self.assertEqual(json.loads(run(other, "group", "info", "workers", "-o", "json", expect=0).stdout)["lag"], second["position"])

    def test_keys_sequences_groups_and_unique_ids_go_on(self):
        publish = ["pub", "a.b", notification(1), "--type", "SystemNotification", "--publisher", "gateway"]
        for _ in range(3):
            self.run_cli(*publish, "--key", "k")
        self.run_cli(*publish, "--source", "s", "--id", "one", "--unique-id")
        self.run_cli("group", "create", "workers", "--topic", ">", "--from", "start")
        self.run_cli("group", "next", "workers", "--count", "2")
        self.create()
        self.run_cli("pub", "a.new", notification(2), "--type", "SystemNotification", "--publisher", "another", "--key", "k")
        self.run_cli(*publish, "--key", "k")
        self.create()
        for at, version in ((4, 3), (5, 4), (6, 5)):
            self.target = self.path(f"restored-{at}")
            done = self.restore("--at", str(at))
            self.assertEqual((done["position"], done["events"]), (at, at))
            other = self.serve()
            self.assertEqual(json.loads(run(other, "key", "head", "k", "-o", "json", expect=0).stdout)["version"], version)
            self.assertEqual(json.loads(run(other, "group", "info", "workers", "-o", "json", expect=0).stdout)["lag"], at - 2)
            receipt = lines(run(other, "-o", "ndjson", *publish, "--key", "k", expect=0))[0]
            self.assertEqual((receipt["position"], receipt["version"]), (at + 1, version + 1))
            again = lines(run(other, "-o", "ndjson", *publish, "--source", "s", "--id", "one", "--unique-id", expect=0))[0]
            self.assertEqual(again["position"], 4)
            events = self.replay(broker=other)
            self.assertEqual(events[-1]["sequence"], max(one["sequence"] for one in events if one["publisher"] == "gateway"))
            self.assertEqual(len({(one["publisher"], one["sequence"]) for one in events}), len(events))
            other.stop()
            self.assertEqual(json.loads(self.run_cli("log", "verify", "--data", self.target, "-o", "json").stdout)["faults"], [])

    def test_what_is_wrong_is_named_and_changes_nothing(self):
        self.publish(3)
        self.create()
        self.run_cli("restore", self.repository, "--data", self.broker.data, expect=1)
        self.assertIn("is not empty", self.run_cli("restore", self.repository, "--data", self.repository, expect=1).stderr)
        self.assertIn("is in no backup", self.run_cli("restore", self.repository, "--data", self.target, "--at", "4", expect=4).stderr)
        self.assertIn("ends at position 3", self.run_cli("restore", self.repository, "--data", self.target, "--at", "2", expect=4).stderr)
        self.run_cli("restore", self.repository, "--data", self.target, "--backup", "2", expect=4)
        self.run_cli("restore", self.repository, "--data", self.target, "--at", "start", expect=2)
        self.run_cli("backup", "ls", self.path("nothing"), expect=4)
        manifest = os.path.join(self.repository, "backups", "0001", "manifest.json")
        with open(manifest, encoding="ascii") as file:
            good = file.read()
        for bad in (good[:-2], good.replace('"events": 3', '"events": 4'), good + " ", ""):
            self.path(manifest, bad)
            self.assertIn("manifest", self.run_cli("backup", "verify", self.repository, expect=1).stdout)
            self.assertIn("move " + os.path.dirname(manifest), self.run_cli("backup", "create", self.repository, expect=1).stderr)
            self.assertIn("manifest", self.run_cli("restore", self.repository, "--data", self.target, expect=1).stderr)
        self.path(manifest, good)
        segment = os.path.join(self.repository, "segments", "000001.seg")
        with open(segment, "r+b") as file:
            file.seek(200)
            byte = file.read(1)
            file.seek(200)
            file.write(bytes([byte[0] ^ 1]))
        self.assertIn("FAULT backup 1: " + segment, self.run_cli("backup", "verify", self.repository, expect=1).stdout)
        self.assertIn(segment, self.run_cli("restore", self.repository, "--data", self.target, expect=1).stderr)
        os.truncate(segment, 100)
        self.assertIn("begin a new one", self.run_cli("backup", "create", self.repository, expect=1).stderr)
        self.assertFalse(os.path.exists(self.target))
        self.path("theirs", "x")
        self.assertIn("other files", self.run_cli("backup", "create", self.directory, expect=1).stderr)

    # Nothing in a directory of others is removed, whatever its names look like.
    def test_a_directory_of_others_is_not_taken_for_a_repository(self):
        self.publish(1)
        theirs = self.path("theirs")
        for name, has_lock in (("backups/2019/photo", True), ("backups/photos", True), ("segments/9.txt", True), ("segments/000009.seg", False),
                               ("backups/0009/tables", False), ("other", True)):
            file = os.path.join(theirs, name)
            os.makedirs(os.path.dirname(file))
            self.path(file, "theirs")
            if has_lock:
                self.path(os.path.join(theirs, "lock"), "")
            refused = self.run_cli("backup", "create", theirs, expect=1).stderr
            self.assertIn("is not a repository of backups", refused)
            with open(file, encoding="ascii") as kept:
                self.assertEqual(kept.read(), "theirs", name)
            shutil.rmtree(theirs)

    def test_a_damaged_manifest_spoils_no_other_backup(self):
        for number in range(3):
            self.publish(1, first=number)
            self.create()
        bad = os.path.join(self.repository, "backups", "0002", "manifest.json")
        self.path(bad, "{}")
        listed = self.run_cli("backup", "ls", self.repository, "-o", "json")
        self.assertEqual([one["backup"] for one in json.loads(listed.stdout)], [1, 3])
        self.assertIn(bad, listed.stderr)
        found = self.json_of("backup", "verify", self.repository, expect=1)
        self.assertEqual((found["backups"], [one["backup"] for one in found["faults"]]), (3, [2]))
        self.run_cli("backup", "verify", self.repository, "--backup", "3")
        self.assertIn(bad, self.run_cli("backup", "verify", self.repository, "--backup", "2", expect=1).stderr)
        self.assertIn(bad, self.run_cli("restore", self.repository, "--data", self.target, "--backup", "2", expect=1).stderr)
        self.assertFalse(os.path.exists(self.target))
        self.assertIn("move " + os.path.dirname(bad), self.run_cli("backup", "create", self.repository, expect=1).stderr)
        restored = self.run_cli("restore", self.repository, "--data", self.target)
        self.assertIn("up to position 3", restored.stdout)
        self.assertIn("backup 2 is passed over", restored.stderr)
        shutil.move(os.path.dirname(bad), self.path("aside"))
        self.assertEqual(self.create()["backup"], 4)
        self.assertEqual(self.json_of("backup", "verify", self.repository)["faults"], [])

    def test_what_a_broken_off_backup_has_left_is_removed(self):
        self.publish(3)
        self.create()
        os.makedirs(os.path.join(self.repository, "backups", "0002"))
        self.path(os.path.join(self.repository, "backups", "0002", "tables"), "x")
        self.path(os.path.join(self.repository, "segments", "000002.seg"), "x")
        self.assertEqual([one["backup"] for one in self.json_of("backup", "ls", self.repository)], [1])
        self.assertEqual(self.json_of("backup", "verify", self.repository)["backups"], 1)
        self.publish(1, first=4)
        self.assertEqual(self.create()["backup"], 2)
        self.assertEqual(self.json_of("backup", "verify", self.repository)["faults"], [])
        self.assertEqual(self.restore()["position"], 4)


if __name__ == "__main__":
    unittest.main()
