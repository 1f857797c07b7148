package postgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/pgtest"
)

// While commits wait for a standby that is not there, the journal says so.
func TestWaits(t *testing.T) {
	server := pgtest.Start(t)
	b := newBed(t, server)
	j := b.open()
	if words, err := j.Waits(t.Context()); err != nil || words != "" {
		t.Errorf("without a standby: %q, %v", words, err)
	}
	server.Exec(t, "postgres", "ALTER SYSTEM SET synchronous_standby_names = 'second'")
	server.Exec(t, "postgres", "SELECT pg_reload_conf()")
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() {
		<-time.After(200 * time.Millisecond) // the server reads its settings
		for range 50 {
			if err := j.AppendAudit(ctx, journal.AuditEntry{Act: "seen"}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	b.eventually("it does not say what it waits for", func() bool {
		words, err := j.Waits(t.Context())
		return err == nil && strings.Contains(words, "second")
	})
	server.Exec(t, "postgres", "ALTER SYSTEM RESET synchronous_standby_names")
	server.Exec(t, "postgres", "SELECT pg_reload_conf()")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
