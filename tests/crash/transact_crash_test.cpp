// Goal: a service that consumes, decides on a state and publishes in one transaction does so exactly once for each event, whoever is
// killed and whenever.
// Method: four workers share one key_ordered group; for each input they publish, in one step, an output that names the input and the
// next event of a key of state, on condition of that key's version, and ack the input. A worker, and now and then busd, is killed with
// SIGKILL after a random number of outputs and started again: 60 times while 15,000 inputs are worked off, with BUS_LONG 250 times
// and 100,000. A worker that is told of a conflict, or that its ack is stale, gives up the attempt: the input comes again. Prints its
// seed; BUS_SEED repeats the choices. The worker is this program itself, with arguments.
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>

#include "bus/transaction.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/connected.hpp"

namespace bus::test {
namespace {

constexpr std::uint64_t key_count = 24;
constexpr unsigned worker_count = 4;

std::string state_key(std::string_view key) { return "state of " + std::string(key); }

// ---- the worker

// Where a worker kills itself, at the first event it comes there with; or never.
enum class Death { never, before_transact, after_call, after_receipt };

// Worker is the service: one connection, several inputs of different keys at a time. It keeps what it knows of the keys' states, and
// what it did to others is its state's condition to find out.
class Worker {
 public:
  Worker(const std::string& endpoint, const std::string& name, Death death) : death_(death), client_(connect(endpoint, name)) {}

  int run() {
    SubscribeOptions options;
    options.patterns = {"input"};
    options.group = "workers";
    options.ack = AckMode::manual;
    options.concurrency = 3;
    options.settings.sharing = wire::Sharing::key_ordered;
    options.settings.ack_wait = std::chrono::seconds(1);
    options.settings.attempts_max = GroupSettings::unlimited;
    auto subscription = client_.subscribe(options, [this](Subscription& from, const Event& event) { work(from, event); }).value();
    return subscription.wait().ok() ? 0 : 1;
  }

 private:
  void work(Subscription& from, const Event& event) {
    const std::string key(event.key());
    const auto state = state_of(key);
    if (!state) return from.release(event);
    Transaction step;
    auto next = output(event, "state", state_key(key));
    next.subject = std::to_string(*state + 1);  // the version that it has, should the condition hold
    step.require(Condition::at(*state, state_key(key))).publish(output(event, "output", key)).publish(std::move(next)).ack(from, event);
    die_at(Death::before_transact);
    auto done = client_.transact(step);
    die_at(Death::after_call);
    const auto receipts = done.get();
    die_at(Death::after_receipt);
    if (receipts) return remember(key, receipts->at(1).version);
    forget(key);
    give_up(from, event, receipts.error());
  }

  // Whose ack is stale has lost the event already. Nothing else is expected: then this process ends, and the test fails.
  static void give_up(Subscription& from, const Event& event, const Error& why) {
    if (why.code == Code::stale_ack || why.code == Code::not_delivered || why.code == Code::refused_before) return;
    if (why.code == Code::conflict) return from.release(event);
    std::fprintf(stderr, "a step of position %llu: %s\n", static_cast<unsigned long long>(number(event.position())), describe(why).c_str());
    std::_Exit(3);
  }

  static NewEvent output(const Event& input, const std::string& topic, const std::string& key) {
    auto event = note(topic, key);
    event.causation_id = std::to_string(number(input.position()));
    return event;
  }

  std::optional<std::uint64_t> state_of(const std::string& key) {
    {
      const std::lock_guard lock(mutex_);
      if (const auto known = states_.find(key); known != states_.end()) return known->second;
    }
    const auto head = client_.key_head(state_key(key));
    return head ? std::optional(head->version) : std::nullopt;
  }
  void remember(const std::string& key, std::uint64_t version) {
    const std::lock_guard lock(mutex_);
    states_[key] = version;
  }
  void forget(const std::string& key) {
    const std::lock_guard lock(mutex_);
    states_.erase(key);
  }
  void die_at(Death point) const {
    if (death_ == point) ::raise(SIGKILL);
  }

