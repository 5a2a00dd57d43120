// The service: bodies of every kind against its handler.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"recbole-multvae/recommend"
)

var small = limits{
	body: 1 << 16, history: 10, list: 20, batch: 4, padded: 30, k: 50, answer: 100,
	memory: 4, working: 2, waiting: 2, wait: span(50 * time.Millisecond), together: 1,
}

func model(name string) string { return filepath.Join("..", "..", "..", name) }

// open makes the service of a path, with small limits or those that are changed.
func open(t *testing.T, path, blocked string, change func(*limits)) *service {
	t.Helper()
	most := small
	if change != nil {
		change(&most)
	}
	s, err := newService(newVersions(path, blocked, recommend.Config{}), most, nil)
	if err == nil {
		s.versions.accept = s.accept
		err = s.versions.start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.versions.current.Load().Close() })
	return s
}

func load(t *testing.T, name string) *service {
	t.Helper()
	return open(t, model(name), "", nil)
}

// with makes a service that ranks as a function does, which is given the model's own.
func with(t *testing.T, change func(own rank) rank) *service {
	t.Helper()
	s := load(t, "golden.onnx")
	replace(s, change)
	return s
}

type rank = func([][]string, int, recommend.Options[string]) (*recommend.Ranking[string], error)

func replace(s *service, change func(own rank) rank) {
	model := s.versions.current.Load().loaded.(*ranker[string])
	model.rank = change(model.rank)
}

func ask(handler http.Handler, method, path, body string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(method, path, strings.NewReader(body)))
	return answer
}

// refused checks that an answer has a status and one sentence that contains a text.
func refused(t *testing.T, answer *httptest.ResponseRecorder, status int, text string) {
	t.Helper()
	var fields map[string]string
	if err := json.Unmarshal(answer.Body.Bytes(), &fields); err != nil || len(fields) != 1 {
		t.Errorf("no error in JSON: %s", answer.Body)
	}
	message := fields["error"]
	if answer.Code != status || !strings.Contains(message, text) || !strings.HasSuffix(message, ".") || strings.Contains(message, "\n") {
		t.Errorf("%d %s, not %d %s", answer.Code, message, status, text)
	}
	if kind := answer.Header().Get("Content-Type"); kind != "application/json" {
		t.Errorf("the content type is %s", kind)
	}
}

// like tells whether a text is as expected; … stands for any text.
func like(text, expected string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(expected), "…", ".*")
	return regexp.MustCompile("^" + pattern + "$").MatchString(strings.TrimSpace(text))
}

func TestAnswers(t *testing.T) {
	plain := load(t, "golden.onnx")
	options := load(t, "golden.options.onnx")
	ids := load(t, "golden.ids.onnx")
	everything := `["42", "café", "007", "a b", "7", "日本", "x,y", "99999999999999999999"]`
	for _, c := range []struct {
		handler        http.Handler
		body, expected string
	}{
		{plain, `{"history": ["42"], "k": 1}`, `{"items":["café"],"scores":[1.87…]}`},
		{plain, `{"history": [], "k": 1}`, `{"items":["café"],"scores":[1.75…]}`},
		{plain, `{"history": ["42"]}`, `{"items":["café","007",…],"scores":[…]}`},
		{plain, `{"history": ` + everything + `}`, `{"items":[],"scores":[]}`},
		{plain, `{"histories": [["42"], [], ["nobody", ""]], "k": 1}`,
			`{"rankings":[{"items":["café"],"scores":[1.87…]},{"items":["café"],"scores":[1.75…]},{"items":["café"],"scores":[1.75…]}]}`},
		{options, `{"history": ["42"], "k": 2}`, `{"items":["café","007"],"scores":[…],"reasons":[[0.11…],[-0.39…]]}`},
		{options, `{"history": ["42"], "k": 1, "exclude": ["café"]}`, `{"items":["007"],…}`},
		{options, `{"history": ["42"], "exclude": ["café"], "among": [["café", "7"]]}`, `{"items":["7"],…}`},
		{options, `{"history": ["42"], "k": 1, "exclude": [], "among": []}`, `{"items":["café"],…}`},
		{options, `{"histories": [["42"], ["42"]], "k": 1, "exclude": [["café"], []]}`,
			`{"rankings":[{"items":["007"],…},{"items":["café"],…}]}`},
		{options, `{"histories": [["42"], ["42", "7"]], "k": 1, "exclude": ["café"]}`,
			`{"rankings":[{"items":["007"],"scores":[…],"reasons":[[…]]},{"items":["007"],"scores":[…],"reasons":[[…,…]]}]}`},
		{options, `{"history": ["42"], "k": 1, "noise": [0, 0, 0]}`, `{"items":["café"],…}`},
		{options, `{"histories": [["42"], []], "k": 1, "noise": [[0, 0, 0], [1, -1, 0.5]]}`, `{"rankings":[{"items":["café"],…},{…}]}`},
		{options, `{"history": ["42"], "k": 3, "among": ["nobody"]}`, `{"items":[],"scores":[],"reasons":[]}`},
		{ids, `{"history": [2], "k": 2}`, `{"items":[3,6],"scores":[…],"reasons":[[…],[…]]}`},
		{ids, `{"history": [2, -1, 9223372036854775807, 0], "k": 1, "exclude": [3], "among": [3, 1]}`, `{"items":[1],…}`},
	} {
		if answer := ask(c.handler, "POST", "/recommend", c.body); answer.Code != 200 || !like(answer.Body.String(), c.expected) {
			t.Errorf("%s: %d %s", c.body, answer.Code, answer.Body)
		}
	}
}

