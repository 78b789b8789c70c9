"""Goal: bench/compare judges right, and a system that fails or has nothing like a workload does not take the others with it.
Method: ratios and demands are worked out by hand; races are run with systems that are a line of Python each, so that neither
peers nor a broker are needed."""

import json
import os
import re
import signal
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))

from comparison import machine, processes, rounds, servers, table  # noqa: E402
from comparison.ratios import Demand, Spread, ratios, reached, values  # noqa: E402
from comparison.processes import Work  # noqa: E402
from comparison.rounds import Progress, Race, figures_of, is_at_rest, written_by  # noqa: E402
from comparison.workloads import BUSDS, FIGURES, FLOORS, PEERS, WORKLOADS, Workload  # noqa: E402


def rates(*numbers):
    return [None if number is None else {"rate": number} for number in numbers]


class Ratios(unittest.TestCase):
    def test_a_ratio_is_of_one_round(self):
        # The medians of the rates would say 20 / 2; the machine was slow for both in the last round.
        self.assertEqual(ratios(rates(30, 20, 6), rates(10, 2, 1), "rate"), [3, 10, 6])

    def test_a_round_that_one_has_not_does_not_count(self):
        self.assertEqual(ratios(rates(30, None, 6), rates(10, 2, None), "rate"), [3])
        self.assertEqual(ratios([{"p50": 1}], rates(10), "rate"), [])
        self.assertEqual(values([None, {"rate": 0}, {}], "rate"), [0])

    def test_the_spread_tells_how_noisy_it_was(self):
        self.assertEqual(Spread.of([5, 1, 2]), Spread(2, 1, 5))
        self.assertEqual(Spread.of([4, 1]).median, 2.5)
        self.assertIsNone(Spread.of([]))


class Demands(unittest.TestCase):
    def test_the_median_has_to_reach_it(self):
        demand = Demand("rate", "nats", at_least=15)
        self.assertIs(reached(demand, {"busd": rates(150, 150, 10), "nats": rates(10, 10, 10)}), True)
        self.assertIs(reached(demand, {"busd": rates(149, 149, 990), "nats": rates(10, 10, 10)}), False)

    def test_of_latencies_less_is_better(self):
        demand = Demand("p50", "lmdb-each", at_most=1.5)
        self.assertIs(reached(demand, {"busd": [{"p50": 3}], "lmdb-each": [{"p50": 2}]}), True)
        self.assertIs(reached(demand, {"busd": [{"p50": 3.1}], "lmdb-each": [{"p50": 2}]}), False)

    def test_a_demand_may_be_of_busd_alone(self):
        self.assertIs(reached(Demand("per_commit", at_least=3), {"busd": [{"per_commit": 3}]}), True)
        self.assertIs(reached(Demand("per_commit", at_least=3), {"busd": [{"per_commit": 2.9}]}), False)

    def test_close_to_the_floor_is_enough(self):
        demand = Demand("rate", "nats", at_least=15, instead=("lmdb", 0.8))
        fast_peer = {"busd": rates(100), "nats": rates(10)}
        self.assertIs(reached(demand, {**fast_peer, "lmdb": rates(125)}), True)
        self.assertIs(reached(demand, {**fast_peer, "lmdb": rates(126)}), False)
        self.assertIs(reached(demand, {**fast_peer, "nats": rates(6), "lmdb": rates(1000)}), True)

    def test_what_was_not_measured_is_not_judged(self):
        demand = Demand("rate", "nats", at_least=15, instead=("lmdb", 0.8))
        self.assertIsNone(reached(demand, {"busd": rates(100), "nats": rates(None)}))
        self.assertIsNone(reached(demand, {"busd": rates(100), "nats": rates(10)}), "the floor could still say yes")
        self.assertIs(reached(demand, {"busd": rates(100), "lmdb": rates(100)}), True)
        self.assertIsNone(reached(demand, {}))


