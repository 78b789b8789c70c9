// SimMember is a member of a group: it acks, nacks, extends, forgets, and answers too late, as the dice say.
#pragma once

#include <vector>

#include "tests/sim/client.hpp"

namespace bus::sim {

class SimMember final : public SimClient {
 public:
  SimMember(Env& env, const std::string& name, std::string group, std::string pattern, wire::Sharing sharing)
      : SimClient(env, name), group_(std::move(group)), pattern_(std::move(pattern)), sharing_(sharing) {}
  bool done() const override { return connected() && begun_ && held_.empty(); }
  std::string state() const override;

 private:
  struct Held {
    std::uint64_t epoch = 0, position = 0;
    std::uint32_t attempt = 0;
  };
  void begin(const wire::Welcome& welcome) override;
  void take(const wire::Message& message, Bytes body) override;
  void work() override;
  void end() override;

  void subscribe();
  void take_failure(const wire::Failure& failure);
  void settle_some();
  void settle(const std::vector<Held>& which, wire::Verdict verdict);
  void settle_up_to(const std::vector<Held>& which);
  void give_credit();

  const std::string group_;
  const std::string pattern_;
  const wire::Sharing sharing_;          // of the group, if this member makes it
  bool names_sharing_ = false;           // and asks for it, which a group that was edited refuses
  std::uint32_t subscription_ = 0;       // 0: none
  std::uint32_t next_id_ = 1;
  bool begun_ = false;
  bool ask_start_ = false;               // name a start, which a group that exists refuses
  std::uint64_t credit_ = 0;
  std::uint64_t next_request_ = 1;
  std::vector<Held> held_;
  std::vector<Held> old_;                // settled before: to be settled again, in vain
};

}  // namespace bus::sim
