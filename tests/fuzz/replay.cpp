// Runs a fuzz target without libFuzzer: its seeds, the inputs kept in files, and mutations of them, always the same ones.
//
//   fuzz_NAME                 the run of the tests
//   fuzz_NAME HEX...          these inputs only, as hex in files: to look into one that failed
//   fuzz_NAME --write DIR     the seeds as files, for libFuzzer to begin with
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string_view>

#include "tests/fuzz/target.hpp"

namespace {

namespace fs = std::filesystem;
using Inputs = std::vector<std::string>;

// Enough to go through every kind of mutation; the limit of time is for slow machines under sanitizers.
constexpr int mutations = 40'000;
constexpr auto time_max = std::chrono::seconds(6);

std::string unhex(const std::string& text) {
  std::string bytes, digits;
  for (const char c : text) {
    if (c > ' ') digits += c;
    if (digits.size() == 2) bytes += static_cast<char>(std::stoi(std::exchange(digits, ""), nullptr, 16));
  }
  return bytes;
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

class Mutator {
 public:
  Mutator(const Inputs& seeds, std::uint64_t seed) : seeds_(seeds), random_(seed) {}

  std::string next() {
    std::string input = seeds_[roll(seeds_.size())];
    for (auto changes = roll(4) + 1; changes > 0; --changes) change(input);
    return input;
  }

 private:
  std::uint64_t roll(std::uint64_t below) { return random_() % below; }
  std::size_t place(const std::string& input) { return roll(input.size() + 1); }

  void change(std::string& input) {
    const std::size_t at = place(input), bytes = roll(16) + 1;
    switch (roll(9)) {
      case 0: case 1: return flip(input);
      case 2: return overwrite(input, at);
      case 3: return void(input.erase(at, bytes));
      case 4: return void(input.insert(at, input.substr(place(input), bytes)));
      case 5: return void(input.insert(at, bytes, static_cast<char>(random_())));
      case 6: return input.resize(at);
      case 7: return splice(input, at);
      case 8: return overwrite(input, at / 4 * 4);
    }
  }
  void flip(std::string& input) {
    if (input.empty()) return;
    char& byte = input[roll(input.size())];
    byte = static_cast<char>(byte ^ (1 << roll(8)));
  }
  // A number where a length or an offset may be.
  void overwrite(std::string& input, std::size_t at) {
    constexpr std::uint32_t values[] = {0, 1, 4, 0x7f, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff};
    const std::uint32_t value = values[roll(std::size(values))];
    const std::size_t bytes = std::size_t{1} << roll(3);
    if (at + bytes > input.size()) return;
    std::memcpy(input.data() + at, &value, bytes);
  }
  void splice(std::string& input, std::size_t at) {
    const std::string& other = seeds_[roll(seeds_.size())];
    input = input.substr(0, at) + other.substr(place(other));
  }

  const Inputs& seeds_;
  std::mt19937_64 random_;
};

Inputs kept_inputs() {
  Inputs inputs;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(BUS_FUZZ_CORPUS, failed)) inputs.push_back(unhex(read(entry.path())));
  return inputs;
}

int write_seeds(const fs::path& dir) {
  fs::create_directories(dir);
  int number = 0;
  for (const auto& seed : bus::fuzz::seeds()) {
    std::ofstream(dir / ("seed-" + std::to_string(number++)), std::ios::binary) << seed;
  }
  return 0;
}

// BUS_FUZZ_KEEP=1: an abort leaves the input that led to it where a person can find it.
void note_input(const std::string& input) {
  std::ofstream(fs::temp_directory_path() / "bus-fuzz-last-input.hex") << bus::hexadecimal(bus::bytes_of(input));
}

int replay() {
  Inputs inputs = bus::fuzz::seeds();
  const Inputs kept = kept_inputs();
  inputs.insert(inputs.end(), kept.begin(), kept.end());
  for (const auto& input : inputs) run(input);
  const bool keeps = std::getenv("BUS_FUZZ_KEEP") != nullptr;
  const auto end = std::chrono::steady_clock::now() + time_max;
  int done = 0;
  for (Mutator mutator(inputs, 1); done < mutations && std::chrono::steady_clock::now() < end; ++done) {
    const std::string input = mutator.next();
    if (keeps) note_input(input);
    run(input);
  }
  std::printf("%zu seeds, %zu kept inputs, %d mutations\n", inputs.size() - kept.size(), kept.size(), done);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--write") return write_seeds(argv[2]);
  if (argc == 1) return replay();
  for (int at = 1; at < argc; ++at) run(unhex(read(argv[at])));
  return 0;
}
