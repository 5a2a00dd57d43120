// The command bench times the client with one model and the histories of a file: one a line, tokens separated by tabs.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	ort "github.com/yalue/onnxruntime_go"

	"recbole-multvae/recommend"
)

const (
	k      = 10
	warmUp = 200
	batch  = 256
	rounds = 3
)

type result struct {
	Language    string  `json:"language"`
	Version     string  `json:"version"`
	Onnxruntime string  `json:"onnxruntime"`
	Provider    string  `json:"provider"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	PerSecond   float64 `json:"per_second"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%v.\n", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 2 {
		return errors.New("expected two arguments: bench MODEL.onnx HISTORIES.txt")
	}
	histories, err := read(arguments[1])
	if err != nil {
		return err
	}
	model, err := recommend.Load(arguments[0], recommend.Config{})
	if err != nil {
		return err
	}
	defer model.Close()
	for range warmUp {
		if _, err := timed(model, histories[:1]); err != nil {
			return err
		}
	}
	each, err := timedBatches(model, histories, 1)
	if err != nil {
		return err
	}
	best := time.Duration(0)
	for range rounds {
		times, err := timedBatches(model, histories, batch)
		if err != nil {
			return err
		}
		if total := sum(times); best == 0 || total < best {
			best = total
		}
	}
	slices.Sort(each)
	return json.NewEncoder(os.Stdout).Encode(result{
		Language: "Go", Version: runtime.Version(), Onnxruntime: ort.GetVersion(), Provider: model.Provider,
		P50: percentile(each, 50), P99: percentile(each, 99), PerSecond: float64(len(histories)) / best.Seconds(),
	})
}

func read(path string) ([][]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var histories [][]string
	for line := range strings.Lines(string(text)) {
		histories = append(histories, strings.Split(strings.TrimRight(line, "\r\n"), "\t"))
	}
	if len(histories) == 0 {
		return nil, fmt.Errorf("%s is empty: expected a history a line", path)
	}
	return histories, nil
}

// timedBatches ranks all histories once and returns the time of each batch.
func timedBatches(model *recommend.Model, histories [][]string, size int) ([]time.Duration, error) {
	var times []time.Duration
	for part := range slices.Chunk(histories, size) {
		taken, err := timed(model, part)
		if err != nil {
			return nil, err
		}
		times = append(times, taken)
	}
	return times, nil
}

// timed ranks a batch and returns how long it took, by the monotonic clock.
func timed(model *recommend.Model, histories [][]string) (time.Duration, error) {
	start := time.Now()
	_, err := recommend.Recommend(model, histories, k, recommend.Options[string]{})
	return time.Since(start), err
}

func sum(times []time.Duration) (total time.Duration) {
	for _, taken := range times {
		total += taken
	}
	return total
}

// percentile returns, in milliseconds, the time that this percentage of the sorted times does not exceed.
func percentile(sorted []time.Duration, percent int) float64 {
	return sorted[(len(sorted)-1)*percent/100].Seconds() * 1000
}
