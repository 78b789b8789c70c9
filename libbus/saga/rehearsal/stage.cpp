#include "libbus/saga/rehearsal/stage.hpp"

#include <algorithm>
#include <stdexcept>

namespace bus::saga {

namespace {

// So much can happen without that time passes, and so often time can pass without that what is waited for comes.
constexpr int turns_max = 100'000, waits_max = 100'000;

}  // namespace

Stage::Stage(const RehearsalOptions& options) : options_(options) {
  broker_ = std::make_unique<OwnBroker>(now_, [this] { return dies_now(); });
}

Stage::~Stage() {
  processes_.clear();
  if (options_.moments != nullptr) *options_.moments = moments_;
}

std::size_t Stage::add(Make make) {
  processes_.push_back({make, nullptr});
  processes_.back().process = make();
  return processes_.size() - 1;
}

// True: the broker does.
bool Stage::dies_now() {
  const auto at = moments_++;
  if (!options_.crash || options_.crash->first != at) return false;
  process_dies_ = options_.crash->second != Crash::broker;
  return options_.crash->second != Crash::process;
}

void Stage::moment() {
  if (dies_now()) broker_->die(now_);
  bury();
}

// A process that has died is one anew, without what it had not told. Where it is the one at hand, what it did ends here.
void Stage::bury() {
  if (!process_dies_ || processes_.empty()) return;
  process_dies_ = false;
  if (at_hand_ != nullptr) throw ProcessDied();
  Place& place = processes_.front();
  place.process.reset();
  place.process = place.make();
}

void Stage::turn() {
  bool is_busy = true;
  for (int turns = 0; is_busy; ++turns) {
    if (turns == turns_max) throw std::logic_error("broker and processes talk without end");
    is_busy = broker_->turn(now_);
    for (const auto& message : broker_->take_outgoing()) {
      const auto of = std::find_if(processes_.begin(), processes_.end(), [&](const Place& one) { return one.process && one.process->party().peer() == message.peer; });
      if (of != processes_.end()) of->process->party().deliver(message);
    }
    for (Place& one : processes_) is_busy |= one.process && one.process->party().turn(now_);
  }
  bury();
}

void Stage::act() {
  turn();
  for (bool is_busy = true; is_busy;) {
    is_busy = false;
    for (Place& place : processes_) is_busy |= act_once(place);
  }
}

bool Stage::act_once(Place& place) {
  at_hand_ = &place;
  try {
    const bool has_acted = place.process->act();
    at_hand_ = nullptr;
    if (has_acted) turn();
    return has_acted;
  } catch (const ProcessDied&) {
    at_hand_ = nullptr;
    place.process.reset();
    place.process = place.make();
    turn();
    return true;
  }
}

void Stage::await(const std::function<bool()>& is_done) {
  turn();
  for (int waits = 0; !is_done(); ++waits) {
    if (waits == waits_max) throw std::logic_error("what is waited for does not come");
    pass(SteadyTime::max(), Of::messages);
    turn();
  }
}

// Of messages alone, or also of what processes have to do.
SteadyTime Stage::due(Of of) const {
  SteadyTime due = broker_->due();
  for (const Place& one : processes_) {
    due = std::min(due, one.process->party().due());
    if (of == Of::all) due = std::min(due, one.process->due());
  }
  return due;
}

void Stage::pass(SteadyTime until) { pass(until, Of::all); }

void Stage::pass(SteadyTime until, Of of) {
  const auto passed = std::max<Duration>(std::min(due(of), until) - now_.steady, Duration(1));
  now_.steady += passed;
  now_.wall += passed;
}

}  // namespace bus::saga
