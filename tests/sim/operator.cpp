#include "tests/sim/operator.hpp"

namespace bus::sim {

namespace {

template <typename T>
wire::AskUnion ask_of(T what) {
  wire::AskUnion ask;
  ask.Set(std::move(what));
  return ask;
}

}  // namespace

void SimOperator::ask(wire::AskUnion what) {
  wire::RequestT request;
  request.request = next_request_++;
  request.ask = std::move(what);
  waiting_.insert(request.request);
  send(request);
}

void SimOperator::work() {
  if (env_.calm) return;
  if (env_.random.percent(3)) return send_garbage();
  if (waiting_.size() >= 5) return;
  if (meddles_) return ask(env_.random.percent(40) ? remove() : seek());
  if (env_.random.percent(30)) ask(question());
}

wire::AskUnion SimOperator::seek() {
  wire::GroupSeekT seek;
  seek.name = env_.random.pick(groups_);
  switch (env_.random.below(4)) {
    case 0: seek.to = wire::Start::start; break;
    case 1: seek.to = wire::Start::end; break;
    case 2: seek.to = wire::Start::last; seek.to_value = static_cast<std::int64_t>(env_.random.below(30)); break;
    default:
      seek.to = wire::Start::position;
      seek.to_value = static_cast<std::int64_t>(env_.random.below(env_.ledger.head() + 3));
  }
  return ask_of(std::move(seek));
}

wire::AskUnion SimOperator::remove() {
  wire::GroupRemoveT remove;
  remove.name = env_.random.pick(groups_);
  return ask_of(std::move(remove));
}

wire::AskUnion SimOperator::question() {
  switch (env_.random.below(12)) {
    case 0: return ask_of(wire::StatusRequestT());
    case 1: return ask_of(wire::TopicsRequestT());
    case 2: case 3: {
      wire::GroupsRequestT groups;
      groups.name = env_.random.pick(groups_);
      return ask_of(std::move(groups));
    }
    case 4: case 5: return seek();
    case 6: return remove();
    case 7: return ask_of(wire::LogVerifyT());
    case 8: return ask_of(wire::LogStatRequestT());
    default: {
      wire::EventGetT get;
      get.position = env_.random.below(env_.ledger.head() + 2);
      return ask_of(std::move(get));
    }
  }
}

// Bad input gets a clear error and changes nothing.
void SimOperator::send_garbage() {
  Buffer frame(env_.random.below(80), 0);
  for (auto& byte : frame) byte = static_cast<std::uint8_t>(env_.random.below(256));
  if (env_.random.percent(50)) {
    frame = wire::encode(wire::PublishT());
    frame.resize(env_.random.below(frame.size()));
  }
  std::vector<Buffer> frames(env_.random.between(1, 3), frame);
  send_frames(std::move(frames));
}

void SimOperator::take(const wire::Message& message, Bytes) {
  if (const auto* reply = message.body_as_Reply()) {
    require(waiting_.erase(reply->request()) == 1, name_ + " got an answer to no question");
  }
  const auto* failure = message.body_as_Failure();
  if (failure == nullptr || failure->request() == 0) return;
  const Code code = failure->code();
  const bool expected = code == Code::unknown_group || code == Code::not_found || code == Code::beyond_end ||
                        code == Code::bad_filter;
  require(expected, name_ + " got " + EnumNameCode(code) + ": " + failure->detail()->str());
  require(waiting_.erase(failure->request()) == 1, name_ + " got a Failure for no question");
}

}  // namespace bus::sim
