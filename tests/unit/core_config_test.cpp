// Goal: every setting is taken up to its limits and refused one beyond, and a wrong file is told with file, line and
// reason.
// Method: the list of settings itself, and small files in a temporary directory.
#include <gtest/gtest.h>

#include <fstream>

#include "broker/server/config.hpp"
#include "tests/support/temp_dir.hpp"

namespace bus::broker {
namespace {

const Setting& setting(const std::string& name) {
  for (const Setting& one : settings()) {
    if (one.name == name) return one;
  }
  throw std::runtime_error("no setting " + name);
}

Code set(const std::string& name, const std::string& value) {
  Config config;
  return setting(name).set(config, {value}).error().code;
}

class ConfigFile : public ::testing::Test {
 protected:
  Result<void> load(const std::string& text) {
    std::ofstream(path) << text;
    return load_config(path, config);
  }
  test::TempDir dir;
  std::string path = (dir.path() / "busd.toml").string();
  Config config;
};

TEST(Setting, SizesEndAtTheirLimits) {
  struct Case {
    const char* name;
    std::uint64_t least, most;
  };
  for (const Case& one : {Case{"map_size", limits::map_bytes_min, 64 * 1024 * limits::GiB},
                          {"fill_ahead", 0, 16 * limits::GiB},
                          {"reserve", limits::MiB, 16 * limits::GiB}}) {
    EXPECT_EQ(set(one.name, std::to_string(one.least)), Code::ok) << one.name;
    EXPECT_EQ(set(one.name, std::to_string(one.most)), Code::ok) << one.name;
    EXPECT_EQ(set(one.name, std::to_string(one.most + 1)), Code::bad_argument) << one.name;
    EXPECT_EQ(set(one.name, std::to_string(one.least - 1)), Code::bad_argument) << one.name;
  }
}

TEST(Setting, TextsAreNotEmptyAndChoicesAreKnown) {
  for (const char* name : {"data", "schema_dir", "compression", "log_level"}) EXPECT_EQ(set(name, ""), Code::bad_argument) << name;
  for (const char* level : {"debug", "info", "warn", "error"}) EXPECT_EQ(set("log_level", level), Code::ok);
  EXPECT_EQ(set("log_level", "chatty"), Code::bad_argument);
  for (const char* method : {"none", "lz4", "zstd"}) EXPECT_EQ(set("compression", method), Code::ok);
  EXPECT_EQ(set("compression", "gzip"), Code::bad_argument);
}

TEST(Setting, EndpointsAreLocal) {
  for (const char* endpoint : {"ipc:///tmp/x", "tcp://127.0.0.1:5555", "tcp://[::1]:5555", "tcp://localhost:1"}) {
    EXPECT_EQ(set("listen", endpoint), Code::ok) << endpoint;
  }
  for (const char* endpoint : {"tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://10.0.0.1:1", "tcp://127.evil.example:1"}) {
    EXPECT_EQ(set("listen", endpoint), Code::denied) << endpoint;
  }
  for (const char* endpoint : {"", "ipc://", "udp://127.0.0.1:1", "/tmp/x"}) {
    EXPECT_EQ(set("listen", endpoint), Code::bad_argument) << endpoint;
  }
  Config config;
  EXPECT_EQ(setting("listen").set(config, {}).error().code, Code::bad_argument);
}

TEST(Setting, ShowsWhatItWasSetTo) {
  Config config;
  ASSERT_TRUE(setting("map_size").set(config, {"128MiB"}).ok());
  EXPECT_EQ(setting("map_size").show(config), "128MiB");
  ASSERT_TRUE(setting("listen").set(config, {"ipc:///a", "ipc:///b"}).ok());
  EXPECT_EQ(setting("listen").show(config), "ipc:///a ipc:///b");
}

TEST(Size, HasUnitsAndLimits) {
  EXPECT_EQ(*parse_size("4096"), 4096u);
  EXPECT_EQ(*parse_size("4 KiB"), 4096u);
  EXPECT_EQ(*parse_size("7B"), 7u);
  EXPECT_EQ(*parse_size("16777215TiB"), 16777215ull << 40);
  for (const char* text : {"", "-1", "x", "1kb", "1 MB", "1MiBs", "16777216TiB", "99999999999999999999", "0x10"}) {
    EXPECT_FALSE(parse_size(text).ok()) << text;
  }
  for (const char* text : {"1KiB", "3MiB", "64GiB", "2TiB", "1000"}) EXPECT_EQ(show_size(*parse_size(text)), text);
}

TEST_F(ConfigFile, SetsWhatItNames) {
  ASSERT_TRUE(load("data = \"/srv/bus\"\n"
                   "listen = [\"ipc:///a\", \"ipc:///b\"]\n"
                   "reserve = 2097152\n"
                   "log_level = \"warn\"\n").ok());
  EXPECT_EQ(config.data, "/srv/bus");
  EXPECT_EQ(config.listen.size(), 2u);
  EXPECT_EQ(config.reserve_bytes, 2 * limits::MiB);
  EXPECT_EQ(config.log_level, "warn");
}

TEST_F(ConfigFile, SaysWhereItIsWrongAndWhy) {
  struct Case {
    const char *text, *line, *reason;
  };
  for (const Case& one : {Case{"\nmap_size = \"1 parsec\"\n", ":2: ", "parsec"},
                          {"data = \"/a\"\n\ncolour = 1\n", ":3: ", "no setting 'colour'"},
                          {"log_level = [\"info\", \"warn\"]\n", ":1: ", "single"},
                          {"listen = [1]\n", ":1: ", "listen"},
                          {"data = 1.5\n", ":1: ", "data"},
                          {"data = \"a\"\ndata = \"b\"\n", ":2: ", "data"},
                          {"data = \n", ":1: ", ""},
                          {"listen = \"tcp://0.0.0.0:1\"\n", ":1: ", "encryption"}}) {
    const auto loaded = load(one.text);
    ASSERT_FALSE(loaded.ok()) << one.text;
    EXPECT_EQ(loaded.error().code, Code::bad_argument);
    EXPECT_EQ(loaded.error().detail.rfind(path + one.line, 0), 0u) << loaded.error().detail;
    EXPECT_NE(loaded.error().detail.find(one.reason), std::string::npos) << loaded.error().detail;
  }
}

TEST_F(ConfigFile, MustBeThere) { EXPECT_FALSE(load_config("/nowhere/busd.toml", config).ok()); }

TEST_F(ConfigFile, IsCheckedAsAWhole) {
  config.data = dir.path().string();
  EXPECT_TRUE(check_config(config).ok());
  config.schema_dir = (dir.path() / "absent").string();
  EXPECT_FALSE(check_config(config).ok());
  config.schema_dir.clear();
  std::ofstream(path) << "x";
  config.data = path;
  EXPECT_FALSE(check_config(config).ok()) << "not a directory";
  config.data = dir.path().string();
  config.map_bytes = 64 * limits::MiB;
  config.fill_ahead_bytes = 16 * limits::MiB;
  config.reserve_bytes = 16 * limits::MiB;
  EXPECT_TRUE(check_config(config).ok());
  config.reserve_bytes += 1;
  EXPECT_FALSE(check_config(config).ok()) << "more than half of the map";
}

}  // namespace
}  // namespace bus::broker
