// Samples of what backups ask, and of the answers, for Samples.
#pragma once

#include "wire/message.hpp"

namespace bus::testing {

template <typename Ask>
void backup_asks(Ask ask) {
  ask(wire::BackupBeginT());
  wire::BackupEndT end;
  end.snapshot = 3;
  ask(end);
  wire::BackupIndexT index;
  index.snapshot = 3, index.from = 17;
  ask(index);
  wire::BackupRecordsT records;
  records.snapshot = 3, records.from = 17, records.to = 20;
  ask(records);
  wire::BackupRowsT rows;
  rows.snapshot = 3, rows.table = 12;
  rows.after = {'h', 'e', 'a', 'd'};
  ask(rows);
}

template <typename Reply>
void backup_replies(Reply reply) {
  wire::BackupBegunT begun;
  begun.snapshot = 3;
  reply(begun);
  wire::BackupIndexReplyT index;
  index.records = {wire::StoredRecord(17, 1'800'000'000'000'000'000, 99, 428, 3)};
  index.next = 20;
  reply(index);
  wire::BackupRecordsReplyT records;
  records.records = index.records;
  records.next = 20;
  reply(records);
  wire::BackupRowsReplyT rows;
  rows.rows = {wire::StoredRow(4, 64)};
  rows.more = true;
  reply(rows);
}

}  // namespace bus::testing
