// Goal: after a power cut at any moment the log opens, holds every batch whose commit was acknowledged byte for byte,
// has no fault, and goes on; a directory in which a log was being made opens too.
// Method: the real store does a few hundred commits while every write and sync is recorded. Then, for each recorded
// operation and several choices of what the disk had kept, the directory is rebuilt, opened and compared, in a process
// of its own. Canaries are built from the same source, with a disk whose syncs do nothing, or with LMDB told not to sync
// its meta pages: the test must see them lose data.
//
// BUS_LONG=1 or --long opens every image; otherwise they are sampled evenly.
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "tests/power/disk.hpp"
#include "tests/power/recorder.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::power {
namespace {

using limits::KiB;
using limits::MiB;
using store::Store;
using store::Table;
using testing::BatchMaker;
using testing::is_ok;

#if defined(BUS_CANARY_LYING_SYNC) || defined(BUS_CANARY_NO_METASYNC)
constexpr bool is_canary = true;
#else
constexpr bool is_canary = false;
#endif

constexpr std::uint64_t batches = 240;
constexpr std::size_t images_sampled = is_canary ? 300 : 1'500;
constexpr Table tables[] = {Table::topics, Table::types, Table::publishers, Table::groups};
bool open_all_images = false;

store::Options options_of(const std::filesystem::path& dir) {
  store::Options options;
  options.dir = dir;
  options.map_bytes = 16 * MiB;
  options.fill_ahead_bytes = 256 * KiB;
  options.reserve_bytes = 256 * KiB;
  options.seed.fill(7);
  return options;
}

// ---- what was committed

// Ledger is what the log must hold after each batch.
struct Ledger {
  std::vector<store::Head> heads = {store::Head{}};           // by batch
  std::vector<std::string> journals = {""};                   // by batch
  std::vector<store::RecordPtr> records;
  std::vector<std::map<Hash128, store::KeyHead>> keys = {{}};  // by batch

  void add(const store::CommitBatch& batch) {
    heads.push_back(batch.head);
    journals.push_back(batch.journal);
    records.insert(records.end(), batch.records.begin(), batch.records.end());
    keys.push_back(keys.back());
    for (const auto& head : batch.keys) keys.back()[head.key] = head;
  }
};

// Workload commits random batches; all it does follows from its seed.
class Workload {
 public:
  explicit Workload(std::filesystem::path dir) : dir_(std::move(dir)), recorder_(dir_), store_(open()), maker_(*store_) {}

  void run() {
    for (std::uint64_t batch = 1; batch <= batches; ++batch) {
      if (batch == batches / 2) reopen();
      if (roll(3) == 0) store_->fill_ahead().value();
      commit();
    }
    store_.reset();
  }
  const Recorder& recorder() const { return recorder_; }
  const Ledger& ledger() const { return ledger_; }

 private:
  std::uint64_t roll(std::uint64_t below) { return random_() % below; }
  std::unique_ptr<Store> open() {
    auto options = options_of(dir_);
    options.compression = ledger_.records.empty() ? store::Compression::none : store::Compression::lz4;
    auto store = Store::open(options).value();
    recorder_.mark(ledger_.heads.size() - 1, store->identity().epoch);
    return store;
  }
  void reopen() {
    store_.reset();
    store_ = open();
  }
  void commit() {
    const auto batch = make();
    ledger_.add(batch);
    store_->commit(batch).value();
    recorder_.mark(batch.head.batch, store_->identity().epoch);
  }
  store::CommitBatch make() {
    const std::uint64_t number = maker_.head().batch + 1;
    if (roll(8) != 0) {
      for (auto events = roll(8) + 1; events > 0; --events) add_event();
    }
    for (const Table table : tables) maker_.put_row(table, "state", std::to_string(number));
    maker_.put_row(Table::topics, "row " + std::to_string(roll(50)), testing::random_text(random_, roll(300)));
    maker_.erase_row(Table::topics, "row " + std::to_string(roll(50)));
    if (roll(3) != 0) maker_.set_journal("journal " + std::to_string(number) + std::string(roll(500), 'j'));
    if (number % 20 == 0) maker_.set_replay(maker_.head().committed + 1, number - 5);
    return maker_.take();
  }
  void add_event() {
    const std::size_t bytes = roll(40) == 0 ? roll(60 * KiB) : roll(2 * KiB);
    const std::size_t alike = roll(2) * bytes;  // packs, or does not
    maker_.add({.text = std::string(alike, 'x') + testing::random_text(random_, bytes - alike), .key = roll(4) == 0 ? "" : "key " + std::to_string(roll(300)),
                .publisher = static_cast<std::uint32_t>(roll(3) + 1)});
  }

