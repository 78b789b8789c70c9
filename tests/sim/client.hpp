// SimClient speaks the wire protocol over the simulated network: it connects, says Hello, keeps its session alive, and
// begins anew whenever the connection or the session is lost. What it wants of the broker is for those derived from it.
#pragma once

#include <memory>
#include <string>

#include "tests/sim/ledger.hpp"
#include "tests/sim/network.hpp"
#include "wire/event_codec.hpp"
#include "wire/message.hpp"

namespace bus::sim {

// What all clients share.
struct Env {
  Random& random;
  Network& network;
  Ledger& ledger;
  Now& now;
  bool& calm;                          // the end of a run: finish, and begin nothing new
};

// An id that others use as well, some for the first time, some long after.
void any_id(wire::EventT& event, Env& env);

// Whoever acts in a world beside the broker.
class Actor {
 public:
  virtual ~Actor() = default;
  // One thing: connect, take a message, or do some work.
  virtual void act() = 0;
  // Nothing is left to be answered or received.
  virtual bool done() const = 0;
  virtual std::string state() const = 0;  // for a run that does not come to an end
};

class SimClient : public Actor {
 public:
  SimClient(Env& env, std::string name, std::string publisher = "")
      : env_(env), name_(std::move(name)), publisher_(std::move(publisher)) {}
  void act() override;

 protected:
  virtual void begin(const wire::Welcome& welcome) = 0;  // a new session
  virtual void take(const wire::Message& message, Bytes body) = 0;
  virtual void work() = 0;
  virtual void end() {}                   // the session is over

  bool connected() const { return session_ != 0; }
  template <typename T>
  void send(const T& message) {
    send_frames({wire::encode(message)});
  }
  void send_frames(std::vector<Buffer> frames);
  void end_session();

  Env& env_;
  const std::string name_;

 private:
  void connect();
  void say_hello();
  void take_message();
  void keep_alive();

  const std::string publisher_;
  std::shared_ptr<Link> link_;
  std::uint64_t session_ = 0;             // 0: no Welcome yet
  std::uint64_t last_session_ = 0;
  SteadyTime sent_at_, heard_at_;
};

}  // namespace bus::sim
