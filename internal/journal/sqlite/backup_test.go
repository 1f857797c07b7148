package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
)

// opened opens a journal for a test, to be closed by it.
func opened(t *testing.T, o Options) *Journal {
	t.Helper()
	o.Planner = journaltest.Plain
	j, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// A copy is made while the worker writes; it is one moment's state, whole,
// closed to others, and no worker takes it for the journal.
func TestBackupBesideAWorkerThatWrites(t *testing.T) {
	dir := t.TempDir()
	path, to := filepath.Join(dir, "journal.db"), filepath.Join(dir, "a copy?.db")
	worker := opened(t, Options{Path: path})
	defer func() { _ = worker.Close() }()
	if err := worker.EnsureAccount(t.Context(), benchAccount, "partner"); err != nil {
		t.Fatal(err)
	}
	if err := worker.InitPositions(t.Context(), []journal.Position{{Topic: benchTopic}}); err != nil {
		t.Fatal(err)
	}
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	var next atomic.Int64
	take := func() error {
		n := next.Load()
		id := uuid.NewString()
		e := journaltest.MakeEvent(t, keys, journal.Activate, journal.ShopKey{Account: benchAccount, Shop: id}, id, id, time.Now())
		_, err := worker.Ingest(context.Background(), journal.Batch{Topic: benchTopic, From: n, Next: n + 1, Events: []journal.Event{e}})
		if err == nil {
			next.Store(n + 1)
		}
		return err
	}
	for range 200 {
		if err := take(); err != nil {
			t.Fatal(err)
		}
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := take(); err != nil {
				stopped <- err
				return
			}
		}
	}()
	command, err := Open(t.Context(), Options{Path: path, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	before := next.Load()
	c, err := command.Backup(t.Context(), to)
	after := next.Load()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := command.Backup(t.Context(), to); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second copy to the same file: %v", err)
	}
	if err := command.Close(); err != nil {
		t.Error(err)
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	at := c.Positions[0].Next
	if at < before || at > after || c.Operations[journal.StatKey{Account: benchAccount, Kind: journal.Activate, State: journal.Planned}] != at {
		t.Errorf("the copy stands at %d with %v; the worker stood at %d before and %d after", at, c.Operations, before, after)
	}
	info, err := os.Stat(to)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != c.Bytes || c.At.IsZero() {
		t.Errorf("%v %+v %v", info.Mode(), c, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if _, err := Open(t.Context(), Options{Path: to, Planner: journaltest.Plain}); !errors.Is(err, journal.ErrCopy) {
		t.Fatalf("a copy opened as the journal: %v", err)
	}
	copied := opened(t, Options{Path: to, Recover: true})
	if copied.Identity() != worker.Identity() {
		t.Error("the copy has another identity before it was recovered")
	}
	r, err := copied.Recover(t.Context(), func(journal.RestoredOperation) journal.Restoration { return journal.Restoration{} })
	if err != nil || !r.Copied.Equal(c.At) {
		t.Fatalf("%+v %v", r, err)
	}
	if err := copied.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Path: to, Planner: journaltest.Plain}); !errors.Is(err, journal.ErrCopy) {
		t.Fatalf("a recovery that did not end: %v", err)
	}
	copied = opened(t, Options{Path: to, Recover: true})
	if r, err := copied.Recover(t.Context(), func(journal.RestoredOperation) journal.Restoration { return journal.Restoration{} }); err != nil || !r.Resumed {
		t.Fatalf("%+v %v", r, err)
	}
	id := uuid.New()
	if _, err := copied.EndRecovery(t.Context(), journal.RecoveryEnd{Identity: id, Check: []byte("check")}); err != nil {
		t.Fatal(err)
	}
	if err := copied.Close(); err != nil {
		t.Fatal(err)
	}
	again := opened(t, Options{Path: to})
	defer func() { _ = again.Close() }()
	if check, err := again.KeysetCheck(t.Context()); err != nil || string(check) != "check" || again.Identity() != id {
		t.Errorf("%q %v %v", check, again.Identity(), err)
	}
}

// A copy that is made while a recovery goes on is recovered anew: what was sent
// after that recovery is not in it.
func TestBackupDuringARecovery(t *testing.T) {
	dir := t.TempDir()
	j := opened(t, Options{Path: filepath.Join(dir, "journal.db")})
	defer func() { _ = j.Close() }()
	same := func(journal.RestoredOperation) journal.Restoration { return journal.Restoration{} }
	if r, err := j.Recover(t.Context(), same); err != nil || r.Number != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	to := filepath.Join(dir, "copy.db")
	if _, err := j.Backup(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	copied := opened(t, Options{Path: to, Recover: true})
	defer func() { _ = copied.Close() }()
	if due, err := copied.RecoveryDue(t.Context()); err != nil || !due {
		t.Errorf("due is %v, %v", due, err)
	}
	if r, err := copied.Recover(t.Context(), same); err != nil || r.Number != 2 || r.Resumed {
		t.Errorf("%+v %v", r, err)
	}
}

// A copy is not opened with the log of the file whose place it took.
func TestACopyBesideTheLogOfAnother(t *testing.T) {
	dir := t.TempDir()
	path, to := filepath.Join(dir, "journal.db"), filepath.Join(dir, "copy.db")
	j := opened(t, Options{Path: path})
	if _, err := j.Backup(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if err := j.EnsureAccount(t.Context(), fmt.Sprint("account-", i), fmt.Sprint("partner-", i)); err != nil {
			t.Fatal(err)
		}
	}
	journaltest.CopyFile(t, path+"-wal", to+"-wal")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	o := Options{Path: to, Recover: true, Planner: journaltest.Plain}
	if j, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "-wal does not belong") {
		if err == nil {
			as, err := j.Accounts(t.Context())
			t.Logf("%d accounts that the copy has not, %v", len(as), err)
			_ = j.Close()
		}
		t.Fatalf("opened: %v", err)
	}
	if err := os.Remove(to + "-wal"); err != nil {
		t.Fatal(err)
	}
	copied := opened(t, o)
	defer func() { _ = copied.Close() }()
	if as, err := copied.Accounts(t.Context()); err != nil || len(as) != 0 {
		t.Errorf("%v, %v", as, err)
	}
}

// A copy that cannot be made leaves nothing behind.
func TestBackupThatIsCancelled(t *testing.T) {
	dir := t.TempDir()
	j := opened(t, Options{Path: filepath.Join(dir, "journal.db")})
	defer func() { _ = j.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out := t.TempDir()
	if _, err := j.Backup(ctx, filepath.Join(out, "copy.db")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := j.Backup(t.Context(), filepath.Join(out, "nowhere", "copy.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	if left, err := os.ReadDir(out); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// A file that was copied by other means is noticed by where it is; its ledgers
// wait, and only once.
func TestAFileInAnotherPlaceHasAnUnknownHistory(t *testing.T) {
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "journal.db"), filepath.Join(dir, "moved.db")
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }
	p := journal.Permit{RateLimit: "account/" + benchAccount, Limit: 5, Window: 30 * time.Second, Slack: time.Minute}
	free := func(path, mark string, want int) {
		t.Helper()
		j := opened(t, Options{Path: path, Now: clock, Mark: func(string) string { return mark }})
		n, _, err := j.AvailablePermits(t.Context(), p)
		if err != nil || n != want {
			t.Errorf("%s at %s: %d permits are free (%v), want %d", filepath.Base(path), mark, n, err, want)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	free(path, "here", 5)
	free(path, "here", 5)
	journaltest.CopyFile(t, path, moved)
	free(moved, "there", 0)
	now = now.Add(89 * time.Second)
	free(moved, "there", 0)
	now = now.Add(time.Second)
	free(moved, "there", 5)
	free(path, "here", 5)
}

// The mark of a file outlives being renamed, and no copy has it.
func TestFileMark(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	mark := fileMark(path)
	if mark == "" {
		t.Skip("this system tells nothing of files")
	}
	journaltest.CopyFile(t, path, other)
	if fileMark(other) == mark {
		t.Error("a copy has the same mark")
	}
	if err := os.Rename(path, other); err != nil {
		t.Fatal(err)
	}
	if fileMark(other) != mark || strings.TrimSpace(mark) != mark {
		t.Errorf("renamed, the mark is %q and was %q", fileMark(other), mark)
	}
}
