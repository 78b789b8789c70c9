#include "tools/progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "tools/output.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

Progress::Progress(std::string what, std::uint64_t total)
    : what_(std::move(what)), total_(total), wanted_(is_terminal(STDERR_FILENO)), begun_(std::chrono::steady_clock::now()),
      next_(begun_ + 2s) {}

void Progress::update(std::uint64_t done, std::uint64_t items) {
  if (!wanted_) return;
  const SteadyTime now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + 200ms;
  draw(done, items, now - begun_);
}

void Progress::draw(std::uint64_t done, std::uint64_t items, Duration elapsed) {
  const double seconds = std::chrono::duration<double>(elapsed).count();
  const double rate = static_cast<double>(items) / seconds;
  std::string line = "\r\033[K" + what_ + " " + std::to_string(items) + " (" + std::to_string(static_cast<std::uint64_t>(rate)) + "/s)";
  if (total_ > 0 && done > 0) {
    const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
    const auto left = static_cast<std::uint64_t>(seconds * (1 - part) / part);
    line += " " + std::to_string(static_cast<int>(part * 100)) + " %, " + std::to_string(left / 60) + " min " +
            std::to_string(left % 60) + " s left";
  }
  std::fputs(line.c_str(), stderr);
  drawn_ = true;
}

void Progress::clear() {
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

}  // namespace bus::tools