class Rows(unittest.TestCase):
    def test_every_row_makes_sense(self):
        self.assertEqual(len({row.name for row in WORKLOADS}), len(WORKLOADS))
        known = {"count", "events", "log", "data", "recorded", "commits", "records", "record_bytes"}
        for row in WORKLOADS:
            with self.subTest(row.name):
                self.assertIn("busd", row.counts)
                self.assertLessEqual(set(row.floors), set(FLOORS))
                self.assertLessEqual(set(row.counts) - set(PEERS) - set(BUSDS), set(row.floors))
                self.assertEqual(bool(row.peers), bool(set(row.counts) & set(PEERS)))
                self.assertEqual(bool(row.small), "busd-small" in row.counts)
                self.assertLessEqual(set(row.shows), set(FIGURES))
                self.assertTrue(row.demands)
                for words in (row.bus, row.small, row.fill, row.crowd, row.peers, row.prepare, *row.floors.values()):
                    self.assertLessEqual(set(re.findall(r"{(\w*)}", words)), known)

    def test_what_is_demanded_is_measured_and_shown(self):
        for row in WORKLOADS:
            for demand in row.demands:
                with self.subTest(row.name, demand=str(demand)):
                    self.assertIn(demand.figure, row.shows)
                    self.assertEqual((demand.at_least is None) + (demand.at_most is None), 1)
                    self.assertIn(demand.against, [None, *row.systems()])
                    self.assertIn((demand.instead or ("busd",))[0], row.systems())


