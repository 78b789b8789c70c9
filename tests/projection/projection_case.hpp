// What the tests of projections share: a busd of their own, a client, a place for the state's file, and a fold whose state
// tells whether every event was folded once, and in the order of the log.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <string>

#include "bus/projection.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/connected.hpp"
#include "tests/support/results.hpp"

namespace bus::test {

// The last position; `keys` of them in turn.
inline Position publish(Client& client, std::uint64_t count, const std::string& topic = "a.b", std::uint64_t keys = 7) {
  std::atomic<std::uint64_t> last{0};
  for (std::uint64_t at = 0; at < count; ++at) {
    client.publish(note(topic, "key-" + std::to_string(at % keys)), [&](const Result<Receipt>& receipt) {
      if (receipt) last = std::max(last.load(), number(receipt->position));
    });
  }
  EXPECT_EQ(client.flush(patience).events, 0u);
  return Position{last.load()};
}

// Of one key: how many events, and a value that depends on each of their positions and on their order.
struct Chain {
  std::uint64_t count = 0;
  std::uint64_t value = 0;
  bool operator==(const Chain&) const = default;
  void add(Position position) {
    ++count;
    value = value * 6364136223846793005u + number(position);
  }
};

inline void fold_chain(const Event& event, Projection::State& state) {
  Chain chain = state.load<Chain>(event.key()).value_or(Chain{});
  chain.add(event.position());
  state.store(event.key(), chain);
}

using Chains = std::map<std::string, Chain>;

inline Chains chains_of(const Projection::Snapshot& snapshot) {
  Chains chains;
  const auto scanned = snapshot.scan("", [&](std::string_view key, std::string_view value) {
    chains[std::string(key)] = *Projection::Snapshot::load<Chain>(key, value).value();
    return true;
  });
  EXPECT_TRUE(testing::is_ok(scanned));
  return chains;
}

// As the log says it.
inline Chains chains_of(Client& client, Position up_to, const Filter& filter = {}) {
  Chains chains;
  if (up_to == Position::none) return chains;
  ReplayOptions range;
  range.filter = filter;
  range.to = At::position(up_to);
  for (const Event& event : client.replay(range)) chains[std::string(event.key())].add(event.position());
  return chains;
}

class ProjectionCase : public ::testing::Test {
 protected:
  Projection::Options options(const std::string& name = "p") const {
    Projection::Options options;
    options.name = name;
    options.file = file();
    return options;
  }
  std::filesystem::path file() const { return dir.path() / "p.state"; }
  std::filesystem::path file_new() const { return dir.path() / "p.state.new"; }
  Result<Projection> open() { return Projection::open(client, options(), fold_chain); }

  TempDir dir;
  BrokerProcess broker;
  Client client = connect(broker.endpoint());
};

}  // namespace bus::test
