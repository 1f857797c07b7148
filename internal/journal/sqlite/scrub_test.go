package sqlite

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
)

// Erasures that wait share one rewrite, and a later one has its own.
func TestScrub_WaitingCallsShareARewrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := mustOpen(t, options(filepath.Join(t.TempDir(), "j.db")))
		release := make(chan struct{})
		done := make(chan error)
		go func() { done <- j.between(t.Context(), func() error { <-release; return nil }) }()
		synctest.Wait()
		const calls = 6
		for range calls {
			go func() {
				_, err := database{j}.Scrub(t.Context())
				done <- err
			}()
		}
		synctest.Wait()
		close(release)
		for range calls + 1 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := j.scrubs.begun.Load(); n != 1 {
			t.Errorf("the file was rewritten %d times", n)
		}
		if _, err := (database{j}).Scrub(t.Context()); err != nil {
			t.Error(err)
		}
		if n := j.scrubs.begun.Load(); n != 2 {
			t.Errorf("after a later call the file was rewritten %d times", n)
		}
	})
}

// While somebody reads an older state, the file is not rewritten again, other work goes
// on, and the call ends with the reader.
func TestScrub_LongReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "j.db")
		j := mustOpen(t, options(path))
		reader, err := dial(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{"BEGIN", "SELECT count(*) FROM audit"} {
			if _, err := reader.one(q); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.AppendAudit(t.Context(), journal.AuditEntry{Act: "later than the reader"}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := database{j}.Scrub(t.Context())
			done <- err
		}()
		for range 10 {
			<-time.After(emptyEvery)
			if err := j.AppendAudit(t.Context(), journal.AuditEntry{Act: "other work"}); err != nil {
				t.Fatal(err)
			}
		}
		if n := j.scrubs.begun.Load(); n != 1 || len(done) > 0 {
			t.Errorf("the file was rewritten %d times, and %d calls have ended", n, len(done))
		}
		if err := reader.close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := j.scrubs.begun.Load(); n != 1 {
			t.Errorf("the file was rewritten %d times", n)
		}
		if info, err := os.Stat(path + "-wal"); err != nil || info.Size() > 0 {
			t.Errorf("the log is %v, %v", info, err)
		}
	})
}
