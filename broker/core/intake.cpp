#include "broker/core/intake.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace bus::broker {

namespace {

// Among a million keys each is far from all others in memory: so it is fetched while so many events before it are staged.
constexpr std::size_t keys_ahead = 8;

}  // namespace

std::uint64_t Intake::last_staged(const std::string& name) const {
  const auto number = state_.publishers.find(name);
  return number ? state_.publishers[*number].last_sequence : 0;
}

std::uint64_t Intake::claim(Session& session, std::uint64_t& batch) {
  Publisher& publisher = publishers_[session.publisher];
  forget(publisher.parked);
  pacer_.left(publisher.habit);
  const bool in_line = publisher.in_line;
  publisher = {};
  publisher.in_line = in_line;
  publisher.holder = session.id;
  publisher.fence = session.fence = next_fence_++;
  publisher.accepted = last_staged(session.publisher);
  const auto number = state_.publishers.find(session.publisher);
  batch = number ? state_.publishers[*number].last_batch : 0;
  return publisher.accepted;
}

SessionId Intake::holder(const std::string& publisher) const {
  const auto it = publishers_.find(publisher);
  return it == publishers_.end() ? 0 : it->second.holder;
}

bool Intake::drop(const Session& session) {
  const auto it = publishers_.find(session.publisher);
  if (it == publishers_.end() || it->second.holder != session.id) return false;
  forget(it->second.parked);
  pacer_.left(it->second.habit);
  publishers_.erase(it);
  return true;
}

// They will not be staged.
void Intake::forget(std::deque<Parked>& parked) {
  const bool holds_schedule = !parked.empty() && parked.front().holds_schedule;
  for (const Parked& batch : parked) parked_bytes_ -= batch.bytes;
  parked.clear();
  if (holds_schedule) schedule_.release();
}

// ---- taking a batch

Result<void> Intake::admit(const Session& session, const Publisher& publisher, const wire::Publish& message,
                           std::size_t bytes) const {
  if (draining_) return Error{Code::shutting_down, "the broker is stopping; publish again once it is back"};
  if (publisher.holder != session.id || message.fence() != session.fence) {
    return Error{Code::publisher_fenced, "a newer session publishes as '" + session.publisher + "'"};
  }
  if (bytes > limits::batch_bytes_max || message.count() > limits::batch_events_max) {
    return Error{Code::batch_too_large, std::to_string(message.count()) + " events in " + std::to_string(bytes) + " bytes"};
  }
  if (message.count() == 0 || message.first_sequence() == 0) {
    return Error{Code::malformed, "a batch has at least one event, and sequences begin with 1"};
  }
  if (publisher.accepted == 0 && state_.publishers.size() >= limits::publishers_max) {
    return Error{Code::too_many_publishers, "the broker knows as many publishers as it may"};
  }
  if (message.first_sequence() > publisher.accepted + 1) {
    return Error{Code::sequence_gap, "sequence " + std::to_string(publisher.accepted + 1) + " comes next, not " +
                                         std::to_string(message.first_sequence())};
  }
  if (log_full_) return Error{Code::log_full, "no space is left for events; free some, or move the log to a larger disk"};
  if (publisher.window_bytes + bytes > limits::window_bytes ||
      publisher.window_events + message.count() > limits::window_events) {
    return Error{Code::busy, "more than the window allows was sent without waiting for receipts"};
  }
  if (!has_room(publisher, bytes)) {
    return Error{Code::busy, "the broker holds as much uncommitted data as it may, or this publisher its share; send again a little later"};
  }
  return {};
}

// Several publishers that send as fast as they can would take all there is, and a small one would find nothing. So who has
// something on the way may hold a few times what is free, and no more: many are held back early, one alone is not; and
// the last part is for those that have nothing on the way.
bool Intake::has_room(const Publisher& publisher, std::size_t bytes) const {
  const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(limits::staged_bytes_max, admissible_bytes_));
  const auto used = staging_.bytes() + parked_bytes_;
  if (publisher.window_bytes == 0) return used + bytes <= most;
  const auto shared = limits::shared_bytes(most);
  if (used + bytes > shared) return false;
  return publisher.window_bytes + bytes <= limits::staged_share * (shared - used);
}

