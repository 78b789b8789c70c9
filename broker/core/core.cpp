#include "broker/core/core.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace bus::broker {

Core::Core(CoreOptions options, const PayloadTypes& types, const store::Identity& identity)
    : options_(std::move(options)),
      identity_(identity),
      types_(types),
      schemas_(types_),
      topics_(state_, options_.auto_create_topics),
      sessions_({options_.secret, identity.secret}),
      log_(reads_, [this] { delivery_.wake(); }),
      staging_(state_, sessions_, identity.log_id),
      schedule_(state_, staging_, reads_),
      snapshots_(state_, sessions_, staging_, reads_, identity.secret),
      intake_(state_, sessions_, staging_, reads_, schedule_, delivery_, snapshots_, types_, topics_, identity.secret),
      transient_names_(state_, identity.epoch),
      delivery_(state_, sessions_, staging_, reads_, log_, identity.epoch, identity.secret),
      retention_(state_, sessions_, staging_, reads_, log_, delivery_, identity.secret),
      requests_(options_.about, identity_, state_, sessions_, staging_, reads_, log_, intake_, delivery_, schedule_, snapshots_, retention_, types_, schemas_, topics_) {}
Core::~Core() = default;

// ---- recovery

Result<void> Core::recover(const store::Store& store, Now now) {
  using store::Table;
  const store::Head& head = store.head();
  for (const Table table : {Table::topics, Table::types, Table::publishers}) {
    auto rows = store.each_row(table, [&](auto key, auto value) { return state_.restore_row(table, key, value); });
    if (!rows) return rows;
  }
  auto groups = store.each_row(Table::groups, [&](auto key, auto value) { return delivery_.restore_group(key, value); });
  if (!groups) return groups;
  auto open = store.each_row(Table::open, [&](auto key, auto value) { return delivery_.restore_chunk(key, value, now); });
  if (!open) return open;
  auto dead = store.each_row(Table::dead, [&](auto key, auto value) { return delivery_.restore_letter(key, value); });
  if (!dead) return dead;
  auto retained = store.each_row(Table::retention, [&](auto key, auto value) { return retention_.restore_row(key, value); });
  if (!retained) return retained;
  auto registered = store.each_row(Table::schemas, [&](auto key, auto value) { return schemas_.restore_row(key, value); });
  if (!registered) return registered;
  auto settings = store.each_row(Table::topic_settings, [&](auto key, auto value) { return topics_.restore_row(key, value); });
  if (!settings) return settings;
  const auto scheduled = store.count_rows(Table::schedule);
  if (!scheduled) return scheduled.error();
  schedule_.start(*scheduled);
  log_.start(head.committed, store.trim().last + 1);
  staging_.start(head);
  auto records = store.each_record(head.replay_from, [&](const store::Record& record) { return state_.apply(record); });
  if (!records) return records;
  auto journal = store.each_journal(head.replay_batch, [&](std::uint64_t batch, std::string_view bytes) -> Result<void> {
    Reader reader(bytes);
    while (!reader.done()) {
      const auto kind = reader.get<JournalKind>();
      const auto number = reader.get<std::uint32_t>();
      const auto entry = reader.get_string();
      const bool used_up = kind == JournalKind::used_up && entry.size() == 8 && state_.publishers.has(number);
      if (!reader.ok() || (!used_up && kind != JournalKind::group)) {
        return Error{Code::damaged, "the journal of batch " + std::to_string(batch) + " cannot be read"};
      }
      if (used_up) state_.apply_used_up(number, load<std::uint64_t>(bytes_of(entry).data()));
      if (used_up) continue;
      if (auto applied = delivery_.apply_journal(batch, number, entry, now); !applied) return applied;
    }
    return {};
  });
  if (!journal) return journal;
  saved_.fill({head.replay_from - 1, head.replay_batch - 1});
  state_.keys.set_complete(head.replay_from == Position{1} && head.replay_batch == 1);
  delivery_.recovered(now);
  transient_names_.start(now.steady);
  retention_.start(store.trim(), now);
  requests_.start(now.steady);
  return {};
}

// ---- sessions

void Core::refuse(const Peer& peer, const Error& error, const wire::Message* message) {
  std::uint64_t request = 0, sequence = 0;
  std::uint32_t subscription = 0;
  if (message != nullptr) {
    if (const auto* ask = message->body_as_Request()) request = ask->request();
    if (const auto* publish = message->body_as_Publish()) sequence = publish->first_sequence();
    if (const auto* subscribe = message->body_as_Subscribe()) subscription = subscribe->subscription();
    if (const auto* settle = message->body_as_Settle()) {
      subscription = settle->subscription();
      request = settle->request();
    }
    if (const auto* credit = message->body_as_Credit()) subscription = credit->subscription();
    if (const auto* unsubscribe = message->body_as_Unsubscribe()) subscription = unsubscribe->subscription();
  }
  Buffer failure = wire::encode_failure(error, request, subscription, sequence);
  if (const Session* session = sessions_.find(peer)) return sessions_.send(session->id, std::move(failure));
  sessions_.send_to_peer(peer, std::move(failure));
}

