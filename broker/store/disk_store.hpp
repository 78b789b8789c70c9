// DiskStore is the one implementation of Store. It owns the lock, the environment and the space ahead of it.
//
// Threads: the committer calls commit() and fill_ahead(), the only users of head_, broken_, packer_ and file_space_
// once recovery is done; readers use the environment, whose read transactions need no lock of ours; published_space_ is
// the one thing shared.
#pragma once

#include <mutex>

#include "broker/store/directory.hpp"
#include "broker/store/meta.hpp"
#include "broker/store/space.hpp"
#include "broker/store/store.hpp"

namespace bus::store {

class DiskStore final : public Store {
 public:
  struct Parts {
    File lock;
    lmdb::Environment env;
    Tables tables;
    Identity identity;
    StoredHead head;
    Trim trim;
    FileSpace space;
    Compression compression = Compression::none;
    bool read_only = false;
  };
  explicit DiskStore(Parts parts);

  const Identity& identity() const override { return identity_; }
  const Head& head() const override { return head_.head; }
  const Trim& trim() const override { return trim_; }
  Result<void> each_row(Table table, const RowVisitor& visit) const override;
  Result<std::uint64_t> count_rows(Table table) const override;
  Result<void> each_journal(std::uint64_t from_batch, const JournalVisitor& visit) const override;
  Result<void> each_record(Position from, const RecordVisitor& visit) const override;
  Result<void> commit(const CommitBatch& batch) override;
  Result<bool> fill_ahead() override;
  Space space() const override;
  std::unique_ptr<LogReader> reader() const override;

 private:
  void check(const CommitBatch& batch) const;
  Result<StoredHead> apply(const CommitBatch& batch);
  Result<StoredHead> write(lmdb::Transaction& txn, const CommitBatch& batch);
  Result<void> change_records(lmdb::Transaction& txn, const CommitBatch& batch);
  Result<void> write_journal(lmdb::Transaction& txn, const CommitBatch& batch, StoredHead& head) const;
  Result<void> trim_journal(lmdb::Transaction& txn, std::uint64_t replay_batch) const;
  Result<void> ensure_space(const lmdb::Transaction& txn);
  Result<void> refusal() const;
  Result<void> grow_if_short();
  void publish_space();
  void measure_free_pages();
  Result<void> drop_dead_readers_now_and_then();

  File lock_;                       // first, so that it is released last
  lmdb::Environment env_;
  Tables tables_;
  Identity identity_;
  StoredHead head_;
  Trim trim_;
  FileSpace file_space_;
  Packer packer_;
  std::uint64_t reusable_bytes_ = 0;
  std::uint32_t commits_since_measured_ = 0, commits_since_dropped_ = 0;
  const bool read_only_;
  bool broken_ = false;             // a commit or a sync has failed: what is on disk is not known
  mutable std::mutex space_mutex_;
  Space published_space_;
};

}  // namespace bus::store