// Rows take more space than a record does, and conditions and settlements take memory, so a batch that has some counts for more than its
// bytes. One alone is taken while the file can still grow.
Result<void> Intake::admit_scheduled(const Parked& batch) const {
  if (batch.bytes == batch.body.bytes.size() || has_space(batch.bytes)) return {};
  if (space_full_ && batch.bytes > admissible_bytes_) return Error{Code::log_full, "no space is left for so many scheduled events and snapshots; free some, or send fewer at once"};
  if (staging_.bytes() + parked_bytes_ == 0) return {};
  return Error{Code::busy, "scheduled events, snapshots, conditions and settlements take more space than is free just now; send again a little later"};
}

// A row takes a page or two of its own, and its pages stay.
Result<void> Intake::admit_rows(std::size_t bytes) const {
  const std::size_t taken = 2 * bytes + limits::schedule_row_bytes;
  if (log_full_ || (space_full_ && taken > admissible_bytes_)) return Error{Code::log_full, "no space is left on the disk for it; free some"};
  const bool is_alone = staging_.bytes() + parked_bytes_ + staging_.row_bytes() == 0;
  if (is_alone || (has_space(taken) && staging_.row_bytes() <= limits::commit_bytes_max)) return {};
  return Error{Code::busy, "it takes more space than is free just now; ask again a little later"};
}

// Null: there is none of this name now.
const PayloadTypes::Type* Intake::payload_type(std::uint32_t number) {
  if (number >= payload_types_.size()) payload_types_.resize(number + 1, nullptr);
  return payload_types_[number] = types_.find(state_.types.name(number));
}

// The event of an item; fills in the rest of it. A topic that is known was checked when it was new.
Result<void> Intake::check(Item& item, WallTime now) {
  if (load<std::uint32_t>(item.event.data()) == 0) return Error{Code::skipped, "the publisher gave up this sequence"};
  wire::Envelope envelope;
  if (auto good = wire::read_envelope(item.event, envelope); !good) return good;
  item.topic = item.is_snapshot ? 0 : state_.topics.find(envelope.topic).value_or(0);
  if (item.topic == 0 && !item.is_snapshot) {
    if (auto good = check_new_topic(envelope.topic); !good) return good;
  }
  if (!item.is_snapshot) {
    if (auto good = topics_.admit(item.topic, envelope.topic, envelope.type); !good) return good;
  }
  item.type = state_.types.find(envelope.type).value_or(0);
  const auto* type = item.type < payload_types_.size() ? payload_types_.data()[item.type] : nullptr;
  if (type == nullptr) type = item.type != 0 ? payload_type(item.type) : types_.find(envelope.type);
  if (type == nullptr) return PayloadTypes::unknown(envelope.type);
  if (!PayloadTypes::verify(*type, envelope.payload)) return PayloadTypes::bad_payload(envelope.type);
  item.is_deprecated = type->deprecated != nullptr;
  item.priority = static_cast<std::uint8_t>(envelope.priority);
  item.flags = envelope.expires_at != 0 ? store::format::expires : 0;
  if (envelope.deliver_at > nanoseconds(now)) {
    item.deliver_at = envelope.deliver_at;
    item.added_at = nanoseconds(now);
  }
  if (item.is_scheduled() && wall_time(item.deliver_at) - now > limits::schedule_ahead_max) {
    return Error{Code::bad_event, "deliver_at is more than " + std::to_string(limits::schedule_ahead_max / std::chrono::hours(24)) + " days ahead; it is in nanoseconds since 1970"};
  }
  if (item.is_snapshot) {
    if (auto good = check_snapshot(envelope); !good) return good;
  }
  item.has_key = envelope.has_key;
  if (item.has_key) item.key = hash128(bytes_of(envelope.key), key_secret_);
  return {};
}

