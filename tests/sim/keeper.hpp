// SimKeeper says how long events are kept: it sets, changes and removes policies and legal holds, and asks for runs. At the end it
// waits for some that have begun when everything else was done.
#pragma once

#include <map>
#include <optional>

#include "tests/sim/client.hpp"

namespace bus::sim {

class SimKeeper final : public SimClient {
 public:
  // `patterns`: of what it may set policies for.
  SimKeeper(Env& env, const std::string& name, std::vector<std::string> patterns)
      : SimClient(env, name), patterns_(std::move(patterns)), eager_(env.random.between(10, 60)) {}
  bool done() const override { return waiting_.empty() && (!last_asked_ || last_ended_); }
  std::string state() const override { return name_ + " waits for " + std::to_string(waiting_.size()) + " answers" + (last_asked_ ? ", and for a run" : ""); }

  // Nothing else happens any more: after so many changes one run is to remove what has to go.
  void begin_last_run(std::uint64_t changes) {
    changes_ = changes;
    last_asked_ = env_.now.wall;
    last_began_ = last_ended_ = false;
  }
  WallTime last_run_asked() const { return last_asked_.value(); }

 private:
  void begin(const wire::Welcome&) override {}
  void take(const wire::Message& message, Bytes body) override;
  void work() override;
  void end() override { waiting_.clear(); }

  template <typename T>
  void ask(T what);
  void set_policy();
  void remove_policy();
  void change_hold();
  std::unique_ptr<wire::RetentionPolicyT> any_policy();
  void take_state(const wire::RetentionReply& state);

  const std::vector<std::string> patterns_;
  const std::uint64_t eager_;            // how often it does something, in percent
  std::map<std::uint64_t, wire::Ask> waiting_;
  std::uint64_t next_request_ = 1;
  std::uint64_t changes_ = 0;            // to be made before the last run
  std::optional<WallTime> last_asked_;
  bool last_began_ = false, last_ended_ = false;
};

}  // namespace bus::sim
