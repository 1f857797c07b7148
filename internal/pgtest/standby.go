package pgtest

import (
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Standby starts a streaming replica that ends with the test. With it there a
// commit waits until the replica has it.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	r := &Server{bin: s.bin, data: filepath.Join(t.TempDir(), "data"), port: freePort(t), owner: s.owner}
	r.reach(t)
	r.run(t, "pg_basebackup", "-D", r.data, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", "test")
	r.append(t, "postgresql.conf", fmt.Sprintf("port = '%d'\n", r.port))
	r.Up(t)
	t.Cleanup(func() { r.Down(syscall.SIGQUIT) })
	s.Exec(t, "postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")
	s.Exec(t, "postgres", "SELECT pg_reload_conf()")
	return r
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
