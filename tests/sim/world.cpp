#include "tests/sim/world.hpp"

#include <algorithm>

#include "tests/sim/keeper.hpp"
#include "tests/sim/library.hpp"
#include "tests/sim/member.hpp"
#include "tests/sim/operator.hpp"
#include "tests/sim/publisher.hpp"
#include "tests/sim/reader.hpp"
#include "tests/sim/saver.hpp"
#include "tests/sim/visitor.hpp"
#include "tests/sim/worker.hpp"

namespace bus::sim {

using namespace std::chrono_literals;

World::World(const broker::PayloadTypes& types, std::uint64_t seed, Fault fault)
    : random_(seed),
      network_(random_, fault),
      shell_(types, random_, network_, ledger_, fault),
      now_{wall_time(1'800'000'000'000'000'000), SteadyTime{} + 1h},
      has_hours_(random_.percent(30)),
      has_retention_(random_.percent(40)),
      has_backups_(random_.percent(has_retention_ ? 40 : 20)),
      env_{random_, network_, ledger_, now_, calm_} {
  const auto quota = random_.between(20, 400);
  for (const char* name : {"alpha", "beta", "gamma"}) clients_.push_back(std::make_unique<SimPublisher>(env_, name, quota));
  const auto any_sharing = [this] { return random_.percent(40) ? wire::Sharing::key_ordered : static_cast<wire::Sharing>(random_.below(4)); };
  const auto all = any_sharing(), some = any_sharing();
  for (const char* name : {"m1", "m2", "m3"}) clients_.push_back(std::make_unique<SimMember>(env_, name, "all", ">", all));
  for (const char* name : {"m4", "m5"}) clients_.push_back(std::make_unique<SimMember>(env_, name, "some", "sim.*.x", some));
  clients_.push_back(std::make_unique<SimReader>(env_, "r1", ">"));
  clients_.push_back(std::make_unique<SimReader>(env_, "r2", "sim.a.>"));
  const bool transient = !has_hours_ && random_.percent(50);
  // A libbus client asks for ever for a receipt that was trimmed: either it publishes, or retention may remove all.
  const bool with_library = !has_retention_ || random_.percent(40);
  clients_.push_back(std::make_unique<SimLibrary>(env_, "libbus", with_library ? quota : 0, transient));
  for (const char* name : {"v1", "v2"}) clients_.push_back(std::make_unique<SimVisitor>(env_, name, with_library ? quota : 0, has_hours_));
  const auto steps = any_sharing();
  for (const char* name : {"w1", "w2"}) clients_.push_back(std::make_unique<SimWorker>(env_, name, "sim.*.y", steps));
  clients_.push_back(std::make_unique<SimOperator>(env_, "op", std::vector<std::string>{"all", "some", "none"}));
  if (has_retention_ || has_backups_) shell_.keep_reads_in_order();
  if (has_retention_) add_keeper(with_library);
  if (!has_backups_) return;
  auto saver = std::make_unique<SimSaver>(env_, "saver");
  saver_ = saver.get();
  clients_.push_back(std::move(saver));
}

void World::add_keeper(bool with_library) {
  std::vector<std::string> patterns = {"sim.>", "sim.a.>", "sim.*.x", "sim.b.y", "done.>", "done.x", "other"};
  if (!with_library) patterns.insert(patterns.end(), {">", ">", "*.*"});
  auto keeper = std::make_unique<SimKeeper>(env_, "keeper", patterns);
  keeper_ = keeper.get();
  clients_.push_back(std::move(keeper));
}

void World::run() {
  shell_.start(now_);
  for (auto steps = random_.between(200, 5000); steps > 0; --steps) step();
  settle();
  // What was promised is still true for the next broker.
  shell_.stop(now_);
  shell_.start(now_);
  shell_.check_store();
  check_backup();
  ledger_.check_settled(shell_.core());
}

void World::step() {
  pass_time();
  const auto dice = random_.below(1000);
  if (dice < 450) return shell_.turn(now_);
  // A backup takes many steps of its own, and a crash ends it.
  if (dice < 990 && saver_ != nullptr && random_.percent(25)) return saver_->act();
  if (dice < 990) return random_.pick(clients_)->act();
  if (dice < 996) {
    if (Link* link = network_.pick()) network_.lose(*link);
    return;
  }
  if (dice < 998) restart();
}

void World::restart() {
  if (random_.percent(70)) {
    shell_.crash();
    if (random_.percent(20)) check_backup();
  } else {
    shell_.stop(now_);
  }
  now_.steady += std::chrono::milliseconds(random_.below(3000));
  shell_.start(now_);
}

void World::check_backup() {
  if (saver_ == nullptr || !saver_->has_backup()) return;
  const test::TempDir dir;
  const auto& moment = saver_->restore(dir.path() / "restored");
  shell_.check_restored(dir.path() / "restored", moment, now_);
}

// Mostly a little; sometimes so much that ack waits and sessions end. The wall clock may be set back.
void World::pass_time() {
  const auto dice = random_.below(1000);
  Duration passed = dice < 2 ? 20s : dice < 20 ? 600ms : std::chrono::microseconds(random_.between(1, 3000));
  if (has_hours_ && dice == 997) passed = limits::transient_hold;
  now_.steady += passed;
  now_.wall += passed;
  if (dice == 999) now_.wall -= 2s;
  if (dice == 998) now_.wall += 5s;
  ledger_.passed(now_.wall);
}

void World::settle() {
  calm_ = true;
  shell_.enlarge_disk();
  restart();
  come_to_end();
  ledger_.check_settled(shell_.core());
  for (std::uint64_t changes = 0; keeper_ != nullptr && changes < 4; ++changes) {
    keeper_->begin_last_run(changes);
    come_to_end();
    ledger_.check_settled(shell_.core());
    ledger_.check_all_went(shell_.core(), keeper_->last_run_asked());
  }
}

void World::come_to_end() {
  for (int turn = 0; !settled(); ++turn) {
    require(turn < 3000, "it does not come to an end: " + unsettled());
    now_.steady += 20ms;
    now_.wall += 20ms;
    ledger_.passed(now_.wall);
    shell_.whole_turn(now_);
    for (auto& client : clients_) {
      for (int count = 0; count < 4; ++count) client->act();
    }
  }
}

bool World::settled() const {
  const auto done = [](const auto& client) { return client->done(); };
  if (!std::all_of(clients_.begin(), clients_.end(), done) || !shell_.core().idle() || shell_.reading() || !network_.quiet() || shell_.core().scheduled() > 0) return false;
  const auto& groups = shell_.core().delivery().groups();
  return std::all_of(groups.begin(), groups.end(), [&](const auto& group) {
    return shell_.core().delivery().info(*group.second).lag == 0;
  });
}

std::string World::unsettled() const {
  std::string text = "head " + std::to_string(ledger_.head()) + "; scheduled " + std::to_string(shell_.core().scheduled());
  for (const auto& client : clients_) {
    if (!client->done()) text += "; " + client->state();
  }
  for (const auto& [name, group] : shell_.core().delivery().groups()) {
    const auto info = shell_.core().delivery().info(*group);
    text += "; group " + name + " lag " + std::to_string(info.lag) + " open " + std::to_string(info.open) + " in flight " +
            std::to_string(info.in_flight);
  }
  return text;
}

}  // namespace bus::sim
