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
  remove.dead_letters = env_.random.percent(50);
  return ask_of(std::move(remove));
}

wire::AskUnion SimOperator::edit() {
  wire::GroupEditT edit;
  edit.name = env_.random.pick(groups_);
  edit.settings = std::make_unique<wire::GroupSettingsT>();
  if (env_.random.percent(50)) edit.settings->sharing = static_cast<wire::Sharing>(env_.random.below(5));  // one too many
  if (env_.random.percent(50)) edit.settings->member_in_flight_max = static_cast<std::uint32_t>(env_.random.below(10));
  return ask_of(std::move(edit));
}

wire::AskUnion SimOperator::settle_letters() {
  wire::DeadLettersSettleT settle;
  settle.group = env_.random.pick(groups_);
  for (auto position = 1 + env_.random.below(5); position <= env_.ledger.head(); position += 1 + env_.random.below(3)) settle.positions.push_back(position);
  settle.action = env_.random.percent(70) ? wire::DeadAction::redrive : wire::DeadAction::drop;
  settle.again = env_.random.percent(50);
  return ask_of(std::move(settle));
}

wire::AskUnion SimOperator::schedule_question() {
  const auto event = env_.ledger.any_scheduled(env_.random.below(1000));
  if (!event || env_.random.percent(30)) return ask_of(wire::ScheduleRequestT());
  auto id = std::make_unique<wire::ScheduleIdT>();
  id->publisher = event->first;
  id->sequence = event->second;
  if (env_.random.percent(30)) {
    wire::ScheduleGetT get;
    get.id = std::move(id);
    return ask_of(std::move(get));
  }
  if (env_.random.percent(50)) {
    wire::ScheduleRunT run;
    run.id = std::move(id);
    return ask_of(std::move(run));
  }
  wire::ScheduleCancelT cancel;
  cancel.ids.push_back(std::move(id));
  return ask_of(std::move(cancel));
}

wire::AskUnion SimOperator::snapshot_question() {
  const auto key = env_.random.pick(std::vector<std::string>{"k1", "k2", "k3", "w1", "w2"});
  if (erases_ && env_.random.percent(40)) {
    wire::SnapshotsEraseT erase;
    erase.key = key;
    return ask_of(std::move(erase));
  }
  wire::SnapshotGetT get;
  get.key = key;
  return ask_of(std::move(get));
}

wire::AskUnion SimOperator::question() {
  switch (env_.random.below(30)) {
    case 24: case 25: case 26: case 27: case 28: case 29: return snapshot_question();
    case 20: case 21: case 22: case 23: return schedule_question();
    case 12: case 13: return edit();
    case 14: {
      wire::GroupPendingT pending;
      pending.name = env_.random.pick(groups_);
      pending.blocking = env_.random.percent(50);
      return ask_of(std::move(pending));
    }
    case 15: {
      wire::DeadLettersRequestT letters;
      letters.group = env_.random.pick(groups_);
      letters.brief = env_.random.percent(50);
      return ask_of(std::move(letters));
    }
    case 16: {
      wire::DeadLetterGetT letter;
      letter.group = env_.random.pick(groups_);
      letter.position = env_.random.below(env_.ledger.head() + 2);
      return ask_of(std::move(letter));
    }
    case 17: case 18: return settle_letters();
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
                        code == Code::bad_filter || code == Code::bad_settings || code == Code::group_busy || code == Code::bad_request ||
                        code == Code::conflict || code == Code::log_full || code == Code::trimmed;
  require(expected, name_ + " got " + EnumNameCode(code) + ": " + failure->detail()->str());
  require(waiting_.erase(failure->request()) == 1, name_ + " got a Failure for no question");
}

}  // namespace bus::sim
