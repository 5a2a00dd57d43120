package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"recbole-multvae/recommend"
)

// limits bound what a request, and all of them together, may cost.
type limits struct {
	body    positive // Bytes of a body.
	history positive // Items of a history.
	list    positive // Items of a list to exclude, or to rank alone.
	batch   positive // Histories of a request.
	padded  positive // Histories times the longest of them; lists likewise.
	k       positive // Items of a ranking.
	answer  positive // Numbers of an answer: histories times k; with reasons, times the longest history.
	working positive // Requests at work at once.
	waiting positive // Requests that wait for those, or are being read.
	wait    time.Duration
}

// failure is an error with the status that it is answered with.
type failure struct {
	status  int
	message string
}

func (f failure) Error() string { return f.message }

func bad(format string, values ...any) error {
	return failure{http.StatusBadRequest, fmt.Sprintf(format, values...)}
}

// query is a request that was understood.
type query[T recommend.Item] struct {
	histories [][]T
	k         int
	options   recommend.Options[T]
	one       bool // It is for one person, and so is the answer.
}

// ranking is the answer for one history: as many items as there are, with scores and, if the file has them, reasons.
type ranking[T recommend.Item] struct {
	Items   []T         `json:"items"`
	Scores  []float32   `json:"scores"`
	Reasons [][]float32 `json:"reasons,omitzero"`
}

type rankings[T recommend.Item] struct {
	Rankings []ranking[T] `json:"rankings"`
}

// service answers requests with one model.
type service[T recommend.Item] struct {
	rank     func(histories [][]T, k int, options recommend.Options[T]) (*recommend.Ranking[T], error)
	reasons  bool
	limits   limits
	admitted chan struct{}
	working  chan struct{}
}

// newService makes the service of a model that has answered a first request.
func newService[T recommend.Item](model *recommend.Model, limits limits) (*service[T], error) {
	s := &service[T]{
		rank: func(histories [][]T, k int, options recommend.Options[T]) (*recommend.Ranking[T], error) {
			return recommend.Recommend(model, histories, k, options)
		},
		limits:   limits,
		admitted: make(chan struct{}, limits.working+limits.waiting),
		working:  make(chan struct{}, limits.working),
	}
	first, err := s.rank([][]T{{}}, 1, recommend.Options[T]{})
	if err != nil {
		return nil, fmt.Errorf("the model does not answer: %w", err)
	}
	s.reasons = first.Reasons != nil
	return s, nil
}

// handler returns all paths of the service.
func (s *service[T]) handler() http.Handler {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "recommend_requests_total", Help: "Requests, by the status of the answer.",
	}, []string{"code"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "recommend_request_duration_seconds", Help: "Time from a request's header to the end of its answer.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
	}, nil)
	inFlight := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "recommend_requests_in_flight", Help: "Requests being read, waiting, at work or being answered.",
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(requests, duration, inFlight, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	timed := promhttp.InstrumentHandlerDuration(duration, only(http.MethodPost, recovered(s.recommend)))
	counted := promhttp.InstrumentHandlerCounter(requests, timed)
	mux := http.NewServeMux()
	mux.Handle("/recommend", promhttp.InstrumentHandlerInFlight(inFlight, counted))
	mux.Handle("/healthz", only(http.MethodGet, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	}))
	mux.Handle("/metrics", only(http.MethodGet, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP))
	mux.Handle("/", promhttp.InstrumentHandlerCounter(requests, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, failure{http.StatusNotFound, "there is no " + r.URL.Path + ": expected /recommend, /healthz or /metrics"})
	})))
	return mux
}

// only refuses all methods but one.
func only(method string, handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == method || r.Method == http.MethodHead && method == http.MethodGet {
			handler(w, r)
			return
		}
		w.Header().Set("Allow", method)
		refuse(w, failure{http.StatusMethodNotAllowed, "the method is " + r.Method + ": expected " + method})
	}
}

// recovered answers with status 500 where the handler panics.
func recovered(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if cause := recover(); cause != nil {
				slog.Error("panic", "cause", cause, "stack", string(debug.Stack()))
				refuse(w, failure{http.StatusInternalServerError, "the request failed"})
			}
		}()
		handler(w, r)
	}
}

func (s *service[T]) recommend(w http.ResponseWriter, r *http.Request) {
	answer, err := s.answer(w, r)
	var input recommend.InputError
	var known failure
	switch {
	case err == nil:
		respond(w, http.StatusOK, answer)
	case errors.As(err, &input):
		refuse(w, failure{http.StatusBadRequest, input.Error()})
	case errors.As(err, &known):
		refuse(w, known)
	default:
		slog.Error("a request failed", "cause", err)
		refuse(w, failure{http.StatusInternalServerError, "the request failed"})
	}
}

// answer reads a request, waits until it may work, and returns what is to be answered.
func (s *service[T]) answer(w http.ResponseWriter, r *http.Request) (any, error) {
	select {
	case s.admitted <- struct{}{}:
		defer func() { <-s.admitted }()
	default:
		return nil, failure{http.StatusServiceUnavailable, "too many requests are waiting"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.limits.body)))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, failure{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is too large: expected %d bytes at most", tooLarge.Limit)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, failure{http.StatusRequestTimeout, "the body did not arrive in time"}
	case err != nil:
		return nil, bad("the body cannot be read")
	}
	q, err := s.parse(body)
	if err != nil {
		return nil, err
	}
	if err := s.check(q); err != nil {
		return nil, err
	}
	found, err := s.work(r.Context(), q)
	if err != nil {
		return nil, err
	}
	all := make([]ranking[T], len(found.Items))
	for row := range all {
		all[row] = cut(found, row, len(q.histories[row]))
	}
	if q.one {
		return all[0], nil
	}
	return rankings[T]{all}, nil
}

