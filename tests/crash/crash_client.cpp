// A publisher or a member of a group that may be killed at any moment, and writes down what it was told.
//
//   crash_client publish ENDPOINT NAME COUNT LEDGER    publishes the sequences 1 … COUNT as NAME. A line per receipt:
//                                                      SEQUENCE POSITION. Begins after those that have a line already,
//                                                      so that what had no receipt when it was killed is sent again.
//   crash_client consume ENDPOINT GROUP LEDGER         a line per event, before its ack: POSITION PUBLISHER SEQUENCE
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>

#include "bus/client.hpp"
#include "bus/suoke_realtime_generated.h"

namespace {

// Lines are written by one write() each: a kill leaves them whole or not there.
class Ledger {
 public:
  explicit Ledger(const char* path) : fd_(open(path, O_WRONLY | O_CREAT | O_APPEND, 0600)) {}
  void write(const std::string& line) {
    if (::write(fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::abort();
  }

 private:
  int fd_;
};

std::set<std::uint64_t> receipted(const char* path) {
  std::set<std::uint64_t> sequences;
  std::ifstream file(path);
  for (std::uint64_t sequence = 0, position = 0; file >> sequence >> position;) sequences.insert(sequence);
  return sequences;
}

bus::NewEvent event_of(const std::string& publisher, std::uint64_t sequence) {
  suoke::realtime::SystemNotificationT notification;
  notification.notification_id = publisher + "-" + std::to_string(sequence);
  notification.title = std::string(sequence % 200, 'x');
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &notification));
  bus::NewEvent event;
  event.topic = "crash." + std::to_string(sequence % 7);
  event.type = "suoke.realtime.SystemNotification";
  event.key = "key-" + std::to_string(sequence % 50);
  event.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  return event;
}

bus::Client connect(const char* endpoint, const std::string& publisher) {
  bus::ClientOptions options;
  options.server = endpoint;
  options.publisher = publisher;
  options.connect_timeout = options.request_timeout = std::chrono::minutes(1);
  options.backoff_max = std::chrono::milliseconds(200);
  return bus::Client::connect(options).value();
}

int publish(const char* endpoint, const std::string& name, std::uint64_t count, const char* path) {
  constexpr std::uint64_t ahead = 16;
  const auto done = receipted(path);
  Ledger ledger(path);
  auto client = connect(endpoint, name);
  std::uint64_t first = 1;
  while (done.contains(first)) ++first;
  for (std::uint64_t sequence = first; sequence <= count; ++sequence) {
    client.publish_at(sequence, event_of(name, sequence), [&ledger, sequence](bus::Result<bus::Receipt> receipt) {
      if (!receipt) std::fprintf(stderr, "sequence %llu: %s\n", static_cast<unsigned long long>(sequence), describe(receipt.error()).c_str());
      if (!receipt) std::abort();
      ledger.write(std::to_string(sequence) + " " + std::to_string(number(receipt->position)) + "\n");
    });
    if (sequence % ahead == 0 && client.flush(std::chrono::minutes(1)).events > 0) return 1;
  }
  return client.close(std::chrono::minutes(1)).events > 0 ? 1 : 0;
}

int consume(const char* endpoint, const char* group, const char* path) {
  Ledger ledger(path);
  auto client = connect(endpoint, "");
  bus::SubscribeOptions options;
  options.patterns = {"crash.>"};
  options.group = group;
  options.settings.ack_wait = std::chrono::seconds(2);
  auto subscription = client.subscribe(options, [&](const bus::Event& event) {
    ledger.write(std::to_string(number(event.position())) + " " + std::string(event.publisher()) + " " + std::to_string(event.sequence()) + "\n");
  }).value();
  return subscription.wait() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc == 6 && std::strcmp(argv[1], "publish") == 0) return publish(argv[2], argv[3], std::strtoull(argv[4], nullptr, 10), argv[5]);
  if (argc == 5 && std::strcmp(argv[1], "consume") == 0) return consume(argv[2], argv[3], argv[4]);
  return 2;
} catch (const bus::Failed& failed) {
  std::fprintf(stderr, "crash_client: %s\n", failed.what());
  return 1;
}