  const Death death_;
  std::mutex mutex_;
  std::map<std::string, std::uint64_t> states_;
  Client client_;
};

std::string own_path;

// WorkerProcess is a worker in a process of its own, killed at the end at the latest.
class WorkerProcess {
 public:
  WorkerProcess(const std::string& endpoint, unsigned number) : words_{own_path, "worker", endpoint, "worker-" + std::to_string(number), "0"} {}
  ~WorkerProcess() { kill(); }
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  void start(Death death = Death::never) {
    words_.back() = std::to_string(static_cast<int>(death));
    std::vector<char*> arguments;
    for (std::string& word : words_) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    if (posix_spawn(&pid_, own_path.c_str(), nullptr, nullptr, arguments.data(), environ) != 0) std::abort();
  }
  // Waits until it has killed itself.
  void expect_death() { expect_killed(end()); }
  void kill() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    expect_killed(end());
  }

 private:
  int end() {
    int status = 0;
    const pid_t pid = std::exchange(pid_, 0);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
  }
  void expect_killed(int status) const {
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << words_[3] << " had ended by itself, with " << status;
  }

  std::vector<std::string> words_;
  pid_t pid_ = 0;
};

// ---- those who kill it

// How many outputs the log has, as a subscriber sees them come.
class Outputs {
 public:
  explicit Outputs(Client& client)
      : subscription_(client.subscribe({.patterns = {"output"}, .group = "", .from = At::start()}, [this](const Event&) {
          const std::lock_guard lock(mutex_);
          ++seen_;
          changed_.notify_all();
        }).value()) {}
  ~Outputs() { subscription_.close(); }

  // False: nothing came for longer than any pause may take.
  bool wait_for(std::uint64_t wanted) {
    std::unique_lock lock(mutex_);
    while (seen_ < wanted) {
      const auto before = seen_;
      if (!changed_.wait_for(lock, patience, [&] { return seen_ > before; })) return false;
    }
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t seen_ = 0;
  Subscription subscription_;
};

class TransactCrash : public ::testing::Test {
 protected:
  TransactCrash() {
    const char* given = std::getenv("BUS_SEED");
    seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    random.seed(seed);
    for (unsigned at = 0; at < worker_count; ++at) workers.push_back(std::make_unique<WorkerProcess>(broker.endpoint(), at));
  }
  std::uint64_t at_most(std::uint64_t most) { return std::uniform_int_distribution<std::uint64_t>(0, most)(random); }

  void publish_inputs(std::uint64_t count) {
    for (std::uint64_t at = 0; at < count; ++at) {
      const auto key = "key-" + std::to_string(at_most(key_count - 1));
      client.publish(note("input", key), [](const Result<Receipt>&) {});
    }
    ASSERT_EQ(client.flush(patience).events, 0u);
  }

  // Of each key, the positions of its inputs, and what its outputs and its state name: all in the order of the log.
  using Named = std::map<std::string, std::vector<std::uint64_t>>;
  struct Log {
    Named inputs, outputs, states;
    std::map<std::string, std::uint64_t> state_versions;
  };
  Log read_log() {
    Log log;
    for (const Event& event : client.replay()) {
      const std::string key(event.key());
      const auto cause = std::strtoull(std::string(event.causation_id()).c_str(), nullptr, 10);
      if (event.topic() == "input") log.inputs[key].push_back(number(event.position()));
      if (event.topic() == "output") log.outputs[key].push_back(cause);
      if (event.topic() != "state") continue;
      log.states[key].push_back(cause);
      log.state_versions[key] = event.version();
      EXPECT_EQ(event.subject(), std::to_string(event.version())) << "it was stored against its condition; seed " << seed;
    }
    return log;
  }

  std::uint64_t count_outputs() {
    ReplayOptions range;
    range.filter.patterns = {"output"};
    std::uint64_t count = 0;
    for ([[maybe_unused]] const Event& event : client.replay(range)) ++count;
    return count;
  }

