// The program itself: how it starts, answers and ends.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var program string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if os.Getenv("ONNXRUNTIME_LIB") == "" {
		fmt.Fprintln(os.Stderr, "ONNXRUNTIME_LIB is not set: the tests need the path of onnxruntime's shared library.")
		return 1
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	folder, err := os.MkdirTemp("", "serve")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	program = filepath.Join(folder, "serve")
	if built, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cmd/serve cannot be built: %s\n", built)
		return 1
	}
	return m.Run()
}

// process is a running program.
type process struct {
	*exec.Cmd
	url, metrics string
	log          *bufio.Reader // After the line that says that it is ready.
}

// start starts the program with a model.
func start(t *testing.T, arguments ...string) process {
	t.Helper()
	return begin(t, model("golden.onnx"), arguments...)
}

// begin starts the program with the model of a path. It is killed at the end of the test, if it still runs.
func begin(t *testing.T, path string, arguments ...string) process {
	t.Helper()
	arguments = append([]string{path, "-addr", "127.0.0.1:0", "-metrics-addr", "127.0.0.1:0"}, arguments...)
	p := process{Cmd: exec.Command(program, arguments...)}
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	p.log = bufio.NewReader(stderr)
	first, err := p.log.ReadString('\n')
	second, failed := p.log.ReadString('\n')
	match := regexp.MustCompile(`msg=ready addr=(\S+) metrics=(\S+) `).FindStringSubmatch(second)
	if err = errors.Join(err, failed); err != nil || match == nil || !strings.Contains(first, "msg=model version=") {
		t.Fatalf("%v, %s%s", err, first, second)
	}
	p.url, p.metrics = "http://"+match[1], "http://"+match[2]+"/metrics"
	return p
}

func (p process) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := p.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// end waits until the program has ended, and returns the rest of its log.
func (p process) end() (string, error) {
	log, err := io.ReadAll(p.log)
	return string(log), errors.Join(err, p.Wait())
}

// ready tells whether the program takes requests.
func (p process) ready() bool {
	answer, err := http.Get(p.url + "/readyz")
	if err == nil {
		_ = answer.Body.Close()
	}
	return err == nil && answer.StatusCode == 200
}

func TestARollingUpdateLosesNothing(t *testing.T) {
	var taken atomic.Pointer[[]process] // Those that get requests.
	taken.Store(&[]process{start(t, "-wait", "10s", "-drain-delay", "1s"), start(t, "-gpu", "-wait", "10s", "-drain-delay", "1s")})
	var answered atomic.Int32
	var done atomic.Bool
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for n := worker; !done.Load(); n++ {
				current := *taken.Load()
				answer, err := http.Post(current[n%len(current)].url+"/recommend", "application/json", strings.NewReader(`{"history": ["42"]}`))
				if err != nil {
					t.Error(err)
					return
				}
				text, err := io.ReadAll(answer.Body)
				_ = answer.Body.Close()
				if err != nil || answer.StatusCode != 200 || !bytes.HasSuffix(text, []byte("]}\n")) {
					t.Errorf("%d %s, %v", answer.StatusCode, text, err)
				}
				answered.Add(1)
			}
		})
	}
	for n, end := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		before := answered.Load()
		until(t, func() bool { return answered.Load() > before+200 })
		current := *taken.Load()
		old := current[n]
		old.signal(t, syscall.SIGHUP) // It stays.
		old.signal(t, end)
		until(t, func() bool { return !old.ready() })
		current = slices.Clone(current)
		current[n] = start(t, "-wait", "10s")
		taken.Store(&current)
		log, err := old.end()
		if err != nil || !strings.HasSuffix(log, "msg=stopped\n") || strings.Count(log, "\n") != 2 {
			t.Errorf("%v: %v, %s", end, err, log)
		}
	}
	done.Store(true)
	wait.Wait()
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	p := start(t, "-drain-delay", "20s")
	p.signal(t, syscall.SIGTERM)
	until(t, func() bool { return !p.ready() })
	answer, err := http.Post(p.url+"/recommend", "application/json", strings.NewReader(`{"history": ["42"]}`))
	if err != nil || answer.StatusCode != 200 || !answer.Close { // It still answers, and closes the connection.
		t.Errorf("%v, %v", answer, err)
	}
	begin := time.Now()
	p.signal(t, syscall.SIGTERM)
	if log, err := p.end(); err == nil || strings.Contains(log, "stopped") || time.Since(begin) > 10*time.Second {
		t.Errorf("%v, %s", err, log)
	}
}

