#include "tests/support/harness.hpp"

namespace bus::test {

Harness::Harness() { start(); }
Harness::~Harness() = default;

// ---- the broker

void Harness::start() {
  store::Options options;
  options.dir = dir_.path() / "data";
  options.map_bytes = map_bytes;
  options.fill_ahead_bytes = fill_ahead_bytes;
  options.reserve_bytes = 1 * limits::MiB;
  store_ = store::Store::open(options).value();
  reader_ = store_->reader();
  broker::CoreOptions core_options{{"test", "data", {"ipc://test"}}, 1, options.reserve_bytes, auto_create_topics};
  core = std::make_unique<broker::Core>(core_options, types(), store_->identity());
  core->set_space(store_->space());
  core->recover(*store_, now).value();
}

void Harness::crash(const std::function<void(const std::filesystem::path& data)>& meanwhile) {
  core.reset();
  reader_.reset();
  store_.reset();
  batch_.reset();
  if (meanwhile) meanwhile(dir_.path() / "data");
  start();
}

void Harness::restart() {
  run();
  finish();
  crash();
}

void Harness::finish(std::size_t commits) {
  for (; commits > 0; --commits) {
    store_->commit(core->take_final_batch(now, limits::final_steps)).value();
    core->committed(now.steady);
  }
}

// ---- steps

void Harness::run() {
  for (int turn = 0; turn < 100; ++turn) {
    const bool has_more = core->tick(now) <= now.steady;
    const bool worked = read() | commit();
    collect();
    if (!worked && !has_more) return;
  }
}

bool Harness::read() { return answer(core->take_reads()); }

bool Harness::answer(const std::vector<broker::ReadRequest>& asked) {
  for (const auto& request : asked) {
    const auto error = read_fault ? read_fault(request.ask) : std::nullopt;
    core->read_done(error ? broker::ReadResult{request.id, *error} : broker::perform(*reader_, request));
  }
  return !asked.empty();
}

Hash128 Harness::key_hash(std::string_view key) const { return hash128(bytes_of(key), store_->identity().secret); }

bool Harness::take() {
  if (!batch_) batch_ = core->take_batch(now);
  return batch_.has_value();
}

bool Harness::commit() {
  if (!take()) return false;
  store_->commit(*batch_).value();
  batch_.reset();
  core->committed(now.steady);
  core->set_space(store_->space());
  return true;
}

bool Harness::write() {
  if (!take()) return false;
  store_->commit(*batch_).value();
  return true;
}

void Harness::fill_ahead() {
  store_->fill_ahead().value();
  core->set_space(store_->space());
}

void Harness::advance(Duration passed) {
  now.steady += passed;
  now.wall += passed;
}

// ---- messages

void Harness::send(const broker::Peer& peer, Buffer header, Buffer body) {
  std::vector<Frame> frames{Frame::of(std::move(header))};
  if (!body.empty()) frames.push_back(Frame::of(std::move(body)));
  core->receive(peer, frames, now);
}

void Harness::hello(const broker::Peer& peer, const std::string& publisher) {
  wire::HelloT hello;
  hello.protocol = wire::protocol_version;
  hello.client = peer;
  hello.publisher = publisher;
  send(peer, hello);
  run();
  if (const auto welcome = take<wire::WelcomeT>(peer); !welcome.empty()) fences_[peer] = welcome.back().fence;
}

void Harness::publish(const broker::Peer& peer, std::uint64_t first, const std::vector<Buffer>& events, wire::PublishT publish) {
  publish.first_sequence = first;
  publish.count = static_cast<std::uint32_t>(events.size());
  publish.fence = fences_[peer];
  send(peer, publish, join(events));
}

void Harness::ask(const broker::Peer& peer, wire::AskUnion question, std::uint64_t number) {
  wire::RequestT request;
  request.request = number;
  request.ask = std::move(question);
  send(peer, request);
}

std::vector<Code> Harness::failures(const broker::Peer& peer) {
  std::vector<Code> codes;
  for (const auto& failure : take<wire::FailureT>(peer)) codes.push_back(failure.code);
  return codes;
}

const std::vector<Received>& Harness::received(const broker::Peer& peer) { return collect(), received_[peer]; }

broker::PayloadTypes& Harness::types() {
  static broker::PayloadTypes types;
  return types;
}

void Harness::collect() {
  for (auto& message : core->take_outgoing()) {
    const bool taken = !reads.contains(message.peer) || reads.at(message.peer);
    if (!taken || core->is_blocked(message.peer)) {
      core->blocked(std::move(message));
      continue;
    }
    const auto* header = wire::parse(message.header.bytes).value();
    received_[message.peer].push_back({std::unique_ptr<wire::MessageT>(header->UnPack()),
                                       Buffer(message.body.bytes.begin(), message.body.bytes.end())});
  }
}

wire::SubscribeT subscribe(std::uint32_t number, const std::string& group, wire::Start from) {
  wire::SubscribeT message;
  message.subscription = number;
  message.group = group;
  message.from = from;
  message.credit_events = 1000;
  message.credit_bytes = limits::credit_bytes_max;
  return message;
}

}  // namespace bus::test
