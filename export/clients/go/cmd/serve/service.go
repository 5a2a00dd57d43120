package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"runtime/debug"
	"sync/atomic"
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

func busy(message string) failure { return failure{http.StatusServiceUnavailable, message} }

// service answers requests with the model that its versions have.
type service struct {
	versions *versions
	limits   limits
	checks   checks
	texts    int64     // Bytes of all bodies and answers at a time.
	text     allowance // What is left of them.
	admitted chan struct{}
	queue    *queue
	log      *requestLog // nil if there is none.
	stopping atomic.Bool // Requests are still answered, but others should no longer be sent.
	registry *prometheus.Registry
	counted  http.Handler // What answers /recommend, with its metrics.
	requests *prometheus.CounterVec
}

// newService makes the service of models. Half of the memory is for ranking, a quarter for bodies and answers; the rest is what
// the allocators of Go and C keep between requests.
func newService(versions *versions, limits limits, log *requestLog) (*service, error) {
	memory := int64(limits.memory) * mib
	s := &service{
		versions: versions,
		limits:   limits,
		texts:    memory / 4 / bytesOfByte,
		admitted: make(chan struct{}, limits.working+limits.waiting),
		queue:    newQueue(limits, memory/2),
		log:      log,
	}
	s.text.left.Store(s.texts)
	if least := int64(limits.body) * bytesOfByte * 4; memory < least {
		return nil, fmt.Errorf("-max-memory is %d: a body of -max-body, %d bytes, needs %d or more", limits.memory, limits.body, inMiB(least))
	}
	s.measure()
	return s, nil
}

// accept refuses a model of which one history needs more memory than there is, or that fails a check.
func (s *service) accept(next, former *version) error {
	one, err := next.prepare([]byte(`{"history": [], "k": 1}`), s.limits)
	if err != nil {
		return err
	}
	if memory, least := int64(s.limits.memory)*mib, one.bytes*2; memory < least {
		return fmt.Errorf("-max-memory is %d: to rank this catalogue needs %d or more", s.limits.memory, inMiB(least))
	}
	return s.checks.accept(next, former, s.limits)
}

// measure makes the metrics.
func (s *service) measure() {
	s.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "recommend_requests_total", Help: "Requests, by the status of the answer.",
	}, []string{"code"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "recommend_request_duration_seconds", Help: "Time from a request's header to the end of its answer.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
	}, nil)
	inFlight := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "recommend_requests_in_flight", Help: "Requests being read, waiting, at work or being answered.",
	})
	together := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "recommend_batch_histories", Help: "Histories that were ranked at once.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 9),
	})
	s.queue.ranked = func(histories int) { together.Observe(float64(histories)) }
	s.registry = prometheus.NewRegistry()
	s.registry.MustRegister(s.requests, duration, inFlight, together, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.registry.MustRegister(s.versions.metrics()...)
	if s.log != nil {
		s.registry.MustRegister(s.log.dropped)
	}
	timed := promhttp.InstrumentHandlerDuration(duration, only(http.MethodPost, s.recommend))
	s.counted = promhttp.InstrumentHandlerInFlight(inFlight, promhttp.InstrumentHandlerCounter(s.requests, timed))
}

// requestID is what is taken over of X-Request-Id; anything else could forge lines of a log.
var requestID = regexp.MustCompile(`^[!-~]{1,128}$`)

// ServeHTTP answers all paths. http.ServeMux would answer some, such as //recommend, with HTML.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request-Id")
	if !requestID.MatchString(id) {
		id = rand.Text()
	}
	w.Header().Set("X-Request-Id", id)
	if s.stopping.Load() {
		w.Header().Set("Connection", "close") // The client's next request opens a connection, to another instance.
	}
	switch r.URL.Path {
	case "/recommend":
		s.counted.ServeHTTP(w, r)
	case "/healthz":
		only(http.MethodGet, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })(w, r)
	case "/readyz":
		only(http.MethodGet, s.ready)(w, r)
	default:
		promhttp.InstrumentHandlerCounter(s.requests, notFound("/recommend, /healthz or /readyz")).ServeHTTP(w, r)
	}
}

func (s *service) ready(w http.ResponseWriter, _ *http.Request) {
	if s.stopping.Load() {
		refuse(w, busy("the service is stopping"))
		return
	}
	_, _ = io.WriteString(w, "ready\n")
}