func TestTheLoadTest(t *testing.T) {
	p := start(t)
	for _, c := range []struct{ histories, message, times string }{
		{"42\t7\n\n日本\n", "", `"errors":0,"p50_ms":0.…`},
		{"42\tcafé\t007\ta b\t7\t日本\tx,y\t99999999999999999999\n", "40 requests failed.\n", `"errors":20,"p50_ms":0,"p99_ms":0,"per_second":0,`},
	} {
		file := filepath.Join(t.TempDir(), "histories.txt")
		if err := os.WriteFile(file, []byte(c.histories), 0o600); err != nil {
			t.Fatal(err)
		}
		process := exec.Command("go", "run", "../loadtest", p.url, file, "-metrics", p.metrics, "-connections", "1,3", "-requests", "20")
		var stdout, stderr bytes.Buffer
		process.Stdout, process.Stderr = &stdout, &stderr
		if err := process.Run(); (err == nil) != (c.message == "") || !strings.Contains(stderr.String(), c.message) {
			t.Errorf("%v, %s", err, &stderr)
		}
		lines := `{"connections":1,"requests":20,` + c.times + `…,"memory_after":…}…{"connections":3,"requests":20,…,"memory_after":…}`
		if text := strings.ReplaceAll(stdout.String(), "\n", " "); !like(text, lines) {
			t.Error(text)
		}
	}
}

func TestARequestAtWorkIsFinished(t *testing.T) {
	p := start(t, "-drain-delay", "0s")
	connection, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	body := `{"history": ["42"], "k": 1}`
	fmt.Fprintf(connection, "POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:5])
	time.Sleep(100 * time.Millisecond) // The request has begun.
	p.signal(t, syscall.SIGTERM)
	until(t, func() bool { _, err := net.Dial("tcp", connection.RemoteAddr().String()); return err != nil })
	fmt.Fprint(connection, body[5:])
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil || answer.StatusCode != 200 {
		t.Errorf("%v, %v", answer, err)
	}
	if log, err := p.end(); err != nil {
		t.Errorf("%v, %s", err, log)
	}
}

func TestTheProgramSaysWhyItCannotStart(t *testing.T) {
	for _, c := range []struct {
		arguments []string
		code      int
		message   string
	}{
		{[]string{"missing.onnx"}, 1, "missing.onnx is missing: expected a model exported with --io tokens or --io ids.\n"},
		{[]string{model("golden.onnx"), "-addr", "256.0.0.1:0"}, 1, "listen tcp"},
		{[]string{model("golden.onnx"), "-addr", "127.0.0.1:0", "-metrics-addr", "256.0.0.1:0"}, 1, "the metrics need another -metrics-addr: listen tcp"},
		{[]string{model("golden.onnx"), "-max-k", "0"}, 2, "invalid value \"0\" for flag -max-k: expected a whole number of 1 or more"},
		{[]string{model("golden.onnx"), "-wait", "-5s"}, 2, "invalid value \"-5s\" for flag -wait: expected a time of more than 0"},
		{[]string{model("golden.onnx"), "-drain-delay", "1m"}, 2, "-drain-delay is 1m0s: expected 0s to -drain, 25s.\n"},
		{[]string{model("golden.onnx"), "-max-memory", "63"}, 1, "-max-memory is 63: a body of -max-body, 1048576 bytes, needs 64 or more.\n"},
		{[]string{"."}, 1, ". is a folder without a version: expected 1/model.onnx.\n"},
		{[]string{model("golden.damaged.onnx")}, 1, model("golden.damaged.onnx") + " is damaged: the SHA-256 of its weights is "},
		{[]string{model("golden.onnx"), "-blocked", "missing.txt"}, 1, "the file of -blocked cannot be read: open missing.txt: no such file or directory.\n"},
		{[]string{model("golden.onnx"), "-check", "missing.jsonl"}, 1, "the file of -check cannot be read: open missing.jsonl: no such file or directory.\n"},
		{[]string{model("golden.onnx"), "-max-loss", "0.1"}, 2, "-max-loss needs -check, a file with requests and the items that they expect.\n"},
		{[]string{model("golden.onnx"), "-log-requests", "all"}, 2, "-log-requests is \"all\": expected history or digest.\n"},
		{[]string{model("golden.onnx"), "-batch-wait", "2s"}, 2, "-batch-wait is 2s: expected 0s to 1s.\n"},
		{[]string{model("golden.onnx"), "more"}, 2, "serve MODEL.onnx [flags]"},
		{nil, 2, "serve MODEL.onnx [flags]"},
	} {
		late, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		process := exec.CommandContext(late, program, c.arguments...)
		output, _ := process.CombinedOutput()
		if process.ProcessState.ExitCode() != c.code || !strings.Contains("\n"+string(output), "\n"+c.message) {
			t.Errorf("%q: %d %s", c.arguments, process.ProcessState.ExitCode(), output)
		}
	}
}