Result<Intake::Parked> Intake::unpack(const wire::Publish& message, Frame body, Now now) {
  Parked batch;
  batch.came = now;
  batch.body = body.aligned();
  batch.bytes = batch.body.bytes.size();
  batch.first_sequence = message.first_sequence();
  batch.items.reserve(message.count());
  if (auto good = take_snapshots(message, batch); !good) return good.error();
  auto next_snapshot = batch.snapshots.begin();
  wire::EventCursor cursor(batch.body.bytes);
  while (!cursor.done()) {
    auto event = cursor.next();
    if (!event) return event.error();
    if (batch.items.size() == message.count()) return Error{Code::malformed, "the body has more events than its header says"};
    Item& item = batch.items.emplace_back();
    item.event = *event;
    item.is_snapshot = next_snapshot != batch.snapshots.end() && next_snapshot->event() + 1 == batch.items.size();
    if (item.is_snapshot) ++next_snapshot;
    if (auto good = check(item, now.wall); !good) {
      batch.refused.emplace(batch.items.size() - 1, good.error());
      item = {};
    }
    if (item.is_scheduled()) batch.bytes += item.event.size() + limits::schedule_row_bytes;  // pages of rows are half full
    if (item.is_snapshot) batch.bytes += item.event.size() + limits::snapshot_row_bytes;
  }
  if (batch.items.size() != message.count()) return Error{Code::malformed, "the body has fewer events than its header says"};
  if (auto good = take_steps(message, batch); !good) return good.error();
  if (auto good = take_conditions(message, batch); !good) return good.error();
  return batch;
}

Result<void> Intake::publish(Session& session, const wire::Publish& message, Frame body, Now now) {
  if (session.publisher.empty()) return Error{Code::no_publisher, "the Hello of this session named no publisher"};
  const auto found = publishers_.find(session.publisher);
  if (found == publishers_.end()) return Error{Code::publisher_fenced, "a newer session published as '" + session.publisher + "'"};
  Publisher& publisher = found->second;
  if (auto admitted = admit(session, publisher, message, body.bytes.size()); !admitted) return admitted;
  auto batch = unpack(message, std::move(body), now);
  if (!batch) return batch.error();
  if (auto fits = admit_scheduled(*batch); !fits) return fits;
  pacer_.published(publisher.habit, now.steady);
  parked_bytes_ += batch->bytes;
  publisher.window_bytes += batch->body.bytes.size();
  publisher.window_events += batch->items.size();
  publisher.accepted = std::max(publisher.accepted, batch->last_sequence());
  publisher.parked.push_back(std::move(*batch));
  const std::string name = session.publisher;
  advance(name);
  return {};
}

// ---- from parked to staged

void Intake::advance(const std::string& name) {
  const auto it = publishers_.find(name);
  if (it == publishers_.end()) return;
  Publisher& publisher = it->second;
  while (!publisher.parked.empty()) {
    Parked& batch = publisher.parked.front();
    if (batch.waiting || publisher.in_line) return;
    if (find_duplicates(name, batch) || find_cold_keys(name, batch) || find_cancels(name, batch)) {
      batch.waiting = true;
      return;
    }
    if (!fits_commit(batch)) {
      publisher.in_line = true;
      return line_.push_back(name);
    }
    stage(name, publisher, batch);
    if (batch.holds_schedule) schedule_.release();
    parked_bytes_ -= batch.bytes;
    Parked done = std::move(batch);
    publisher.parked.pop_front();
    answer(publisher.holder, name, done);
  }
}

Intake::Parked* Intake::waiting_front(const std::string& name) {
  const auto it = publishers_.find(name);
  if (it == publishers_.end() || it->second.parked.empty()) return nullptr;
  Parked& batch = it->second.parked.front();
  batch.waiting = false;
  return &batch;
}

