#include "tests/sim/ledger.hpp"

#include <algorithm>

#include "wire/event_codec.hpp"

namespace bus::sim {

using broker::Core;
using broker::Peer;

void require(bool holds, const std::string& what) {
  if (!holds) throw Violation(what);
}

bool matches(const std::string& pattern, const std::string& topic) {
  if (pattern == ">") return true;
  const auto pattern_dot = pattern.find('.'), topic_dot = topic.find('.');
  const auto token = pattern.substr(0, pattern_dot);
  if (token != "*" && token != topic.substr(0, topic_dot)) return false;
  if (pattern_dot == std::string::npos || topic_dot == std::string::npos) return pattern_dot == topic_dot;
  return matches(pattern.substr(pattern_dot + 1), topic.substr(topic_dot + 1));
}

Ledger::Figures& Ledger::Figures::operator+=(const Figures& other) {
  steps += other.steps;
  conflicts += other.conflicts;
  stale += other.stale;
  known_ids += other.known_ids;
  snapshots += other.snapshots;
  pruned += other.pruned;
  erased += other.erased;
  cancels += other.cancels;
  late += other.late;
  without_events += other.without_events;
  removed += other.removed;
  trimmed += other.trimmed;
  latest += other.latest;
  held += other.held;
  for_groups += other.for_groups;
  told_trimmed += other.told_trimmed;
  unknown += other.unknown;
  backups += other.backups;
  restored += other.restored;
  return *this;
}

// ---- the log

void Ledger::sent(const std::string& publisher, std::uint64_t sequence, SentEvent event) {
  PublisherBook& book = publishers_[publisher];
  book.created = std::max(book.created, sequence);
  const std::string sender = event.sender;
  sent_[{publisher, sequence}].emplace(sender, std::move(event));
}

void Ledger::applied(const store::CommitBatch& batch, const broker::State& names) {
  before_ = versions_;
  for (const auto& record : batch.records) {
    require(number(record->first()) == head() + 1, place(number(record->first())) + "the log has a gap or an overlap");
    for (std::uint32_t at = 0; at < record->count(); ++at) store_event(*record, at, names);
    records_[number(record->first())] = record->count();
  }
  require(number(batch.head.committed) == head(), "the head is not where the log ends");
  apply_removals(batch);
  auto others = apply_snapshots(batch);
  others.merge(keep_steps(batch, names));
  check_steps(batch, std::move(others), leave_schedule_rows(batch, names));
}

void Ledger::store_event(const store::Record& record, std::uint32_t at, const broker::State& names) {
  const store::Entry entry = record.entry(at);
  const std::string& publisher = names.publishers.name(entry.publisher);
  const auto name = named(publisher, entry.sequence);
  const auto it = sent_.find({publisher, entry.sequence});
  require(it != sent_.end(), name + "stored and never sent");
  const auto found = std::find_if(it->second.begin(), it->second.end(),
                                  [&](const auto& one) { return std::ranges::equal(record.body(at), one.second.bytes); });
  require(found != it->second.end(), name + "stored with other bytes than were sent");
  const SentEvent& sent = found->second;
  require(sent.refusal == Code::ok, name + "a bad event was stored");
  require(sent.snapshot_of == 0, name + "a snapshot is in the log");
  require(names.topics.name(entry.topic) == sent.topic, name + "stored under another topic");
  PublisherBook& book = publishers_[publisher];
  if ((entry.flags & store::format::scheduled) == 0) {
    require(!scheduled_.contains({publisher, entry.sequence}), name + "stored at once, though it was scheduled");
    require(entry.sequence > book.stored, name + "stored twice, or after a later one");
    book.stored = entry.sequence;
  } else {
    store_scheduled({publisher, entry.sequence}, sent, record.committed_at());
  }
  for (const Need& need : sent.needs) require(need.is_met_at(versions_[need.key]), name + "stored against its condition on key " + need.key);
  const auto version = sent.key.empty() ? 0 : ++versions_[sent.key];
  require((entry.key ? entry.key->version : 0) == version, name + "the version of its key is not the next one");
  log_.push_back({publisher, entry.sequence, &sent, version, nanoseconds(record.committed_at()), topics_.try_emplace(sent.topic, topics_.size()).first->second,
                  keys_.try_emplace(sent.key, keys_.size()).first->second});
  const auto size = log_.size();
  require(size < 2 || log_[size - 2].committed_at <= log_[size - 1].committed_at, name + "commit time runs backwards");
  stored_.insert(&sent);
  if (!sent.unique_id.empty()) {
    const auto [first, fresh] = ids_.emplace(sent.unique_id, size);
    require(fresh, name + "its id " + sent.unique_id + " is in the log already, at position " + std::to_string(first->second));
    require(entry.unique_id.has_value(), name + "stored without its unique id");
  }
}

void Ledger::check_delivery(const wire::Delivery& delivery, const std::string& publisher, Bytes body) const {
  const auto where = place(delivery.position());
  require(delivery.position() >= 1 && delivery.position() <= head(), where + "delivered before it is durable");
  const LogEvent& event = at(delivery.position());
  require(std::ranges::equal(body, event.sent->bytes), where + "delivered with other bytes");
  require(delivery.version() == event.version && delivery.sequence() == event.sequence, where + "wrong version or sequence");
  require(delivery.committed_at() == event.committed_at && publisher == event.publisher, where + "wrong time or publisher");
}

// ---- restart

void Ledger::restarted(const store::Store& store, const Core& core) {
  require(store.identity().epoch > epoch_, "the epoch has not risen");
  epoch_ = store.identity().epoch;
  require(number(store.head().committed) == head(), "the store lost or invented a commit");
  require(number(store.trim().last) == trimmed_to_, "the log begins elsewhere than where it was trimmed");
  reported();
  rules_asked_.clear();
  gets_.clear();
  check_log(*store.reader(), now_there());
  check_snapshots(store, kept_);
  to_prune_.clear();
  looks_.clear();
  group_of_.clear();
  acks_.clear();
  changes_.clear();
  live_.clear();
  for (const auto& [name, source] : core.delivery().groups()) {
    const GroupId id{name, core.delivery().info(*source).created_at};
    live_[name] = id;
    revive(id, source->group->state.generation());
    groups_.at(id).is_new = false;
    groups_.at(id).lately = {source->group->state.generation()};
  }
  // What did not come back was never confirmed, or its removal was on its way; it cannot come back later.
  for (auto& [id, group] : groups_) {
    if (live_.contains(id.first) && live_.at(id.first) == id) continue;
    require(group.gone || !group.durable, "group " + id.first + " is lost");
    group.gone = true;
  }
}

// The group was found on disk: so this much of it is durable, and what came later never was.
void Ledger::revive(const GroupId& id, std::uint16_t generation) {
  const auto it = groups_.find(id);
  require(it != groups_.end() && !it->second.gone, "group " + id.first + " came back from the dead");
  auto& views = it->second.views;
  require(views.contains(generation), "group " + id.first + " has a generation that never was");
  for (auto later = views.upper_bound(generation); later != views.end(); ++later) {
    require(!later->second.durable, "group " + id.first + " has forgotten a seek");
  }
  views.erase(views.upper_bound(generation), views.end());
  views.at(generation).durable = it->second.durable = true;
}

// ---- groups

void Ledger::groups_changed(const Core& core) {
  std::map<std::string, GroupId> now;
  for (const auto& [name, source] : core.delivery().groups()) {
    const auto& state = source->group->state;
    const GroupId id{name, core.delivery().info(*source).created_at};
    now[name] = id;
    Incarnation& group = groups_[id];
    group.patterns = source->filter.spec().patterns;
    const auto [view, fresh] = group.views.try_emplace(state.generation());
    if (fresh) view->second.start = number(state.scan()) + 1;
    view->second.ordered = view->second.ordered && state.settings().is_ordered();
    group.lately.insert(state.generation());
  }
  live_ = std::move(now);
}

// No group is to have it any more.
bool Ledger::is_over(std::uint64_t position) const {
  if (is_removed(position)) return true;
  const auto expires_at = at(position).sent->expires_at;
  return expires_at != 0 && expires_at <= nanoseconds(now_);
}

bool Ledger::wants(const Incarnation& group, std::uint64_t position) const {
  const auto& topic = at(position).sent->topic;
  return group.patterns.empty() ||
         std::any_of(group.patterns.begin(), group.patterns.end(), [&](const auto& one) { return matches(one, topic); });
}

Ledger::Incarnation* Ledger::group_of(const Peer& peer, std::uint64_t subscription) {
  const auto name = group_of_.find({peer, subscription});
  if (name == group_of_.end()) return nullptr;
  const auto live = live_.find(name->second);
  return live == live_.end() ? nullptr : &groups_.at(live->second);
}

// ---- entering the core

void Ledger::entering(const Peer& peer, const wire::Message& message, const Core&) {
  if (const auto* hello = message.body_as_Hello()) asked_[peer] = hello->publisher() != nullptr ? hello->publisher()->str() : "";
  if (const auto* subscribe = message.body_as_Subscribe(); subscribe != nullptr && subscribe->group() != nullptr) {
    group_of_[{peer, subscribe->subscription()}] = subscribe->group()->str();
  }
  if (const auto* settle = message.body_as_Settle()) settle_entering(peer, *settle);
  const auto* publish = message.body_as_Publish();
  for (std::uint32_t at = 0; publish != nullptr && publish->steps() != nullptr && at < publish->steps()->size(); ++at) {
    const auto* settles = publish->steps()->Get(at)->settles();
    for (std::uint32_t each = 0; settles != nullptr && each < settles->size(); ++each) settle_entering(peer, *settles->Get(each));
  }
  const auto* request = message.body_as_Request();
  if (const auto* cancel = request != nullptr ? request->ask_as_ScheduleCancel() : nullptr) {
    auto& names = cancels_[{peer, request->request()}];
    for (const auto* id : *cancel->ids()) names.emplace_back(id->publisher()->str(), id->sequence());
    maybe_cancelled_.insert(names.begin(), names.end());
  }
  if (const auto* run = request != nullptr ? request->ask_as_ScheduleRun() : nullptr) {
    runs_[{peer, request->request()}] = {{run->id()->publisher()->str(), run->id()->sequence()}};
  }
  if (request != nullptr) ask_snapshots(peer, *request);
  if (request != nullptr) ask_retention(peer, *request);
  const auto* remove = request != nullptr ? request->ask_as_GroupRemove() : nullptr;
  if (remove != nullptr && live_.contains(remove->name()->str())) {
    const GroupId& id = live_.at(remove->name()->str());
    changes_[{peer, request->request()}] = {id, 0};
    groups_.at(id).durable = false;  // until the answer says that it is gone, either may be found after a crash
  }
}

void Ledger::settle_entering(const Peer& peer, const wire::Settle& settle) {
  Incarnation* group = group_of(peer, settle.subscription());
  if (group == nullptr || settle.settlements() == nullptr) return;
  Acks acks{settle.epoch(), {}};
  for (const auto* one : *settle.settlements()) {
    const auto view = group->views.find(generation_of(settle.epoch()));
    if (one->verdict() == wire::Verdict::ack_up_to && view != group->views.end()) {
      for (const auto position : view->second.delivered) {
        if (position <= one->position()) view->second.acked.insert(position);  // or may have been: somebody else may hold it
      }
    }
    if (one->verdict() != wire::Verdict::ack && one->verdict() != wire::Verdict::reject) continue;
    if (one->verdict() == wire::Verdict::ack) acks.settled.emplace_back(one->position(), one->attempt());
    const auto attempt = group->attempts.find({settle.epoch(), one->position()});
    const bool current = attempt != group->attempts.end() && attempt->second == one->attempt();
    if (view != group->views.end() && current) view->second.acked.insert(one->position());
    if (one->verdict() == wire::Verdict::reject) group->rejected.insert(one->position());
  }
  if (settle.request() != 0) acks_[{peer, settle.request()}] = std::move(acks);
}

void Ledger::entered(const Peer& peer, const wire::Message& message, const Core& core) {
  groups_changed(core);
  const auto* request = message.body_as_Request();
  const auto* seek = request != nullptr ? request->ask_as_GroupSeek() : nullptr;
  if (seek == nullptr || !live_.contains(seek->name()->str())) return;
  const GroupId& id = live_.at(seek->name()->str());
  changes_[{peer, request->request()}] = {id, groups_.at(id).views.rbegin()->first};
}

// ---- leaving the core

void Ledger::leaving(const broker::Outgoing& message) {
  const auto parsed = wire::parse(message.header.bytes);
  require(parsed.ok(), "the broker sent a message that does not verify");
  const std::unique_ptr<wire::MessageT> copy((*parsed)->UnPack());
  const wire::BodyUnion& body = copy->body;
  switch (body.type) {
    case wire::Body::Welcome: return leave_welcome(message.peer, *body.AsWelcome());
    case wire::Body::PublishResult: return leave_result(message.peer, *body.AsPublishResult());
    case wire::Body::Deliver: return leave_deliver(message, *body.AsDeliver());
    case wire::Body::Settled: return leave_settled(message.peer, *body.AsSettled());
    case wire::Body::CaughtUp: return leave_caught_up(message.peer, *body.AsCaughtUp());
    case wire::Body::Reply: return leave_reply(message.peer, *body.AsReply(), message.body.bytes);
    case wire::Body::Failure: return leave_failure(message.peer, *body.AsFailure());
    case wire::Body::Subscribed:
      if (Incarnation* group = group_of(message.peer, body.AsSubscribed()->subscription)) group->durable = true;
      return;
    case wire::Body::SubscriptionEnd:
      check_notice(body.AsSubscriptionEnd()->trimmed_events, body.AsSubscriptionEnd()->trimmed_to);
      group_of_.erase({message.peer, body.AsSubscriptionEnd()->subscription});
      return;
    default: return;
  }
}

void Ledger::leave_welcome(const Peer& peer, const wire::WelcomeT& message) {
  require(message.epoch == epoch_, "Welcome with another epoch than the store's");
  require(message.committed <= head(), "Welcome with a head that is not durable");
  const std::string& publisher = given_[peer] = message.publisher;
  require(asked_[peer].empty() || asked_[peer] == publisher, peer + " asked for another name than it was given");
  if (publisher.empty() || !publishers_.contains(publisher)) return;
  const PublisherBook& book = publishers_.at(publisher);
  require(message.last_sequence <= book.created, publisher + ": Welcome with a sequence that was never sent");
  require(message.last_sequence >= book.answered, publisher + ": Welcome has forgotten an answered sequence");
  for (auto sequence = book.stored + 1; sequence <= message.last_sequence; ++sequence) {
    const auto& sent = sent_.at({publisher, sequence});
    const bool refused = std::any_of(sent.begin(), sent.end(), [&](const auto& item) {
      const SentEvent& one = item.second;
      return one.refusal != Code::ok || one.deliver_at != 0 || one.may_fail || stored_.contains(&one) || ids_.contains(one.unique_id);
    });
    require(refused, named(publisher, sequence) + "used up and not stored");
  }
}

void Ledger::leave_result(const Peer& peer, const wire::PublishResultT& message) {
  const std::string& publisher = given_.at(peer);
  std::map<std::uint64_t, const wire::RefusalT*> refused;
  for (const auto& refusal : message.refusals) refused[refusal->sequence] = refusal.get();
  auto sequence = message.first_sequence;
  for (const wire::Receipt& receipt : message.receipts) {
    leave_receipt(peer, {publisher, sequence}, receipt, refused.contains(sequence) ? refused.at(sequence) : nullptr);
    ++sequence;
  }
}

void Ledger::leave_receipt(const Peer& peer, const Name& id, const wire::Receipt& receipt, const wire::RefusalT* refusal) {
  const auto name = named(id.first, id.second);
  PublisherBook& book = publishers_[id.first];
  book.answered = std::max(book.answered, id.second);
  const auto& sent = sent_.at(id);
  const auto mine = sent.find(peer.substr(0, peer.find('#')));
  require(mine != sent.end(), name + "answered to " + peer + ", which never sent it");
  const SentEvent& event = mine->second;
  if (receipt.scheduled()) {
    require(event.deliver_at != 0 && receipt.position() == 0, name + "a receipt says that it is scheduled");
    require(receipt.duplicate() || !scheduled_.contains(id), name + "scheduled twice");
    scheduled_.insert(id);
  } else if (refusal == nullptr && event.is_no_event) {
    require(receipt.position() == 0 && stored_.contains(&event), name + "a receipt for a step that did not take effect");
    leave_step(name, event);
  } else if (refusal != nullptr || (receipt.position() == 0 && event.snapshot_of == 0)) {
    require(receipt.position() == 0, name + "refused, and has a position");
    leave_refusal(id, event, refusal);
  } else {
    leave_stored(id, event, receipt);
  }
}

void Ledger::leave_stored(const Name& id, const SentEvent& event, const wire::Receipt& receipt) {
  const auto name = named(id.first, id.second);
  if (event.snapshot_of != 0) {
    const bool is_kept = stored_.contains(&event) && receipt.position() == 0 && receipt.version() == event.snapshot_of;
    return require(is_kept, name + "a receipt for a snapshot that is not durable, or is another");
  }
  require(receipt.position() <= head(), name + "a receipt for an event that is not durable");
  require(!due_.contains(id), name + "a receipt for what was scheduled says otherwise");
  const LogEvent& stored = at(receipt.position());
  require(stored.version == receipt.version(), name + "a receipt with a wrong version");
  if (stored.sent != &event) {
    const bool is_known = receipt.duplicate() && !event.unique_id.empty() && event.unique_id == stored.sent->unique_id;
    require(is_known && event.step_first == 0, name + "a receipt with the position of another");
    ++figures_.known_ids;
    return;
  }
  require(stored.publisher == id.first && stored.sequence == id.second, name + "a receipt for what was stored under another name");
  if (event.step_first == id.second) leave_step(name, event);
}

void Ledger::leave_deliver(const broker::Outgoing& message, const wire::DeliverT& deliver) {
  require(deliver.epoch >> 16 == epoch_, "Deliver with another epoch than the store's");
  wire::EventCursor cursor(message.body.bytes);
  for (const wire::Delivery& delivery : deliver.deliveries) {
    const auto body = cursor.next();
    require(body.ok(), "Deliver with fewer events than its header says");
    check_delivery(delivery, deliver.publishers.at(delivery.publisher()), *body);
    require(!at(delivery.position()).is_told, place(delivery.position()) + "delivered after it was removed");
    Incarnation* group = group_of(message.peer, deliver.subscription);
    require((group != nullptr) == (delivery.attempt() != 0), "an attempt is for groups, and only for them");
    if (group != nullptr) leave_group_delivery(*group, {message.peer, deliver.subscription}, deliver.epoch, delivery);
  }
  require(cursor.done(), "Deliver with more events than its header says");
  check_notice(deliver.trimmed_events, deliver.trimmed_to);
}

// Every earlier event of its key was acknowledged, or given up.
void Ledger::check_order(const Incarnation& group, const View& view, std::uint64_t position) const {
  for (auto earlier = view.start; earlier < position; ++earlier) {
    if (at(earlier).sent->key != at(position).sent->key || !wants(group, earlier)) continue;
    require(view.acked.contains(earlier) || is_over(earlier), place(position) + "delivered before position " + std::to_string(earlier) + " of its key was settled");
  }
}

void Ledger::leave_group_delivery(Incarnation& group, const Asked& member, std::uint64_t epoch,
                                  const wire::Delivery& delivery) {
  const auto position = delivery.position();
  const auto where = place(position);
  require(wants(group, position), where + "delivered to a group that does not want it");
  auto& last = group.attempts[{epoch, position}];
  require(delivery.attempt() > last, where + "attempt " + std::to_string(delivery.attempt()) + " was issued before");
  last = delivery.attempt();
  const auto it = group.views.find(generation_of(epoch));
  require(it != group.views.end(), where + "delivered in a generation that is not");
  View& view = it->second;
  require(position >= view.start || group.rejected.contains(position), where + "delivered before the group's start");
  require(!view.settled.contains(position), where + "delivered again after its ack was confirmed");
  const auto& key = at(position).sent->key;
  if (view.ordered && !key.empty()) check_order(group, view, position);
  if (!view.delivered.insert(position).second) return;
  // One that has expired is passed by; when the clock is set back it has not. And a dead letter from before the group was moved was
  // delivered for the first time then.
  if (key.empty() || is_over(position) || position < view.start) return;
  // Messages to two members have no order between them.
  auto& first = view.first_of_key[{member, key, at(position).sent->priority}];
  require(position > first, where + "first delivered after a later event of its key and priority");
  first = position;
}

void Ledger::leave_settled(const Peer& peer, const wire::SettledT& message) {
  const auto node = acks_.extract({peer, message.request});
  Incarnation* group = group_of(peer, message.subscription);
  if (node.empty() || group == nullptr) return;
  const Acks& acks = node.mapped();
  std::set<std::pair<std::uint64_t, std::uint32_t>> refused;
  for (const wire::Unsettled& one : message.refused) refused.emplace(one.position(), one.attempt());
  for (const auto& ack : acks.settled) {
    if (refused.contains(ack)) continue;
    const auto where = place(ack.first);
    require(group->attempts[{acks.epoch, ack.first}] == ack.second, where + "an ack of an old attempt was taken");
    group->views.at(generation_of(acks.epoch)).settled.insert(ack.first);
  }
}

void Ledger::leave_caught_up(const Peer& peer, const wire::CaughtUpT& message) {
  require(message.position <= head(), "CaughtUp with a position that is not durable");
  check_notice(message.trimmed_events, message.trimmed_to);
  const Incarnation* group = group_of(peer, message.subscription);
  if (group == nullptr || group->views.empty()) return;
  const View& view = group->views.rbegin()->second;
  for (auto position = view.start; position <= message.position; ++position) {
    require(!wants(*group, position) || view.acked.contains(position) || is_over(position), place(position) + "caught up without its ack");
  }
}

void Ledger::leave_reply(const Peer& peer, const wire::ReplyT& reply, Bytes body) {
  if (const auto* event = reply.answer.AsEventReply()) leave_event(*event, body);
  leave_schedule(peer, reply);
  leave_snapshot_reply(peer, reply, body);
  leave_retention(peer, reply);
  if (const auto* verified = reply.answer.AsVerifyReply()) {
    require(verified->faults.empty(), "the log has a fault: " + (verified->faults.empty() ? "" : verified->faults[0]->what));
  }
  const auto node = changes_.extract({peer, reply.request});
  if (node.empty()) return;
  const Change& change = node.mapped();
  Incarnation& group = groups_.at(change.group);
  if (reply.answer.type == wire::Answer::Done) group.gone = true;
  if (reply.answer.type != wire::Answer::SeekReply) return;
  for (auto& [generation, view] : group.views) {
    if (generation <= change.generation) view.durable = true;
  }
}

void Ledger::leave_event(const wire::EventReplyT& reply, Bytes body) const {
  require(reply.delivery != nullptr, "an EventReply without its figures");
  check_delivery(*reply.delivery, reply.publisher, body);
}

// ---- the end

void Ledger::check_settled(const Core& core) const {
  for (const auto& event : scheduled_) {
    const bool is_there = due_.contains(event) || cancelled_.contains(event) || maybe_cancelled_.contains(event);
    require(is_there, named(event.first, event.second) + "was scheduled, and is lost");
  }
  for (const auto& hash : erases_asked_.empty() ? to_prune_ : std::set<std::string>()) {  // an erase stops the prunes under way
    const auto end = kept_.lower_bound(hash + std::string(8, '\xff'));
    const auto there = static_cast<std::uint64_t>(std::distance(kept_.lower_bound(hash), end));
    require(there <= kept_of(key_of_.at(hash)), "key " + key_of_.at(hash) + " has " + std::to_string(there) + " snapshots still");
  }
  for (const auto& [name, source] : core.delivery().groups()) {
    const auto info = core.delivery().info(*source);
    require(info.lag == 0 && info.open == 0, "group " + name + " is not done: lag " + std::to_string(info.lag) + ", open " +
                                                 std::to_string(info.open) + ", members " + std::to_string(info.members));
    const Incarnation& group = groups_.at(live_.at(name));
    const View& view = group.views.at(source->group->state.generation());
    for (auto position = view.start; position <= head(); ++position) {
      require(!wants(group, position) || view.acked.contains(position) || is_over(position),
              place(position) + "group " + name + " is done without its ack");
    }
  }
}

}  // namespace bus::sim
