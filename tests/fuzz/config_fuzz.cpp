// Whatever an operator writes into the settings is taken, or refused with the file and line.
#include <sys/mman.h>
#include <unistd.h>

#include "broker/server/config.hpp"
#include "tests/fuzz/target.hpp"

namespace bus::fuzz {

std::vector<std::string> seeds() {
  return {"data = \"/srv/bus\"\nlisten = [\"ipc:///run/bus.sock\", \"tcp://127.0.0.1:5555\"]\n",
          "map_size = \"64GiB\"\nfill_ahead = 0\nreserve = \"16 MiB\"\ncompression = \"lz4\"\nlog_level = \"warn\"\n",
          "listen = \"tcp://0.0.0.0:1\"\n", "schema_dir = 'a'\n[table]\nx = 1\n", "map_size = 18446744073709551616\n",
          "map_size = \"99999999999999999999GiB\"", "data = \"\\u00e4\"\n# comment\n",
          "x = 1979-05-27T07:32:00Z\n", "a.b.c = {d = [1, [2]]}",
          "[group.g]\ntopics = [\"a.>\"]\nsharing = \"key_ordered\"\nack_wait = \"1m\"\nattempts_max = 5\nattributes = { a = [\"1\"], b = true }\n"};
}

}  // namespace bus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  const int file = ::memfd_create("settings", 0);
  bus::fuzz::require(::write(file, data, bytes) == static_cast<ssize_t>(bytes), "no file for the settings");
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  bus::broker::Config config;
  const auto loaded = bus::broker::load_config(path, config);
  ::close(file);
  if (!loaded) bus::fuzz::require(loaded.error().detail.starts_with(path + ":"), "an error does not name file and line");
  for (const auto& setting : bus::broker::settings()) (void)setting.show(config);
  if (loaded) (void)bus::broker::check_config(config);
  return 0;
}
