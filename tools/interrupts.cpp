#include "tools/interrupts.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <system_error>
#include <vector>

#include "tools/exit_code.hpp"

namespace bus::tools {

namespace {

constexpr unsigned seconds_to_end = 3;

std::atomic<int> pending_signal{0};
std::atomic<int> graceful_ends{0};
int signal_fd = -1;  // readable for good once a signal came

int make_eventfd() {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  return fd;
}

void ring_fd(int fd) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(fd, &one, sizeof one);
}

void on_signal(int signal) {
  if (graceful_ends == 0 || pending_signal != 0) _exit(status(Exit::signal) + signal);
  pending_signal = signal;
  alarm(seconds_to_end);
  ring_fd(signal_fd);
}

void on_alarm(int) { _exit(status(Exit::signal) + pending_signal); }

void install(int signal, void (*act)(int)) {
  struct sigaction action {};
  action.sa_handler = act;
  sigaction(signal, &action, nullptr);
}

// Not milliseconds, as poll() has them: what is paced would be late by one.
timespec timespec_of(Duration most) {
  const auto nanoseconds = std::clamp<Duration>(most, Duration(0), std::chrono::hours(1)).count();
  return {.tv_sec = nanoseconds / 1'000'000'000, .tv_nsec = nanoseconds % 1'000'000'000};
}

}  // namespace

void install_signals() {
  signal_fd = make_eventfd();
  std::signal(SIGPIPE, SIG_IGN);
  install(SIGINT, on_signal);
  install(SIGTERM, on_signal);
  install(SIGALRM, on_alarm);
}

int interrupted() { return pending_signal; }

GracefulEnd::GracefulEnd() { ++graceful_ends; }
GracefulEnd::~GracefulEnd() { --graceful_ends; }

Bell::Bell() : fd_(make_eventfd()) {}
Bell::~Bell() { close(fd_); }

void Bell::ring() { ring_fd(fd_); }

void Bell::wait(Duration most, std::initializer_list<pollfd> also) {
  std::vector<pollfd> watched = {{fd_, POLLIN, 0}, {signal_fd, POLLIN, 0}};
  watched.insert(watched.end(), also.begin(), also.end());
  const auto time = timespec_of(most);
  ppoll(watched.data(), watched.size(), &time, nullptr);
  std::uint64_t rings = 0;
  [[maybe_unused]] const auto taken = read(fd_, &rings, sizeof rings);
}

void pause_until(SteadyTime deadline) {
  Bell bell;
  while (interrupted() == 0) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration(0)) return;
    bell.wait(left);
  }
}

}  // namespace bus::tools
