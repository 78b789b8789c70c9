// SourcePublisher publishes what comes from a source that can be read again, such as a file or a range of the log: event n of
// the source has the sequence n, so that publishing it again stores nothing twice. Used by one thread.
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "bus/client.hpp"
#include "tools/interrupts.hpp"

namespace bus::tools {

class SourcePublisher {
 public:
  struct Words {
    const char* place;                   // what the source counts: "line", "position"
    const char* refused_before;          // what to do about an event that an earlier run gave up
  };
  struct Summary {
    std::uint64_t published = 0, duplicates = 0, refused = 0;
    std::uint64_t unknown = 0;           // got no answer, or one that leaves open whether they are stored
    Error trouble;                       // why it ended before the end of the source; ok: it did not
  };

  // `client` lives longer, and is closed before this is destroyed. `patience`: without an answer, before it is given up.
  SourcePublisher(Client& client, Duration patience, Words words) : client_(client), patience_(patience), words_(words) {}

  // Waits for room. False if no answer came for too long, or interrupted(): it was not published.
  bool publish(std::uint64_t sequence, std::uint64_t place, const NewEvent& event);
  // True once it makes no sense to publish more: events after one that was not taken would give its sequence up.
  bool over() const { return over_ || interrupted() != 0; }
  // Waits for the receipts of all that was published, as long as answers keep coming; the broker may be restarting. What is published
  // after it, the broker sees after it.
  void drain() { settle(); }
  Summary finish();

 private:
  bool wait_for_room();
  void take(std::uint64_t place, const Result<Receipt>& receipt);
  void give_up(const Error& why);
  std::uint64_t settle();

  Client& client_;
  Duration patience_;
  Words words_;
  // Receipts come on the client's thread.
  std::atomic<std::uint64_t> published_{0}, duplicates_{0}, refused_{0}, unknown_{0}, answers_{0};
  std::atomic<std::size_t> open_bytes_{0}, open_events_{0};
  Bell bell_;                            // at each of them, while somebody waits for room
  std::atomic<bool> waiting_{false};
  std::atomic<bool> over_{false};
  std::mutex mutex_;
  Error trouble_;                        // of the first one
};

}  // namespace bus::tools
