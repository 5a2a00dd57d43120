package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync/atomic"

	"recbole-multvae/recommend"
)

// loaded is a model that answers. Its items are tokens or ids.
type loaded interface {
	prepare(body []byte, most limits) (*job, error) // Reads a request.
	cost(size size) int64                           // Returns the bytes that a request takes.
	work(batch []*job)                              // Ranks requests of one kind.
	block(items []string) (unknown int, err error)  // Leaves items out of the rankings of later requests.
	lacks(other loaded) int                         // Returns how many items of another model it does not know.
}

// ranker is a loaded model.
type ranker[T recommend.Item] struct {
	model   *recommend.Model
	rank    func(histories [][]T, k int, options recommend.Options[T]) (*recommend.Ranking[T], error)
	reasons bool
	costs   costs
	known   map[T]struct{}      // The catalogue.
	texts   []int64             // See textsOf.
	blocked atomic.Pointer[[]T] // Items that are left out of all rankings.
}

// newLoaded returns a model that has answered a first request.
func newLoaded(model *recommend.Model) (loaded, error) {
	if model.IDs {
		return newRanker[int64](model)
	}
	return newRanker[string](model)
}

func newRanker[T recommend.Item](model *recommend.Model) (*ranker[T], error) {
	m := &ranker[T]{model: model, known: map[T]struct{}{}}
	m.rank = func(histories [][]T, k int, options recommend.Options[T]) (*recommend.Ranking[T], error) {
		return recommend.Recommend(model, histories, k, options)
	}
	m.blocked.Store(new([]T))
	all, err := m.rank([][]T{{}}, math.MaxInt32, recommend.Options[T]{}) // A k above the catalogue is cut.
	if err != nil {
		return nil, fmt.Errorf("the model does not answer: %w", err)
	}
	for _, item := range all.Items[0] {
		m.known[item] = struct{}{}
	}
	m.texts = textsOf(all.Items[0])
	m.reasons = all.Reasons != nil
	m.costs, err = costsOf(model, m.reasons)
	return m, err
}

func (m *ranker[T]) lacks(other loaded) (count int) {
	for item := range other.(*ranker[T]).known { // Both are of tokens, or of ids.
		if _, known := m.known[item]; !known {
			count++
		}
	}
	return count
}

func (m *ranker[T]) block(items []string) (unknown int, err error) {
	blocked := make([]T, len(items))
	for at, item := range items {
		switch into := any(&blocked[at]).(type) {
		case *string:
			*into = item
		case *int64:
			if *into, err = strconv.ParseInt(item, 10, 64); err != nil {
				return 0, fmt.Errorf("%.40q is no id", item)
			}
		}
		if _, known := m.known[blocked[at]]; !known {
			unknown++
		}
	}
	if len(blocked) > 0 {
		if err := recommend.Check(m.model, nil, 1, recommend.Options[T]{Exclude: [][]T{blocked}}); err != nil {
			return 0, err // The former items stay, as every later request would be refused.
		}
	}
	m.blocked.Store(&blocked)
	return unknown, nil
}

// prepare reads a request. The items that are blocked at that moment join those that it excludes.
func (m *ranker[T]) prepare(body []byte, most limits) (*job, error) {
	q, err := parseQuery[T](body)
	if err != nil {
		return nil, err
	}
	size, err := m.check(q, most)
	if err != nil {
		return nil, err
	}
	blocked := m.blocked.Load()
	j := &job{kind: kind{m, blocked, q.k, q.options.Exclude != nil, size.among.longest > 0, q.options.Noise != nil}, size: size}
	if len(*blocked) > 0 {
		q.options.Exclude = orOne(q.options.Exclude)
		for at, row := range q.options.Exclude {
			q.options.Exclude[at] = append(row, *blocked...)
		}
		j.size.exclude = rows{len(q.options.Exclude), size.exclude.longest + len(*blocked)}
	}
	unknown, seen := m.seen(q.histories)
	if j.seen = seen; q.named {
		q.unknown = unknown
	}
	j.query, j.bytes, j.text = q, m.cost(j.size), m.text(j.size)
	return j, recommend.Check(m.model, q.histories, q.k, q.options)
}

// orOne returns rows, or one that is empty.
func orOne[T any](rows [][]T) [][]T {
	if len(rows) == 0 {
		return make([][]T, 1)
	}
	return rows
}

