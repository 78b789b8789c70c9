"""Goal: busd as its administrator meets it: settings, exit codes, types of one's own, systemd's notifications, an orderly
end, and a full disk.
Method: the real programs over a socket in a temporary directory."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from broker_case import BUSD, PATIENCE, Case, begin, command, end, lines, notification, read_line, run, wait_until

FLATC = os.environ["FLATC"]


def busd(*words, **options):
    return subprocess.run([BUSD, *words], capture_output=True, text=True, timeout=PATIENCE, check=False, **options)


def terminate(process):
    process.terminate()
    return process.wait(PATIENCE)


class Settings(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="busd-")
        self.addCleanup(shutil.rmtree, self.directory)

    def check(self, text, *words):
        path = os.path.join(self.directory, "busd.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path, busd("--config", path, "--check-config", *words)

    def test_a_good_file_is_shown_and_a_flag_wins_over_it(self):
        _, result = self.check(f'data = "{self.directory}/x"\nmap_size = "2GiB"\nlisten = ["ipc:///tmp/a", "tcp://127.0.0.1:7000"]\n', "--map-size", "4GiB")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("map_size = 4GiB", result.stdout)
        self.assertIn("listen = ipc:///tmp/a tcp://127.0.0.1:7000", result.stdout)

    def test_a_mistake_is_named_by_file_line_and_reason(self):
        for text, reason in [('data = "x"\nmap_size = "12 parsecs"\n', "parsecs"), ('data = "x"\nmap_sice = 1\n', "map_sice"),
                             ('data = "x"\nlog_level = "loud"\n', "loud"), ('data = "x"\nlisten = [1]\n', "listen"),
                             ('data = "x"\nmap_size = = 1\n', ""), ('data = "x"\nlisten = "tcp://0.0.0.0:1"\n', "0.0.0.0")]:
            with self.subTest(text=text):
                path, result = self.check(text)
                self.assertEqual(result.returncode, 2)
                self.assertIn(f"{path}:2: ", result.stderr)
                self.assertIn(reason, result.stderr)

    def test_a_group_of_a_type_that_is_not_known_is_named(self):
        self.assertEqual(self.check('[group.g]\ntypes = "SystemNotification"\n')[1].returncode, 0)
        _, result = self.check('[group.g]\ntypes = "Nope"\n')
        self.assertEqual((result.returncode, result.stderr), (0, "busd: group.g: types: there is no type 'Nope', unless it is registered in the log\n"))

    def test_tcp_beyond_loopback_is_denied(self):
        for endpoint in ["tcp://0.0.0.0:7000", "tcp://*:7000", "tcp://192.168.1.1:7000", "tcp://[::]:7000"]:
            result = busd("--data", os.path.join(self.directory, "data"), "--listen", endpoint)
            self.assertIn(result.returncode, (2, 6), endpoint)
            self.assertIn("other machines", result.stderr)
        self.assertEqual(os.listdir(self.directory), [])

    def test_an_unknown_flag_is_wrong_usage(self):
        self.assertEqual(busd("--bogus").returncode, 2)
        self.assertRegex(busd("--version").stdout, r"^busd \d+\.\d+\.\d+$")


class Running(Case):
    def test_a_directory_has_one_broker(self):
        result = busd("--data", self.broker.data, "--listen", f"ipc://{self.directory}/other.sock")
        self.assertEqual(result.returncode, 7, result.stderr)
        self.assertIn(self.broker.data, result.stderr)
        result = busd("--data", self.path("other"), "--listen", self.broker.endpoint)
        self.assertEqual(result.returncode, 5, result.stderr)

    def test_serves_several_endpoints(self):
        self.broker.stop()
        second = f"ipc://{self.directory}/second.sock"
        process = subprocess.Popen([BUSD, "--data", self.broker.data, "--listen", self.broker.endpoint, "--listen", second], stderr=self.broker.log)
        self.run_cli("status", "--wait")
        self.publish(1)
        self.broker.endpoint = second
        self.assertEqual(len(lines(self.run_cli("-o", "ndjson", "replay"))), 1)
        self.assertEqual(terminate(process), 0)

    # libzmq tells of each connection that ends, and stops serving once 2,000 of these were not taken.
    def test_serves_on_after_thousands_of_connections_have_ended(self):
        path = self.broker.endpoint.removeprefix("ipc://")
        for _ in range(2500):
            with contextlib.closing(socket.socket(socket.AF_UNIX)) as peer:
                peer.settimeout(PATIENCE)
                peer.connect(path)
                self.assertTrue(peer.recv(10), "the greeting of ZMTP")
        self.run_cli("status")

    # Much sooner than its next sign of life is due.
    def test_notices_that_a_client_was_killed(self):
        def sessions():
            return json.loads(self.run_cli("-o", "json", "status").stdout)["sessions"]

        others = sessions()
        subscriber = begin(self.broker, "sub", ">", "--group", "g")
        wait_until(lambda: sessions() == others + 1)
        end(subscriber, signal.SIGKILL)
        killed = time.monotonic()
        wait_until(lambda: sessions() == others)
        self.assertLess(time.monotonic() - killed, 3)

    def test_sigterm_answers_what_was_taken(self):
        process = subprocess.Popen(command(self.broker, "-o", "ndjson", "pub", "a.b", "-", "--type", "SystemNotification"),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for number in range(200):
            process.stdin.write(notification(number).encode() + b"\n")
        process.stdin.flush()
        receipts = [json.loads(read_line(process))]
        self.broker.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.broker.process.wait(PATIENCE), 0)
        self.broker.start()
        process.stdin.close()
        receipts += [json.loads(line) for line in process.stdout]
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertEqual([receipt["position"] for receipt in receipts], list(range(1, 201)))
        self.assertEqual(len(lines(self.run_cli("-o", "ndjson", "replay"))), 200)

    def test_tells_systemd_when_it_is_ready_and_alive_and_stopping(self):
        self.broker.stop()
        path = self.path("notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(PATIENCE)
            environment = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}
            process = subprocess.Popen([BUSD, "--data", self.broker.data, "--listen", self.broker.endpoint], stderr=self.broker.log,
                                       env=environment)
            messages = ""
            while "READY=1" not in messages:
                messages += notify.recv(4096).decode() + "\n"
            self.assertTrue(os.path.exists(self.path("bus.sock")), "ready before it listens")
            while "WATCHDOG=1" not in messages:
                messages += notify.recv(4096).decode() + "\n"
            process.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in messages:
                messages += notify.recv(4096).decode() + "\n"
            self.assertEqual(process.wait(PATIENCE), 0)

    # A start may take longer than systemd waits for others.
    def test_tells_systemd_and_its_log_that_it_takes_a_compacted_copy(self):
        self.publish(20)
        self.run_cli("log", "compact", "--data", self.broker.data)
        self.broker.stop()
        path = self.path("notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(PATIENCE)
            process = subprocess.Popen([BUSD, "--data", self.broker.data, "--listen", self.broker.endpoint], stderr=self.broker.log,
                                       env={**os.environ, "NOTIFY_SOCKET": path})
            self.addCleanup(process.wait, PATIENCE)
            self.addCleanup(process.terminate)
            messages = ""
            while "READY=1" not in messages:
                messages += notify.recv(4096).decode() + "\n"
        before = messages[:messages.index("READY=1")]
        self.assertGreater(before.count("EXTEND_TIMEOUT_USEC=600000000"), 2)
        with open(self.broker.log.name, encoding="utf-8") as log:
            text = log.read()
        self.assertLess(text.index("a compacted copy is to take the place of the log"), text.index("the compacted copy has taken the place"))

    def test_a_truncated_log_is_refused(self):
        self.publish(500)
        self.broker.stop()
        os.truncate(os.path.join(self.broker.data, "log", "data.mdb"), 20_000)
        result = busd("--data", self.broker.data, "--listen", self.broker.endpoint)
        self.assertNotEqual(result.returncode, 0)
        self.assertTrue(result.stderr)


class DeclaredGroups(Case):
    def start(self, text):
        self.broker.stop()
        path = self.path("busd.toml", text)
        self.broker.start("--config", path)

    def test_are_made_once_and_set_again_with_each_start(self):
        self.start('[group.billing]\ntopics = "orders.>"\nattempts_max = 5\n')
        group = self.group("billing")
        self.assertEqual((group["patterns"], group["attempts_max"], group["sharing"]), (["orders.>"], 5, "round_robin"))
        self.publish(1, topic="orders.new")
        self.run_cli("sub", "--group", "billing", "--count", "1")
        self.run_cli("group", "edit", "billing", "--attempts-max", "7", "--ack-wait", "1m")
        self.start('[group.billing]\ntopics = "orders.>"\nattempts_max = 5\nsharing = "key_ordered"\n[group.audit]\nfrom = "end"\n')
        group = self.group("billing")
        self.assertEqual((group["attempts_max"], group["sharing"], group["ack_wait_ms"]), (5, "key_ordered", 60_000), "what is left out stays")
        self.assertEqual((group["acked"], group["floor"]), (1, 1))
        self.assertEqual(self.group("audit")["lag"], 0)
        self.start("")
        self.assertEqual([group["group"] for group in lines(self.run_cli("-o", "ndjson", "group", "ls"))], ["audit", "billing"])

    def test_one_that_contradicts_what_is_there_is_left_as_it_is(self):
        self.start('[group.g]\nsharing = "key_ordered"\ndead_letter = "stop_key"\n')
        self.start('[group.g]\nsharing = "round_robin"\n')
        with open(self.path("busd.log"), encoding="utf-8") as log:
            self.assertIn("group.g of the settings is left as it is: dead_letter stop_key needs sharing key_ordered", log.read())
        self.assertEqual(self.group("g")["sharing"], "key_ordered")


class OwnTypes(Case):
    def setUp(self):
        super().setUp()
        self.broker.stop()
        os.mkdir(self.path("types"))
        source = self.path("lab.fbs", 'namespace lab;\nenum Kind : uint8 { blood = 0, urine = 1 }\n'
                                      'table Sample { id: string (required); kind: Kind; volume_ml: double = 5; }\nroot_type Sample;\n')
        subprocess.run([FLATC, "-b", "--schema", "-o", self.path("types"), source], check=True)

    def start(self):
        self.broker.process = subprocess.Popen([BUSD, "--data", self.broker.data, "--listen", self.broker.endpoint, "--schema-dir",
                                                self.path("types")], stderr=self.broker.log)
        self.run_cli("status", "--wait")

    def test_are_verified_and_shown(self):
        self.start()
        self.run_cli("pub", "lab.sample", '{"id": "s-1", "kind": "urine"}', "--type", "Sample")
        self.run_cli("pub", "lab.sample", '{"kind": "urine"}', "--type", "Sample", expect=1)
        event = lines(self.run_cli("-o", "ndjson", "replay"))[0]
        self.assertEqual((event["type"], event["payload"]), ("lab.Sample", {"id": "s-1", "kind": "urine", "volume_ml": 5.0}))
        self.assertIn("lab.Sample", [row["type"] for row in lines(self.run_cli("-o", "ndjson", "schema", "ls"))])

    def test_a_damaged_schema_is_named(self):
        self.path("types/bad.bfbs", "this is no schema")
        result = busd("--data", self.broker.data, "--listen", self.broker.endpoint, "--schema-dir", self.path("types"))
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("bad.bfbs", result.stderr)


class FullLog(Case):
    def test_refuses_publishes_and_goes_on_settling(self):
        self.broker.stop()
        small = ["--map-size", "64MiB", "--fill-ahead", "1MiB", "--reserve", "8MiB"]
        process = subprocess.Popen([BUSD, "--data", self.broker.data, "--listen", self.broker.endpoint, *small], stderr=self.broker.log)
        self.addCleanup(process.kill)
        self.run_cli("status", "--wait")
        large = json.dumps({"notification_id": "n", "title": "x" * 200_000}) + "\n"
        full = run(self.broker, "--timeout", "2s", "pub", "a.b", "-", "--type", "SystemNotification", text=large * 500)
        self.assertEqual(full.returncode, 7, full.stderr[-500:])
        status = json.loads(self.run_cli("status", "-o", "json").stdout)
        self.assertTrue(status["log_full"])
        stored = status["committed"]
        self.assertGreater(stored, 50)
        self.run_cli("sub", ">", "--group", "g", "--until-end")
        self.assertEqual((self.group("g")["acked"], self.group("g")["lag"]), (stored, 0))
        self.assertEqual(json.loads(self.run_cli("log", "verify", "-o", "json").stdout)["faults"], [])
        self.assertEqual(terminate(process), 0)
        self.broker.start()  # with a larger map
        self.publish(1)
        self.assertEqual(json.loads(self.run_cli("status", "-o", "json").stdout)["committed"], stored + 1)

    # A file system of its own, so that it can be filled by somebody else.
    def test_takes_publishes_again_once_somebody_has_made_room(self):
        self.broker.stop()
        disk = self.path("disk")
        os.mkdir(disk)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", disk], capture_output=True)
        if mounted.returncode != 0:
            self.skipTest("mounting takes root")
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        process = subprocess.Popen([BUSD, "--data", os.path.join(disk, "data"), "--listen", self.broker.endpoint, "--map-size", "1GiB",
                                    "--fill-ahead", "1MiB", "--reserve", "2MiB"], stderr=self.broker.log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.run_cli("status", "--wait")
        filler = os.path.join(disk, "filler")
        with open(filler, "wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                while file.write(bytes(1 << 16)):
                    pass
        large = json.dumps({"notification_id": "n", "title": "x" * 200_000}) + "\n"
        full = run(self.broker, "--timeout", "2s", "pub", "a.b", "-", "--type", "SystemNotification", text=large * 200)
        self.assertEqual(full.returncode, 7, full.stderr[-500:])
        full = lambda: json.loads(self.run_cli("status", "-o", "json").stdout)["log_full"]
        self.assertTrue(full())
        os.remove(filler)
        wait_until(lambda: not full())
        self.publish(1)

    def test_a_stop_without_any_space_keeps_what_was_acknowledged(self):
        process = self.start_without_space()
        self.assertTrue(json.loads(self.run_cli("status", "-o", "json").stdout)["log_full"])
        self.assertEqual(terminate(process), 0)
        with open(self.path("busd.log"), encoding="utf-8") as log:
            self.assertIn("Everything acknowledged is in the log", log.read())
        self.broker.start()
        self.assertEqual(json.loads(self.run_cli("status", "-o", "json").stdout)["committed"], 400)
        self.assertEqual((self.group("g")["acked"], self.group("g")["lag"]), (400, 0))
        self.assertEqual(json.loads(self.run_cli("log", "verify", "-o", "json").stdout)["faults"], [])

    def test_a_stop_does_not_wait_for_space(self):
        process = self.start_without_space()
        waiting = begin(self.broker, "sub", ">", "--group", "new")
        self.addCleanup(waiting.communicate)
        self.addCleanup(waiting.kill)
        # The group is to be committed: that is tried again for half a minute, unless the broker is to stop.
        wait_until(lambda: json.loads(self.run_cli("status", "-o", "json").stdout)["subscriptions"] > 0)
        self.assertEqual(terminate(process), 0)
        waiting.kill()
        self.broker.start()
        self.assertEqual([group["group"] for group in lines(self.run_cli("-o", "ndjson", "group", "ls"))], ["g"])

    def start_without_space(self):
        """With a log that is larger than its map may be: not one page is left, not even for acknowledgements."""
        large = json.dumps({"notification_id": "n", "title": "x" * 200_000}) + "\n"
        self.run_cli("pub", "a.b", "-", "--type", "SystemNotification", text=large * 400)
        self.run_cli("sub", ">", "--group", "g", "--until-end")
        self.broker.stop()
        process = subprocess.Popen([BUSD, "--data", self.broker.data, "--listen", self.broker.endpoint, "--map-size", "64MiB",
                                    "--fill-ahead", "1MiB", "--reserve", "1MiB"], stderr=self.broker.log)
        self.addCleanup(process.kill)
        self.run_cli("status", "--wait")
        return process


if __name__ == "__main__":
    unittest.main(verbosity=2)
