package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
)

// A file that is not in its place any more is noticed with the next transaction,
// and goes on to be written when it is back.
func TestFilesOutOfPlace(t *testing.T) {
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		for how, away := range map[string]func(t *testing.T, name string){
			"moved": func(t *testing.T, name string) { rename(t, name, name+".elsewhere") },
			"removed": func(t *testing.T, name string) {
				if err := os.Link(name, name+".elsewhere"); err != nil { // to have it back
					t.Fatal(err)
				}
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			},
			"replaced": func(t *testing.T, name string) {
				rename(t, name, name+".elsewhere")
				if err := os.WriteFile(name, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			},
		} {
			t.Run(strings.Trim("journal"+suffix, "-.")+" "+how, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "j.db")
				j := mustOpen(t, options(path))
				if err := j.EnsureAccount(t.Context(), "a", "p"); err != nil {
					t.Fatal(err)
				}
				away(t, path+suffix)
				for range 2 {
					if err := j.AppendAudit(t.Context(), journal.AuditEntry{Act: "lost"}); !errors.Is(err, journal.ErrReplaced) || !journal.Waits(err) {
						t.Fatalf("a write gives %v", err)
					}
				}
				if _, err := j.Claim(t.Context(), journal.ClaimRequest{Account: "a", Kind: journal.Activate, Stage: journal.Call, Limit: 1, Lease: time.Minute}); !errors.Is(err, journal.ErrReplaced) {
					t.Fatalf("a claim gives %v", err)
				}
				rename(t, path+suffix+".elsewhere", path+suffix)
				if err := j.AppendAudit(t.Context(), journal.AuditEntry{Act: "kept"}); err != nil {
					t.Fatalf("it does not go on: %v", err)
				}
			})
		}
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// What lay in a log that was removed under the worker is in the journal at the
// next start, also when the worker is killed then.
func TestALogThatWasRemovedIsSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	j := mustOpen(t, options(path))
	if err := j.EnsureAccount(t.Context(), "a", "p"); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.AppendAudit(t.Context(), journal.AuditEntry{Act: "lost"}); !errors.Is(err, journal.ErrReplaced) {
		t.Fatalf("a write gives %v", err)
	}
	killed := filepath.Join(t.TempDir(), "j.db") // what a kill would leave
	bytes, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(killed, bytes, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	as, err := mustOpen(t, options(killed)).Accounts(t.Context())
	if err != nil || len(as) != 1 {
		t.Fatalf("the accounts are %v, %v", as, err)
	}
}
