package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain runs the command instead of the tests in a process that TestTheCommandLine starts.
func TestMain(m *testing.M) {
	if os.Getenv("LOADTEST") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestTheCommandLine(t *testing.T) {
	for _, c := range []struct {
		arguments, message string
		code               int
	}{
		{"-requests 0", "invalid value \"0\" for flag -requests: expected a whole number of 1 or more\n", 2},
		{"-k -5", "invalid value \"-5\" for flag -k: expected a whole number of 1 or more\n", 2},
		{"-connections 1,-8", "invalid value \"1,-8\" for flag -connections: expected whole numbers of 1 or more, separated by commas\n", 2},
		{"", "loadtest URL HISTORIES.txt [flags]\n", 2},
		{"http://localhost missing.txt", "open missing.txt: no such file or directory.\n", 1},
		{"http://localhost .", "read .: is a directory.\n", 1},
	} {
		process := exec.Command(os.Args[0], strings.Fields(c.arguments)...)
		process.Env = append(os.Environ(), "LOADTEST=1")
		output, _ := process.CombinedOutput()
		if process.ProcessState.ExitCode() != c.code || !strings.HasPrefix(string(output), c.message) {
			t.Errorf("%q: %d %s", c.arguments, process.ProcessState.ExitCode(), output)
		}
	}
}
