#include "libbus/projection/group.hpp"

#include <utility>

#include "base/limits.hpp"

namespace bus {

// ---- Projection::State

void Projection::State::Impl::change(std::size_t bytes) {
  ++changes;
  change_bytes += bytes;
  if (changes <= limits::projection_changes_max && change_bytes <= limits::projection_change_bytes_max) return;
  fail(Error{Code::bad_argument, "the fold of one event changes more than " + std::to_string(limits::projection_changes_max) + " rows or " +
                                     std::to_string(limits::projection_change_bytes_max) + " bytes"});
}

std::optional<std::string> Projection::State::get(std::string_view key) const {
  if (impl_.failed()) return std::nullopt;
  const auto value = impl_.rows.get(key);
  if (!value) return impl_.fail(value.error()), std::nullopt;
  return *value ? std::optional<std::string>(**value) : std::nullopt;
}

void Projection::State::put(std::string_view key, std::string_view value) {
  impl_.change(key.size() + value.size());
  if (!impl_.failed()) impl_.fail(impl_.rows.put(key, value));
}

void Projection::State::erase(std::string_view key) {
  impl_.change(key.size());
  if (!impl_.failed()) impl_.fail(impl_.rows.erase(key));
}

void Projection::State::scan(std::string_view prefix, const RowCallback& row) const {
  if (impl_.failed()) return;
  impl_.fail(projection::scan_rows([&](std::string_view after) { return impl_.rows.some(prefix, after); },
                                   [&](std::string_view key, std::string_view value) { return row(key, value) && !impl_.failed(); }));
}

void Projection::State::wrong_size(std::string_view key, std::size_t found, std::size_t wanted) const {
  impl_.fail(projection::wrong_size(key, found, wanted));
}

namespace projection {

namespace {

// What the fold threw, or nothing.
std::optional<std::string> call(const Projection::Fold& fold, const Event& event, Projection::State& state) {
  try {
    fold(event, state);
  } catch (const std::exception& thrown) {
    return thrown.what();
  } catch (...) {
    return "it threw something that is no std::exception";
  }
  return std::nullopt;
}

Error at(const Event& event, const Error& error) {
  return {error.code, "folding position " + std::to_string(number(event.position())) + ": " + error.detail};
}

}  // namespace

Result<void> Group::begin() {
  changes_ = change_bytes_ = 0;
  return file_.begin();
}

// A fold may well throw because the state has failed under it, which then is the reason.
Result<void> Group::apply(const Event& event) {
  Projection::State::Impl impl{file_.rows()};
  Projection::State state(impl);
  const auto thrown = call(fold_, event, state);
  changes_ += impl.changes;
  change_bytes_ += impl.change_bytes;
  if (impl.failed()) return at(event, impl.failure);
  if (thrown) return at(event, {Code::fold_failed, *thrown});
  return {};
}

Result<void> Group::give_up(Result<void> why) {
  file_.undo();
  events_.clear();
  bytes_ = 0;
  return why;
}

Result<void> Group::fold(Event event) {
  if (events_.empty()) {
    if (auto begun = begin(); !begun) return begun;
    due_ = std::chrono::steady_clock::now() + limits::projection_group_delay;
  }
  bytes_ += event.bytes().size();
  events_.push_back(std::move(event));
  auto done = apply(events_.back());
  if (!done && file_.map_is_full()) done = apply_again();
  return done ? done : give_up(done);
}

// With a larger map, as often as it takes.
Result<void> Group::apply_again() {
  Result<void> done;
  do {
    file_.undo();
    if (auto grown = file_.grow(); !grown) return events_.empty() ? grown : at(events_.back(), grown.error());
    if (done = begin(); !done) return done;
    for (std::size_t next = 0; done && next < events_.size(); ++next) done = apply(events_[next]);
  } while (!done && file_.map_is_full());
  return done;
}

Result<void> Group::commit(Position position) {
  if (events_.empty()) {
    if (auto begun = begin(); !begun) return begun;
  }
  auto done = file_.commit(position);
  while (!done && file_.map_was_full()) {
    if (auto again = apply_again(); !again) return give_up(again);
    done = file_.commit(position);
  }
  return give_up(done);
}

bool Group::is_due(SteadyTime now) const {
  if (events_.empty()) return false;
  return events_.size() >= limits::projection_group_events || bytes_ >= limits::projection_group_bytes ||
         changes_ >= limits::projection_group_changes || change_bytes_ >= limits::projection_group_change_bytes || now >= due_;
}

}  // namespace projection
}  // namespace bus
