// The projection's thread: reads the log, folds, checkpoints, rebuilds.
#include <algorithm>
#include <utility>

#include "base/limits.hpp"
#include "libbus/projection/impl.hpp"

namespace bus {

namespace {

SteadyTime clock_now() { return std::chrono::steady_clock::now(); }

constexpr auto long_wait = std::chrono::hours(1);

}  // namespace

void Projection::Impl::run() {
  auto end = fold_all();
  const bool is_half_built = !work || work->rebuilding;
  if (work) work->file->undo();
  work.reset();
  if (is_half_built) {
    if (auto removed = projection::remove_new(options.file); !removed && end) end = removed;
  }
  const std::lock_guard lock(mutex);
  ended = true;
  why = end ? end : Result<void>(named(end.error()));
  changed.notify_all();
}

Result<void> Projection::Impl::fold_all() {
  for (;;) {
    if (closing) return work->rebuilding ? Result<void>() : checkpoint(furthest());
    if (is_rebuild_asked()) {
      if (auto begun = begin_rebuild(); !begun) return begun;
    }
    auto event = next_event();
    if (!event) {
      if (closing || is_rebuild_asked()) continue;
      auto stored_all = work->rebuilding ? Result<void>() : checkpoint(furthest());
      return stored_all ? Result<void>(event.error()) : stored_all;
    }
    const auto caught_up = source->caught_up();  // before: what is missing up to there is known then
    if (auto whole = check_trimmed(work->reached); !whole) return whole;
    if (auto done = *event ? take(std::move(**event)) : pause(caught_up); !done) return done;
  }
}

// ---- reading

// An empty log has no head that the broker would say was reached.
Result<void> Projection::Impl::begin_source(Position after) {
  const auto head = ask_head();
  if (!head) return head.error();
  ReplayOptions range;
  range.filter = options.filter;
  range.from = At::position(after + 1);  // not `start`: what was trimmed must not be passed over in silence
  range.to = {};
  {
    const std::lock_guard lock(mutex);
    source = client.replay(range);
    if (closing) source->close();
  }
  auto first = source->read(clock_now());
  if (!first && first.error().code == Code::beyond_end) {
    return Error{Code::log_changed, "the state is that of position " + std::to_string(number(after)) + ", but the log ends earlier: " +
                                        first.error().detail + "; remove " + options.file.string() + " to have the state rebuilt"};
  }
  if (!first) return first.error();
  if (auto whole = check_trimmed(after); !whole) return whole;
  if (work) {
    work->head = *head;
    work->first = std::move(*first);
  }
  return {};
}

Result<std::optional<Event>> Projection::Impl::next_event() {
  if (auto first = std::exchange(work->first, std::nullopt)) return first;
  if (!work->caught_up && work->head == Position::none) return std::optional<Event>();
  return source->read(next_deadline());
}

SteadyTime Projection::Impl::next_deadline() const {
  if (!work->group.is_empty()) return work->group.due();
  if (work->reached > work->file->position()) return work->committed_at + limits::projection_group_delay;
  return clock_now() + long_wait;
}

// Nothing that lies behind what is missing may be folded as if all was there.
Result<void> Projection::Impl::check_trimmed(Position folded_to) const {
  const Trimmed trimmed = source->trimmed();
  if (options.skip_trimmed || trimmed.to <= folded_to) return {};
  return Error{Code::trimmed, "retention has removed events up to position " + std::to_string(number(trimmed.to)) + " which were not folded yet; have the state made of what is left with skip_trimmed"};
}

// ---- folding

Result<void> Projection::Impl::take(Event event) {
  const auto position = event.position();
  if (auto folded = work->group.fold(std::move(event)); !folded) return folded;
  work->reached = position;
  const auto now = clock_now();
  work->pace.folded(position);
  if (!work->caught_up && work->pace.is_due(now)) tell_progress(now);
  return work->group.is_due(now) ? checkpoint(position) : Result<void>();
}

// Nothing is left to read, or it was time for a checkpoint.
Result<void> Projection::Impl::pause(Position position) {
  const bool at_head = position >= work->reached && (position != Position::none || work->head == Position::none);
  if (at_head && (position > work->reached || !work->group.is_empty() || !work->caught_up)) return reach_head(position);
  const auto now = clock_now();
  const bool is_late = work->reached > work->file->position() && now >= work->committed_at + limits::projection_group_delay;
  return work->group.is_due(now) || is_late ? checkpoint(work->reached) : Result<void>();
}

// Where nothing matched, only memory knows for a while how far it is: a busy log must not cost a sync for each of its events.
Result<void> Projection::Impl::reach_head(Position position) {
  const bool has_changes = !work->group.is_empty();
  work->reached = position;
  if (has_changes || work->rebuilding) {
    if (auto done = checkpoint(position); !done) return done;
  }
  if (work->rebuilding) {
    if (auto done = swap_in(); !done) return done;
  }
  announce(position);
  if (std::exchange(work->caught_up, true)) return {};
  if (options.progress) options.progress(work->pace.tell_done(position, clock_now()));
  return {};
}

Result<void> Projection::Impl::checkpoint(Position position) {
  if (work->group.is_empty() && position == work->file->position()) return {};
  if (auto done = work->group.commit(position); !done) return done;
  work->committed_at = clock_now();
  work->file->end_old_readers();
  if (!work->rebuilding) announce(position);
  return {};
}

void Projection::Impl::announce(Position now_reached) {
  const std::lock_guard lock(mutex);
  reached = std::max(reached, now_reached);
  stored = work->file->position();
  changed.notify_all();
}

// Others may have seen that nothing matched for a while.
Position Projection::Impl::furthest() {
  const std::lock_guard lock(mutex);
  return std::max(reached, work->reached);
}

// The head moves on while a long log is read.
void Projection::Impl::tell_progress(SteadyTime now) {
  if (!options.progress) return;
  if (const auto head = ask_head()) work->head = std::max(work->head, *head);
  options.progress(work->pace.tell(work->head, now));
}

// ---- rebuilding

// One that is asked for while another is at work begins anew.
Result<void> Projection::Impl::begin_rebuild() {
  rebuild_at_work = rebuilds_asked;
  if (work && !work->rebuilding) {
    if (auto done = checkpoint(work->reached); !done) return done;
  }
  work.reset();
  if (auto removed = projection::remove_new(options.file); !removed) return removed;
  auto made = projection::StateFile::create(projection::new_path(options.file), identity(), bounds());
  if (!made) return made.error();
  work = std::make_unique<Work>(std::move(*made), fold, true, clock_now());
  auto begun = begin_source(Position::none);
  if (!begun && begun.error().code == Code::closed && closing) return {};
  return begun;
}

Result<void> Projection::Impl::swap_in() {
  if (auto placed = projection::put_in_place(options.file); !placed) return placed;
  auto next = std::make_unique<Work>(work->file, fold, false, clock_now());
  next->pace = work->pace;
  next->head = work->head;
  work = std::move(next);
  const std::lock_guard lock(mutex);
  std::erase_if(retired, [](const auto& one) { return one.expired(); });
  retired.push_back(std::exchange(file, work->file));
  rebuilds_done = rebuild_at_work;
  stored = work->reached;
  reached = std::max(reached, stored);   // nothing matched between those two, or the rebuild would have come to it
  changed.notify_all();
  return {};
}

}  // namespace bus
