// GroupRequests answers what operators ask of consumer groups and their dead letters. Each answer leaves only when what it says
// is durable. Owned by the core; one thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "broker/core/answers.hpp"
#include "broker/core/delivery.hpp"
#include "broker/core/durable_answers.hpp"

namespace bus::broker {

class GroupRequests {
 public:
  GroupRequests(State& state, Sessions& sessions, Staging& staging, Reads& reads, LogView& log, Delivery& delivery, Answers& answers,
                std::uint64_t key_secret)
      : state_(state), sessions_(sessions), staging_(staging), reads_(reads), log_(log), delivery_(delivery), answers_(answers), durable_(staging, answers),
        key_secret_(key_secret) {}

  // False: it is a request of another kind.
  bool receive(Asker to, const wire::Request& message, Now now);

 private:
  void list(Asker to, const wire::GroupsRequest& ask);
  void tell(Asker to, const Source& source, bool with_keys);
  void create(Asker to, const wire::GroupCreate& ask, Now now);
  void edit(Asker to, const wire::GroupEdit& ask, Now now);
  void seek(Asker to, const wire::GroupSeek& ask, Now now);
  void remove(Asker to, const wire::GroupRemove& ask);
  void pending(Asker to, const wire::GroupPending& ask, Now now);

  // A listing of dead letters on its way through the table.
  struct Letters {
    Asker to;
    std::uint32_t group = 0;
    wire::DeadLettersRequestT ask;
    Filter filter;
    std::vector<Hash128> keys;
    std::size_t limit = 0, bytes = 0;
    Position last = Position::none;      // looked at
    wire::DeadLettersReplyT reply;
  };
  void letters(Asker to, const wire::DeadLettersRequest& ask);
  void list_letters(std::shared_ptr<Letters> list);
  bool wants(Letters& list, const DeadLetterRow& row) const;
  void tell_letters(std::shared_ptr<Letters> list, bool is_all);
  void letter(Asker to, const wire::DeadLetterGet& ask);
  void settle_letters(Asker to, const wire::DeadLettersSettle& ask, Now now);
  // Events on their way to a group again.
  struct Replay {
    Asker to;
    Now now;
    std::string name;
    std::uint32_t group = 0;
    std::uint16_t generation = 0;
    std::vector<Position> positions;     // in their order
    std::size_t next = 0;                // of them
    std::uint64_t batch = 0;             // with which the last one is durable
    wire::GroupReplayedT reply;
  };
  void replay(Asker to, const wire::GroupReplay& ask, Now now);
  void replay_on(std::shared_ptr<Replay> replay);
  std::uint64_t changed_meanwhile(const Result<ReadAnswer>& answer, std::uint64_t as_of) const;
  void replay_from(Replay& replay, const store::Record& record);
  void replayed(Replay& replay, Code code);
  Result<Source*> same_group(const std::string& name, std::uint32_t number, std::uint16_t generation);
  std::unique_ptr<wire::DeadLetterT> to_wire(Position position, const DeadLetterRow& row) const;

  State& state_;
  Sessions& sessions_;
  Staging& staging_;
  Reads& reads_;
  LogView& log_;
  Delivery& delivery_;
  Answers& answers_;
  DurableAnswers durable_;               // for what may rest on what is staged: groups that are there, or not
  std::uint64_t key_secret_;
};

}  // namespace bus::broker