func TestBadRequests(t *testing.T) {
	plain := load(t, "golden.onnx")
	options := load(t, "golden.options.onnx")
	ids := load(t, "golden.ids.onnx")
	eleven := "[" + strings.Repeat(`"7",`, 10) + `"7"]`
	for _, c := range []struct {
		handler       http.Handler
		body, message string
	}{
		{plain, "", "the body is no JSON object"},
		{plain, "null", "the body is no JSON object"},
		{plain, "history", "the body is no JSON object"},
		{plain, `["42"]`, "the body is no JSON object"},
		{plain, `{"history": ["42"]`, "the body is no JSON object"},
		{plain, `{"history": ["42"]} {}`, "the body is no JSON object"},
		{plain, "\xff\x00\x01", "the body is no JSON object"},
		{plain, `{"history": ` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}", "the body is no JSON object"},
		{plain, `{"history": ` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", "history is not understood"},
		{plain, strings.Repeat(`{"history":`, 5000) + "1" + strings.Repeat("}", 5000), "history is not understood"},
		{plain, `{}`, "expected history, for one person, or histories, for several"},
		{plain, `{"history": [], "histories": []}`, "expected history, for one person, or histories, for several"},
		{plain, `{"history": [], "user": 1}`, `the field "user" is unknown`},
		{plain, `{"History": []}`, "expected history"},
		{plain, `{"history": null}`, "history is not understood: expected a list of tokens"},
		{plain, `{"history": "42"}`, "history is not understood: expected a list of tokens"},
		{plain, `{"history": [42]}`, "history is not understood: expected a list of tokens"},
		{plain, `{"history": ["42", null]}`, "history is not understood: expected a list of tokens"},
		{plain, `{"history": [["42"]]}`, "history is not understood: expected a list of tokens"},
		{plain, `{"histories": ["42"]}`, "histories is not understood: expected lists of tokens"},
		{plain, `{"histories": [["42"], null]}`, "histories is not understood: expected lists of tokens"},
		{plain, `{"histories": null}`, "histories is not understood: expected lists of tokens"},
		{plain, `{"histories": []}`, "there are 0 histories: expected 1 to 4"},
		{plain, `{"histories": [[], [], [], [], []]}`, "there are 5 histories: expected 1 to 4"},
		{plain, `{"history": ` + eleven + `}`, "history has 11 items: expected 10 at most"},
		{plain, `{"histories": [["1","2","3","4","5","6","7","8"], [], [], []]}`, "history has 4 lists, the longest of 8 items: expected 30"},
		{plain, `{"history": [], "k": 0}`, "k is 0: expected 1 to 50"},
		{plain, `{"history": [], "k": -1}`, "k is -1: expected 1 to 50"},
		{plain, `{"history": [], "k": 51}`, "k is 51: expected 1 to 50"},
		{plain, `{"history": [], "k": 99999999999999999999}`, "k is not understood: expected a whole number"},
		{plain, `{"history": [], "k": 1.5}`, "k is not understood: expected a whole number"},
		{plain, `{"history": [], "k": "10"}`, "k is not understood: expected a whole number"},
		{plain, `{"history": [], "k": null}`, "k is not understood: expected a whole number"},
		{plain, `{"histories": [[], [], []], "k": 40}`, "the answer has up to 120 numbers: expected 100 at most"},
		{options, `{"history": ["1", "2", "3"], "k": 40}`, "the answer has up to 120 numbers: expected 100 at most"},
		{plain, `{"history": [], "exclude": []}`, "the model has no input exclude: export it with --filters"},
		{plain, `{"history": [], "among": ["7"]}`, "the model has no input among: export it with --filters"},
		{plain, `{"history": [], "noise": [0]}`, "the model has no input noise: export it with --posterior"},
		{options, `{"history": [], "exclude": ` + strings.ReplaceAll(eleven, "[", `["1","2","3","4","5","6","7","8","9","10",`) + `}`,
			"exclude has 21 items: expected 20 at most"},
		{options, `{"history": [], "among": [[1]]}`, "among is not understood: expected a list of tokens, or one for each history"},
		{options, `{"history": [], "exclude": [["1"], "2"]}`, "exclude is not understood"},
		{options, `{"history": [], "exclude": [["1"], ["2"]]}`, "exclude has 2 rows: expected one"},
		{options, `{"history": [], "noise": [0, 0]}`, "a row of noise has 2 numbers: the model takes 3"},
		{options, `{"history": [], "noise": [NaN, 0, 0]}`, "the body is no JSON object"},
		{options, `{"history": [], "noise": ["NaN", 0, 0]}`, "noise is not understood: expected a list of numbers"},
		{options, `{"history": [], "noise": [null, 0, 0]}`, "noise is not understood: expected a list of numbers"},
		{options, `{"history": [], "noise": [1e39, 0, 0]}`, "noise is not understood: expected a list of numbers"},
		{ids, `{"history": ["2"]}`, "history is not understood: expected a list of ids"},
		{ids, `{"history": [2.5]}`, "history is not understood: expected a list of ids"},
		{ids, `{"history": [9223372036854775808]}`, "history is not understood: expected a list of ids"},
	} {
		refused(t, ask(c.handler, "POST", "/recommend", c.body), http.StatusBadRequest, c.message)
	}
}

func TestOtherStatuses(t *testing.T) {
	handler := load(t, "golden.onnx")
	large := `{"history": ["` + strings.Repeat("a", 1<<16) + `"]}`
	refused(t, ask(handler, "POST", "/recommend", large), http.StatusRequestEntityTooLarge, "expected 65536 bytes at most")
	refused(t, ask(handler, "GET", "/recommend", ""), http.StatusMethodNotAllowed, "the method is GET: expected POST")
	refused(t, ask(handler.metrics(), "POST", "/metrics", ""), http.StatusMethodNotAllowed, "the method is POST: expected GET")
	refused(t, ask(handler, "DELETE", "/healthz", ""), http.StatusMethodNotAllowed, "the method is DELETE: expected GET")
	for _, path := range []string{"/", "/recommend/", "//recommend", "/metrics"} { // http.ServeMux answers the third with HTML.
		refused(t, ask(handler, "GET", path, ""), http.StatusNotFound, "there is no "+path+": expected /recommend, /healthz or /readyz")
	}
	refused(t, ask(handler.metrics(), "GET", "/recommend", ""), http.StatusNotFound, "there is no /recommend: expected /metrics")
	for path, expected := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		if answer := ask(handler, "GET", path, ""); answer.Code != 200 || answer.Body.String() != expected {
			t.Errorf("%s: %d %s", path, answer.Code, answer.Body)
		}
	}
	ask(handler, "POST", "/recommend", `{"history": []}`)
	metrics := ask(handler.metrics(), "GET", "/metrics", "").Body.String()
	for _, line := range []string{
		`recommend_requests_total{code="200"} 1`, `recommend_requests_total{code="404"} 4`, `recommend_requests_total{code="405"} 1`,
		`recommend_requests_total{code="413"} 1`, "recommend_request_duration_seconds_count 3", "recommend_requests_in_flight 0",
		"go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(metrics, "\n"+line) {
			t.Errorf("no metric %s", line)
		}
	}
}

