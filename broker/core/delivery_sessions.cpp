// The part of Delivery that sessions and operators talk to: subscriptions, groups, and where they begin.
#include <algorithm>
#include <limits>

#include "base/check.hpp"
#include "broker/core/delivery.hpp"
#include "wire/event_codec.hpp"

namespace bus::broker {

// ---- settings

namespace {

template <typename Enum>
constexpr bool same_numbers(std::initializer_list<std::pair<Enum, int>> pairs) {
  for (const auto& [value, number] : pairs) {
    if (static_cast<int>(value) != number) return false;
  }
  return true;
}
static_assert(same_numbers<wire::Sharing>({{wire::Sharing::key_ordered, int(Sharing::key_ordered)}, {wire::Sharing::exclusive, int(Sharing::exclusive)}}));
static_assert(same_numbers<wire::Backoff>({{wire::Backoff::linear, int(Backoff::linear)}, {wire::Backoff::exponential, int(Backoff::exponential)}}));
static_assert(same_numbers<wire::DeadLetterPolicy>({{wire::DeadLetterPolicy::stop_key, int(DeadLetter::stop_key)}, {wire::DeadLetterPolicy::skip, int(DeadLetter::skip)}}));

std::uint32_t milliseconds(Duration duration) { return static_cast<std::uint32_t>(duration / std::chrono::milliseconds(1)); }

// What a subscriber has asked for, and the group has not.
const char* first_difference(const GroupSettings& a, const GroupSettings& b) {
  if (a.sharing != b.sharing) return "sharing";
  if (a.ack_wait != b.ack_wait) return "ack wait";
  if (a.in_flight_max != b.in_flight_max) return "in_flight_max";
  if (a.member_in_flight_max != b.member_in_flight_max) return "member_in_flight_max";
  if (a.attempts_max != b.attempts_max) return "attempts_max";
  if (a.backoff != b.backoff || a.retry_delay != b.retry_delay || a.retry_delay_max != b.retry_delay_max) return "retry policy";
  if (a.jitter_percent != b.jitter_percent) return "retry policy";
  if (a.dead_letter != b.dead_letter) return "policy for dead letters";
  return a.paused != b.paused ? "paused" : nullptr;
}

}  // namespace

Result<GroupSettings> settings_of(const wire::GroupSettingsT* wanted, const GroupSettings& base) {
  GroupSettings settings = base;
  if (wanted == nullptr) return settings;
  const auto take_ms = [](const auto& from, Duration& to) {
    if (from) to = std::chrono::milliseconds(*from);
  };
  const auto take = [](const auto& from, auto& to) {
    if (from) to = static_cast<std::remove_reference_t<decltype(to)>>(*from);
  };
  take(wanted->sharing, settings.sharing);
  take_ms(wanted->ack_wait_ms, settings.ack_wait);
  take(wanted->in_flight_max, settings.in_flight_max);
  take(wanted->member_in_flight_max, settings.member_in_flight_max);
  take(wanted->attempts_max, settings.attempts_max);
  take(wanted->backoff, settings.backoff);
  take_ms(wanted->retry_delay_ms, settings.retry_delay);
  take_ms(wanted->retry_delay_max_ms, settings.retry_delay_max);
  take(wanted->jitter_percent, settings.jitter_percent);
  take(wanted->dead_letter, settings.dead_letter);
  take(wanted->paused, settings.paused);
  if (auto good = settings.check(); !good) return good.error();
  return settings;
}

std::unique_ptr<wire::GroupSettingsT> to_wire(const GroupSettings& settings) {
  auto to = std::make_unique<wire::GroupSettingsT>();
  to->sharing = static_cast<wire::Sharing>(settings.sharing);
  to->ack_wait_ms = milliseconds(settings.ack_wait);
  to->in_flight_max = settings.in_flight_max;
  to->member_in_flight_max = settings.member_in_flight_max;
  to->attempts_max = settings.attempts_max;
  to->backoff = static_cast<wire::Backoff>(settings.backoff);
  to->retry_delay_ms = milliseconds(settings.retry_delay);
  to->retry_delay_max_ms = milliseconds(settings.retry_delay_max);
  to->jitter_percent = settings.jitter_percent;
  to->dead_letter = static_cast<wire::DeadLetterPolicy>(settings.dead_letter);
  to->paused = settings.paused;
  return to;
}

// ---- subscriptions

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

Result<Delivery::Subscription*> Delivery::owned(Session& session, std::uint32_t subscription) {
  Subscription* found = find({session.id, subscription});
  if (found != nullptr && found->source != nullptr) return found;
  return Error{Code::unknown_subscription, "this session has no subscription " + std::to_string(subscription)};
}

// ---- beginning

Result<void> Delivery::check_name(std::string_view group) {
  if (wire::valid_name(group, limits::group_bytes_max)) return {};
  return Error{Code::bad_group, "a group's name has 1 to " + std::to_string(limits::group_bytes_max) + " bytes of UTF-8 without spaces or control characters"};
}

Error Delivery::too_many_groups() {
  return {Code::too_many_groups, "the broker may have " + std::to_string(limits::groups_max) + " groups"};
}

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
  if (group != nullptr) {
    if (auto good = check_name(group->string_view()); !good) return good;
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
    return unknown_group(copy.group);
  } else if (grouped && groups_.size() >= limits::groups_max) {
    return too_many_groups();
  }
  const auto serial = subscriptions_[id].serial = ++last_serial_;
  ++session.subscriptions;
  if (group != nullptr) return join(id, *group, copy, false, now), Result<void>();
  const auto from = copy.from != wire::Start::unspecified ? copy.from : grouped ? wire::Start::start : wire::Start::end;
  locate(from, copy.from_value, now.wall + limits::clock_slack, [this, id, serial, copy, spec = std::move(*spec), grouped, now](Result<Position> next) {
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
  locate(message.to, value, WallTime::max(), [this, id, serial = find(id)->serial, message, spec, next, by_time](Result<Position> end) {
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
  const GroupSettings& have = source.group->state.settings();
  const auto wanted = settings_of(message.settings.get(), have);
  if (!wanted) return wanted.error();
  if (const char* other = first_difference(*wanted, have)) return mismatch(other);
  return {};
}

Source& Delivery::make_group(const std::string& name, Filter::Spec spec, const GroupSettings& settings, Position next, Now now) {
  const auto number = ++last_group_;
  auto source = std::make_unique<Source>(Filter(std::move(spec), key_secret_));
  source->group = std::make_unique<Group>(Group{number, name, now.wall, ConsumerGroup(settings, next - 1)});
  source->group->created_batch = staging_.batch();
  staging_.put_row(row(*source));
  by_number_[number] = source.get();
  add_source(*source);
  return *groups_.emplace(name, std::move(source)).first->second;
}

void Delivery::begin_group(MemberId id, const wire::SubscribeT& message, Filter::Spec spec, Position next, Now now) {
  if (Source* made = find_group(message.group)) {  // by another member, while the start was looked up
    auto plain = message;
    plain.from = wire::Start::unspecified;
    if (auto joins = may_join(*made, plain, spec); !joins) return refuse(id, joins.error());
    return join(id, *made, message, false, now);
  }
  const auto settings = settings_of(message.settings.get(), {});
  if (!settings) return refuse(id, settings.error());
  join(id, make_group(message.group, std::move(spec), *settings, next, now), message, true, now);
}

// The member takes part once the group itself is durable.
void Delivery::join(MemberId id, Source& source, const wire::SubscribeT& message, bool created, Now now) {
  const auto name = source.group->name;
  staging_.hold(source.group->created_batch, [this, id, serial = find(id)->serial, name, message, created, now] {
    if (!is_current(id, serial)) return;
    Subscription* subscription = find(id);
    Source* group = find_group(name);
    if (group == nullptr) return refuse(id, {Code::group_removed, "group '" + name + "' was removed"});
    subscription->source = group;
    group->group->state.join(id, Credit(message.credit_events, message.credit_bytes));
    say_subscribed(id, scan_of(*group) + 1, Position::none, created);
    changed(*group, now);
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
  if (const Source* source = subscription->source) {
    message.position = number(scan_of(*source));
    message.trimmed_events = source->trimmed_events;
    message.trimmed_to = number(source->trimmed_to);
  }
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

void Delivery::locate(wire::Start start, std::int64_t value, WallTime latest, Found found) {
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
    case wire::Start::time:
      if (wall_time(value) > latest) return found(Error{Code::beyond_end, "that time is still to come; events committed until then would not be left out"});
      break;
  }
  reads_.ask(ReadPositionAt{wall_time(value)}, [found = std::move(found)](Result<ReadAnswer> answer) {
    if (!answer) return found(answer.error());
    found(std::get<Position>(*answer));
  });
}

}  // namespace bus::broker
