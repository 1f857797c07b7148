package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/testutil/freeport"
)

// A Server is one running server.
type Server struct {
	bin, data string
	port      int
	owner     *syscall.Credential
	process   *exec.Cmd
	ended     chan struct{} // closed when the process has
	log       *os.File
	databases atomic.Int64
}

// startWithin bounds how long a server may take to answer.
const startWithin = 60 * time.Second

// Start starts a server that ends with the test. Settings are its
// configuration, as "name=value".
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	return start(t, filepath.Join(t.TempDir(), "data"), settings...)
}

func start(t testing.TB, data string, settings ...string) *Server {
	t.Helper()
	bin := binaries(t)
	s := &Server{bin: bin, data: data, port: freeport.For(t), owner: owner(t)}
	s.reach(t)
	s.initialize(t)
	var conf strings.Builder
	for _, line := range append([]string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(s.port), "unix_socket_directories=", "max_connections=300", "shared_buffers=64MB", "fsync=on",
		"log_min_messages=warning",
	}, settings...) {
		name, value, _ := strings.Cut(line, "=")
		fmt.Fprintf(&conf, "%s = '%s'\n", name, value)
	}
	s.append(t, "postgresql.conf", conf.String())
	s.Up(t)
	t.Cleanup(func() { s.Down(syscall.SIGQUIT) })
	return s
}

// reach lets the server's user reach its folder.
func (s *Server) reach(t testing.TB) {
	t.Helper()
	if s.owner == nil {
		return
	}
	folder := filepath.Dir(s.data)
	for dir := folder; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // #nosec G302 -- it holds nothing but this test
			break
		}
	}
	if err := os.Chown(folder, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) append(t testing.TB, name, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(s.data, name), os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Up starts the server again after Down, and waits until it answers.
func (s *Server) Up(t testing.TB) {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "server-*.log")
	if err != nil {
		t.Fatal(err)
	}
	s.log = log
	s.launch(t)
	deadline := time.Now().Add(startWithin)
	for {
		select {
		case <-s.ended:
			// After a SIGKILL its children hold the data for a moment.
			s.launch(t)
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			_ = conn.Close(ctx)
			cancel()
			return
		}
		cancel()
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("the server does not answer: %v\n%s", err, text)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// Ended tells whether the server's process has ended, by whatever.
func (s *Server) Ended() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// launch starts the server's process.
func (s *Server) launch(t testing.TB) {
	t.Helper()
	process, ended := s.command("postgres", "-D", s.data), make(chan struct{})
	process.Stdout, process.Stderr = s.log, s.log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	s.process, s.ended = process, ended
	go func() {
		_ = process.Wait() // it was asked to end
		close(ended)
	}()
}

// Down ends the server with a signal: SIGINT is an orderly end, SIGQUIT a crash,
// SIGKILL one of the main process alone, which the others notice.
func (s *Server) Down(signal syscall.Signal) {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(signal)
	<-s.ended
	_ = s.log.Close()
	s.process = nil
}

// Signal sends the server's main process a signal.
func (s *Server) Signal(signal syscall.Signal) error { return s.process.Process.Signal(signal) }

// Data returns the folder of the server's files.
func (s *Server) Data() string { return s.data }

// URL names one of the server's databases.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://test@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

// Database makes an empty database, or a copy of a template, and returns its URL.
func (s *Server) Database(t testing.TB, template string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", s.databases.Add(1))
	sql := "CREATE DATABASE " + name
	if template != "" {
		sql += " TEMPLATE " + template
	}
	s.Exec(t, "postgres", sql)
	return s.URL(name)
}

// Exec runs a statement as the superuser.
func (s *Server) Exec(t testing.TB, database, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}

// Blobs returns what a query of one column finds, as the superuser.
func (s *Server) Blobs(t testing.TB, database, sql string) [][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(context.Background(), filepath.Join(s.bin, name), args...) // #nosec G204 -- the test's own server
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	endWithUs(c.SysProcAttr)
	c.Dir = "/"
	c.Env = append(os.Environ(), "LC_ALL=C", "HOME=/")
	return c
}

func (s *Server) run(t testing.TB, name string, args ...string) {
	t.Helper()
	c := s.command(name, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out.String())
	}
}

// binaries finds the folder of the server's programs.
func binaries(t testing.TB) string {
	t.Helper()
	switch named := os.Getenv("INVOICEBOX_TEST_POSTGRES"); named {
	case "":
	case "none":
		t.Skip("INVOICEBOX_TEST_POSTGRES is none")
	default:
		return named
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		// Links to a few of the programs may be in the PATH, not to all.
		if target, err := filepath.EvalSymlinks(path); err == nil {
			path = target
		}
		return filepath.Dir(path)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is good
	if len(found) > 0 {
		return filepath.Dir(slices.Max(found))
	}
	if required("postgres") {
		t.Fatal("PostgreSQL is required and not there: set INVOICEBOX_TEST_POSTGRES to the folder of its programs")
	}
	t.Skip("PostgreSQL is not there: set INVOICEBOX_TEST_POSTGRES to the folder of its programs")
	return ""
}

// owner is who runs the server: nil for the test's own user.
func owner(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.ParseUint(u.Uid, 10, 32)
		gid, errG := strconv.ParseUint(u.Gid, 10, 32)
		if errU == nil && errG == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Skip("the tests run as root, and there is no other user to run PostgreSQL as")
	return nil
}
