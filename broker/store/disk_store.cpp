#include "broker/store/disk_store.hpp"

#include "base/check.hpp"
#include "broker/store/disk_reader.hpp"

namespace bus::store {

DiskStore::DiskStore(Parts parts)
    : lock_(std::move(parts.lock)),
      env_(std::move(parts.env)),
      tables_(parts.tables),
      identity_(parts.identity),
      head_(parts.head),
      trim_(parts.trim),
      file_space_(parts.space),
      packer_(parts.compression),
      read_only_(parts.read_only) {
  publish_space();
}

std::unique_ptr<LogReader> DiskStore::reader() const {
  return std::make_unique<DiskReader>(env_, tables_, identity_.log_id, [this] { return space(); });
}

Space DiskStore::space() const {
  const std::lock_guard guard(space_mutex_);
  return published_space_;
}

void DiskStore::publish_space() {
  Space space = file_space_.figures();
  space.reusable_bytes = space.full ? reusable_bytes_ : 0;
  const std::lock_guard guard(space_mutex_);
  published_space_ = space;
}

// The list may be long, so it is looked through now and then. A figure that cannot be had counts as none.
void DiskStore::measure_free_pages() {
  constexpr std::uint32_t commits = 16;
  if (!file_space_.figures().full || commits_since_measured_++ % commits != 0) return;
  const auto pages = env_.free_pages(limits::record_bytes_target / lmdb::page_bytes);
  reusable_bytes_ = pages ? *pages * lmdb::page_bytes : 0;
}

Result<void> DiskStore::refusal() const {
  BUS_CHECK(!read_only_);
  if (!broken_) return {};
  return Error{Code::disk_error, "an earlier write failed, so it is not known what is on disk; open the log anew"};
}

// Of copies that were broken off: what they saw is kept otherwise. While there is load there is no idle moment.
Result<void> DiskStore::drop_dead_readers_now_and_then() {
  constexpr std::uint32_t commits = 256;
  if (++commits_since_dropped_ < commits) return {};
  commits_since_dropped_ = 0;
  return env_.drop_dead_readers();
}

Result<bool> DiskStore::fill_ahead() {
  if (auto refused = refusal(); !refused) return refused.error();
  if (auto dropped = env_.drop_dead_readers(); !dropped) return dropped.error();
  auto filled = file_space_.fill();
  if (!filled) broken_ = true;
  commits_since_measured_ = 0;
  measure_free_pages();
  publish_space();
  return filled;
}

Result<void> DiskStore::grow_if_short() {
  Result<void> grown;
  if (file_space_.is_short()) grown = file_space_.grow();
  if (!grown) broken_ = true;
  measure_free_pages();
  publish_space();
  return grown;
}

}  // namespace bus::store
