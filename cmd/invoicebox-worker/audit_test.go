package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
)

// auditTrail makes a journal with n entries and returns its folder.
func auditTrail(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "journal.db"), Planner: func(journal.Event, journal.ShopView) journal.Plan { return journal.Plan{} }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}()
	var entries []journal.AuditEntry
	for i := range n {
		entries = append(entries, journal.AuditEntry{At: time.Unix(1_800_000_000, int64(i)*1000), Actor: []string{"anna", "caller:billing"}[i%2], Act: "credentials.read", Subject: "default/shop-" + fmt.Sprint(i+1), Detail: "detail ü\u202e"})
	}
	if err := j.AppendAudit(t.Context(), entries...); err != nil {
		t.Fatal(err)
	}
	return dir
}

func auditCommand(t *testing.T, dir string, args ...string) (int, string) {
	t.Helper()
	code, out, errs := execute(t.Context(), append([]string{"audit", "--journal-url", "sqlite:" + filepath.Join(dir, "journal.db")}, args...)...)
	return code, out + errs
}

func TestAudit(t *testing.T) {
	t.Parallel()
	t.Run("List", func(t *testing.T) {
		dir := auditTrail(t, 5)
		if code, out := auditCommand(t, dir, "list", "--limit", "2"); code != exitDone || !strings.Contains(out, "shop-5") || strings.Contains(out, "shop-3") || !strings.Contains(out, "--after 4") {
			t.Errorf("exit status %d:\n%s", code, out)
		}
		if code, out := auditCommand(t, dir, "list", "--after", "4", "--by", "caller:billing", "--output", "json"); code != exitDone || strings.Count(out, `"number"`) != 1 || !strings.Contains(out, "default/shop-2") {
			t.Errorf("exit status %d:\n%s", code, out)
		}
		if code, out := auditCommand(t, dir, "list", "--subject", "default/shop-1"); code != exitDone || !strings.Contains(out, "anna") || strings.Contains(out, "billing") {
			t.Errorf("exit status %d:\n%s", code, out)
		}
	})
	t.Run("ExportIsAChain", func(t *testing.T) {
		dir := auditTrail(t, 2500) // more than two pages
		code, all := auditCommand(t, dir, "export")
		x, err := verifyExport(strings.NewReader(all))
		if code != exitDone || err != nil || x.entries != 2500 || x.last.ID != 2500 {
			t.Fatalf("exit status %d, %d entries: %v", code, x.entries, err)
		}
		lines := strings.SplitAfter(all, "\n")
		if code, rest := auditCommand(t, dir, "export", "--after", "2498"); code != exitDone || rest != lines[2498]+lines[2499] {
			t.Errorf("exit status %d:\n%s", code, rest)
		}
		if code, out := auditCommand(t, dir, "export", "--after", "2501"); code != exitFailed || !strings.Contains(out, "no entry 2501") {
			t.Errorf("exit status %d:\n%s", code, out)
		}
	})
	t.Run("ExportThatFollows", func(t *testing.T) {
		dir := auditTrail(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		out, code := &buffer{}, make(chan int, 1)
		go func() {
			code <- run(ctx, []string{"audit", "export", "--follow", "--journal-url", "sqlite:" + filepath.Join(dir, "journal.db")}, environment{stdout: out, stderr: out})
		}()
		await(t, "the first entry", func() bool { return strings.Count(out.String(), "\n") == 1 })
		j, err := app.OpenReadOnly(t.Context(), "sqlite:"+filepath.Join(dir, "journal.db"), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = j.Close() }()
		if err := j.AppendAudit(t.Context(), journal.AuditEntry{Act: "second"}); err != nil {
			t.Fatal(err)
		}
		await(t, "the second entry", func() bool { return strings.Count(out.String(), "\n") == 2 })
		cancel()
		if c := <-code; c != exitDone {
			t.Errorf("exit status %d:\n%s", c, out)
		}
	})
	t.Run("Verify", func(t *testing.T) {
		dir := auditTrail(t, 1500)
		_, all := auditCommand(t, dir, "export")
		file := filepath.Join(dir, "export")
		begin, _, _ := strings.Cut(all, `{"number":1201,`)
		if err := os.WriteFile(file, []byte(begin), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out := auditCommand(t, dir, "verify", "--file", file)
		if code != exitDone || !strings.Contains(out, "whole: 1500 entries") || !strings.Contains(out, "up to 1200") {
			t.Errorf("exit status %d:\n%s", code, out)
		}
		if code, out := auditCommand(t, auditTrail(t, 0), "verify"); code != exitDone || !strings.Contains(out, "whole: 0 entries") {
			t.Errorf("exit status %d:\n%s", code, out)
		}
		for _, c := range []struct{ name, change, want string }{
			{"ChangedActor", "UPDATE audit SET actor = 'nobody' WHERE id = 700", "the hash of entry 700 does not fit"},
			{"ChangedTime", "UPDATE audit SET at = at + 1 WHERE id = 1500", "the hash of entry 1500 does not fit"},
			{"ChangedDetail", "UPDATE audit_detail SET detail = detail || 'x' WHERE id = 700", "the hash of entry 700 does not fit"},
			{"ChangedDigest", "UPDATE audit SET detail_hash = x'00' WHERE id = 700", "the hash of entry 700 does not fit"},
			{"RemovedDetail", "DELETE FROM audit_detail WHERE id = 700", "the detail of entry 700 is missing"},
			{"ChangedHash", "UPDATE audit SET hash = x'00' WHERE id = 3", "the hash of entry 3 does not fit"},
			{"MovedText", "UPDATE audit SET act = act || subject, subject = '' WHERE id = 9", "the hash of entry 9 does not fit"},
			{"RemovedFirst", "DELETE FROM audit WHERE id = 1", "entry 1 is missing"},
			{"RemovedMiddle", "DELETE FROM audit WHERE id BETWEEN 10 AND 20", "the entries 10 to 20 are missing"},
			{"RemovedLast", "DELETE FROM audit WHERE id > 1100", "it ends with entry 1100"},
			{"RemovedAll", "DELETE FROM audit", "it ends with entry 0"},
			{"InsertedBeforeFirst", "INSERT INTO audit SELECT 0, at, 'nobody', act, subject, detail_hash, hash FROM audit WHERE id = 1", "entry 0 was inserted"},
			{"InsertedWithLeastNumber", "INSERT INTO audit SELECT -9223372036854775808, at, 'nobody', act, subject, detail_hash, hash FROM audit WHERE id = 1", "entry -9223372036854775808 was inserted"},
			{"Swapped", "UPDATE audit SET subject = CASE id WHEN 5 THEN 'default/shop-6' ELSE 'default/shop-5' END WHERE id IN (5, 6)", "the hash of entry 5 does not fit"},
		} {
			t.Run(c.name, func(t *testing.T) {
				copied := t.TempDir()
				doc, err := os.ReadFile(filepath.Join(dir, "journal.db"))
				if err == nil {
					err = os.WriteFile(filepath.Join(copied, "journal.db"), doc, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				edit(t, copied, c.change)
				if code, out := auditCommand(t, copied, "verify", "--file", file); code != exitFailed || !strings.Contains(out, c.want) {
					t.Errorf("exit status %d, want %q:\n%s", code, c.want, out)
				}
			})
		}
		t.Run("MadeAnew", func(t *testing.T) {
			// All hashes fit again, so only the export shows it.
			other := auditTrail(t, 1499)
			if code, out := auditCommand(t, other, "verify"); code != exitDone {
				t.Errorf("exit status %d:\n%s", code, out)
			}
			_, doc := auditCommand(t, other, "export")
			changed := filepath.Join(other, "export")
			if err := os.WriteFile(changed, []byte(strings.Replace(doc, "anna", "otto", 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			if code, out := auditCommand(t, other, "verify", "--file", changed); code != exitFailed || !strings.Contains(out, "line 1: the hash of entry 1 does not fit") {
				t.Errorf("exit status %d:\n%s", code, out)
			}
			if code, out := auditCommand(t, auditTrailOf(t, "another actor", 1500), "verify", "--file", file); code != exitFailed || !strings.Contains(out, "is another than in the export") {
				t.Errorf("exit status %d:\n%s", code, out)
			}
		})
	})
}

// edit changes the file of a journal as somebody with rights on it could.
func edit(t *testing.T, dir, change string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, statement := range []string{"DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete", change} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(statement, err)
		}
	}
}

// auditTrailOf is a whole trail of another actor.
func auditTrailOf(t *testing.T, actor string, n int) string {
	t.Helper()
	dir := auditTrail(t, 0)
	j, err := app.OpenReadOnly(t.Context(), "sqlite:"+filepath.Join(dir, "journal.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	entries := make([]journal.AuditEntry, n)
	for i := range entries {
		entries[i] = journal.AuditEntry{Actor: actor, Act: "act"}
	}
	if err := j.AppendAudit(t.Context(), entries...); err != nil {
		t.Fatal(err)
	}
	return dir
}
