// Which model answers: the newest that is good, of a file or of a folder of versions.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"recbole-multvae/recommend"
)

// candidate is a file that may be served.
type candidate struct {
	path   string
	number uint64 // The name of its folder of versions; 0 for a file that is named itself.
	mark   string // Changes with the file.
}

// candidates returns the files that a path names, the newest version first: the path is a file, or a folder that has, as for
// Triton, a folder with the file model.onnx for each version, whose name is a number.
func candidates(path string) ([]candidate, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []candidate{{path: path, mark: mark(path)}}, nil // If it is missing, its opening says so.
	}
	folders, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var found []candidate
	for _, folder := range folders {
		number, err := strconv.ParseUint(folder.Name(), 10, 63)
		file := filepath.Join(path, folder.Name(), "model.onnx")
		if err != nil || number == 0 || strconv.FormatUint(number, 10) != folder.Name() {
			continue
		}
		if mark := mark(file); mark != "" {
			found = append(found, candidate{file, number, mark})
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s is a folder without a version: expected %s", path, filepath.Join(path, "1", "model.onnx"))
	}
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Compare(b.number, a.number) })
	return found, nil
}

// mark returns what changes when a file is replaced or written; "" if it is missing.
func mark(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	inode := uint64(0)
	if system, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = system.Ino
	}
	return fmt.Sprint(info.ModTime().UnixNano(), info.Size(), inode)
}

// version is a model that is, or was, in service.
type version struct {
	loaded
	*recommend.Model
	candidate
	name  string       // What answers, metrics and the log call it.
	users sync.RWMutex // Requests hold it for reading, what closes the model for writing.
}

// unread is no mark of a file.
const unread = "unread"

// versions keeps the newest good model in service.
type versions struct {
	path, blockedPath string
	config            recommend.Config
	counts            *itemCounts
	accept            func(next, former *version) error // Refuses a model; the former may be nil.
	current           atomic.Pointer[version]
	refused           map[candidate]bool // They are not tried again before they change.
	blockedMark       string
	blocked           []string
	info              *prometheus.GaugeVec
	loads             *prometheus.CounterVec
	blockedItems      prometheus.Gauge
}

func newVersions(path, blockedPath string, config recommend.Config) *versions {
	return &versions{
		path: path, blockedPath: blockedPath, config: config, counts: newItemCounts(), refused: map[candidate]bool{},
		blockedMark: unread,
		info: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "recommend_model_info", Help: "The model that answers; its value is 1.",
		}, []string{"version", "model", "trained_at", "weights_sha256"}),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "recommend_model_loads_total", Help: "Models that were opened, by whether they were put in service or refused.",
		}, []string{"result"}),
		blockedItems: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "recommend_blocked_items", Help: "Items of the file -blocked.",
		}),
	}
}

func (v *versions) metrics() []prometheus.Collector {
	return []prometheus.Collector{v.info, v.loads, v.blockedItems, v.counts.counter}
}

// hold returns the model that answers now. It stays open until it is let go.
func (v *versions) hold() (held *version, release func()) {
	for {
		if held = v.current.Load(); held.users.TryRLock() { // It fails once another has taken its place.
			return held, held.users.RUnlock
		}
	}
}

// start puts the first model in service. Errors of newer ones are logged if an older one of the folder is good.
func (v *versions) start() error {
	if err := v.refreshBlocked(); err != nil {
		return err
	}
	err := v.refresh()
	if v.current.Load() == nil {
		return err
	}
	v.tell(err)
	return nil
}

// watch keeps what is in service up to date, and reports unknown items.
func (v *versions) watch(every time.Duration, hangups <-chan os.Signal, mostUnknown float64) {
	looks := time.Tick(every)
	for {
		select {
		case <-looks:
		case <-hangups:
			clear(v.refused)
			v.blockedMark = unread
		}
		v.tell(v.refreshBlocked())
		v.tell(v.refresh())
		v.counts.report(mostUnknown)
	}
}

func (v *versions) tell(err error) {
	if err != nil {
		slog.Error("the model or the blocked items stay as they are", "cause", err)
	}
}

