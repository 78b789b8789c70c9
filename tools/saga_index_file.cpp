#include "tools/saga_index_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
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

// Another log, an earlier state of this one, as after a restore, and another bus-cli with other rows, has a file of its own.
fs::path default_file(const ServerInfo& server) {
  const auto directory = cache_directory();
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) fail(Code::disk_error, directory.string() + ": cannot be made: " + error.message() + "; say where the rows of sagas are to be kept: --state-file FILE");
  return directory / ("sagas-" + hexadecimal(server.log_id) + "-" + std::to_string(server.history) + "-v" + std::to_string(saga_index_version) + ".state");
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

// Not while another process has it, which may have made it anew by then.
void remove_if_free(const fs::path& file) {
  const int owner = open((file.string() + ".owner").c_str(), O_RDWR | O_CLOEXEC);
  if (owner < 0) return;
  std::error_code error;
  if (flock(owner, LOCK_EX | LOCK_NB) == 0) {
    fs::remove(file, error);
    if (!error) fs::remove(file.string() + "-lock", error);
  }
  close(owner);
  if (error) fail(Code::disk_error, file.string() + ": has rows of another version of bus-cli, and cannot be removed: " + error.message() + "; use another --state-file");
}

// Tells once whom it waits for.
class Turn {
 public:
  Turn(fs::path file, Duration patience) : file_(std::move(file)), began_(steady_now()), deadline_(began_ + patience) {}

  void wait() {
    const auto now = steady_now();
    const auto in_use = [this] { return file_.string() + " is in use by " + owner_of(file_) + "; "; };
    if (now >= deadline_ || interrupted() != 0) fail(Code::locked, in_use() + "try again once it has ended, or use another --state-file");
    if (!has_told_ && now - began_ >= 1s) warn(in_use() + "waiting for its end"), has_told_ = true;
    pause_until(std::min(deadline_, now + 50ms));
  }

 private:
  fs::path file_;
  SteadyTime began_, deadline_;
  bool has_told_ = false;
};

// What another version of the fold has made is made anew.
Projection open_when_free(Client& client, const Projection::Options& options, Duration patience) {
  Turn turn(options.file, patience);
  for (;;) {
    auto opened = Projection::open(client, options, fold_saga);
    if (opened) return std::move(*opened);
    if (opened.error().code == Code::fold_changed) remove_if_free(options.file);
    else if (opened.error().code == Code::locked) turn.wait();
    else throw Failed(opened.error());
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
  options.file = fs::weakly_canonical(file.empty() ? default_file(client.server()) : fs::path(file));
  options.filter = saga_index_filter();
  options.version = saga_index_version;
  options.skip_trimmed = true;           // of what retention has removed nothing can be listed
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
