// What a request takes in memory, and the bytes that requests share.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
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
	// In the text of an answer: a score or a part of it, with its comma.
	textOfNumber = 12
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

// textsOf returns for each k the bytes of the k longest items in the text of an answer, each with its comma.
func textsOf[T recommend.Item](items []T) []int64 {
	texts := make([]int64, len(items)+1)
	for at, item := range items {
		text, _ := json.Marshal(item) // A text or a number never fails.
		texts[at+1] = int64(len(text)) + 1
	}
	slices.SortFunc(texts[1:], func(one, other int64) int { return cmp.Compare(other, one) })
	for k := range items {
		texts[k+1] += texts[k]
	}
	return texts
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
