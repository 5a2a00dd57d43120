// Measures the client, with onnxruntime's number of threads, and prints one line of JSON: bench MODEL.onnx HISTORIES.txt,
// a history a line, tokens separated by tabs.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "recommend.hpp"

namespace {

using Histories = multvae::Rows<std::string>;

constexpr std::size_t batch = 256;

Histories read(const char* path) {
  std::ifstream file(path);
  Histories histories;
  for (std::string line; std::getline(file, line);) {
    std::istringstream tokens(line);
    auto& history = histories.emplace_back();
    for (std::string token; std::getline(tokens, token, '\t');) history.push_back(token);
  }
  if (histories.empty()) throw multvae::Error(std::string(path) + " has no histories: expected one a line.");
  return histories;
}

double seconds_of(const multvae::Recommender& recommender, const Histories& histories) {
  const auto start = std::chrono::steady_clock::now();
  const auto ranking = recommender.recommend(histories, 10);
  if (ranking.items.size() != histories.size()) throw multvae::Error("a history has no ranking.");
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void run(const char* model, const char* file) {
  const multvae::Recommender recommender(model, false, 0);
  const auto histories = read(file);
  for (int request = 0; request < 200; ++request) seconds_of(recommender, {histories[0]});

  std::vector<double> times;
  for (const auto& history : histories) times.push_back(seconds_of(recommender, {history}));
  std::sort(times.begin(), times.end());
  const auto milliseconds = [&](std::size_t percent) { return 1000 * times[(times.size() - 1) * percent / 100]; };

  std::vector<Histories> batches;
  for (std::size_t at = 0; at < histories.size(); ++at) {
    if (at % batch == 0) batches.emplace_back();
    batches.back().push_back(histories[at]);
  }
  double best = 0;
  for (int round = 0; round < 3; ++round) {
    double seconds = 0;
    for (const auto& part : batches) seconds += seconds_of(recommender, part);
    best = std::max(best, static_cast<double>(histories.size()) / seconds);
  }
#ifdef _MSC_VER
  const std::string compiler = "MSVC " + std::to_string(_MSC_VER);
#elif defined(__clang__)
  const std::string compiler = __VERSION__;
#else
  const std::string compiler = "GCC " __VERSION__;
#endif
  std::cout << R"({"language": "C++", "version": ")" << compiler << R"(", "onnxruntime": ")"
            << OrtGetApiBase()->GetVersionString() << R"(", "provider": ")" << recommender.provider()
            << R"(", "p50_ms": )" << milliseconds(50) << R"(, "p99_ms": )" << milliseconds(99) << R"(, "per_second": )"
            << best << "}\n";
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count != 3) throw multvae::Error("expected two arguments: bench MODEL.onnx HISTORIES.txt.");
    run(arguments[1], arguments[2]);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
