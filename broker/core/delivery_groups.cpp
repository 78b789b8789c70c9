// The part of Delivery that keeps what groups know: settlements, deadlines, the failures and dead letters that come of them,
// the search for the next event of a key, and all of it on disk.
#include <algorithm>

#include "base/check.hpp"
#include "broker/core/delivery.hpp"

namespace bus::broker {

// ---- settlement

inline Code Delivery::settle_one(Source& source, MemberId member, const wire::Settlement& settlement, std::string_view said, Now now) {
  const auto text = [said] { return std::string(said); };
  ConsumerGroup& group = source.group->state;
  const Position position{settlement.position()};
  const auto attempt = settlement.attempt();
  switch (settlement.verdict()) {
    case wire::Verdict::ack: return group.ack(member, position, attempt);
    case wire::Verdict::extend: return group.extend(member, position, attempt, text(), now.steady);
    case wire::Verdict::nack: return group.nack(member, position, attempt, std::chrono::milliseconds(settlement.delay_ms()), text(), now);
    case wire::Verdict::reject: return group.reject(member, position, attempt, text(), now);
    case wire::Verdict::release: return group.release(member, position, attempt);
    case wire::Verdict::ack_up_to: return group.ack_up_to(member, position, attempt);
  }
  return Code::malformed;
}

// What can be said before anything is changed.
Result<void> Delivery::check(const wire::Settle& message) {
  const auto* settlements = message.settlements();
  const auto count = settlements != nullptr ? settlements->size() : 0;
  if (count > limits::settlements_max) {
    return Error{Code::malformed, "more than " + std::to_string(limits::settlements_max) + " settlements in one message"};
  }
  std::uint64_t next = 0;
  for (std::uint32_t at = 0; message.texts() != nullptr && at < message.texts()->size(); ++at) {
    const auto* text = message.texts()->Get(at);
    if (text->settlement() < next || text->settlement() >= count) {
      return Error{Code::malformed, "the texts of a Settle are in the order of its settlements, one each at most"};
    }
    next = std::uint64_t{text->settlement()} + 1;
    if (text->text() != nullptr && text->text()->size() > limits::error_bytes_max) {
      return Error{Code::malformed, "an error or note has " + std::to_string(limits::error_bytes_max) + " bytes at most"};
    }
  }
  return {};
}

Result<void> Delivery::settle(Session& session, const wire::Settle& message, Now now) {
  auto found = owned_group(session, message.subscription());
  if (!found) return found.error();
  Source& source = **found;
  if (auto good = check(message); !good) return good;
  wire::SettledT reply;
  reply.subscription = message.subscription();
  reply.request = message.request();
  const MemberId member{session.id, message.subscription()};
  const bool current = message.epoch() == epoch_of(source);
  const auto* settlements = message.settlements();
  const auto* texts = message.texts();
  std::uint32_t next_text = 0, up_to = 0;
  for (std::uint32_t at = 0; settlements != nullptr && at < settlements->size(); ++at) {
    const wire::Settlement& settlement = *settlements->Get(at);
    const bool has_text = texts != nullptr && next_text < texts->size() && texts->Get(next_text)->settlement() == at;
    const auto* said = has_text ? texts->Get(next_text++)->text() : nullptr;
    const auto text = said != nullptr ? said->string_view() : std::string_view();
    const bool is_one_more = settlement.verdict() == wire::Verdict::ack_up_to && ++up_to > 1;  // each looks at all that is open
    const Code code = is_one_more ? Code::malformed : current ? settle_one(source, member, settlement, text, now) : Code::stale_ack;
    if (code == Code::ok) continue;
    reply.refused.emplace_back(settlement.position(), settlement.attempt(), code);
    source.group->state.count_stale();
    ++counters_.stale_acks;
  }
  changed(source, now);
  if (source.group->state.settled_since_journal()) {
    commit_soon(message.request() != 0 ? now.steady : now.steady + limits::settle_delay);
  }
  if (message.request() == 0 && reply.refused.empty()) return {};
  const auto batch = source.group->state.settled_since_journal() ? staging_.batch() : staging_.batch() - 1;
  const SessionId id = session.id;
  auto answer = std::make_shared<wire::SettledT>(std::move(reply));
  const bool wait = message.request() != 0;
  staging_.hold(wait ? batch : 0, [this, id, answer] { sessions_.send(id, wire::encode(*answer)); });
  return {};
}

Result<Source*> Delivery::owned_group(Session& session, std::uint32_t subscription) {
  auto found = owned(session, subscription);
  if (!found) return found.error();
  if ((*found)->source->group) return (*found)->source;
  return Error{Code::unknown_subscription, "a plain subscription has nothing to settle"};
}

Result<void> Delivery::may_settle(Session& session, const wire::SettleT& message) {
  auto source = owned_group(session, message.subscription);
  if (!source) return source.error();
  const bool current = message.epoch == epoch_of(**source);
  for (const auto& settlement : message.settlements) {
    const MemberId member{session.id, message.subscription};
    const Position position{settlement.position()};
    const Code code = current ? (*source)->group->state.may_settle(member, position, settlement.attempt()) : Code::stale_ack;
    if (code == Code::ok) continue;
    (*source)->group->state.count_stale();
    ++counters_.stale_acks;
    return Error{code, "position " + std::to_string(settlement.position()) + " is no longer held by this member of group '" +
                           (*source)->group->name + "' as attempt " + std::to_string(settlement.attempt())};
  }
  return {};
}

void Delivery::settle_step(Session& session, const wire::SettleT& message, Now now) {
  Source& source = **owned_group(session, message.subscription);
  auto text = message.texts.begin();
  for (std::uint32_t at = 0; at < message.settlements.size(); ++at) {
    const bool has_text = text != message.texts.end() && (*text)->settlement == at;
    const std::string_view said = has_text ? std::string_view((*text++)->text) : std::string_view();
    const Code code = settle_one(source, {session.id, message.subscription}, message.settlements[at], said, now);
    BUS_CHECK(code == Code::ok);  // may_settle() has said so
  }
  changed(source, now);
}

void Delivery::commit_soon(SteadyTime due) { commit_due_ = std::min(commit_due_.value_or(due), due); }

void Delivery::touch(Source& source) {
  touched_.insert(&source);
  make_ready(source);
}

// After whatever may have settled, failed or freed an event of the group.
void Delivery::changed(Source& source, Now now) {
  ConsumerGroup& group = source.group->state;
  if (group.has_incidents()) keep_incidents(source, now);
  for (auto& search : group.take_searches()) to_search_.push_back({source.group->number, std::move(search), Position::none, {}, false});
  if (!to_search_.empty()) search_on();
  if (const auto due = group.next_due()) next_due_ = std::min(next_due_, *due);
  touch(source);
}

// With the commit that holds the change of the group.
void Delivery::keep_incidents(Source& source, Now now) {
  Group& group = *source.group;
  using Fate = ConsumerGroup::Incident::Fate;
  for (auto& incident : group.state.take_incidents()) {
    const Session* session = sessions_.find(incident.member.session);
    FailureRow failure{incident.attempt, now.wall, incident.cause, session != nullptr ? session->client : "", std::move(incident.error)};
    if (failure.error.empty() && failure.cause == Cause::ack_wait) failure.error = "was not acknowledged in time";
    staging_.put_row({store::Table::failures, failure_key(group.number, incident.position, incident.failure), failure.encode()});
    if (incident.failure > limits::failures_kept_max) {
      const auto oldest = incident.failure - static_cast<std::uint32_t>(limits::failures_kept_max);
      staging_.put_row({store::Table::failures, failure_key(group.number, incident.position, oldest), std::nullopt});
    }
    if (incident.fate != Fate::parked && incident.fate != Fate::stopped) continue;
    const DeadLetterRow row{now.wall, incident.cause, incident.fate == Fate::stopped, incident.attempt, incident.failure,
                            incident.returns, incident.redrives, incident.event, std::move(failure.error)};
    staging_.put_row({store::Table::dead, event_key(group.number, incident.position), row.encode()});
  }
  for (const Position position : group.state.take_forgotten()) {
    staging_.put_row({store::Table::failures, event_key(group.number, position), std::nullopt, event_key(group.number, position + 1)});
  }
}

std::optional<SteadyTime> Delivery::tick(Now now) {
  if (std::exchange(failures_, false)) commit_soon(now.steady + limits::settle_delay);
  if (now.steady < next_due_) return next_due();
  next_due_ = SteadyTime::max();
  for (auto& [name, source] : groups_) {
    ConsumerGroup& group = source->group->state;
    if (const auto due = group.tick(now)) next_due_ = std::min(next_due_, *due);
    failures_ = failures_ || group.settled_since_journal();
    if (group.has_ready() || group.changed_since_journal()) changed(*source, now);
  }
  return next_due();
}

// ---- dead letters

Code Delivery::redrive(Source& source, Position position, const DeadLetterRow& row, bool again, Now now) {
  if (row.redrives > 0 && !again) return Code::conflict;
  Group& group = *source.group;
  const Code code = group.state.redrive({position, row.event.key, row.attempt, row.failures, row.returns, row.redrives + 1});
  if (code != Code::ok) return code;
  staging_.put_row({store::Table::dead, event_key(group.number, position), std::nullopt});
  changed(source, now);
  return code;
}

Code Delivery::drop(Source& source, Position position, Now now) {
  Group& group = *source.group;
  const Code code = group.state.drop(position);
  if (code != Code::ok) return code;
  staging_.put_row({store::Table::dead, event_key(group.number, position), std::nullopt});
  staging_.put_row({store::Table::failures, event_key(group.number, position), std::nullopt, event_key(group.number, position + 1)});
  changed(source, now);
  return code;
}

// ---- replay

Code Delivery::replay(Source& source, const store::Record& record, Position position, Now now) {
  if (!record.holds(position)) return Code::trimmed;
  const auto at = static_cast<std::uint32_t>(position - record.first());
  const auto match = match_kind(source, record, record.kind_of(at));
  if (match == Match::no) return Code::not_found;
  if (record.is_removed(at)) return source.filter.may_match_removed(record, at) ? Code::trimmed : Code::not_found;
  const bool is_over = match == Match::until_it_expires && has_expired(record, at, now);
  if (is_over || !source.filter.matches_event(record, at)) return Code::not_found;
  const Rank rank = rank_of(record.kind(record.kind_of(at)).priority);
  const Code code = source.group->state.replay(position, record.key_hash(at), rank);
  if (code != Code::ok) return code;
  changed(source, now);
  commit_soon(now.steady);
  return code;
}

// ---- searches: a few at a time, in the order in which they were asked for

void Delivery::search_on() {
  while (!to_search_.empty() && searching_ < limits::searches_in_flight_max) {
    Searching next = std::move(to_search_.front());
    to_search_.pop_front();
    const auto last = next.from == Position::none ? state_.keys.find(next.what.key) : std::nullopt;
    if (last) next.from = last->position;
    if (last && last->position <= next.what.after) {
      searched(std::move(next), ReadAnswer(store::KeySlice()));
    } else if (next.from > head()) {  // staged: it can be read once it is committed
      const auto batch = staging_.committing() ? staging_.batch() - 1 : staging_.batch();
      staging_.hold(batch, [this, next = std::move(next)] {
        to_search_.push_back(next);
        search_on();
      });
    } else {
      search(std::move(next));
    }
  }
}

void Delivery::search(Searching search) {
  ++searching_;
  ReadKeyChain ask{search.what.key, search.from, search.what.after, limits::lane_found_max};
  reads_.ask(std::move(ask), [this, search = std::move(search)](Result<ReadAnswer> answer) mutable {
    --searching_;
    searched(std::move(search), std::move(answer));
    search_on();
  });
}

void Delivery::searched(Searching search, Result<ReadAnswer> answer) {
  const auto it = by_number_.find(search.group);
  if (it == by_number_.end()) return;
  Source& source = *it->second;
  ConsumerGroup& group = source.group->state;
  if (!group.is_wanted(search.what)) return;
  if (!answer) {
    group.search_again(search.what);  // once somebody joins again
    return damaged(source, answer.error());
  }
  auto& slice = std::get<store::KeySlice>(*answer);
  // What lies behind the end of the search came to mind by then, or will; and each slice is older than the one before.
  std::erase_if(slice.positions, [&](Position position) { return position > search.what.up_to; });
  search.found.insert(search.found.begin(), slice.positions.begin(), slice.positions.end());
  search.is_cut = search.is_cut || slice.is_cut || search.found.size() > limits::lane_found_max;
  if (search.found.size() > limits::lane_found_max) search.found.resize(limits::lane_found_max);
  if (slice.next != Position::none) {
    search.from = slice.next;
    return this->search(std::move(search));
  }
  group.found(search.what, search.found, search.is_cut && !search.found.empty() ? search.found.back() : search.what.up_to);
  for (auto& next : group.take_searches()) to_search_.push_back({search.group, std::move(next), Position::none, {}, false});
  failures_ = true;
  touch(source);
}

// ---- commits

void Delivery::journal() {
  if (staging_.row_bytes() > limits::failure_bytes_max) wake();
  for (Source* source : touched_) {
    Group& group = *source->group;
    if (!group.state.changed_since_journal()) continue;
    const auto changes = group.state.take_journal();
    if (group.created_batch == staging_.batch()) {
      // Made and changed in one batch: recovery takes its rows for the whole truth, so that has to be.
      staging_.put_row(row(*source));
      for (const auto chunk : group.state.take_changed_chunks()) staging_.put_row(chunk_row(group, chunk));
      continue;
    }
    staging_.put_journal(JournalKind::group, group.number, changes);
    group.unsaved = true;
  }
  touched_.clear();
  commit_due_.reset();
}

store::Row Delivery::row(const Source& source) {
  const Group& group = *source.group;
  Writer writer;
  writer.put_string(group.name).put(nanoseconds(group.created_at)).put(group.created_batch);
  group.state.settings().put(writer);
  Filter::put(writer, source.filter.spec());
  writer.put_string(group.state.head());
  return {store::Table::groups, number_key(group.number), writer.take()};
}

store::Row Delivery::chunk_row(Group& group, std::uint64_t chunk) {
  auto bytes = group.state.save_chunk(chunk);
  return {store::Table::open, event_key(group.number, Position{chunk}), bytes.empty() ? std::nullopt : std::optional(std::move(bytes))};
}

void Delivery::begin_checkpoint(std::size_t step) {
  for (const auto& [number, source] : by_number_) {
    Group& group = *source->group;
    if (number % limits::key_shards != step) continue;
    if (source->following && group.state.scan() < head()) {
      group.state.advance(head());
      group.unsaved = true;
    }
    if (!group.unsaved) continue;
    if (group.state.changed_since_journal()) staging_.put_journal(JournalKind::group, number, group.state.take_journal());
    staging_.put_row(row(*source));
    for (const auto chunk : group.state.take_changed_chunks()) to_save_.emplace_back(number, chunk);
    group.unsaved = false;
  }
}

// Chunks are saved as they are by now, so rows may be newer than journals that will be applied to them: whatever those bring
// back, later ones take away again. What changes meanwhile is for the next round.
bool Delivery::go_on_with_checkpoint(std::size_t bytes_max) {
  for (std::size_t bytes = 0; !to_save_.empty(); to_save_.pop_front()) {
    const auto it = by_number_.find(to_save_.front().first);
    if (it == by_number_.end()) continue;
    if (bytes > bytes_max) return false;
    auto chunk = chunk_row(*it->second->group, to_save_.front().second);
    bytes += 64 + chunk.key.size() + (chunk.value ? chunk.value->size() : 0);
    staging_.put_row(std::move(chunk));
  }
  return true;
}

// ---- recovery

Result<void> Delivery::restore_group(std::string_view key, std::string_view value) {
  Reader reader(value);
  auto group = std::make_unique<Group>(Group{key_number(key), std::string(reader.get_string()), {}, {{}, {}}});
  group->created_at = wall_time(reader.get<std::int64_t>());
  group->created_batch = reader.get<std::uint64_t>();
  const auto settings = GroupSettings::get(reader);
  auto spec = Filter::get(reader);
  auto state = ConsumerGroup::restore(settings, reader.get_string());
  if (!reader.done() || !state || !settings.check() || groups_.contains(group->name)) return bad_row("groups");
  group->state = std::move(*state);
  auto source = std::make_unique<Source>(Filter(std::move(spec), key_secret_));
  by_number_[group->number] = source.get();
  last_group_ = std::max(last_group_, group->number);
  source->group = std::move(group);
  add_source(*source);
  const auto name = source->group->name;
  groups_.emplace(name, std::move(source));
  return {};
}

Result<void> Delivery::restore_chunk(std::string_view key, std::string_view value, Now now) {
  const auto it = by_number_.find(group_of_key(key));
  if (it == by_number_.end() || !it->second->group->state.restore_chunk(number(position_of_key(key)), value, now)) return bad_row("open");
  return {};
}

Result<void> Delivery::restore_letter(std::string_view key, std::string_view value) {
  const auto it = by_number_.find(group_of_key(key));
  const auto row = DeadLetterRow::decode(value);
  if (it == by_number_.end() || !row || position_of_key(key) == Position::none) return bad_row("dead");
  it->second->group->state.restore_letter(position_of_key(key), row->attempt);
  return {};
}

Result<void> Delivery::apply_journal(std::uint64_t batch, std::uint32_t number, std::string_view bytes, Now now) {
  const auto it = by_number_.find(number);
  if (it == by_number_.end()) return {};  // removed since
  Group& group = *it->second->group;
  if (batch <= group.created_batch) return {};
  group.unsaved = true;
  if (group.state.apply_journal(bytes, now)) return {};
  return Error{Code::damaged, "the journal of batch " + std::to_string(batch) + " cannot be read for group " + group.name};
}

void Delivery::recovered(Now now) {
  next_due_ = SteadyTime::min();
  for (auto& [name, source] : groups_) {
    source->group->state.recovered();
    changed(*source, now);
  }
}

}  // namespace bus::broker
