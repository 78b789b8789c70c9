#include "tests/sim/client.hpp"

namespace bus::sim {

void any_id(wire::EventT& event, Env& env) {
  const auto newest = env.ledger.head() / 8;
  const auto number = env.random.percent(70) ? newest + env.random.below(10) : env.random.below(newest + 10);
  event.source = env.random.percent(30) ? "s" : "";
  event.id = "once-" + std::to_string(number);
}

void SimClient::act() {
  if (!link_) return connect();
  if (!link_->to_client.empty() && (env_.calm || env_.random.percent(70))) return take_message();
  if (!link_->up && link_->to_client.empty()) {
    end_session();
    link_.reset();
    return;
  }
  keep_alive();
  if (session_ != 0) work();
}

void SimClient::connect() {
  link_ = env_.network.connect(name_);
  say_hello();
}

void SimClient::say_hello() {
  wire::HelloT hello;
  hello.protocol = wire::protocol_version;
  hello.client = name_;
  hello.publisher = publisher_;
  if (env_.random.percent(50)) hello.resume = last_session_;
  heard_at_ = env_.now.steady;
  send(hello);
}

void SimClient::send_frames(std::vector<Buffer> frames) {
  if (!link_->up) return;
  sent_at_ = env_.now.steady;
  link_->to_core.push_back(std::move(frames));
}

void SimClient::keep_alive() {
  if (env_.now.steady - heard_at_ > limits::session_timeout) return env_.network.lose(*link_);
  if (env_.now.steady - sent_at_ > limits::heartbeat) send(wire::PingT());
}

void SimClient::end_session() {
  if (session_ == 0) return;
  last_session_ = session_;
  session_ = 0;
  end();
}

void SimClient::take_message() {
  const broker::Outgoing outgoing = std::move(link_->to_client.front());
  link_->to_client.pop_front();
  heard_at_ = env_.now.steady;
  const auto parsed = wire::parse(outgoing.header.bytes);
  require(parsed.ok(), name_ + " received a message that does not verify");
  const wire::Message& message = **parsed;
  if (message.body_type() == wire::Body::Ping) return send(wire::PongT());
  if (const auto* welcome = message.body_as_Welcome()) {
    end_session();
    session_ = welcome->session();
    return begin(*welcome);
  }
  const auto* failure = message.body_as_Failure();
  if (failure != nullptr && failure->code() == Code::unknown_session) {
    if (session_ == 0) return;  // said of what was sent before the Hello that is under way
    end_session();
    return say_hello();
  }
  if (session_ != 0) take(message, outgoing.body.bytes);
}

}  // namespace bus::sim