  std::filesystem::path dir_;
  Recorder recorder_;
  std::mt19937_64 random_{2024};
  Ledger ledger_;
  std::unique_ptr<Store> store_;
  BatchMaker maker_;
};

// ---- what an image holds

struct Acknowledged {
  std::uint64_t batch = 0, epoch = 0;
};

enum class Verdict { good = 0, lost = 1, faulty = 2 };
struct Finding {
  Verdict verdict = Verdict::good;
  std::string what;
};
// Thrown by the checks, which have no other way on.
Finding lost(std::string what) { return {Verdict::lost, std::move(what)}; }
Finding faulty(std::string what) { return {Verdict::faulty, std::move(what)}; }

class ImageCheck {
 public:
  ImageCheck(std::filesystem::path dir, Acknowledged acknowledged, const Ledger& ledger)
      : dir_(std::move(dir)), acknowledged_(acknowledged), ledger_(ledger) {}

  Finding run() {
    try {
      open();
      check_head();
      check_records();
      check_rows();
      check_journal();
      check_keys();
      check_verify();
      go_on();
      return {};
    } catch (const Finding& finding) {
      return finding;
    }
  }

 private:
  void open() {
    auto opened = Store::open(options_of(dir_));
    if (!opened) throw lost("it cannot be opened: " + describe(opened.error()));
    store_ = std::move(*opened);
  }
  // The last batch acknowledged, or the one that was being committed, and nothing in between.
  void check_head() {
    const auto batch = store_->head().batch;
    if (batch < acknowledged_.batch) throw lost("it ends with batch " + std::to_string(batch));
    if (batch > acknowledged_.batch + 1 || batch >= ledger_.heads.size()) throw faulty("a batch nobody has committed");
    const auto& head = store_->head();
    const auto& expected = ledger_.heads[batch];
    const bool is_same = head.committed == expected.committed && head.chain == expected.chain &&
                         head.committed_at == expected.committed_at && head.replay_from == expected.replay_from &&
                         head.replay_batch == expected.replay_batch;
    if (!is_same) throw faulty("the head is not the one of its batch");
    if (store_->identity().epoch <= acknowledged_.epoch) throw faulty("an epoch is given out twice");
  }
  void check_records() {
    const auto reader = store_->reader();
    Position next{1};
    std::size_t at = 0;
    while (next <= store_->head().committed) {
      const auto read = reader->records(next, 1 * MiB);
      if (!read) throw lost("it cannot be read: " + describe(read.error()));
      if (read->empty()) throw lost("it ends before its head");
      for (const auto& record : *read) {
        if (text_of(record->bytes()) != text_of(ledger_.records[at++]->bytes())) throw lost("a record has changed");
      }
      next = read->back()->last() + 1;
    }
  }
  void check_rows() {
    for (const Table table : tables) {
      std::string state = "0";
      const auto read = store_->each_row(table, [&](auto key, auto value) {
        if (key == "state") state = value;
        return Result<void>();
      });
      if (!read) throw faulty("rows cannot be read: " + describe(read.error()));
      if (state != std::to_string(store_->head().batch)) throw faulty("a row is of batch " + state);
    }
  }
  void check_journal() {
    const auto& head = store_->head();
    std::uint64_t rows = 0, expected = 0;
    const auto read = store_->each_journal(head.replay_batch, [&](auto batch, auto bytes) -> Result<void> {
      ++rows;
      return bytes == ledger_.journals[batch] ? Result<void>() : Error{Code::damaged, "another journal"};
    });
    if (!read) throw faulty("the journal cannot be read: " + describe(read.error()));
    for (auto batch = head.replay_batch; batch <= head.batch; ++batch) expected += ledger_.journals[batch].empty() ? 0 : 1;
    if (rows != expected) throw faulty("the journal has " + std::to_string(rows) + " rows");
  }
  void check_keys() {
    const auto& expected = ledger_.keys[store_->head().batch];
    std::vector<Hash128> keys;
    for (const auto& [key, head] : expected) keys.push_back(key);
    const auto heads = store_->reader()->key_heads(keys);
    if (!heads) throw faulty("keys cannot be read: " + describe(heads.error()));
    for (std::size_t at = 0; at < keys.size(); ++at) {
      const auto& head = (*heads)[at];
      if (!head || head->position != expected.at(keys[at]).position) throw faulty("a key has another head");
    }
  }
  void check_verify() {
    const auto slice = store_->reader()->verify(Position::none, 0, ~std::size_t{0});
    if (!slice) throw faulty("it cannot be verified: " + describe(slice.error()));
    if (!slice->faults.empty()) throw faulty("verify finds: " + slice->faults[0].what);
  }
  void go_on() {
    BatchMaker maker(*store_);
    maker.add({.text = "after the power cut", .publisher = 99});
    maker.put_row(Table::groups, "state", "after");
    const auto batch = maker.take();
    if (auto done = store_->commit(batch); !done) throw faulty("it does not go on: " + describe(done.error()));
    const auto epoch = store_->identity().epoch;
    store_.reset();
    open();
    const bool is_there = store_->head().committed == batch.head.committed && store_->identity().epoch == epoch + 1;
    if (!is_there) throw faulty("what was committed after the power cut is gone");
    check_verify();
  }

