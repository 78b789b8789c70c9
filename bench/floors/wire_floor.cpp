#include "bench/floors/wire_floor.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include <zmq.hpp>

namespace bus::bench {

namespace {

constexpr std::chrono::milliseconds patience(30'000);

void wait_for(zmq::socket_t& socket, short events) {
  zmq::pollitem_t item{socket.handle(), 0, events, 0};
  if (zmq::poll(&item, 1, patience) == 0) throw std::runtime_error("for 30 s no frame has moved over the Unix socket");
}

// The bodies of a whole window, one after the other, so that they come from memory and not from a cache.
class Bodies {
 public:
  explicit Bodies(const Frames& frames)
      : bytes_(frames.body_bytes), count_(std::max<std::size_t>(1, frames.window_bytes / frames.body_bytes)), text_(bytes_ * count_) {
    for (std::size_t at = 0; at < text_.size(); ++at) text_[at] = static_cast<char>(at * 2654435761u >> 11);
  }

  // Not copied, as libbus does not copy a body either.
  zmq::message_t at(std::uint64_t number) {
    return zmq::message_t(text_.data() + number % count_ * bytes_, bytes_, [](void*, void*) {}, nullptr);
  }

 private:
  std::size_t bytes_, count_;
  std::vector<char> text_;
};

// Answers each message. Returns after the last.
void answer(zmq::socket_t& router, const Frames& frames) {
  const std::string text(frames.answer_bytes, 'a');
  zmq::message_t peer, part;
  for (std::uint64_t done = 0; done < frames.messages; ++done) {
    while (!router.recv(peer, zmq::recv_flags::dontwait)) wait_for(router, ZMQ_POLLIN);
    for (bool more = peer.more(); more; more = part.more()) static_cast<void>(router.recv(part, zmq::recv_flags::none));
    router.send(peer, zmq::send_flags::sndmore);
    router.send(zmq::buffer(text), zmq::send_flags::none);
  }
}

void ask(zmq::socket_t& dealer, Bodies& bodies, const Frames& frames) {
  const std::string header(frames.header_bytes, 'h');
  const auto ahead_max = std::max<std::uint64_t>(1, frames.window_bytes / frames.body_bytes);
  std::uint64_t sent = 0, answered = 0;
  zmq::message_t got;
  while (answered < frames.messages) {
    bool blocked = false;
    while (!blocked && sent < frames.messages && sent - answered < ahead_max) {
      zmq::message_t first(header.data(), header.size());
      blocked = !dealer.send(first, zmq::send_flags::sndmore | zmq::send_flags::dontwait);
      if (blocked) break;
      auto body = bodies.at(sent++);
      dealer.send(body, zmq::send_flags::none);
    }
    const auto before = answered;
    while (dealer.recv(got, zmq::recv_flags::dontwait)) ++answered;
    if (answered == before) wait_for(dealer, blocked ? ZMQ_POLLIN | ZMQ_POLLOUT : ZMQ_POLLIN);
  }
}

}  // namespace

double exchange(const Frames& frames) {
  // An abstract address: there is no file to take away.
  const auto endpoint = "ipc://@bus-floor-" + std::to_string(getpid());
  Bodies bodies(frames);  // outlives the contexts, whose threads read it
  zmq::context_t there_context{1}, here_context{1};
  zmq::socket_t router(there_context, zmq::socket_type::router), dealer(here_context, zmq::socket_type::dealer);
  dealer.set(zmq::sockopt::linger, 0);
  router.bind(endpoint);
  dealer.connect(endpoint);
  const auto begun = std::chrono::steady_clock::now();
  std::exception_ptr failed;
  std::thread server([&] {
    try {
      answer(router, frames);
    } catch (...) {
      failed = std::current_exception();
    }
  });
  try {
    ask(dealer, bodies, frames);
  } catch (...) {
    server.join();  // it gives up, too, after as long
    throw;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  server.join();
  if (failed) std::rethrow_exception(failed);
  return took.count();
}

}  // namespace bus::bench
