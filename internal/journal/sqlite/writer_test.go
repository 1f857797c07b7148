package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// inWriter runs statements in the writer.
func (j *Journal) inWriter(ctx context.Context, run func(*tx) error) error {
	return j.put(ctx, &steps.Request{Do: func(*steps.Unit) error { return run(&j.writer.tx) }})
}

// A full disk fails what was asked for and nothing else: when there is room
// again the journal goes on.
func TestFullDisk(t *testing.T) {
	j := mustOpen(t, options(filepath.Join(t.TempDir(), "j.db")))
	ctx := t.Context()
	if err := j.EnsureAccount(ctx, "a", "p"); err != nil {
		t.Fatal(err)
	}
	err := j.inWriter(ctx, func(t *tx) error {
		r, err := t.one("PRAGMA page_count")
		if err != nil {
			return err
		}
		_, err = t.one(fmt.Sprintf("PRAGMA max_page_count=%d", r.int(0)+2))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	long := journal.AuditEntry{Act: "x", Detail: strings.Repeat("x", 1<<20)}
	if err := j.AppendAudit(ctx, long); err == nil || !strings.Contains(err.Error(), "full") {
		t.Fatalf("error is %v", err)
	}
	// The connection was made anew, with its limit gone: there is room.
	if err := j.AppendAudit(ctx, long); err != nil {
		t.Fatal(err)
	}
	es, err := j.Audit(ctx, 0, 10)
	if err != nil || len(es) != 1 {
		t.Fatal(len(es), err)
	}
}

// What was asked for before Close is carried out.
func TestCloseDrains(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	j := mustOpen(t, options(path))
	block := make(chan struct{})
	begun := make(chan struct{})
	errs := make(chan error, 11)
	go func() {
		errs <- j.inWriter(context.Background(), func(*tx) error {
			close(begun)
			<-block
			return nil
		})
	}()
	<-begun
	for range 10 {
		go func() { errs <- j.AppendAudit(context.Background(), journal.AuditEntry{Act: "x"}) }()
	}
	waitUntil(t, func() bool { return j.queue.Len() == 10 })
	closed := make(chan error)
	go func() { closed <- j.Close() }()
	waitUntil(t, func() bool { return j.queue.Closed() })
	if err := j.AppendAudit(t.Context(), journal.AuditEntry{}); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("error is %v", err)
	}
	close(block)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	for range 11 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
		t.Errorf("the log holds %d bytes after Close", info.Size())
	}
	again := mustOpen(t, options(path))
	if es, err := again.Audit(t.Context(), 0, 100); err != nil || len(es) != 10 {
		t.Fatal(len(es), err)
	}
}

// Who leaves before the answer has left for good; the step may happen all the same.
func TestLeavingEarly(t *testing.T) {
	j := mustOpen(t, options(filepath.Join(t.TempDir(), "j.db")))
	if err := j.EnsureAccount(t.Context(), "a", "p"); err != nil {
		t.Fatal(err)
	}
	block, begun := make(chan struct{}), make(chan struct{})
	held := make(chan error)
	go func() {
		held <- j.inWriter(context.Background(), func(*tx) error {
			close(begun)
			<-block
			return nil
		})
	}()
	<-begun
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 4)
	go func() {
		_, err := j.BeginCheck(ctx, journal.Check{Account: "a", SendBy: time.Second, Deadline: time.Second})
		left <- err
	}()
	go func() {
		_, err := j.Claim(ctx, journal.ClaimRequest{Account: "a", Kind: journal.Invite, Stage: journal.Call, Limit: 1, Lease: time.Second})
		left <- err
	}()
	go func() {
		_, _, err := j.ReleaseExpiredLeases(ctx)
		left <- err
	}()
	go func() { left <- j.AppendAudit(ctx, journal.AuditEntry{Act: "left"}) }()
	waitUntil(t, func() bool { return j.queue.Len() == 4 })
	leave()
	for range 4 {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	}
	close(block)
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	if err := j.EnsureAccount(t.Context(), "a", "p"); err != nil { // behind them in the queue
		t.Fatal(err)
	}
	if es, err := j.Audit(t.Context(), 0, 10); err != nil || len(es) != 1 {
		t.Fatal(es, err)
	}
}

func waitUntil(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to pass")
		}
		runtime.Gosched()
	}
}
