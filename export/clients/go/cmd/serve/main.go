// The command serve answers requests for recommendations over HTTP; README.md describes them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"recbole-multvae/recommend"
)

// positive is the value of a flag: a whole number of 1 or more.
type positive int

func (p *positive) String() string { return strconv.Itoa(int(*p)) }

func (p *positive) Set(text string) error {
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 {
		return errors.New("expected a whole number of 1 or more")
	}
	*p = positive(number)
	return nil
}

// span is the value of a flag: a time of more than 0.
type span time.Duration

func (s *span) String() string { return time.Duration(*s).String() }

func (s *span) Set(text string) error {
	value, err := time.ParseDuration(text)
	if err != nil || value <= 0 {
		return errors.New("expected a time of more than 0, such as 500ms or 10s")
	}
	*s = span(value)
	return nil
}

// settings are the values of the command line.
type settings struct {
	model, blocked, check     string
	addr, metricsAddr         string
	gpu, unchecked            bool
	threads                   positive
	header, read, write, idle span
	delay                     time.Duration
	drain, watch              span
	unknown, loss             float64
	log                       string
	limits                    limits
}

func main() {
	set := parse(os.Args[1:])
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err := run(set); err != nil {
		fmt.Fprintf(os.Stderr, "%v.\n", err)
		os.Exit(1)
	}
}

func parse(arguments []string) settings {
	set := settings{
		threads: 1, header: span(5 * time.Second), read: span(10 * time.Second), write: span(30 * time.Second),
		idle: span(2 * time.Minute), drain: span(25 * time.Second), watch: span(10 * time.Second),
		limits: limits{
			body: 1 << 20, history: 1000, list: 10_000, batch: 256, padded: 1 << 14, k: 1000, answer: 1_000_000,
			memory: 512, waiting: 1000, wait: span(time.Second), together: 32,
		},
	}
	flags := set.flags()
	_ = flags.Parse(arguments)
	if set.model = flags.Arg(0); set.model != "" {
		_ = flags.Parse(flags.Args()[1:])
	}
	if set.model == "" || flags.NArg() > 0 {
		flags.Usage()
		os.Exit(2)
	}
	if set.delay < 0 || set.delay > time.Duration(set.drain) {
		fmt.Fprintf(os.Stderr, "-drain-delay is %s: expected 0s to -drain, %s.\n", set.delay, &set.drain)
		os.Exit(2)
	}
	if set.limits.pause < 0 || set.limits.pause > time.Second {
		fmt.Fprintf(os.Stderr, "-batch-wait is %s: expected 0s to 1s.\n", set.limits.pause)
		os.Exit(2)
	}
	if set.log != "" && set.log != "history" && set.log != "digest" {
		fmt.Fprintf(os.Stderr, "-log-requests is %.40q: expected history or digest.\n", set.log)
		os.Exit(2)
	}
	if set.loss < 1 && set.check == "" {
		fmt.Fprintln(os.Stderr, "-max-loss needs -check, a file with requests and the items that they expect.")
		os.Exit(2)
	}
	if set.limits.working == 0 { // GOMAXPROCS knows a container's CPU quota.
		set.limits.working = positive(max(1, runtime.GOMAXPROCS(0)/int(set.threads)))
	}
	return set
}

