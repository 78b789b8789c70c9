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
  for (const char* truth : {"true", "false"}) EXPECT_EQ(set("auto_create_topics", truth), Code::ok);
  for (const char* none : {"", "yes", "1"}) EXPECT_EQ(set("auto_create_topics", none), Code::bad_argument);
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
                          {"listen = \"tcp://0.0.0.0:1\"\n", ":1: ", "encryption"},
                          {"group = 1\n", ":1: ", "[group.NAME]"},
                          {"[group]\nbilling = 1\n", ":2: ", "[group.billing]"},
                          {"[group.g]\npaused = true\ncolour = 1\n", ":3: ", "colour: there is no such setting"},
                          {"[group.\"a b\"]\n", ":1: ", "without spaces"},
                          {"\n[group.g]\nsharing = \"fair\"\n", ":3: ", "round_robin, least_in_flight"},
                          {"[group.g]\nack_wait = 30\n", ":2: ", "\"30s\""},
                          {"[group.g]\nack_wait = \"50d\"\n", ":2: ", "too long"},
                          {"[group.g]\nack_wait = \"2d\"\n", ":1: ", "100 ms and 24 h"},
                          {"[group.g]\nattempts_max = \"never\"\n", ":2: ", "\"unlimited\""},
                          {"[group.g]\nin_flight_max = \"unlimited\"\n", ":2: ", "must be a number"},
                          {"[group.g]\nin_flight_max = -1\n", ":2: ", "must be a number"},
                          {"[group.g]\nin_flight_max = 131073\n", ":1: ", "131072"},
                          {"[group.g]\ndead_letter = \"stop_key\"\n", ":1: ", "key_ordered"},
                          {"[group.g]\ntopics = [\"a..b\"]\n", ":1: ", "a..b"},
                          {"[group.g]\npriorities = \"urgent\"\n", ":2: ", "medium, high, low"},
                          {"[group.g]\nattributes = { a = 1 }\n", ":2: ", "list of strings"},
                          {"[group.g]\nfrom = \"middle\"\n", ":2: ", "start, end"},
                          {"[group.g]\npaused = \"yes\"\n", ":2: ", "true or false"}}) {
    const auto loaded = load(one.text);
    ASSERT_FALSE(loaded.ok()) << one.text;
    EXPECT_EQ(loaded.error().code, Code::bad_argument);
    EXPECT_EQ(loaded.error().detail.rfind(path + one.line, 0), 0u) << loaded.error().detail;
    EXPECT_NE(loaded.error().detail.find(one.reason), std::string::npos) << loaded.error().detail;
  }
}

TEST_F(ConfigFile, DeclaresGroups) {
  ASSERT_TRUE(load("[group.a]\n[group.b]\ntopics = \"x.>\"\ntypes = [\"T\"]\nkeys = [\"k\"]\npriorities = [\"high\"]\n"
                   "attributes = { ward = [\"3\", \"4\"], urgent = true }\nfrom = \"end\"\nsharing = \"key_ordered\"\nack_wait = \"1m\"\n"
                   "in_flight_max = 10\nmember_in_flight_max = \"unlimited\"\nattempts_max = 5\nbackoff = \"linear\"\nretry_delay = \"250ms\"\n"
                   "retry_delay_max = \"7d\"\njitter = 0\ndead_letter = \"stop_key\"\npaused = true\n").ok());
  ASSERT_EQ(config.groups.size(), 2u);
  EXPECT_EQ(config.groups[0].name, "a");
  EXPECT_EQ(config.groups[0].what->filter, nullptr);
  const auto& group = *config.groups[1].what;
  EXPECT_EQ(group.from, wire::Start::end);
  EXPECT_EQ(group.filter->patterns, std::vector<std::string>{"x.>"});
  EXPECT_EQ(group.filter->types, std::vector<std::string>{"T"});
  EXPECT_EQ(group.filter->keys, std::vector<std::string>{"k"});
  EXPECT_EQ(group.filter->priorities, std::vector<wire::Priority>{wire::Priority::high});
  ASSERT_EQ(group.filter->attributes.size(), 2u);
  EXPECT_TRUE(group.filter->attributes[0]->values.empty());
  EXPECT_EQ(group.filter->attributes[1]->values, (std::vector<std::string>{"3", "4"}));
  const auto& settings = *group.settings;
  EXPECT_EQ(settings.sharing, wire::Sharing::key_ordered);
  EXPECT_EQ(settings.ack_wait_ms, 60'000u);
  EXPECT_EQ(settings.in_flight_max, 10u);
  EXPECT_EQ(settings.member_in_flight_max, ~0u);
  EXPECT_EQ(settings.attempts_max, 5u);
  EXPECT_EQ(settings.backoff, wire::Backoff::linear);
  EXPECT_EQ(settings.retry_delay_ms, 250u);
  EXPECT_EQ(settings.retry_delay_max_ms, 604'800'000u);
  EXPECT_EQ(settings.jitter_percent, 0u);
  EXPECT_EQ(settings.dead_letter, wire::DeadLetterPolicy::stop_key);
  EXPECT_EQ(settings.paused, true);
}

TEST_F(ConfigFile, NamesTypesInFullOrByTheirLastPart) {
  const PayloadTypes types;
  ASSERT_TRUE(load("[group.g]\ntypes = [\"SystemNotification\", \"suoke.health.HealthDataUpdate\"]\n").ok());
  ASSERT_TRUE(resolve_types(config.groups[0], types).ok());
  EXPECT_EQ(config.groups[0].what->filter->types, (std::vector<std::string>{"suoke.realtime.SystemNotification", "suoke.health.HealthDataUpdate"}));
  for (const char* type : {"Nope", "Notification", "suoke.health.Nope"}) {
    config = {};
    ASSERT_TRUE(load(std::string("[group.g]\ntypes = \"") + type + "\"\n").ok());
    const auto resolved = resolve_types(config.groups[0], types);
    ASSERT_FALSE(resolved.ok()) << type;
    EXPECT_EQ(resolved.error().code, Code::bad_argument);
    EXPECT_EQ(resolved.error().detail, std::string("group.g: types: there is no type '") + type + "'");
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
