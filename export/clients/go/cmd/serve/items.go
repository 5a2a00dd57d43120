package main

import (
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// leastItems is how many items are looked at before their share is told.
const leastItems = 100

// seen are items of histories.
type seen struct {
	items, unknown int
	example        any // Of an unknown item.
}

// itemCounts count the items of all histories, and those that the model does not know: they are many where a shop has new tokens.
type itemCounts struct {
	counter *prometheus.CounterVec
	mutex   sync.Mutex
	since   seen // The last report.
}

func newItemCounts() *itemCounts {
	return &itemCounts{counter: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "recommend_history_items_total", Help: "Items of histories, by whether the model knows them.",
	}, []string{"known"})}
}

func (c *itemCounts) add(more seen) {
	c.counter.WithLabelValues("true").Add(float64(more.items - more.unknown))
	c.counter.WithLabelValues("false").Add(float64(more.unknown))
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.since.items += more.items
	if c.since.unknown += more.unknown; more.unknown > 0 {
		c.since.example = more.example
	}
}

// report warns if more than a share of the items since the last report is unknown.
func (c *itemCounts) report(most float64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.since.items < leastItems {
		return
	}
	if share := float64(c.since.unknown) / float64(c.since.items); share > most {
		slog.Warn("the model does not know many items of the histories", "share", share, "items", c.since.items, "example", c.since.example)
	}
	c.since = seen{}
}
