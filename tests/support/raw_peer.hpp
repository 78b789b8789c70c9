// RawPeer is a DEALER socket without libbus: it says what a good client never would.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "wire/message.hpp"

namespace bus::test {

class RawPeer {
 public:
  explicit RawPeer(const std::string& endpoint) {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::rcvtimeo, 10'000);
    socket_.set(zmq::sockopt::sndtimeo, 10'000);
    socket_.set(zmq::sockopt::reconnect_ivl, 5);
    socket_.connect(endpoint);
  }

  void send(const std::vector<Buffer>& frames) {
    for (std::size_t at = 0; at < frames.size(); ++at) {
      zmq::message_t part(frames[at].data(), frames[at].size());
      ASSERT_TRUE(socket_.send(part, at + 1 < frames.size() ? zmq::send_flags::sndmore : zmq::send_flags::none));
    }
  }
  template <typename T>
  void say(const T& message, Buffer body = {}) {
    std::vector<Buffer> frames = {wire::encode(message)};
    if (!body.empty()) frames.push_back(std::move(body));
    send(frames);
  }
  // Sends without waiting; false if it would block.
  bool try_send(const Buffer& header, const Buffer& body) {
    zmq::message_t first(header.data(), header.size()), second(body.data(), body.size());
    if (!socket_.send(first, zmq::send_flags::dontwait | zmq::send_flags::sndmore)) return false;
    return socket_.send(second, zmq::send_flags::none).has_value();
  }

  // The next message that is neither Ping nor Pong; frames stay valid until the next call. Null after 10 s of silence.
  const wire::Message* hear() {
    for (;;) {
      frames_.clear();
      for (bool more = true; more;) {
        zmq::message_t part;
        if (!socket_.recv(part)) return nullptr;
        more = part.more();
        frames_.emplace_back(part.data<std::uint8_t>(), part.data<std::uint8_t>() + part.size());
      }
      const auto message = wire::parse(frames_[0]);
      if (!message) return nullptr;
      if ((*message)->body_type() == wire::Body::Ping) {
        say(wire::PongT());
        continue;
      }
      if ((*message)->body_type() != wire::Body::Pong) return *message;
    }
  }
  // The next message of one kind; others before it are passed over.
  const wire::Message* hear(wire::Body kind) {
    const wire::Message* message = hear();
    while (message != nullptr && message->body_type() != kind) message = hear();
    return message;
  }
  // The code of the next Failure.
  Code hear_failure() {
    const auto* message = hear(wire::Body::Failure);
    return message != nullptr ? message->body_as_Failure()->code() : Code::timed_out;
  }
  wire::WelcomeT hello(const std::string& publisher = "") {
    wire::HelloT hello;
    hello.protocol = wire::protocol_version;
    hello.client = "raw";
    hello.publisher = publisher;
    say(hello);
    wire::WelcomeT welcome;
    const auto* message = hear(wire::Body::Welcome);
    EXPECT_NE(message, nullptr) << "no Welcome";
    if (message != nullptr) message->body_as_Welcome()->UnPackTo(&welcome);
    return welcome;
  }

 private:
  zmq::context_t context_{1};
  zmq::socket_t socket_{context_, zmq::socket_type::dealer};
  std::vector<Buffer> frames_;
};

}  // namespace bus::test
