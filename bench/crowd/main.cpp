// bench-crowd: company for a broker that is measured. Makes groups that nobody is a member of, and sessions that do nothing
// but stay, until it is told to end. Prints "ready" once all are there. Read by bench/compare.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>
#include <zmq.hpp>

#include "bus/client.hpp"
#include "wire/message.hpp"

namespace {

using namespace std::chrono_literals;
using namespace bus;

// Well within the broker's patience.
constexpr auto sign_of_life = 3s;

volatile std::sig_atomic_t stopping = 0;

void make_groups(const std::string& server, unsigned count, const std::string& topic) {
  ClientOptions options;
  options.server = server;
  auto client = Client::connect(options).value();
  for (unsigned at = 0; at < count && !stopping; ++at) {
    client.subscribe({.patterns = {topic}, .group = "crowd-" + std::to_string(at)}, [](const Event&) {}).value().close();
  }
}

// Sessions are DEALER sockets without a client library around them: thousands fit into one thread.
class Sessions {
 public:
  Sessions(const std::string& server, unsigned count) {
    context_.set(zmq::ctxopt::max_sockets, static_cast<int>(count) + 16);
    for (unsigned at = 0; at < count && !stopping; ++at) {
      auto& socket = sockets_.emplace_back(context_, zmq::socket_type::dealer);
      socket.set(zmq::sockopt::linger, 0);
      socket.connect(server);
      wire::HelloT hello;
      hello.protocol = wire::protocol_version;
      hello.client = "crowd";
      send(socket, wire::encode(hello));
      if (at % 100 == 99) wait_for_answer(socket);  // in portions, as the broker has a backlog of connections
    }
    for (auto& socket : sockets_) wait_for_answer(socket);
  }
  void show_life() {
    const auto ping = wire::encode(wire::PingT());
    for (auto& socket : sockets_) {
      zmq::message_t said;
      while (socket.recv(said, zmq::recv_flags::dontwait)) {}
      send(socket, ping);
    }
  }

 private:
  static void send(zmq::socket_t& socket, const Buffer& message) {
    if (!socket.send(zmq::buffer(message.data(), message.size()), zmq::send_flags::dontwait)) throw std::runtime_error("a session takes nothing");
  }
  void wait_for_answer(zmq::socket_t& socket) {
    zmq::pollitem_t item{socket.handle(), 0, ZMQ_POLLIN, 0};
    if (zmq_poll(&item, 1, std::chrono::milliseconds(30s).count()) != 1 && !stopping) throw std::runtime_error("the broker gives a session no Welcome");
  }

  zmq::context_t context_{1};
  std::vector<zmq::socket_t> sockets_;
};

// Each session takes two descriptors.
void allow_many_files() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app{"bench-crowd: groups without members and idle sessions, for a broker that is measured"};
  std::string server, topic = "bench";
  unsigned groups = 0, sessions = 0;
  app.add_option("--server", server, "the broker")->required();
  app.add_option("--groups", groups, "groups without members")->capture_default_str();
  app.add_option("--topic", topic, "that they want")->capture_default_str();
  app.add_option("--sessions", sessions, "sessions that do nothing")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  for (const int signal : {SIGTERM, SIGINT}) std::signal(signal, [](int) { stopping = 1; });
  allow_many_files();
  if (groups > 0) make_groups(server, groups, topic);
  Sessions crowd(server, sessions);
  std::puts("ready");
  std::fflush(stdout);
  while (!stopping) {
    std::this_thread::sleep_for(sign_of_life);
    crowd.show_life();
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "bench-crowd: %s\n", error.what());
  return 1;
}
