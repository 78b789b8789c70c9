"""Goal: the shape of the code stays as docs/ARCHITECTURE.md draws it: layers, one home for each third-party header, names,
sizes, and documents that know every code, setting, verb and option.
Method: each rule is a function from a tree (path → text) to a list of problems, driven by the tables below. It is run on
the project, which must have none, and on a small bad tree of its own, in which it must find one: a rule that cannot fail
is a defect. Long functions are only warned about."""

import fnmatch
import os
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

# ---- tables

# Third-party headers, and where they may be included. Tests may include what they need.
HOMES = [
    # One for each that has files of its own: the log, and the states of projections.
    (r"lmdb\.h", ["broker/store/lmdb.hpp", "broker/store/lmdb.cpp", "libbus/projection/lmdb.cpp"]),
    (r"zmq\.hpp?", ["broker/server/socket.cpp", "libbus/src/dealer.cpp", "bench/crowd/main.cpp", "bench/floors/wire_floor.cpp"]),
    (r"(spdlog|fmt)/.*", ["broker/server/*", "broker/main.cpp"]),
    (r"toml\+\+/.*", ["broker/server/config.cpp", "broker/server/group_config.hpp", "tools/csv_rules.cpp"]),
    (r"nlohmann/.*", ["tools/*", "bench/floors/main.cpp", "bench/peers/program.hpp"]),
    (r"CLI/.*", ["broker/main.cpp", "tools/*", "bench/crowd/main.cpp", "bench/floors/main.cpp", "bench/peers/program.cpp"]),
    (r"systemd/.*", ["broker/server/server.cpp"]),
    (r"boost/.*", ["bench/latencies.cpp"]),
    (r"nats/.*", ["bench/peers/nats.cpp"]),
    (r"hiredis/.*", ["bench/peers/redis.cpp"]),
    (r"amqp.*\.h", ["bench/peers/rabbitmq.cpp"]),
    (r"xxhash\.h", ["libbus/base/hash.cpp", "libbus/base/hash_wide.cpp", "tools/file_hash.cpp"]),
    (r"flatbuffers/.*", ["libbus/include/bus/*", "libbus/wire/*", "broker/core/event_schema.cpp", "broker/core/payload_types.cpp", "broker/core/schema_registry.cpp", "broker/core/builtin_types.hpp", "broker/core/schema_types.hpp", "tools/*"]),
    (r"bus/(codes|event|wire)_generated\.h", ["libbus/include/bus/*", "libbus/wire/*", "broker/core/filter.hpp"]),
    (r"bus/suoke_\w+_generated\.h", ["broker/core/builtin_types.cpp", "libbus/saga/*", "tools/*", "examples/*", "bench/*"]),
]

# What each folder may include of the project, deepest layer first.
LAYERS = {
    "libbus/base": ["base/*"],
    "libbus/include/bus": ["bus/*"],
    "libbus/wire": ["base/*", "bus/*", "wire/*"],
    "libbus/projection/include/bus": ["bus/*"],
    "libbus/saga/include/bus": ["bus/*"],
    "libbus/saga": ["base/*", "bus/*", "libbus/saga/*"],
    "libbus/saga/rehearsal/include/bus": ["bus/*"],
    "libbus/saga/rehearsal": ["base/*", "bus/*", "libbus/saga/*", "libbus/src/client_core.hpp", "libbus/src/key_events.hpp", "libbus/src/step.hpp",
                              "broker/core/core.hpp"],
    "libbus/projection": ["base/*", "bus/*", "libbus/projection/*"],
    "libbus/src": ["base/*", "bus/*", "wire/*", "[a-z]*.hpp"],
    "broker/store": ["base/*", "bus/result.hpp", "bus/types.hpp", "broker/store/*"],
    "broker/core": ["base/*", "bus/*", "wire/*", "broker/store/*", "broker/core/*"],
    "broker/server": ["base/*", "bus/*", "wire/*", "broker/store/*", "broker/core/*", "broker/server/*"],
    "broker": ["base/memory.hpp", "bus/*", "broker/server/*"],
    "bench": ["bench/latencies.hpp"],
    "bench/crowd": ["bus/*", "wire/*"],
    "bench/keys": ["bench/latencies.hpp", "bus/*"],
    "bench/projection": ["bus/*"],
    "bench/floors": ["bench/*", "broker/store/lmdb.hpp"],
    "bench/peers": ["bench/*", "libbus/base/memory.hpp"],
    "bench/core": ["base/*", "bus/*", "wire/*", "broker/core/*", "tests/support/*"],
    "tools": ["bus/*", "tools/*", "bench/latencies.hpp", "bench/floors/disk_floors.hpp", "base/bytes.hpp", "base/limits.hpp",
              "base/memory.hpp", "wire/payload_verifier.hpp"],
    "examples": ["bus/*"],
    "examples/health_saga": ["[a-z]*.hpp"],
}
# The only files that may look deeper than their layer: they work on a log's files, or on backups.
LAYER_EXCEPTIONS = {
    "tools/backup_repository.cpp": ["broker/store/directory.hpp"],
    "tools/backup_repository.hpp": ["broker/store/backup_files.hpp"],
    "tools/log_compact.cpp": ["broker/store/compact.hpp"],
    "tools/verbs_export.cpp": ["broker/store/backup_files.hpp"],
    "tools/verbs_restore.cpp": ["broker/store/backup_restore.hpp"],
    "tools/log_repair.cpp": ["broker/store/repair.hpp"],
    "tools/log_salvage.cpp": ["broker/store/salvage.hpp"],
    "tools/log_verify.cpp": ["broker/store/offline.hpp", "broker/store/store.hpp"],
}