  void expect_exactly_once(std::uint64_t count) {
    const auto log = read_log();
    std::uint64_t inputs = 0;
    for (const auto& [key, positions] : log.inputs) {
      inputs += positions.size();
      const auto outputs = log.outputs.find(key);
      ASSERT_NE(outputs, log.outputs.end()) << key << "; seed " << seed;
      EXPECT_EQ(outputs->second, positions) << "the outputs of " << key << " are not its inputs', once each and in order; seed " << seed;
      EXPECT_EQ(log.states.at(state_key(key)), positions) << "seed " << seed;
      EXPECT_EQ(log.state_versions.at(state_key(key)), positions.size()) << "seed " << seed;
      EXPECT_EQ(client.key_head(state_key(key)).value().version, positions.size()) << "seed " << seed;
    }
    EXPECT_EQ(inputs, count);
    EXPECT_EQ(log.outputs.size(), log.inputs.size());
    EXPECT_EQ(log.states.size(), log.inputs.size());
  }

  std::unique_ptr<wire::GroupInfoT> group() {
    wire::GroupsRequestT request;
    request.name = "workers";
    wire::AskUnion ask;
    ask.Set(std::move(request));
    auto reply = std::move(client.request(std::move(ask)).value().reply);
    return std::move(reply->answer.AsGroupsReply()->groups.at(0));
  }
  // The last event of a key may stand open until the group has seen that no other follows: after a restart it has to look.
  void expect_nothing_open(std::uint64_t inputs) {
    auto info = group();
    for (const auto until = std::chrono::steady_clock::now() + patience; info->open > 0 && std::chrono::steady_clock::now() < until;) info = group();
    EXPECT_EQ(info->open, 0u);
    EXPECT_EQ(info->acked, inputs);
    EXPECT_EQ(info->dead_letters, 0u);
    EXPECT_GT(info->redeliveries, 0u) << "no kill has hit anything that was at work";
    std::printf("%llu redeliveries, %llu failures, %llu stale acknowledgements\n", static_cast<unsigned long long>(info->redeliveries),
                static_cast<unsigned long long>(info->failures), static_cast<unsigned long long>(info->stale_acks));
  }

  BrokerProcess broker;
  Client client = connect(broker.endpoint());
  std::vector<std::unique_ptr<WorkerProcess>> workers;
  std::uint64_t seed = 0;
  std::mt19937_64 random;
};

TEST_F(TransactCrash, WhoeverIsKilledEachInputHasOneOutputAndInOrder) {
  const bool is_long = std::getenv("BUS_LONG") != nullptr;
  const std::uint64_t inputs = is_long ? 100'000 : 15'000, kills = is_long ? 250 : 60, broker_kill_every = is_long ? 10 : 6;
  publish_inputs(inputs);
  Outputs outputs(client);
  for (auto& worker : workers) worker->start();
  for (std::uint64_t kill = 1; kill <= kills; ++kill) {
    const auto part = inputs / (kills + 2);
    ASSERT_TRUE(outputs.wait_for(kill * part + at_most(part / 2))) << "before kill " << kill << "; seed " << seed;
    if (kill % broker_kill_every == 0) broker.kill(), broker.start();
    else {
      auto& victim = *workers[at_most(worker_count - 1)];
      victim.kill();
      victim.start();
    }
  }
  ASSERT_TRUE(outputs.wait_for(inputs)) << "seed " << seed;
  expect_nothing_open(inputs);
  for (auto& worker : workers) worker->kill();
  expect_exactly_once(inputs);
}

TEST_F(TransactCrash, AtEachPointWhereAWorkerDiesItsInputIsWorkedOffOnce) {
  constexpr std::uint64_t inputs = 100;
  publish_inputs(inputs);
  Outputs outputs(client);
  const auto die = [this](Death death) {
    workers[0]->start(death);
    workers[0]->expect_death();
    return count_outputs();
  };
  EXPECT_EQ(die(Death::before_transact), 0u);
  const auto before = die(Death::after_call);
  EXPECT_GT(die(Death::after_receipt), before);
  workers[0]->start();
  ASSERT_TRUE(outputs.wait_for(inputs));
  expect_nothing_open(inputs);
  workers[0]->kill();
  expect_exactly_once(inputs);
}

}  // namespace
}  // namespace bus::test

int main(int argc, char** argv) {
  using namespace bus::test;
  if (argc == 5 && std::string_view(argv[1]) == "worker") return Worker(argv[2], argv[3], static_cast<Death>(std::atoi(argv[4]))).run();
  own_path = argv[0];
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
