// SimSaver makes backups as bus-cli does: it copies the records there are, begins a snapshot, and reads from that what has changed
// meanwhile and all other tables, in slices while everything goes on. A backup that is broken off is forgotten.
#pragma once

#include <deque>
#include <map>
#include <vector>

#include "broker/store/backup_restore.hpp"
#include "tests/sim/client.hpp"
#include "tests/support/temp_dir.hpp"

namespace bus::sim {

class SimSaver final : public SimClient {
 public:
  SimSaver(Env& env, const std::string& name);
  // Steps of its own follow each other fast, as a backup takes many.
  void act() override {
    for (int count = 0; count < 4; ++count) SimClient::act();
  }
  bool done() const override { return phase_ == Phase::idle && has_backup(); }
  std::string state() const override { return name_ + " is in phase " + std::to_string(static_cast<int>(phase_)) + " of a backup"; }

  bool has_backup() const { return !backups_.empty(); }
  // Makes a log of one of the backups, there. Returns how it was when that began.
  const Ledger::Moment& restore(const std::filesystem::path& dir) const;

 private:
  enum class Phase { idle, look, copy, begin, look_again, copy_rest, rows, end };
  struct Stored {
    wire::StoredRecord told;
    Buffer bytes;
    std::optional<store::BackupEntry> entry = {};        // once it is in the repository
  };
  struct Row {
    std::uint8_t table = 0;
    std::string key, value;
  };
  void begin(const wire::Welcome&) override {}
  void take(const wire::Message& message, Bytes body) override;
  void work() override;
  void end() override { give_up(); }

  template <typename T>
  void ask(T what);
  void give_up();
  void ask_next();
  void take_index(const wire::BackupIndexReply& reply);
  void take_records(const wire::BackupRecordsReply& reply, Bytes body);
  void take_rows(const wire::BackupRowsReply& reply, Bytes body);
  void write();
  void write_tables(store::Backup& backup, store::BackupMeta& meta);

  const std::uint64_t eager_;            // how often it begins a backup, in percent
  test::TempDir repository_;
  std::vector<store::Backup> backups_;
  std::vector<Ledger::Moment> moments_;  // of each of them
  Phase phase_ = Phase::idle;
  std::uint64_t waiting_ = 0, next_request_ = 1;         // waiting_: for the answer to this one; 0: for none
  std::uint64_t snapshot_ = 0, from_ = 1;                // snapshot_ 0: the log as it is
  Ledger::Moment moment_;
  std::vector<wire::StoredRecord> index_;
  std::deque<std::pair<std::uint64_t, std::uint64_t>> missing_;  // the first and the last of records that follow each other
  std::map<std::uint64_t, Stored> known_;                // by first position
  std::vector<Row> rows_;
  std::uint8_t table_ = 1;
  std::string after_;
};

}  // namespace bus::sim