# Modules that are nothing but state: the standard library and value types.
PURE = ["broker/core/consumer_group.*", "broker/core/credit.hpp", "broker/core/group_settings.*", "broker/core/names.hpp", "broker/core/keys.*", "broker/core/key_lanes.*", "broker/core/key_table.hpp", "broker/core/position_*.hpp", "broker/core/rank*.hpp",
        "broker/core/schema_compatibility.*"]
VALUE_TYPES = ["base/bytes.hpp", "base/check.hpp", "base/hash.hpp", "base/limits.hpp", "bus/result.hpp", "bus/types.hpp",
               "broker/store/batch.hpp", "broker/core/consumer_group.hpp", "broker/core/credit.hpp", "broker/core/group_settings.hpp", "broker/core/key_lanes.hpp",
               "broker/core/names.hpp", "broker/core/key_table.hpp", "broker/core/keys.hpp",
               "broker/core/position_map.hpp", "broker/core/position_set.hpp", "broker/core/rank.hpp", "broker/core/rank_turns.hpp",
               "broker/core/schema_compatibility.hpp"]

# What would make the core, or the client's core, depend on anything but its arguments.
DETERMINISTIC = ["broker/core/*", "libbus/src/client_core*", "libbus/src/outbox.*"]
WORLD = re.compile(r"_clock::now|random_device|getrandom|\bs?rand\(|std::(thread|mutex|condition_variable|cout|cerr)\b|\b(f?printf|getenv)\(")

SLEEP = re.compile(r"\bsleep_(for|until)\b|\b[un]?(nano)?sleep\s*\(")
BAD_WORDS = {"util", "utils", "helper", "helpers", "manager", "managers", "handler", "handlers"}

# ---- the tree


def is_code(path):
    return path.endswith((".cpp", ".hpp"))


def read_tree(root):
    tree = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "build", "__pycache__"))]
        for name in files:
            path = os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")
            if path == "tests/tidy.py":  # it has the bad samples
                continue
            try:
                with open(os.path.join(root, path), encoding="utf-8") as file:
                    tree[path] = file.read()
            except (UnicodeDecodeError, FileNotFoundError):
                continue
    return tree


def matches(path, globs):
    return any(fnmatch.fnmatchcase(path, glob) for glob in globs)


def lines(tree, wanted=is_code):
    """(path, line number, line) of the files wanted."""
    for path in sorted(tree):
        if wanted(path):
            for number, line in enumerate(tree[path].splitlines(), 1):
                yield path, number, line


def includes(tree):
    """(path, line number, "<" or '"', header) of every include."""
    for path, number, line in lines(tree):
        found = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
        if found:
            yield path, number, found.group(1), found.group(2)


def problem(path, number, what):
    return f"{path}:{number}: {what}"


# ---- rules


def headers_are_at_home(tree):
    found = []
    for path, number, _, header in includes(tree):
        for pattern, homes in HOMES:
            if re.fullmatch(pattern, header) and not path.startswith("tests/") and not matches(path, homes):
                found.append(problem(path, number, f"{header} is included only in {', '.join(homes)}"))
    return found


def layers_are_kept(tree):
    found = []
    for path, number, quote, header in includes(tree):
        folder = next((name for name in sorted(LAYERS, key=len, reverse=True) if path.startswith(name + "/")), None)
        if quote != '"' or folder is None or path.startswith("tests/"):
            continue
        allowed = LAYERS[folder] + LAYER_EXCEPTIONS.get(path, [])
        if folder == "libbus/src" and "/" in header:
            allowed = [glob for glob in allowed if "/" in glob]
        if not matches(header, allowed):
            found.append(problem(path, number, f"{folder} does not include {header}; it may include {', '.join(LAYERS[folder])}"))
    return found


