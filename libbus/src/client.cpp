#include "bus/client.hpp"
#include "bus/transaction.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "connection.hpp"
#include "subscription.hpp"

namespace bus {

namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string program_name() { return program_invocation_short_name; }

}  // namespace

std::string default_endpoint() {
  if (const auto server = environment("BUS_SERVER"); !server.empty()) return server;
  const std::string system = "/run/busd/bus.sock";
  struct stat info {};
  if (geteuid() == 0 || ::stat(system.c_str(), &info) == 0) return "ipc://" + system;
  const auto runtime = environment("XDG_RUNTIME_DIR");
  return "ipc://" + (runtime.empty() ? "/tmp/busd-" + std::to_string(geteuid()) : runtime + "/busd") + "/bus.sock";
}

struct Client::Impl {
  explicit Impl(const ClientOptions& options) : connection(std::make_shared<Connection>(options)) {}

  std::shared_ptr<Connection> connection;
  ServerInfo server;
  std::mutex mutex;
  std::vector<std::weak_ptr<Subscription::State>> subscriptions;
  std::vector<std::weak_ptr<Replay::State>> replays;
  std::atomic<bool> is_closed{false};
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;

Client& Client::operator=(Client&& other) noexcept {
  if (impl_) close();
  impl_ = std::move(other.impl_);
  return *this;
}

Client::~Client() {
  if (impl_) close();
}

Result<Client> Client::connect(ClientOptions options) {
  if (options.server.empty()) options.server = default_endpoint();
  if (options.name.empty()) options.name = program_name();
  if (auto good = check_server(options.server); !good) return good.error();
  auto impl = std::make_unique<Impl>(options);
  auto server = impl->connection->open();
  if (!server) return server.error();
  impl->server = std::move(*server);
  return Client(std::move(impl));
}

const ServerInfo& Client::server() const { return impl_->server; }

// ---- publishing

namespace {

Error was_closed() { return {Code::closed, "the client was closed"}; }

}  // namespace

std::future<Result<Receipt>> Client::publish(const NewEvent& event) {
  auto promise = std::make_shared<std::promise<Result<Receipt>>>();
  auto future = promise->get_future();
  publish(event, [promise](Result<Receipt> receipt) { promise->set_value(std::move(receipt)); });
  return future;
}

void Client::publish(const NewEvent& event, ReceiptCallback done) {
  if (impl_->is_closed) return done(was_closed());
  auto taken = impl_->connection->publish(event, std::nullopt, done, Connection::WhenFull::wait);
  if (!taken) done(taken.error());
}

Result<void> Client::try_publish(const NewEvent& event, ReceiptCallback done) {
  if (impl_->is_closed) return was_closed();
  return impl_->connection->publish(event, std::nullopt, done, Connection::WhenFull::refuse);
}

void Client::publish_at(std::uint64_t sequence, const NewEvent& event, ReceiptCallback done) {
  if (impl_->is_closed) return done(was_closed());
  auto taken = impl_->connection->publish(event, sequence, done, Connection::WhenFull::wait);
  if (!taken) done(taken.error());
}

std::future<Result<std::vector<Receipt>>> Client::transact(const Transaction& step) {
  if (!impl_->is_closed) return step.begin(*impl_->connection);
  std::promise<Result<std::vector<Receipt>>> over;
  over.set_value(was_closed());
  return over.get_future();
}

Unknown Client::flush(Duration deadline) { return impl_->connection->flush(deadline); }

// ---- reading

Result<Subscription> Client::subscribe(SubscribeOptions options, std::function<void(const Event&)> callback) {
  return subscribe(std::move(options), [callback = std::move(callback)](Subscription&, const Event& event) { callback(event); });
}

Result<Subscription> Client::subscribe(SubscribeOptions options, std::function<void(Subscription&, const Event&)> callback) {
  if (impl_->is_closed) return was_closed();
  auto state = std::make_shared<Subscription::State>(impl_->connection, options);
  {
    const std::lock_guard lock(impl_->mutex);
    std::erase_if(impl_->subscriptions, [](const auto& one) { return one.expired(); });
    impl_->subscriptions.push_back(state);
  }
  if (auto begun = state->begin(subscribe_message(options)); !begun) return begun.error();
  state->start_threads({std::move(callback), std::move(options.on_trimmed)});
  return Subscription(std::move(state));
}

Replay Client::replay(ReplayOptions options) {
  auto state = std::make_shared<Replay::State>(impl_->connection, subscribe_message(options));
  const std::lock_guard lock(impl_->mutex);
  std::erase_if(impl_->replays, [](const auto& one) { return one.expired(); });
  impl_->replays.push_back(state);
  // The broker goes on sending to a replay that was left half way: when the last copy goes, it ends.
  auto owner = std::shared_ptr<void>(nullptr, [state](void*) { state->stop(); });
  return Replay(std::shared_ptr<Replay::State>(std::move(owner), state.get()));
}

Result<Client::Answer> Client::request(wire::AskUnion ask) {
  if (impl_->is_closed) return was_closed();
  auto promise = std::make_shared<std::promise<Result<Answer>>>();
  auto number = std::make_shared<std::uint64_t>(0);
  auto future = promise->get_future();
  auto asked = std::make_shared<wire::AskUnion>(std::move(ask));
  const bool posted = impl_->connection->post([promise, number, asked](ClientCore& core) {
    *number = core.request(std::move(*asked), [promise](Result<Answer> answer) { promise->set_value(std::move(answer)); });
  });
  if (!posted) return was_closed();
  const auto timeout = impl_->connection->request_timeout();
  if (timeout == Duration(0) || future.wait_for(timeout) == std::future_status::ready) return future.get();
  impl_->connection->post([number](ClientCore& core) { core.forget_request(*number); });
  return Error{Code::timed_out, "the broker did not answer in time"};
}

// ---- the end

Unknown Client::close(Duration deadline) {
  const auto until = std::chrono::steady_clock::now() + std::min<Duration>(deadline, forever);
  if (impl_->is_closed.exchange(true)) {
    const auto unknown = impl_->connection->flush(deadline);  // another thread is closing, or has closed
    impl_->connection->close();
    return unknown;
  }
  impl_->connection->stop_publishing();
  std::vector<std::shared_ptr<Subscription::State>> subscriptions;
  {
    const std::lock_guard lock(impl_->mutex);
    for (const auto& one : impl_->subscriptions) {
      if (auto state = one.lock()) subscriptions.push_back(std::move(state));
    }
    for (const auto& one : impl_->replays) {
      if (auto state = one.lock()) state->stop();
    }
  }
  for (const auto& state : subscriptions) state->close(until);
  const auto unknown = impl_->connection->flush(std::max<Duration>(until - std::chrono::steady_clock::now(), Duration(0)));
  impl_->connection->close();
  return unknown;
}

}  // namespace bus
