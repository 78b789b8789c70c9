// Goal: a backup reads records and rows as they are stored; between its begin and its end it sees one log, whatever is published or removed
// meanwhile; and a snapshot that is left alone holds nothing up for long.
// Method: a broker without threads, on the real store.
#include <gtest/gtest.h>

#include "broker/store/tables.hpp"
#include "tests/support/retention_case.hpp"

namespace bus::broker {
namespace {

class BackupRequestsTest : public RetentionCase {
 protected:
  BackupRequestsTest() {
    bus.hello("other");
    bus.read_fault = [this](const ReadAsk& ask) -> std::optional<Error> {
      const auto* backup = std::get_if<ReadBackup>(&ask);
      if (backup == nullptr) return std::nullopt;
      if (backup->what == store::BackupAsk::What::let_go) ++let_go_;
      if (backup->what == store::BackupAsk::What::hold && hold_fails_) return Error{Code::disk_error, "no reader is free"};
      return std::nullopt;
    };
  }
  std::uint64_t begin() { return answer<wire::BackupBegunT>(wire::BackupBeginT()).snapshot; }
  wire::BackupIndexReplyT index(std::uint64_t snapshot, std::uint64_t from = 1) {
    wire::BackupIndexT ask;
    ask.snapshot = snapshot, ask.from = from;
    return answer<wire::BackupIndexReplyT>(std::move(ask));
  }
  // The answer and its body frame.
  template <typename Reply, typename Ask>
  std::pair<Reply, Buffer> with_body(Ask ask) {
    bus.ask("op", std::move(ask));
    bus.run();
    Buffer body;
    for (const auto& one : bus.received("op")) {
      if (!one.body.empty()) body.assign(one.body.begin(), one.body.end());
    }
    auto replies = bus.take<wire::ReplyT>("op");
    return {std::move(*static_cast<Reply*>(replies.at(0).answer.value)), body};
  }
  static wire::BackupRowsT rows(std::uint64_t snapshot, store::TableId table) {
    wire::BackupRowsT ask;
    ask.snapshot = snapshot, ask.table = static_cast<std::uint8_t>(table);
    return ask;
  }
  static wire::BackupEndT end(std::uint64_t snapshot) {
    wire::BackupEndT ask;
    ask.snapshot = snapshot;
    return ask;
  }

