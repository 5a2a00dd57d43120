package multvae;

import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * Measures the client with onnxruntime's number of threads and one calling thread.
 *
 * <p>{@code MODEL.onnx HISTORIES.txt [--gpu]}, where HISTORIES.txt has a history a line, tokens
 * separated by tabs.
 */
final class Bench {
  private static final int K = 10;
  private static final int BATCH = 256;

  private Bench() {}

  public static void main(String[] args) throws OrtException {
    try {
      run(args);
    } catch (IllegalArgumentException error) {
      System.err.println(error.getMessage());
      System.exit(1);
    }
  }

  private static List<List<String>> read(Path file) {
    try {
      List<String> lines = Files.readAllLines(file);
      if (!lines.isEmpty()) {
        return lines.stream().map(line -> List.of(line.split("\t"))).toList();
      }
    } catch (IOException unreadable) {
      throw new IllegalArgumentException(
          file + " cannot be read: expected UTF-8 text with a history a line.", unreadable);
    }
    throw new IllegalArgumentException(file + " has no histories: expected one a line.");
  }

  static void run(String[] args) throws OrtException {
    if (args.length < 2) {
      throw new IllegalArgumentException(
          "expected MODEL.onnx HISTORIES.txt [--gpu], found %d words.".formatted(args.length));
    }
    List<List<String>> histories = read(Path.of(args[1]));
    boolean gpu = args.length > 2 && args[2].equals("--gpu");
    Recommender.Config config = new Recommender.Config().withGpu(gpu).withThreads(0);
    try (Recommender<String> recommender = Recommender.open(Path.of(args[0]), String.class, config)) {
      for (int i = 0; i < 200; i++) {
        recommender.recommend(histories.subList(0, 1), K);
      }
      double[] times = new double[histories.size()];
      for (int i = 0; i < times.length; i++) {
        times[i] = seconds(recommender, histories, i, i + 1);
      }
      Arrays.sort(times);
      double best = Double.POSITIVE_INFINITY;
      for (int round = 0; round < 3; round++) {
        double total = 0;
        for (int from = 0; from < times.length; from += BATCH) {
          total += seconds(recommender, histories, from, Math.min(from + BATCH, times.length));
        }
        best = Math.min(best, total);
      }
      System.out.printf(
          Locale.ROOT,
          "{\"language\": \"Java\", \"version\": \"%s\", \"onnxruntime\": \"%s\", \"provider\":"
              + " \"%s\", \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"per_second\": %.1f}%n",
          System.getProperty("java.version"),
          OrtEnvironment.getEnvironment().getVersion(),
          recommender.provider(),
          1000 * quantile(times, 0.50),
          1000 * quantile(times, 0.99),
          times.length / best);
    }
  }

  private static double seconds(
      Recommender<String> recommender, List<List<String>> histories, int from, int to)
      throws OrtException {
    long start = System.nanoTime();
    recommender.recommend(histories.subList(from, to), K);
    return (System.nanoTime() - start) / 1e9;
  }

  private static double quantile(double[] sorted, double share) {
    return sorted[(int) Math.round(share * (sorted.length - 1))];
  }
}
