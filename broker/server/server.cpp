#include "broker/server/server.hpp"

#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/check.hpp"
#include "broker/store/compact.hpp"
#include "broker/store/directory.hpp"
#include "bus/version.hpp"

namespace bus::broker {

namespace {

using namespace std::chrono_literals;

// How much one turn reads from the socket before it hands over what has gathered.
constexpr std::size_t messages_per_turn = 1024;
constexpr std::size_t bytes_per_turn = 256 * limits::KiB;

int take_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread is started: all inherit it
  return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

template <typename T>
T random_value() {
  T value{};
  if (getrandom(&value, sizeof value, 0) != sizeof value) throw std::runtime_error("getrandom failed");
  return value;
}

[[noreturn]] void die(const Error& error) {
  spdlog::critical("{}; stopping, nothing more is acknowledged. On restart the log is recovered to the last commit", describe(error));
  spdlog::default_logger()->flush();
  _exit(1);
}

store::Compression compression_of(const std::string& name) {
  if (name == "lz4") return store::Compression::lz4;
  if (name == "zstd") return store::Compression::zstd;
  BUS_CHECK(name == "none");
  return store::Compression::none;
}

// The service manager waits this much longer for each part that is done.
constexpr std::uint64_t start_extension_usec = 600'000'000;

void tell_of_compacted(std::uint64_t done, std::uint64_t most) {
  if (done == 0) spdlog::info("a compacted copy is to take the place of the log: {} rows are gone over first, which may take a while", most);
  sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%llu\nSTATUS=taking the compacted copy of the log, row %llu of %llu", static_cast<unsigned long long>(start_extension_usec),
             static_cast<unsigned long long>(done), static_cast<unsigned long long>(most));
}

// What `bus-cli log compact` has made ready. The log goes on without it where it cannot be taken.
Result<void> take_compacted(const store::Options& options) {
  const auto swapped = store::swap_in_compacted(options.dir, options.map_bytes, tell_of_compacted);
  if (!swapped) {
    spdlog::warn("the compacted copy of the log is not taken: {}. It is tried again at the next start; bus-cli log compact --discard removes it",
                 describe(swapped.error()));
    return {};
  }
  if (!*swapped) return {};
  const auto& taken = **swapped;
  if (taken.unsynced) return Error{taken.unsynced->code, "the compacted copy has taken the place of the log, but it is not certain that it keeps it: " + taken.unsynced->detail};
  if (taken.bytes > 0) {
    spdlog::info("the compacted copy has taken the place of the log: {} bytes instead of {}, {} rows had changed since", taken.bytes, taken.old_bytes, taken.rows);
  }
  if (taken.left) spdlog::warn("the log that a compacted copy has replaced is still there: {}. It is tried again at the next start", describe(*taken.left));
  return {};
}

}  // namespace

Now read_clocks() {
  return {std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()), std::chrono::steady_clock::now()};
}

Server::Server(const Config& config, std::unique_ptr<store::Store> store) : config_(config), store_(std::move(store)) {}

Server::~Server() {
  if (wake_fd_ >= 0) ::close(wake_fd_);
  if (signal_fd_ >= 0) ::close(signal_fd_);
}

// ---- start

Result<std::unique_ptr<Server>> Server::start(const Config& config, const PayloadTypes& types) {
  for (const auto& endpoint : config.listen) {
    if (auto good = check_endpoint(endpoint); !good) return good.error();
  }
  const int signal_fd = take_signals();
  store::Options options;
  options.dir = config.data;
  options.map_bytes = config.map_bytes;
  options.fill_ahead_bytes = config.fill_ahead_bytes;
  options.reserve_bytes = config.reserve_bytes;
  options.compression = compression_of(config.compression);
  options.seed = random_value<std::array<std::uint8_t, 32>>();
  if (auto taken = take_compacted(options); !taken) return taken.error();
  auto store = store::Store::open(options);
  if (!store) return store.error();
  if (const auto warning = store::storage_warning(config.data); !warning.empty()) spdlog::warn("{}", warning);
  std::unique_ptr<Server> server(new Server(config, std::move(*store)));
  server->signal_fd_ = signal_fd;
  if (auto recovered = server->recover(types); !recovered) return recovered.error();
  if (auto listening = server->listen(); !listening) return listening.error();
  return server;
}

