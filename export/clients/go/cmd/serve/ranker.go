package main

import (
	"encoding/json"
	"fmt"
	"math"

	"recbole-multvae/recommend"
)

// job is a request that has been read: what it takes in memory, and the work that makes its answer.
type job struct {
	bytes int64
	work  func() ([]byte, error)
}

// loaded is a model that answers: it reads a body, whose items are tokens or ids as the model's.
type loaded interface {
	prepare(body []byte, most limits) (job, error)
}

// ranker is a loaded model.
type ranker[T recommend.Item] struct {
	rank    func(histories [][]T, k int, options recommend.Options[T]) (*recommend.Ranking[T], error)
	reasons bool
	costs   costs
}

// newLoaded returns a model that has answered a first request.
func newLoaded(model *recommend.Model) (loaded, error) {
	if model.IDs {
		return newRanker[int64](model)
	}
	return newRanker[string](model)
}

func newRanker[T recommend.Item](model *recommend.Model) (*ranker[T], error) {
	m := &ranker[T]{rank: func(histories [][]T, k int, options recommend.Options[T]) (*recommend.Ranking[T], error) {
		return recommend.Recommend(model, histories, k, options)
	}}
	first, err := m.rank([][]T{{}}, 1, recommend.Options[T]{})
	if err != nil {
		return nil, fmt.Errorf("the model does not answer: %w", err)
	}
	m.reasons = first.Reasons != nil
	m.costs, err = costsOf(model, m.reasons)
	return m, err
}

func (m *ranker[T]) prepare(body []byte, most limits) (job, error) {
	q, err := parseQuery[T](body)
	if err != nil {
		return job{}, err
	}
	bytes, err := m.check(q, most)
	return job{bytes, func() ([]byte, error) { return m.answer(q) }}, err
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

// answer ranks, and returns the body of the answer.
func (m *ranker[T]) answer(q query[T]) ([]byte, error) {
	result, err := m.rank(q.histories, q.k, q.options)
	if err != nil {
		return nil, err
	}
	all := make([]ranking[T], len(result.Items))
	for row := range all {
		all[row] = cut(result, row, len(q.histories[row]))
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
