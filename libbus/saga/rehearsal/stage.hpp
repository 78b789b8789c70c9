// Stage is where a rehearsal plays: the broker, those who use it, the clock, and where one of them dies.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bus/saga_rehearsal.hpp"
#include "libbus/saga/rehearsal/party.hpp"

namespace bus::saga {

// Thrown through whatever the process at hand does.
struct ProcessDied {};

// A process: what it does with the bus. It is made anew after it has died.
class Process {
 public:
  virtual ~Process() = default;
  virtual Party& party() = 0;
  // One thing that there is to do at this time; false: there is none.
  virtual bool act() = 0;
  // When there is something to do that only time brings.
  virtual SteadyTime due() const { return SteadyTime::max(); }
};

class Stage {
 public:
  explicit Stage(const RehearsalOptions& options);
  ~Stage();

  Now now() const { return now_; }
  OwnBroker& broker() { return *broker_; }
  using Make = std::function<std::unique_ptr<Process>()>;
  // The first one is the one that dies where none is at hand. Returns its place.
  std::size_t add(Make make);
  Process& process(std::size_t place) { return *processes_.at(place).process; }

  // Somebody may die here. Called by a process about itself.
  void moment();
  // Until all that can be done at this time is done.
  void act();
  // Messages travel, and time passes, until it is so; other processes do nothing meanwhile.
  void await(const std::function<bool()>& is_done);
  // To where there is something to do, or `until`.
  void pass(SteadyTime until);

 private:
  struct Place {
    Make make;
    std::unique_ptr<Process> process;
  };
  bool dies_now();
  void bury();
  void turn();
  enum class Of { messages, all };
  SteadyTime due(Of of) const;
  void pass(SteadyTime until, Of of);
  bool act_once(Place& place);

  RehearsalOptions options_;
  Now now_{wall_time(1'800'000'000'000'000'000), SteadyTime{} + std::chrono::hours(1)};
  std::size_t moments_ = 0;
  bool process_dies_ = false;
  Place* at_hand_ = nullptr;
  std::unique_ptr<OwnBroker> broker_;
  std::vector<Place> processes_;
};

}  // namespace bus::saga
