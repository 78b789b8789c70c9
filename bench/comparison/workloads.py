"""What is measured, and what is demanded of busd. A workload is one row of WORKLOADS, and a new one is a new row.

Each system is measured by a program of its own, which starts after the server and prints one JSON object: bus-cli bench for
busd, bench-nats, bench-redis and bench-rabbitmq for the peers, bench-floors for what the machine does without a bus. A row
has their words. In them stand, in braces: {count}, the events of this system; {log}, the events of a log that is read;
{data}, a directory on the same disk as the servers' data; {recorded}, the file with real events; {events}, {commits}, {records}
and {record_bytes}, what busd has written in the same round, so that the floor writes the same.

The rows about growth have busd twice: `busd` with much of something, `busd-small` with little of it. The row `recorded` has it
with each compression: `busd` with none.

The systems may have different counts, chosen so that a round takes each of them some seconds: rates are compared, not times.

Figures are "rate" (events per second), "per_commit" (events per commit), "log_bytes" (pages of the log for each event),
"start_ms" (until busd is ready), "session_kib" (memory of busd for each session), and of latencies, in microseconds, "p50" to
"p9999" and "max".
"""

from dataclasses import dataclass, field

from .ratios import Demand

NATS, REDIS, REDIS_LAX, RABBITMQ = PEERS = ("nats", "redis-always", "redis-everysec", "rabbitmq")
FLOORS = ("lmdb", "lmdb-filled", "lmdb-each", "fdatasync", "fdatasync-filled", "zmq")
BUSD, SMALL, LZ4, ZSTD = BUSDS = ("busd", "busd-small", "busd-lz4", "busd-zstd")
SYSTEMS = (*BUSDS, *FLOORS, *PEERS)

# Of each figure: its unit, and whether more is better.
FIGURES = {"rate": ("events/s", True), "per_commit": ("events per commit", True), "log_bytes": ("bytes of log per event", False),
           "start_ms": ("ms", False), "session_kib": ("KiB", False)}
