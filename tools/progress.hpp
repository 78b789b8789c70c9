// Progress tells a person at a terminal how far a long verb is: on stderr, after 2 s, with the time it still needs.
#pragma once

#include <cstdint>
#include <string>

#include "bus/types.hpp"

namespace bus::tools {

class Progress {
 public:
  // `total` 0: not known.
  Progress(std::string what, std::uint64_t total);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Cheap enough to be called for every event.
  void update(std::uint64_t done, std::uint64_t items);
  // Takes the line away, before something else is written to the terminal.
  void clear();

 private:
  void draw(std::uint64_t done, std::uint64_t items, Duration elapsed);

  std::string what_;
  std::uint64_t total_;
  bool wanted_;
  bool drawn_ = false;
  SteadyTime begun_, next_;
};

}  // namespace bus::tools
