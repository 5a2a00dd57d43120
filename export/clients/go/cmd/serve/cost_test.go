// What requests count in memory, and how they share it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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

func TestPlacesAreNeverTakenTwice(t *testing.T) {
	shared := newPlaces(3, 3*mib)
	for bytes, expected := range map[int64]int{1: 1, mib: 1, mib + 1: 2, 3 * mib: 3} {
		if count, err := shared.needed(bytes); err != nil || count != expected {
			t.Errorf("%d bytes: %d, %v", bytes, count, err)
		}
	}
	if _, err := shared.needed(3*mib + 1); err == nil || err.Error() != "about 4 MiB of memory: expected 3 MiB at most" {
		t.Error(err)
	}
	var taken atomic.Int32
	var wait sync.WaitGroup
	for n := range 60 {
		wait.Go(func() {
			count := n%3 + 1
			if err := shared.take(t.Context(), count); err != nil {
				t.Error(err)
				return
			}
			if now := taken.Add(int32(count)); now > 3 {
				t.Errorf("%d places are taken", now)
			}
			time.Sleep(time.Millisecond)
			taken.Add(-int32(count))
			shared.giveBack(count)
		})
	}
	wait.Wait()
	if err := shared.take(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	late, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := shared.take(late, 3); err == nil || len(shared.taken) != 1 { // It gives back the two that it had.
		t.Errorf("%v, %d are taken", err, len(shared.taken))
	}
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
