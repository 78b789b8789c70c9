// ScheduleRequests answers what operators ask of the schedule. Each answer leaves only when what it says is durable. Owned by the
// core; one thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "broker/core/answers.hpp"
#include "broker/core/filter.hpp"
#include "broker/core/intake.hpp"
#include "broker/core/schedule.hpp"

namespace bus::broker {

class ScheduleRequests {
 public:
  ScheduleRequests(State& state, Reads& reads, Intake& intake, Schedule& schedule, Answers& answers, std::uint64_t key_secret)
      : state_(state), reads_(reads), intake_(intake), schedule_(schedule), answers_(answers), key_secret_(key_secret) {}

  // False: it is a request of another kind.
  bool receive(Asker to, const wire::Request& message);

 private:
  // A listing on its way through the table.
  struct Listing {
    Asker to;
    Filter filter;
    std::vector<Hash128> keys;
    std::optional<std::uint32_t> publisher;
    std::size_t limit = 0, bytes = 0, rows = 0;
    std::string after;
    wire::ScheduleReplyT reply;
  };
  void list(Asker to, const wire::ScheduleRequest& ask);
  void go_on(std::shared_ptr<Listing> list);
  bool wants(Listing& list, const ScheduledRow& row) const;
  void show(Asker to, const wire::ScheduleGet& ask);
  void show_waiting(Asker to, ScheduleId id, WallTime due);
  void cancel(Asker to, const wire::ScheduleCancel& ask);
  void run(Asker to, const wire::ScheduleRun& ask);
  Result<ScheduleId> find(const wire::ScheduleId* id) const;
  std::unique_ptr<wire::ScheduledEventT> to_wire(const ScheduledRow& row, const Buffer& event) const;

  State& state_;
  Reads& reads_;
  Intake& intake_;
  Schedule& schedule_;
  Answers& answers_;
  std::uint64_t key_secret_;
};

}  // namespace bus::broker
