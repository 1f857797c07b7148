package sqlite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
)

// crashed makes a folder with what the death of a worker leaves there.
func crashed(t *testing.T, j *Journal, suffixes ...string) string {
	t.Helper()
	folder := t.TempDir()
	for _, suffix := range append(suffixes, "") {
		bytes, err := os.ReadFile(j.path + suffix)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, "j.db"+suffix), bytes, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "j.db")
}

// A log that was removed after a crash is missed, whatever was in it, and before
// anything is changed: with the log all is there again.
func TestALogThatIsMissing(t *testing.T) {
	for name, write := range map[string]func(ctx context.Context, t *testing.T, j, beside *Journal) error{
		"an account": func(ctx context.Context, _ *testing.T, j, _ *Journal) error { return j.EnsureAccount(ctx, "b", "q") },
		"an audit entry": func(ctx context.Context, _ *testing.T, j, _ *Journal) error {
			return j.AppendAudit(ctx, journal.AuditEntry{Act: "seen"})
		},
		"of a command": func(ctx context.Context, _ *testing.T, _, beside *Journal) error {
			return beside.AppendIntent(ctx, journal.Intent{UUID: uuid.New(), Act: "pause", Account: "a"}, journal.AuditEntry{Act: "asked"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := mustOpen(t, options(filepath.Join(t.TempDir(), "j.db")))
			if err := j.EnsureAccount(t.Context(), "a", "p"); err != nil {
				t.Fatal(err)
			}
			beside := mustOpen(t, Options{Path: j.path, ReadOnly: true})
			// All until here is in the database itself.
			if err := j.inWriter(t.Context(), func(t *tx) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if r, err := beside.checkpoint(); err != nil || r != 0 {
				t.Fatalf("a checkpoint: %d, %v", r, err)
			}
			whole := crashed(t, j, ".lock")
			if err := write(t.Context(), t, j, beside); err != nil {
				t.Fatal(err)
			}
			path := crashed(t, j, "-wal", ".lock")
			rename(t, path+"-wal", path+"-wal.elsewhere")

			_, err := Open(t.Context(), options(path))
			if !errors.Is(err, journal.ErrCopy) || !strings.Contains(err.Error(), "transactions are missing") {
				t.Fatalf("opening gives %v", err)
			}
			if _, err := OpenSource(t.Context(), Options{Path: path}); !errors.Is(err, journal.ErrCopy) {
				t.Fatalf("opening to copy it gives %v", err)
			}
			if due, err := mustOpen(t, Options{Path: path, ReadOnly: true}).RecoveryDue(t.Context()); err != nil || !due {
				t.Fatalf("a recovery is due: %v, %v", due, err)
			}
			for range 2 { // it stays so until the recovery has ended
				o := options(path)
				o.Recover = true
				r, err := Open(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if due, err := r.RecoveryDue(t.Context()); err != nil || !due {
					t.Fatalf("a recovery is due: %v, %v", due, err)
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
			}

			// Nothing is missing without the last one, or with the log.
			mustOpen(t, options(whole))
			mustOpen(t, options(crashed(t, j, "-wal", ".lock")))
			back := crashed(t, j, "-wal", ".lock")
			rename(t, back+"-wal", back+"-wal.elsewhere")
			if _, err := Open(t.Context(), options(back)); !errors.Is(err, journal.ErrCopy) {
				t.Fatal(err)
			}
			rename(t, back+"-wal.elsewhere", back+"-wal")
			mustOpen(t, options(back))
		})
	}
}

// checkpoint moves the log into the database, and tells whether somebody was in
// the way.
func (j *Journal) checkpoint() (busy int64, err error) {
	c, err := j.connect()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	r, err := c.one("PRAGMA wal_checkpoint(TRUNCATE)")
	if err != nil {
		return 0, err
	}
	return r.int(0), nil
}

// A recovery that has ended makes it a journal of its own.
func TestAMissingLogIsRecovered(t *testing.T) {
	j := mustOpen(t, options(filepath.Join(t.TempDir(), "j.db")))
	if err := j.EnsureAccount(t.Context(), "a", "p"); err != nil {
		t.Fatal(err)
	}
	if _, err := j.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := j.AppendAudit(t.Context(), journal.AuditEntry{Act: "lost"}); err != nil {
		t.Fatal(err)
	}
	path := crashed(t, j, ".lock")
	o := options(path)
	o.Recover = true
	r := mustOpen(t, o)
	if _, err := r.Recover(t.Context(), func(journal.RestoredOperation) journal.Restoration { return journal.Restoration{} }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.EndRecovery(t.Context(), journal.RecoveryEnd{Identity: uuid.New(), Check: []byte("check")}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		n := mustOpen(t, options(path))
		if due, err := n.RecoveryDue(t.Context()); err != nil || due {
			t.Fatalf("a recovery is due: %v, %v", due, err)
		}
		if err := n.AppendAudit(t.Context(), journal.AuditEntry{Act: "kept"}); err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
