// What operators ask of topics: which there are, and what they are to be. Owned by the core; one thread.
#pragma once

#include "broker/core/delivery.hpp"
#include "broker/core/durable_answers.hpp"
#include "broker/core/intake.hpp"
#include "broker/core/payload_types.hpp"
#include "broker/core/retention.hpp"
#include "broker/core/topic_settings.hpp"

namespace bus::broker {

class TopicRequests {
 public:
  TopicRequests(const State& state, Staging& staging, Answers& answers, const Intake& intake, const Delivery& delivery, const PayloadTypes& types, Retention& retention, TopicTable& topics)
      : state_(state), staging_(staging), answers_(staging, answers), intake_(intake), delivery_(delivery), types_(types), retention_(retention), topics_(topics) {}

  // False: it is a request of another kind.
  bool receive(Asker to, const wire::Request& message, Now now);

 private:
  void list(Asker to, const wire::TopicsRequest& ask);
  void tell(Asker to, const std::string& name);
  std::unique_ptr<wire::TopicInfoT> info_of(const std::string& name, const TopicData& data) const;
  void create(Asker to, const wire::TopicCreate& ask, Now now);
  void edit(Asker to, const wire::TopicEdit& ask, Now now);
  void remove(Asker to, const wire::TopicRemove& ask, Now now);
  Result<TopicSettings> settings_of(const wire::TopicSettings* wire) const;
  Result<void> admit(const std::string& topic) const;
  void put(const std::string& topic, TopicSettings settings, const wire::RetentionPolicy* retention, Asker to, Now now);
  void stage(Asker to, store::Row row);

  const State& state_;
  Staging& staging_;
  DurableAnswers answers_;  // also lists and refusals: what they tell may be staged
  const Intake& intake_;
  const Delivery& delivery_;
  const PayloadTypes& types_;
  Retention& retention_;
  TopicTable& topics_;
};

}  // namespace bus::broker