// True if heads of keys must be waited for.
bool Intake::find_cold_keys(const std::string& name, Parked& batch) {
  std::vector<Hash128> ask;
  bool wait = false;
  for (std::size_t at = batch.has_unique_ids ? 0 : batch.receipts.size(); at < batch.items.size(); ++at) {
    const Item& item = batch.items[at];
    const bool is_open = at >= batch.receipts.size();
    if (is_open && item.has_key && !item.is_scheduled()) wait |= find_cold_key(name, item.key, ask);
    if (wants_id(batch, at)) wait |= find_cold_key(name, batch.condition_keys[item.unique_id - 1u].hash, ask);
  }
  for (const auto& condition : batch.conditions) {
    const auto at = condition.event();
    if (at >= batch.receipts.size() && !batch.items[at].event.empty()) wait |= find_cold_key(name, key_of(batch, condition), ask);
  }
  for (auto left = std::span<const Hash128>(ask); !left.empty();) {
    const auto part = left.first(std::min(left.size(), limits::key_reads_max));
    ask_keys({part.begin(), part.end()});
    left = left.subspan(part.size());
  }
  return wait;
}

bool Intake::find_cold_key(const std::string& name, const Hash128& key, std::vector<Hash128>& ask) {
  if (state_.keys.is_known(key)) return false;
  auto [it, fresh] = cold_.try_emplace(key);
  if (fresh) ask.push_back(key);
  if (it->second.empty() || it->second.back() != name) it->second.push_back(name);
  return true;
}

void Intake::ask_keys(std::vector<Hash128> keys) {
  ReadKeyHeads ask{keys};
  reads_.ask(std::move(ask), [this, keys = std::move(keys)](Result<ReadAnswer> answer) { take_keys(keys, std::move(answer)); });
}

void Intake::take_keys(const std::vector<Hash128>& keys, Result<ReadAnswer> answer) {
  if (!answer && keys.size() > 1) {  // which of them? The others are to be known all the same
    const auto middle = keys.begin() + static_cast<std::ptrdiff_t>(keys.size() / 2);
    ask_keys({keys.begin(), middle});
    return ask_keys({middle, keys.end()});
  }
  std::vector<std::string> waiting;
  for (std::size_t at = 0; at < keys.size(); ++at) {
    auto node = cold_.extract(keys[at]);
    for (auto& name : node.mapped()) waiting.push_back(std::move(name));
    if (!answer) continue;
    const auto& head = std::get<std::vector<std::optional<store::KeyHead>>>(*answer)[at];
    state_.keys.install(keys[at], head ? Keys::Head{head->position, head->version} : Keys::Head{});
  }
  std::sort(waiting.begin(), waiting.end());
  waiting.erase(std::unique(waiting.begin(), waiting.end()), waiting.end());
  for (const auto& name : waiting) {
    if (waiting_front(name) == nullptr) continue;
    if (!answer) fail_key(name, keys[0], answer.error());
    advance(name);
  }
}

// The item's id is to be unique, and whether it is decides on its answer. Not of one whose step was refused before.
bool Intake::wants_id(const Parked& batch, std::size_t at) {
  if (batch.items[at].unique_id == 0) return false;
  return at >= batch.receipts.size() || (batch.refused.contains(at) && step_of(batch, at) == nullptr);
}

// The head of a key cannot be read, and without its version an event cannot be placed. Other than a duplicate, such an
// event was never stored, so a refusal is true. It is right where the log is damaged: that does not pass, and the
// publisher's events of other keys need not wait for an operator. Any other failure may pass: the batch is given back.
void Intake::fail_key(const std::string& name, const Hash128& key, const Error& error) {
  Parked& batch = publishers_.at(name).parked.front();
  std::vector<std::size_t> wanted_by;
  for (std::size_t at = batch.receipts.size(); at < batch.items.size(); ++at) {
    const Item& item = batch.items[at];
    if (item.has_key && !item.is_scheduled() && item.key == key) wanted_by.push_back(at);
  }
  for (std::size_t at = 0; batch.has_unique_ids && at < batch.items.size(); ++at) {
    if (wants_id(batch, at) && batch.condition_keys[batch.items[at].unique_id - 1u].hash == key) wanted_by.push_back(at);
  }
  for (const auto& condition : batch.conditions) {
    const bool is_open = condition.event() >= batch.receipts.size() && !batch.items[condition.event()].event.empty();
    if (is_open && key_of(batch, condition) == key) wanted_by.push_back(condition.event());
  }
  if (!wanted_by.empty() && error.code != Code::damaged) return give_back(name, error);
  for (const auto at : wanted_by) {
    if (!batch.items[at].event.empty()) refuse(batch, at, error);  // else it went with another of its step
  }
}

