// The connection, publishing and requests; subscriptions are in client_core_subscriptions.cpp.
#include "client_core.hpp"

#include <algorithm>

#include "wire/event_codec.hpp"

namespace bus {

namespace {

using namespace std::chrono_literals;

constexpr Duration greeting_patience = 5s;  // until a connection that says nothing is given up for a fresh one
constexpr Duration publish_backoff_min = 5ms, publish_backoff_max = 500ms;

Error error_of(const wire::Failure& failure) {
  return {failure.code(), flatbuffers::GetString(failure.detail())};
}

// Said to a Hello, or to a Publish: waiting does not help.
bool is_final(Code code) {
  switch (code) {
    case Code::unsupported_version:
    case Code::bad_publisher:
    case Code::no_publisher:
    case Code::publisher_fenced:
    case Code::too_many_publishers:
    case Code::denied: return true;
    default: return false;
  }
}

}  // namespace

ClientCore::ClientCore(Options options, Events events)
    : options_(std::move(options)), events_(std::move(events)), random_(options_.seed), publisher_(options_.publisher),
      instance_(random_()), backoff_(options_.backoff_min) {}

// ---- the connection

ClientCore::Action ClientCore::take_action() { return std::exchange(action_, Action::none); }

void ClientCore::start(SteadyTime now) {
  state_ = State::greeting;
  due_ = now + greeting_patience;
  heard_ = said_ = now;
  action_ = Action::connect;
  wire::HelloT hello;
  hello.protocol = wire::protocol_version;
  hello.client = options_.name;
  hello.publisher = publisher_;
  hello.transient = options_.publisher.empty();
  hello.last_sequence = session_ ? session_->last_sequence : 0;
  hello.resume = session_ ? session_->session : 0;
  hello.instance = instance_;
  hello.attempt = ++attempt_;
  send(hello);
}

// Doubled each time up to the cap; jitter keeps clients from coming back all at once.
Duration ClientCore::next_backoff() {
  const auto most = std::max<Duration>(backoff_, 1ms);
  backoff_ = std::min(most * 2, options_.backoff_max);
  return most / 2 + Duration(static_cast<Duration::rep>(random_() % static_cast<std::uint64_t>((most / 2).count() + 1)));
}

void ClientCore::lost(const Error& why, SteadyTime now) {
  if (state_ == State::leaving) state_ = State::closed;
  if (state_ != State::greeting && state_ != State::ready) return;
  trouble_ = why;
  state_ = State::waiting;
  due_ = now + next_backoff();
  action_ = Action::disconnect;
  outgoing_.clear();
  for (Pending& pending : pending_) pending.sent = false;
  for (auto& [id, subscribed] : subscriptions_) {
    subscribed.was_unanswered = subscribed.was_unanswered || (subscribed.is_asked && !subscribed.was_started);
    subscribed.is_asked = subscribed.is_answered = false;
    doubt(subscribed, why);
    if (subscribed.group) subscribed.held_events = subscribed.held_bytes = 0;
    subscribed.listener->interrupted();
  }
  for (auto it = requests_.begin(); it != requests_.end();) {
    if (!it->second.sent) {
      ++it;
      continue;
    }
    auto node = requests_.extract(it++);
    node.mapped().done(Error{Code::disconnected, why.detail});
  }
}

void ClientCore::fail(const Error& why) {
  state_ = State::failed;
  action_ = Action::disconnect;
  outgoing_.clear();
  trouble_ = why;
  end_all(why);
  events_.failed(why);
}

void ClientCore::close() {
  if (is_over()) return;
  const bool has_session = state_ == State::ready;
  if (has_session) send(wire::ByeT());
  state_ = has_session ? State::leaving : State::closed;
  end_all({Code::closed, "the client was closed; what has no receipt may be stored or not"});
}

void ClientCore::end_all(const Error& why) {
  over_ = why;
  for (Pending& pending : std::exchange(pending_, {})) {
    for (const auto& done : pending.batch.done) {
      if (done) done(why);
    }
    events_.answered(pending.batch);
  }
  for (auto& [request, asked] : std::exchange(requests_, {})) asked.done(why);
  for (auto& [id, subscribed] : std::exchange(subscriptions_, {})) {
    for (auto& [request, flush] : subscribed.flushes) flush.done(why);
    subscribed.listener->ended(why);
  }
}

void ClientCore::heartbeat(SteadyTime now) {
  if (now - heard_ > std::chrono::milliseconds(session_->timeout_ms)) {
    return lost({Code::disconnected, "the broker was silent for " + std::to_string(session_->timeout_ms) + " ms"}, now);
  }
  if (now - said_ >= std::chrono::milliseconds(session_->heartbeat_ms)) send(wire::PingT());
}

SteadyTime ClientCore::tick(Now now) {
  if (is_over()) return SteadyTime::max();
  if (state_ == State::waiting) {
    if (now.steady < due_) return due_;
    start(now.steady);
  }
  if (state_ == State::greeting) {
    if (now.steady < due_) return due_;
    lost({Code::timed_out, "the broker did not answer"}, now.steady);
    return due_;
  }
  send_batches(now.steady);
  if (is_over()) return SteadyTime::max();
  send_requests();
  for (auto& [id, subscribed] : subscriptions_) {
    if (!subscribed.is_answered) continue;
    if (!subscribed.settlements.empty()) send_settlements(id, subscribed);
    send_credit(id, subscribed);
  }
  heartbeat(now.steady);
  if (state_ != State::ready) return due_;
  if (!outgoing_.empty()) said_ = now.steady;
  const auto next = said_ + std::chrono::milliseconds(session_->heartbeat_ms);
  const bool refused = !pending_.empty() && !pending_.back().sent;
  return refused ? std::min(next, publish_again_) : next;
}

void ClientCore::receive(const std::vector<Frame>& frames, Now now) {
  if (state_ != State::greeting && state_ != State::ready && state_ != State::leaving) return;
  if (frames.empty() || frames.size() > 2) return lost({Code::malformed, "the broker sent a message of too many frames"}, now.steady);
  const Frame header = frames[0].aligned();
  const auto message = wire::parse(header.bytes);
  if (!message) return lost(message.error(), now.steady);
  heard_ = now.steady;
  dispatch(**message, frames, now);
}

void ClientCore::dispatch(const wire::Message& message, const std::vector<Frame>& frames, Now now) {
  using wire::Body;
  const auto kind = message.body_type();
  if (state_ == State::leaving) {
    if (kind == Body::Bye) state_ = State::closed;
    return;
  }
  if (kind == Body::Welcome) return welcome(*message.body_as_Welcome(), now);
  if (kind == Body::Failure) return failure(*message.body_as_Failure(), now.steady);
  if (state_ != State::ready) return;
  const Frame body = frames.size() == 2 ? frames[1] : Frame();
  switch (kind) {
    case Body::Ping: {
      wire::PongT pong;
      pong.nonce = message.body_as_Ping()->nonce();
      return send(pong);
    }
    case Body::PublishResult: return results(*message.body_as_PublishResult(), now.steady);
    case Body::Subscribed: return started(*message.body_as_Subscribed());
    case Body::Deliver: return deliver(*message.body_as_Deliver(), body, now.steady);
    case Body::CaughtUp: return caught_up(*message.body_as_CaughtUp());
    case Body::SubscriptionEnd: return ended(*message.body_as_SubscriptionEnd());
    case Body::Settled: return settled(*message.body_as_Settled());
    case Body::Reply: return reply(*message.body_as_Reply(), frames);
    default: return;
  }
}

// What a Welcome says that should not be: another log, or one that has lost what it had acknowledged.
std::optional<Error> ClientCore::changed(const wire::WelcomeT& now) const {
  if (!session_) return std::nullopt;
  if (now.log_id != session_->log_id || now.history != session_->history) {
    return Error{Code::log_changed, "the broker serves another log, or an earlier state of it, than before"};
  }
  if (now.committed < session_->committed || now.last_sequence < last_receipted_) {
    return Error{Code::log_changed, "the broker's log ends before what it had acknowledged"};
  }
  if (now.publisher != publisher_ || now.last_sequence > std::max(last_submitted_, session_->last_sequence)) {
    return Error{Code::publisher_fenced, "somebody else publishes as '" + publisher_ + "'"};
  }
  return std::nullopt;
}

void ClientCore::welcome(const wire::Welcome& message, Now now) {
  if (state_ != State::greeting) return;
  wire::WelcomeT said;
  message.UnPackTo(&said);
  if (const auto wrong = changed(said)) return fail(*wrong);
  const auto first_last_sequence = session_ ? session_->last_sequence : said.last_sequence;
  session_ = said;
  session_->last_sequence = std::max(first_last_sequence, said.last_sequence);
  publisher_ = said.publisher;
  state_ = State::ready;
  backoff_ = options_.backoff_min;
  trouble_ = {};
  publish_again_ = now.steady;
  publish_backoff_ = {};
  events_.welcomed(said);
  for (auto& [id, subscribed] : subscriptions_) send_subscribe(id, subscribed);
}

void ClientCore::failure(const wire::Failure& message, SteadyTime now) {
  const Error error = error_of(message);
  if (state_ == State::greeting) return is_final(error.code) ? fail(error) : lost(error, now);
  if (error.code == Code::unknown_session) return lost(error, now);
  if (message.subscription() != 0) return subscription_failure(error, message.subscription(), message.request());
  if (message.request() != 0) {
    auto node = requests_.extract(message.request());
    if (!node.empty()) node.mapped().done(error);
    return;
  }
  if (message.sequence() != 0) return publish_failure(error, message.sequence(), now);
  lost(error, now);
}

// ---- publishing

void ClientCore::publish(Batch batch) {
  if (is_over()) {
    for (const auto& done : batch.done) {
      if (done) done(over_);
    }
    return events_.answered(batch);
  }
  last_submitted_ = std::max(last_submitted_, batch.last_sequence());
  pending_.push_back({std::move(batch)});
}

void ClientCore::send_batches(SteadyTime now) {
  if (now < publish_again_) return;
  for (Pending& pending : pending_) {
    if (pending.sent) continue;
    // After a reconnect the broker may be an older one.
    const Needs known{session_->conditions_max > 0, session_->snapshots_max > 0, session_->cancels_max > 0};
    if (auto good = check_needs(pending.batch.needs(), known, session_->broker); !good) return fail(good.error());
    outgoing_.push_back({Frame::of(publish_header(pending.batch, session_->fence)), pending.batch.body});
    pending.sent = true;
    said_ = now;
  }
}

// The batch was not taken, and so none after it is: a sequence would be missing. All go again, a little later.
void ClientCore::publish_failure(const Error& error, std::uint64_t sequence, SteadyTime now) {
  if (is_final(error.code)) return fail(error);
  const auto refused = std::find_if(pending_.begin(), pending_.end(),
                                    [&](const Pending& pending) { return pending.batch.first_sequence == sequence; });
  if (refused == pending_.end() || !refused->sent) return;  // it goes again anyway, with one before it
  trouble_ = error;
  // trimmed: as busd said once where nobody knows any more what became of one of them.
  if (error.code == Code::malformed || error.code == Code::batch_too_large || error.code == Code::trimmed) return fail(error);
  for (auto it = refused; it != pending_.end(); ++it) it->sent = false;
  publish_backoff_ = std::clamp<Duration>(publish_backoff_ * 2, publish_backoff_min, publish_backoff_max);
  publish_again_ = now + publish_backoff_;
}

void ClientCore::results(const wire::PublishResult& message, SteadyTime now) {
  const auto found = std::find_if(pending_.begin(), pending_.end(), [&](const Pending& pending) {
    return pending.batch.first_sequence == message.first_sequence();
  });
  if (found == pending_.end()) return;  // sent twice, and answered already
  if (message.receipts() == nullptr || message.receipts()->size() != found->batch.done.size()) {
    return lost({Code::malformed, "the broker's receipts do not fit what was published"}, now);
  }
  const Batch batch = std::move(found->batch);
  pending_.erase(found);
  trouble_ = {};
  publish_backoff_ = {};
  last_receipted_ = std::max(last_receipted_, batch.last_sequence());
  tell(batch, message);
  events_.answered(batch);
}

void ClientCore::tell(const Batch& batch, const wire::PublishResult& message) {
  std::map<std::uint64_t, const wire::Refusal*> refusals;
  if (message.refusals() != nullptr) {
    for (const auto* refusal : *message.refusals()) refusals.emplace(refusal->sequence(), refusal);
  }
  for (std::uint32_t at = 0; at < batch.done.size(); ++at) {
    if (!batch.done[at]) continue;
    const auto sequence = batch.first_sequence + at;
    const wire::Receipt& said = *message.receipts()->Get(at);
    if (said.position() != 0) {
      batch.done[at](Receipt{Position{said.position()}, said.version(), sequence, said.duplicate()});
      continue;
    }
    if (said.scheduled()) {
      batch.done[at](Receipt{Position::none, 0, sequence, said.duplicate(), publisher_ + "/" + std::to_string(sequence)});
      continue;
    }
    const auto refusal = refusals.find(sequence);
    const bool is_named = refusal != refusals.end();
    if (!is_named && (said.version() != 0 || batch.is_no_event(at))) {  // a snapshot, or a step without events
      batch.done[at](Receipt{Position::none, said.version(), sequence, said.duplicate()});
      continue;
    }
    batch.done[at](Error{is_named ? refusal->second->code() : Code::malformed,
                         is_named ? flatbuffers::GetString(refusal->second->detail()) : "",
                         is_named ? refusal->second->version() : 0});
  }
}

// ---- requests

std::uint64_t ClientCore::request(wire::AskUnion ask, AnswerCallback done) {
  if (is_over()) return done(over_), 0;
  requests_.emplace(++last_request_, Asked{std::move(ask), std::move(done)});
  return last_request_;
}

void ClientCore::send_requests() {
  for (auto& [number, asked] : requests_) {
    if (asked.sent) continue;
    asked.sent = true;
    wire::RequestT message;
    message.request = number;
    message.ask = asked.ask;
    send(message);
  }
}

void ClientCore::reply(const wire::Reply& message, const std::vector<Frame>& frames) {
  auto node = requests_.extract(message.request());
  if (node.empty()) return;  // given up meanwhile
  if (message.answer() == nullptr) return node.mapped().done(Error{Code::malformed, "the broker's answer is empty"});
  Client::Answer answer;
  answer.reply = std::make_unique<wire::ReplyT>();
  message.UnPackTo(answer.reply.get());
  if (frames.size() == 2) answer.body.assign(frames[1].bytes.begin(), frames[1].bytes.end());
  node.mapped().done(std::move(answer));
}

}  // namespace bus
