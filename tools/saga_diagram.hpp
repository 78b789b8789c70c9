// Pictures of sagas, for `saga diagram`: text that Mermaid or Graphviz draws. Pure.
#pragma once

#include <string>

#include "bus/saga_control.hpp"

namespace bus::tools {

enum class DiagramFormat { mermaid, dot };

// The stages of the definition one below the other, its pivot, and beside each step how it is undone. With a report, each step as it is at.
std::string saga_diagram(DiagramFormat format, const suoke::saga::SagaDefinedT& definition, const saga::Report* report);

}  // namespace bus::tools