// work ranks as soon as few enough others do.
func (s *service[T]) work(ctx context.Context, q query[T]) (*recommend.Ranking[T], error) {
	late := time.NewTimer(s.limits.wait)
	defer late.Stop()
	select {
	case s.working <- struct{}{}:
		defer func() { <-s.working }()
		return s.rank(q.histories, q.k, q.options)
	case <-late.C:
		return nil, failure{http.StatusServiceUnavailable, "too many requests are at work"}
	case <-ctx.Done(): // Nobody reads this answer.
		return nil, failure{http.StatusServiceUnavailable, "the request was cancelled"}
	}
}

// cut returns one row without its padding.
func cut[T recommend.Item](found *recommend.Ranking[T], row, length int) ranking[T] {
	scores := found.Scores[row]
	k := 0
	for k < len(scores) && !math.IsInf(float64(scores[k]), -1) {
		k++
	}
	one := ranking[T]{Items: found.Items[row][:k], Scores: scores[:k]}
	if found.Reasons != nil {
		one.Reasons = make([][]float32, k)
		for rank := range one.Reasons {
			one.Reasons[rank] = found.Reasons[row][rank][:length]
		}
	}
	return one
}

// parse reads a body: a JSON object with known fields of the right types.
func (s *service[T]) parse(body []byte) (query[T], error) {
	q := query[T]{k: 10}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return q, bad("the body is no JSON object")
	}
	_, q.one = fields["history"]
	if _, many := fields["histories"]; many == q.one {
		return q, bad("expected history, for one person, or histories, for several")
	}
	items := "tokens"
	if _, ids := any(q).(query[int64]); ids {
		items = "ids"
	}
	for name, raw := range fields {
		var understood bool
		var expected string
		switch name {
		case "history":
			var one []T
			one, understood = list[T](raw)
			q.histories = [][]T{one}
			expected = "a list of " + items
		case "histories":
			q.histories, understood = listOfLists[T](raw)
			expected = "lists of " + items
		case "k":
			understood = string(raw) != "null" && json.Unmarshal(raw, &q.k) == nil
			expected = "a whole number"
		case "exclude":
			q.options.Exclude, understood = lists[T](raw)
			expected = "a list of " + items + ", or one for each history"
		case "among":
			q.options.Among, understood = lists[T](raw)
			expected = "a list of " + items + ", or one for each history"
		case "noise":
			q.options.Noise, understood = lists[float32](raw)
			expected = "a list of numbers, or one for each history"
		default:
			return q, bad("the field %.40q is unknown: expected history or histories, k, exclude, among, noise", name)
		}
		if !understood {
			return q, bad("%s is not understood: expected %s", name, expected)
		}
	}
	return q, nil
}

// list reads a list without nulls.
func list[T any](raw json.RawMessage) ([]T, bool) {
	var found []*T
	if json.Unmarshal(raw, &found) != nil || found == nil {
		return nil, false
	}
	values := make([]T, len(found))
	for at, value := range found {
		if value == nil {
			return nil, false
		}
		values[at] = *value
	}
	return values, true
}

func listOfLists[T any](raw json.RawMessage) ([][]T, bool) {
	rows, ok := list[json.RawMessage](raw)
	found := make([][]T, len(rows))
	for at, row := range rows {
		if found[at], ok = list[T](row); !ok {
			return nil, false
		}
	}
	return found, ok
}

// lists reads one list, for all histories, or one for each.
func lists[T any](raw json.RawMessage) ([][]T, bool) {
	if one, ok := list[T](raw); ok {
		return [][]T{one}, true
	}
	return listOfLists[T](raw)
}

// check refuses a query that would cost too much. What does not fit the model, the client refuses.
func (s *service[T]) check(q query[T]) error {
	if batch := len(q.histories); batch < 1 || batch > int(s.limits.batch) {
		return bad("there are %d histories: expected 1 to %d", batch, s.limits.batch)
	}
	if q.k < 1 || q.k > int(s.limits.k) {
		return bad("k is %d: expected 1 to %d", q.k, s.limits.k)
	}
	longest, err := s.size("history", q.histories, s.limits.history)
	if err != nil {
		return err
	}
	if _, err := s.size("exclude", q.options.Exclude, s.limits.list); err != nil {
		return err
	}
	if _, err := s.size("among", q.options.Among, s.limits.list); err != nil {
		return err
	}
	numbers := len(q.histories) * q.k
	if s.reasons {
		numbers *= max(longest, 1)
	}
	if numbers > int(s.limits.answer) {
		return bad("the answer has up to %d numbers: expected %d at most, of fewer histories or a smaller k", numbers, s.limits.answer)
	}
	return nil
}

// size returns the length of the longest row, unless rows are too long, alone or padded together.
func (s *service[T]) size(name string, rows [][]T, most positive) (longest int, err error) {
	for _, row := range rows {
		longest = max(longest, len(row))
	}
	if longest > int(most) {
		return 0, bad("%s has %d items: expected %d at most", name, longest, most)
	}
	if padded := len(rows) * longest; padded > int(s.limits.padded) {
		return 0, bad("%s has %d lists, the longest of %d items: expected %d at most as their product", name, len(rows), longest, s.limits.padded)
	}
	return longest, nil
}

func respond(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		slog.Error("an answer cannot be written", "cause", err)
		status, body = http.StatusInternalServerError, []byte(`{"error":"the request failed."}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// refuse answers with one sentence.
func refuse(w http.ResponseWriter, why failure) {
	if why.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	respond(w, why.status, map[string]string{"error": why.message + "."})
}
