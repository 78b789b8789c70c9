// Requests answers what operators ask: status, single events, figures and verification of the log; and passes on what is asked of
// everything else. Each answer leaves only when what it says is durable. Owned by the core; one thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "broker/core/answers.hpp"
#include "broker/core/backup_requests.hpp"
#include "broker/core/delivery.hpp"
#include "broker/core/group_requests.hpp"
#include "broker/core/intake.hpp"
#include "broker/core/key_requests.hpp"
#include "broker/core/retention.hpp"
#include "broker/core/schedule_requests.hpp"
#include "broker/core/schema_requests.hpp"
#include "broker/core/snapshots.hpp"
#include "broker/core/topic_requests.hpp"

namespace bus::broker {

// What the core is told about itself, to pass on.
struct About {
  std::string version;
  std::string data_dir;
  std::vector<std::string> endpoints;
};

class Requests {
 public:
  Requests(const About& about, const store::Identity& identity, State& state, Sessions& sessions, Staging& staging,
           Reads& reads, LogView& log, Intake& intake, Delivery& delivery, Schedule& schedule, Snapshots& snapshots, Retention& retention, const PayloadTypes& types, SchemaRegistry& schemas, TopicTable& topics)
      : about_(about), identity_(identity), state_(state), sessions_(sessions), staging_(staging), reads_(reads), log_(log),
        intake_(intake), delivery_(delivery), schedule_(schedule), snapshots_(snapshots), retention_(retention), types_(types), topics_(topics), answers_(sessions),
        group_requests_(state, sessions, staging, reads, log, delivery, answers_, identity.secret),
        key_requests_(state, staging, reads, log, answers_, identity.secret),
        schedule_requests_(state, reads, intake, schedule, answers_, identity.secret), backup_requests_(reads, answers_),
        schema_requests_(staging, answers_, intake, types, schemas), topic_requests_(state, staging, answers_, intake, delivery, types, retention, topics) {}

  void start(SteadyTime now) { started_ = now; }
  // Errors: bad_request, busy (too many unanswered); all others are sent by themselves.
  Result<void> receive(Session& session, const wire::Request& message, Now now);
  // The session ends.
  void drop(SessionId session) { backup_requests_.drop(session); }
  std::optional<SteadyTime> tick(SteadyTime now) { return backup_requests_.tick(now); }

 private:
  void status(Asker to, Now now);
  void event(Asker to, Position position);
  void tell_event(Asker to, Position position, const store::Record& record, std::shared_ptr<const void> owner);
  void log_stat(Asker to);
  void log_verify(Asker to, const wire::LogVerify& ask);

  const About& about_;
  const store::Identity& identity_;
  State& state_;
  Sessions& sessions_;
  Staging& staging_;
  Reads& reads_;
  LogView& log_;
  Intake& intake_;
  Delivery& delivery_;
  Schedule& schedule_;
  Snapshots& snapshots_;
  Retention& retention_;
  const PayloadTypes& types_;
  const TopicTable& topics_;
  Answers answers_;
  GroupRequests group_requests_;
  KeyRequests key_requests_;
  ScheduleRequests schedule_requests_;
  BackupRequests backup_requests_;
  SchemaRequests schema_requests_;
  TopicRequests topic_requests_;
  SteadyTime started_;
};

}  // namespace bus::broker
