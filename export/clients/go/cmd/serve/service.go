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

// failure is an error with the status of its answer.
type failure struct {
	status  int
	message string
}

func (f failure) Error() string { return f.message }

func bad(format string, values ...any) error {
	return failure{http.StatusBadRequest, fmt.Sprintf(format, values...)}
}

// ranking is the answer for one history, without padding; reasons if the file has them.
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

// newService makes the service of a model, after the model has answered a first request.
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

// recovered answers with status 500 if the handler panics.
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

// answer reads a request, waits until it may be ranked, and returns the answer.
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
	result, err := s.work(r.Context(), q)
	if err != nil {
		return nil, err
	}
	all := make([]ranking[T], len(result.Items))
	for row := range all {
		all[row] = cut(result, row, len(q.histories[row]))
	}
	if q.one {
		return all[0], nil
	}
	return rankings[T]{all}, nil
}

// work ranks as soon as fewer than the limit of other requests are being ranked.
func (s *service[T]) work(ctx context.Context, q query[T]) (*recommend.Ranking[T], error) {
	late := time.NewTimer(s.limits.wait)
	defer late.Stop()
	select {
	case s.working <- struct{}{}:
		defer func() { <-s.working }()
		return s.rank(q.histories, q.k, q.options)
	case <-late.C:
		return nil, failure{http.StatusServiceUnavailable, "too many requests are at work"}
	case <-ctx.Done(): // The client is gone and reads no answer.
		return nil, failure{http.StatusServiceUnavailable, "the request was cancelled"}
	}
}

// cut returns one row without its padding.
func cut[T recommend.Item](result *recommend.Ranking[T], row, length int) ranking[T] {
	scores := result.Scores[row]
	k := 0
	for k < len(scores) && !math.IsInf(float64(scores[k]), -1) {
		k++
	}
	one := ranking[T]{Items: result.Items[row][:k], Scores: scores[:k]}
	if result.Reasons != nil {
		one.Reasons = make([][]float32, k)
		for rank := range one.Reasons {
			one.Reasons[rank] = result.Reasons[row][rank][:length]
		}
	}
	return one
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
