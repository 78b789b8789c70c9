// KeyRequests answers what is asked of keys: where they have come to, and their events. Each answer leaves only when what it says
// is durable. Owned by the core; one thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "broker/core/answers.hpp"
#include "broker/core/log_view.hpp"
#include "broker/core/staging.hpp"

namespace bus::broker {

class KeyRequests {
 public:
  KeyRequests(State& state, Staging& staging, Reads& reads, LogView& log, Answers& answers, std::uint64_t key_secret)
      : state_(state), staging_(staging), reads_(reads), log_(log), answers_(answers), key_secret_(key_secret) {}

  // False: it is a request of another kind.
  bool receive(Asker to, const wire::Request& message);

 private:
  using Heads = std::vector<store::KeyHead>;
  // Of keys whose heads are wanted, in order.
  struct Search {
    Heads heads;
    std::size_t parts = 0;               // reads on their way
    Error error;                         // of one of them
    std::function<void(Result<Heads>)> found;
  };
  // A reading of one key on its way through the log.
  struct Reading {
    Asker to;
    std::string key;
    bool skips_trimmed = false;
    store::KeyRange range;
    std::size_t bytes = 0;
    wire::KeyReadReplyT reply;
    Buffer body;
  };
  void heads(Asker to, const wire::KeyHeads& ask);
  void read(Asker to, const wire::KeyRead& ask);
  void find_heads(std::vector<Hash128> keys, std::function<void(Result<Heads>)> found);
  void part_read(Search& search, const std::vector<std::size_t>& places, const Result<ReadAnswer>& answer);
  void go_on(std::shared_ptr<Reading> reading);
  void take(const std::shared_ptr<Reading>& reading, store::KeyEvents part);
  Result<void> add(Reading& reading, const store::KeyEvent& event) const;

  State& state_;
  Staging& staging_;
  Reads& reads_;
  LogView& log_;
  Answers& answers_;
  std::uint64_t key_secret_;
};

}  // namespace bus::broker
