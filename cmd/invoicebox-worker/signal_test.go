package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/cleanenv"
	"invoicebox-worker/internal/testutil/freeport"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
)

// asProgram makes this test binary the program: its arguments are a command line.
const asProgram = "INVOICEBOX_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	cleanenv.Use()
	// The tests that are parallel wait for a minute each and do little meanwhile. go test's
	// own limit is the number of cores; -parallel overrides this one.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
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
	t.Parallel()
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
		if code := exitStatus(t, cmd, time.Minute); code != exitDone {
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
		broker, err := net.Listen("tcp", "127.0.0.1:0") // takes a connection and does not answer
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = broker.Close() }()
		args := with(r.service(), "--kafka-brokers", broker.Addr().String())
		cmd := exec.Command(os.Args[0], append([]string{"run"}, args...)...) // #nosec G204 -- this test binary
		cmd.Env = append(os.Environ(), asProgram+"=1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		conn, err := broker.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := exitStatus(t, cmd, 8*time.Second); code != exitDone {
			t.Errorf("exit status %d", code)
		}
	})
	for _, sent := range []syscall.Signal{syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT} {
		t.Run("drains at "+sent.String(), func(t *testing.T) {
			t.Parallel()
			// A process inherits that a signal is ignored, as after nohup, and run then ignores it,
			// too. It does not inherit that a signal is handled.
			handled := make(chan os.Signal, 1)
			signal.Notify(handled, sent)
			defer signal.Stop(handled)
			r, cmd, log := inFlight(t)
			for range 2 { // only SIGTERM and SIGINT end it by a second one
				if err := cmd.Process.Signal(sent); err != nil {
					t.Fatal(err)
				}
			}
			if code := exitStatus(t, cmd, time.Minute); code != exitDone {
				t.Errorf("exit status %d\n%s", code, log)
			}
			r.results("shop.invoicebox_invited", 1)
		})
	}
	t.Run("goes on at the others", func(t *testing.T) {
		t.Parallel()
		r, cmd, log := inFlight(t)
		for _, sent := range otherSignals() {
			if err := cmd.Process.Signal(sent); err != nil {
				t.Fatal(err)
			}
		}
		r.results("shop.invoicebox_invited", 1)
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := exitStatus(t, cmd, time.Minute); code != exitDone {
			t.Errorf("exit status %d\n%s", code, log)
		}
	})
	// The end of whoever reads the log, in the middle of a call and of the drain.
	t.Run("goes on without a reader", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, kafkatest.Embedded(t), o)
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		args := append([]string{"run"}, with(r.service(), "--listen", freeport.Address(t))...)
		cmd := exec.Command(os.Args[0], args...) // #nosec G204 -- this test binary
		cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), asProgram+"=1"), writer, writer
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		_ = writer.Close()
		for lines := bufio.NewScanner(reader); lines.Scan() && !strings.Contains(lines.Text(), `"msg":"consuming"`); {
			continue
		}
		_ = reader.Close()
		r.selected("s1", "a@b.example")
		r.results("shop.invoicebox_invited", 1)
		if lost := metricOf(t, args[slices.Index(args, "--listen")+1], "invoicebox_worker_log_lines_not_written_total"); lost == 0 {
			t.Error("lines that were not written are not counted")
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := exitStatus(t, cmd, time.Minute); code != exitDone {
			t.Errorf("exit status %d", code)
		}
	})
}

func metricOf(t *testing.T, address, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + address + "/metrics") //nolint:forbidigo // a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// A reader that does not read, such as a stopped terminal, keeps nobody waiting.
func TestLogOutput(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.Close() }()
	o := newLogOutput(writer)
	line := bytes.Repeat([]byte("x"), 1023)
	line = append(line, '\n')
	for range 2 * logQueue {
		if n, err := o.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	if lost := o.notWritten(); lost < logQueue/2 || lost > logQueue {
		t.Errorf("%d lines are counted as not written", lost)
	}
	before := o.notWritten()
	_ = reader.Close() // the queue runs empty into nothing
	o.flush(10 * time.Second)
	if lost := o.notWritten() - before; lost < logQueue/2 {
		t.Errorf("%d lines are counted after the reader's end", lost)
	}
	full := newLogOutput(failing{})
	_, _ = full.Write(line)
	full.flush(time.Second)
	if full.notWritten() != 1 {
		t.Errorf("%d lines are counted on a full disk", full.notWritten())
	}
	var memory bytes.Buffer
	plain := newLogOutput(&memory)
	_, _ = plain.Write(line)
	if plain.notWritten() != 0 || memory.Len() != len(line) {
		t.Error("a line did not arrive at once")
	}
}

// failing is a full disk.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, syscall.ENOSPC }
