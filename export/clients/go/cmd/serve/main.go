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

// settings are the values of the command line.
type settings struct {
	model             string
	addr              string
	gpu               bool
	read, write, idle time.Duration
	drain             time.Duration
	limits            limits
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
	set := settings{limits: limits{
		body: 1 << 20, history: 1000, list: 10_000, batch: 256, padded: 1 << 14, k: 1000, answer: 1_000_000,
		working: positive(runtime.GOMAXPROCS(0)), waiting: 1000,
	}}
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "serve MODEL.onnx [flags]\n\nAnswer requests for recommendations over HTTP.")
		flags.PrintDefaults()
	}
	flags.StringVar(&set.addr, "addr", ":8080", "`address` to listen at")
	flags.BoolVar(&set.gpu, "gpu", false, "run on CUDA if it is available")
	flags.Var(&set.limits.body, "max-body", "`bytes` of a body")
	flags.Var(&set.limits.history, "max-history", "`items` of a history")
	flags.Var(&set.limits.list, "max-list", "`items` of a list exclude or among")
	flags.Var(&set.limits.batch, "max-batch", "`histories` of a request")
	flags.Var(&set.limits.padded, "max-padded", "`items` of all histories, or lists, of a request, each counted as long as the longest")
	flags.Var(&set.limits.k, "max-k", "`items` of a ranking")
	flags.Var(&set.limits.answer, "max-answer", "`numbers` of an answer: histories times k, with reasons also times the longest history")
	flags.Var(&set.limits.working, "max-working", "`requests` that are ranked at once")
	flags.Var(&set.limits.waiting, "max-waiting", "`requests` that are being read, or wait to be ranked")
	flags.DurationVar(&set.limits.wait, "wait", time.Second, "how long a request waits to be ranked")
	flags.DurationVar(&set.read, "read-timeout", 10*time.Second, "time for a request to arrive")
	flags.DurationVar(&set.write, "write-timeout", 30*time.Second, "time for a request to be answered")
	flags.DurationVar(&set.idle, "idle-timeout", 2*time.Minute, "time until the next request of a connection")
	flags.DurationVar(&set.drain, "drain", 30*time.Second, "time for the running requests when the service is stopped")
	_ = flags.Parse(arguments)
	if set.model = flags.Arg(0); set.model != "" {
		_ = flags.Parse(flags.Args()[1:])
	}
	if set.model == "" || flags.NArg() > 0 {
		flags.Usage()
		os.Exit(2)
	}
	return set
}

func run(set settings) error {
	stopped, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	model, err := recommend.Load(set.model, set.gpu)
	if err != nil {
		return err
	}
	handler, err := newHandler(model, set.limits)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", set.addr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: handler, ReadTimeout: set.read, WriteTimeout: set.write, IdleTimeout: set.idle, MaxHeaderBytes: 16 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	slog.Info("ready", "addr", listener.Addr().String(), "model", set.model, "provider", model.Provider)
	select {
	case err := <-failed:
		return err
	case <-stopped.Done():
	}
	stop() // A second signal ends the process at once.
	slog.Info("stopping")
	drained, cancel := context.WithTimeout(context.Background(), set.drain)
	defer cancel()
	if err := server.Shutdown(drained); err != nil {
		return fmt.Errorf("requests were still at work after %s", set.drain)
	}
	model.Close()
	slog.Info("stopped")
	return nil
}

func newHandler(model *recommend.Model, limits limits) (http.Handler, error) {
	if model.IDs {
		s, err := newService[int64](model, limits)
		if err != nil {
			return nil, err
		}
		return s.handler(), nil
	}
	s, err := newService[string](model, limits)
	if err != nil {
		return nil, err
	}
	return s.handler(), nil
}
