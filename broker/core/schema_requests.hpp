// What operators ask of event types: which there are, how they may change, and a next version of them. Owned by the core; one thread.
#pragma once

#include "broker/core/durable_answers.hpp"
#include "broker/core/intake.hpp"
#include "broker/core/schema_registry.hpp"

namespace bus::broker {

class SchemaRequests {
 public:
  SchemaRequests(Staging& staging, Answers& answers, const Intake& intake, const PayloadTypes& types, SchemaRegistry& registry)
      : staging_(staging), answers_(staging, answers), intake_(intake), types_(types), registry_(registry) {}

  // False: it is a request of another kind.
  bool receive(Asker to, const wire::Request& message, WallTime now);

 private:
  void list(Asker to, const wire::SchemasRequest& ask);
  std::unique_ptr<wire::SchemaInfoT> info_of(const std::string& name, const PayloadTypes::Type& type, const SchemaVersion* version) const;
  void add(Asker to, const wire::SchemaAdd& ask, WallTime now);
  void edit(Asker to, const wire::SchemaEdit& ask, WallTime now);
  void diff(Asker to, const wire::SchemaDiff& ask);
  void history(Asker to, const wire::SchemaHistory& ask);
  // Errors: not_found.
  Result<const RegisteredType*> registered(const flatbuffers::String* type) const;
  void put(store::Row row);

  Staging& staging_;
  DurableAnswers answers_;  // also lists and refusals: what they tell may be staged
  const Intake& intake_;
  const PayloadTypes& types_;
  SchemaRegistry& registry_;
};

}  // namespace bus::broker
