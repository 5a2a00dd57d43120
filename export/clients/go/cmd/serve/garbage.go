package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// cycle is collected in the next cycle of Go's collector. It holds a pointer, as Go would put it beside others otherwise.
type cycle struct{ _ *cycle }

// boundGarbage makes Go collect before it has left a number of bytes uncollected. By itself it waits until they are as many as
// those in use, which after large bodies are tens of MiB. A lower share for all would cost small requests a fifth of their time.
func boundGarbage(most int64) {
	used, before := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}, 100
	var adjust func(struct{})
	adjust = func(struct{}) {
		metrics.Read(used)
		if percent := share(int64(used[0].Value.Uint64()), most); percent != before {
			before = percent
			debug.SetGCPercent(percent)
		}
		runtime.AddCleanup(&cycle{}, adjust, struct{}{})
	}
	adjust(struct{}{})
}

// share returns how many percent of the bytes in use may be left uncollected, 100 at most.
func share(used, most int64) int { return int(min(100, max(1, 100*most/max(1, used)))) }
