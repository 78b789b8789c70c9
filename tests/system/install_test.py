"""Goal: `meson install` puts everything in its place, the unit is sound and hardened, and somebody else's program builds
against the installed library.
Method: installs the build directory $BUILD_DIR into a DESTDIR and looks there, with the tools that would look there on a
machine: busd itself, systemd-analyze, pkg-config and a compiler. Nothing outside the DESTDIR is written.

Environment: BUILD_DIR; MESON, CXX and PKG_CONFIG if they are not `meson`, `c++` and `pkg-config`."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

BUILD_DIR = os.environ["BUILD_DIR"]
MESON = os.environ.get("MESON", "meson")
CXX = os.environ.get("CXX", "c++")
PKG_CONFIG = os.environ.get("PKG_CONFIG", "pkg-config")

EXPOSURE_MAX = 15  # tenths, as systemd-analyze --threshold takes them
SCHEMAS = ["codes", "event", "wire", "suoke_diagnosis", "suoke_health", "suoke_realtime", "suoke_saga"]
PUBLIC_HEADERS = ["client.hpp", "event.hpp", "projection.hpp", "result.hpp", "saga.hpp", "saga_control.hpp", "saga_rehearsal.hpp", "saga_service.hpp", "saga_worker.hpp", "types.hpp"]
PROGRAM = """
#include <bus/client.hpp>
int main() {
  auto client = bus::Client::connect({.server = "ipc:///nowhere/bus.sock", .connect_timeout = std::chrono::milliseconds(1)});
  return !client && client.error().code == bus::Code::timed_out ? 0 : 1;
}
"""
PROJECTION = """
#include <bus/projection.hpp>
int main() {
  auto client = bus::Client::connect({.server = "ipc:///nowhere/bus.sock", .connect_timeout = std::chrono::milliseconds(1)});
  if (client) bus::Projection::open(*client, {.name = "p", .file = "p.state"}, [](const bus::Event&, bus::Projection::State&) {}).value();
  return !client && client.error().code == bus::Code::timed_out ? 0 : 1;
}
"""
SAGA = """
#include <bus/saga_control.hpp>
int main() {
  auto entry = bus::saga::Definition("entry").step(bus::saga::Step("save").run([](const bus::saga::Context&) { return bus::saga::Value(); }).no_compensation());
  auto client = bus::Client::connect({.server = "ipc:///nowhere/bus.sock", .connect_timeout = std::chrono::milliseconds(1)});
  if (client) bus::saga::Worker::start(*client, entry).value();
  if (client) bus::saga::Control(*client).pause("entry/1", {"a reason", "me"}).value();
  return entry.check() && !client && client.error().code == bus::Code::timed_out ? 0 : 1;
}
"""
REHEARSAL = """
#include <bus/saga_rehearsal.hpp>
int main() {
  using namespace bus::saga;
  Rehearsal rehearsal(Definition("entry").step(Step("save").run([](const Context&) { return Value(); }).no_compensation()));
  rehearsal.start("1");
  rehearsal.run();
  return rehearsal.status("1") == "completed" ? 0 : 1;
}
"""
# What systemd gives the unit, so that defaults are those of a service and not of whoever runs this test.
AS_SERVICE = {"PATH": os.environ["PATH"], "STATE_DIRECTORY": "/var/lib/busd", "RUNTIME_DIRECTORY": "/run/busd"}


def run(*command, **options):
    """The finished command; its output is in the exception if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    if done.returncode != 0:
        raise AssertionError(f"{shlex.join(map(str, command))} exits with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def build_options():
    listed = json.loads(run(*shlex.split(MESON), "introspect", "--buildoptions", BUILD_DIR).stdout)
    return {option["name"]: option["value"] for option in listed}


def read_unit(path):
    """Section → list of (name, value); a name may come several times."""
    sections, entries = {}, None
    for line in path.read_text().splitlines():
        line = line.strip()
        if line.startswith("["):
            entries = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith(("#", ";")):
            name, value = line.split("=", 1)
            entries.append((name, value))
    return sections


class Install(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="bus-install-")
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.dest = pathlib.Path(cls.temporary.name) / "dest"
        run(*shlex.split(MESON), "install", "-C", BUILD_DIR, "--no-rebuild", "--destdir", str(cls.dest))
        options = build_options()
        prefix = pathlib.PurePosixPath(options["prefix"])
        place = lambda name: prefix / options[name]
        cls.bin, cls.lib, cls.include = place("bindir"), place("libdir"), place("includedir")
        cls.data, cls.man, cls.etc = place("datadir"), place("mandir"), place("sysconfdir")
        cls.units = pathlib.PurePosixPath(options["systemd_unit_dir"] or prefix / "lib/systemd/system")
        cls.system = prefix / "lib"

    @classmethod
    def installed(cls, path):
        """A path of the machine as it is below the DESTDIR."""
        return cls.dest / path.relative_to("/")

    def test_every_file_is_in_its_place(self):
        expected = [self.bin / "busd", self.bin / "bus-cli"]
        expected += [self.lib / "libbus.so", self.lib / "libbus.so.0", self.lib / "pkgconfig/libbus.pc"]
        expected += [self.lib / f"libbus-projection.so{ending}" for ending in ["", ".0"]] + [self.lib / "pkgconfig/libbus-projection.pc"]
        expected += [self.lib / f"libbus-saga.so{ending}" for ending in ["", ".0"]] + [self.lib / "pkgconfig/libbus-saga.pc"]
        expected += [self.lib / "libbus-saga-rehearsal.a", self.lib / "pkgconfig/libbus-saga-rehearsal.pc"]
        expected += [self.include / "bus" / name for name in PUBLIC_HEADERS]
        expected += [self.include / "bus" / f"{schema}_generated.h" for schema in SCHEMAS]
        expected += [self.data / "bus/schemas" / f"{schema}.fbs" for schema in SCHEMAS]
        expected += [self.data / "doc/bus" / name for name in ["ARCHITECTURE.md", "PROJECTIONS.md", "PROTOCOL.md", "STORAGE.md"]]
        expected += [self.man / "man8/busd.8", self.man / "man1/bus-cli.1", self.man / "man5/bus-import-map.5"]
        expected += [self.units / "busd.service", self.system / "sysusers.d/busd.conf", self.system / "tmpfiles.d/busd.conf"]
        expected += [self.etc / "busd/busd.toml"]
        missing = [str(path) for path in expected if not self.installed(path).exists()]
        self.assertEqual(missing, [])

    def test_programs_run_from_where_they_are(self):
        for program in ["busd", "bus-cli"]:
            with self.subTest(program):
                environment = dict(AS_SERVICE, LD_LIBRARY_PATH=str(self.installed(self.lib)))
                version = run(str(self.installed(self.bin / program)), "--version", env=environment).stdout
                self.assertRegex(version, rf"^{program} \d+\.\d+\.\d+\n$")

    def test_example_config_names_the_defaults(self):
        busd = str(self.installed(self.bin / "busd"))
        example = self.installed(self.etc / "busd/busd.toml")
        defaults = run(busd, "--check-config", env=AS_SERVICE).stdout
        self.assertEqual(run(busd, "--check-config", "--config", str(example), env=AS_SERVICE).stdout, defaults)
        # With every line taken in, but for the one that has no default, and the group, which is only an example.
        settings, group = re.sub(r"^#(\w+ = |\[)", r"\1", example.read_text(), flags=re.M).split("[group.", 1)
        lines = settings
        lines = re.sub(r"^schema_dir = .*$", "", lines, flags=re.M)
        spelled_out = pathlib.Path(self.temporary.name) / "busd.toml"
        spelled_out.write_text(lines)
        self.assertEqual(run(busd, "--check-config", "--config", str(spelled_out), env=AS_SERVICE).stdout, defaults)
        spelled_out.write_text("[group." + group)
        self.assertIn("[group.billing]", run(busd, "--check-config", "--config", str(spelled_out), env=AS_SERVICE).stdout)
        named = set(re.findall(r"^(\w+) = ", settings, flags=re.M))
        self.assertEqual(named, set(re.findall(r"^(\w+) = ", defaults, flags=re.M)))

    def test_unit_starts_what_was_installed(self):
        service = dict(read_unit(self.installed(self.units / "busd.service"))["Service"])
        self.assertEqual(service["Type"], "notify")
        command = shlex.split(service["ExecStart"])
        self.assertEqual(command, [str(self.bin / "busd"), "--config", str(self.etc / "busd/busd.toml")])
        for path in [command[0], command[2]]:
            self.assertTrue(self.installed(pathlib.PurePosixPath(path)).exists(), path)

    def test_user_group_and_folder_agree(self):
        service = dict(read_unit(self.installed(self.units / "busd.service"))["Service"])
        sysusers = self.installed(self.system / "sysusers.d/busd.conf").read_text()
        tmpfiles = self.installed(self.system / "tmpfiles.d/busd.conf").read_text()
        user = re.search(r"^u (\S+) ", sysusers, re.M).group(1)
        folder = re.search(r"^d (\S+) (\S+) (\S+) (\S+)", tmpfiles, re.M).groups()
        self.assertEqual((service["User"], service["Group"]), (user, user))
        self.assertEqual(folder, (f"/run/{service['RuntimeDirectory']}", service["RuntimeDirectoryMode"], user, user))

    def test_library_builds_a_program(self):
        self.build_and_run(PROGRAM, "libbus")

    def test_projections_build_a_program_and_others_need_no_lmdb(self):
        program = self.build_and_run(PROJECTION, "libbus-projection")
        libraries = lambda path: run("objdump", "-p", str(path)).stdout
        self.assertIn("libbus-projection.so.0", libraries(program))
        self.assertIn("liblmdb", libraries(self.installed(self.lib / "libbus-projection.so.0")))
        self.assertNotIn("lmdb", libraries(self.installed(self.lib / "libbus.so.0")))

    def test_sagas_build_a_program(self):
        program = self.build_and_run(SAGA, "libbus-saga")
        self.assertIn("libbus-saga.so.0", run("objdump", "-p", str(program)).stdout)

    def test_rehearsals_need_no_broker(self):
        self.build_and_run(REHEARSAL, "libbus-saga-rehearsal")

    def build_and_run(self, text, library):
        folder = pathlib.Path(self.temporary.name)
        (folder / "program.cpp").write_text(text)
        # As with a sysroot: every path of the .pc file is below the DESTDIR, even where that looks like a system path.
        environment = dict(os.environ, PKG_CONFIG_PATH=str(self.installed(self.lib / "pkgconfig")),
                           PKG_CONFIG_SYSROOT_DIR=str(self.dest), PKG_CONFIG_ALLOW_SYSTEM_CFLAGS="1", PKG_CONFIG_ALLOW_SYSTEM_LIBS="1")
        flags = shlex.split(run(*shlex.split(PKG_CONFIG), "--cflags", "--libs", library, env=environment).stdout)
        program = folder / "program"
        run(*shlex.split(CXX), "-std=c++20", str(folder / "program.cpp"), "-o", str(program), *flags)
        run(str(program), env=dict(os.environ, LD_LIBRARY_PATH=str(self.installed(self.lib))))
        return program


@unittest.skipIf(shutil.which("systemd-analyze") is None, "systemd-analyze is not installed (Debian: package systemd)")
class Unit(Install):
    """The same installation, seen by systemd."""

    def test_unit_has_no_mistakes(self):
        unit = str(self.installed(self.units / "busd.service"))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
        # The program is below the DESTDIR, not where the unit says; all else that verify finds is a mistake.
        complaints = [line for line in (done.stdout + done.stderr).splitlines()
                      if "busd.service" in line and "is not executable" not in line]
        self.assertEqual(complaints, [])

    def test_exposure_is_low(self):
        unit = str(self.installed(self.units / "busd.service"))
        run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", unit)

    def test_exposure_check_can_fail(self):
        open_unit = pathlib.Path(self.temporary.name) / "open.service"
        open_unit.write_text("[Service]\nExecStart=/bin/true\n")
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager",
                               str(open_unit)], capture_output=True, text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)


def load_tests(loader, _tests, _pattern):
    # Unit inherits the places, not the tests.
    suite = unittest.TestSuite(loader.loadTestsFromTestCase(Install))
    for name in loader.getTestCaseNames(Unit):
        if name not in loader.getTestCaseNames(Install):
            suite.addTest(Unit(name))
    return suite


if __name__ == "__main__":
    unittest.main(verbosity=2)
