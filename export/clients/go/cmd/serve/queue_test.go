// Requests wait, and are ranked together.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"recbole-multvae/recommend"
)

// held makes a service of a model whose batches wait until the channel is closed; sizes has their numbers of histories.
func held(t *testing.T, s *service) (release chan struct{}, sizes func() []int) {
	t.Helper()
	release = make(chan struct{})
	var mutex sync.Mutex
	var begun []int
	s.queue.ranked = func(histories int) {
		mutex.Lock()
		begun = append(begun, histories)
		mutex.Unlock()
		<-release
	}
	return release, func() []int {
		mutex.Lock()
		defer mutex.Unlock()
		return slices.Clone(begun)
	}
}

func many(most *limits) {
	most.together, most.waiting, most.wait = 32, 1000, span(10*time.Second)
	most.memory, most.working = 64, 1
}

func (q *queue) length() int {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return len(q.waiting)
}

// TestARequestIsAnsweredAsIfAlone sends requests of all kinds at once, which are ranked together where they can.
func TestARequestIsAnsweredAsIfAlone(t *testing.T) {
	tokens := []string{"42", "café", "007", "a b", "7", "日本", "x,y", "99999999999999999999", "nobody", ""}
	random := rand.New(rand.NewPCG(1, 2))
	row := func(most int) []string {
		items := make([]string, random.IntN(most+1))
		for at := range items {
			items[at] = tokens[random.IntN(len(tokens))]
		}
		return items
	}
	rows := func(count, most int) (all [][]string) {
		for range count {
			all = append(all, row(most))
		}
		return all
	}
	for _, name := range []string{"golden.onnx", "golden.options.onnx"} {
		blocked, options := "", name == "golden.options.onnx"
		if options {
			blocked = written(t, "blocked.txt", "007\nnobody\n")
		}
		alone, together := open(t, model(name), blocked, many), open(t, model(name), blocked, many)
		var bodies []string
		for n := range 120 {
			count := 1 + random.IntN(3)
			fields := map[string]any{"histories": rows(count, 6), "k": 1 + n%2*4, "unknown": n%5 == 0}
			if count == 1 && n%2 == 0 {
				fields["history"] = row(6)
				delete(fields, "histories")
			}
			if options {
				for _, option := range []string{"exclude", "among"} {
					switch random.IntN(6) {
					case 0:
						fields[option] = row(3)
					case 1:
						fields[option] = rows(count, 3)
					case 2:
						fields[option] = [][]string{}
						if count > 1 {
							fields[option] = rows(1, 3)
						}
					}
				}
				if random.IntN(4) == 0 {
					fields["noise"] = []float64{random.NormFloat64(), random.NormFloat64(), random.NormFloat64()}
				}
			}
			body, _ := json.Marshal(fields)
			bodies = append(bodies, string(body))
		}
		release, sizes := held(t, together)
		answers := make([]*httptest.ResponseRecorder, len(bodies))
		var wait sync.WaitGroup
		for at, body := range bodies {
			wait.Go(func() { answers[at] = ask(together, "POST", "/recommend", body) })
		}
		until(t, func() bool { return together.queue.length()+len(sizes()) >= len(bodies)-refusals(alone, bodies) })
		close(release)
		wait.Wait()
		for at, answer := range answers {
			if expected := ask(alone, "POST", "/recommend", bodies[at]); !same(answer.Body.Bytes(), expected.Body.Bytes()) || answer.Code != expected.Code {
				t.Errorf("%s: %s, not %s", bodies[at], answer.Body, expected.Body)
			}
		}
		if slices.Max(sizes()) < 10 || slices.Max(sizes()) > 32 {
			t.Errorf("ranked together: %v", sizes())
		}
	}
}

// refusals returns how many requests are refused before they wait.
func refusals(s *service, bodies []string) (count int) {
	for _, body := range bodies {
		if ask(s, "POST", "/recommend", body).Code != http.StatusOK {
			count++
		}
	}
	return count
}

// same tells whether two answers are the same but for the last digits of numbers.
func same(one, other []byte) bool {
	var a, b any
	if json.Unmarshal(one, &a) != nil || json.Unmarshal(other, &b) != nil {
		return false
	}
	return reflect.DeepEqual(rounded(a), rounded(b))
}

func rounded(value any) any {
	switch value := value.(type) {
	case float64:
		return fmt.Sprintf("%.4f", value+1e-9)
	case []any:
		for at := range value {
			value[at] = rounded(value[at])
		}
	case map[string]any:
		for key := range value {
			value[key] = rounded(value[key])
		}
	}
	return value
}

