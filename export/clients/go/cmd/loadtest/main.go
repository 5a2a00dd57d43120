// The command loadtest sends requests to a running service, and prints the service's times and, from its metrics, memory.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// stage is the result of one number of connections.
type stage struct {
	Connections  int     `json:"connections"`
	Requests     int     `json:"requests"`
	Errors       int     `json:"errors"` // Any status but 200, or an answer without items; the times are those of the others.
	P50          float64 `json:"p50_ms"`
	P99          float64 `json:"p99_ms"`
	PerSecond    float64 `json:"per_second"`
	MemoryBefore int64   `json:"memory_before,omitempty"` // Bytes that the service's process has in memory.
	MemoryDuring int64   `json:"memory_during,omitempty"` // The most that was measured.
	MemoryAfter  int64   `json:"memory_after,omitempty"`
}

// load describes the requests of a test.
type load struct {
	url         string
	metrics     string // Of the service's metrics; "" measures no memory.
	bodies      [][]byte
	connections []int
	requests    int
}

func main() {
	test, err := parse(os.Args[1:])
	if err == nil {
		err = test.run()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v.\n", err)
		os.Exit(1)
	}
}

func parse(arguments []string) (load, error) {
	test, k := load{connections: []int{1, 8, 32}, requests: 100_000}, 10
	flags := flag.NewFlagSet("loadtest", flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "loadtest URL HISTORIES.txt [flags]\n\nHISTORIES.txt has a history a line, items separated by tabs.")
		flags.PrintDefaults()
	}
	flags.Func("connections", "`numbers` of connections, a stage each (default 1,8,32)", func(text string) (err error) {
		test.connections, err = counts(text)
		return err
	})
	flags.StringVar(&test.metrics, "metrics", "", "`URL` of the service's metrics, such as http://localhost:9080/metrics, to measure its memory")
	flags.Func("requests", "`number` of requests of each stage (default 100000)", func(text string) (err error) {
		test.requests, err = count(text)
		return err
	})
	flags.Func("k", "`items` of a ranking (default 10)", func(text string) (err error) {
		k, err = count(text)
		return err
	})
	ids := flags.Bool("ids", false, "the items are ids")
	var positional []string
	for rest := arguments; len(rest) > 0; {
		_ = flags.Parse(rest)
		if rest = flags.Args(); len(rest) > 0 {
			positional, rest = append(positional, rest[0]), rest[1:]
		}
	}
	if len(positional) != 2 {
		flags.Usage()
		os.Exit(2)
	}
	test.url = strings.TrimRight(positional[0], "/")
	var err error
	test.bodies, err = readBodies(positional[1], k, *ids)
	return test, err
}

func counts(text string) ([]int, error) {
	var numbers []int
	for part := range strings.SplitSeq(text, ",") {
		number, err := count(part)
		if err != nil {
			return nil, errors.New("expected whole numbers of 1 or more, separated by commas")
		}
		numbers = append(numbers, number)
	}
	return numbers, nil
}

func count(text string) (int, error) {
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 {
		return 0, errors.New("expected a whole number of 1 or more")
	}
	return number, nil
}

// readBodies returns a request for each line of a file.
func readBodies(path string, k int, ids bool) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var bodies [][]byte
	for line := range strings.Lines(string(text)) {
		var history []any
		for item := range strings.SplitSeq(strings.TrimRight(line, "\r\n"), "\t") {
			if ids {
				history = append(history, json.Number(item))
			} else {
				history = append(history, item)
			}
		}
		body, err := json.Marshal(map[string]any{"history": history, "k": k})
		if err != nil {
			return nil, err
		}
		bodies = append(bodies, body)
	}
	if len(bodies) == 0 {
		return nil, fmt.Errorf("%s is empty: expected a history a line", path)
	}
	return bodies, nil
}

func (test load) run() error {
	failed := 0
	for _, connections := range test.connections {
		result, first, err := test.stage(connections)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
			return err
		}
		if first != nil {
			fmt.Fprintf(os.Stderr, "the first error with %d connections: %v.\n", connections, first)
		}
		failed += result.Errors
	}
	if failed > 0 {
		return fmt.Errorf("%d requests failed", failed)
	}
	return nil
}

// stage sends all requests; each connection sends one after the other. It also returns the first error of a request.
func (test load) stage(connections int) (result stage, first error, err error) {
	result = stage{Connections: connections, Requests: test.requests}
	client := &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections},
	}
	defer client.CloseIdleConnections()
	if result.MemoryBefore, err = test.memory(); err != nil {
		return result, nil, err
	}
	times := make([]time.Duration, test.requests) // 0 for a request that failed.
	var next atomic.Int64
	var once sync.Once
	var wait sync.WaitGroup
	start := time.Now()
	for range connections {
		wait.Go(func() {
			for at := next.Add(1) - 1; at < int64(test.requests); at = next.Add(1) - 1 {
				begin := time.Now()
				if err := test.ask(client, test.bodies[at%int64(len(test.bodies))]); err != nil {
					once.Do(func() { first = err })
					continue
				}
				times[at] = time.Since(begin)
			}
		})
	}
	var taken time.Duration
	done := make(chan struct{})
	go func() {
		wait.Wait()
		taken = time.Since(start)
		close(done)
	}()
	if result.MemoryDuring, err = test.mostMemory(done); err != nil {
		return result, nil, err
	}
	if result.MemoryAfter, err = test.memory(); err != nil {
		return result, nil, err
	}
	times = slices.DeleteFunc(times, func(taken time.Duration) bool { return taken == 0 })
	slices.Sort(times)
	result.P50, result.P99 = percentile(times, 50), percentile(times, 99)
	result.PerSecond, result.Errors = float64(len(times))/taken.Seconds(), test.requests-len(times)
	return result, first, nil
}

// ask sends one request; an answer without items is an error.
func (test load) ask(client *http.Client, body []byte) error {
	answer, err := client.Post(test.url+"/recommend", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	var ranking struct{ Items []any }
	if answer.StatusCode != http.StatusOK || json.Unmarshal(text, &ranking) != nil || len(ranking.Items) == 0 {
		return fmt.Errorf("status %d: %s", answer.StatusCode, bytes.TrimSpace(text))
	}
	return nil
}

// mostMemory measures twice a second until the stage is done.
func (test load) mostMemory(done <-chan struct{}) (most int64, err error) {
	ticker := time.NewTicker(time.Second / 2)
	defer ticker.Stop()
	for {
		now, err := test.memory()
		if err != nil {
			<-done
			return 0, err
		}
		most = max(most, now)
		select {
		case <-done:
			return most, nil
		case <-ticker.C:
		}
	}
}

// memory returns the resident memory of the service's process, from its metrics.
func (test load) memory() (int64, error) {
	if test.metrics == "" {
		return 0, nil
	}
	answer, err := http.Get(test.metrics)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "process_resident_memory_bytes "); ok {
			bytes, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int64(bytes), err
		}
	}
	return 0, fmt.Errorf("%s has no process_resident_memory_bytes: expected the service's metrics", test.metrics)
}

// percentile returns, in milliseconds, the time that this percentage of the sorted times does not exceed; 0 of no times.
func percentile(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*percent/100].Seconds() * 1000
}
