package pgtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/testutil/freeport"
)

// Standby starts a streaming replica that ends with the test. With it there a
// commit waits until the replica has it.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	r := s.Follower(t)
	s.Exec(t, "postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")
	s.Exec(t, "postgres", "SELECT pg_reload_conf()")
	return r
}

// Follower is a Standby that no commit waits for.
func (s *Server) Follower(t testing.TB) *Server {
	t.Helper()
	r := &Server{bin: s.bin, data: filepath.Join(t.TempDir(), "data"), port: freeport.For(t), owner: s.owner}
	r.reach(t)
	r.run(t, "pg_basebackup", "-D", r.data, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", "test")
	r.append(t, "postgresql.conf", fmt.Sprintf("port = '%d'\n", r.port))
	r.Up(t)
	t.Cleanup(func() { r.Down(syscall.SIGQUIT) })
	return r
}

// CaughtUp waits until a follower has replayed all that this server has now.
func (s *Server) CaughtUp(t testing.TB, follower *Server) {
	t.Helper()
	at := s.Ask(t, "postgres", "SELECT pg_current_wal_flush_lsn()::text")
	for deadline := time.Now().Add(startWithin); follower.Ask(t, "postgres", "SELECT (pg_last_wal_replay_lsn() >= '"+at+"'::pg_lsn)::text") != "true"; <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the follower does not catch up")
		}
	}
}

// Detach lets a follower hear nothing more.
func (s *Server) Detach(t testing.TB) {
	t.Helper()
	s.Exec(t, "postgres", "ALTER SYSTEM SET primary_conninfo = ''")
	s.Exec(t, "postgres", "SELECT pg_reload_conf()")
	for deadline := time.Now().Add(startWithin); s.Ask(t, "postgres", "SELECT count(*)::text FROM pg_stat_wal_receiver WHERE pid IS NOT NULL") != "0"; <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the follower still listens")
		}
	}
}

// Ask returns the text that a query gives, as the superuser.
func (s *Server) Ask(t testing.TB, database, sql string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var text string
	if err := conn.QueryRow(ctx, sql).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// Freeze stops the server and all of its sessions, as a machine that hangs; Thaw
// lets them go on.
func (s *Server) Freeze(t testing.TB) { s.signalAll(t, syscall.SIGSTOP) }

// Thaw ends a Freeze.
func (s *Server) Thaw(t testing.TB) { s.signalAll(t, syscall.SIGCONT) }

func (s *Server) signalAll(t testing.TB, signal syscall.Signal) {
	t.Helper()
	main := s.process.Process.Pid
	if err := syscall.Kill(main, signal); err != nil {
		t.Fatal(err)
	}
	for _, pid := range children(main) {
		_ = syscall.Kill(pid, signal) // it may have ended
	}
}

// children are the processes that a process has started: those of a server are in no
// session of their own that could be signaled as one.
func children(main int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good
	for _, path := range stats {
		text, err := os.ReadFile(path) // #nosec G304 -- the system's own
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(main) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Promote ends that a standby follows: it can be written from then on, and waits
// for no other.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.Exec(t, "postgres", "SELECT pg_promote()")
	s.Exec(t, "postgres", "ALTER SYSTEM SET synchronous_standby_names = ''")
	s.Exec(t, "postgres", "SELECT pg_reload_conf()")
}

// Either names a database of this server or of another, whichever can be written.
func (s *Server) Either(other *Server, database string) string {
	return fmt.Sprintf("postgres://test@127.0.0.1:%d,127.0.0.1:%d/%s?sslmode=disable&target_session_attrs=read-write", s.port, other.port, database)
}
