// Every case of golden.json, and the command line. For Linux and macOS.

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "recommend.hpp"

namespace {

using multvae::Options;
using multvae::Recommender;
using multvae::Rows;
using nlohmann::json;
using Tokens = Rows<std::string>;
namespace fs = std::filesystem;

const fs::path clients = CLIENTS;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

const json golden = json::parse(read(clients / "golden.json"));

std::string model_of(const json& part) { return (clients / part.at("model").get<std::string>()).string(); }

const std::string model = model_of(golden);
const std::string options_model = model_of(golden["options"]);
const std::string ids_model = model_of(golden["ids"]);

Rows<float> numbers(const json& rows, float null) {
  Rows<float> values;
  for (const auto& row : rows) {
    auto& numbers = values.emplace_back();
    for (const auto& number : row) numbers.push_back(number.is_null() ? null : number.get<float>());
  }
  return values;
}

template <typename Item>
Options<Item> options_of(const json& entry) {
  Options<Item> options;
  if (entry.contains("exclude")) options.exclude = entry["exclude"].get<Rows<Item>>();
  if (entry.contains("among")) options.among = entry["among"].get<Rows<Item>>();
  if (entry.contains("noise")) options.noise = numbers(entry["noise"], std::numeric_limits<float>::quiet_NaN());
  return options;
}

template <typename Item>
multvae::Ranking<Item> ranking_of(const Recommender& recommender, const json& entry) {
  return recommender.recommend(entry["history"].get<Rows<Item>>(), entry["k"].get<int>(), options_of<Item>(entry));
}

void expect_near(const Rows<float>& actual, const Rows<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t row = 0; row < actual.size(); ++row) {
    ASSERT_EQ(actual[row].size(), expected[row].size());
    for (std::size_t at = 0; at < actual[row].size(); ++at) {
      if (actual[row][at] == expected[row][at]) continue;  // Two infinities have no difference.
      EXPECT_NEAR(actual[row][at], expected[row][at], golden["tolerance"].get<double>());
    }
  }
}

class Golden : public testing::Test {
 public:
  Golden(std::string path, json entry) : path_(std::move(path)), case_(std::move(entry)) {}

  void TestBody() override {
    const Recommender recommender(path_);
    recommender.takes_ids() ? compare<std::int64_t>(recommender) : compare<std::string>(recommender);
  }

 private:
  template <typename Item>
  void compare(const Recommender& recommender) const {
    const auto actual = ranking_of<Item>(recommender, case_);
    EXPECT_EQ(actual.items, case_["items"].get<Rows<Item>>());
    expect_near(actual.scores, numbers(case_["scores"], -std::numeric_limits<float>::infinity()));
    ASSERT_EQ(actual.reasons.has_value(), case_.contains("reasons"));
    if (!actual.reasons) return;
    ASSERT_EQ(actual.reasons->size(), case_["reasons"].size());
    for (std::size_t row = 0; row < actual.reasons->size(); ++row) {
      expect_near((*actual.reasons)[row], numbers(case_["reasons"][row], 0));
    }
  }

  std::string path_;
  json case_;
};

// Registered one by one, so that a report has each case by its name.
void register_golden_cases() {
  for (const auto& part : {golden, golden["options"], golden["ids"]}) {
    const auto path = model_of(part);
    for (const auto& entry : part["cases"]) {
      const auto name = "golden: " + fs::path(path).stem().string() + ": " + entry["name"].get<std::string>();
      testing::RegisterTest("Golden", name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                            [=]() -> testing::Test* { return new Golden(path, entry); });
    }
  }
}

TEST(Recommend, HistoriesArePadded) {
  const auto ranking = Recommender(model).recommend<std::string>({{"42"}, {"7", "a b", "007"}, {}}, 3);
  ASSERT_EQ(ranking.items.size(), 3);
  for (const auto& row : ranking.items) EXPECT_EQ(row.at(0), "café");
}

TEST(Recommend, NoHistories) { EXPECT_TRUE(Recommender(model).recommend<std::string>({}, 3).items.empty()); }

