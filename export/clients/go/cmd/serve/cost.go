// What a request takes in memory, and how requests share what there is.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"recbole-multvae/recommend"
)

const (
	mib = 1 << 20
	// For each history and each item of the catalogue: the scores, with and without the items of the history, where in the
	// history each item stands, and what finding the best takes. Measured: 17 to 25.
	bytesOfScore = 28
	// For each item of a history or a list: its token in Go and in onnxruntime, its id, and its place.
	bytesOfItem = 128
	// For each number of an answer: with its item, in onnxruntime, in Go and as JSON.
	bytesOfNumber = 128
	// For each byte of a body or an answer that is held: what is parsed from it, and what Go has not yet given back.
	bytesOfByte = 16
)

// inMiB rounds up.
func inMiB(bytes int64) int64 { return (bytes + mib - 1) / mib }

// costs are what a model takes in memory, in bytes.
type costs struct {
	history int64 // For each history.
	item    int64 // For each item of the padded histories and lists.
}

// spec is the entry model_spec of a file's metadata, as far as it tells how much is read for each item of a history.
type spec struct {
	Sizes      []int64
	Similarity string
	Entries    int64
	Members    []struct{ Spec spec }
}

// width returns how many numbers the model reads for each item of a history, at most.
func (s spec) width() (widest int64) {
	for _, member := range s.Members {
		widest = max(widest, member.Spec.width())
	}
	switch {
	case len(s.Members) > 0 || len(s.Sizes) < 2:
		return widest
	case s.Similarity == "sparse":
		return 16 * (s.Entries/s.Sizes[0] + 1) // Each with its place, as integers of 64 bits; popular items have more of them.
	case s.Similarity == "dense":
		return s.Sizes[1]
	}
	for _, units := range s.Sizes[1 : len(s.Sizes)-1] {
		widest = max(widest, units)
	}
	return widest
}

// costsOf reads the costs of a model from its metadata.
func costsOf(model *recommend.Model, reasons bool) (costs, error) {
	var described spec
	items, err := strconv.ParseInt(model.Metadata("n_items"), 10, 64)
	if err = errors.Join(err, json.Unmarshal([]byte(model.Metadata("model_spec")), &described)); err != nil {
		return costs{}, errors.New("the file's metadata does not tell the size of the model: export the model again")
	}
	read := 4 * described.width()
	if reasons {
		read *= 4 // Each item's part is also computed without it.
	}
	return costs{history: bytesOfScore * items, item: read + bytesOfItem}, nil
}

// allowance is a number of bytes that requests share.
type allowance struct{ left atomic.Int64 }

// take takes bytes, unless too few are left.
func (a *allowance) take(bytes int64) bool {
	if a.left.Add(-bytes) >= 0 {
		return true
	}
	a.left.Add(bytes)
	return false
}

// part is what one request has taken of an allowance.
type part struct {
	of    *allowance
	bytes int64
}

func (p *part) take(bytes int) bool {
	taken := p.of.take(int64(bytes))
	if taken {
		p.bytes += int64(bytes)
	}
	return taken
}

func (p *part) giveBack() { p.of.left.Add(p.bytes) }

// places are what requests are ranked in: each has an equal share of the memory, and a request may need several.
type places struct {
	share int64         // Bytes of one place.
	taken chan struct{} // Its capacity is the number of places.
	turn  chan struct{} // Held by the request that takes places, so that two never wait for each other.
}

func newPlaces(count int, bytes int64) *places {
	return &places{bytes / int64(count), make(chan struct{}, count), make(chan struct{}, 1)}
}

// needed returns how many places have so many bytes; an error if there are not as many.
func (p *places) needed(bytes int64) (int, error) {
	count := (bytes + p.share - 1) / p.share
	if most := int64(cap(p.taken)); count > most {
		return 0, fmt.Errorf("about %d MiB of memory: expected %d MiB at most", inMiB(bytes), most*p.share/mib)
	}
	return int(count), nil
}

// take waits for places, in the order of the calls.
func (p *places) take(ctx context.Context, count int) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for taken := range count {
		select {
		case p.taken <- struct{}{}:
		case <-ctx.Done():
			p.giveBack(taken)
			return ctx.Err()
		}
	}
	return nil
}

func (p *places) giveBack(count int) {
	for range count {
		<-p.taken
	}
}