namespace {

Result<void> check_frames(const wire::Message& message, std::size_t frames) {
  if ((frames == 2) == (message.body_type() == wire::Body::Publish)) return {};
  return Error{Code::malformed, "a Publish has two frames, every other message one"};
}

}  // namespace

void Core::receive(const Peer& peer, std::span<const Frame> frames, Now now) {
  if (frames.empty() || frames.size() > 2) {
    return refuse(peer, {Code::malformed, std::to_string(frames.size()) + " frames; a message has one or two"}, nullptr);
  }
  const Frame header = frames[0].aligned();
  const auto message = wire::parse(header.bytes);
  if (!message) return refuse(peer, message.error(), nullptr);
  if (auto fits = check_frames(**message, frames.size()); !fits) return refuse(peer, fits.error(), *message);
  if ((*message)->body_type() == wire::Body::Hello) return hello(peer, *(*message)->body_as_Hello(), now);
  Session* session = sessions_.find(peer);
  if (session == nullptr) {
    if ((*message)->body_type() == wire::Body::Bye) return;
    return refuse(peer, {Code::unknown_session, "say Hello first"}, *message);
  }
  session->heard = now.steady;
  if (auto done = dispatch(*session, **message, frames, now); !done) refuse(peer, done.error(), *message);
}

Result<void> Core::dispatch(Session& session, const wire::Message& message, std::span<const Frame> frames, Now now) {
  switch (message.body_type()) {
    case wire::Body::Ping: {
      wire::PongT pong;
      pong.nonce = message.body_as_Ping()->nonce();
      sessions_.send(session.id, wire::encode(pong));
      return {};
    }
    case wire::Body::Pong: return {};
    case wire::Body::Bye: return bye(session), Result<void>();
    case wire::Body::Publish: return intake_.publish(session, *message.body_as_Publish(), frames[1], now);
    case wire::Body::Subscribe: return delivery_.subscribe(session, *message.body_as_Subscribe(), now);
    case wire::Body::Unsubscribe: return delivery_.unsubscribe(session, message.body_as_Unsubscribe()->subscription());
    case wire::Body::Credit: return delivery_.credit(session, *message.body_as_Credit());
    case wire::Body::Settle: return delivery_.settle(session, *message.body_as_Settle(), now);
    case wire::Body::Request: return requests_.receive(session, *message.body_as_Request(), now);
    default: return Error{Code::malformed, std::string(wire::EnumNameBody(message.body_type())) + " is not for the broker"};
  }
}

void Core::hello(const Peer& peer, const wire::Hello& message, Now now) {
  if (message.protocol() != wire::protocol_version) {
    return refuse(peer, {Code::unsupported_version, "protocol " + std::to_string(message.protocol()) +
                                                        " was asked for; this broker speaks " +
                                                        std::to_string(wire::protocol_version)}, nullptr);
  }
  if (auto good = check_publisher(message); !good) return refuse(peer, good.error(), nullptr);
  if (message.resume() != 0) end(message.resume());
  if (const Session* before = sessions_.find(peer)) end(before->id);
  if (sessions_.size() >= limits::sessions_max) {
    return refuse(peer, {Code::too_many_sessions, "the broker serves " + std::to_string(limits::sessions_max) + " sessions"}, nullptr);
  }
  Session& session = sessions_.begin(peer, now.steady);
  if (message.client() != nullptr) session.client = message.client()->str().substr(0, limits::text_bytes_max);
  if (message.publisher() == nullptr && !message.transient()) return welcome(session, 0);
  claim(session, message, now);
}

// A refused name changes nothing.
Result<void> Core::check_publisher(const wire::Hello& message) {
  if (message.publisher() == nullptr) return {};
  const std::string name = message.publisher()->str();
  if (!wire::valid_name(name, limits::publisher_bytes_max)) {
    return Error{Code::bad_publisher, "a publisher's name has 1 to " + std::to_string(limits::publisher_bytes_max) +
                                          " printable bytes without spaces"};
  }
  if (TransientNames::has_form(name) != message.transient()) {
    return Error{Code::bad_publisher, "'" + name + "': names that begin with anonymous- are given by the broker, to transient "
                                          "publishers, which have no others"};
  }
  const Session* holder = sessions_.find(intake_.holder(name));
  const bool same = holder != nullptr && message.instance() != 0 && holder->instance == message.instance();
  if (same && holder->attempt > message.attempt()) {
    return Error{Code::unknown_session, "a later connection of this client has taken its place"};
  }
  if (!message.transient()) return {};
  const bool free = holder == nullptr && message.instance() != 0;
  if (same || (free && transient_names_.is_of(name, message.instance(), message.last_sequence()))) return {};
  return Error{Code::publisher_fenced, "'" + name + "' has gone to another client"};
}

