package multvae;

import ai.onnxruntime.OrtException;
import java.io.File;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * The command line. Prints a line for each recommended item: the item, its score and, if the model
 * gives reasons, the item of the history that raised the score most.
 */
public final class Main {
  private static final String USAGE =
      "expected MODEL.onnx ITEM... [-k 10] [--exclude ITEMS] [--among ITEMS] [--gpu] [--no-check].";

  /** At most so many unknown items are named. */
  private static final int SHOWN = 10;

  private Main() {}

  public static void main(String[] args) throws OrtException {
    // The default encoding of some systems has only ASCII.
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    PrintStream err = new PrintStream(System.err, true, StandardCharsets.UTF_8);
    System.exit(run(args, out, err));
  }

  /** Runs the command line and returns its exit code. */
  static int run(String[] args, PrintStream out, PrintStream err) throws OrtException {
    try {
      List<String> words = new ArrayList<>();
      Map<String, String> options = parse(args, words);
      int k = count(options.getOrDefault("-k", "10"));
      boolean gpu = options.containsKey("--gpu");
      Path model = Path.of(words.remove(0));
      Recommender.Config config =
          new Recommender.Config().withGpu(gpu).withCheck(!options.containsKey("--no-check"));
      try (Recommender<Object> recommender = Recommender.open(model, Object.class, config)) {
        if (gpu) {
          err.println("runs on " + recommender.provider());
        }
        show(recommender, items(words, recommender.ids()), k, options, out, err);
      }
      return 0;
    } catch (IllegalArgumentException error) {
      err.println(error.getMessage());
      return 1;
    }
  }

  /** Adds the model and the items to words; returns the options. */
  private static Map<String, String> parse(String[] args, List<String> words) {
    Map<String, String> options = new HashMap<>();
    Iterator<String> rest = List.of(args).iterator();
    while (rest.hasNext()) {
      String word = rest.next();
      switch (word) {
        case "--" -> rest.forEachRemaining(words::add);
        case "--gpu", "--no-check" -> options.put(word, "");
        case "-k", "--exclude", "--among" -> {
          if (!rest.hasNext()) {
            throw new IllegalArgumentException(word + " has no value: " + USAGE);
          }
          options.put(word, rest.next());
        }
        default -> {
          if (word.startsWith("-")) {
            throw new IllegalArgumentException(word + " is no option: " + USAGE);
          }
          words.add(word);
        }
      }
    }
    if (words.isEmpty()) {
      throw new IllegalArgumentException("MODEL.onnx is missing: " + USAGE);
    }
    return options;
  }

  private static int count(String text) {
    if (!text.matches("[1-9]\\d{0,8}")) {
      throw new IllegalArgumentException("-k is " + text + ": expected 1 or more.");
    }
    return Integer.parseInt(text);
  }

  private static void show(
      Recommender<Object> recommender,
      List<Object> history,
      int k,
      Map<String, String> lists,
      PrintStream out,
      PrintStream err)
      throws OrtException {
    Recommender.Options<Object> options =
        new Recommender.Options<>()
            .withExclude(list(lists.get("--exclude"), recommender.ids()))
            .withAmong(list(lists.get("--among"), recommender.ids()));
    Recommender.Ranking<Object> ranking = recommender.recommend(List.of(history), k, options);
    float[] scores = ranking.scores()[0];
    if (scores[0] == Float.NEGATIVE_INFINITY) {
      throw new IllegalArgumentException(
          "Nothing to recommend: every item is in the history or excluded,"
              + " or --among names none that the model knows.");
    }
    warnOfUnknown(recommender, history, options, err);
    for (int rank = 0; rank < scores.length && scores[rank] > Float.NEGATIVE_INFINITY; rank++) {
      Object item = ranking.items().get(0).get(rank);
      String line = String.format(Locale.ROOT, "%s\t%.4f", item, scores[rank]);
      if (ranking.reasons() != null) {
        float[] reasons = ranking.reasons()[0][rank];
        line += Recommender.because(history, reasons).map(it -> "\tbecause of " + it).orElse("");
      }
      out.println(line);
    }
  }

  /** Names the items that the model does not know. It ranks its whole catalogue for that. */
  private static void warnOfUnknown(
      Recommender<Object> recommender,
      List<Object> history,
      Recommender.Options<Object> options,
      PrintStream err)
      throws OrtException {
    Set<Object> items = new LinkedHashSet<>(history);
    for (List<List<Object>> lists : Arrays.asList(options.exclude(), options.among())) {
      if (lists != null) {
        lists.forEach(items::addAll);
      }
    }
    items.removeAll(
        new HashSet<>(
            recommender
                .recommend(List.of(List.of()), Integer.MAX_VALUE, new Recommender.Options<>())
                .items()
                .get(0)));
    items.remove(recommender.ids() ? (Object) 0L : "");
    if (!items.isEmpty()) {
      String shown =
          items.stream().limit(SHOWN).map(String::valueOf).collect(Collectors.joining(", "));
      String more = items.size() > SHOWN ? " and " + (items.size() - SHOWN) + " more" : "";
      err.println("The model ignores items that it does not know: " + shown + more);
    }
  }

  /** One list for all rows: the items of a file, one a line, or of a text, separated by commas. */
  private static List<List<Object>> list(String text, boolean ids) {
    if (text == null) {
      return null;
    }
    try {
      boolean file = new File(text).isFile();
      List<String> words = file ? Files.readAllLines(Path.of(text)) : List.of(text.split(","));
      return List.of(items(words, ids));
    } catch (IOException error) {
      throw new IllegalArgumentException(
          text + " cannot be read: expected UTF-8 text with an item a line.", error);
    }
  }

  private static List<Object> items(List<String> words, boolean ids) {
    return words.stream()
        .filter(word -> !word.isEmpty())
        .map(word -> ids ? (Object) id(word) : word)
        .toList();
  }

  private static Long id(String text) {
    try {
      return Long.valueOf(text);
    } catch (NumberFormatException error) {
      throw new IllegalArgumentException(
          "'%s' is no item id: the model takes RecBole's item ids.".formatted(text), error);
    }
  }
}
