package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"invoicebox-worker/internal/cleanenv"
	"invoicebox-worker/internal/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
)

// asProgram makes this test binary the program: its arguments are a command line.
const asProgram = "INVOICEBOX_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	cleanenv.Use()
	os.Exit(m.Run())
}

// process runs the program as a process of its own.
func (r *rig) process() (*exec.Cmd, *buffer) {
	r.t.Helper()
	if runtime.GOOS == "windows" {
		r.t.Skip("no signals")
	}
	cmd := exec.Command(os.Args[0], append([]string{"run"}, r.service()...)...) // #nosec G204 -- this test binary
	log := &buffer{}
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), asProgram+"=1"), log, log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = cmd.Process.Kill() })
	await(r.t, "the process consumes", func() bool { return strings.Contains(log.String(), `"msg":"consuming"`) })
	return cmd, log
}

func exitStatus(t *testing.T, cmd *exec.Cmd, within time.Duration) int {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("the process did not end within %v", within)
		return -1
	}
}

// One signal lets the call in flight end and publishes what came of it; a
// second one ends the process at once.
func TestSignals(t *testing.T) {
	o := sandbox.Options{Profile: sandbox.Calm, Latency: 2 * time.Second}
	inFlight := func(t *testing.T) (*rig, *exec.Cmd, *buffer) {
		r := newRig(t, kafkatest.Embedded(t), o)
		cmd, log := r.process()
		r.selected("s1", "a@b.example")
		await(t, "the call is under way", func() bool {
			return strings.Contains(r.must(append([]string{"operations", "list", "--state", "sending"}, r.beside()...)...), "s1")
		})
		return r, cmd, log
	}
	t.Run("one", func(t *testing.T) {
		t.Parallel()
		r, cmd, log := inFlight(t)
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := exitStatus(t, cmd, 10*time.Second); code != exitDone {
			t.Errorf("exit status %d\n%s", code, log)
		}
		r.results("shop.invoicebox_invited", 1)
		if out := r.must(append([]string{"operations", "list"}, r.beside()...)...); !strings.Contains(out, "no operations") {
			t.Errorf("something is left:\n%s", out)
		}
	})
	t.Run("two", func(t *testing.T) {
		t.Parallel()
		_, cmd, log := inFlight(t)
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		await(t, "it drains", func() bool { return strings.Contains(log.String(), "draining") })
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := exitStatus(t, cmd, time.Second); code != exitFailed {
			t.Errorf("exit status %d", code)
		}
		lines := bytes.Split(bytes.TrimSpace([]byte(log.String())), []byte("\n"))
		if last := string(lines[len(lines)-1]); !strings.Contains(last, "second signal") {
			t.Errorf("the last line is %q", last)
		}
	})
	t.Run("before it has started", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, kafkatest.Embedded(t), calm())
		args := with(r.service(), "--kafka-brokers", closedAddress(t))
		cmd := exec.Command(os.Args[0], append([]string{"run"}, args...)...) // #nosec G204 -- this test binary
		cmd.Env = append(os.Environ(), asProgram+"=1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, "the journal is there", func() bool { _, err := os.Stat(r.path("journal.db")); return err == nil })
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := exitStatus(t, cmd, 5*time.Second); code != exitDone {
			t.Errorf("exit status %d", code)
		}
	})
}
