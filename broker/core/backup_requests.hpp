// BackupRequests answers what a backup asks for: records and rows as they are stored, and the snapshot that it reads the last of them from.
// There is one at a time, of the session that began it. Owned by Requests; one thread.
#pragma once

#include <optional>

#include "broker/core/answers.hpp"
#include "broker/core/log_view.hpp"

namespace bus::broker {

class BackupRequests {
 public:
  BackupRequests(Reads& reads, Answers& answers) : reads_(reads), answers_(answers) {}

  // False: the request is for somebody else.
  bool receive(Asker to, const wire::Request& message, SteadyTime now);
  // Its snapshot ends with the session.
  void drop(SessionId session);
  // Gives up a snapshot that nobody asks anything of; when to call again.
  std::optional<SteadyTime> tick(SteadyTime now);

 private:
  struct Snapshot {
    std::uint64_t number = 0;
    SessionId session{};
    SteadyTime asked;
  };
  void begin(Asker to, SteadyTime now);
  void end(Asker to, std::uint64_t snapshot, SteadyTime now);
  void index(Asker to, const wire::BackupIndex& ask, SteadyTime now);
  void records(Asker to, const wire::BackupRecords& ask, SteadyTime now);
  void rows(Asker to, const wire::BackupRows& ask, SteadyTime now);
  bool is_open(Asker to, std::uint64_t snapshot, SteadyTime now);
  void let_go();

  Reads& reads_;
  Answers& answers_;
  std::uint64_t last_number_ = 0;
  std::optional<Snapshot> open_;
};

}  // namespace bus::broker