bool Intake::fits_commit(const Parked& batch) const {
  return batch.receipts.size() == batch.items.size() || staging_.fits(batch.bytes);
}

// In the order they came, each with what fits; who has more stands behind the others then. One that does not fit is the
// first the next time.
void Intake::taken(SteadyTime now) {
  pacer_.began(now);
  for (auto turns = line_.size(); turns > 0; --turns) {
    const auto it = publishers_.find(line_.front());
    const bool waits = it != publishers_.end() && it->second.in_line && !it->second.parked.empty();
    if (waits && !fits_commit(it->second.parked.front())) return;
    const std::string name = std::move(line_.front());
    line_.pop_front();
    if (it != publishers_.end()) it->second.in_line = false;
    if (waits) advance(name);
  }
}

inline Result<void> Intake::stage(const Item& item, Staging::NewEntry& entry, wire::Receipt& receipt) {
  entry.topic = item.topic != 0 ? item.topic : staging_.topic(wire::trusted_event(item.event)->topic()->string_view());
  entry.type = item.type != 0 ? item.type : staging_.type(wire::trusted_event(item.event)->type()->string_view());
  entry.priority = item.priority;
  entry.flags = item.flags;
  entry.key = item.has_key ? &item.key : nullptr;
  entry.body = item.event;
  if (item.is_scheduled()) {
    if (auto scheduled = schedule(item, entry); !scheduled) return scheduled;
    receipt = {0, 0, false, true};
    return {};
  }
  const Staged staged = staging_.stage(entry);
  receipt = {number(staged.position), staged.version, false, false};
  ++counters_.events;
  return {};
}

void Intake::stage(const std::string& name, Publisher& publisher, Parked& batch) {
  take_duplicate_ids(batch);
  if (batch.receipts.size() == batch.items.size()) return;
  batch.answered_after = staging_.batch();
  Session* session = sessions_.find(publisher.holder);
  BUS_CHECK(session != nullptr && session->publisher == name);  // drop() would have taken the batch with it
  Staging::NewEntry entry;
  entry.publisher = staging_.publisher(*session);
  const auto begun = batch.receipts.size();
  const bool is_free = batch.conditions.empty() && batch.steps.empty() && batch.snapshots.empty() && !batch.has_unique_ids;
  Ahead ahead;
  batch.receipts.reserve(batch.items.size());
  for (std::size_t at = begun; at < batch.items.size(); ++at) {
    if (!is_free) decide(*session, batch, at, ahead);
    const Item& item = batch.items[at];
    if (at + keys_ahead < batch.items.size()) state_.keys.prefetch(batch.items[at + keys_ahead].key);
    wire::Receipt& receipt = batch.receipts.emplace_back();
    if (ahead.duplicate) {
      receipt = *std::exchange(ahead.duplicate, std::nullopt);
      batch.items[at] = {};
      ++counters_.duplicates;
      continue;
    }
    if (item.event.empty()) {
      ++counters_.refused;
      continue;
    }
    entry.sequence = batch.first_sequence + at;
    if (item.is_snapshot) {
      keep(batch, at, entry, receipt);
      if (item.is_deprecated) note_deprecated(item, name);
      continue;
    }
    if (item.is_no_event) {
      keep_step(entry);
      continue;
    }
    entry.unique_id = item.unique_id != 0 ? &batch.condition_keys[item.unique_id - 1u].hash : nullptr;
    if (auto staged = stage(item, entry, receipt); !staged) {
      refuse(batch, at, staged.error());
      ++counters_.refused;
      continue;
    }
    if (item.is_deprecated) note_deprecated(item, name);
  }
  const Item& last = batch.items.back();
  if (last.event.empty() || last.is_scheduled() || last.is_snapshot || last.is_no_event) staging_.use_up(entry.publisher, batch.last_sequence());
}

