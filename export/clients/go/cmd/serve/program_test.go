// The program itself: how it starts, answers and ends.
package main

import (
	"bufio"
	"bytes"
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

// start starts the program with a model. end waits until it has ended and returns the rest of its log.
func start(t *testing.T, arguments ...string) (process *exec.Cmd, url string, end func() (string, error)) {
	t.Helper()
	process = exec.Command(program, append([]string{model("golden.onnx"), "-addr", "127.0.0.1:0"}, arguments...)...)
	stderr, err := process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = process.Process.Kill() })
	lines := bufio.NewReader(stderr)
	first, err := lines.ReadString('\n')
	match := regexp.MustCompile(`msg=ready addr=(\S+) `).FindStringSubmatch(first)
	if err != nil || match == nil {
		t.Fatalf("%v, %s", err, first)
	}
	return process, "http://" + match[1], func() (string, error) {
		log, err := io.ReadAll(lines)
		return string(log), errors.Join(err, process.Wait())
	}
}

func TestTheProgramEndsCleanly(t *testing.T) {
	for _, end := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		process, url, finish := start(t, "-wait", "10s", "-gpu")
		if answer, err := http.Get(url + "/healthz"); err != nil || answer.StatusCode != 200 {
			t.Fatalf("%v, %v", answer, err)
		}
		var answered atomic.Int32
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				for {
					answer, err := http.Post(url+"/recommend", "application/json", strings.NewReader(`{"history": ["42"]}`))
					if err != nil {
						return // The service takes no more requests.
					}
					text, err := io.ReadAll(answer.Body)
					if err != nil || answer.StatusCode != 200 || !bytes.HasSuffix(text, []byte("]}\n")) {
						t.Errorf("%d %s, %v", answer.StatusCode, text, err)
					}
					answered.Add(1)
				}
			})
		}
		until(t, func() bool { return answered.Load() > 200 })
		if err := process.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		wait.Wait()
		if log, err := finish(); err != nil || !strings.HasSuffix(log, "msg=stopped\n") || strings.Count(log, "\n") != 2 {
			t.Errorf("%v: %v, %s", end, err, log)
		}
	}
}

func TestTheLoadTest(t *testing.T) {
	_, url, _ := start(t)
	for _, c := range []struct{ histories, message string }{
		{"42\t7\n\n日本\n", ""},
		{"42\tcafé\t007\ta b\t7\t日本\tx,y\t99999999999999999999\n", "40 requests failed.\n"},
	} {
		file := filepath.Join(t.TempDir(), "histories.txt")
		if err := os.WriteFile(file, []byte(c.histories), 0o600); err != nil {
			t.Fatal(err)
		}
		process := exec.Command("go", "run", "../loadtest", url, file, "-connections", "1,3", "-requests", "20")
		var stdout, stderr bytes.Buffer
		process.Stdout, process.Stderr = &stdout, &stderr
		if err := process.Run(); (err == nil) != (c.message == "") || !strings.Contains(stderr.String(), c.message) {
			t.Errorf("%v, %s", err, &stderr)
		}
		lines := `{"connections":1,"requests":20,…,"memory_after":…}…{"connections":3,"requests":20,…,"memory_after":…}`
		if text := strings.ReplaceAll(stdout.String(), "\n", " "); !like(text, lines) {
			t.Error(text)
		}
	}
}

func TestARequestAtWorkIsFinished(t *testing.T) {
	process, url, finish := start(t)
	connection, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	body := `{"history": ["42"], "k": 1}`
	fmt.Fprintf(connection, "POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:5])
	time.Sleep(100 * time.Millisecond) // The request has begun.
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { _, err := net.Dial("tcp", connection.RemoteAddr().String()); return err != nil })
	fmt.Fprint(connection, body[5:])
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil || answer.StatusCode != 200 {
		t.Errorf("%v, %v", answer, err)
	}
	if log, err := finish(); err != nil {
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
		{[]string{model("golden.onnx"), "-max-k", "0"}, 2, "invalid value \"0\" for flag -max-k: expected a whole number of 1 or more"},
		{[]string{model("golden.onnx"), "more"}, 2, "serve MODEL.onnx [flags]"},
		{nil, 2, "serve MODEL.onnx [flags]"},
	} {
		process := exec.Command(program, c.arguments...)
		output, _ := process.CombinedOutput()
		if process.ProcessState.ExitCode() != c.code || !strings.HasPrefix(string(output), c.message) {
			t.Errorf("%q: %d %s", c.arguments, process.ProcessState.ExitCode(), output)
		}
	}
}