  int let_go_ = 0;                    // how often the reader was asked to
  bool hold_fails_ = false;
};

TEST_F(BackupRequestsTest, TellAndGiveRecordsAsTheyAreStored) {
  publish("a.b", 2);
  publish("a.c", 1);
  const auto told = index(0);
  ASSERT_EQ(told.records.size(), 2u);
  EXPECT_EQ(told.next, 0u);
  EXPECT_EQ(told.records[0].count(), 2u);
  EXPECT_EQ(told.records[1].first(), 3u);
  EXPECT_EQ(index(0, 2).records.at(0).first(), 3u) << "from inside a record";

  wire::BackupRecordsT ask;
  ask.from = 1, ask.to = 2;
  const auto [first, bytes] = with_body<wire::BackupRecordsReplyT>(ask);
  ASSERT_EQ(first.records.size(), 1u) << "the other one begins behind";
  EXPECT_EQ(first.records[0].checksum(), told.records[0].checksum());
  const auto record = store::Record::parse(bytes, Position{1});
  ASSERT_TRUE(record.ok());
  EXPECT_EQ((*record)->last(), Position{2});
  EXPECT_TRUE((*record)->body_intact(1));
}

TEST_F(BackupRequestsTest, GiveNoMoreThanFitsIntoOneReply) {
  for (int at = 0; at < 6; ++at) publish("a.b", 1, "", std::string(300 * limits::KiB, 'x'));
  wire::BackupRecordsT ask;
  ask.from = 1, ask.to = ~std::uint64_t{0};
  std::uint64_t records = 0, replies = 0;
  for (; ask.from != 0; ++replies) {
    const auto [reply, bytes] = with_body<wire::BackupRecordsReplyT>(ask);
    EXPECT_LE(bytes.size(), limits::backup_bytes_read);
    records += reply.records.size();
    ask.from = reply.next;
  }
  EXPECT_EQ(records, 6u);
  EXPECT_EQ(replies, 2u);
}

TEST_F(BackupRequestsTest, SeeOneLogUntilTheEnd) {
  publish("a.b", 1);
  const auto snapshot = begin();
  publish("a.c", 1);
  EXPECT_EQ(index(snapshot).records.size(), 1u);
  EXPECT_EQ(index(0).records.size(), 2u);
  const auto [topics, bytes] = with_body<wire::BackupRowsReplyT>(rows(snapshot, store::TableId::topics));
  ASSERT_EQ(topics.rows.size(), 1u);
  EXPECT_FALSE(topics.more);
  const std::string_view all = text_of(bytes);
  const auto row = topics.rows[0];
  EXPECT_TRUE(store::verified(store::TableId::topics, all.substr(0, row.key_bytes()), all.substr(row.key_bytes(), row.value_bytes())).ok());
  answer<wire::DoneT>(end(snapshot));
  EXPECT_EQ(refused(end(snapshot)), Code::not_found);
  EXPECT_EQ(refused(rows(snapshot, store::TableId::topics)), Code::not_found);
}

TEST_F(BackupRequestsTest, TellWhatRetentionHasRewrittenFromWhatItWas) {
  publish("a.b", 2);
  publish("a.b", 1);
  const auto snapshot = begin();
  const auto before = index(snapshot).records.at(0);
  ASSERT_EQ(set(at_most("a.b", 2)), std::nullopt);
  run();
  const auto after = index(0).records.at(0);
  EXPECT_EQ(after.first(), before.first());
  EXPECT_NE(after.checksum(), before.checksum());
  EXPECT_EQ(index(snapshot).records.at(0).checksum(), before.checksum());
}

TEST_F(BackupRequestsTest, AreOfOneBackupAtATime) {
  const auto snapshot = begin();
  bus.ask("other", wire::BackupBeginT());
  bus.run();
  EXPECT_EQ(bus.failures("other"), std::vector<Code>{Code::busy});
  bus.ask("other", end(snapshot));
  bus.run();
  EXPECT_EQ(bus.failures("other"), std::vector<Code>{Code::not_found}) << "it is not theirs";
  EXPECT_GT(begin(), snapshot) << "who begins again gives up what was begun";
  EXPECT_EQ(let_go_, 0) << "the reader has the new one instead";
  bus.core->gone("op");
  bus.ask("other", wire::BackupBeginT());
  bus.run();
  EXPECT_EQ(bus.take<wire::ReplyT>("other").size(), 1u) << "it ends with the session";
  EXPECT_EQ(let_go_, 1);
}

// What the reader holds keeps pages from being used again.
TEST_F(BackupRequestsTest, HoldNothingIfTheyCannotBegin) {
  const auto snapshot = begin();
  hold_fails_ = true;
  EXPECT_EQ(refused(wire::BackupBeginT()), Code::disk_error);
  bus.run();
  EXPECT_EQ(let_go_, 1) << "of the one before, which nobody can end any more";
  hold_fails_ = false;
  EXPECT_EQ(refused(end(snapshot)), Code::not_found);
  EXPECT_EQ(refused(end(begin())), std::nullopt);
  EXPECT_EQ(let_go_, 2);
}

TEST_F(BackupRequestsTest, GiveUpASnapshotThatNobodyAsks) {
  const auto snapshot = begin();
  advance(10s);
  EXPECT_EQ(index(snapshot).records.size(), 0u);
  for (int part = 0; part < 3; ++part) advance(9s);
  EXPECT_EQ(index(snapshot).records.size(), 0u) << "27 s after it was asked";
  EXPECT_EQ(let_go_, 0);
  for (int part = 0; part < 4; ++part) advance(9s);
  EXPECT_EQ(let_go_, 1);
  EXPECT_EQ(refused(end(snapshot)), Code::not_found);
}

TEST_F(BackupRequestsTest, RefuseTablesThatAreNotThere) {
  const auto snapshot = begin();
  for (const int table : {0, static_cast<int>(store::table_ids), 255}) EXPECT_EQ(refused(rows(snapshot, static_cast<store::TableId>(table))), Code::bad_argument) << table;
}

}  // namespace
}  // namespace bus::broker