func TestOnlyTheRequestFailsThatMust(t *testing.T) {
	s := open(t, model("golden.onnx"), "", many)
	var calls atomic.Int32
	replace(s, func(own rank) rank {
		return func(histories [][]string, k int, options recommend.Options[string]) (*recommend.Ranking[string], error) {
			calls.Add(1)
			if slices.ContainsFunc(histories, func(history []string) bool { return slices.Contains(history, "fails") }) {
				return nil, errors.New("on purpose")
			}
			return own(histories, k, options)
		}
	})
	release, sizes := held(t, s)
	var wait sync.WaitGroup
	for n := range 21 {
		wait.Go(func() {
			item, status := "42", http.StatusOK
			if n%7 == 3 {
				item, status = "fails", http.StatusInternalServerError
			}
			if answer := ask(s, "POST", "/recommend", `{"history": ["`+item+`"]}`); answer.Code != status {
				t.Errorf("%s: %d %s", item, answer.Code, answer.Body)
			}
		})
	}
	until(t, func() bool { return len(sizes()) == 1 && s.queue.length() == 20 })
	close(release)
	wait.Wait()
	if got := sizes(); len(got) != 2 || got[1] != 20 || calls.Load() < 21 {
		t.Errorf("%v, %d calls", got, calls.Load())
	}
}

func TestWhatIsRankedTogether(t *testing.T) {
	s := open(t, model("golden.onnx"), "", func(most *limits) { many(most); most.history, most.padded = 100, 1000 })
	release, sizes := held(t, s)
	var wait sync.WaitGroup
	send := func(body string) {
		before := s.queue.length() + len(sizes())
		wait.Go(func() { ask(s, "POST", "/recommend", body) })
		until(t, func() bool { return s.queue.length()+len(sizes()) > before })
	}
	long := "[" + strings.Repeat(`"7",`, 59) + `"7"]`
	send(`{"history": []}`)                             // It is at work alone.
	send(`{"history": ["42"]}`)                         // The first of a batch, ...
	send(`{"history": ` + long + `}`)                   // ... whose memory this at most doubles; ...
	send(`{"histories": [["42"], ["7"], []]}`)          // ... these, padded to it, would do more; ...
	send(`{"history": ["42"], "k": 3}`)                 // ... this has another k; ...
	send(`{"histories": [` + long + `, ` + long + `]}`) // ... and these fit.
	close(release)
	wait.Wait()
	if got := sizes(); !slices.Equal(got, []int{1, 4, 3, 1}) {
		t.Errorf("ranked together: %v", got)
	}
}

func TestPlacesAreNeverTakenTwice(t *testing.T) {
	var taken, most atomic.Int64
	q := newQueue(limits{working: 3, together: 4}, 3*mib)
	worker := fake{func(batch []*job) {
		places := int64(batch[0].places)
		now := taken.Add(places)
		most.Store(max(most.Load(), now))
		time.Sleep(time.Millisecond)
		taken.Add(-places)
	}}
	var wait sync.WaitGroup
	for n := range 60 {
		wait.Go(func() {
			j := &job{kind: kind{model: worker.pointer(), k: n % 2}, size: size{histories: 1}, bytes: int64(n%3)*mib + 1}
			if err := q.do(t.Context(), j); err != nil || j.places != n%3+1 {
				t.Errorf("%v, %d places", err, j.places)
			}
		})
	}
	wait.Wait()
	if most.Load() != 3 || q.free != 3 || q.length() > 0 {
		t.Errorf("%d places were taken, %d are free, %d wait", most.Load(), q.free, len(q.waiting))
	}
	var refusal failure
	if err := q.do(t.Context(), &job{bytes: 3*mib + 1}); !errors.As(err, &refusal) || refusal.status != http.StatusRequestEntityTooLarge ||
		!strings.Contains(refusal.message, "about 4 MiB of memory: expected 3 MiB at most") {
		t.Error(err)
	}
}

// fake is a model whose requests take what they say.
type fake struct{ do func(batch []*job) }

func (f fake) pointer() *fake                        { return &f }
func (f *fake) prepare([]byte, limits) (*job, error) { return nil, nil }
func (f *fake) cost(size size) int64                 { return int64(size.histories) }
func (f *fake) work(batch []*job)                    { f.do(batch) }
func (f *fake) block([]string) (int, error)          { return 0, nil }
func (f *fake) lacks(loaded) int                     { return 0 }
