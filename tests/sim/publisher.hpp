// SimPublisher publishes events, some of them bad on purpose, with contiguous sequences, and sends everything that has no
// answer again after each reconnect; now and then something that has one, too. Some events have ids that others send as well.
#pragma once

#include <vector>

#include "tests/sim/client.hpp"

namespace bus::sim {

class SimPublisher final : public SimClient {
 public:
  SimPublisher(Env& env, const std::string& name, std::uint64_t quota) : SimClient(env, name, name), quota_(quota) {}
  bool done() const override { return (env_.calm || events_.size() == quota_) && first_unanswered() > events_.size(); }
  std::string state() const override;

 private:
  void begin(const wire::Welcome& welcome) override;
  void take(const wire::Message& message, Bytes body) override;
  void work() override;

  void make_events();
  void send_batch();
  void take_result(const wire::PublishResult& result);
  void take_failure(const wire::Failure& failure);
  std::uint64_t first_unanswered() const;

  const std::uint64_t quota_;
  std::vector<Buffer> events_;           // by sequence - 1, as are
  std::vector<bool> unique_;             // those with an id to be stored once
  std::vector<bool> answered_;
  std::uint64_t next_ = 1;               // to send in this session
  std::uint64_t fence_ = 0;
  std::uint64_t used_ = 0;               // up to here sequences were used when the session began
  SteadyTime pause_until_;
};

}  // namespace bus::sim