class Programs(unittest.TestCase):
    def test_figures_have_one_name_whoever_prints_them(self):
        self.assertEqual(figures_of({"events_per_second": 5, "latency_us": {"p50": 1}}), {"rate": 5, "p50": 1})
        self.assertEqual(figures_of({"delivery_us": {"p50": 2}, "receipt_us": {"p50": 1}}), {"p50": 2})
        self.assertEqual(figures_of({"receipt_us": {"p50": 1}, "events_per_commit": 4}), {"per_commit": 4, "p50": 1})

    def test_the_floor_writes_records_of_the_same_size(self):
        self.assertEqual(written_by({"events": 100, "rounds": [{"commits": 3, "records": 10, "record_bytes": 2560}]}),
                         {"events": 100, "commits": 3, "records": 10, "record_bytes": 256})
        for silent in ({}, {"rounds": 5}, {"rounds": []}, {"rounds": [{"commits": 3, "records": 10}]}):
            self.assertEqual(written_by(silent), {})

    def test_a_server_that_ends_says_why(self):
        with tempfile.TemporaryDirectory() as directory:
            process = processes.Process("server", [sys.executable, "-c", "print('no space')"], Path(directory) / "log")
            process.process.wait(60)
            with self.assertRaisesRegex(processes.Failed, "server has ended with 0: no space"):
                process.wait_for_port(1)
            process.end()
            with self.assertRaisesRegex(processes.Failed, "cannot start server"):
                processes.Process("server", ["/does/not/exist"], Path(directory) / "log")


    def test_a_signal_waits_until_what_was_started_is_known(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        noted = []
        processes.Interrupts.install()
        with self.assertRaises(KeyboardInterrupt) as raised, processes.Interrupts.held():
            with processes.Interrupts.held():
                os.kill(os.getpid(), signal.SIGTERM)
            noted.append("started")
        self.assertEqual((noted, raised.exception.args), (["started"], (signal.SIGTERM,)))
        with processes.Interrupts.held():
            os.kill(os.getpid(), signal.SIGINT)  # the second; it would interrupt what takes everything down

    def test_what_others_do_is_seen(self):
        self.assertEqual(machine.busy_part((10, 100), (15, 120)), 0.25)
        self.assertEqual(machine.busy_part((10, 100), (10, 100)), 0)
        before = machine.processor_time()
        while machine.busy_part(before, machine.processor_time()) == 0:
            sum(range(100_000))
        self.assertIn("measure again", table.others_line(vars(Spread.of([0.2]))))
        self.assertNotIn("measure again", table.others_line(vars(Spread.of([0.01]))))

    def test_work_is_seen_so_that_rest_is(self):
        with tempfile.TemporaryDirectory() as directory:
            line = f"file = open('{directory}/data', 'wb'); file.write(bytes(1 << 20)); file.flush(); print('written', flush=True); input()"
            process = processes.Process("server", ["/bin/sh", "-c", f'mkfifo {directory}/hold; "{sys.executable}" -c "{line}" <>{directory}/hold'],
                                        Path(directory) / "log")
            while "written" not in processes.last_lines(process.log):
                process.check()
            work = process.work()
            process.end()
        self.assertGreater(work.cpu_s, 0, "the shell's child counts")
        self.assertEqual(process.work(), Work())
        self.assertTrue(is_at_rest(work, work))
        self.assertFalse(is_at_rest(Work(), Work(0, 1 << 20)))
        self.assertFalse(is_at_rest(Work(), Work(0.1, 0)))


class System:
    """One line of Python in the place of a server and of the program that measures it."""

    called = "line"
    acknowledges = ""

    def __init__(self, name, line, stopped):
        self.name, self.line, self.stopped, self.data = name, line, stopped, Path("/nowhere")

    def start(self):
        if self.line == "cannot start":
            raise processes.Failed("it does not start")

    def measure(self, words, timeout_s):
        return processes.output_of([sys.executable, "-c", self.line, *words], timeout_s)

    def gather(self, words):
        self.figures = {"session_kib": 7, "words": words}

    def check(self):
        pass

    def work(self):
        return Work()

    def stop(self):
        self.stopped.append(self.name)


def prints(**result):
    return f"import sys; print('{json.dumps(result)}')"


class Races(unittest.TestCase):
    WORKLOAD = Workload("row", "a row", bus="pub", peers="publish --count {count}", floors={"lmdb": "lmdb {records} {record_bytes}"},
                        counts=dict.fromkeys(["busd", "lmdb", "nats", "rabbitmq"], 10),
                        demands=(Demand("rate", "nats", at_least=3), Demand("rate", "lmdb", at_least=0.8)))
    BUSD = prints(events_per_second=100, rounds=[{"commits": 1, "records": 2, "record_bytes": 20}])

    def setUp(self):
        self.addCleanup(setattr, rounds, "REST_S", rounds.REST_S)
        rounds.REST_S = 0

    def race(self, lines, count=3, workload=WORKLOAD):
        self.said, self.stopped = [], []
        race = Race(workload, list(lines), count, dict.fromkeys(lines, 10), Progress(self.said.append, len(lines) * (count + 1)))
        outcomes = race.run(lambda name, data: System(name, lines[name], self.stopped))
        self.assertEqual(sorted(self.stopped), sorted(lines))
        return outcomes

    def test_systems_run_in_turn_and_the_first_round_does_not_count(self):
        with tempfile.TemporaryDirectory() as directory:
            log = os.path.join(directory, "turns")
            line = "print('{\"events_per_second\": 5}'); open('" + log + "', 'a').write('%s')"
            outcomes = self.race({"nats": line % "n", "rabbitmq": line % "r"}, count=2)
            with open(log, encoding="utf-8") as file:
                self.assertEqual(file.read(), "nrnrnr")
        self.assertEqual(outcomes["nats"].rounds, rates(5, 5))
        self.assertTrue(self.said[-1].startswith("[  6/6, 0 s left]"), self.said[-1])

    def test_who_fails_leaves_and_the_others_go_on(self):
        outcomes = self.race({"busd": self.BUSD, "nats": "import sys; sys.exit('out of memory')", "rabbitmq": prints(events_per_second=1)})
        self.assertIn("out of memory", outcomes["nats"].failed)
        self.assertEqual([len(outcome.rounds) for outcome in outcomes.values()], [3, 3, 3])
        self.assertEqual(values(outcomes["rabbitmq"].rounds, "rate"), [1, 1, 1])
        self.assertTrue(self.said[-1].startswith("[  8/8, 0 s left]"), self.said[-1])

    def test_other_ways_to_fail(self):
        for line, message in [("print('ok')", "printed no JSON"), (prints(events=9, lost=2), "2 of 9 events never came"),
                              ("cannot start", "it does not start")]:
            self.assertIn(message, self.race({"nats": line})["nats"].failed)

    def test_who_has_nothing_like_it_does_not_fail(self):
        outcomes = self.race({"rabbitmq": "import sys; print('queues are read once', file=sys.stderr); sys.exit(3)"})
        self.assertEqual((outcomes["rabbitmq"].failed, outcomes["rabbitmq"].cannot), ("", "queues are read once"))

    def test_a_floor_writes_what_busd_has_written(self):
        floor = "import sys; assert sys.argv[1:] == ['lmdb', '2', '10'], sys.argv; print('{\"events_per_second\": 110}')"
        outcomes = self.race({"busd": self.BUSD, "lmdb": floor})
        self.assertEqual((outcomes["lmdb"].failed, outcomes["lmdb"].rounds), ("", rates(110, 110, 110)))
        silent = self.race({"busd": prints(events_per_second=5), "lmdb": floor})
        self.assertIn("busd has to tell records", silent["lmdb"].failed)

    def test_the_table_tells_all_of_it(self):
        outcomes = self.race({"busd": self.BUSD, "nats": prints(events_per_second=40, acknowledged="before it is synced", settings={"window": 7}),
                              "lmdb": "raise SystemExit('disk full')", "rabbitmq": "raise SystemExit(3)"})
        text = "\n".join(table.workload_lines(self.WORKLOAD, outcomes))
        self.assertRegex(text, r"nats +40\.0 +2\.50 \(2\.50\.\.2\.50\) +>= 3 x nats +NO +before it is synced\n")
        for wanted in ("nats, 10 events: window 7", "lmdb, 10 events: FAILED", "disk full", "rabbitmq, 10 events: cannot do it"):
            self.assertIn(wanted, text)
        told = json.loads(json.dumps(table.workload_json(self.WORKLOAD, outcomes)))
        self.assertEqual([(demand["against"], demand["reached"]) for demand in told["demands"]], [("nats", False), ("lmdb", None)])
        self.assertEqual(told["demands"][0]["ratios"], [2.5, 2.5, 2.5])
        self.assertEqual(told["systems"]["nats"]["median"], {"rate": 40})

    def test_who_syncs_once_a_second_is_not_said_to_sync(self):
        # One program measures both servers, and cannot tell them apart.
        self.assertIn("once a second", servers.RedisEverySecond.acknowledges)
        self.addCleanup(setattr, System, "acknowledges", "")
        System.acknowledges = "later"
        outcomes = self.race({"nats": prints(events_per_second=1, acknowledged="at once")})
        self.assertEqual(outcomes["nats"].acknowledged, "later")

    def test_peers_are_prepared_once(self):
        workload = replace(self.WORKLOAD, prepare="prepare {log}", log=70)
        outcomes = self.race({"nats": "import sys; assert sys.argv[1:] in (['prepare', '70'], ['publish', '--count', '10']); print('{}')"},
                             workload=workload)
        self.assertEqual(outcomes["nats"].failed, "")
        self.assertEqual(sum("prepares 70 events" in line for line in self.said), 1)

    def test_growth_is_measured_against_another_busd(self):
        workload = Workload("row", "a row", bus="pub --keys 9", small="pub --keys 1", fill="fill {count}", crowd="--sessions 5",
                            counts={"busd": 10, "busd-small": 10})
        line = "import sys; assert sys.argv[1:] in (['fill', '10'], ['pub', '--keys', '%d']); print('{\"events_per_second\": 4}')"
        outcomes = self.race({"busd": line % 9, "busd-small": line % 1}, workload=workload)
        self.assertEqual([outcome.failed for outcome in outcomes.values()], ["", ""])
        self.assertEqual(outcomes["busd"].rounds[0], {"rate": 4, "session_kib": 7, "words": ["--sessions", "5"]}, "it alone has company")
        self.assertEqual(outcomes["busd-small"].rounds[0], {"rate": 4})


if __name__ == "__main__":
    unittest.main()
