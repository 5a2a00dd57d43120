// Models that take each other's place, blocked and unknown items, and the log of requests.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"recbole-multvae/recommend"
)

// written writes a file of the test's folder, beside and renamed, and returns its path.
func written(t *testing.T, name, text string) string {
	t.Helper()
	folder, exists := t.TempDir(), filepath.IsAbs(name)
	path := filepath.Join(folder, name)
	if exists {
		path = name
	}
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
	return path
}

// put puts a model into a folder as a version.
func put(t *testing.T, folder string, number int, name string) {
	t.Helper()
	text, err := os.ReadFile(model(name))
	version := filepath.Join(folder, strconv.Itoa(number))
	if err = errors.Join(err, os.MkdirAll(version, 0o700)); err != nil {
		t.Fatal(err)
	}
	written(t, filepath.Join(version, "model.onnx"), string(text))
}

// logged returns what is logged until the end of the test.
func logged(t *testing.T) *bytes.Buffer {
	t.Helper()
	before, log := slog.Default(), new(bytes.Buffer)
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return log
}

// TestFiftySwapsLoseAndMixNothing swaps models under load, each of which answers with the number of its version as the score.
func TestFiftySwapsLoseAndMixNothing(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, 1, "golden.onnx")
	s := open(t, folder, "", func(most *limits) { most.wait, most.waiting, most.together = span(10*time.Second), 100, 4 })
	marked := func(next, _ *version) error {
		model := next.loaded.(*ranker[string])
		own := model.rank
		model.rank = func(histories [][]string, k int, options recommend.Options[string]) (*recommend.Ranking[string], error) {
			result, err := own(histories, k, options)
			for row := range histories {
				result.Scores[row][0] = float32(next.number)
			}
			return result, err
		}
		return nil
	}
	_ = marked(s.versions.current.Load(), nil)
	s.versions.accept = marked
	var answered atomic.Int32
	var done atomic.Bool
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for !done.Load() {
				answer := ask(s, "POST", "/recommend", `{"history": ["42"], "k": 1}`)
				version := answer.Header().Get("X-Model-Version")
				if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), `"scores":[`+version+`]`) {
					t.Errorf("%d, version %s, %s", answer.Code, version, answer.Body)
					return
				}
				answered.Add(1)
			}
		})
	}
	var former []*recommend.Model
	for number := 2; number <= 51; number++ {
		former = append(former, s.versions.current.Load().Model)
		put(t, folder, number, "golden.onnx")
		if err := s.versions.refresh(); err != nil {
			t.Fatal(err)
		}
		before := answered.Load()
		until(t, func() bool { return answered.Load() > before+20 })
	}
	done.Store(true)
	wait.Wait()
	for _, model := range former { // All are closed.
		until(t, func() bool {
			_, err := recommend.Recommend(model, [][]string{{}}, 1, recommend.Options[string]{})
			return errors.Is(err, recommend.ErrClosed)
		})
	}
	if metrics := ask(s.metrics(), "GET", "/metrics", "").Body.String(); strings.Count(metrics, "\nrecommend_model_info{") != 1 ||
		!strings.Contains(metrics, `,version="51",`) || !strings.Contains(metrics, `recommend_model_loads_total{result="served"} 51`) {
		t.Error(metrics)
	}
}

