package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox/sandbox"
)

// The worker is a process of its own, so that it can be killed: the same program
// with this argument. It reads its settings from standard input, writes its
// address to standard output when it is ready, and stops when the input ends.
const workerArgument = "run-the-worker"

// workerSettings are what the worker's process has to know.
type workerSettings struct {
	Brokers []string `json:"brokers"`
	Journal string   `json:"journal"`
	Keyset  string   `json:"keyset"`
	API     string   `json:"api"`
	Log     string   `json:"log"`
}

// workerProcess is the program of that process. Signals of the terminal go to
// all processes of the demo; the worker's follows its parent.
func workerProcess(stdin io.Reader, stdout, stderr io.Writer) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	if err := runWorker(stdin, stdout); err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func runWorker(stdin io.Reader, stdout io.Writer) error {
	var s workerSettings
	input := bufio.NewReader(stdin)
	text, err := input.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the worker's settings: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("the worker's settings: %w", err)
	}
	logs, err := os.OpenFile(s.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = logs.Close() }()
	o, err := s.options(slog.New(slog.NewTextHandler(logs, nil)))
	if err != nil {
		return err
	}
	o.Ready = func(addr string) { _, _ = fmt.Fprintln(stdout, addr) }
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, input)
		cancel()
	}()
	return app.Run(ctx, o)
}

// options are the worker's. Its times are shorter than the defaults, so that
// waiting fits into a minute.
func (s workerSettings) options(log *slog.Logger) (app.Options, error) {
	o := app.Defaults()
	keys, err := keyset.File{Path: s.Keyset}.Load(context.Background())
	if err != nil {
		return o, err
	}
	o.Version = "demo"
	o.Kafka = kafka.Config{Brokers: s.Brokers}
	o.JournalURL = "sqlite:" + s.Journal
	o.Keyset = keys
	o.InvoiceboxURL = s.API
	token := secret.New(sandbox.DefaultToken)
	o.Accounts = []app.Account{{
		Name: "default", PartnerID: sandbox.DefaultPartnerID,
		Token: func() secret.String { return token }, RequestsPerWindow: limit, Window: window,
	}}
	o.Start = "earliest" // the platform does not wait for the worker
	o.Concurrency = 8
	o.RequestDeadline, o.Lease = 3*time.Second, 6*time.Second
	o.Slack, o.QuietPeriod = time.Second, 2*time.Second
	o.Listen = "127.0.0.1:0"
	o.Logger = log
	return o, nil
}

// A process is a worker that runs.
type process struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	ready   chan string // its address, once; closed without one when it ended before
	ended   chan error
}

func startWorker(s workerSettings) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{command: exec.CommandContext(context.Background(), program, workerArgument), ready: make(chan string, 1), ended: make(chan error, 1)} // #nosec G204 -- this program
	var said strings.Builder
	p.command.Stderr = &said
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("the worker: %w", err)
	}
	text, err := json.Marshal(s)
	if err == nil {
		_, err = p.stdin.Write(append(text, '\n'))
	}
	if err != nil {
		_ = p.command.Process.Kill()
		return nil, fmt.Errorf("the worker: %w", err)
	}
	go func() {
		if lines := bufio.NewScanner(stdout); lines.Scan() {
			p.ready <- lines.Text()
		}
		close(p.ready)
		err := p.command.Wait()
		if err != nil && said.Len() > 0 {
			err = fmt.Errorf("the worker: %s", strings.TrimSpace(said.String()))
		}
		p.ended <- err
	}()
	return p, nil
}

// kill ends the process as a power cut does.
func (p *process) kill() {
	_ = p.command.Process.Kill()
	_ = <-p.ended //nolint:staticcheck // errcheck wants the error of a killed process to be dropped in writing
}

// stop drains the worker, and kills it when that takes too long.
func (p *process) stop() error {
	_ = p.stdin.Close()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(15 * time.Second):
		p.kill()
		return errors.New("the worker did not stop")
	}
}
