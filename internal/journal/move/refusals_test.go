package move_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/testutil/pgtest"
)

func refusals(t *testing.T, f *filled, s *pgtest.Server, database func(*testing.T) string) {
	// Those that are the source's do nothing to the target.
	untouched := database(t)
	for _, x := range []struct {
		name  string
		setup func(t *testing.T, path *string, address string)
		want  error
		word  string
		its   bool // the target's
	}{
		{"a worker runs with the source", func(t *testing.T, path *string, _ string) {
			f.opened(t)(f.openSource(t.Context(), *path))
		}, journal.ErrHeld, "", false},
		{"a worker runs with the target", func(t *testing.T, _ *string, address string) {
			f.opened(t)(f.openTarget(t.Context(), address))
		}, journal.ErrHeld, "", true},
		{"the target holds a journal", func(t *testing.T, _ *string, address string) {
			j := f.opened(t)(f.openTarget(t.Context(), address))
			f.ok(j.EnsureAccount(t.Context(), "a", "p"))
			f.ok(j.Close())
		}, move.ErrNotEmpty, "account", true},
		{"the target is another journal that took nothing yet", func(t *testing.T, _ *string, address string) {
			j := f.opened(t)(f.openTarget(t.Context(), address))
			f.ok(j.SetKeysetCheck(t.Context(), []byte("other")))
			f.ok(j.Close())
		}, move.ErrNotEmpty, "keyset_check", true},
		{"the target holds a part of another journal", func(t *testing.T, _ *string, address string) {
			other := f.image(t)
			plant("UPDATE meta SET value = randomblob(16) WHERE name = 'identity'")(t, &other, "")
			if _, err := f.run(t.Context(), other, address, dying(3), nil); !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
		}, move.ErrNotEmpty, "another journal", true},
		{"the source is a copy", func(t *testing.T, path *string, _ string) {
			j := f.opened(t)(f.openSource(t.Context(), *path))
			copied := filepath.Join(t.TempDir(), "copy.db")
			_, err := j.(*sqlite.Journal).Backup(t.Context(), copied)
			f.ok(err)
			*path = copied
		}, journal.ErrCopy, "", false},
		{"the recovery of the source has not ended", plant("INSERT INTO meta (name, value) VALUES ('recovering', x'31')"), journal.ErrCopy, "", false},
		{"the source is older", plant("DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)"), nil, "older version", false},
		{"the source is newer", plant("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"), journal.ErrNewer, "", false},
		{"the source knows what this version does not", plant("INSERT INTO meta (name, value) VALUES ('strange', x'31')"), nil, `"strange"`, false},
		{"the source is not there", func(t *testing.T, path *string, _ string) { *path = filepath.Join(t.TempDir(), "none.db") }, nil, "no such file", false},
		{"a text that PostgreSQL cannot hold", plant("UPDATE event SET event_id = 'a' || char(0) || 'b' WHERE id = 7"), nil, "column event_id of the row with key 7", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			path, address := f.image(t), untouched
			if x.its {
				address = database(t)
			}
			x.setup(t, &path, address)
			_, err := f.run(t.Context(), path, address, sides{}, nil)
			if err == nil || x.want != nil && !errors.Is(err, x.want) || !strings.Contains(err.Error(), x.word) {
				t.Fatalf("the move gives %v", err)
			}
		})
	}
	t.Run("the target has another program's tables", func(t *testing.T) {
		t.Parallel()
		address := s.Database(t, "")
		s.Exec(t, name(t, address), "CREATE TABLE theirs (id int)")
		if _, err := f.run(t.Context(), f.image(t), address, sides{}, nil); !errors.Is(err, move.ErrNotEmpty) || !strings.Contains(err.Error(), "theirs") {
			t.Fatalf("the move gives %v", err)
		}
	})
	t.Run("while it goes on", func(t *testing.T) {
		t.Parallel()
		path, address := f.image(t), database(t)
		looked := false
		_, err := f.run(t.Context(), path, address, sides{}, func(p move.Progress) {
			if looked || p.Comparing {
				return
			}
			looked = true
			if _, err := f.openSource(t.Context(), path); !errors.Is(err, journal.ErrHeld) {
				t.Errorf("a worker opens the source: %v", err)
			}
			if _, err := f.openTarget(t.Context(), address); !errors.Is(err, journal.ErrUnfinished) {
				t.Errorf("a worker opens the target: %v", err)
			}
			if _, err := postgres.Open(t.Context(), postgres.Options{URL: address, ReadOnly: true}); !errors.Is(err, journal.ErrUnfinished) {
				t.Errorf("a command opens the target: %v", err)
			}
			if _, err := f.run(t.Context(), f.image(t), address, sides{}, nil); !errors.Is(err, journal.ErrHeld) {
				t.Errorf("another move begins: %v", err)
			}
			j, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, ReadOnly: true})
			if err != nil {
				t.Errorf("a command cannot read: %v", err)
				return
			}
			if err := j.AppendAudit(t.Context(), journal.AuditEntry{Act: "lost"}); err == nil {
				t.Error("a command wrote what may be lost")
			}
			_ = j.Close()
		})
		if err != nil || !looked {
			t.Fatal(err, looked)
		}
		if j, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, ReadOnly: true}); !errors.Is(err, journal.ErrMoved) {
			t.Errorf("a command opens the source afterwards: %v %v", j, err)
		}
	})
}

