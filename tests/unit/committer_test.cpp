// Goal: on a full disk the committer tries again, unless it was told that the end is near; any other failure is final.
// Method: a store that refuses commits as the test says.
#include <gtest/gtest.h>

#include <atomic>
#include <semaphore>

#include "broker/server/worker.hpp"

namespace bus::broker {
namespace {

class RefusingStore final : public store::Store {
 public:
  explicit RefusingStore(Code code) : code_(code) {}
  const store::Identity& identity() const override { return identity_; }
  const store::Head& head() const override { return head_; }
  const store::Trim& trim() const override { return trim_; }
  Result<void> each_row(store::Table, const RowVisitor&) const override { return {}; }
  Result<std::uint64_t> count_rows(store::Table) const override { return std::uint64_t{0}; }
  Result<void> each_journal(std::uint64_t, const JournalVisitor&) const override { return {}; }
  Result<void> each_record(Position, const RecordVisitor&) const override { return {}; }
  Result<void> commit(const store::CommitBatch&) override {
    ++attempts;
    attempts.notify_all();
    return Error{code_, "by the test"};
  }
  Result<bool> fill_ahead() override { return false; }
  store::Space space() const override { return {}; }
  std::unique_ptr<store::LogReader> reader() const override { return nullptr; }

  std::atomic<int> attempts{0};

 private:
  Code code_;
  store::Identity identity_;
  store::Head head_;
  store::Trim trim_;
};

struct Case {
  explicit Case(Code code) : store(code), committer(store, [this] { woken.release(); }) {}
  // The committer has not filled anything yet, or has said so: the outcome may take several looks.
  Code outcome() {
    for (;;) {
      if (const auto found = committer.collect()) return found->error().code;
      woken.acquire();
    }
  }
  RefusingStore store;
  std::counting_semaphore<1000> woken{0};
  Committer committer;
};

TEST(Committer, TriesAgainOnAFullDisk) {
  Case full(Code::log_full);
  full.committer.submit({});
  full.store.attempts.wait(0);
  full.store.attempts.wait(1);
  EXPECT_GE(full.store.attempts.load(), 2);
  EXPECT_FALSE(full.committer.collect()) << "it is not over yet";
  full.committer.hurry();
  EXPECT_EQ(full.outcome(), Code::log_full);
}

TEST(Committer, DoesNotWaitForSpaceInAHurry) {
  Case full(Code::log_full);
  full.committer.hurry();
  full.committer.submit({});
  EXPECT_EQ(full.outcome(), Code::log_full);
  EXPECT_EQ(full.store.attempts.load(), 1);
}

TEST(Committer, TriesNothingElseTwice) {
  Case broken(Code::disk_error);
  broken.committer.submit({});
  EXPECT_EQ(broken.outcome(), Code::disk_error);
  EXPECT_EQ(broken.store.attempts.load(), 1);
}

}  // namespace
}  // namespace bus::broker
