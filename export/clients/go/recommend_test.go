// Every case of golden.json, and the command line.
package recommend_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"recbole-multvae/recommend"
)

type goldenCase[T recommend.Item] struct {
	Name                    string
	History, Exclude, Among [][]T
	K                       int
	Noise                   [][]*float32 // null is NaN.
	Items                   [][]T
	Scores                  [][]*float32 // null is -Inf.
	Reasons                 [][][]float32
}

type part[T recommend.Item] struct {
	Model string
	Cases []goldenCase[T]
}

var golden struct {
	part[string]
	Tolerance float64
	Options   part[string]
	IDs       part[int64]
	Damaged   struct {
		Model  string
		Digest string `json:"weights_sha256"`
	}
}

var command string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if os.Getenv("ONNXRUNTIME_LIB") == "" {
		fmt.Fprintln(os.Stderr, "ONNXRUNTIME_LIB is not set: the tests need the path of onnxruntime's shared library.")
		return 1
	}
	text, err := os.ReadFile(filepath.Join("..", "golden.json"))
	if err == nil {
		err = json.Unmarshal(text, &golden)
	}
	folder, failed := os.MkdirTemp("", "recommend")
	if err = errors.Join(err, failed); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	command = filepath.Join(folder, "recommend")
	if built, err := exec.Command("go", "build", "-o", command, "./cmd/recommend").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cmd/recommend cannot be built: %s\n", built)
		return 1
	}
	return m.Run()
}

func path(model string) string { return filepath.Join("..", model) }

// load loads a model, and closes it at the end of the test.
func load(t *testing.T, path string) *recommend.Model {
	t.Helper()
	return loadAs(t, path, recommend.Config{})
}

func loadAs(t *testing.T, path string, config recommend.Config) *recommend.Model {
	t.Helper()
	model, err := recommend.Load(path, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(model.Close)
	return model
}

// numbers returns the rows with a number in place of null.
func numbers(rows [][]*float32, null float64) [][]float32 {
	got := make([][]float32, len(rows))
	for at, row := range rows {
		for _, number := range row {
			if number == nil {
				got[at] = append(got[at], float32(null))
			} else {
				got[at] = append(got[at], *number)
			}
		}
	}
	return got
}

func near(got, expected []float32) bool {
	return slices.EqualFunc(got, expected, func(a, b float32) bool {
		return a == b || math.Abs(float64(a)-float64(b)) <= golden.Tolerance
	})
}

func (c goldenCase[T]) rank(model *recommend.Model) (*recommend.Ranking[T], error) {
	options := recommend.Options[T]{Exclude: c.Exclude, Among: c.Among, Noise: numbers(c.Noise, math.NaN())}
	return recommend.Recommend(model, c.History, c.K, options)
}

func testPart[T recommend.Item](t *testing.T, cases part[T]) {
	model := load(t, path(cases.Model))
	for _, c := range cases.Cases {
		t.Run(fmt.Sprintf("golden: %s: %s", strings.TrimSuffix(cases.Model, ".onnx"), c.Name), func(t *testing.T) {
			got, err := c.rank(model)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(got.Items, c.Items, slices.Equal) {
				t.Errorf("items %v, not %v", got.Items, c.Items)
			}
			if scores := numbers(c.Scores, math.Inf(-1)); !slices.EqualFunc(got.Scores, scores, near) {
				t.Errorf("scores %v, not %v", got.Scores, scores)
			}
			if (got.Reasons == nil) != (c.Reasons == nil) {
				t.Errorf("reasons %v, not %v", got.Reasons, c.Reasons)
			}
			if !slices.EqualFunc(got.Reasons, c.Reasons, func(a, b [][]float32) bool { return slices.EqualFunc(a, b, near) }) {
				t.Errorf("reasons %v, not %v", got.Reasons, c.Reasons)
			}
		})
	}
}

func TestGolden(t *testing.T) {
	testPart(t, golden.part)
	testPart(t, golden.Options)
	testPart(t, golden.IDs)
}

func TestHistoriesArePadded(t *testing.T) {
	got, err := recommend.Recommend(load(t, path(golden.Model)), [][]string{{"42"}, {"7", "a b", "007"}, {}}, 3, recommend.Options[string]{})
	if err != nil {
		t.Fatal(err)
	}
	for row, items := range got.Items {
		if items[0] != "café" {
			t.Errorf("row %d is %v", row, items)
		}
	}
}

func TestNoHistories(t *testing.T) {
	got, err := recommend.Recommend(load(t, path(golden.Options.Model)), [][]string{}, 3, recommend.Options[string]{})
	if err != nil || len(got.Items) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestATokenIsNotCutAtAZeroByte(t *testing.T) {
	model := load(t, path(golden.Model))
	for _, tokens := range [][]string{{"42\x00"}, {"\x0042"}} {
		got, err := recommend.Recommend(model, [][]string{tokens}, 8, recommend.Options[string]{})
		if err != nil || !slices.Contains(got.Items[0], "42") {
			t.Errorf("%q is taken for 42: %v, %v", tokens, got, err)
		}
	}
}

func TestBecause(t *testing.T) {
	if item, got := recommend.Because([]string{"a", "b"}, []float32{0.5, 1, 0}); item != "b" || !got {
		t.Error(item, got)
	}
	if item, got := recommend.Because([]int64{1, 2}, []float32{0, -1}); item != 0 || got {
		t.Error(item, got)
	}
	if _, got := recommend.Because([]string{}, []float32{}); got {
		t.Error("an empty history has no reason")
	}
}

func TestGoroutinesShareAModel(t *testing.T) {
	model := load(t, path(golden.Options.Model))
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 100 {
				for _, c := range golden.Options.Cases {
					got, err := c.rank(model)
					if err != nil || !slices.EqualFunc(got.Items, c.Items, slices.Equal) {
						t.Errorf("%s: %v, %v", c.Name, got, err)
						return
					}
				}
			}
		})
	}
	wait.Wait()
}

