package pgtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/freeport"
)

// Pooler starts PgBouncer in front of the server, with lines of its configuration
// such as "pool_mode=transaction", and returns the URL of a database through it. It
// ends with the test. The test is skipped where there is none, unless
// INVOICEBOX_TEST_REQUIRE holds the word pgbouncer.
func (s *Server) Pooler(t testing.TB, database string, settings ...string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // Debian keeps it out of a user's PATH
		if _, err = os.Stat(program); err != nil {
			if required("pgbouncer") {
				t.Fatal("PgBouncer is required and not there")
			}
			t.Skip("PgBouncer is not there")
		}
	}
	folder := t.TempDir()
	port := freeport.For(t)
	lines := append([]string{
		"listen_addr=127.0.0.1", fmt.Sprintf("listen_port=%d", port), "unix_socket_dir=", "auth_type=any", "log_connections=0", "log_disconnections=0",
	}, settings...)
	text := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%d user=test\n[pgbouncer]\n%s\n", s.port, strings.Join(lines, "\n"))
	file := filepath.Join(folder, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil { // #nosec G306 -- its user reads it, and it holds no secret
		t.Fatal(err)
	}
	for dir := folder; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // #nosec G302 -- it holds nothing but this test
			break
		}
	}
	c := s.command("pgbouncer", "-q", file)
	c.Path, c.Args[0] = program, program
	log, err := os.Create(filepath.Join(t.TempDir(), "pooler.log"))
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGKILL)
		_ = c.Wait() // it was killed
		_ = log.Close()
	})
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for deadline := time.Now().Add(startWithin); ; <-time.After(20 * time.Millisecond) {
		conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", address)
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("the pooler does not answer: %v\n%s", err, said)
		}
	}
	return fmt.Sprintf("postgres://test@%s/%s?sslmode=disable", address, database)
}

// required reports whether the absence of a program is a failure.
func required(program string) bool {
	return slices.Contains(strings.FieldsFunc(os.Getenv("INVOICEBOX_TEST_REQUIRE"), func(r rune) bool { return r == ',' || r == ' ' }), program)
}