def pure_modules_are_pure(tree):
    found = []
    for path, number, quote, header in includes(tree):
        if not matches(path, PURE):
            continue
        pure = re.fullmatch(r"[a-z_]+", header) if quote == "<" else header in VALUE_TYPES
        if not pure:
            found.append(problem(path, number, f"a pure module includes the standard library and value types, not {header}"))
    return found


def the_core_is_deterministic(tree):
    wanted = lambda path: is_code(path) and matches(path, DETERMINISTIC)
    return [problem(path, number, f"the core takes time, chance and the world as arguments, not by {WORLD.search(line).group()}")
            for path, number, line in lines(tree, wanted) if WORLD.search(line.split("//")[0])]


def tests_do_not_sleep(tree):
    wanted = lambda path: path.startswith("tests/") and path.endswith((".cpp", ".hpp", ".py", ".sh"))
    return [problem(path, number, "tests wait for an event or move the clock; they do not sleep")
            for path, number, line in lines(tree, wanted) if SLEEP.search(line)]


def names_say_what_things_are(tree):
    found = []
    for path in sorted(tree):
        stem = os.path.basename(path).split(".")[0].lower()
        if BAD_WORDS & set(re.split(r"[_-]", stem)):
            found.append(problem(path, 1, "name the file after what it does"))
    for path, number, line in lines(tree):
        declared = re.match(r"\s*(?:class|struct)\s+(?:\[\[\w+\]\]\s*)?(\w+)", line)
        words = re.findall(r"[A-Z][a-z]*", declared.group(1)) if declared else []
        if BAD_WORDS & {word.lower() for word in words}:
            found.append(problem(path, number, f"name {declared.group(1)} after what it is"))
    return found


def nothing_is_left_to_fix(tree):
    return [problem(path, number, "fix it, or make it a TODO(perf|test|port)")
            for path, number, line in lines(tree, lambda path: True) if "FIXME" in line]


def todos_have_a_kind(tree):
    return [problem(path, number, "TODO(perf), TODO(test) or TODO(port)")
            for path, number, line in lines(tree) if re.search(r"\bTODO\b(?!\((perf|test|port)\): )", line)]


def codes_are_documented(tree):
    protocol = tree.get("docs/PROTOCOL.md", "")
    found = []
    for path, number, line in lines(tree, lambda path: path == "schemas/codes.fbs"):
        code = re.match(r"\s*(\w+) = (\d+)", line)
        if code and not re.search(rf"^\| `{code.group(1)}` \| {code.group(2)} \|", protocol, re.M):
            found.append(problem(path, number, f"docs/PROTOCOL.md has no row for {code.group(1)} with number {code.group(2)}"))
    return found


# Of what is refused libbus must know that it was not stored; `skipped` is its own doing.
def refusals_are_known(tree):
    known = tree.get("libbus/src/result.cpp", "")
    found = []
    for path, number, line in lines(tree, lambda path: path == "docs/PROTOCOL.md"):
        code = re.match(r"\| `(\w+)` \| \d+ \| ([A-Z, ]+) \|", line)
        if code and "R" in code.group(2) and code.group(1) != "skipped" and f"Code::{code.group(1)}:" not in known:
            found.append(problem(path, number, f"is_refusal() does not know {code.group(1)}"))
    return found


def settings_are_documented(tree):
    manual, example = tree.get("docs/busd.8", ""), tree.get("systemd/busd.toml", "")
    found = []
    for path, number, line in lines(tree, lambda path: path == "broker/server/config.cpp"):
        setting = re.search(r'(?:\w+_setting\(|return \{)"(\w+)", ', line)
        if not setting:
            continue
        name = setting.group(1)
        if not re.search(rf"^\.It Fl -{name.replace('_', '-')}\b", manual, re.M):
            found.append(problem(path, number, f"docs/busd.8 does not have the setting {name}"))
        if not re.search(rf"^#?{name} = ", example, re.M):
            found.append(problem(path, number, f"systemd/busd.toml does not have the setting {name}"))
    return found


def schema_rules_are_documented(tree):
    table = tree.get("docs/SCHEMAS.md", "")
    found = []
    for path, number, line in lines(tree, lambda path: path == "broker/core/schema_compatibility.cpp"):
        rule = re.match(r'\s*\{Rule::\w+, "(\w+)", ', line)
        if rule and not re.search(rf"^\| `{rule.group(1)}` \|", table, re.M):
            found.append(problem(path, number, f"docs/SCHEMAS.md has no row for the rule {rule.group(1)}"))
    return found