func (set *settings) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "serve MODEL.onnx [flags]\n\nAnswer requests for recommendations over HTTP. "+
			"A folder in place of the file has versions: 1/model.onnx, 2/model.onnx and so on.")
		flags.PrintDefaults()
	}
	flags.StringVar(&set.addr, "addr", "127.0.0.1:8080", "`address` to listen at; :8080 is on every network")
	flags.StringVar(&set.metricsAddr, "metrics-addr", "", "`address` of the metrics (default: 127.0.0.1, at a port 1000 above that of -addr)")
	flags.BoolVar(&set.gpu, "gpu", false, "run on CUDA if it is available")
	flags.Var(&set.threads, "threads", "`threads` of one request")
	flags.BoolVar(&set.unchecked, "no-check", false, "open a file whose weights do not have the digest that it names")
	flags.Var(&set.watch, "watch", "`time` between two looks at whether the model and the file -blocked have changed; SIGHUP makes it look at once")
	flags.StringVar(&set.blocked, "blocked", "", "`file` with items that nobody is to get, one a line")
	flags.StringVar(&set.check, "check", "", "`file` with requests that a model must answer before it is put in service, one a line")
	flags.Float64Var(&set.loss, "max-loss", 1, "`share` by which a model may find fewer of the items that -check expects than the model in service")
	flags.Float64Var(&set.unknown, "warn-unknown", 0.5, "`share` of unknown items in the histories above which the log warns")
	flags.StringVar(&set.log, "log-requests", "", "write a line of JSON for each ranking to the standard output: `what` of the request, history or digest")
	flags.Var(&set.limits.together, "batch-size", "`histories` that are ranked at once, if they come in several requests")
	flags.DurationVar(&set.limits.pause, "batch-wait", time.Millisecond, "`time` after a batch of several requests for which the next waits for those who were just answered")
	flags.Var(&set.limits.memory, "max-memory", "`MiB` that all requests may take, besides what the service has at its start")
	flags.Var(&set.limits.body, "max-body", "`bytes` of a body")
	flags.Var(&set.limits.history, "max-history", "`items` of a history")
	flags.Var(&set.limits.list, "max-list", "`items` of a list exclude or among")
	flags.Var(&set.limits.batch, "max-batch", "`histories` of a request")
	flags.Var(&set.limits.padded, "max-padded", "`items` of all histories, or lists, of a request, each counted as long as the longest")
	flags.Var(&set.limits.k, "max-k", "`items` of a ranking")
	flags.Var(&set.limits.answer, "max-answer", "`numbers` of an answer: histories times k, with reasons also times the longest history")
	flags.Var(&set.limits.working, "max-working", "`batches` of requests that are ranked at once (default: the cores that the process may use, by -threads)")
	flags.Var(&set.limits.waiting, "max-waiting", "`requests` that wait to be ranked")
	flags.Var(&set.limits.wait, "wait", "how long a request waits to be ranked, a `time`")
	flags.Var(&set.header, "header-timeout", "`time` for the header of a request to arrive")
	flags.Var(&set.read, "read-timeout", "`time` for a request to arrive")
	flags.Var(&set.write, "write-timeout", "`time` for a request to be answered")
	flags.Var(&set.idle, "idle-timeout", "`time` until the next request of a connection")
	flags.DurationVar(&set.delay, "drain-delay", 5*time.Second, "`time` for which a stopped service, no longer ready, still takes requests")
	flags.Var(&set.drain, "drain", "`time` from the signal to stop until all requests must be answered")
	return flags
}

func run(set settings) error {
	stopped, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	giveBack(int64(set.limits.memory) * mib)
	if os.Getenv("GOGC") == "" {
		boundGarbage(int64(set.limits.memory) * mib / 16)
	}
	config := recommend.Config{GPU: set.gpu, Threads: int(set.threads), ReturnMemory: true, Unchecked: set.unchecked}
	versions := newVersions(set.model, set.blocked, config)
	var log *requestLog
	if set.log != "" {
		log = newRequestLog(set.log == "history", int64(set.limits.memory)*mib/64)
		go log.write(os.Stdout)
		defer log.close(time.Second)
	}
	service, err := newService(versions, set.limits, log)
	if err != nil {
		return err
	}
	if service.checks, err = readChecks(set.check, set.loss); err != nil {
		return err
	}
	versions.accept = service.accept
	if err := versions.start(); err != nil {
		return err
	}
	go versions.watch(time.Duration(set.watch), hangups, set.unknown)
	return set.serve(stopped, stop, service)
}

// serve answers requests until it is stopped, and then those that still come or run, for a while.
func (set settings) serve(stopped context.Context, stop func(), service *service) error {
	listener, err := net.Listen("tcp", set.addr)
	if err != nil {
		return err
	}
	metrics, err := net.Listen("tcp", set.metricsAt(listener))
	if err != nil {
		return fmt.Errorf("the metrics need another -metrics-addr: %w", err)
	}
	server := set.server(service)
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(listener) }()
	go func() { failed <- set.server(service.metrics()).Serve(metrics) }()
	slog.Info("ready", "addr", listener.Addr().String(), "metrics", metrics.Addr().String(), "model", set.model,
		"provider", service.versions.current.Load().Provider, "threads", int(set.threads), "working", int(set.limits.working))
	select {
	case err := <-failed:
		return err
	case <-stopped.Done():
	}
	stop() // A second signal ends the process at once.
	drained, cancel := context.WithTimeout(context.Background(), time.Duration(set.drain))
	defer cancel()
	service.stopping.Store(true)
	slog.Info("stopping", "delay", set.delay.String())
	time.Sleep(set.delay) // Those who send requests learn that the service is not ready.
	if err := server.Shutdown(drained); err != nil {
		return fmt.Errorf("requests were still at work after %s", &set.drain)
	}
	slog.Info("stopped")
	return nil
}

func (set settings) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: time.Duration(set.header), ReadTimeout: time.Duration(set.read),
		WriteTimeout: time.Duration(set.write), IdleTimeout: time.Duration(set.idle), MaxHeaderBytes: 16 << 10,
	}
}

// metricsAt returns the address of the metrics of a service that listens.
func (set settings) metricsAt(listener net.Listener) string {
	if set.metricsAddr != "" {
		return set.metricsAddr
	}
	return fmt.Sprintf("127.0.0.1:%d", listener.Addr().(*net.TCPAddr).Port+1000)
}