func TestTheNewestGoodVersionIsServed(t *testing.T) {
	log := logged(t)
	folder := t.TempDir()
	for _, other := range []string{"a", "0", "007", "3"} { // Only 3 has a version's name, and it has no file.
		if err := os.Mkdir(filepath.Join(folder, other), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put(t, folder, 9, "golden.onnx")
	put(t, folder, 10, "golden.damaged.onnx")
	s := open(t, folder, "", nil)
	served := func(expected, message string) {
		t.Helper()
		err := s.versions.refresh()
		if answer := ask(s, "POST", "/recommend", `{"history": []}`); answer.Code != http.StatusOK || answer.Header().Get("X-Model-Version") != expected {
			t.Errorf("%d by version %s, not %s", answer.Code, answer.Header().Get("X-Model-Version"), expected)
		}
		if (err == nil) != (message == "") || err != nil && !strings.Contains(err.Error(), message) {
			t.Errorf("%v, not %q", err, message)
		}
	}
	if text := log.String(); !strings.Contains(text, "10/model.onnx is damaged") || !strings.Contains(text, "msg=model version=9 ") {
		t.Error(text)
	}
	served("9", "") // A version that was refused is not tried again ...
	put(t, folder, 10, "golden.onnx")
	served("10", "") // ... until it changes.
	if text := log.String(); !strings.Contains(text, "former=9 new_items=0 gone_items=0") {
		t.Error(text)
	}
	put(t, folder, 11, "golden.ids.onnx")
	served("10", "one of this model and the one in service has ids, the other tokens")
	put(t, folder, 12, "golden.options.onnx")
	served("12", "")
	put(t, folder, 13, "golden.onnx")
	served("12", "13/model.onnx: it lacks filters, which the model in service has: export it with --filters")
	for _, gone := range []string{"13", "12"} { // One goes back by removing versions.
		if err := os.RemoveAll(filepath.Join(folder, gone)); err != nil {
			t.Fatal(err)
		}
	}
	served("10", "") // It may lack an option.
	put(t, folder, 12, "golden.options.onnx")
	served("12", "")
	s.versions.accept = func(_, _ *version) error { return errors.New("not good enough") }
	put(t, folder, 14, "golden.options.onnx")
	served("12", "14/model.onnx: not good enough")
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	served("12", "is missing")
}

func TestIDsKeepTheirItems(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, 1, "golden.ids.onnx")
	s := open(t, folder, "", nil)
	put(t, folder, 2, "golden.ids.onnx")
	if err := s.versions.refresh(); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(model("golden.ids.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	digest := []byte(s.versions.current.Load().Metadata("item_tokens_sha256"))
	if err := os.Mkdir(filepath.Join(folder, "3"), 0o700); err != nil {
		t.Fatal(err)
	}
	written(t, filepath.Join(folder, "3", "model.onnx"), string(bytes.ReplaceAll(text, digest, bytes.Repeat([]byte("0"), 64))))
	if err := s.versions.refresh(); err == nil || !strings.Contains(err.Error(), "3/model.onnx: its ids stand for other items than those") {
		t.Error(err)
	}
}

func TestAFileThatIsReplacedIsServed(t *testing.T) {
	text, err := os.ReadFile(model("golden.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	path := written(t, "model.onnx", string(text))
	p := begin(t, path, "-watch", "1h")
	version := func(signal os.Signal) string {
		p.signal(t, signal)
		line, _ := p.log.ReadString('\n')
		return line
	}
	written(t, path, string(text[:len(text)/2]))
	if line := version(syscall.SIGHUP); !strings.Contains(line, "level=ERROR") || !strings.Contains(line, "model.onnx is no ONNX model") {
		t.Error(line)
	}
	written(t, path, string(text))
	if line := version(syscall.SIGHUP); !strings.Contains(line, "msg=model version=1 path="+path) || !strings.Contains(line, "former=1 ") {
		t.Error(line)
	}
	if !p.ready() {
		t.Error("it is not ready")
	}
}

func TestAModelIsCheckedBeforeItIsServed(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, 1, "golden.onnx")
	s := open(t, folder, "", nil)
	var err error
	s.checks, err = readChecks(written(t, "checks.jsonl", `{"history": ["42"], "k": 2, "expected": ["007", "café", "nobody"]}
{"history": ["7"]}

{"history": [], "k": 1, "expected": ["café"]}
`), 0.2)
	if err != nil {
		t.Fatal(err)
	}
	if share, err := s.checks.found(s.versions.current.Load(), s.limits); err != nil || share != 1 {
		t.Errorf("%v, %v", share, err)
	}
	worse := func(next, former *version) error {
		model := next.loaded.(*ranker[string])
		own := model.rank
		model.rank = func(histories [][]string, k int, options recommend.Options[string]) (*recommend.Ranking[string], error) {
			result, err := own(histories, k, options)
			result.Items[0][0] = "nobody"
			return result, err
		}
		return s.accept(next, former)
	}
	s.versions.accept = worse
	put(t, folder, 2, "golden.onnx")
	if err := s.versions.refresh(); err == nil || !strings.Contains(err.Error(), "2/model.onnx: it finds 0.5000 of the items that") ||
		!strings.HasSuffix(err.Error(), "expects, the model in service 1.0000: -max-loss is 0.2") {
		t.Error(err)
	}
	s.checks.mostLoss = 0.5
	put(t, folder, 3, "golden.onnx")
	if err := s.versions.refresh(); err != nil || s.versions.current.Load().number != 3 {
		t.Error(err)
	}
	s.checks.requests[1].body = []byte(`{"history": [7]}`)
	put(t, folder, 4, "golden.onnx")
	if err := s.versions.refresh(); err == nil || !strings.Contains(err.Error(), "line 2 of ") {
		t.Error(err)
	}
	for _, text := range []string{"x", `{"histories": []}`, `{"history": [], "expected": 7}`} {
		if _, err := readChecks(written(t, "bad.jsonl", "\n"+text), 1); err == nil || !strings.Contains(err.Error(), "line 2 of ") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestBlockedItemsAreForEveryone(t *testing.T) {
	path := written(t, "blocked.txt", "café\r\n\nnobody\n")
	s := open(t, model("golden.options.onnx"), path, nil)
	answered := func(body, items string) {
		t.Helper()
		if answer := ask(s, "POST", "/recommend", body); !like(answer.Body.String(), items) {
			t.Errorf("%s: %s", body, answer.Body)
		}
	}
	answered(`{"history": ["42"], "k": 1}`, `{"items":["007"],…}`)
	answered(`{"history": ["42"], "k": 1, "exclude": ["007"]}`, `{"items":["a b"],…}`)
	answered(`{"histories": [["42"], []], "k": 1, "exclude": [["007"], []]}`, `{"rankings":[{"items":["a b"],…},{"items":["007"],…}]}`)
	written(t, path, "")
	if err := s.versions.refreshBlocked(); err != nil {
		t.Fatal(err)
	}
	answered(`{"history": ["42"], "k": 1}`, `{"items":["café"],…}`)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.versions.refreshBlocked(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	ids := newVersions(model("golden.ids.onnx"), written(t, "ids.txt", "3\nx\n"), recommend.Config{})
	if err := ids.start(); err == nil || !strings.Contains(err.Error(), `"x" is no id`) {
		t.Error(err)
	}
	late := written(t, "late.txt", "")
	served := open(t, model("golden.onnx"), late, nil)
	written(t, late, "7\n")
	if err := served.versions.refreshBlocked(); err == nil || !strings.Contains(err.Error(), "the model has no input exclude") {
		t.Error(err)
	}
	if answer := ask(served, "POST", "/recommend", `{"history": []}`); answer.Code != http.StatusOK { // The former items stay: none.
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	plain := newVersions(model("golden.onnx"), written(t, "plain.txt", "7\n"), recommend.Config{})
	if err := plain.start(); err == nil || !strings.Contains(err.Error(), "the model has no input exclude: export it with --filters") {
		t.Error(err)
	}
}

func TestUnknownItemsAreCountedAndTold(t *testing.T) {
	log := logged(t)
	s := load(t, "golden.onnx")
	ids := load(t, "golden.ids.onnx")
	for _, c := range []struct {
		handler        http.Handler
		body, expected string
	}{
		{s, `{"history": ["x", "42", "", "y"], "k": 1, "unknown": true}`, `{"items":[…],"scores":[…],"unknown":["x","y"]}`},
		{s, `{"history": ["42"], "k": 1, "unknown": true}`, `{"items":[…],"scores":[…],"unknown":[]}`},
		{s, `{"histories": [["x"], ["42"]], "k": 1, "unknown": true}`, `{"rankings":[{…,"unknown":["x"]},{…,"unknown":[]}]}`},
		{s, `{"history": ["x"], "k": 1, "unknown": false}`, `{"items":[…],"scores":[…]}`},
		{ids, `{"history": [-1, 2, 0], "k": 1, "unknown": true}`, `{…,"unknown":[-1]}`},
	} {
		if answer := ask(c.handler, "POST", "/recommend", c.body); !like(answer.Body.String(), c.expected) {
			t.Errorf("%s: %s", c.body, answer.Body)
		}
	}
	metrics := ask(s.metrics(), "GET", "/metrics", "").Body.String()
	if !strings.Contains(metrics, `recommend_history_items_total{known="true"} 3`) || !strings.Contains(metrics, `recommend_history_items_total{known="false"} 4`) {
		t.Error(metrics)
	}
	s.versions.counts.report(0.5) // Too few.
	s.versions.counts.add(seen{items: leastItems})
	s.versions.counts.report(0.5)
	s.versions.counts.add(seen{leastItems, leastItems/2 + 1, "sku\n1"})
	s.versions.counts.report(0.5)
	s.versions.counts.report(0.5)
	if text := log.String(); strings.Count(text, "does not know many items") != 1 || !strings.Contains(text, `share=0.51 items=100 example="sku\n1"`) {
		t.Error(text)
	}
}

func TestTheLogOfRequests(t *testing.T) {
	ask := func(l *requestLog, body string) {
		s := load(t, "golden.options.onnx")
		s.log = l
		request, answer := httptest.NewRequest("POST", "/recommend", strings.NewReader(body)), httptest.NewRecorder()
		request.Header.Set("X-Request-Id", "id-1")
		s.ServeHTTP(answer, request)
	}
	body := "{\"history\": [\"42\", \"<\"],\n \"k\": 1, \"noise\": [0, 0, 1]}"
	digest := sha256.Sum256([]byte(`["42","<"]`))
	for _, c := range []struct {
		whole    bool
		expected string
	}{
		{true, `{"time":"2…","request":"id-1","version":"1","query":{"history":["42","<"],"k":1,"noise":[0,0,1]},"answer":{"items":["café"],"scores":[…],…}}`},
		{false, `{"time":"2…","request":"id-1","version":"1","history_sha256":"` + hex.EncodeToString(digest[:]) + `","noise":[0,0,1],"answer":{"items":["café"],…}}`},
	} {
		l, lines := newRequestLog(c.whole, mib), new(bytes.Buffer)
		go l.write(lines)
		ask(l, body)
		ask(l, `{"history": 7}`) // It is refused: no line.
		l.close(time.Minute)
		if !like(lines.String(), c.expected) || !json.Valid(lines.Bytes()) {
			t.Error(lines)
		}
	}
	stuck, lines := newRequestLog(true, 400), new(bytes.Buffer) // Nobody writes: two of five fit, then lines are dropped.
	for range 5 {
		ask(stuck, body)
	}
	go stuck.write(lines)
	stuck.close(time.Minute)
	written := strings.Count(lines.String(), "\n")
	if dropped := gathered(stuck.dropped); written < 1 || written > 4 || float64(written)+dropped != 5 || stuck.held.left.Load() != 400 {
		t.Errorf("%d lines are written, %v are dropped", written, dropped)
	}
	blocked := newRequestLog(true, mib)
	_, writer := io.Pipe() // Nobody reads.
	go blocked.write(writer)
	ask(blocked, body)
	blocked.close(10 * time.Millisecond) // It does not wait for ever.
}

// gathered returns the value of a counter.
func gathered(counter prometheus.Counter) float64 {
	var metric dto.Metric
	_ = counter.Write(&metric)
	return metric.GetCounter().GetValue()
}
