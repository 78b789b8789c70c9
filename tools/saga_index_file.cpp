#include "tools/saga_index_file.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

#include "tools/interrupts.hpp"
#include "tools/progress.hpp"
#include "tools/saga_index.hpp"

namespace bus::tools {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

fs::path cache_directory() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return fs::path(cache) / "bus";  // others do not count, says the standard
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') fail(Code::bad_argument, "neither $XDG_CACHE_HOME nor $HOME is set, so say where the rows of sagas are to be kept: --state-file FILE");
  return fs::path(home) / ".cache" / "bus";
}

// Another log, and an earlier state of this one, as after a restore, has a file of its own.
fs::path default_file(const ServerInfo& server) {
  const auto directory = cache_directory();
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) fail(Code::disk_error, directory.string() + ": cannot be made: " + error.message() + "; say where the rows of sagas are to be kept: --state-file FILE");
  return directory / ("sagas-" + hexadecimal(server.log_id) + "-" + std::to_string(server.history) + ".state");
}

// Who has the lock that a projection takes, as far as the kernel tells: "1: FLOCK ADVISORY WRITE 4711 08:01:393 0 EOF".
std::string owner_of(const fs::path& file) {
  struct stat found {};
  if (stat((file.string() + ".owner").c_str(), &found) != 0) return "another process";
  char place[64];
  std::snprintf(place, sizeof place, "%02x:%02x:%llu", major(found.st_dev), minor(found.st_dev), static_cast<unsigned long long>(found.st_ino));
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, mode, access, pid, where;
    words >> number >> kind >> mode >> access >> pid >> where;
    if (kind != "FLOCK" || where != place) continue;
    std::string name;
    std::getline(std::ifstream("/proc/" + pid + "/comm"), name);
    return "process " + pid + (name.empty() ? "" : " (" + printable(name) + ")");
  }
  return "another process";
}

Projection open_when_free(Client& client, const Projection::Options& options, Duration patience) {
  const auto deadline = steady_now() + patience;
  for (;;) {
    auto opened = Projection::open(client, options, fold_saga);
    if (opened) return std::move(*opened);
    if (opened.error().code != Code::locked) throw Failed(opened.error());
    if (steady_now() >= deadline || interrupted() != 0) fail(Code::locked, options.file.string() + " is in use by " + owner_of(options.file) + "; try again once it has ended, or use another --state-file");
    pause_until(std::min(deadline, steady_now() + 50ms));
  }
}

// However much there is to read, as long as it goes on.
void catch_up(const Projection& rows, Duration patience) {
  for (;;) {
    const auto before = rows.position();
    const auto done = rows.catch_up(patience);
    if (done) return;
    if (done.error().code != Code::timed_out || rows.position() == before) throw Failed(done.error());
  }
}

}  // namespace

void with_saga_index(const Globals& globals, Client& client, const std::string& file, const std::function<void(const Projection::Snapshot&)>& look) {
  // Made when the first news come: it then knows how much is left.
  std::unique_ptr<Progress> shown;
  Position first = Position::none;
  Projection::Options options;
  options.name = "bus-cli-sagas";
  options.file = file.empty() ? default_file(client.server()) : fs::path(file);
  options.filter = saga_index_filter();
  options.version = saga_index_version;
  options.skip_trimmed = true;           // of what retention has removed nothing can be listed
  options.rebuild_if_changed = true;
  options.snapshot_life = 1min;
  options.progress = [&](const Projection::Progress& news) {
    if (news.done) return shown.reset();
    if (!shown) {
      first = news.position;
      shown = std::make_unique<Progress>("reading sagas: events", number(news.head) - number(first));
    }
    shown->update(number(news.position) - number(first), news.events);
  };
  auto rows = open_when_free(client, options, globals.patience());
  catch_up(rows, globals.patience());
  look(rows.read().value());
  rows.close().value();
}

}  // namespace bus::tools