def verbs_of(text):
    """(line number, "verb" or "verb sub") of the verbs that a file of tools defines."""
    tops, verbs = re.findall(r'add_verb\(app, "(\w+)"', text), []
    parent = tops[0] if tops else ""
    for number, line in enumerate(text.splitlines(), 1):
        top = re.search(r'add_verb\(app, "(\w+)"', line)
        sub = re.search(r'add_(?:verb|bench)\(parent, (?:\w+, )*"(\w+)"', line)
        if top:
            parent = top.group(1)
            verbs.append((number, parent))
        elif sub:
            verbs = [verb for verb in verbs if verb[1] != parent]  # it only groups others
            verbs.append((number, f"{parent} {sub.group(1)}"))
    return verbs


def verbs_are_documented(tree):
    manual = tree.get("docs/bus-cli.1", "")
    found = []
    for path in sorted(path for path in tree if re.fullmatch(r"tools/(verbs_\w+|main)\.cpp", path)):
        for number, verb in verbs_of(tree[path]):
            if not re.search(rf"^\.It .*Cm {verb}\b", manual, re.M):
                found.append(problem(path, number, f"docs/bus-cli.1 does not have the verb {verb}"))
        for number, line in enumerate(tree[path].splitlines(), 1):
            for option in re.findall(r'add_\w+(?:<[^(]*>)?\((?:[^"()]*, )?"(?:-\w,)?-(-[a-z-]+)"', line):
                if not re.search(rf"^\.(It )?.*(Fl|,) {option}\b", manual, re.M):
                    found.append(problem(path, number, f"docs/bus-cli.1 does not have the option -{option}"))
    return found


def files_are_short(tree):
    return [problem(path, FILE_LINES_MAX + 1, f"{text.count(chr(10))} lines; split the file")
            for path, text in sorted(tree.items()) if path.endswith((".cpp", ".hpp", ".py")) and text.count("\n") > FILE_LINES_MAX]


RULES = [headers_are_at_home, layers_are_kept, pure_modules_are_pure, the_core_is_deterministic, tests_do_not_sleep,
         names_say_what_things_are, nothing_is_left_to_fix, todos_have_a_kind, codes_are_documented, refusals_are_known, settings_are_documented,
         schema_rules_are_documented, verbs_are_documented, files_are_short]

# ---- warnings


def long_functions(tree):
    """Functions by the layout of the code: from a line at the margin, or indented by two in a class, to its brace."""
    found = []
    for path in sorted(filter(is_code, tree)):
        start = {0: None, 2: None}
        for number, line in enumerate(tree[path].splitlines(), 1):
            indent = len(line) - len(line.lstrip())
            body = line.strip()
            if indent not in start or not body or body.startswith(("//", "#", "public:", "private:")):
                continue
            if body == "}":
                if start[indent] and number - start[indent] + 1 > FUNCTION_LINES_MAX:
                    found.append(problem(path, start[indent], f"a function of {number - start[indent] + 1} lines"))
                start[indent] = None
            elif not body.startswith("}"):
                control = re.match(r"(if|for|while|switch|else|do|return|case|namespace|class|struct|enum|union|extern)\b", body)
                start[indent] = None if control else number
    return found


# ---- canaries: for each rule, trees in which it must find something

