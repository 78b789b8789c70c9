#include "tools/command.hpp"

#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace bus::tools {

namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

Error failed(const char* what, int why) { return {Code::disk_error, std::string(what) + ": " + std::strerror(why)}; }

// The input as a file in memory: a command that does not read it cannot block us, and it may seek.
Result<void> fill(int fd, std::string_view input) {
  while (!input.empty()) {
    const auto written = ::write(fd, input.data(), input.size());
    if (written < 0) return failed("cannot hand the event to the command", errno);
    input.remove_prefix(static_cast<std::size_t>(written));
  }
  lseek(fd, 0, SEEK_SET);
  return {};
}

// With the signals as a shell expects them: we ignore SIGPIPE, and ignoring is inherited.
Result<pid_t> spawn(const std::string& command, int input) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t usual;
  sigemptyset(&usual);
  sigaddset(&usual, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &usual);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  std::string shell = "sh", option = "-c", text = command;
  char* const words[] = {shell.data(), option.data(), text.data(), nullptr};
  pid_t pid = 0;
  const int error = posix_spawn(&pid, "/bin/sh", &actions, &attributes, words, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return failed("cannot start /bin/sh", error);
  return pid;
}

}  // namespace

Result<int> run_command(const std::string& command, std::string_view input, Duration interval,
                        const std::function<void()>& still_running) {
  const Descriptor text(memfd_create("event", MFD_CLOEXEC));
  if (text.get() < 0) return failed("memfd_create", errno);
  if (auto filled = fill(text.get(), input); !filled) return filled.error();
  const auto pid = spawn(command, text.get());
  if (!pid) return pid.error();
  // <sys/pidfd.h> of glibc 2.36 cannot be used from C++.
  const Descriptor process(static_cast<int>(syscall(SYS_pidfd_open, *pid, 0)));
  pollfd end{process.get(), POLLIN, 0};
  const auto wait_ms = static_cast<int>(interval / std::chrono::milliseconds(1));
  while (process.get() >= 0 && poll(&end, 1, wait_ms) == 0) still_running();
  int status = 0;
  while (waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace bus::tools