// seen finds the items of the histories that the model does not know, and counts all.
func (m *ranker[T]) seen(histories [][]T) (unknown [][]T, seen seen) {
	var padding T
	unknown = make([][]T, len(histories))
	for row, history := range histories {
		unknown[row] = []T{}
		for _, item := range history {
			if item == padding {
				continue
			}
			seen.items++
			if _, known := m.known[item]; !known {
				unknown[row] = append(unknown[row], item)
				seen.unknown++
				seen.example = item
			}
		}
	}
	return unknown, seen
}

// cost returns the bytes that a request takes to be ranked.
func (m *ranker[T]) cost(size size) int64 {
	listed := size.histories*size.longest + size.exclude.count*size.exclude.longest + size.among.count*size.among.longest
	return int64(size.histories)*m.costs.history + int64(listed)*m.costs.item + int64(m.numbers(size))*bytesOfNumber
}

// numbers returns how many an answer has.
func (m *ranker[T]) numbers(size size) int {
	if m.reasons {
		return size.histories * size.k * max(size.longest, 1)
	}
	return size.histories * size.k
}

// text returns about how many bytes the text of an answer has.
func (m *ranker[T]) text(size size) int64 {
	size.k = min(size.k, len(m.texts)-1)
	if size.among.longest > 0 {
		size.k = min(size.k, size.among.longest)
	}
	numbers := size.histories * size.k
	if m.reasons {
		numbers += m.numbers(size)
	}
	return int64(size.histories)*m.texts[size.k] + int64(numbers)*textOfNumber
}

// work ranks requests of one kind together. If that fails, each is ranked alone, so that only those fail that must.
func (m *ranker[T]) work(batch []*job) {
	all := joined[T](batch)
	result, err := m.rank(all.histories, all.k, all.options)
	if err != nil && len(batch) > 1 {
		for at := range batch {
			m.work(batch[at : at+1])
		}
		return
	}
	row := 0
	for _, j := range batch {
		if j.err = err; err == nil {
			q := j.query.(query[T])
			j.answer, j.err = q.answer(result, row)
			row += len(q.histories)
		}
	}
}

// joined returns the queries of jobs of one kind as one.
func joined[T recommend.Item](batch []*job) query[T] {
	all := batch[0].query.(query[T])
	for _, j := range batch[1:] {
		q := j.query.(query[T])
		if j.exclude {
			all.options.Exclude = concat(all.options.Exclude, len(all.histories), q.options.Exclude, len(q.histories))
		}
		if j.among {
			all.options.Among = concat(all.options.Among, len(all.histories), q.options.Among, len(q.histories))
		}
		if j.noise {
			all.options.Noise = concat(all.options.Noise, len(all.histories), q.options.Noise, len(q.histories))
		}
		all.histories = slices.Concat(all.histories, q.histories)
	}
	return all
}

// concat returns rows, one for each history, for the histories of two requests. Either may have one row for all of its own.
func concat[T any](rows [][]T, histories int, others [][]T, otherHistories int) [][]T {
	if len(rows) < histories {
		rows = slices.Repeat(rows, histories)
	}
	if len(others) < otherHistories {
		others = slices.Repeat(others, otherHistories)
	}
	return slices.Concat(rows, others)
}

// ranking is the answer for one history, without padding; reasons if the file has them, unknown if the request asks for it.
type ranking[T recommend.Item] struct {
	Items   []T         `json:"items"`
	Scores  []float32   `json:"scores"`
	Reasons [][]float32 `json:"reasons,omitzero"`
	Unknown []T         `json:"unknown,omitzero"`
}

type rankings[T recommend.Item] struct {
	Rankings []ranking[T] `json:"rankings"`
}

// answer returns the body of the answer, from the rows of a result that begin with this one.
func (q query[T]) answer(result *recommend.Ranking[T], from int) ([]byte, error) {
	all := make([]ranking[T], len(q.histories))
	for at, history := range q.histories {
		all[at] = cut(result, from+at, len(history))
		if q.unknown != nil {
			all[at].Unknown = q.unknown[at]
		}
	}
	if q.one {
		return json.Marshal(all[0])
	}
	return json.Marshal(rankings[T]{all})
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