  std::filesystem::path dir_;
  Acknowledged acknowledged_;
  const Ledger& ledger_;
  std::unique_ptr<Store> store_;
};

// In a process of its own: a damaged file may end it.
Finding check_image(const std::filesystem::path& dir, Acknowledged acknowledged, const Ledger& ledger) {
  const auto answer = dir.parent_path() / "answer";
  std::filesystem::remove(answer);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    const Finding finding = ImageCheck(dir, acknowledged, ledger).run();
    if (finding.verdict != Verdict::good) std::ofstream(answer) << finding.what;
    ::_exit(static_cast<int>(finding.verdict));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return faulty("signal " + std::to_string(WTERMSIG(status)));
  if (WEXITSTATUS(status) == 0) return {};
  return {static_cast<Verdict>(WEXITSTATUS(status)), testing::read_file(answer)};
}

// ---- all images

const char* name_of(Kept kept) {
  constexpr const char* names[] = {"nothing", "everything", "some", "one write torn"};
  return names[static_cast<int>(kept)];
}

// Calls visit(operation, disk, acknowledged, kept) for every image there is.
template <typename Visit>
void each_image(const Recorder& recorder, const Visit& visit) {
  Disk disk(recorder.root());
  Acknowledged acknowledged;
  for (std::size_t at = 0; at < recorder.operations().size(); ++at) {
    const Operation& operation = recorder.operations()[at];
    disk.begin(operation);
    for (const Kept kept : all_kept) {
      visit(at, disk, acknowledged, kept);
      if (!disk.has_pending()) break;  // nothing to lose: they are all the same
    }
    disk.finish(operation);
    if (operation.kind == Operation::Kind::mark) acknowledged = {operation.batch, operation.epoch};
  }
}

class Images {
 public:
  Images(const Recorder& recorder, const Ledger& ledger) : recorder_(recorder), ledger_(ledger) {
    each_image(recorder_, [&](auto&&...) { ++total_; });
    wanted_ = open_all_images ? total_ : std::min(total_, images_sampled);
  }
  void open() {
    std::size_t seen = 0;
    each_image(recorder_, [&](std::size_t at, const Disk& disk, Acknowledged acknowledged, Kept kept) {
      const auto before = seen++ * wanted_ / total_;
      if (seen * wanted_ / total_ > before) open_one(at, disk, acknowledged, kept);
    });
    std::printf("%zu of %zu images opened, of %zu operations, %zu syncs: %zu lost data, %zu had other faults\n", opened_,
                total_, recorder_.operations().size(), syncs(), lost_, faulty_);
  }
  std::size_t opened() const { return opened_; }
  std::size_t lost() const { return lost_; }

