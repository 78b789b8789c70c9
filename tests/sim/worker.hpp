// SimWorker consumes, processes and produces: it is a member of a group and publishes, and each of its steps acknowledges some
// of the events it holds and stores others, on conditions that are true, false, or no longer true by then, some with ids of which
// the log has one already, some with a snapshot of what they make of a key; some cancel scheduled events, and some have no event at all.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/sim/client.hpp"

namespace bus::sim {

class SimWorker final : public SimClient {
 public:
  SimWorker(Env& env, const std::string& name, std::string pattern, wire::Sharing sharing)
      : SimClient(env, name, name), pattern_(std::move(pattern)), sharing_(sharing) {}
  static constexpr const char* group = "steps";
  bool done() const override { return connected() && begun_ && held_.empty() && first_unanswered_ == batches_.size(); }
  std::string state() const override;

 private:
  struct Held {
    std::uint64_t epoch = 0, position = 0;
    std::uint32_t attempt = 0;
  };
  // As it is sent, and sent again.
  struct Batch {
    wire::PublishT message;
    std::vector<Buffer> events;
    std::vector<std::string> keys = {};  // of those for the log
  };
  void begin(const wire::Welcome& welcome) override;
  void take(const wire::Message& message, Bytes body) override;
  void work() override;
  void end() override;

  void subscribe();
  void take_deliver(const wire::Deliver& message, Bytes body);
  void take_result(const wire::PublishResult& message);
  void take_failure(const wire::Failure& failure);
  void make_batch();
  SentEvent make_event(Batch& batch);
  SentEvent make_snapshot(Batch& batch, const std::string& key, std::uint64_t version);
  SentEvent make_snapshot_of(Batch& batch, const std::vector<SentEvent>& step);
  void make_unique(Batch& batch, wire::EventT& event, SentEvent& sent);
  void add_needs(Batch& batch, std::uint32_t at, SentEvent& sent);
  SentEvent make_no_event(Batch& batch);
  wire::StepT make_step(std::uint32_t first, std::uint32_t count, SentEvent& sent);
  void add_cancels(wire::StepT& step, SentEvent& sent);
  void send_batch();
  void ack_rest();

  const std::string pattern_;
  const wire::Sharing sharing_;
  std::uint32_t subscription_ = 0, next_id_ = 1;
  bool begun_ = false;
  std::uint64_t credit_ = 0, fence_ = 0, sequences_ = 0;
  std::uint64_t used_ = 0;               // up to here sequences were used when the session began
  std::vector<Held> held_;
  std::vector<Batch> batches_;
  std::size_t first_unanswered_ = 0, next_ = 0;
  std::map<std::string, std::uint64_t> versions_;  // as far as it has heard of them
  SteadyTime pause_until_;
};

}  // namespace bus::sim