func TestAPanicIsAnswered(t *testing.T) {
	handler := with(t, func(rank) rank {
		return func([][]string, int, recommend.Options[string]) (*recommend.Ranking[string], error) {
			panic("on purpose")
		}
	})
	for range 2 * small.working { // The panics have freed the places at work.
		refused(t, ask(handler, "POST", "/recommend", `{"history": []}`), http.StatusInternalServerError, "the request failed")
	}
}

func TestAnErrorOfOnnxruntimeIsAnswered(t *testing.T) {
	handler := with(t, func(rank) rank {
		return func([][]string, int, recommend.Options[string]) (*recommend.Ranking[string], error) {
			return nil, errors.New("on purpose")
		}
	})
	refused(t, ask(handler, "POST", "/recommend", `{"history": []}`), http.StatusInternalServerError, "the request failed")
}

// blocked makes a service whose requests work until the channel is closed.
func blocked(t *testing.T) (http.Handler, chan struct{}, *atomic.Int32) {
	release, working := make(chan struct{}), new(atomic.Int32)
	handler := with(t, func(own rank) rank {
		return func(histories [][]string, k int, options recommend.Options[string]) (*recommend.Ranking[string], error) {
			working.Add(1)
			defer working.Add(-1)
			<-release
			return own(histories, k, options)
		}
	})
	return handler, release, working
}

