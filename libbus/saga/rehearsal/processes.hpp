// The processes of a rehearsal: a worker, services for the commands of remote steps, and the one that people act with.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "libbus/saga/rehearsal/stage.hpp"
#include "libbus/saga/runner.hpp"

namespace bus::saga {

// What the attempts at a step come to.
struct Script {
  std::vector<Played> attempts;
  Rehearsal::Effect effect;
  const Played& of(std::uint32_t attempt) const { return attempts[std::min<std::size_t>(attempt, attempts.size()) - 1]; }
};
// By the step, and whether it is undone.
using Scripts = std::map<std::pair<std::string, bool>, Script>;

// A bus whose answers are waited for in Stage::await().
class StageBus : public Bus {
 public:
  StageBus(Stage& stage, Party& party, Party::Subscribed subscribed = 0) : stage_(stage), party_(party), subscribed_(subscribed) {}
  WallTime now() override { return stage_.now().wall; }
  Result<void> fold_key(const std::string& key, std::uint64_t from, const std::function<void(const Event&)>& fold) override;
  Result<std::vector<Receipt>> transact(const Event& event, const FollowUp& what) override { return transact(&event, what); }
  // Null: there is none to acknowledge.
  Result<std::vector<Receipt>> transact(const Event* event, const FollowUp& what);
  Result<Client::Answer> request(wire::AskUnion ask);
  void ack(const Event& event) override { party_.settle(subscribed_, event, wire::Verdict::ack); }
  // Given back as a Worker and a Service do it.
  void give_back(const Event& event) { party_.settle(subscribed_, event, wire::Verdict::nack, std::chrono::seconds(1)); }

 private:
  Stage& stage_;
  Party& party_;
  Party::Subscribed subscribed_;
};

// Attempts that are under way: what they do they have done, and they will tell of it, or never.
class UnderWay {
 public:
  struct One {
    Event event;
    std::optional<SteadyTime> ends_at;   // nothing: it hangs
    std::function<void(const Event&)> tell;
    SteadyTime extend_at;
  };
  void add(One one) { all_.push_back(std::move(one)); }
  // It was delivered again, as the connection broke meanwhile: it is not done again for that. False: it is not under way.
  bool renew(const Event& event);
  // Tells of one that has ended; false: there is none.
  bool tell_one(SteadyTime now);
  void extend(Party& party, Party::Subscribed subscribed, SteadyTime now);
  SteadyTime due() const;

 private:
  std::list<One> all_;
};

class WorkerProcess : public Process {
 public:
  WorkerProcess(Stage& stage, std::string name, const Definition& definition, const Scripts& scripts);
  Party& party() override { return party_; }
  bool act() override;
  SteadyTime due() const override { return under_way_.due(); }

 private:
  void decide_on(const Event& event);
  void act_on(const Event& event);

  Stage& stage_;
  const Scripts& scripts_;
  Party party_;
  Runner runner_;
  Party::Subscribed decisions_, actions_;
  UnderWay under_way_;
};

// Does the steps that have a script; others with the action of its topic, if there is one.
class ServiceProcess : public Process {
 public:
  ServiceProcess(Stage& stage, const std::string& topic, const Scripts& scripts, const Action& action);
  Party& party() override { return party_; }
  bool act() override;
  SteadyTime due() const override { return under_way_.due(); }

 private:
  void act_on(const Event& event);
  void tell_of(const Event& event, const StepCommandT& command, const Done& outcome);

  Stage& stage_;
  const Scripts& scripts_;
  const Action& action_;
  Party party_;
  Party::Subscribed commands_;
  UnderWay under_way_;
};

// Does nothing by itself.
class PersonProcess : public Process {
 public:
  explicit PersonProcess(Stage& stage) : party_(stage.broker(), "person", stage.now()) {}
  Party& party() override { return party_; }
  bool act() override { return false; }

 private:
  Party party_;
};

}  // namespace bus::saga