// The session gets the name it wants, or any. Its Welcome follows.
void Core::claim(Session& session, const wire::Hello& message, Now now) {
  session.publisher = message.publisher() != nullptr ? message.publisher()->str() : transient_names_.next(now.steady);
  session.transient = message.transient();
  session.instance = message.instance();
  session.attempt = message.attempt();
  if (session.transient) transient_names_.taken(session.publisher);
  std::uint64_t batch = 0;
  const auto last_sequence = intake_.claim(session, batch);
  // Nothing about a sequence is said before it is durable.
  staging_.hold(batch, [this, id = session.id, last_sequence] {
    if (const Session* waiting = sessions_.find(id)) welcome(*waiting, last_sequence);
  });
}

void Core::welcome(const Session& session, std::uint64_t last_sequence) {
  wire::WelcomeT message;
  message.protocol = wire::protocol_version;
  message.session = session.id;
  message.broker = options_.about.version;
  message.log_id.assign(identity_.log_id.begin(), identity_.log_id.end());
  message.history = identity_.history;
  message.epoch = identity_.epoch;
  message.committed = number(log_.committed());
  message.last_sequence = last_sequence;
  message.fence = session.fence;
  message.window_events = limits::window_events;
  message.window_bytes = limits::window_bytes;
  message.event_bytes_max = limits::event_bytes_max;
  message.batch_bytes_max = limits::batch_bytes_max;
  message.batch_events_max = limits::batch_events_max;
  message.conditions_max = limits::conditions_max;
  message.snapshots_max = limits::snapshots_max;
  message.cancels_max = limits::schedule_ids_max;
  message.heartbeat_ms = static_cast<std::uint32_t>(limits::heartbeat / std::chrono::milliseconds(1));
  message.timeout_ms = static_cast<std::uint32_t>(limits::session_timeout / std::chrono::milliseconds(1));
  message.publisher = session.publisher;
  sessions_.send(session.id, wire::encode(message));
}

void Core::end(SessionId id, Ending ending) {
  const Session* session = sessions_.find(id);
  if (session == nullptr) return;
  if (intake_.drop(*session) && session->transient) {
    const Duration hold = ending == Ending::bye ? Duration(0) : Duration(limits::transient_hold);
    transient_names_.left(session->publisher, session->instance, session->heard + hold);
  }
  delivery_.drop(*session);
  requests_.drop(id);
  sessions_.end(id);
}

// The answer tells the peer that everything it said before has arrived.
void Core::bye(const Session& session) {
  const Peer peer = session.peer;
  end(session.id, Ending::bye);
  sessions_.send_to_peer(peer, wire::encode(wire::ByeT()));
}

void Core::gone(const Peer& peer) {
  if (const Session* session = sessions_.find(peer)) end(session->id);
}

void Core::probe(SteadyTime now) {
  sessions_.each([&](Session& session) {
    session.probed = now;
    sessions_.send(session.id, wire::encode(wire::PingT()));
  });
}

void Core::expire_sessions(SteadyTime now) {
  for (const SessionId id : sessions_.take_overflowed()) end(id);
  if (now < next_expiry_) return;
  next_expiry_ = now + std::chrono::seconds(1);
  std::vector<SessionId> silent;
  sessions_.each([&](Session& session) {
    if (now - session.heard > limits::session_timeout) return silent.push_back(session.id);
    // A dead connection shows when something is sent to it.
    if (now - session.heard <= limits::heartbeat || now - session.probed <= limits::heartbeat) return;
    session.probed = now;
    sessions_.send(session.id, wire::encode(wire::PingT()));
  });
  for (const SessionId id : silent) end(id);
}

// ---- time and reads

void Core::read_done(ReadResult result) {
  reads_.done(std::move(result));
  state_.keys.evict(limits::keys_resident_max);  // it may have brought some whose batch was dropped meanwhile
}

