// Receipts prints the answers to what was published, in order, on a thread of its own, so that reading the next event
// and waiting for the last receipt do not hold each other up.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <future>
#include <mutex>
#include <string>
#include <thread>

#include "bus/client.hpp"
#include "tools/output.hpp"

namespace bus::tools {

class Receipts {
 public:
  // An event without a receipt for as long as `patience`, counted from the one before it, is given up as unknown.
  Receipts(Format format, bool single, Duration patience);
  ~Receipts();
  Receipts(const Receipts&) = delete;
  Receipts& operator=(const Receipts&) = delete;

  struct Sent {
    std::string where;                       // "line 3", or nothing
    std::string topic, key;
    std::future<Result<Receipt>> receipt;
    std::size_t bytes = 0;
  };
  // Waits while much is without receipt already: less than the client's window, so that publishing itself never waits
  // for a broker that is gone.
  void wait_for_room();
  void add(Sent sent);
  // Something was refused before it was sent.
  void refuse(const std::string& where, const Error& error);

  // True once it makes no sense to publish more: the broker is silent, or nobody reads the receipts.
  bool over();

  struct Summary {
    std::uint64_t stored = 0, refused = 0;
    Code worst = Code::ok;                   // of the last refusal
    Code unknown = Code::ok;                 // why some got no answer, or none that says whether they are stored
  };
  // Waits until everything added has been printed. Throws what printing threw.
  Summary finish();

 private:
  void run();
  void print(Sent sent);

  Items items_;
  bool single_;
  Duration patience_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Sent> sent_;
  std::size_t open_bytes_ = 0, open_events_ = 0;  // in sent_, or being waited for
  Summary summary_;
  std::exception_ptr failure_;
  bool closed_ = false, over_ = false;
  std::thread thread_;
};

}  // namespace bus::tools
