package multvae;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.onnxruntime.OrtException;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Function;
import java.util.stream.Stream;
import multvae.Recommender.ClosedException;
import multvae.Recommender.Config;
import multvae.Recommender.Options;
import multvae.Recommender.Ranking;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** Every case of golden.json, and what a service relies on. */
class RecommenderTest {
  private static final Path CLIENTS = Path.of("..");
  private static final JsonObject GOLDEN = golden();
  private static final String MODEL = model(GOLDEN);
  private static final String OPTIONS = model(GOLDEN.getAsJsonObject("options"));
  private static final String IDS = model(GOLDEN.getAsJsonObject("ids"));
  private static final String DAMAGED = model(GOLDEN.getAsJsonObject("damaged"));
  private static final Path TASKS = Path.of("/proc/self/task");
  private static final Config UNCHECKED = new Config().withCheck(false);

  private static JsonObject golden() {
    try {
      String text = Files.readString(CLIENTS.resolve("golden.json"));
      return JsonParser.parseString(text).getAsJsonObject();
    } catch (IOException error) {
      throw new IllegalStateException("The tests need golden.json, in the folder above.", error);
    }
  }

  private static String model(JsonObject part) {
    return CLIENTS.resolve(part.get("model").getAsString()).toString();
  }

  private static <T> List<T> list(JsonElement array, Function<JsonElement, T> read) {
    return array.getAsJsonArray().asList().stream().map(read).toList();
  }

  private static List<JsonObject> cases(JsonObject part) {
    return list(part.get("cases"), JsonElement::getAsJsonObject);
  }

  /** Rows of tokens or ids; null where the case has none. */
  private static List<List<Object>> rows(JsonObject json, String name) {
    return json.has(name) ? list(json.get(name), row -> list(row, RecommenderTest::item)) : null;
  }

  private static Object item(JsonElement item) {
    return item.getAsJsonPrimitive().isString() ? item.getAsString() : (Object) item.getAsLong();
  }

  private static float[][] numbers(JsonElement rows, float ofNull) {
    float[][] numbers = new float[rows.getAsJsonArray().size()][];
    for (int row = 0; row < numbers.length; row++) {
      List<JsonElement> parts = rows.getAsJsonArray().get(row).getAsJsonArray().asList();
      numbers[row] = new float[parts.size()];
      for (int i = 0; i < parts.size(); i++) {
        numbers[row][i] = parts.get(i).isJsonNull() ? ofNull : parts.get(i).getAsFloat();
      }
    }
    return numbers;
  }

  private static void near(float[][] actual, JsonElement expected) {
    float[][] numbers = numbers(expected, Float.NEGATIVE_INFINITY);
    assertEquals(numbers.length, actual.length);
    for (int row = 0; row < numbers.length; row++) {
      assertArrayEquals(numbers[row], actual[row], GOLDEN.get("tolerance").getAsFloat());
    }
  }

  private static Ranking<Object> recommend(Recommender<Object> recommender, JsonObject golden)
      throws OrtException {
    float[][] noise = golden.has("noise") ? numbers(golden.get("noise"), Float.NaN) : null;
    Options<Object> options = new Options<>(rows(golden, "exclude"), rows(golden, "among"), noise);
    return recommender.recommend(rows(golden, "history"), golden.get("k").getAsInt(), options);
  }

  @TestFactory
  @DisplayName("golden:")
  Stream<DynamicTest> goldenCases() {
    return Stream.of(GOLDEN, GOLDEN.getAsJsonObject("options"), GOLDEN.getAsJsonObject("ids"))
        .flatMap(part -> cases(part).stream().map(golden -> test(part, golden)));
  }

  private static DynamicTest test(JsonObject part, JsonObject golden) {
    String stem = part.get("model").getAsString().replace(".onnx", "");
    String name = stem + ": " + golden.get("name").getAsString();
    return DynamicTest.dynamicTest(name, () -> check(model(part), golden));
  }

