#include "libbus/projection/state_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "base/check.hpp"
#include "base/limits.hpp"

namespace bus::projection {

namespace {

constexpr std::uint32_t format_version = 1;
constexpr unsigned readers_spare = 8;    // of LMDB's table, beyond what is given out
constexpr std::string_view identity_key = "identity", position_key = "position";

SteadyTime now() { return std::chrono::steady_clock::now(); }

Error closed() { return {Code::closed, "the projection was closed"}; }

std::string encode(const Identity& identity) {
  Writer writer;
  writer.put(format_version).put_string(identity.name).put_string(text_of(identity.log_id)).put(identity.history).put(identity.version);
  return writer.put_string(identity.filter).take();
}

Result<Identity> decode(std::string_view bytes) {
  bus::Reader reader(bytes);
  Identity identity;
  if (const auto format = reader.get<std::uint32_t>(); format != format_version) {
    return Error{Code::bad_format, "it has format " + std::to_string(format) + "; this libbus-projection knows " + std::to_string(format_version)};
  }
  identity.name = reader.get_string();
  const auto log = reader.get_string();
  identity.log_id.assign(log.begin(), log.end());
  identity.history = reader.get<std::uint64_t>();
  identity.version = reader.get<std::uint64_t>();
  identity.filter = reader.get_string();
  if (!reader.done()) return Error{Code::damaged, "the row that says whose state it is makes no sense"};
  return identity;
}

// A file shorter than the pages LMDB counts on would end the process when one is touched; zeros are found to be damage. (Pages
// that no commit has ever filled may be missing at the end of a sound file.)
Result<void> cover_pages(const lmdb::Environment& env) {
  struct stat info {};
  if (::fstat(env.descriptor(), &info) != 0) return Error{Code::disk_error, "its size cannot be read"};
  const auto used = static_cast<off_t>(env.used_bytes());
  if (info.st_size < used && ::ftruncate(env.descriptor(), used) != 0) return Error{Code::disk_error, "it is too short, and cannot be made longer"};
  return {};
}

}  // namespace

// ---- opening

Result<std::shared_ptr<StateFile>> StateFile::open_env(const std::filesystem::path& path, const Bounds& bounds) {
  std::error_code ignored;
  const auto size = std::filesystem::file_size(path, ignored);
  const auto there = ignored ? 0 : static_cast<std::uint64_t>(size);
  const auto first = std::min<std::uint64_t>(bounds.file_bytes_max, limits::projection_map_bytes);
  auto env = lmdb::Environment::open(path, std::max(first, there), limits::projection_snapshots_max + readers_spare);
  if (!env) return env.error();
  return std::shared_ptr<StateFile>(new StateFile(std::move(*env), bounds));
}

Result<std::shared_ptr<StateFile>> StateFile::create(const std::filesystem::path& path, const Identity& identity, const Bounds& bounds) {
  auto file = open_env(path, bounds);
  if (!file) return file;
  if (auto written = (*file)->write_identity(identity); !written) return written.error();
  return file;
}

Result<void> StateFile::write_identity(const Identity& identity) {
  auto transaction = env_->begin(lmdb::Access::write);
  if (!transaction) return transaction.error();
  const auto meta = transaction->open_table("meta", true);
  if (!meta) return meta.error();
  const auto state = transaction->open_table("state", true);
  if (!state) return state.error();
  meta_ = *meta;
  state_ = *state;
  identity_ = identity;
  if (auto put = transaction->put(meta_, identity_key, sealed(identity_key, encode(identity))); !put) return put;
  const auto position = Writer().put(Position::none).take();
  if (auto put = transaction->put(meta_, position_key, sealed(position_key, position)); !put) return put;
  return transaction->commit();
}

Result<std::shared_ptr<StateFile>> StateFile::open(const std::filesystem::path& path, const Bounds& bounds) {
  auto file = open_env(path, bounds);
  const auto named = [&](Error error) { return Error{error.code, path.string() + ": " + error.detail}; };
  if (!file) return named(file.error());
  if (auto covered = cover_pages(*(*file)->env_); !covered) return named(covered.error());
  if (auto loaded = (*file)->load(); !loaded) return named(loaded.error());
  return file;
}

Result<void> StateFile::load() {
  auto transaction = env_->begin(lmdb::Access::read);
  if (!transaction) return transaction.error();
  const auto meta = transaction->open_table("meta", false);
  if (!meta) return meta.error();
  const auto state = transaction->open_table("state", false);
  if (!state) return state.error();
  meta_ = *meta;
  state_ = *state;
  const auto bytes = this->meta(*transaction, identity_key);
  if (!bytes) return bytes.error();
  auto identity = decode(*bytes);
  if (!identity) return identity.error();
  identity_ = std::move(*identity);
  const auto position = position_in(*transaction);
  if (!position) return position.error();
  position_ = *position;
  return transaction->commit();          // the tables' handles are those of a transaction until it has ended well
}

Result<std::string_view> StateFile::meta(const lmdb::Transaction& transaction, std::string_view key) const {
  const auto stored = transaction.get(meta_, key);
  if (!stored) return stored.error();
  if (!*stored) return Error{Code::bad_format, "it has no row " + quoted(key)};
  const auto value = unsealed(key, **stored);
  if (!value) return Error{Code::damaged, "the row " + quoted(key) + " does not match its checksum"};
  return *value;
}

Result<Position> StateFile::position_in(const lmdb::Transaction& transaction) const {
  const auto bytes = meta(transaction, position_key);
  if (!bytes) return bytes.error();
  return bus::Reader(*bytes).get<Position>();
}

StateFile::~StateFile() { close(); }

// ---- the one that writes

Result<void> StateFile::begin() {
  BUS_CHECK(!writing_);
  map_was_full_ = false;
  changes_.clear();
  auto transaction = env_->begin(lmdb::Access::write);
  if (!transaction) return transaction.error();
  writing_.emplace(std::move(*transaction));
  return {};
}

Result<void> StateFile::commit(Position position) {
  auto done = rows().flush();
  if (done) done = writing_->put(meta_, position_key, sealed(position_key, Writer().put(position).take()));
  if (done) done = writing_->commit();
  map_was_full_ = writing_->map_is_full();
  writing_.reset();
  if (done) position_ = position;
  return done;
}

void StateFile::undo() {
  writing_.reset();
  changes_.clear();
}

Result<void> StateFile::grow() {
  BUS_CHECK(!writing_);
  std::unique_lock lock(mutex_);
  const auto bytes = std::min(env_->map_bytes() * 2, bounds_.file_bytes_max);
  if (bytes <= env_->map_bytes()) {
    return Error{Code::log_full, "the state needs more than file_bytes_max, " + std::to_string(bounds_.file_bytes_max) + " bytes"};
  }
  growing_ = true;
  for (auto due = end_readers_due(now()); due != SteadyTime::max(); due = end_readers_due(now())) changed_.wait_until(lock, due);
  auto set = env_->set_map_bytes(bytes);
  growing_ = false;
  changed_.notify_all();
  return set;
}

// ---- readers

Result<std::shared_ptr<Reader>> StateFile::read() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !growing_; });
  if (!env_) return closed();
  if (readers_.size() >= limits::projection_snapshots_max) {
    return Error{Code::busy, std::to_string(readers_.size()) + " snapshots of this state are open, as many as may be: let go of some"};
  }
  auto transaction = env_->begin(lmdb::Access::read);
  if (!transaction) return transaction.error();
  const auto position = position_in(*transaction);
  if (!position) return position.error();
  auto reader = std::make_shared<Reader>(shared_from_this(), std::move(*transaction), now() + bounds_.snapshot_life);
  reader->position_ = *position;
  readers_.insert(reader.get());
  return reader;
}

