// The part of Delivery that sessions and operators talk to: subscriptions, groups, and where they begin.
#include <algorithm>
#include <limits>

#include "base/check.hpp"
#include "broker/core/delivery.hpp"
#include "wire/event_codec.hpp"

namespace bus::broker {

Delivery::Subscription* Delivery::find(MemberId id) {
  const auto it = subscriptions_.find(id);
  return it == subscriptions_.end() ? nullptr : &it->second;
}

bool Delivery::is_current(MemberId id, std::uint64_t serial) const {
  const auto it = subscriptions_.find(id);
  return it != subscriptions_.end() && it->second.serial == serial;
}

Source* Delivery::find_group(std::string_view name) {
  const auto it = groups_.find(name);
  return it == groups_.end() ? nullptr : it->second.get();
}

// ---- beginning

Result<void> Delivery::check(Session& session, const wire::Subscribe& message) const {
  const auto* group = message.group();
  if (message.subscription() == 0) return Error{Code::malformed, "subscriptions are numbered from 1"};
  if (subscriptions_.contains({session.id, message.subscription()})) {
    return Error{Code::subscription_exists, "subscription " + std::to_string(message.subscription()) + " is taken"};
  }
  if (session.subscriptions >= limits::subscriptions_per_session_max) {
    return Error{Code::too_many_subscriptions,
                 "a session may hold " + std::to_string(limits::subscriptions_per_session_max) + " subscriptions"};
  }
  if (group != nullptr && !wire::valid_name(group->string_view(), limits::group_bytes_max)) {
    return Error{Code::bad_group, "a group's name has 1 to " + std::to_string(limits::group_bytes_max) +
                                      " printable bytes without spaces"};
  }
  if (group != nullptr && message.to() != wire::Start::unspecified) {
    return Error{Code::bad_filter, "a group has no end; only a plain subscription may name one"};
  }
  if (message.from() > wire::Start::time || message.to() > wire::Start::time) {
    return Error{Code::bad_filter, "the start or end is of an unknown kind"};
  }
  return {};
}

Result<void> Delivery::subscribe(Session& session, const wire::Subscribe& message, Now now) {
  if (auto good = check(session, message); !good) return good;
  auto spec = Filter::check(message.filter());
  if (!spec) return spec.error();
  wire::SubscribeT copy;
  message.UnPackTo(&copy);
  const MemberId id{session.id, message.subscription()};
  const bool grouped = message.group() != nullptr;
  Source* group = grouped ? find_group(copy.group) : nullptr;
  if (group != nullptr) {
    if (auto joins = may_join(*group, copy, *spec); !joins) return joins;
  } else if (grouped && message.existing()) {
    return Error{Code::unknown_group, "there is no group '" + copy.group + "'"};
  } else if (grouped && groups_.size() >= limits::groups_max) {
    return Error{Code::too_many_groups, "the broker may have " + std::to_string(limits::groups_max) + " groups"};
  }
  const auto serial = subscriptions_[id].serial = ++last_serial_;
  ++session.subscriptions;
  if (group != nullptr) return join(id, *group, copy, false), Result<void>();
  const auto from = copy.from != wire::Start::unspecified ? copy.from : grouped ? wire::Start::start : wire::Start::end;
  locate(from, copy.from_value, [this, id, serial, copy, spec = std::move(*spec), grouped, now](Result<Position> next) {
    if (!is_current(id, serial)) return;
    if (!next) return refuse(id, next.error());
    if (grouped) return begin_group(id, copy, spec, *next, now);
    begin_plain(id, copy, spec, *next);
  });
  return {};
}

void Delivery::refuse(MemberId id, const Error& error) {
  forget(id);
  sessions_.send(id.session, wire::encode_failure(error, 0, id.subscription));
}

void Delivery::begin_plain(MemberId id, const wire::SubscribeT& message, Filter::Spec spec, Position next) {
  if (message.to == wire::Start::unspecified) return add_plain(id, message, std::move(spec), next, Position::none);
  if (message.to == wire::Start::position) {
    if (message.to_value <= 0) return refuse(id, {Code::bad_filter, "the range ends before position 1"});
    return add_plain(id, message, std::move(spec), next, Position{static_cast<std::uint64_t>(message.to_value)});
  }
  // The end of a range is inclusive; locate() names the first position at or after it.
  const bool by_time = message.to == wire::Start::time;
  const bool never = message.to_value == std::numeric_limits<std::int64_t>::max();
  const auto value = by_time && !never ? message.to_value + 1 : message.to_value;
  locate(message.to, value, [this, id, serial = find(id)->serial, message, spec, next, by_time](Result<Position> end) {
    if (!is_current(id, serial)) return;
    if (!end) return refuse(id, end.error());
    const bool last_included = message.to == wire::Start::start || message.to == wire::Start::last;
    add_plain(id, message, spec, next, last_included ? *end : *end - 1);
  });
}

void Delivery::add_plain(MemberId id, const wire::SubscribeT& message, Filter::Spec spec, Position next, Position to) {
  Subscription& subscription = *find(id);
  say_subscribed(id, next, to, false);
  // An end before the start, such as the head of an empty log: over at once.
  const bool endless = message.to == wire::Start::unspecified;
  if (!endless && to < next) return end(id, Code::ok, "");
  subscription.plain = std::make_unique<Source>(Filter(std::move(spec), key_secret_));
  Source& source = *subscription.plain;
  subscription.source = &source;
  source.reader = id;
  source.scan = next - 1;
  source.to = to;
  source.credit = Credit(message.credit_events, message.credit_bytes);
  add_source(source);
  make_ready(source);
}

Result<void> Delivery::may_join(const Source& source, const wire::SubscribeT& message, const Filter::Spec& spec) const {
  const auto mismatch = [&](const char* what) {
    return Error{Code::group_mismatch, "group '" + source.group->name + "' exists with another " + what +
                                           "; join it without one, or change the group"};
  };
  if (!spec.empty() && spec != source.filter.spec()) return mismatch("filter");
  if (message.from != wire::Start::unspecified) return mismatch("start");
  const GroupLimits& have = source.group->state.group_limits();
  const auto* want = message.settings.get();
  if (want == nullptr) return {};
  if (want->ack_wait_ms != 0 && std::chrono::milliseconds(want->ack_wait_ms) != have.ack_wait) return mismatch("ack wait");
  if (want->in_flight_max != 0 && want->in_flight_max != have.in_flight_max) return mismatch("in_flight_max");
  return {};
}

namespace {

Result<GroupLimits> limits_of(const wire::GroupSettingsT* settings) {
  GroupLimits group;
  if (settings == nullptr) return group;
  if (settings->ack_wait_ms != 0) group.ack_wait = std::chrono::milliseconds(settings->ack_wait_ms);
  if (settings->in_flight_max != 0) group.in_flight_max = settings->in_flight_max;
  if (group.ack_wait < limits::ack_wait_min || group.ack_wait > limits::ack_wait_max) {
    return Error{Code::bad_filter, "ack_wait must be between 100 ms and 24 h"};
  }
  if (group.in_flight_max > limits::open_max) {
    return Error{Code::bad_filter, "in_flight_max must be at most " + std::to_string(limits::open_max)};
  }
  return group;
}

}  // namespace

void Delivery::begin_group(MemberId id, const wire::SubscribeT& message, Filter::Spec spec, Position next, Now now) {
  if (Source* made = find_group(message.group)) {  // by another member, while the start was looked up
    auto plain = message;
    plain.from = wire::Start::unspecified;
    if (auto joins = may_join(*made, plain, spec); !joins) return refuse(id, joins.error());
    return join(id, *made, message, false);
  }
  const auto group_limits = limits_of(message.settings.get());
  if (!group_limits) return refuse(id, group_limits.error());
  const auto number = by_number_.empty() ? 1 : by_number_.rbegin()->first + 1;
  auto source = std::make_unique<Source>(Filter(std::move(spec), key_secret_));
  source->group = std::make_unique<Group>(Group{number, message.group, now.wall, ConsumerGroup(*group_limits, next - 1)});
  source->group->saved_batch = staging_.batch();
  staging_.put_row(row(*source));
  by_number_[number] = source.get();
  add_source(*source);
  Source& made = *source;
  groups_.emplace(message.group, std::move(source));
  join(id, made, message, true);
}

// The member takes part once the group itself is durable.
void Delivery::join(MemberId id, Source& source, const wire::SubscribeT& message, bool created) {
  const auto name = source.group->name;
  staging_.hold(source.group->saved_batch, [this, id, serial = find(id)->serial, name, message, created] {
    if (!is_current(id, serial)) return;
    Subscription* subscription = find(id);
    Source* group = find_group(name);
    if (group == nullptr) return refuse(id, {Code::group_removed, "group '" + name + "' was removed"});
    subscription->source = group;
    group->group->state.join(id, Credit(message.credit_events, message.credit_bytes));
    say_subscribed(id, scan_of(*group) + 1, Position::none, created);
    make_ready(*group);
  });
}

void Delivery::say_subscribed(MemberId id, Position next, Position to, bool created) {
  wire::SubscribedT message;
  message.subscription = id.subscription;
  message.next = number(next);
  message.to = number(to);
  message.committed = number(head());
  message.created = created;
  sessions_.send(id.session, wire::encode(message));
}

// ---- credit and ends

Result<void> Delivery::credit(Session& session, const wire::Credit& message) {
  auto found = owned(session, message.subscription());
  if (!found) return found.error();
  Source& source = *(*found)->source;
  if (source.group) {
    source.group->state.add_credit({session.id, message.subscription()}, message.events(), message.bytes());
  } else {
    source.credit.add(message.events(), message.bytes());
  }
  make_ready(source);
  return {};
}

Result<void> Delivery::unsubscribe(Session& session, std::uint32_t subscription) {
  if (find({session.id, subscription}) == nullptr) {
    return Error{Code::unknown_subscription, "this session has no subscription " + std::to_string(subscription)};
  }
  end({session.id, subscription}, Code::ok, "");
  return {};
}

void Delivery::end(MemberId id, Code code, const std::string& detail) {
  const Subscription* subscription = find(id);
  if (subscription == nullptr) return;
  wire::SubscriptionEndT message;
  message.subscription = id.subscription;
  message.position = subscription->source != nullptr ? number(scan_of(*subscription->source)) : 0;
  message.code = code;
  message.detail = detail;
  sessions_.send(id.session, wire::encode(message));
  forget(id);
}

void Delivery::forget(MemberId id) {
  auto node = subscriptions_.extract(id);
  if (node.empty()) return;
  if (Session* session = sessions_.find(id.session)) --session->subscriptions;
  Subscription& subscription = node.mapped();
  if (subscription.plain) return drop_source(*subscription.plain);
  if (subscription.source == nullptr) return;
  subscription.source->group->state.leave(id);
  failures_ = failures_ || subscription.source->group->state.settled_since_journal();
  touch(*subscription.source);
}

void Delivery::drop(const Session& session) {
  for (auto it = subscriptions_.lower_bound({session.id, 0}); it != subscriptions_.end() && it->first.session == session.id;) {
    const MemberId id = it->first;
    ++it;
    forget(id);
  }
}

// ---- operators

void Delivery::locate(wire::Start start, std::int64_t value, Found found) {
  const auto past_end = number(head()) + 1;
  const auto wanted = static_cast<std::uint64_t>(value);
  switch (start) {
    case wire::Start::start: return found(Position{1});
    case wire::Start::unspecified:
    case wire::Start::end: return found(Position{past_end});
    case wire::Start::last:
      if (value < 0) return found(Error{Code::bad_filter, "a count of events cannot be negative"});
      return found(Position{wanted >= past_end ? 1 : past_end - wanted});
    case wire::Start::position:
      if (value <= 0) return found(Error{Code::bad_filter, "positions begin with 1"});
      if (wanted > past_end) {
        return found(Error{Code::beyond_end, "position " + std::to_string(value) + " is beyond the end of the log, " +
                                                 std::to_string(number(head()))});
      }
      return found(Position{wanted});
    case wire::Start::time: break;
  }
  reads_.ask(ReadPositionAt{wall_time(value)}, [found = std::move(found)](Result<ReadAnswer> answer) {
    if (!answer) return found(answer.error());
    found(std::get<Position>(*answer));
  });
}

Result<void> Delivery::remove_group(std::string_view name) {
  Source* source = find_group(name);
  if (source == nullptr) return Error{Code::unknown_group, "there is no group '" + std::string(name) + "'"};
  const auto number = source->group->number;
  std::vector<MemberId> members;
  for (const auto& [id, subscription] : subscriptions_) {
    if (subscription.source == source) members.push_back(id);
  }
  for (const MemberId member : members) end(member, Code::group_removed, "an operator removed group '" + std::string(name) + "'");
  staging_.put_row({store::Table::groups, number_key(number), std::nullopt});
  drop_source(*source);
  by_number_.erase(number);
  groups_.erase(groups_.find(name));
  return {};
}

Position Delivery::seek(Source& group, Position next, Now now) {
  const bool settled = group.group->state.open_count() == 0;
  const Position before = settled ? scan_of(group) : group.group->state.floor();
  group.following = false;
  group.group->state.seek(next - 1);
  for (const MemberId member : group.group->state.member_ids()) subscriptions_.at(member).told = Position::none;
  commit_due_ = now.steady;
  touch(group);
  return before;
}

wire::GroupInfoT Delivery::info(const Source& source) const {
  const Group& group = *source.group;
  wire::GroupInfoT info;
  info.name = group.name;
  info.patterns = source.filter.spec().patterns;
  info.types = source.filter.spec().types;
  info.keys = source.filter.spec().keys;
  const bool settled = group.state.open_count() == 0;
  info.delivered = number(scan_of(source));
  info.floor = settled ? info.delivered : number(group.state.floor());
  info.committed = number(head());
  info.open = static_cast<std::uint32_t>(group.state.open_count());
  info.in_flight = static_cast<std::uint32_t>(group.state.in_flight());
  info.members = static_cast<std::uint32_t>(group.state.members());
  info.lag = info.committed - info.floor;
  info.acked = group.state.acked();
  info.redeliveries = group.state.redeliveries();
  info.stale_acks = group.state.stale_acks();
  info.ack_wait_ms = static_cast<std::uint32_t>(group.state.group_limits().ack_wait / std::chrono::milliseconds(1));
  info.in_flight_max = group.state.group_limits().in_flight_max;
  info.created_at = nanoseconds(group.created_at);
  return info;
}

}  // namespace bus::broker
