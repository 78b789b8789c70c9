// DiskReader is the one implementation of LogReader: each call is one read transaction of its own, but those of a backup. It must not outlive
// the store.
#pragma once

#include <functional>

#include "broker/store/backup_reader.hpp"
#include "broker/store/log_cursor.hpp"
#include "broker/store/meta.hpp"
#include "broker/store/store.hpp"

namespace bus::store {

class DiskReader final : public LogReader {
 public:
  DiskReader(const lmdb::Environment& env, const Tables& tables, const LogId& log_id, std::function<Space()> space)
      : env_(env), tables_(tables), log_id_(log_id), space_(std::move(space)), backup_(env, tables) {}

  Result<std::vector<RecordPtr>> records(Position from, std::size_t bytes_max) override;
  Result<Position> position_at(WallTime time) override;
  Result<std::vector<std::optional<KeyHead>>> key_heads(std::span<const Hash128> keys) override;
  Result<SequenceSlice> find_sequences(std::uint32_t publisher, Position from, std::span<const std::uint64_t> sequences,
                                       std::size_t records_max) override;
  Result<KeySlice> find_key(const Hash128& key, Position from, Position after, std::size_t most, std::size_t records_max) override;
  Result<KeyEvents> key_events(const KeyRange& range) override;
  Result<PrioritySlice> find_priority(Position from, std::uint8_t priorities, std::size_t records_max) override;
  Result<IndexSlice> indexes(Position from, std::size_t records_max) override;
  Result<Rows> rows(const RowRange& range) override;
  Result<Stat> stat() override;
  Result<VerifySlice> verify(Position from, std::uint64_t chain, std::size_t bytes_max) override;
  Result<BackupSlice> backup(const BackupAsk& ask) override { return backup_.read(ask); }

 private:
  Result<RecordPtr> first_record(const lmdb::Transaction& txn, LogCursor& cursor, Position from) const;
  Result<RecordPtr> none_from(const lmdb::Transaction& txn, Position from, Position gap) const;

  const lmdb::Environment& env_;
  const Tables& tables_;
  LogId log_id_;
  std::function<Space()> space_;
  BackupReader backup_;
};

}  // namespace bus::store