  private static void check(String model, JsonObject golden) throws OrtException {
    Ranking<Object> ranking;
    try (Recommender<Object> recommender = Recommender.open(Path.of(model), Object.class)) {
      ranking = recommend(recommender, golden);
    }
    assertEquals(rows(golden, "items"), ranking.items());
    near(ranking.scores(), golden.get("scores"));
    if (!golden.has("reasons")) {
      assertNull(ranking.reasons());
      return;
    }
    List<JsonElement> reasons = golden.getAsJsonArray("reasons").asList();
    assertEquals(reasons.size(), ranking.reasons().length);
    for (int row = 0; row < reasons.size(); row++) {
      near(ranking.reasons()[row], reasons.get(row));
    }
  }

  @Test
  void historiesArePadded() throws OrtException {
    try (Recommender<String> recommender = Recommender.open(Path.of(MODEL), String.class)) {
      List<List<String>> histories = List.of(List.of("42"), List.of("7", "a b", "007"), List.of());
      Ranking<String> ranking = recommender.recommend(histories, 3);
      assertEquals(
          List.of("café", "café", "café"),
          ranking.items().stream().map(row -> row.get(0)).toList());
      assertEquals(List.of(), recommender.recommend(List.of(), 3).items());
    }
  }

  @Test
  void itemsHaveTheTypeOfTheFile() throws OrtException {
    try (Recommender<Long> recommender = Recommender.open(Path.of(IDS), Long.class)) {
      assertEquals(List.of(List.of(3L)), recommender.recommend(List.of(List.of(2L)), 1).items());
    }
    String message = message(() -> Recommender.open(Path.of(IDS), String.class));
    assertTrue(
        message.endsWith("has items of type Long, not String: open it with Long.class."), message);
  }

  @Test
  void requestsThatCannotBeMetAreRefused() throws OrtException {
    try (Recommender<String> recommender = Recommender.open(Path.of(MODEL), String.class)) {
      List<List<String>> rows = List.of(List.of("42"));
      Options<String> noise = new Options<String>().withNoise(new float[1][3]);
      assertEquals(
          "the model has no input noise: export it with --posterior.",
          message(() -> recommender.recommend(rows, 1, noise)));
      assertEquals("k is 0: expected 1 or more.", message(() -> recommender.recommend(rows, 0)));
    }
  }

  @Test
  void tokensThatOnnxruntimeCannotPassAreRefused(@TempDir Path folder) throws Exception {
    String bytes = Files.readString(Path.of(MODEL), StandardCharsets.ISO_8859_1);
    for (String token : List.of("日本", "🎬ab", "ab🎬")) {
      Path model = folder.resolve(token.length() + ".onnx");
      String changed = bytes.replace(latin("日本"), latin(token));
      Files.writeString(model, changed, StandardCharsets.ISO_8859_1);
      if (token.equals("日本")) {
        Recommender.open(model, String.class).close();
      } else {
        String message = message(() -> Recommender.open(model, String.class, UNCHECKED));
        assertTrue(message.startsWith(model + " has item tokens with characters above"), message);
      }
    }
  }

  @Test
  void damagedFilesAreRefused(@TempDir Path folder) throws Exception {
    String found = GOLDEN.getAsJsonObject("damaged").get("weights_sha256").getAsString();
    String message = message(() -> Recommender.open(Path.of(DAMAGED), String.class));
    String expected = DAMAGED + " is damaged: the SHA-256 of its weights is " + found + ", not ";
    assertTrue(message.startsWith(expected), message);
    assertTrue(message.endsWith("; copy the file again."), message);
    Recommender.open(Path.of(DAMAGED), String.class, UNCHECKED).close();
    String older = Files.readString(Path.of(DAMAGED), StandardCharsets.ISO_8859_1);
    Path model = folder.resolve("older.onnx");
    Files.writeString(
        model, older.replace("weights_sha256", "weights_sha512"), StandardCharsets.ISO_8859_1);
    Recommender.open(model, String.class).close();
  }

  @Test
  void theDigestCoversASecondFile(@TempDir Path folder) throws Exception {
    Path model = Files.write(folder.resolve("model.onnx"), new byte[] {7 << 3 | 2, 2, 'a', 'b'});
    Files.writeString(folder.resolve("weights"), "c");
    byte[] digest = MessageDigest.getInstance("SHA-256").digest("abc".getBytes());
    assertEquals(HexFormat.of().formatHex(digest), ModelFile.weightsDigest(model, "weights"));
  }