TEST(Recommend, ATokenIsNotCutAtAZeroByte) {
  const auto ranking = Recommender(model).recommend<std::string>({{std::string("42\0x", 4)}}, 8);
  EXPECT_EQ(std::count(ranking.items.at(0).begin(), ranking.items.at(0).end(), "42"), 1);
}

TEST(Recommend, ThreadsShareARecommender) {
  const Recommender recommender(options_model);
  const auto& cases = golden["options"]["cases"];
  std::vector<std::future<int>> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.push_back(std::async(std::launch::async, [&] {
      int same = 0;
      for (int round = 0; round < 20; ++round) {
        for (const auto& entry : cases) same += ranking_of<std::string>(recommender, entry).items == entry["items"];
      }
      return same;
    }));
  }
  for (auto& thread : threads) EXPECT_EQ(thread.get(), 20 * cases.size());
}

TEST(Recommend, ThreadsOfARequest) {
  const auto started = [](int threads) {
    const auto count = [] { return std::distance(fs::directory_iterator("/proc/self/task"), {}); };
    const auto before = count();
    const Recommender recommender(model, false, threads);
    return count() - before;
  };
  if (!fs::exists("/proc/self/task")) GTEST_SKIP() << "only Linux tells the threads of a process";
  EXPECT_EQ(started(1), 0);  // The caller's is one of them.
  EXPECT_EQ(started(3), 2);
}

TEST(Recommend, Because) {
  EXPECT_EQ(multvae::because<std::string>({"7", "a b"}, {-1, 2}), "a b");
  EXPECT_EQ(multvae::because<std::int64_t>({5}, {0}), std::nullopt);
  EXPECT_EQ(multvae::because<std::string>({}, {}), std::nullopt);
}

