package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// checks are requests that a model must answer before it is put in service. It must also find the items that are expected, nearly
// as well as the model that is in service.
type checks struct {
	path     string
	requests []check
	mostLoss float64
}

type check struct {
	line     int
	body     []byte
	expected []any
}

// readChecks reads a file with a request, as of a body, a line. The field expected is a list of items of later clicks.
func readChecks(path string, mostLoss float64) (checks, error) {
	c := checks{path: path, mostLoss: mostLoss}
	if path == "" {
		return c, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("the file of -check cannot be read: %w", err)
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if strings.TrimSpace(line) == "" {
			continue
		}
		one := check{line: number}
		var fields map[string]json.RawMessage
		err := json.Unmarshal([]byte(line), &fields)
		if raw, expected := fields["expected"]; err == nil && expected {
			err = json.Unmarshal(raw, &one.expected)
			delete(fields, "expected")
		}
		if err != nil || fields["history"] == nil {
			return c, c.at(one, errors.New("expected a JSON object with history and, if some items are expected, a list of them"))
		}
		one.body, _ = json.Marshal(fields)
		c.requests = append(c.requests, one)
	}
	return c, nil
}

func (c checks) at(one check, err error) error {
	return fmt.Errorf("line %d of %s: %w", one.line, c.path, err)
}

// accept refuses a model that does not answer a request, or loses too much against the former, if there is one.
func (c checks) accept(next, former *version, most limits) error {
	found, err := c.found(next, most)
	if err != nil || former == nil {
		return err
	}
	before, err := c.found(former, most)
	if err == nil && found < before*(1-c.mostLoss) {
		return fmt.Errorf("it finds %.4f of the items that %s expects, the model in service %.4f: -max-loss is %v", found, c.path, before, c.mostLoss)
	}
	return err
}

// found returns which share of the expected items a model ranks among the first k, on average over the requests that expect some.
func (c checks) found(v *version, most limits) (share float64, err error) {
	count := 0
	for _, one := range c.requests {
		j, err := v.prepare(one.body, most)
		if err == nil {
			v.work([]*job{j})
			err = j.err
		}
		if err != nil {
			return 0, c.at(one, err)
		}
		var answer struct{ Items []any }
		if err := json.Unmarshal(j.answer, &answer); err != nil || len(one.expected) == 0 {
			continue
		}
		hits := 0
		for _, item := range one.expected {
			if slices.Contains(answer.Items, item) {
				hits++
			}
		}
		count++
		share += float64(hits) / float64(min(len(one.expected), j.k))
	}
	return share / float64(max(count, 1)), nil
}
