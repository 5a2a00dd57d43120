// The body of a request, and the limits that it must keep.
package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"recbole-multvae/recommend"
)

// limits bound what a request, and all of them together, may cost.
type limits struct {
	body     positive      // Bytes of a body.
	history  positive      // Items of a history.
	list     positive      // Items of a list exclude or among.
	batch    positive      // Histories of a request.
	padded   positive      // Number of histories times the length of the longest; lists likewise.
	k        positive      // Items of a ranking.
	answer   positive      // Numbers of an answer: histories times k; with reasons, times the longest history.
	together positive      // Histories that are ranked at once, if they come in several requests.
	pause    time.Duration // How long requests wait for others that are ranked with them.
	memory   positive      // MiB that all requests may take.
	working  positive      // Batches of requests that are ranked at once.
	waiting  positive      // Requests that wait to be ranked.
	wait     span
}

// query is a parsed request.
type query[T recommend.Item] struct {
	histories [][]T
	k         int
	options   recommend.Options[T]
	one       bool  // The request, and so the answer, is for one person.
	named     bool  // The answer names the unknown items.
	unknown   [][]T // Those of each history.
}

// parse reads a body, which must be a JSON object with known fields of the right types.
func parseQuery[T recommend.Item](body []byte) (query[T], error) {
	q := query[T]{k: 10}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return q, bad("the body is no JSON object")
	}
	_, q.one = fields["history"]
	if _, many := fields["histories"]; many == q.one {
		return q, bad("expected history, for one person, or histories, for several")
	}
	items := "tokens"
	if _, ids := any(q).(query[int64]); ids {
		items = "ids"
	}
	oneOrMany := "a list of " + items + ", or one for each history"
	for name, raw := range fields {
		var understood bool
		var expected string
		switch name {
		case "history":
			var one []T
			one, understood = list[T](raw)
			q.histories = [][]T{one}
			expected = "a list of " + items
		case "histories":
			q.histories, understood = listOfLists[T](raw)
			expected = "lists of " + items
		case "k":
			understood = string(raw) != "null" && json.Unmarshal(raw, &q.k) == nil
			expected = "a whole number"
		case "exclude":
			q.options.Exclude, understood = lists[T](raw)
			expected = oneOrMany
		case "among":
			q.options.Among, understood = lists[T](raw)
			expected = oneOrMany
		case "noise":
			q.options.Noise, understood = lists[float32](raw)
			expected = "a list of numbers, or one for each history"
		case "unknown":
			understood = string(raw) != "null" && json.Unmarshal(raw, &q.named) == nil
			expected = "true or false"
		default:
			return q, bad("the field %.40q is unknown: expected history or histories, k, exclude, among, noise, unknown", name)
		}
		if !understood {
			return q, bad("%s is not understood: expected %s", name, expected)
		}
	}
	return q, nil
}

// list reads a list without nulls.
func list[T any](raw json.RawMessage) ([]T, bool) {
	var values []T
	if json.Unmarshal(raw, &values) != nil || values == nil {
		return nil, false
	}
	if !bytes.Contains(raw, []byte("null")) {
		return values, true
	}
	var pointers []*T // nil for a null, which the values do not tell.
	if json.Unmarshal(raw, &pointers) != nil || slices.Contains(pointers, nil) {
		return nil, false
	}
	return values, true
}

// listOfLists reads lists without nulls. It keeps no text of the rows: of empty ones that would take more than the values.
func listOfLists[T any](raw json.RawMessage) ([][]T, bool) {
	rows, ok := list[[]T](raw)
	if !ok || !bytes.Contains(raw, []byte("null")) {
		return rows, ok
	}
	var pointers [][]*T
	err := json.Unmarshal(raw, &pointers)
	return rows, err == nil && !slices.ContainsFunc(pointers, func(row []*T) bool { return slices.Contains(row, nil) })
}

// lists reads one list for all histories, or a list for each.
func lists[T any](raw json.RawMessage) ([][]T, bool) {
	if one, ok := list[T](raw); ok {
		return [][]T{one}, true
	}
	return listOfLists[T](raw)
}

// check returns the size of a query; an error if it exceeds a limit. The client refuses what does not fit the model.
func (m *ranker[T]) check(q query[T], most limits) (size size, err error) {
	size.k = q.k
	if size.histories = len(q.histories); size.histories < 1 || size.histories > int(most.batch) {
		return size, bad("there are %d histories: expected 1 to %d", size.histories, most.batch)
	}
	if q.k < 1 || q.k > int(most.k) {
		return size, bad("k is %d: expected 1 to %d", q.k, most.k)
	}
	if size.longest, err = longest("history", q.histories, most.history, most.padded); err != nil {
		return size, err
	}
	size.exclude.count, size.among.count = len(q.options.Exclude), len(q.options.Among)
	if size.exclude.longest, err = longest("exclude", q.options.Exclude, most.list, most.padded); err != nil {
		return size, err
	}
	if size.among.longest, err = longest("among", q.options.Among, most.list, most.padded); err != nil {
		return size, err
	}
	if numbers := m.numbers(size); numbers > int(most.answer) {
		return size, bad("the answer has up to %d numbers: expected %d at most, of fewer histories or a smaller k", numbers, most.answer)
	}
	return size, nil
}

// longest returns the length of the longest row; an error if it, or all rows padded to it, are too large.
func longest[T any](name string, rows [][]T, most, mostPadded positive) (length int, err error) {
	for _, row := range rows {
		length = max(length, len(row))
	}
	if length > int(most) {
		return length, bad("%s has %d items: expected %d at most", name, length, most)
	}
	if len(rows)*length > int(mostPadded) {
		return length, bad("%s has %d lists, the longest of %d items: expected %d at most as their product", name, len(rows), length, mostPadded)
	}
	return length, nil
}