CANARIES = {
    headers_are_at_home: [{"broker/core/core.cpp": "#include <zmq.hpp>\n"}, {"broker/store/record.cpp": "#include <lmdb.h>\n"},
                          {"libbus/projection/rows.cpp": "#include <lmdb.h>\n"},
                          {"libbus/src/client_core.cpp": '#include "bus/suoke_saga_generated.h"\n'}],
    layers_are_kept: [{"broker/core/core.cpp": '#include "broker/server/server.hpp"\n'}, {"broker/store/store.cpp": '#include "wire/message.hpp"\n'},
                      {"libbus/include/bus/client.hpp": '#include "base/bytes.hpp"\n'}, {"tools/main.cpp": '#include "wire/message.hpp"\n'},
                      {"libbus/src/client.cpp": '#include "broker/core/core.hpp"\n'},
                      {"libbus/projection/run.cpp": '#include "broker/store/lmdb.hpp"\n'}, {"libbus/projection/run.cpp": '#include "wire/message.hpp"\n'}, {"tools/output.cpp": '#include "broker/store/store.hpp"\n'}],
    pure_modules_are_pure: [{"broker/core/keys.cpp": '#include "broker/store/store.hpp"\n'}, {"broker/core/names.hpp": "#include <sys/stat.h>\n"}],
    the_core_is_deterministic: [{"broker/core/core.cpp": "auto now = std::chrono::steady_clock::now();\n"},
                                {"libbus/src/client_core.cpp": "std::mutex mutex_;\n"}],
    tests_do_not_sleep: [{"tests/unit/a_test.cpp": "std::this_thread::sleep_for(1s);\n"}, {"tests/system/a_test.py": "time.sleep(1)\n"},
                         {"tests/crash/a.cpp": "usleep(1);\n"}],
    names_say_what_things_are: [{"tools/string_utils.cpp": ""}, {"broker/core/core.hpp": "class SessionManager {\n"}],
    nothing_is_left_to_fix: [{"tools/main.cpp": "// FIXME later\n"}],
    todos_have_a_kind: [{"tools/main.cpp": "// TODO make it fast\n"}],
    codes_are_documented: [{"schemas/codes.fbs": "  ok = 0,\n  new_one = 7,\n", "docs/PROTOCOL.md": "| `ok` | 0 | F | fine | nothing |\n"},
                           {"schemas/codes.fbs": "  ok = 1,\n", "docs/PROTOCOL.md": "| `ok` | 0 | F | fine | nothing |\n"}],
    refusals_are_known: [{"docs/PROTOCOL.md": "| `bad_key` | 12 | R | too long | leave it out |\n", "libbus/src/result.cpp": "case Code::bad_event:\n"}],
    settings_are_documented: [{"broker/server/config.cpp": 'size_setting("map_size", "x"),\n', "docs/busd.8": ".It Fl -map-size\n", "systemd/busd.toml": ""},
                              {"broker/server/config.cpp": '  return {"listen", "E"};\n', "docs/busd.8": "", "systemd/busd.toml": '#listen = ""\n'}],
    schema_rules_are_documented: [{"broker/core/schema_compatibility.cpp": '    {Rule::id_changed, "id_changed", "x"},\n', "docs/SCHEMAS.md": "id_changed\n"}],
    verbs_are_documented: [{"tools/verbs_x.cpp": 'add_verb(app, "topic", "x");\nadd_verb(parent, "ls", "x");\n', "docs/bus-cli.1": ".It Cm topic info\n"},
                           {"tools/verbs_x.cpp": 'add_verb(app, "pub", "x");\n', "docs/bus-cli.1": ".It Cm publish\n"},
                           {"tools/verbs_x.cpp": 'verb.add_flag("--deep", deep);\n', "docs/bus-cli.1": ""}],
    files_are_short: [{"tools/main.cpp": "\n" * (FILE_LINES_MAX + 1)}],
}


class Tidy(unittest.TestCase):
    def test_the_project_keeps_every_rule(self):
        tree = read_tree(ROOT)
        self.assertIn("schemas/codes.fbs", tree, "this is not the project's tree")
        for rule in RULES:
            with self.subTest(rule.__name__):
                problems = rule(tree)
                self.assertFalse(problems, "\n" + "\n".join(problems))
        for warning in long_functions(tree):
            print(f"warning: {warning}", file=sys.stderr)

    def test_every_rule_finds_what_it_looks_for(self):
        self.assertEqual(set(CANARIES), set(RULES))
        for rule, trees in CANARIES.items():
            for tree in trees:
                with self.subTest(rule.__name__, tree=tree):
                    self.assertTrue(rule(tree))

    def test_long_functions_are_found(self):
        long = "void f() {\n" + "  x();\n" * FUNCTION_LINES_MAX + "}\n"
        self.assertTrue(long_functions({"tools/main.cpp": long}))
        self.assertFalse(long_functions({"tools/main.cpp": long.replace("  x();\n", "", 2)}))

    def test_rules_read_the_project_as_it_is_written(self):
        tree = read_tree(ROOT)
        self.assertGreater(len(list(includes(tree))), 100)
        settings = len(re.findall(r'(?:\w+_setting\(|return \{)"(\w+)", ', tree["broker/server/config.cpp"]))
        self.assertGreaterEqual(settings, 7)
        verbs = [verb for path, text in tree.items() if path.startswith("tools/verbs_") for _, verb in verbs_of(text)]
        if verbs:
            self.assertLessEqual({"pub", "sub", "replay", "import csv", "log verify", "bench e2e", "group seek"}, set(verbs))


if __name__ == "__main__":
    unittest.main()
