package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/pgtest"
)

// Inspect shows standbys, whether commits wait for them, and how long a commit takes; any
// user may ask, and nothing is left behind.
func TestInspect(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t)
	s.Exec(t, "postgres", "CREATE ROLE worker LOGIN")
	url := s.Database(t, "")
	for _, user := range []string{"test", "worker"} {
		found, err := Inspect(t.Context(), Options{URL: as(url, user)})
		if err != nil || found.Synchronous || found.Standbys != 0 || found.Commit <= 0 || found.ClockOff.Abs() > found.ClockDoubt+time.Second {
			t.Errorf("alone, as %s: %+v, %v", user, found, err)
		}
	}
	follower := s.Follower(t)
	if found, err := Inspect(t.Context(), Options{URL: as(url, "worker")}); err != nil || found.Synchronous || found.Standbys != 1 {
		t.Errorf("with a standby: %+v, %v", found, err)
	}
	s.Exec(t, "postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")
	s.Exec(t, "postgres", "SELECT pg_reload_conf()")
	s.CaughtUp(t, follower)
	if found, err := Inspect(t.Context(), Options{URL: url}); err != nil || !found.Synchronous || found.Standbys != 1 {
		t.Errorf("with a synchronous standby: %+v, %v", found, err)
	}
	follower.Freeze(t)
	defer follower.Thaw(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := Inspect(ctx, Options{URL: url}); !errors.Is(err, journal.ErrUnreachable) {
		t.Errorf("with a standby that does not answer: %v", err)
	}
}

// A server that is slow to commit is measured.
func TestInspectSlowCommit(t *testing.T) {
	s := pgtest.Start(t, "commit_delay=100000", "commit_siblings=0")
	found, err := Inspect(t.Context(), Options{URL: s.Database(t, "")})
	if err != nil || found.Commit < 100*time.Millisecond {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestInspectUnreachable(t *testing.T) {
	if _, err := Inspect(t.Context(), Options{URL: "postgres://test@127.0.0.1:1/db"}); !errors.Is(err, journal.ErrUnreachable) {
		t.Error(err)
	}
}

// as is the URL for another user.
func as(url, user string) string { return strings.Replace(url, "test@", user+"@", 1) }