SteadyTime Core::tick(Now now) {
  expire_sessions(now.steady);
  SteadyTime next = next_expiry_;
  if (sessions_.retry()) {
    delivery_.wake();
    next = std::min(next, now.steady + std::chrono::milliseconds(2));
  }
  if (const auto due = delivery_.tick(now)) next = std::min(next, *due);
  const bool has_room = !intake_.log_full() && intake_.has_space(limits::schedule_taken_bytes_max);
  if (const auto due = schedule_.tick(now, has_room)) next = std::min(next, *due);
  if (const auto due = retention_.tick(now)) next = std::min(next, *due);
  if (const auto due = requests_.tick(now.steady)) next = std::min(next, *due);
  // What is due already is taken in this turn.
  if (const auto due = commit_due(now.steady); due && *due > now.steady) next = std::min(next, *due);
  if (delivery_.pump(now) || sessions_.any_full()) return now.steady;
  if (const auto due = delivery_.next_due()) next = std::min(next, *due);  // of what was delivered just now
  return next;
}

// ---- commits

// When the next commit should begin, if there is anything for it and none is under way.
std::optional<SteadyTime> Core::commit_due(SteadyTime now) const {
  if (staging_.committing()) return std::nullopt;
  if (staging_.has_changes()) return intake_.wait_until(now).value_or(now);
  const auto settlements = delivery_.commit_due(), removals = retention_.commit_due(now);
  return settlements && removals ? std::min(settlements, removals) : settlements ? settlements : removals;
}

std::optional<store::CommitBatch> Core::take_batch(Now now, bool all) {
  const auto due = commit_due(now.steady);
  if (!due || (*due > now.steady && !all)) return std::nullopt;
  retention_.join(staging_.has_changes() || delivery_.commit_due(), now.steady);
  bytes_since_step_ += staging_.staged_bytes();
  events_since_step_ += staging_.staged_events();
  ++batches_since_step_;
  const auto steps = std::max({bytes_since_step_ / (stretch_ * limits::checkpoint_step_bytes),
                               events_since_step_ / (stretch_ * limits::checkpoint_step_events),
                               batches_since_step_ / limits::checkpoint_step_batches});
  if (steps > 0) bytes_since_step_ = events_since_step_ = batches_since_step_ = 0;
  return build_batch(now, std::min<std::size_t>(steps, limits::key_shards), limits::checkpoint_bytes_max);
}

store::CommitBatch Core::take_final_batch(Now now, std::size_t steps) {
  BUS_CHECK(!staging_.committing());
  return build_batch(now, steps, ~std::size_t{0});
}

store::CommitBatch Core::build_batch(Now now, std::size_t steps, std::size_t bytes_max) {
  delivery_.journal();
  checkpoint(steps, bytes_max);
  store::Head replay;
  const auto by_position = [](const Saved& a, const Saved& b) { return a.position < b.position; };
  const auto by_batch = [](const Saved& a, const Saved& b) { return a.batch < b.batch; };
  replay.replay_from = std::min_element(saved_.begin(), saved_.end(), by_position)->position + 1;
  replay.replay_batch = std::min_element(saved_.begin(), saved_.end(), by_batch)->batch + 1;
  auto batch = staging_.take(now.wall, replay);
  bytes_since_step_ += batch.journal.size();
  std::sort(checkpoint_keys_.begin(), checkpoint_keys_.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  // Each key that is saved takes a part of a leaf with it. Saved less often, more of a leaf has changed each time.
  if (steps > 0) stretch_ = std::clamp<std::size_t>(checkpoint_keys_.size() / steps / limits::checkpoint_step_keys, 1, limits::checkpoint_stretch_max);
  batch.keys = std::exchange(checkpoint_keys_, {});
  intake_.taken(now.steady);
  return batch;
}

// Saves the next steps: their rows go into the batch being gathered. What they hold is as of this batch, but for the
// figures of topics, which know committed records only. A step of which groups have too much goes on with the next batch, and
// counts from where it began.
void Core::checkpoint(std::size_t steps, std::size_t bytes_max) {
  while (steps > 0 || step_under_way_) {
    if (!step_under_way_) {
      --steps;
      step_under_way_ = Saved{log_.committed(), staging_.batch() - 1};
      std::vector<store::Row> rows;
      state_.checkpoint(next_step_, rows);
      for (auto& row : rows) staging_.put_row(std::move(row));
      state_.keys.checkpoint(next_step_, staging_.batch(), checkpoint_keys_);
      delivery_.begin_checkpoint(next_step_);
    }
    if (!delivery_.go_on_with_checkpoint(bytes_max)) return;
    saved_[next_step_] = *std::exchange(step_under_way_, std::nullopt);
    next_step_ = (next_step_ + 1) % limits::key_shards;
  }
}

void Core::committed(SteadyTime now) {
  const auto records = staging_.committed();
  state_.keys.committed(staging_.committed_batch());
  for (const auto& record : records) {
    state_.count(*record);
    log_.append(record);
    delivery_.committed(*record);
  }
  retention_.committed(now);
  intake_.durable(now);
  staging_.release();
  intake_.committed();
  state_.keys.evict(limits::keys_resident_max);
}

}  // namespace bus::broker