  @Test
  void threadsCanBeChosen() throws Exception {
    for (int threads : new int[] {-1, 1025}) {
      Config wrong = new Config().withThreads(threads);
      assertEquals(
          "threads is " + threads + ": expected 0 to 1024.",
          message(() -> Recommender.open(Path.of(MODEL), String.class, wrong)));
    }
    assumeTrue(Files.exists(TASKS), "only Linux tells the threads of a process");
    assertEquals(1, threadsOf(new Config()));
    assertEquals(3, threadsOf(new Config().withThreads(3)));
  }

  /** onnxruntime's threads have the name of the thread that opens the model, which also counts. */
  private static long threadsOf(Config config) throws Exception {
    String name = "threads-" + config.threads();
    FutureTask<Long> counted =
        new FutureTask<>(
            () -> {
              Recommender<String> open = Recommender.open(Path.of(MODEL), String.class, config);
              try (Stream<Path> tasks = Files.list(TASKS)) {
                return tasks.filter(task -> nameOf(task).equals(name)).count();
              } finally {
                open.close();
              }
            });
    new Thread(counted, name).start();
    return counted.get();
  }

  private static String nameOf(Path task) {
    try {
      return Files.readString(task.resolve("comm")).strip();
    } catch (IOException ended) {
      return "";
    }
  }

  /** The bytes of a text in UTF-8, a character each. */
  private static String latin(String text) {
    return new String(text.getBytes(StandardCharsets.UTF_8), StandardCharsets.ISO_8859_1);
  }

  private static String message(Callable<?> refused) {
    return assertThrows(IllegalArgumentException.class, refused::call).getMessage();
  }

  @Test
  void threadsShareARecommender() throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(8);
    try (Recommender<Object> recommender =
        Recommender.open(Path.of(OPTIONS), Object.class)) {
      List<JsonObject> cases =
          Collections.nCopies(100, cases(GOLDEN.getAsJsonObject("options"))).stream()
              .flatMap(List::stream)
              .toList();
      List<Callable<List<List<Object>>>> calls = new ArrayList<>();
      cases.forEach(golden -> calls.add(() -> recommend(recommender, golden).items()));
      var answers = pool.invokeAll(calls);
      for (int i = 0; i < answers.size(); i++) {
        assertEquals(rows(cases.get(i), "items"), answers.get(i).get());
      }
    } finally {
      pool.shutdown();
    }
  }

  @Test
  void anotherModelTakesItsPlaceWhileCallsRun() throws Exception {
    AtomicReference<Recommender<Object>> current = new AtomicReference<>(open(OPTIONS));
    AtomicBoolean swapped = new AtomicBoolean();
    ExecutorService pool = Executors.newFixedThreadPool(3);
    try {
      Callable<Void> caller =
          () -> {
            while (!swapped.get()) {
              for (JsonObject golden : cases(GOLDEN.getAsJsonObject("options"))) {
                assertEquals(rows(golden, "items"), recommend(current, golden).items());
              }
            }
            return null;
          };
      List<Future<Void>> callers = Stream.generate(() -> pool.submit(caller)).limit(3).toList();
      for (int swap = 0; swap < 15; swap++) {
        Recommender<Object> former = current.getAndSet(open(OPTIONS));
        former.close();
        assertThrows(ClosedException.class, () -> former.recommend(List.of(), 1));
        assertThrows(IllegalStateException.class, () -> former.session.getOutputNames());
        former.close(); // It does nothing.
      }
      swapped.set(true);
      for (Future<Void> each : callers) {
        each.get();
      }
      current.get().close();
    } finally {
      swapped.set(true);
      pool.shutdown();
    }
  }

  private static Recommender<Object> open(String model) {
    return Recommender.open(Path.of(model), Object.class);
  }

  /** Asks the current model; if that was closed meanwhile, the one that has its place. */
  private static Ranking<Object> recommend(
      AtomicReference<Recommender<Object>> current, JsonObject golden) throws OrtException {
    while (true) {
      try {
        return recommend(current.get(), golden);
      } catch (ClosedException replaced) {
        // It is not the current one any more.
      }
    }
  }
}
