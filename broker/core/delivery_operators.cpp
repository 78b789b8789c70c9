// The part of Delivery that operators use: groups made, changed, moved and removed, and how they stand.
#include <algorithm>

#include "broker/core/delivery.hpp"

namespace bus::broker {

void Delivery::create_group(const wire::GroupCreate& what, Now now, Done done) {
  const std::string name = flatbuffers::GetString(what.name());
  if (auto good = check_name(name); !good) return done(good.error());
  auto spec = Filter::check(what.filter());
  if (!spec) return done(spec.error());
  std::unique_ptr<wire::GroupSettingsT> wanted(what.settings() != nullptr ? what.settings()->UnPack() : nullptr);
  const auto settings = settings_of(wanted.get(), {});
  if (!settings) return done(settings.error());
  const auto may_make = [this, name]() -> Result<void> {
    if (find_group(name) != nullptr) return Error{Code::group_exists, "there is a group '" + name + "' already"};
    if (groups_.size() >= limits::groups_max) return too_many_groups();
    return {};
  };
  if (auto good = may_make(); !good) return done(good.error());
  const auto from = what.from() != wire::Start::unspecified ? what.from() : wire::Start::start;
  locate(from, what.from_value(), now.wall + limits::clock_slack, [this, name, may_make, now, spec = std::move(*spec), settings = *settings, done = std::move(done)](Result<Position> next) {
    if (!next) return done(next.error());
    if (auto good = may_make(); !good) return done(good.error());
    make_ready(make_group(name, spec, settings, *next, now));
    staging_.hold([done] { done({}); });
  });
}

Result<void> Delivery::edit_group(const wire::GroupEdit& what, Now now) {
  const std::string name = flatbuffers::GetString(what.name());
  Source* source = find_group(name);
  if (source == nullptr) return unknown_group(name);
  std::unique_ptr<wire::GroupSettingsT> wanted(what.settings() != nullptr ? what.settings()->UnPack() : nullptr);
  const auto settings = settings_of(wanted.get(), source->group->state.settings());
  if (!settings) return settings.error();
  if (what.filter() != nullptr) {
    auto spec = Filter::check(what.filter());
    if (!spec) return spec.error();
    if (source->following) advance(*source, head());  // what was passed over stays so
    source->following = false;
    source->filter = Filter(std::move(*spec), key_secret_);
    watched_.assign(watched_.size(), false);
  }
  forget_ahead(*source->group);
  source->group->state.change(*settings);
  staging_.put_row(row(*source));
  changed(*source, now);
  return {};
}

namespace {

// As a message would bring it. Good until the builder goes.
template <typename T>
const typename T::TableType& packed(const T& object, flatbuffers::FlatBufferBuilder& builder) {
  builder.Finish(T::TableType::Pack(builder, &object));
  return *flatbuffers::GetRoot<typename T::TableType>(builder.GetBufferPointer());
}

}  // namespace

Result<void> Delivery::check(const wire::GroupCreateT& group) {
  if (auto good = check_name(group.name); !good) return good;
  flatbuffers::FlatBufferBuilder builder;
  const auto spec = Filter::check(packed(group, builder).filter());
  if (!spec) return spec.error();
  const auto settings = settings_of(group.settings.get(), {});
  return settings ? Result<void>() : settings.error();
}

Result<void> Delivery::declare_group(const wire::GroupCreateT& group, Now now) {
  flatbuffers::FlatBufferBuilder builder;
  const Source* source = find_group(group.name);
  if (source == nullptr) {
    auto outcome = std::make_shared<Result<void>>();
    create_group(packed(group, builder), now, [outcome](const Result<void>& done) { *outcome = done; });
    return *outcome;
  }
  const auto& wanted = packed(group, builder);
  const auto spec = Filter::check(wanted.filter());
  if (!spec) return spec.error();
  const auto settings = settings_of(group.settings.get(), source->group->state.settings());
  if (!settings) return settings.error();
  const bool keeps_filter = wanted.filter() == nullptr || *spec == source->filter.spec();
  if (keeps_filter && *settings == source->group->state.settings()) return {};
  wire::GroupEditT edit;
  edit.name = group.name;
  edit.settings.reset(wanted.settings() != nullptr ? wanted.settings()->UnPack() : nullptr);
  if (!keeps_filter) edit.filter.reset(wanted.filter()->UnPack());
  flatbuffers::FlatBufferBuilder changes;
  return edit_group(packed(edit, changes), now);
}

Error Delivery::unknown_group(std::string_view name) { return {Code::unknown_group, "there is no group '" + std::string(name) + "'"}; }

Result<void> Delivery::remove_group(std::string_view name, bool letters) {
  Source* source = find_group(name);
  if (source == nullptr) return unknown_group(name);
  const auto number = source->group->number;
  const auto dead = source->group->state.letters().size();
  if (dead > 0 && (!letters || dead > limits::letters_moved_max)) {
    return Error{Code::group_busy, "group '" + std::string(name) + "' has " + std::to_string(dead) + " dead letters: " +
                                       (letters ? "too many to go at once, drop them first" : "drop them first, or let them go with it")};
  }
  std::vector<MemberId> members;
  for (const auto& [id, subscription] : subscriptions_) {
    if (subscription.source == source) members.push_back(id);
  }
  for (const MemberId member : members) end(member, Code::group_removed, "an operator removed group '" + std::string(name) + "'");
  staging_.put_row({store::Table::groups, number_key(number), std::nullopt});
  for (const auto table : {store::Table::open, store::Table::failures, store::Table::dead}) {
    staging_.put_row({table, event_key(number, Position::none), std::nullopt, after_group(number)});
  }
  drop_source(*source);
  by_number_.erase(number);
  groups_.erase(groups_.find(name));
  return {};
}

Delivery::Seek Delivery::preview_seek(const Source& group, Position next) const {
  const ConsumerGroup& state = group.group->state;
  Seek what{floor(group), state.open_count(), 0};
  state.letters().each([&](Position position, std::uint32_t) { what.letters += position >= next; });
  return what;
}

Result<Delivery::Seek> Delivery::seek(Source& group, Position next, Now now) {
  ConsumerGroup& state = group.group->state;
  const Seek what = preview_seek(group, next);
  if (!state.may_seek()) {
    return Error{Code::conflict, "group '" + group.group->name + "' was moved as often as it may be; copy it, and remove it"};
  }
  if (what.letters > limits::letters_moved_max) {
    return Error{Code::group_busy, std::to_string(what.letters) + " of " + std::to_string(state.letters().size()) + " dead letters lie beyond that position, too many "
                                   "to go at once: redrive or drop them first"};
  }
  group.following = false;
  state.seek(next - 1);
  forget_ahead(*group.group);
  for (const auto table : {store::Table::failures, store::Table::dead}) {
    staging_.put_row({table, event_key(group.group->number, next), std::nullopt, after_group(group.group->number)});
  }
  for (const MemberId member : state.member_ids()) subscriptions_.at(member).told = Position::none;
  changed(group, now);
  commit_due_ = now.steady;
  return what;
}

Position Delivery::floor(const Source& source) const {
  const ConsumerGroup& state = source.group->state;
  return state.open_count() == 0 ? scan_of(source) : state.floor();
}

Delivery::Settled Delivery::settled(std::uint32_t topic) {
  Settled settled{head()};
  for (const Source* source : watchers(topic)) {
    if (!source->group || floor(*source) >= settled.up_to) continue;
    settled = {floor(*source), source};
  }
  return settled;
}

const Source* Delivery::letter_keeper(std::uint32_t topic, Position position) {
  for (const Source* source : watchers(topic)) {
    if (source->group && source->group->state.letters().find(position) != nullptr) return source;
  }
  return nullptr;
}

const Source* Delivery::furthest_behind() const {
  const Source* last = nullptr;
  Position lowest = head();
  for (const auto& [name, source] : groups_) {
    const Position its = floor(*source);
    if (its < lowest) last = source.get();
    lowest = std::min(lowest, its);
  }
  return last;
}

wire::GroupInfoT Delivery::info(const Source& source, bool with_keys) const {
  const Group& group = *source.group;
  wire::GroupInfoT info;
  info.name = group.name;
  info.patterns = source.filter.spec().patterns;
  info.types = source.filter.spec().types;
  info.keys = source.filter.spec().keys;
  info.delivered = number(scan_of(source));
  info.floor = number(floor(source));
  info.committed = number(head());
  info.open = static_cast<std::uint32_t>(group.state.open_count());
  info.in_flight = static_cast<std::uint32_t>(group.state.in_flight());
  info.members = static_cast<std::uint32_t>(group.state.members());
  info.lag = info.committed - info.floor;
  info.acked = group.state.acked();
  info.redeliveries = group.state.redeliveries();
  info.stale_acks = group.state.stale_acks();
  info.settings = to_wire(group.state.settings());
  info.ack_wait_ms = *info.settings->ack_wait_ms;
  info.in_flight_max = *info.settings->in_flight_max;
  info.dead_letters = group.state.letters().size();
  info.skipped = group.state.skipped();
  info.expired = group.state.expired();
  info.failures = group.state.failures();
  if (with_keys) group.state.lanes().each_blocked([&](const Hash128&, std::size_t, bool) { ++info.blocked_keys; });
  info.filter = Filter::to_wire(source.filter.spec());
  info.created_at = nanoseconds(group.created_at);
  return info;
}

}  // namespace bus::broker
