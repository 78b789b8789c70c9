// Goal: whenever a service with a projection is killed, in the middle of a rebuild, too, its state is that of its log in the end:
// each event folded once, in order.
// Method: this program starts itself as the service, kills it with SIGKILL after a random number of events, and starts it again,
// while it publishes; 25 times, 400 with BUS_LONG. The service notes beside the state, where no transaction undoes it, how often
// its fold was called: more often than there are events, or no kill has hit anything. Prints its seed; BUS_SEED repeats it.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <random>

#include "tests/projection/projection_case.hpp"

namespace bus::test {
namespace {

using testing::fails;
using testing::is_ok;

// ---- the service

struct Service {
  std::string endpoint;
  std::filesystem::path file, calls;
  std::uint64_t rebuild_kill_at = 0;     // it rebuilds, and dies of it at that position; 0: it does not

  int run() const {
    auto client = connect(endpoint);
    const int log = ::open(calls.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    std::atomic<bool> rebuilding{false};
    Projection::Options options;
    options.name = "p";
    options.file = file;
    auto projection = Projection::open(client, options, [&](const Event& event, Projection::State& state) {
      if (::write(log, ".", 1) != 1) std::abort();
      if (rebuilding && number(event.position()) == rebuild_kill_at) ::raise(SIGKILL);
      fold_chain(event, state);
    }).value();
    if (rebuild_kill_at > 0) {
      projection.catch_up(patience).value();
      rebuilding = true;
      projection.rebuild().value();
    }
    projection.wait().value();
    return 0;
  }
};

std::string own_path;

pid_t start(const Service& service) {
  std::vector<std::string> words = {own_path, "service", service.endpoint, service.file, service.calls, std::to_string(service.rebuild_kill_at)};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t pid = 0;
  if (posix_spawn(&pid, own_path.c_str(), nullptr, nullptr, arguments.data(), environ) != 0) std::abort();
  return pid;
}

int end_of(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

void kill_now(pid_t pid) {
  ::kill(pid, SIGKILL);
  const int status = end_of(pid);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "it had ended by itself, with " << status;
}

// ---- those who kill it

class ProjectionCrash : public ProjectionCase {
 protected:
  ProjectionCrash() {
    const char* given = std::getenv("BUS_SEED");
    seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    random.seed(seed);
  }
  std::uint64_t at_most(std::uint64_t most) { return std::uniform_int_distribution<std::uint64_t>(0, most)(random); }
  Service service() const { return {broker.endpoint(), file(), dir.path() / "calls"}; }
  std::uint64_t calls() const { return std::filesystem::exists(service().calls) ? std::filesystem::file_size(service().calls) : 0; }

  std::uint64_t seed = 0;
  std::mt19937_64 random;
};

TEST_F(ProjectionCrash, WheneverItIsKilledEachEventIsFoldedOnceAndInOrder) {
  const int kills = std::getenv("BUS_LONG") != nullptr ? 400 : 25;
  Position last{};
  for (int round = 0; round < kills; ++round) {
    const pid_t pid = start(service());
    const auto before = calls();
    const auto wanted = before + at_most(3000);
    // It is killed between two of its calls, or while it commits, or, now and then, before it has begun.
    for (std::uint64_t sent = 0; sent < 4000 && calls() < wanted; sent += 100) last = publish(client, 100);
    kill_now(pid);
  }
  const auto folded_by_services = calls();
  auto projection = open().value();
  const auto begun = number(projection.position());
  std::printf("%llu events, %llu calls of the fold\n", static_cast<unsigned long long>(number(last)), static_cast<unsigned long long>(folded_by_services));
  ASSERT_TRUE(is_ok(projection.wait_until(last, patience)));
  EXPECT_EQ(chains_of(projection.read().value()), chains_of(client, last));
  EXPECT_GT(folded_by_services, begun) << "no kill has hit anything that was folded and not yet written";
}

// With many events to go through at once checkpoints come seldom, and what is lost with them is much.
TEST_F(ProjectionCrash, KilledWhileItCatchesUpItGoesOnFromItsLastCheckpoint) {
  const std::uint64_t kills = std::getenv("BUS_LONG") != nullptr ? 100 : 10;
  const auto last = publish(client, kills * 10'000);
  for (std::uint64_t round = 0; round < kills; ++round) {
    const auto wanted = calls() + 1 + at_most(20'000);
    const pid_t pid = start(service());
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (calls() < wanted && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    kill_now(pid);
  }
  const auto folded_by_services = calls();
  auto projection = open().value();
  const auto begun = number(projection.position());
  std::printf("%llu events, %llu calls of the fold, the last checkpoint at %llu\n", static_cast<unsigned long long>(number(last)),
              static_cast<unsigned long long>(folded_by_services), static_cast<unsigned long long>(begun));
  ASSERT_TRUE(is_ok(projection.wait_until(last, patience)));
  EXPECT_EQ(chains_of(projection.read().value()), chains_of(client, last));
  EXPECT_GT(folded_by_services, begun) << "no kill has hit anything that was folded and not yet written";
}

TEST_F(ProjectionCrash, KilledInARebuildItHasTheOldState) {
  const auto last = publish(client, 40'000);
  auto rebuilder = service();
  for (const std::uint64_t at : {std::uint64_t{1}, std::uint64_t{2}, 1 + at_most(39'998), std::uint64_t{40'000}}) {
    rebuilder.rebuild_kill_at = at;
    const int status = end_of(start(rebuilder));
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    EXPECT_TRUE(std::filesystem::exists(file_new())) << "half built, at " << at;
    auto projection = open().value();
    EXPECT_FALSE(std::filesystem::exists(file_new()));
    EXPECT_EQ(projection.position(), last);
    EXPECT_EQ(chains_of(projection.read().value()), chains_of(client, last));
  }
}

TEST_F(ProjectionCrash, AnotherProcessHasTheFile) {
  const pid_t pid = start(service());
  publish(client, 1);
  while (calls() == 0) std::this_thread::yield();
  EXPECT_TRUE(fails(open(), Code::locked, "open already"));
  kill_now(pid);
  EXPECT_TRUE(is_ok(open()));
}

}  // namespace
}  // namespace bus::test

int main(int argc, char** argv) {
  if (argc == 6 && std::string_view(argv[1]) == "service") return bus::test::Service{argv[2], argv[3], argv[4], std::strtoull(argv[5], nullptr, 10)}.run();
  bus::test::own_path = argv[0];
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
