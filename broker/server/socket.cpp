#include "broker/server/socket.hpp"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <zmq.hpp>

namespace bus::broker {

namespace {

// Routing ids are counted up from rand(): without a seed they could be guessed.
void seed_once() {
  unsigned seed = 0;
  if (getrandom(&seed, sizeof seed, 0) == sizeof seed) std::srand(seed);
}

bool somebody_listens(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  path.copy(address.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool connected = fd >= 0 && connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  if (fd >= 0) ::close(fd);
  return connected;
}

Result<void> prepare_ipc(const std::string& path) {
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return Error{Code::bad_argument, "ipc path " + path + " has more than " + std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes"};
  }
  std::error_code failed;
  const auto folder = std::filesystem::path(path).parent_path();
  if (!folder.empty() && !std::filesystem::exists(folder)) {
    std::filesystem::create_directories(folder, failed);
    if (failed) return Error{Code::bad_argument, "cannot make " + folder.string() + ": " + failed.message()};
    std::filesystem::permissions(folder, std::filesystem::perms(0750), failed);
  }
  if (somebody_listens(path)) return Error{Code::conflict, "another process listens on " + path};
  return {};
}

std::shared_ptr<zmq::message_t> shared(zmq::message_t&& message) {
  return std::make_shared<zmq::message_t>(std::move(message));
}

// Called by libzmq, on its own thread; tests/tsan.supp names it.
void release_owner(void*, void* owner) { delete static_cast<std::shared_ptr<const void>*>(owner); }

zmq::message_t message_of(const Frame& frame) {
  // Small ones are copied into the message itself; large ones stay where they are until libzmq has sent them.
  if (frame.bytes.size() < 1024) return zmq::message_t(frame.bytes.data(), frame.bytes.size());
  auto* owner = new std::shared_ptr<const void>(frame.owner);
  return zmq::message_t(const_cast<std::uint8_t*>(frame.bytes.data()), frame.bytes.size(), release_owner, owner);
}

}  // namespace

Result<void> check_endpoint(const std::string& endpoint) {
  if (endpoint.starts_with("ipc://") && endpoint.size() > 6) return {};
  if (!endpoint.starts_with("tcp://")) {
    return Error{Code::bad_argument, "endpoint " + endpoint + " is neither ipc://PATH nor tcp://ADDRESS:PORT"};
  }
  const auto host = endpoint.substr(6, endpoint.rfind(':') - 6);
  const bool loopback = host == "localhost" || host == "[::1]" || (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos);
  if (loopback) return {};
  return Error{Code::denied, "endpoint " + endpoint + " can be reached from other machines, and this busd cannot tell who "
                             "connects: encryption and keys come with a later version. Listen on ipc:// or on 127.0.0.1"};
}

struct RouterSocket::Impl {
  zmq::context_t context{1};
  zmq::socket_t router;
  zmq::socket_t monitor;
  int router_fd = -1, monitor_fd = -1;   // of libzmq: readable when there is news for the socket
};

RouterSocket::RouterSocket() {
  seed_once();
  impl_ = std::make_unique<Impl>();
  impl_->context.set(zmq::ctxopt::max_sockets, 1024);
  auto& router = impl_->router = zmq::socket_t(impl_->context, zmq::socket_type::router);
  router.set(zmq::sockopt::router_mandatory, true);
  router.set(zmq::sockopt::router_handover, false);
  router.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(limits::frame_bytes_max));
  router.set(zmq::sockopt::sndhwm, limits::send_high_water_mark);
  router.set(zmq::sockopt::rcvhwm, limits::receive_high_water_mark);
  router.set(zmq::sockopt::handshake_ivl, 5000);
  router.set(zmq::sockopt::heartbeat_ivl, 5000);
  router.set(zmq::sockopt::heartbeat_timeout, 15000);
  router.set(zmq::sockopt::heartbeat_ttl, 15000);
  router.set(zmq::sockopt::tcp_keepalive, 1);
  router.set(zmq::sockopt::tcp_keepalive_idle, 30);
  router.set(zmq::sockopt::tcp_keepalive_intvl, 10);
  router.set(zmq::sockopt::tcp_keepalive_cnt, 3);
  router.set(zmq::sockopt::backlog, 4096);
  router.set(zmq::sockopt::linger, 0);
  router.set(zmq::sockopt::ipv6, true);
  zmq_socket_monitor(router.handle(), "inproc://router-monitor", ZMQ_EVENT_DISCONNECTED);
  impl_->monitor = zmq::socket_t(impl_->context, zmq::socket_type::pair);
  impl_->monitor.set(zmq::sockopt::linger, 0);
  impl_->monitor.connect("inproc://router-monitor");
  impl_->router_fd = router.get(zmq::sockopt::fd);
  impl_->monitor_fd = impl_->monitor.get(zmq::sockopt::fd);
}

RouterSocket::~RouterSocket() = default;

Result<std::string> RouterSocket::bind(const std::string& endpoint) {
  if (auto good = check_endpoint(endpoint); !good) return good.error();
  const bool ipc = endpoint.starts_with("ipc://");
  if (ipc) {
    if (auto ready = prepare_ipc(endpoint.substr(6)); !ready) return ready.error();
  }
  try {
    impl_->router.bind(endpoint);
  } catch (const zmq::error_t& error) {
    return Error{Code::bad_argument, "cannot listen on " + endpoint + ": " + error.what()};
  }
  if (ipc) chmod(endpoint.substr(6).c_str(), 0660);
  return impl_->router.get(zmq::sockopt::last_endpoint);
}

bool RouterSocket::receive(Incoming& message) {
  zmq::message_t part;
  message = {};
  if (!impl_->router.recv(part, zmq::recv_flags::dontwait)) return false;
  message.peer = part.to_string();
  bool more = part.more();
  while (more) {
    if (!impl_->router.recv(part, zmq::recv_flags::none)) break;
    more = part.more();
    message.bytes += part.size();
    if (message.frames.size() == 3) continue;  // too many already; the core says so
    const auto owner = shared(std::move(part));
    message.frames.push_back({owner, {owner->data<std::uint8_t>(), owner->size()}});
  }
  return true;
}

RouterSocket::Sent RouterSocket::send(const Outgoing& message) {
  const bool two = !message.body.bytes.empty();
  try {
    zmq::message_t peer(message.peer.data(), message.peer.size());
    // The first frame decides: once it is taken, the others of the message are, too.
    if (!impl_->router.send(peer, zmq::send_flags::sndmore | zmq::send_flags::dontwait)) return Sent::would_block;
    zmq::message_t header = message_of(message.header);
    impl_->router.send(header, two ? zmq::send_flags::sndmore : zmq::send_flags::none);
    if (!two) return Sent::yes;
    zmq::message_t body = message_of(message.body);
    impl_->router.send(body, zmq::send_flags::none);
    return Sent::yes;
  } catch (const zmq::error_t& error) {
    if (error.num() == EHOSTUNREACH) return Sent::no_such_peer;
    throw;
  }
}

// zmq_poll() would ask each socket before and after. A descriptor of libzmq's tells of news only, and not even of that while
// nobody has found its socket empty: so every socket is asked for what is there already before its descriptor is trusted.
RouterSocket::Ready RouterSocket::wait(int wake_fd, int signal_fd, Duration timeout) {
  for (zmq::socket_t* const socket : {&impl_->router, &impl_->monitor}) {
    if ((socket->get(zmq::sockopt::events) & ZMQ_POLLIN) != 0) timeout = Duration(0);
  }
  pollfd items[] = {{impl_->router_fd, POLLIN, 0}, {impl_->monitor_fd, POLLIN, 0}, {wake_fd, POLLIN, 0}, {signal_fd, POLLIN, 0}};
  const auto seconds = std::chrono::floor<std::chrono::seconds>(timeout);
  const timespec left{seconds.count(), (timeout - seconds).count()};
  ::ppoll(items, std::size(items), &left, nullptr);
  zmq::message_t event;
  Ready ready{items[2].revents != 0, items[3].revents != 0, false};
  // Always, and whole: libzmq stops serving peers where nobody takes its events.
  while (impl_->monitor.recv(event, zmq::recv_flags::dontwait)) ready.disconnected = true;
  return ready;
}

void RouterSocket::close(std::chrono::milliseconds linger) {
  zmq_socket_monitor(impl_->router.handle(), nullptr, 0);
  impl_->monitor.close();
  impl_->router.set(zmq::sockopt::linger, static_cast<int>(linger.count()));
  impl_->router.close();
  impl_->context.close();
}

}  // namespace bus::broker