template <typename Function>
std::string error_of(Function function) {
  try {
    function();
  } catch (const multvae::Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Recommend, Errors) {
  const Recommender tokens(model);
  const Recommender ids(ids_model);
  Options<std::string> noise;
  noise.noise = {{1, 2}};
  EXPECT_EQ(error_of([&] { (void)tokens.recommend<std::string>({{"42"}}, 3, noise); }),
            "the model has no input noise: export it with --posterior.");
  EXPECT_EQ(error_of([&] { (void)Recommender(options_model).recommend<std::string>({{"42"}}, 3, noise); }),
            "noise has a row of 2 numbers: the model takes 3.");
  EXPECT_EQ(error_of([&] { (void)Recommender(model, false, -1); }), "threads is -1: expected 0 to 1024.");
  EXPECT_EQ(error_of([&] { (void)Recommender(model, false, 1025); }), "threads is 1025: expected 0 to 1024.");
  EXPECT_EQ(error_of([&] { (void)tokens.recommend<std::string>({{"42"}}, 0); }), "k is 0: expected 1 or more.");
  EXPECT_EQ(error_of([&] { (void)ids.recommend<std::int64_t>({}, -3); }), "k is -3: expected 1 or more.");
  EXPECT_EQ(error_of([&] { (void)tokens.recommend<std::int64_t>({{42}}, 3); }),
            "the model takes item tokens: give it std::string.");
  EXPECT_EQ(error_of([&] { (void)ids.recommend<std::string>({{"42"}}, 3); }),
            "the model takes RecBole's item ids: give it std::int64_t.");
  Options<std::int64_t> lists;
  lists.exclude = {{1}, {2}};
  const auto refused = error_of([&] { (void)ids.recommend<std::int64_t>({{1}, {2}, {3}}, 3, lists); });
  EXPECT_EQ(refused.rfind("onnxruntime failed: ", 0), 0) << refused;
}

class CommandLine : public testing::Test {
 protected:
  struct Result {
    int code;
    std::string out;
    std::string err;
  };

  void SetUp() override {
    auto pattern = (fs::temp_directory_path() / "recommend-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }

  void TearDown() override { fs::remove_all(folder_); }

  Result run(const std::vector<std::string>& arguments) const {
    std::string command = "'" COMMAND "'";
    for (const auto& argument : arguments) command += " '" + argument + "'";
    const auto out = folder_ / "out";
    const auto err = folder_ / "err";
    const int status = std::system((command + " >'" + out.string() + "' 2>'" + err.string() + "'").c_str());
    return {WEXITSTATUS(status), read(out), read(err)};
  }

  /// A file with this text, in a folder that is removed after the test.
  std::string file(const std::string& name, const std::string& text) const {
    write(folder_ / name, text);
    return (folder_ / name).string();
  }

  fs::path folder_;
};

std::string replaced(const std::string& text, const std::string& old, const std::string& by) {
  std::string result = text;
  for (auto at = result.find(old); at != std::string::npos; at = result.find(old, at + by.size())) {
    result.replace(at, old.size(), by);
  }
  return result;
}

bool starts_with(const std::string& text, const std::string& start) { return text.rfind(start, 0) == 0; }

TEST_F(CommandLine, Ranks) {
  EXPECT_EQ(run({model, "42", "-k", "2"}).out, "café\t1.8704\n007\t1.3451\n");
  EXPECT_EQ(run({options_model, "42", "-k", "2"}).out, "café\t1.8704\tbecause of 42\n007\t1.3451\n");
  EXPECT_EQ(run({ids_model, "2", "-k", "2"}).out, "3\t1.8704\tbecause of 2\n6\t1.3451\n");
}

TEST_F(CommandLine, Filters) {
  EXPECT_TRUE(starts_with(run({options_model, "42", "--exclude", "café,7"}).out, "007\t1.3451\n"));
  const auto out = run({options_model, "42", "--among", file("items.txt", "007\n7\nx,y\n")}).out;
  EXPECT_TRUE(std::regex_match(out, std::regex("007\t.*\n7\t.*\nx,y\t.*\n"))) << out;
  EXPECT_TRUE(starts_with(run({ids_model, "2", "--exclude", "3", "--among", "3,1"}).out, "1\t"));
}

TEST_F(CommandLine, NamesUnknownItems) {
  EXPECT_EQ(run({options_model, "42", "nobody", "--exclude", "none.txt"}).err,
            "The model ignores items that it does not know: nobody, none.txt\n");
}

TEST_F(CommandLine, TellsTheProvider) {
  const auto err = run({model, "42", "--gpu"}).err;
  EXPECT_TRUE(std::regex_match(err, std::regex("runs on (CUDA|CPU)ExecutionProvider\n"))) << err;
}

TEST_F(CommandLine, Errors) {
  const std::string version("contract_version\x12\x01");
  const auto bytes = read(model);
  const auto text = file("text.onnx", "not a model");
  const auto later = file("new.onnx", replaced(bytes, version + "1", version + "3"));
  const auto other = file("other.onnx", replaced(bytes, "history", "visitor"));
  const std::vector<std::pair<std::vector<std::string>, std::string>> failures{
      {{"missing.onnx", "42"}, "missing.onnx is missing: expected a model exported with --io tokens or --io ids."},
      {{".", "42"}, ". is a folder: expected a model exported with --io tokens or --io ids."},
      {{text}, "text.onnx is no ONNX model that onnxruntime can read: export the model again."},
      {{later}, "has the contract version 3, this client knows 1 and 2: update it."},
      {{other}, "other.onnx takes int64 k, string visitor: expected history and k; "},
      {{model, "-k", "0"}, "-k is 0: expected 1 or more."},
      {{model, "-k"}, "-k has no value"},
      {{model, "--all"}, "there is no option --all"},
      {{}, "MODEL.onnx is missing"},
      {{model, "42", "--among", "7"}, "the model has no input among: export it with --filters."},
      {{options_model, "42", "--among", "nobody"}, "Nothing to recommend"},
      {{ids_model, "café"}, "'café' is no item id: the model takes RecBole's item ids."},
  };
  for (const auto& [arguments, message] : failures) {
    const auto failed = run(arguments);
    EXPECT_EQ(failed.code, 1) << message;
    EXPECT_NE(failed.err.find(message), std::string::npos) << failed.err;
    EXPECT_EQ(std::count(failed.err.begin(), failed.err.end(), '\n'), 1) << failed.err;
  }
}

}  // namespace

int main(int count, char** arguments) {
  testing::InitGoogleTest(&count, arguments);
  register_golden_cases();
  return RUN_ALL_TESTS();
}
