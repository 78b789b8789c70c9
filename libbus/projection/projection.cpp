// What services call: opening, waiting, reading, the end. run.cpp is the thread.
#include "bus/projection.hpp"

#include <utility>

#include "base/bytes.hpp"
#include "base/limits.hpp"
#include "libbus/projection/filter_text.hpp"
#include "libbus/projection/impl.hpp"

namespace bus {

namespace fs = std::filesystem;

namespace {

constexpr auto snapshot_life_max = std::chrono::minutes(1);
constexpr auto forever = std::chrono::hours(24 * 365);

Error closed() { return {Code::closed, "the projection was closed"}; }

SteadyTime after(Duration wait) { return std::chrono::steady_clock::now() + std::min<Duration>(wait, forever); }

}  // namespace

// ---- opening

Result<void> Projection::Impl::check() const {
  const auto bad = [](const std::string& what) { return Error{Code::bad_argument, what}; };
  if (!fold) return bad("a projection needs a fold");
  if (options.name.empty() || options.name.size() > limits::projection_name_bytes_max) {
    return bad("a projection's name has 1 to " + std::to_string(limits::projection_name_bytes_max) + " bytes, not " + std::to_string(options.name.size()));
  }
  if (options.file.empty()) return bad("projection '" + options.name + "' has no file");
  if (options.snapshot_life <= Duration(0) || options.snapshot_life > snapshot_life_max) return bad("snapshot_life is above 0, and at most 1 min");
  if (options.file_bytes_max < limits::projection_map_bytes || options.file_bytes_max > limits::projection_map_bytes_max) {
    return bad("file_bytes_max is from " + std::to_string(limits::projection_map_bytes) + " to " + std::to_string(limits::projection_map_bytes_max));
  }
  return {};
}

projection::Identity Projection::Impl::identity() const {
  return {options.name, client.server().log_id, client.server().history, options.version, projection::describe(options.filter)};
}

Result<void> Projection::Impl::check_identity(const projection::Identity& found) const {
  const auto ours = identity();
  const auto is_of = [&](const std::string& what) { return options.file.string() + " holds the state of " + what; };
  if (found.name != ours.name) return Error{Code::projection_mismatch, is_of("projection '" + found.name + "': choose another file")};
  if (found.log_id != ours.log_id) {
    return Error{Code::log_changed, is_of("log " + hexadecimal(found.log_id) + ", and the broker serves " + hexadecimal(ours.log_id) +
                                          ": connect to the right one, or remove the file to have the state rebuilt")};
  }
  if (found.history != ours.history) {
    return Error{Code::log_changed, is_of("history " + std::to_string(found.history) + " of the log, and the broker serves " +
                                          std::to_string(ours.history) + " after a restore: remove the file to have the state rebuilt")};
  }
  if (found.filter != ours.filter) {
    return Error{Code::projection_mismatch, is_of("the filter: " + found.filter + "; asked for: " + ours.filter +
                                                  ". Choose another file, or remove this one to have the state rebuilt")};
  }
  if (found.version != ours.version && !options.rebuild_if_changed) {
    return Error{Code::fold_changed, is_of("version " + std::to_string(found.version) + " of the fold, and this is " + std::to_string(ours.version) +
                                           ": open it with rebuild_if_changed, or remove the file")};
  }
  return {};
}

Error Projection::Impl::named(const Error& error) const {
  return {error.code, "projection '" + options.name + "' ended at position " + std::to_string(number(stored)) + ": " + error.detail};
}

Result<Position> Projection::Impl::ask_head() const {
  wire::AskUnion ask;
  ask.Set(wire::StatusRequestT());
  const auto answer = client.request(std::move(ask));
  if (!answer) return answer.error();
  const auto* status = answer->reply->answer.AsStatusReply();
  if (status == nullptr) return Error{Code::malformed, "the broker did not answer with its status"};
  return Position{status->committed};
}

// Two paths to one file are one file.
Result<void> Projection::Impl::open() {
  if (auto good = check(); !good) return good;
  std::error_code failed;
  const auto canonical = fs::weakly_canonical(options.file, failed);
  if (!failed) options.file = canonical;
  auto taken = projection::Owner::take(options.file);
  if (!taken) return taken.error();
  owner = std::move(*taken);
  if (auto removed = projection::remove_new(options.file); !removed) return removed;
  auto opened = fs::exists(options.file, failed) ? open_file() : make_file();
  if (!opened) return opened;
  thread = std::thread([this] { run(); });
  return {};
}

Result<void> Projection::Impl::open_file() {
  auto found = projection::StateFile::open(options.file, bounds());
  if (!found) return found.error();
  if (auto ours = check_identity((*found)->identity()); !ours) return ours;
  file = std::move(*found);
  reached = stored = file->position();
  if (file->identity().version != options.version) {
    ++rebuilds_asked;
    return begin_rebuild();
  }
  work = std::make_unique<Work>(file, fold, false, std::chrono::steady_clock::now());
  return begin_source(file->position());
}

// Only once the broker has accepted the filter: a file with a bad one would be in the way of the right one.
Result<void> Projection::Impl::make_file() {
  if (auto begun = begin_source(Position::none); !begun) return begun;
  auto made = projection::StateFile::create(projection::new_path(options.file), identity(), bounds());
  if (!made) return made.error();
  if (auto placed = projection::put_in_place(options.file); !placed) return placed;
  file = std::move(*made);
  work = std::make_unique<Work>(file, fold, false, std::chrono::steady_clock::now());
  return begin_source(Position::none);
}

Result<Projection> Projection::open(Client& client, Options options, Fold fold) {
  auto impl = std::make_shared<Impl>(client, std::move(options), std::move(fold));
  if (auto opened = impl->open(); !opened) {
    // What it had begun to rebuild is nobody's.
    if (impl->rebuilds_asked > 0) static_cast<void>(projection::remove_new(impl->options.file).ok());
    return opened.error();
  }
  return Projection(std::move(impl));
}

Projection::Projection(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Projection::Projection(Projection&&) noexcept = default;

Projection& Projection::operator=(Projection&& other) noexcept {
  if (impl_) static_cast<void>(close().ok());
  impl_ = std::move(other.impl_);
  return *this;
}

Projection::~Projection() {
  if (impl_) static_cast<void>(close().ok());
}

// ---- waiting

Position Projection::position() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->reached;
}

// True: nothing that matches is in (from, to]. `lock` is given up meanwhile.
bool Projection::Impl::is_nothing_between(Position from, Position to, SteadyTime deadline, std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  ReplayOptions range;
  range.filter = options.filter;
  range.from = At::position(from + 1);
  range.to = At::position(to);
  range.credit_events = 1;
  auto between = client.replay(range);
  const auto first = between.read(deadline);
  const bool is_nothing = first && !*first && std::chrono::steady_clock::now() < deadline;
  lock.lock();
  return is_nothing;
}

// The broker tells a subscription that it is caught up when something on its topics was published. For what else was, one
// looks: once for each place that the projection has come to, and after a moment in which the event itself would have come.
Result<void> Projection::Impl::wait_until(Position position, SteadyTime deadline) {
  constexpr auto moment = std::chrono::milliseconds(5);
  std::unique_lock lock(mutex);
  std::optional<Position> looked;
  while (reached < position && !ended && !closing) {
    const auto from = reached;
    const auto until = looked == from ? deadline : std::min<SteadyTime>(deadline, std::chrono::steady_clock::now() + moment);
    if (changed.wait_until(lock, until, [&] { return reached != from || ended || closing; })) continue;
    if (until == deadline) {
      return Error{Code::timed_out, "projection '" + options.name + "' is at position " + std::to_string(number(reached)) + ", and not yet at " +
                                        std::to_string(number(position))};
    }
    looked = from;
    if (is_nothing_between(from, position, deadline, lock)) reached = std::max(reached, position);
    changed.notify_all();
  }
  if (reached >= position) return {};
  return why ? Result<void>(closed()) : why;
}

Result<void> Projection::wait_until(Position position, Duration deadline) const { return impl_->wait_until(position, after(deadline)); }

Result<void> Projection::catch_up(Duration deadline) const {
  const auto until = after(deadline);
  const auto head = impl_->ask_head();
  return head ? impl_->wait_until(*head, until) : Result<void>(head.error());
}

Result<void> Projection::wait() const {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait(lock, [this] { return impl_->ended; });
  return impl_->why;
}

Result<void> Projection::rebuild() {
  std::unique_lock lock(impl_->mutex);
  if (impl_->closing) return closed();
  const auto mine = ++impl_->rebuilds_asked;
  impl_->source->close();
  impl_->changed.wait(lock, [&] { return impl_->rebuilds_done >= mine || impl_->ended; });
  if (impl_->rebuilds_done >= mine) return {};
  return impl_->why ? Result<void>(closed()) : impl_->why;
}

Result<void> Projection::close() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->closing = true;
    if (impl_->source) impl_->source->close();
    impl_->changed.notify_all();
  }
  {
    const std::lock_guard lock(impl_->join_mutex);
    if (impl_->thread.joinable()) impl_->thread.join();
    impl_->file->close();
    for (const auto& one : impl_->retired) {
      if (const auto old = one.lock()) old->close();
    }
    impl_->owner = {};
  }
  return wait();
}