// metrics answers the paths of the port for metrics.
func (s *service) metrics() http.Handler {
	metrics := promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			only(http.MethodGet, metrics.ServeHTTP)(w, r)
			return
		}
		notFound("/metrics")(w, r)
	})
}

func notFound(expected string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		refuse(w, failure{http.StatusNotFound, fmt.Sprintf("there is no %.100s: expected %s", r.URL.Path, expected)})
	}
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

func (s *service) recommend(w http.ResponseWriter, r *http.Request) {
	id, held := w.Header().Get("X-Request-Id"), part{of: &s.text}
	defer held.giveBack()
	defer func() {
		if cause := recover(); cause != nil {
			slog.Error("panic", "request", id, "cause", cause, "stack", string(debug.Stack()))
			refuse(w, failure{http.StatusInternalServerError, "the request failed"})
		}
	}()
	answer, err := s.answer(w, r, &held)
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
		slog.Error("a request failed", "request", id, "cause", err)
		refuse(w, failure{http.StatusInternalServerError, "the request failed"})
	}
}

// answer reads a request, waits until it may be ranked, and returns the body of the answer. A body that arrives slowly takes
// nothing but its bytes.
func (s *service) answer(w http.ResponseWriter, r *http.Request, held *part) ([]byte, error) {
	body, err := s.read(w, r, held)
	if err != nil {
		return nil, err
	}
	select {
	case s.admitted <- struct{}{}:
		defer func() { <-s.admitted }()
	default:
		return nil, busy("too many requests are waiting")
	}
	version, release := s.versions.hold()
	defer release()
	w.Header().Set("X-Model-Version", version.name)
	job, err := version.prepare(body, s.limits)
	if err != nil {
		return nil, err
	}
	if err := s.fits(body, job.text); err != nil {
		return nil, err
	}
	s.versions.counts.add(job.seen)
	if err := s.work(r.Context(), job); err != nil {
		return nil, err
	}
	if err := s.fits(body, int64(len(job.answer))); err != nil {
		return nil, err
	}
	if !held.take(len(job.answer)) {
		return nil, busy("too many answers are being sent")
	}
	s.log.add(entry{time.Now(), w.Header().Get("X-Request-Id"), version.name, body, job.answer})
	return job.answer, nil
}

// fits refuses an answer that is too long even if there is no other request.
func (s *service) fits(body []byte, bytes int64) error {
	if most := s.texts - int64(len(body)); bytes > most {
		return failure{http.StatusRequestEntityTooLarge, fmt.Sprintf("the answer has about %d bytes: expected %d at most, of fewer histories "+
			"or a smaller k", bytes, most)}
	}
	return nil
}

// metered is a body that takes its bytes from an allowance as they arrive.
type metered struct {
	io.Reader
	held *part
}

var errHeld = errors.New("the bodies of requests are too many")

func (m metered) Read(into []byte) (int, error) {
	count, err := m.Reader.Read(into)
	if !m.held.take(count) {
		return count, errHeld
	}
	return count, err
}

func (s *service) read(w http.ResponseWriter, r *http.Request, held *part) ([]byte, error) {
	body, err := io.ReadAll(metered{http.MaxBytesReader(w, r.Body, int64(s.limits.body)), held})
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &tooLarge):
		return nil, failure{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is too large: expected %d bytes at most", tooLarge.Limit)}
	case errors.Is(err, errHeld):
		return nil, busy("too many bodies are being read")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, failure{http.StatusRequestTimeout, "the body did not arrive in time"}
	}
	return nil, bad("the body cannot be read")
}

// work does a job as soon as there is a place for it.
func (s *service) work(ctx context.Context, job *job) error {
	waiting, cancel := context.WithTimeout(ctx, time.Duration(s.limits.wait))
	defer cancel()
	err := s.queue.do(waiting, job)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return busy("too many requests are at work")
	case errors.Is(err, context.Canceled): // The client is gone and reads no answer.
		return busy("the request was cancelled")
	}
	return err
}

func respond(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// refuse answers with one sentence.
func refuse(w http.ResponseWriter, why failure) {
	if why.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	body, _ := json.Marshal(map[string]string{"error": why.message + "."}) // A text never fails.
	respond(w, why.status, body)
}
