package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
)

// childVariable makes the test binary a process that uses a journal until it
// is killed.
const childVariable = "INVOICEBOX_JOURNAL_TEST_CHILD"

// child writes as fast as it can and says on stdout what it was told is done.
func child() {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	ctx := context.Background()
	j, err := Open(ctx, Options{Path: os.Getenv(childVariable), Planner: journaltest.Plain})
	fail(err)
	fail(j.EnsureAccount(ctx, "a", "p"))
	fmt.Println("open")
	var mu sync.Mutex
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				fail(j.AppendAudit(ctx, journal.AuditEntry{Act: name, Detail: strings.Repeat("x", 200)}))
				id, err := j.BeginCheck(ctx, journal.Check{
					Account: "a", SendBy: time.Second, Deadline: time.Second,
					Permits: []journal.Permit{{RateLimit: "l", Limit: 1_000_000, Window: time.Hour, Slack: time.Hour}},
				})
				fail(err)
				mu.Lock()
				fmt.Println("done", name, id)
				mu.Unlock()
			}
		}()
	}
	select {}
}

// TestKill kills a process that holds a journal: everything that it was told
// is done is there, and the next process gets the lock.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	path := filepath.Join(t.TempDir(), "j.db")
	acknowledged := make(map[string]int64)
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		seen := 0
		for lines.Scan() {
			f := strings.Fields(lines.Text())
			switch {
			case len(f) == 1 && f[0] == "open":
				if _, err := Open(t.Context(), options(path)); !errors.Is(err, journal.ErrHeld) {
					t.Errorf("opened beside its holder: %v", err)
				}
				if err := checkBeside(t, path); err != nil {
					t.Error(err)
				}
			case len(f) == 3 && f[0] == "done":
				id, err := strconv.ParseInt(f[2], 10, 64)
				if err != nil {
					t.Error(err)
				}
				acknowledged[f[1]] = id
				if seen++; seen == 150+50*round {
					if err := cmd.Process.Kill(); err != nil {
						t.Error(err)
					}
				}
			default:
				// The last line may be cut short.
				if seen == 0 {
					t.Fatalf("the child says %q", lines.Text())
				}
			}
		}
		_ = cmd.Wait()
		j := mustOpen(t, options(path))
		there := make(map[string]bool)
		for before := int64(0); ; {
			es, err := j.Audit(t.Context(), before, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if len(es) == 0 {
				break
			}
			for _, e := range es {
				there[e.Act], before = true, e.ID
			}
		}
		free, _, err := j.AvailablePermits(t.Context(), journal.Permit{RateLimit: "l", Limit: 1_000_000, Window: time.Hour, Slack: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if used := 1_000_000 - free; used < len(acknowledged) {
			t.Errorf("the ledger knows %d attempts, %d were acknowledged", used, len(acknowledged))
		}
		for name := range acknowledged {
			if !there[name] {
				t.Errorf("%s was acknowledged and is not there", name)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// checkBeside reads a journal that another process holds, and leaves a trace.
func checkBeside(t *testing.T, path string) error {
	j, err := Open(t.Context(), Options{Path: path, ReadOnly: true})
	if err != nil {
		return err
	}
	_, statsErr := j.Stats(t.Context())
	return errors.Join(statsErr, j.AppendAudit(t.Context(), journal.AuditEntry{Act: "beside"}), j.Close())
}