func TestModelsAreLoadedInParallel(t *testing.T) {
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			model, err := recommend.Load(path(golden.Model), recommend.Config{GPU: worker%2 == 0})
			if err != nil {
				t.Error(err)
				return
			}
			defer model.Close()
			if _, err := golden.Cases[0].rank(model); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

func TestWrongArguments(t *testing.T) {
	plain, options, ids := load(t, path(golden.Model)), load(t, path(golden.Options.Model)), load(t, path(golden.IDs.Model))
	one := [][]string{{"42"}}
	rank := func(model *recommend.Model, k int, options recommend.Options[string]) error {
		_, err := recommend.Recommend(model, one, k, options)
		return err
	}
	_, tokensWithIDs := recommend.Recommend(plain, [][]int64{{1}}, 1, recommend.Options[int64]{})
	for _, wrong := range []struct {
		err     error
		message string
	}{
		{rank(plain, 0, recommend.Options[string]{}), "k is 0: expected 1 or more"},
		{rank(plain, 1, recommend.Options[string]{Exclude: one}), "the model has no input exclude: export it with --filters"},
		{rank(plain, 1, recommend.Options[string]{Noise: [][]float32{{0}}}), "the model has no input noise: export it with --posterior"},
		{rank(options, 1, recommend.Options[string]{Noise: [][]float32{{0}}}), "a row of noise has 1 numbers: the model takes 3"},
		{rank(options, 1, recommend.Options[string]{Among: [][]string{{}, {}}}), "among has 2 rows: expected one, or one for each of 1 histories"},
		{rank(ids, 1, recommend.Options[string]{}), "the model takes histories of item ids, int64"},
		{tokensWithIDs, "the model takes histories of tokens, string"},
	} {
		var input recommend.InputError
		if !errors.As(wrong.err, &input) || wrong.err.Error() != wrong.message {
			t.Errorf("%v, not %s", wrong.err, wrong.message)
		}
	}
}

// write writes a changed copy of the model without options.
func write(t *testing.T, name string, change func(model []byte) []byte) string {
	t.Helper()
	model, err := os.ReadFile(path(golden.Model))
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(changed, change(model), 0o600); err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestADamagedFileIsRefused(t *testing.T) {
	_, err := recommend.Load(path(golden.Damaged.Model), recommend.Config{})
	expected := " is damaged: the SHA-256 of its weights is " + golden.Damaged.Digest + ", not "
	if err == nil || !strings.Contains(err.Error(), expected) {
		t.Errorf("%v, not %q", err, expected)
	}
	loadAs(t, path(golden.Damaged.Model), recommend.Config{Unchecked: true})
}

func TestThreadsAreLimited(t *testing.T) {
	for _, threads := range []int{-1, 1025} {
		_, err := recommend.Load(path(golden.Model), recommend.Config{Threads: threads})
		if expected := fmt.Sprintf("threads is %d: expected 0 to 1024", threads); err == nil || err.Error() != expected {
			t.Errorf("%v, not %q", err, expected)
		}
	}
}

func TestAModelIsClosedAfterItsCalls(t *testing.T) {
	var current atomic.Pointer[recommend.Model]
	current.Store(load(t, path(golden.Model)))
	var wait sync.WaitGroup
	var done atomic.Bool
	for range 4 {
		wait.Go(func() {
			for !done.Load() {
				_, err := recommend.Recommend(current.Load(), [][]string{{"42"}}, 3, recommend.Options[string]{})
				if err != nil && err != recommend.ErrClosed {
					t.Error(err)
				}
			}
		})
	}
	for range 20 {
		current.Swap(load(t, path(golden.Model))).Close()
	}
	done.Store(true)
	wait.Wait()
	closed := current.Load()
	closed.Close()
	if _, err := recommend.Recommend(closed, [][]string{{"42"}}, 3, recommend.Options[string]{}); err != recommend.ErrClosed {
		t.Error(err)
	}
	if closed.Metadata("contract_version") != "1" || closed.Version != 1 {
		t.Errorf("%q, %d", closed.Metadata("contract_version"), closed.Version)
	}
}

func TestKMayHaveADefault(t *testing.T) {
	changed := write(t, "default.onnx", func(model []byte) []byte {
		// Bytes appended to a protobuf message are merged into it: here the initializer k, int64 [1], into the graph.
		value := binary.LittleEndian.AppendUint64(nil, 20)
		tensor := append([]byte("\x08\x01\x10\x07\x42\x01k\x4a\x08"), value...)
		graph := append([]byte{0x2a, byte(len(tensor))}, tensor...)
		return append(append(model, 0x3a, byte(len(graph))), graph...)
	})
	c := golden.Cases[0]
	if got, err := c.rank(loadAs(t, changed, recommend.Config{Unchecked: true})); err != nil || !slices.EqualFunc(got.Items, c.Items, slices.Equal) {
		t.Errorf("%v, %v", got, err)
	}
}

// run runs the command line.
func run(t *testing.T, arguments ...string) (stdout, stderr string, code int) {
	t.Helper()
	process := exec.Command(command, arguments...)
	var out, errors bytes.Buffer
	process.Stdout, process.Stderr = &out, &errors
	if err := process.Run(); err != nil && process.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errors.String(), process.ProcessState.ExitCode()
}

func TestCommandLine(t *testing.T) {
	items := filepath.Join(t.TempDir(), "items.txt")
	if err := os.WriteFile(items, []byte("007\n7\r\nx,y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	plain, options, ids := path(golden.Model), path(golden.Options.Model), path(golden.IDs.Model)
	for _, c := range []struct {
		arguments []string
		expected  string
	}{
		{[]string{plain, "42", "-k", "2"}, `café\t1.8704\n007\t1.3451\n`},
		{[]string{"-k", "1", plain, "--", "42"}, `café\t1.8704\n`},
		{[]string{options, "42", "-k", "2"}, `café\t1.8704\tbecause of 42\n007\t1.3451\n`},
		{[]string{options, "42", "--exclude", "café,7"}, `007\t1.3451\n(.*\n)+`},
		{[]string{options, "42", "--among", items}, `007\t.*\n7\t.*\nx,y\t.*\n`},
		{[]string{ids, "2", "-k", "2"}, `3\t1.8704\tbecause of 2\n6\t1.3451\n`},
		{[]string{ids, "2", "--exclude", "3", "--among", "3,1"}, `1\t.*\n`},
		{[]string{"--help"}, `recommend MODEL.onnx (.*\n)+`},
	} {
		stdout, stderr, code := run(t, c.arguments...)
		if !regexp.MustCompile("^"+c.expected+"$").MatchString(stdout) || stderr != "" || code != 0 {
			t.Errorf("%q: %q, %q, %d", c.arguments, stdout, stderr, code)
		}
	}
	if stdout, stderr, code := run(t, path(golden.Damaged.Model), "42", "--no-check"); stdout == "" || stderr != "" || code != 0 {
		t.Errorf("%q, %q, %d", stdout, stderr, code)
	}
	unknown := "The model ignores items that it does not know: nobody, none.txt\n"
	if stdout, stderr, code := run(t, options, "42", "nobody", "--exclude", "none.txt"); stdout == "" || stderr != unknown || code != 0 {
		t.Errorf("%q, %q, %d", stdout, stderr, code)
	}
	if _, stderr, code := run(t, plain, "42", "--gpu"); !regexp.MustCompile("^runs on (CUDA|CPU)ExecutionProvider\n$").MatchString(stderr) || code != 0 {
		t.Errorf("--gpu: %q, %d", stderr, code)
	}
}

func TestCommandLineErrors(t *testing.T) {
	plain, options := path(golden.Model), path(golden.Options.Model)
	text := write(t, "text.onnx", func([]byte) []byte { return []byte("not a model") })
	version := []byte("contract_version\x12\x01")
	newer := write(t, "new.onnx", func(model []byte) []byte {
		return bytes.Replace(model, append(version, '1'), append(version, '3'), 1)
	})
	other := write(t, "other.onnx", func(model []byte) []byte { return bytes.ReplaceAll(model, []byte("history"), []byte("persons")) })
	for _, c := range []struct {
		arguments []string
		message   string
	}{
		{nil, "MODEL.onnx is missing"},
		{[]string{"missing.onnx", "42"}, "missing.onnx is missing: expected a model exported with --io tokens or --io ids."},
		{[]string{text}, "text.onnx is no ONNX model"},
		{[]string{plain, "-k", "0"}, "-k is 0"},
		{[]string{plain, "-k", "ten"}, "invalid value \"ten\" for flag -k"},
		{[]string{plain, "--what"}, "not defined: -what"},
		{[]string{plain, "42", "--among", "7"}, "the model has no input among: export it with --filters."},
		{[]string{options, "42", "--among", "nobody"}, "nothing to recommend"},
		{[]string{path(golden.IDs.Model), "café"}, "'café' is no item id: the model takes RecBole's item ids."},
		{[]string{newer}, "has the contract version 3, this client knows 1 and 2: update it."},
		{[]string{path(golden.Damaged.Model), "42"}, "golden.damaged.onnx is damaged: the SHA-256 of its weights is"},
		{[]string{other}, "other.onnx takes string persons, int64 k: expected history and k; export the model with --io tokens or --io ids."},
	} {
		stdout, stderr, code := run(t, c.arguments...)
		if code != 1 || !strings.Contains(stderr, c.message) || strings.Count(stderr, "\n") != 1 || stdout != "" {
			t.Errorf("%q: %q, %q, %d", c.arguments, stdout, stderr, code)
		}
	}
}

func TestBench(t *testing.T) {
	histories := filepath.Join(t.TempDir(), "histories.txt")
	if err := os.WriteFile(histories, []byte("42\n7\ta b\t007\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command("go", "run", "./cmd/bench", path(golden.Model), histories).Output()
	expected := `^{"language":"Go","version":"go.*","onnxruntime":".*","provider":"CPU.*","p50_ms":.*,"p99_ms":.*,"per_second":.*}\n$`
	if err != nil || !regexp.MustCompile(expected).Match(output) {
		t.Errorf("%v, %s", err, output)
	}
}

func TestTheLibraryIsNamed(t *testing.T) {
	for value, message := range map[string]string{
		"":           "ONNXRUNTIME_LIB is not set: expected the path of onnxruntime's shared library.\n",
		"missing.so": "ONNXRUNTIME_LIB is missing.so: expected onnxruntime's shared library, 1.24 or newer",
	} {
		process := exec.Command(command, path(golden.Model))
		process.Env = append(os.Environ(), "ONNXRUNTIME_LIB="+value)
		if output, err := process.CombinedOutput(); err == nil || !strings.HasPrefix(string(output), message) {
			t.Errorf("%q: %v, %s", value, err, output)
		}
	}
}
