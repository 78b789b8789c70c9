// BrokerProcess is a busd of the test's own: on a directory and an ipc path of its own, killed at the end at the latest.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/temp_dir.hpp"

namespace bus::test {

class BrokerProcess {
 public:
  explicit BrokerProcess(std::vector<std::string> flags = {}) : flags_(std::move(flags)) { start(); }
  ~BrokerProcess() { kill(); }
  BrokerProcess(const BrokerProcess&) = delete;
  BrokerProcess& operator=(const BrokerProcess&) = delete;

  // $BUSD names the program; Meson sets it.
  void start() {
    std::vector<std::string> words = {std::getenv("BUSD"), "--data", (dir_.path() / "data").string(), "--listen", endpoint()};
    words.insert(words.end(), flags_.begin(), flags_.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log_path().c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (posix_spawn(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ) != 0) std::abort();
    posix_spawn_file_actions_destroy(&actions);
  }
  void kill() { end(SIGKILL); }
  // It does nothing until it is thawed.
  void freeze() { ::kill(pid_, SIGSTOP); }
  void thaw() { ::kill(pid_, SIGCONT); }
  // The exit code of an orderly end, or -1.
  int stop() { return end(SIGTERM); }

  std::string endpoint() const { return "ipc://" + (dir_.path() / "bus.sock").string(); }
  std::string log_path() const { return (dir_.path() / "busd.log").string(); }

  // Memory of its own, KiB: the map of the log does not count.
  std::size_t memory_kib() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
    for (std::string word; file >> word;) {
      std::size_t kib = 0;
      if (word == "RssAnon:" && file >> kib) return kib;
    }
    return 0;
  }
  // Of the processor, in user and kernel.
  double cpu_seconds() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
    std::string word;
    std::uint64_t user = 0, kernel = 0;
    for (int field = 1; field < 14; ++field) file >> word;
    file >> user >> kernel;
    return static_cast<double>(user + kernel) / static_cast<double>(sysconf(_SC_CLK_TCK));
  }

 private:
  int end(int signal) {
    if (pid_ == 0) return -1;
    int status = 0;
    const pid_t pid = std::exchange(pid_, 0);
    ::kill(pid, signal);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  TempDir dir_;
  std::vector<std::string> flags_;
  pid_t pid_ = 0;
};

}  // namespace bus::test
