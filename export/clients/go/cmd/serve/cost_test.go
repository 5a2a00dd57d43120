// What requests count in memory, and how they share it.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"recbole-multvae/recommend"
)

func TestTheWidthOfAModel(t *testing.T) {
	for text, width := range map[string]int64{
		`{"sizes": [100, 600, 200, 600, 100], "latent_tanh": false}`:    600,
		`{"sizes": [100, 100], "similarity": "dense"}`:                  100,
		`{"sizes": [100, 100], "similarity": "sparse", "entries": 900}`: 160,
		`{"sizes": [100]}`: 0,
		`{"sizes": [100, 9, 100], "members": [{"spec": {"sizes": [100, 9, 100]}}, {"spec": {"sizes": [100]}}]}`: 9,
	} {
		var described spec
		if err := json.Unmarshal([]byte(text), &described); err != nil || described.width() != width {
			t.Errorf("%s: %v, %d", text, err, described.width())
		}
	}
}

func TestTheShareOfGarbage(t *testing.T) {
	for _, c := range []struct {
		used, most int64
		share      int
	}{{0, 6 * mib, 100}, {4 * mib, 6 * mib, 100}, {24 * mib, 6 * mib, 25}, {1 << 40, 6 * mib, 1}} {
		if got := share(c.used, c.most); got != c.share {
			t.Errorf("%d of %d: %d, not %d", c.most, c.used, got, c.share)
		}
	}
}

func TestAnAnswerThatNeverFitsIsRefused(t *testing.T) {
	s := open(t, model("golden.onnx"), "", func(l *limits) {
		l.memory, l.body, l.batch, l.padded, l.answer = 1, 1<<14, 256, 256, 3000
	})
	ranked := 0
	replace(s, func(own rank) rank {
		return func(histories [][]string, k int, options recommend.Options[string]) (*recommend.Ranking[string], error) {
			ranked += len(histories)
			return own(histories, k, options)
		}
	})
	many := func(count int) string {
		return `{"histories": [[]` + strings.Repeat(`, []`, count-1) + `], "k": 8}`
	}
	refused(t, ask(s, "POST", "/recommend", many(256)), http.StatusRequestEntityTooLarge, "at most, of fewer histories or a smaller k")
	if ranked > 0 {
		t.Errorf("%d histories were ranked", ranked)
	}
	if answer := ask(s, "POST", "/recommend", many(64)); answer.Code != http.StatusOK || ranked != 64 {
		t.Errorf("%s, %d histories were ranked", answer.Body, ranked)
	}
	escaped := `{"history": ["` + strings.Repeat("<", 3000) + `"], "unknown": true}` // Each is \u003c in the answer.
	refused(t, ask(s, "POST", "/recommend", escaped), http.StatusRequestEntityTooLarge, "the answer has about 18")
}

func TestBytesThatAreHeldAreLimited(t *testing.T) {
	s := load(t, "golden.onnx")
	server := httptest.NewServer(s)
	defer server.Close()
	whole := s.text.left.Load()
	head := fmt.Sprintf("POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", small.body)
	connect(t, server.Listener.Addr(), head+strings.Repeat(" ", int(small.body)-1)) // All that may be held, but for a byte.
	until(t, func() bool { return s.text.left.Load() < 2 })
	refused(t, ask(s, "POST", "/recommend", `{"history": []}`), http.StatusServiceUnavailable, "too many bodies are being read")
	server.CloseClientConnections()
	until(t, func() bool { return s.text.left.Load() == whole })
	s.text.left.Store(20)
	refused(t, ask(s, "POST", "/recommend", `{"history": []}`), http.StatusServiceUnavailable, "too many answers are being sent")
}