Result<void> Server::recover(const PayloadTypes& types) {
  sd_notify(0, "STATUS=recovering");
  const Now begin = read_clocks();
  CoreOptions options;
  options.about = {BUS_VERSION, config_.data, config_.listen};
  options.secret = random_value<std::uint64_t>();
  options.reserve_bytes = config_.reserve_bytes;
  options.auto_create_topics = config_.auto_create_topics;
  core_ = std::make_unique<Core>(std::move(options), types, store_->identity());
  core_->set_space(store_->space());
  if (auto recovered = core_->recover(*store_, begin); !recovered) return recovered;
  for (GroupConfig group : config_.groups) {
    // A type may be registered only once busd runs.
    if (auto resolved = resolve_types(group, core_->types()); !resolved) {
      spdlog::error("{}; the group is left as it is until busd starts again", resolved.error().detail);
      continue;
    }
    if (auto declared = core_->declare_group(*group.what, begin); !declared) {
      spdlog::error("group.{} of the settings is left as it is: {}", group.name, declared.error().detail);
    }
  }
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(read_clocks().steady - begin.steady);
  spdlog::info("log in {} recovered to position {} in {} ms, epoch {}", config_.data, number(core_->head()), took.count(),
               store_->identity().epoch);
  return {};
}

Result<void> Server::listen() {
  wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  const auto wake = [fd = wake_fd_] { eventfd_write(fd, 1); };
  socket_ = std::make_unique<RouterSocket>();
  for (const auto& endpoint : config_.listen) {
    auto bound = socket_->bind(endpoint);
    if (!bound) return bound.error();
    spdlog::info("listening on {}", *bound);
  }
  committer_ = std::make_unique<Committer>(*store_, wake);
  reader_ = std::make_unique<ReadWorker>(*store_, wake);
  std::uint64_t watchdog_usec = 0;
  if (sd_watchdog_enabled(0, &watchdog_usec) > 0) watchdog_interval_ = std::chrono::microseconds(watchdog_usec) / 2;
  sd_notify(0, "READY=1\nSTATUS=serving");
  spdlog::info("ready");
  return {};
}

// ---- the loop

void Server::run() {
  while (!stopping_) {
    const Now now = read_clocks();
    receive(now);                           // Drains the socket, up to one turn's share.
    collect(now);                           // What the committer and the reader have done since.
    const SteadyTime next = core_->tick(now);  // Deadlines and deliveries.
    hand_over(now);                         // The gathered batch to the committer, if it is free.
    send();                                 // Receipts of committed batches only: the core keeps the others.
    say_health(now);
    wait(next);
  }
  drain();
}

void Server::receive(Now now) {
  RouterSocket::Incoming message;
  std::size_t bytes = 0;
  messages_waiting_ = true;
  for (std::size_t count = 0; count < messages_per_turn && bytes < bytes_per_turn; ++count) {
    if (!socket_->receive(message)) {
      messages_waiting_ = false;
      return;
    }
    bytes += message.bytes;
    core_->receive(message.peer, message.frames, now);
  }
}

void Server::collect(Now now) {
  for (auto& result : reader_->collect()) core_->read_done(std::move(result));
  // The outcome first: what a commit has used of the space is gone from the figures by then.
  const auto outcome = committer_->collect();
  core_->set_space(store_->space());
  if (!outcome) return;
  if (outcome->ok()) return core_->committed(now.steady);
  if (!stopping_ || outcome->error().code != Code::log_full) die(outcome->error());
  unsaved_ = outcome->error();
}

void Server::hand_over(Now now) {
  if (auto batch = core_->take_batch(now)) committer_->submit(std::move(*batch));
  reader_->submit(core_->take_reads());
}