FIGURES |= {name: (f"us, {title}", False) for name, title in
            {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9", "p9999": "p99.99", "max": "max"}.items()}

APPEND = "lmdb --dir {data} --records {records} --record-bytes {record_bytes} --commits {commits} --events {events}"
COMMIT = "lmdb-each --dir {data} --record-bytes 256 --count {count}"
START = "start"  # not of a program: busd is killed and started again
SYNC = "fdatasync --dir {data} --bytes 4096 --count {count}"


@dataclass(frozen=True)
class Workload:
    name: str
    what: str
    bus: str                                     # words for bus-cli bench
    peers: str = ""                              # words for the peers' programs; empty: they do not take part
    floors: dict = field(default_factory=dict)   # words for bench-floors, of each floor
    shows: tuple = ("rate",)
    counts: dict = field(default_factory=dict)   # events of each system; a floor without has those of busd
    demands: tuple = ()
    log: int = 0
    prepare: str = ""                            # words for the peers' programs, once, before the first round
    small: str = ""                              # words for bus-cli bench, of busd-small
    fill: str = ""                               # words for bus-cli bench of both, once, before the first round
    crowd: str = ""                              # words for bench-crowd, which keeps busd company from before the first round
    data: str | None = None                      # where the data stands; None: as the options say

    def systems(self):
        return [name for name in SYSTEMS if name in self.counts or name in self.floors]

    def words(self, system):
        return {**dict.fromkeys(BUSDS, self.bus), SMALL: self.small, **self.floors}.get(system, self.peers)

    def takes_recorded(self):
        """Whether it needs a file with real events."""
        return "{recorded}" in self.bus


def counts(busd, *peers, **floors):
    """Events of busd, of each peer in the order of PEERS, and of floors."""
    return {"busd": busd, **dict(zip(PEERS, peers)), **floors}


def faster(times, *systems, figure="rate", instead=None):
    return tuple(Demand(figure, system, at_least=times, instead=instead) for system in systems)


def slower(times, *systems, figure):
    return tuple(Demand(figure, system, at_most=times) for system in systems)


def grown(name, what, bus="pub", small="pub", crowd="", shows=("rate",), also=()):
    """Publishing with much of something, and with little of it."""
    words = " --count {count} --size 256 --rounds 1"
    return Workload(f"grown-{name}", f"durable publishing with {what}", bus=bus + words, small=small + words, crowd=crowd, shows=shows,
                    counts={BUSD: 1_000_000, SMALL: 1_000_000}, demands=(*faster(0.8, SMALL), *also))


WORKLOADS = (
    Workload(
        "publish", "durable publishing: one publisher, as fast as it goes, events of 256 bytes",
        bus="pub --count {count} --size 256 --rounds 1", peers="publish --count {count} --size 256",
        floors={"lmdb": APPEND, "lmdb-filled": APPEND + " --zero-filled"},
        counts=counts(1_000_000, 200_000, 100_000, 300_000, 50_000),
        demands=(*faster(15, NATS, REDIS, instead=("lmdb", 0.8)), *faster(30, RABBITMQ, instead=("lmdb", 0.8)))),
    Workload(
        "publish-tmpfs", "the same without a disk: data on tmpfs, against the same frames over raw ZeroMQ",
        bus="pub --count {count} --size 256 --rounds 1", floors={"zmq": "zmq --count {count} --size 256 --batch 131072"},
        counts=counts(1_000_000, zmq=10_000_000), data="/dev/shm", demands=faster(0.5, "zmq")),
    Workload(
        "publish-each", "8 publishers, each waits for its receipt before the next event, 256 bytes",
        bus="each --publishers 8 --count {count} --size 256", peers="publish-each --publishers 8 --count {count} --size 256",
        shows=("rate", "per_commit", "p50", "p99"), counts=counts(40_000, 40_000, 20_000, 60_000, 10_000),
        demands=(*faster(3, REDIS), Demand("per_commit", at_least=3))),
    Workload(
        "publish-each-16", "the same with 16 publishers",
        bus="each --publishers 16 --count {count} --size 256", peers="publish-each --publishers 16 --count {count} --size 256",
        shows=("rate", "per_commit", "p50", "p99"), counts=counts(80_000, 40_000, 40_000, 60_000, 15_000),
        demands=(Demand("per_commit", at_least=6),)),
    Workload(
        "one-event", "one publisher waits for each receipt, 256 bytes: latency of receipts",
        bus="each --publishers 1 --count {count} --size 256", peers="publish-each --publishers 1 --count {count} --size 256",
        floors={"lmdb-each": COMMIT, "fdatasync": SYNC, "fdatasync-filled": SYNC + " --zero-filled"}, shows=("p50", "p99", "p999"),
        counts=counts(5_000, 10_000, 5_000, 50_000, 3_000),
        demands=(*slower(1.5, "lmdb-each", figure="p50"), *slower(2, "lmdb-each", figure="p99"))),
    Workload(
        "e2e", "1000 events a second from one publisher to one consumer, 256 bytes: latency from when an event was due",
        bus="e2e --rate 1000 --count {count} --size 256", peers="e2e --rate 1000 --count {count} --size 256",
        floors={"lmdb-each": COMMIT}, shows=("p50", "p99", "p999"), counts=counts(5_000, 5_000, 5_000, 5_000, 5_000),
        demands=(*slower(2, "lmdb-each", figure="p50"), *slower(1, REDIS, RABBITMQ, figure="p999"))),
    Workload(
        "consume", "a group takes a log of 1 M events of 256 bytes and acknowledges each",
        bus="sub --count {count} --size 256 --rounds 1", peers="consume --count {count} --size 256",
        prepare="prepare --count {log} --size 256", log=1_000_000, counts=counts(1_000_000, 200_000, 300_000, 300_000, 50_000),
        demands=(*faster(20, NATS), *faster(10, REDIS, REDIS_LAX))),
    Workload(
        "replay", "the log of 1 M events of 256 bytes again, from its beginning",
        bus="replay --count {count} --size 256 --rounds 1", peers="replay --count {count} --size 256",
        prepare="prepare --count {log} --size 256", log=1_000_000, counts=counts(1_000_000, 500_000, 1_000_000, 1_000_000, 200_000),
        demands=(*faster(10, NATS), *faster(5, REDIS, REDIS_LAX))),
    Workload(
        "fanout", "one publisher to 100 subscribers, events of 256 bytes: published events that all of them have",
        bus="fanout --subscribers 100 --count {count} --size 256", peers="fanout --subscribers 100 --count {count} --size 256",
        counts=counts(20_000, 10_000, 10_000, 10_000, 5_000), demands=faster(3, NATS)),
    Workload(
        "large", "durable publishing of events of 64 KiB",
        bus="pub --count {count} --size 65536 --rounds 1", peers="publish --count {count} --size 65536",
        floors={"lmdb": APPEND, "lmdb-filled": APPEND + " --zero-filled"},
        counts=counts(6_000, 6_000, 5_000, 6_000, 6_000), demands=faster(0.8, "lmdb")),
    Workload(
        "recorded", "durable publishing of real events (--recorded FILE), and what they take on disk, with each compression",
        bus="pub --events {recorded} --count {count} --rounds 1", floors={"lmdb": APPEND, "lmdb-filled": APPEND + " --zero-filled"},
        shows=("rate", "log_bytes"), counts=counts(2_000_000, **{LZ4: 2_000_000, ZSTD: 2_000_000}),
        demands=(*slower(1, LZ4, figure="rate"), *faster(2, LZ4, figure="log_bytes"))),
    grown("keys", "1,000,000 keys instead of 1,000", "pub --keys 1000000", small="pub --keys 1000"),
    grown("topics", "10,000 topics instead of one", "pub --topics 10000"),
    grown("groups", "1,000 groups without members that want the topic", crowd="--groups 1000 --topic bench"),
    grown("sessions", "5,000 idle sessions", crowd="--sessions 5000", shows=("rate", "session_kib"), also=(Demand("session_kib", at_most=64),)),
    Workload(
        "grown-log", "start after SIGKILL, until busd is ready: a log of 10 M events and one of 1 M",
        bus=START, small=START, fill="pub --count {count} --size 256 --rounds 1", shows=("start_ms",),
        counts={BUSD: 10_000_000, SMALL: 1_000_000}, demands=slower(1.2, SMALL, figure="start_ms")),
)