 private:
  void open_one(std::size_t at, const Disk& disk, Acknowledged acknowledged, Kept kept) {
    std::mt19937_64 random(at * 4 + static_cast<std::size_t>(kept));
    disk.write_image(dir_.path() / "image", kept, random);
    const Finding finding = check_image(dir_.path() / "image", acknowledged, ledger_);
    ++opened_;
    lost_ += finding.verdict == Verdict::lost ? 1 : 0;
    faulty_ += finding.verdict == Verdict::faulty ? 1 : 0;
    if (is_canary || finding.verdict == Verdict::good) return;
    ADD_FAILURE() << "power cut at operation " << at << ", the disk keeps " << name_of(kept) << ", batch "
                  << acknowledged.batch << " was acknowledged: " << finding.what;
  }
  std::size_t syncs() const {
    std::size_t count = 0;
    for (const auto& operation : recorder_.operations()) {
      count += operation.kind == Operation::Kind::sync || operation.is_synced ? 1 : 0;
    }
    return count;
  }

  const Recorder& recorder_;
  const Ledger& ledger_;
  testing::StoreDir dir_;
  std::size_t total_ = 0, wanted_ = 0, opened_ = 0, lost_ = 0, faulty_ = 0;
};

class PowerCut : public ::testing::Test {
 protected:
  PowerCut() { workload_.run(); }
  testing::StoreDir dir_;
  Workload workload_{dir_.path()};
};

// Else something writes in a way that is not seen here, and the images mean nothing.
TEST_F(PowerCut, TheRecordHasEverythingThatWasWritten) {
  Disk disk(workload_.recorder().root());
  for (const auto& operation : workload_.recorder().operations()) {
    disk.begin(operation);
    disk.finish(operation);
  }
  const testing::StoreDir image;
  std::mt19937_64 random;
  disk.write_image(image.path() / "image", Kept::everything, random);
  const auto rebuilt = image.path() / "image" / "log" / "data.mdb";
  const bool is_same = testing::read_file(rebuilt) == testing::read_file(dir_.data_file());
  EXPECT_TRUE(is_same);
  EXPECT_FALSE(std::filesystem::exists(image.path() / "image" / "log.new"));
  EXPECT_EQ(workload_.ledger().heads.size(), batches + 1);
}

#if defined(BUS_CANARY_LYING_SYNC) || defined(BUS_CANARY_NO_METASYNC)
TEST_F(PowerCut, ADiskThatDoesNotKeepItsWordIsCaught) {
  Images images(workload_.recorder(), workload_.ledger());
  images.open();
  EXPECT_GT(images.lost(), 0u) << "the test cannot see lost data";
}
#else
TEST_F(PowerCut, LosesNothingThatWasAcknowledged) {
  Images images(workload_.recorder(), workload_.ledger());
  images.open();
  EXPECT_GE(images.opened(), 1'000u);
}
#endif

}  // namespace
}  // namespace bus::power

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const char* wants_all = std::getenv("BUS_LONG");
  const bool is_long = argc > 1 && std::string_view(argv[1]) == "--long";
  bus::power::open_all_images = is_long || (wants_all != nullptr && *wants_all == '1');
  return RUN_ALL_TESTS();
}