// It is not in the log yet; its place and version come when it is due.
Result<void> Intake::schedule(const Item& item, const Staging::NewEntry& entry) {
  if (schedule_.is_full()) return Schedule::full();
  schedule_.add({wall_time(item.deliver_at), {entry.publisher, entry.sequence}, wall_time(item.added_at), entry.topic, entry.type, entry.priority, entry.flags,
                 item.has_key ? item.key : Hash128{}, entry.body});
  staging_.add_bytes(2 * item.event.size() + limits::schedule_row_bytes);
  return {};
}

// Only the answer waits for the commit: the events are in the records by now, and what was refused is let go.
void Intake::answer(SessionId session, const std::string& name, const Parked& batch) {
  auto done = [this, session, name, bytes = batch.body.bytes.size(), events = batch.items.size(), result = Frame::of(result_of(batch))] {
    const auto it = publishers_.find(name);
    if (it != publishers_.end() && it->second.holder == session) {
      it->second.window_bytes -= bytes;
      it->second.window_events -= events;
      if (it->second.window_events == 0) pacer_.answered(it->second.habit);
    }
    sessions_.send(session, result);
  };
  staging_.hold(batch.answered_after, std::move(done));
}

Buffer Intake::result_of(const Parked& batch) {
  flatbuffers::FlatBufferBuilder builder(128 + batch.receipts.size() * sizeof(wire::Receipt));
  const auto receipts = builder.CreateVectorOfStructs(batch.receipts);
  std::vector<flatbuffers::Offset<wire::Refusal>> refusals;
  refusals.reserve(batch.refused.size());
  auto room = limits::refusal_details_bytes_max;
  for (const auto& [at, error] : batch.refused) {
    const bool fits = error.detail.size() + 8 <= room;
    const auto detail = builder.CreateSharedString(fits ? error.detail : "");
    if (fits) room -= error.detail.size() + 8;
    refusals.push_back(wire::CreateRefusal(builder, batch.first_sequence + at, error.code, detail, error.version));
  }
  const auto refused = builder.CreateVector(refusals);
  const auto result = wire::CreatePublishResult(builder, batch.first_sequence, receipts, refused);
  wire::FinishMessageBuffer(builder, wire::CreateMessage(builder, wire::Body::PublishResult, result.Union()));
  return copy_of({builder.GetBufferPointer(), builder.GetSize()});
}

void Intake::committed() {
  while (!waiting_for_commit_.empty() && waiting_for_commit_.begin()->first <= staging_.committed_batch()) {
    auto node = waiting_for_commit_.extract(waiting_for_commit_.begin());
    for (const auto& name : node.mapped()) {
      if (waiting_front(name) != nullptr) advance(name);
    }
  }
}

void Intake::set_space(const store::Space& space, std::size_t reserve_bytes) {
  // Pages, index and checkpoints come on top of the bodies: a quarter covers them.
  const auto admissible = [&](std::uint64_t kept) {
    const auto beyond = space.free_bytes > kept ? space.free_bytes - kept : 0;
    return beyond - beyond / 4;
  };
  admissible_bytes_ = admissible(reserve_bytes);
  // LMDB uses freed pages again, but does not always find them: then a commit goes into the reserve, of which half may be taken.
  if (space.reusable_bytes > 0) admissible_bytes_ = std::max(admissible_bytes_, std::min(space.reusable_bytes / 2, admissible(reserve_bytes / 2)));
  space_full_ = space.full;
  staging_.keep_key_pages(!space.full);
  log_full_ = space.full && admissible_bytes_ < limits::batch_bytes_max;
}

}  // namespace bus::broker