void Server::send() {
  for (Outgoing& message : core_->take_outgoing()) {
    if (core_->is_blocked(message.peer)) {
      core_->blocked(std::move(message));
      continue;
    }
    switch (socket_->send(message)) {
      case RouterSocket::Sent::yes: break;
      case RouterSocket::Sent::would_block: core_->blocked(std::move(message)); break;
      case RouterSocket::Sent::no_such_peer:
        core_->gone(message.peer);
        peers_gone_ = true;
        break;
    }
  }
}

void Server::wait(SteadyTime until) {
  const auto left = until - read_clocks().steady;
  auto timeout = std::clamp<Duration>(left, 0ms, 1000ms);
  // What a peer that has gone leaves behind is for others, now.
  if (messages_waiting_ || std::exchange(peers_gone_, false)) timeout = 0ms;
  const auto ready = socket_->wait(wake_fd_, signal_fd_, timeout);
  if (ready.woken) {
    eventfd_t count = 0;
    eventfd_read(wake_fd_, &count);
  }
  if (ready.signalled) take_signal();
  const Now now = read_clocks();
  if (ready.disconnected && now.steady >= next_probe_) {
    next_probe_ = now.steady + 100ms;
    core_->probe(now.steady);
  }
}

void Server::take_signal() {
  signalfd_siginfo info{};
  while (::read(signal_fd_, &info, sizeof info) == sizeof info) stopping_ = true;
}

void Server::say_health(Now now) {
  if (core_->log_full() != was_full_) {
    was_full_ = core_->log_full();
    if (was_full_) spdlog::error("no space is left for events: publishes are refused, settlements go on. Free space on the disk of {}, or raise map_size", config_.data);
    if (!was_full_) spdlog::info("there is space again: publishes are taken");
  }
  if (watchdog_interval_ == Duration::zero() || now.steady < next_watchdog_) return;
  next_watchdog_ = now.steady + watchdog_interval_ / 2;
  sd_notifyf(0, "WATCHDOG=1\nSTATUS=serving, position %llu, %zu sessions",
             static_cast<unsigned long long>(number(core_->head())), core_->sessions());
}

// ---- the end

void Server::drain() {
  spdlog::info("stopping: committing what was received");
  sd_notify(0, "STOPPING=1\nSTATUS=draining");
  core_->drain();
  committer_->hurry();
  // Whoever publishes meanwhile is told so; acknowledgements are taken to the end.
  const auto deadline = read_clocks().steady + 5s;
  for (Now now = read_clocks(); (!core_->idle() || messages_waiting_) && !unsaved_ && now.steady < deadline; now = read_clocks()) {
    receive(now);
    collect(now);
    core_->tick(now);
    if (auto batch = core_->take_batch(now, true)) committer_->submit(std::move(*batch));
    reader_->submit(core_->take_reads());
    send();
    socket_->wait(wake_fd_, signal_fd_, 1ms);
  }
  commit_last();
  send();
  socket_->close(2s);
  committer_.reset();
  reader_.reset();
  if (unsaved_) {
    spdlog::warn("no space is left for the last checkpoint ({}). Everything acknowledged is in the log; the next start reads more of it",
                 describe(*unsaved_));
  }
  spdlog::info("stopped at position {}", number(core_->head()));
}

// Acknowledgements first, then a checkpoint of everything: the next start has nothing to replay. In steps, each of which
// needs little space and frees some for the next ones. Where there is none left, the last checkpoint holds.
void Server::commit_last() {
  finish_commit();
  if (unsaved_) return;
  if (auto batch = core_->take_batch(read_clocks(), true)) commit(std::move(*batch));
  for (std::size_t saved = 0; saved < limits::key_shards && !unsaved_; saved += limits::final_steps) {
    commit(core_->take_final_batch(read_clocks(), limits::final_steps));
  }
}

void Server::commit(store::CommitBatch batch) {
  committer_->submit(std::move(batch));
  finish_commit();
}

void Server::finish_commit() {
  while (core_->committing() && !unsaved_) {
    socket_->wait(wake_fd_, signal_fd_, 1ms);
    collect(read_clocks());
  }
}

}  // namespace bus::broker