// ---- reading

// What is named is never less than what position() has said before: where the transaction is that of the last checkpoint, nothing
// that matches came between that and `reached`.
Result<Projection::Snapshot> Projection::read() const {
  std::unique_lock lock(impl_->mutex);
  const auto file = impl_->file;
  const auto stored = impl_->stored, reached = impl_->reached;
  lock.unlock();
  auto reader = file->read();
  if (!reader) return reader.error();
  const auto position = (*reader)->position() == stored ? reached : (*reader)->position();
  return Snapshot(std::make_shared<Snapshot::Impl>(Snapshot::Impl{std::move(*reader), position}));
}

Position Projection::Snapshot::position() const { return impl_->position; }
std::uint64_t Projection::Snapshot::version() const { return impl_->reader->version(); }
Result<std::optional<std::string>> Projection::Snapshot::get(std::string_view key) const { return impl_->reader->get(key); }

Result<void> Projection::Snapshot::scan(std::string_view prefix, const RowCallback& row) const {
  return projection::scan_rows([&](std::string_view behind) { return impl_->reader->some(prefix, behind); }, row);
}

Error Projection::Snapshot::wrong_size(std::string_view key, std::size_t found, std::size_t wanted) {
  return projection::wrong_size(key, found, wanted);
}

}  // namespace bus
