// Requests wait here for their share of the memory. Those that wait are ranked together where that pays.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// size is what the time and the memory of a request depend on.
type size struct {
	histories, longest int // How many, and the items of the longest.
	exclude, among     rows
	k                  int
}

// rows are the lists of an option: how many, and the items of the longest.
type rows struct{ count, longest int }

// kind is what requests have in common that are ranked together.
type kind struct {
	model                 loaded
	blocked               any // The pointer to the items that are blocked.
	k                     int
	exclude, among, noise bool // The request has its own.
}

// with returns the size of two requests that are ranked together: each history then has lists of its own.
func (k kind) with(one, other size) size {
	one.histories += other.histories
	one.longest = max(one.longest, other.longest)
	if k.exclude {
		one.exclude = rows{one.histories, max(one.exclude.longest, other.exclude.longest)}
	}
	if k.among {
		one.among = rows{one.histories, max(one.among.longest, other.among.longest)}
	}
	return one
}

// job is a request that has been read. What ranks it sets the body of the answer, or the error, and closes done.
type job struct {
	kind
	size   size
	bytes  int64 // What it takes in memory, ranked alone.
	text   int64 // About what the text of its answer takes.
	query  any
	seen   seen
	places int
	done   chan struct{}
	answer []byte
	err    error
}

// queue ranks requests, the oldest first, each batch in places: each has an equal share of the memory, and a large request needs
// several.
type queue struct {
	share    int64 // Bytes of one place.
	count    int   // Places.
	most     int   // Histories of a batch.
	pause    time.Duration
	ranked   func(histories int) // Is told the size of each batch.
	mutex    sync.Mutex          // Guards what follows.
	free     int                 // Places.
	waiting  []*job
	answered time.Time   // When several requests were last answered together.
	timer    *time.Timer // Ends the pause.
}

func newQueue(limits limits, bytes int64) *queue {
	count := int(limits.working)
	return &queue{
		share: bytes / int64(count), count: count, free: count, most: int(limits.together), pause: limits.pause,
		ranked: func(int) {},
	}
}

// do returns when a job is done; an error if a context ends before it is begun.
func (q *queue) do(ctx context.Context, j *job) error {
	j.places = int((j.bytes + q.share - 1) / q.share)
	if j.places > q.count {
		return failure{http.StatusRequestEntityTooLarge, fmt.Sprintf("the request needs about %d MiB of memory: expected %d MiB at most, "+
			"of fewer or shorter histories or a smaller k", inMiB(j.bytes), int64(q.count)*q.share/mib)}
	}
	j.done = make(chan struct{})
	q.mutex.Lock()
	q.waiting = append(q.waiting, j)
	q.start()
	q.mutex.Unlock()
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
	}
	q.mutex.Lock()
	if at := slices.Index(q.waiting, j); at >= 0 {
		q.waiting = slices.Delete(q.waiting, at, at+1)
		q.start() // What waited behind it may need fewer places.
		q.mutex.Unlock()
		return ctx.Err()
	}
	q.mutex.Unlock()
	<-j.done
	return j.err
}

// start starts batches while there are places for the oldest request.
func (q *queue) start() {
	for len(q.waiting) > 0 && q.waiting[0].places <= q.free {
		batch, others, histories := q.gather()
		if rest := q.pause - time.Since(q.answered); rest > 0 && histories < q.most {
			if q.timer == nil { // Those who were just answered may ask again.
				q.timer = time.AfterFunc(rest, q.resume)
			}
			return
		}
		q.waiting = others
		q.free -= batch[0].places
		go q.rank(batch, histories)
	}
}

func (q *queue) resume() {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	q.timer = nil
	q.start()
}

// gather returns the oldest request with those that it pays to rank with it: they are of its kind, fit into its places, and are
// of lengths so near that padding at most doubles the memory that they take.
func (q *queue) gather() (batch, others []*job, histories int) {
	first, all := q.waiting[0], 0
	for _, j := range q.waiting {
		all += j.size.histories
	}
	most := min(q.most, (all+q.free-1)/q.free) // What waits is for all places that are free.
	together, alone, room := first.size, first.bytes, int64(first.places)*q.share
	batch = append(batch, first)
	for _, next := range q.waiting[1:] {
		joined := first.with(together, next.size)
		if next.kind != first.kind || joined.histories > most || first.model.cost(joined) > min(room, 2*(alone+next.bytes)) {
			others = append(others, next)
			continue
		}
		together, alone = joined, alone+next.bytes
		batch = append(batch, next)
	}
	return batch, others, together.histories
}

// rank does a batch, and gives its places back.
func (q *queue) rank(batch []*job, histories int) {
	defer func() {
		if cause := recover(); cause != nil {
			slog.Error("panic", "cause", cause, "stack", string(debug.Stack()))
			for _, j := range batch {
				j.answer, j.err = nil, fmt.Errorf("panic: %v", cause)
			}
		}
		q.mutex.Lock()
		q.free += batch[0].places
		if len(batch) > 1 {
			q.answered = time.Now()
		}
		q.start()
		q.mutex.Unlock()
		for _, j := range batch {
			close(j.done)
		}
	}()
	q.ranked(histories)
	batch[0].model.work(batch)
}