// refresh puts the newest good model in service, unless it is, and returns why it cannot.
func (v *versions) refresh() error {
	found, err := candidates(v.path)
	if err != nil {
		return err
	}
	former := v.current.Load()
	for _, next := range found {
		if former != nil && former.candidate == next {
			return err
		}
		if v.refused[next] {
			continue
		}
		opened, failed := v.open(next, former)
		if failed == nil {
			v.loads.WithLabelValues("served").Inc()
			v.swap(opened, former)
			return err
		}
		v.loads.WithLabelValues("refused").Inc()
		err = errors.Join(err, failed)
		v.refused[next] = true
	}
	return err
}

// open opens a model, and refuses it if it cannot take the place of the former.
func (v *versions) open(next candidate, former *version) (*version, error) {
	model, err := recommend.Load(next.path, v.config)
	if err != nil {
		return nil, err
	}
	opened := &version{Model: model, candidate: next, name: strconv.FormatUint(cmp.Or(next.number, uint64(model.Version)), 10)}
	if opened.loaded, err = newLoaded(model); err == nil {
		err = v.try(opened, former)
	}
	if err != nil {
		model.Close()
		return nil, fmt.Errorf("%s: %w", next.path, err)
	}
	return opened, nil
}

// try returns why a model cannot take the place of the former. One of a lower number is what one goes back to: it may be worse.
func (v *versions) try(opened, former *version) error {
	if err := opened.replaces(former); err != nil {
		return err
	}
	if _, err := opened.block(v.blocked); err != nil {
		return err
	}
	if former != nil && opened.number < former.number {
		former = nil
	}
	return v.accept(opened, former)
}

// replaces returns an error if requests that the former model answers would be refused, or understood in another way.
func (v *version) replaces(former *version) error {
	if former == nil {
		return nil
	}
	if v.IDs != former.IDs {
		return errors.New("one of this model and the one in service has ids, the other tokens: export it with the same --io")
	}
	if key := "item_tokens_sha256"; v.IDs && v.Metadata(key) != former.Metadata(key) {
		return errors.New("its ids stand for other items than those of the model in service: export it with --io tokens, or start the service again")
	}
	for _, option := range former.options() {
		if !slices.Contains(v.options(), option) && v.number >= former.number {
			return fmt.Errorf("it lacks %s, which the model in service has: export it with --%s", option, option)
		}
	}
	return nil
}

// options returns those that the file was exported with.
func (v *version) options() (names []string) {
	_ = json.Unmarshal([]byte(v.Metadata("options")), &names) // A file without options has no such entry.
	return names
}

// swap gives later requests another model. The former is closed when its requests are answered.
func (v *versions) swap(next, former *version) {
	v.current.Store(next)
	v.info.Reset()
	v.info.WithLabelValues(next.name, next.Metadata("model"), next.Metadata("trained_at"), next.Metadata("weights_sha256")).Set(1)
	described := []any{"version", next.name, "path", next.path}
	for _, key := range []string{"model", "trained_at", "test_metrics", "weights_sha256"} {
		described = append(described, key, next.Metadata(key))
	}
	if former != nil {
		described = append(described, "former", former.name, "new_items", former.lacks(next.loaded), "gone_items", next.lacks(former.loaded))
		go func() {
			former.users.Lock()
			former.Close()
			debug.FreeOSMemory()
		}()
	}
	slog.Info("model", described...)
}

// refreshBlocked reads the file of blocked items, if it has changed: a token, or an id, a line.
func (v *versions) refreshBlocked() error {
	now := mark(v.blockedPath)
	if v.blockedPath == "" || now == v.blockedMark {
		return nil
	}
	v.blockedMark = now
	text, err := os.ReadFile(v.blockedPath)
	if err != nil {
		return fmt.Errorf("the file of -blocked cannot be read: %w", err)
	}
	blocked := []string{}
	for line := range strings.Lines(string(text)) {
		if item := strings.TrimRight(line, "\r\n"); item != "" {
			blocked = append(blocked, item)
		}
	}
	unknown := 0
	if current := v.current.Load(); current != nil { // Otherwise what is opened first refuses what it must.
		if unknown, err = current.block(blocked); err != nil {
			return fmt.Errorf("%s: %w", v.blockedPath, err)
		}
	}
	v.blocked = blocked
	v.blockedItems.Set(float64(len(blocked)))
	slog.Info("blocked items", "count", len(blocked), "unknown", unknown)
	return nil
}
