#include "tests/sim/shell.hpp"

namespace bus::sim {

using broker::Core;

namespace {

store::Options options_of(const std::filesystem::path& dir, std::size_t map_bytes, unsigned starts) {
  store::Options options;
  options.dir = dir;
  options.map_bytes = map_bytes;
  options.fill_ahead_bytes = 1 * limits::MiB;
  options.reserve_bytes = 1 * limits::MiB;
  options.compression = static_cast<store::Compression>(starts % 3);  // an operator may change it with each start
  options.seed.fill(7);
  return options;
}

}  // namespace

// ---- starts and ends

void Shell::start(Now now) {
  const auto options = options_of(dir_.path() / "data", map_bytes_, starts_++);
  auto store = store::Store::open(options);
  require(store.ok(), store.ok() ? "" : describe(store.error()));
  store_ = std::move(*store);
  reader_ = store_->reader();
  core_ = std::make_unique<Core>(broker::CoreOptions{{"sim", "", {}}, random_.below(1'000'000), options.reserve_bytes},
                                 types_, store_->identity());
  core_->set_space(store_->space());
  const auto recovered = core_->recover(*store_, now);
  require(recovered.ok(), recovered.ok() ? "" : describe(recovered.error()));
  ledger_.restarted(*store_, *core_);
}

void Shell::crash() {
  if (batch_ && !applied_ && random_.percent(50)) apply();
  network_.lose_all();
  core_.reset();
  reader_.reset();
  store_.reset();
  batch_.reset();
  applied_ = forgot_ = false;
  asked_.clear();
  answered_.clear();
  seen_.clear();
}

void Shell::stop(Now now) {
  core_->drain();
  for (int turn = 0; !core_->idle(); ++turn) {
    require(turn < 1000, "the broker does not come to an end");
    core_->tick(now);
    hand_over(now, true);
    perform_reads(true);
    report_reads(true);
    if (batch_) report(now);
    send();
  }
  batch_ = core_->take_final_batch(now);
  ledger_.handed_over(*batch_, *core_);
  report(now);
  send();
  crash();
}

// ---- turns

void Shell::turn(Now now) {
  if (random_.percent(80)) receive(now);
  perform_reads(false);
  report_reads(false);
  if (batch_ && random_.percent(30) && !applied_ && fault_ != Fault::early_report) apply();
  if (batch_ && random_.percent(30)) report(now);
  if (random_.percent(5)) fill();
  if (random_.percent(90)) core_->tick(now);
  hand_over(now, false);
  if (random_.percent(90)) send();
  core_->verify();
}

void Shell::whole_turn(Now now) {
  for (int count = 0; count < 8; ++count) receive(now);
  perform_reads(true);
  report_reads(true);
  if (batch_) report(now);
  core_->tick(now);
  hand_over(now, false);
  send();
  core_->verify();
}

void Shell::receive(Now now) {
  for (auto count = random_.between(1, 6); count > 0; --count) {
    const auto incoming = network_.receive();
    if (!incoming) return;
    now.wall += std::chrono::nanoseconds(1);  // no two groups are made at the same time: the ledger tells them apart by it
    const auto message = wire::parse(incoming->frames.front().bytes);
    const auto* request = message.ok() ? (*message)->body_as_Request() : nullptr;
    // A group's last messages leave before it goes or moves, so that the ledger does not take them for later ones.
    if (request != nullptr) send();
    if (message.ok()) ledger_.entering(incoming->peer, **message, *core_);
    core_->receive(incoming->peer, incoming->frames, now);
    if (message.ok()) ledger_.entered(incoming->peer, **message, *core_);
  }
}

void Shell::send() {
  for (broker::Outgoing& message : core_->take_outgoing()) {
    if (seen_.erase(message.header.owner) == 0) ledger_.leaving(message);
    const bool blocked = core_->is_blocked(message.peer);
    switch (blocked ? Network::Sent::would_block : network_.send(message)) {
      case Network::Sent::yes: break;
      case Network::Sent::no_such_peer: core_->gone(message.peer); break;
      case Network::Sent::would_block:
        seen_.insert(message.header.owner);
        core_->blocked(std::move(message));
        break;
    }
  }
}

// ---- the committer

void Shell::hand_over(Now now, bool all) {
  if (forgot_) return;  // the store would notice at the next commit; here the checker has to
  core_->set_space(store_->space());
  // Now and then a checkpoint of everything, as rolling ones have made in a longer life.
  const bool checkpoint = !core_->committing() && random_.percent(2);
  auto batch = checkpoint ? std::optional(core_->take_final_batch(now)) : core_->take_batch(now, all);
  if (batch) batch_ = std::move(*batch);
  if (batch) ledger_.handed_over(*batch_, *core_);
  for (auto& request : core_->take_reads()) asked_.push_back(std::move(request));
}

void Shell::apply() {
  forgot_ = fault_ == Fault::forgotten_commit && random_.percent(10);
  const auto committed = forgot_ ? Result<void>() : store_->commit(*batch_);
  require(committed.ok(), committed.ok() ? "" : describe(committed.error()));
  ledger_.applied(*batch_, core_->state());
  applied_ = true;
}

void Shell::report(Now now) {
  const bool early = fault_ == Fault::early_report && !applied_;
  if (!early && !applied_) apply();
  if (!batch_->changes.empty()) send();  // what was said before the core knows what is gone
  core_->committed(now.steady);
  if (early) send();
  if (early) apply();
  ledger_.reported();
  batch_.reset();
  applied_ = false;
}

void Shell::fill() {
  if (batch_) return;  // one thread does both
  const auto filled = store_->fill_ahead();
  require(filled.ok(), filled.ok() ? "" : describe(filled.error()));
}

// ---- the reader

void Shell::perform_reads(bool all) {
  for (std::size_t at = 0; at < asked_.size();) {
    if (!all && !random_.percent(40)) {
      if (reads_in_order_) return;
      ++at;
      continue;
    }
    answered_.push_back(broker::perform(*reader_, asked_[at]));
    const auto* backup = std::get_if<broker::ReadBackup>(&asked_[at].ask);
    if (backup != nullptr && backup->what == store::BackupAsk::What::hold) ledger_.snapshot_held();
    asked_.erase(asked_.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

void Shell::report_reads(bool all) {
  while (!answered_.empty() && (all || random_.percent(40))) {
    const auto at = reads_in_order_ ? 0 : random_.below(answered_.size());
    auto result = std::move(answered_[at]);
    answered_.erase(answered_.begin() + static_cast<std::ptrdiff_t>(at));
    core_->read_done(std::move(result));
    ledger_.groups_changed(*core_);
  }
}

// Of a moment, or of now.
void Shell::check_whole(store::LogReader& reader, const Ledger::Moment* moment) const {
  if (moment == nullptr) ledger_.check_ids(reader);
  std::uint64_t chain = 0, removed = 0;
  for (Position next = Position::none;;) {
    const auto slice = reader.verify(next, chain, 16 * limits::MiB);
    require(slice.ok(), slice.ok() ? "" : "the log cannot be verified: " + describe(slice.error()));
    require(slice->faults.empty(), slice->faults.empty() ? "" : "verify finds a fault: " + slice->faults.front().what);
    removed += slice->removed;
    if (slice->next == Position::none) return ledger_.check_verified(*slice, removed, moment);
    next = slice->next;
    chain = slice->chain;
  }
}

void Shell::check_restored(const std::filesystem::path& dir, const Ledger::Moment& moment, Now now) const {
  const auto store = store::Store::open(options_of(dir, limits::map_bytes_min, 0));
  require(store.ok(), store.ok() ? "" : "a restored log: " + describe(store.error()));
  ledger_.check_restored(**store, moment);
  check_whole(*(*store)->reader(), &moment);
  Core core(broker::CoreOptions{{"sim", "", {}}, 0, 1 * limits::MiB}, types_, (*store)->identity());
  core.set_space((*store)->space());
  const auto recovered = core.recover(**store, now);
  require(recovered.ok(), recovered.ok() ? "" : "a restored log: " + describe(recovered.error()));
  core.verify();
}

}  // namespace bus::sim
