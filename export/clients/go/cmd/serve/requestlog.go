package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requestLog writes a line of JSON for each ranking that was answered. Requests do not wait for it: what would take more memory
// than it may, because the lines are read too slowly, is dropped and counted.
type requestLog struct {
	whole   bool // Lines have the requests; otherwise the digests of their histories.
	entries chan entry
	held    allowance
	written chan struct{} // Closed when all lines are written.
	dropped prometheus.Counter
}

// entry is a request that was answered.
type entry struct {
	at            time.Time
	id, version   string
	query, answer []byte // The bodies.
}

// line is the JSON of an entry.
type line struct {
	Time    time.Time       `json:"time"`
	Request string          `json:"request"`
	Version string          `json:"version"`
	Digest  string          `json:"history_sha256,omitempty"`
	Noise   json.RawMessage `json:"noise,omitempty"`
	Query   json.RawMessage `json:"query,omitempty"`
	Answer  json.RawMessage `json:"answer"`
}

func newRequestLog(whole bool, memory int64) *requestLog {
	l := &requestLog{
		whole: whole, entries: make(chan entry, 1<<14), written: make(chan struct{}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "recommend_log_dropped_total", Help: "Lines of the log of requests that were dropped because they were read too slowly.",
		}),
	}
	l.held.left.Store(memory)
	return l
}

// add has a line written, or drops it.
func (l *requestLog) add(e entry) {
	if l == nil {
		return
	}
	bytes := int64(len(e.query) + len(e.answer))
	if l.held.take(bytes) {
		select {
		case l.entries <- e:
			return
		default:
			l.held.left.Add(bytes)
		}
	}
	l.dropped.Inc()
}

// write writes the lines until the log is closed.
func (l *requestLog) write(to io.Writer) {
	defer close(l.written)
	buffered := bufio.NewWriter(to)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	for e := range l.entries {
		_ = lines.Encode(l.line(e)) // Its parts are JSON that was read or made before.
		l.held.left.Add(int64(len(e.query) + len(e.answer)))
		if len(l.entries) == 0 {
			_ = buffered.Flush() // Nobody reads the log: there is nowhere to say so.
		}
	}
	_ = buffered.Flush()
}

func (l *requestLog) line(e entry) line {
	one := line{Time: e.at, Request: e.id, Version: e.version, Answer: e.answer}
	query := bytes.ToValidUTF8(e.query, []byte("\ufffd")) // As it was read.
	if l.whole {
		one.Query = query
		return one
	}
	var fields struct{ History, Histories, Noise json.RawMessage }
	var compact bytes.Buffer
	_ = json.Unmarshal(query, &fields)
	one.Noise = fields.Noise
	_ = json.Compact(&compact, append(fields.History, fields.Histories...)) // The request has one of the two.
	digest := sha256.Sum256(compact.Bytes())
	one.Digest = hex.EncodeToString(digest[:])
	return one
}

// close waits until all lines are written, or for a while if they are not read.
func (l *requestLog) close(while time.Duration) {
	if l == nil {
		return
	}
	close(l.entries)
	select {
	case <-l.written:
	case <-time.After(while):
	}
}