// Returns when the next one's life is over; max: none is left that sees the file.
SteadyTime StateFile::end_readers_due(SteadyTime at) {
  SteadyTime next = SteadyTime::max();
  for (Reader* reader : readers_) {
    if (reader->ends_ <= at) {
      reader->end({Code::timed_out, "the life of this snapshot is over: take another"});
    } else {
      next = std::min(next, reader->ends_);
    }
  }
  return next;
}

void StateFile::end_old_readers() {
  const std::lock_guard lock(mutex_);
  end_readers_due(now());
}

void StateFile::close() {
  const std::lock_guard lock(mutex_);
  for (Reader* reader : readers_) reader->end(closed());
  writing_.reset();
  env_.reset();
}

// ---- Reader

Reader::Reader(std::shared_ptr<StateFile> file, lmdb::Transaction transaction, SteadyTime ends)
    : file_(std::move(file)), ends_(ends), transaction_(std::move(transaction)) {}

Reader::~Reader() {
  const std::lock_guard lock(file_->mutex_);
  transaction_.reset();
  file_->readers_.erase(this);
  file_->changed_.notify_all();
}

std::uint64_t Reader::version() const { return file_->identity().version; }

void Reader::end(const Error& why) {
  const std::lock_guard lock(mutex_);
  if (!transaction_) return;
  transaction_.reset();
  why_ = why;
}

Result<void> Reader::check_life() {
  if (transaction_ && now() < ends_) return {};
  if (transaction_) {
    transaction_.reset();
    why_ = {Code::timed_out, "the life of this snapshot is over: take another"};
  }
  return why_;
}

Result<std::optional<std::string>> Reader::get(std::string_view key) {
  const std::lock_guard lock(mutex_);
  if (auto lives = check_life(); !lives) return lives.error();
  const auto value = Rows(*transaction_, file_->state_).get(key);
  if (!value) return value.error();
  return *value ? std::optional<std::string>(**value) : std::nullopt;
}

Result<std::vector<RowCopy>> Reader::some(std::string_view prefix, std::string_view after) {
  const std::lock_guard lock(mutex_);
  if (auto lives = check_life(); !lives) return lives.error();
  return Rows(*transaction_, file_->state_).some(prefix, after);
}

}  // namespace bus::projection
