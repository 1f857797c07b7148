// Package workertest builds the programs of the service and runs its worker as a process,
// also for tests in modules of their own.
package workertest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Build builds a package of the service's module, such as cmd/invoicebox-worker, and
// returns the program, which is in dir.
func Build(ctx context.Context, dir, pkg string) (program string, err error) {
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "invoicebox-worker").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	program = filepath.Join(dir, filepath.Base(pkg))
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./"+pkg) // #nosec G204 -- a package of the service
	build.Dir = strings.TrimSpace(string(module))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return program, nil
}

// A Process is a running worker.
type Process struct {
	t     testing.TB
	cmd   *exec.Cmd
	log   bytes.Buffer
	ended bool
}

// Start starts a worker that listens at an address, and waits until it is ready. It is
// stopped at the end of the test.
func Start(t testing.TB, address, program string, environment []string, args ...string) *Process {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), program, append([]string{"run", "--listen", address}, args...)...) // #nosec G204 -- the program under test
	p := &Process{t: t, cmd: cmd}
	p.cmd.Env = append(os.Environ(), environment...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("the end of the worker's log:\n%s", p.log.Bytes()[max(0, p.log.Len()-4000):])
		}
	})
	p.awaitReady("http://" + address + "/readyz")
	return p
}

// Stop sends SIGTERM and awaits the end.
func (p *Process) Stop() {
	p.t.Helper()
	if p.ended {
		return
	}
	p.ended = true
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the worker: %v", err)
	}
}

// awaitReady polls, because the worker is another process.
func (p *Process) awaitReady(url string) {
	p.t.Helper()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
		if err != nil {
			p.t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	p.t.Fatal("the worker is not ready within a minute")
}
