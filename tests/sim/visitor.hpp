// SimVisitor is a row of libbus clients without a name of their own, one after the other. Each publishes some events under
// the name that the broker gave it, and leaves: mostly with a Bye once all have their receipts, else without a word.
#pragma once

#include <memory>
#include <vector>

#include "tests/sim/library_link.hpp"

namespace bus::sim {

class SimVisitor final : public Actor {
 public:
  // `may_be_fenced`: hours pass in this world, so a name may go to others while its holder is away.
  SimVisitor(Env& env, std::string name, std::uint64_t quota, bool may_be_fenced)
      : env_(env), name_(std::move(name)), quota_(quota), may_be_fenced_(may_be_fenced) {}
  void act() override;
  bool done() const override { return !visit_ || visit_->unanswered() == 0; }
  std::string state() const override;

 private:
  // One client, from its first Hello to its end.
  class Visit {
   public:
    Visit(Env& env, std::string name, bool may_be_fenced);
    void act();
    void publish();
    // Says Bye; over() once that is done.
    void leave();
    void vanish() { link_.cut(); }
    bool over() const { return core_.is_over() && core_.has_left(); }
    bool leaving() const { return core_.is_over(); }
    std::size_t published() const { return answered_.size(); }
    std::size_t unanswered() const;

   private:
    void answered(std::size_t at, Code refusal, const Result<Receipt>& receipt);

    Env& env_;
    const std::string name_;                   // of the client; its events are known by it
    const bool may_be_fenced_;
    std::string publisher_;                    // given by the broker
    std::uint64_t before_ = 0;                 // the last sequence of those who had the name before
    Outbox outbox_;
    ClientCore core_;
    LibraryLink link_;
    std::vector<bool> answered_;
  };

  Env& env_;
  const std::string name_;
  const std::uint64_t quota_;
  const bool may_be_fenced_;
  std::unique_ptr<Visit> visit_;
  std::uint64_t visits_ = 0, published_ = 0, stay_ = 0;
};

}  // namespace bus::sim