func until(t *testing.T, condition func() bool) {
	t.Helper()
	for range 1000 {
		if condition() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("it did not come to pass in 5 seconds")
}

func TestRequestsAtWorkAreLimited(t *testing.T) {
	handler, release, working := blocked(t)
	var wait sync.WaitGroup
	for range small.working {
		wait.Go(func() {
			if answer := ask(handler, "POST", "/recommend", `{"history": []}`); answer.Code != 200 {
				t.Errorf("%d %s", answer.Code, answer.Body)
			}
		})
	}
	until(t, func() bool { return working.Load() == int32(small.working) })
	answers := make([]*httptest.ResponseRecorder, 10)
	var others sync.WaitGroup
	for at := range answers {
		others.Go(func() { answers[at] = ask(handler, "POST", "/recommend", `{"history": []}`) })
	}
	others.Wait()
	late := 0
	for _, answer := range answers {
		refused(t, answer, http.StatusServiceUnavailable, "too many requests are ")
		if answer.Header().Get("Retry-After") != "1" {
			t.Error("no Retry-After")
		}
		if strings.Contains(answer.Body.String(), "at work") {
			late++
		}
	}
	if late < int(small.waiting) {
		t.Errorf("%d requests waited, not %d", late, small.waiting)
	}
	close(release)
	wait.Wait()
	if answer := ask(handler, "POST", "/recommend", `{"history": []}`); answer.Code != 200 {
		t.Errorf("afterwards: %d %s", answer.Code, answer.Body)
	}
}

// connect opens a connection, sends a text, and returns what reads the answer.
func connect(t *testing.T, addr net.Addr, text string) *bufio.Reader {
	t.Helper()
	connection, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	fmt.Fprint(connection, text)
	return bufio.NewReader(connection)
}

func TestSlowClientsKeepNobodyWaiting(t *testing.T) {
	server := httptest.NewUnstartedServer(load(t, "golden.onnx"))
	server.Config.ReadTimeout = 2 * time.Second
	server.Start()
	defer server.Close()
	slow := make([]*bufio.Reader, 400) // A hundred times as many as may wait or be at work.
	for at := range slow {
		slow[at] = connect(t, server.Listener.Addr(), "POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
	}
	for range 100 {
		answer, err := http.Post(server.URL+"/recommend", "application/json", strings.NewReader(`{"history": ["42"]}`))
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", answer, err)
		}
		_ = answer.Body.Close()
	}
	for _, reader := range slow {
		if answer, err := http.ReadResponse(reader, nil); err != nil || answer.StatusCode != http.StatusRequestTimeout {
			t.Fatalf("%v, %v", answer, err)
		}
	}
}

func TestARequestIDIsTakenOverOrMade(t *testing.T) {
	handler := load(t, "golden.onnx")
	for given, kept := range map[string]bool{"a-1": true, "": false, "two words": false, strings.Repeat("a", 129): false} {
		request := httptest.NewRequest("GET", "/nowhere", nil)
		request.Header.Set("X-Request-Id", given)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		if id := answer.Header().Get("X-Request-Id"); id == "" || (id == given) != kept {
			t.Errorf("%q becomes %q", given, id)
		}
	}
}
