#include "dealer.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <zmq.hpp>

#include "base/limits.hpp"

namespace bus {

namespace {

// One for the whole process, and never destroyed: its threads may outlive static objects.
zmq::context_t& context() {
  static auto* const instance = [] {
    // libzmq draws from rand(): without a seed, every client of a machine would do so alike.
    unsigned seed = 0;
    if (getrandom(&seed, sizeof seed, 0) == sizeof seed) std::srand(seed);
    auto* made = new zmq::context_t(1);
    made->set(zmq::ctxopt::max_sockets, 20'000);
    return made;
  }();
  return *instance;
}

// Called by libzmq, on its own thread. tests/tsan.supp names it: TSan does not see how libzmq's threads wait.
void release_owner(void*, void* owner) { delete static_cast<std::shared_ptr<const void>*>(owner); }

zmq::message_t message_of(const Frame& frame) {
  if (frame.bytes.size() < 1024) return zmq::message_t(frame.bytes.data(), frame.bytes.size());
  auto* owner = new std::shared_ptr<const void>(frame.owner);
  return zmq::message_t(const_cast<std::uint8_t*>(frame.bytes.data()), frame.bytes.size(), release_owner, owner);
}

constexpr int endings = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                        ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

}  // namespace

Result<void> check_server(const std::string& endpoint) {
  const bool ipc = endpoint.starts_with("ipc://") && endpoint.size() > 6;
  if (ipc && endpoint.size() - 6 >= sizeof(sockaddr_un::sun_path)) {
    return Error{Code::bad_argument, "ipc path " + endpoint.substr(6) + " has more than " +
                                         std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes"};
  }
  const bool tcp = endpoint.starts_with("tcp://") && endpoint.rfind(':') > 6;
  if (ipc || tcp) return {};
  return Error{Code::bad_argument, "server '" + endpoint + "' is neither ipc://PATH nor tcp://ADDRESS:PORT"};
}

// ---- WakeUp

WakeUp::WakeUp() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (fd_ < 0) throw std::runtime_error("eventfd failed: no file descriptors are left");
}
WakeUp::~WakeUp() { ::close(fd_); }
void WakeUp::ring() { eventfd_write(fd_, 1); }
void WakeUp::clear() {
  eventfd_t count = 0;
  eventfd_read(fd_, &count);
}

// ---- Dealer

struct Dealer::Sockets {
  zmq::socket_t dealer{context(), zmq::socket_type::dealer};
  zmq::socket_t monitor{context(), zmq::socket_type::pair};
  int dealer_fd = dealer.get(zmq::sockopt::fd), monitor_fd = monitor.get(zmq::sockopt::fd);
};

Dealer::Dealer(std::unique_ptr<Sockets> sockets) : sockets_(std::move(sockets)) {}

Result<std::unique_ptr<Dealer>> Dealer::connect(const std::string& endpoint) try {
  static std::atomic<std::uint64_t> next{0};
  if (auto good = check_server(endpoint); !good) return good.error();
  auto sockets = std::make_unique<Sockets>();
  auto& dealer = sockets->dealer;
  dealer.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(limits::frame_bytes_max));
  dealer.set(zmq::sockopt::sndhwm, limits::send_high_water_mark);
  dealer.set(zmq::sockopt::rcvhwm, limits::send_high_water_mark);
  dealer.set(zmq::sockopt::handshake_ivl, 5000);
  dealer.set(zmq::sockopt::heartbeat_ivl, 5000);
  dealer.set(zmq::sockopt::heartbeat_timeout, 15000);
  dealer.set(zmq::sockopt::linger, 0);  // a Hello that left later would fence the connection after this one
  dealer.set(zmq::sockopt::ipv6, true);
  const auto events = "inproc://bus-dealer-" + std::to_string(next++);
  zmq_socket_monitor(dealer.handle(), events.c_str(), endings);
  sockets->monitor.set(zmq::sockopt::linger, 0);
  sockets->monitor.connect(events);
  dealer.connect(endpoint);
  return std::unique_ptr<Dealer>(new Dealer(std::move(sockets)));
} catch (const zmq::error_t& error) {
  return Error{Code::bad_argument, "cannot connect to " + endpoint + ": " + error.what()};
}

Dealer::~Dealer() { zmq_socket_monitor(sockets_->dealer.handle(), nullptr, 0); }

bool Dealer::send(const Frame& header, const Frame& body) {
  const bool two = !body.bytes.empty();
  zmq::message_t first = message_of(header);
  // The first frame decides: once it is taken, the second is, too.
  if (!sockets_->dealer.send(first, zmq::send_flags::dontwait | (two ? zmq::send_flags::sndmore : zmq::send_flags::none))) return false;
  if (!two) return true;
  zmq::message_t second = message_of(body);
  sockets_->dealer.send(second, zmq::send_flags::none);
  return true;
}

bool Dealer::receive(std::vector<Frame>& frames) {
  frames.clear();
  for (bool more = true; more;) {
    auto part = std::make_shared<zmq::message_t>();
    if (!sockets_->dealer.recv(*part, frames.empty() ? zmq::recv_flags::dontwait : zmq::recv_flags::none)) return false;
    more = part->more();
    frames.push_back({part, {part->data<std::uint8_t>(), part->size()}});
  }
  return true;
}

bool Dealer::is_lost() {
  zmq::message_t event;
  bool lost = false;
  while (sockets_->monitor.recv(event, zmq::recv_flags::dontwait)) lost = true;
  return lost;
}

bool Dealer::is_ready(bool to_send) {
  const int wanted = to_send ? ZMQ_POLLIN | ZMQ_POLLOUT : ZMQ_POLLIN;
  return (sockets_->dealer.get(zmq::sockopt::events) & wanted) != 0 || (sockets_->monitor.get(zmq::sockopt::events) & ZMQ_POLLIN) != 0;
}

// zmq_poll() would use the sockets themselves, which another thread may do at the same time.
void Dealer::wait(const Dealer* dealer, const WakeUp& wake_up, std::chrono::milliseconds timeout) {
  pollfd items[3] = {{wake_up.descriptor(), POLLIN, 0}, {}, {}};
  if (dealer != nullptr) {
    items[1] = {dealer->sockets_->dealer_fd, POLLIN, 0};
    items[2] = {dealer->sockets_->monitor_fd, POLLIN, 0};
  }
  ::poll(items, dealer != nullptr ? 3 : 1, static_cast<int>(timeout.count()));
}

}  // namespace bus