// plant changes the source behind the journal's back.
func plant(statement string) func(*testing.T, *string, string) {
	return func(t *testing.T, path *string, _ string) {
		db := lite(t, *path)
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// opened keeps a journal open until the test's end.
func (f *filled) opened(t *testing.T) func(journal.Journal, error) journal.Journal {
	return func(j journal.Journal, err error) journal.Journal {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = j.Close() })
		return j
	}
}

// A tamperer changes the target behind the move's back, before the comparison.
type tamperer struct {
	move.Target
	do func()
}

func (x tamperer) Settle(ctx context.Context, facts map[string][]byte) error {
	x.do()
	return x.Target.Settle(ctx, facts)
}

// A difference is found and named, and the source stays the journal.
func differences(t *testing.T, f *filled, s *pgtest.Server, database func(*testing.T) string) {
	address := database(t)
	for statement, want := range map[string][3]string{
		"UPDATE credential SET secret = secret || 'x' WHERE (shop, version) = (SELECT shop, version FROM credential ORDER BY shop, version OFFSET 2 LIMIT 1)": {"credential", "/1", "column secret"},
		"DELETE FROM outbox_pending WHERE row = (SELECT max(row) FROM outbox_pending)":                                                                        {"outbox_pending", "", "the target does not have it"},
		"DELETE FROM event WHERE id = (SELECT min(id) FROM event)":                                                                                            {"event", "", "in its place"},
		"INSERT INTO topic (id, name) OVERRIDING SYSTEM VALUE VALUES (99, 'more')":                                                                            {"topic", "99", "the source does not have it"},
		"UPDATE attempt SET counts_from = counts_from - 1 WHERE id = (SELECT min(id) FROM attempt WHERE counts_from IS NOT NULL)":                             {"attempt", "", "column counts_from"},
		"UPDATE shop SET merchant_id = '' WHERE id = (SELECT min(id) FROM shop WHERE merchant_id IS NULL)":                                                    {"shop", "", "column merchant_id"},
	} {
		t.Run(want[0], func(t *testing.T) {
			path := f.image(t) // it knows of no move: each begins again
			_, err := f.run(t.Context(), path, address, sides{target: func(to move.Target) move.Target {
				return tamperer{to, func() { s.Exec(t, name(t, address), statement) }}
			}}, nil)
			d, ok := errors.AsType[*move.DifferenceError](err)
			if !ok || d.Table != want[0] || !strings.Contains(d.Key, want[1]) || !strings.Contains(d.What, want[2]) {
				t.Fatalf("the move gives %v", err)
			}
			if _, err := f.openTarget(t.Context(), address); !errors.Is(err, journal.ErrUnfinished) {
				t.Errorf("a worker opens the target: %v", err)
			}
			j, err := f.openSource(t.Context(), path)
			if err != nil {
				t.Fatalf("the source is not the journal any more: %v", err)
			}
			_ = j.Close()
		})
	}
}
