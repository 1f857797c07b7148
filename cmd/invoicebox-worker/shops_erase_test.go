package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/schemas"
)

// sealedOfShop selects the sealed values that have personal data of shop s1.
const sealedOfShop = `SELECT subject FROM event e JOIN shop s ON s.id = e.shop WHERE s.name = 's1' AND subject IS NOT NULL
	UNION ALL SELECT answer FROM attempt t JOIN event e ON e.id = t.operation JOIN shop s ON s.id = e.shop WHERE s.name = 's1' AND answer IS NOT NULL
	UNION ALL SELECT record FROM dead_letter WHERE shop = 's1' AND record IS NOT NULL`

// A shop is erased beside a running service. Neither its sealed values nor what an operator
// wrote about it are in any file of the database after that.
func TestShopsErase(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		r := newRig(t, kafkatest.Embedded(t), calm())
		eraseShop(t, r, func() [][]byte {
			db, err := sql.Open("sqlite", "file:"+r.path("journal.db")+"?mode=ro")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			rows, err := db.QueryContext(t.Context(), sealedOfShop)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = rows.Close() }()
			var list [][]byte
			for rows.Next() {
				var value []byte
				if err := rows.Scan(&value); err != nil {
					t.Fatal(err)
				}
				list = append(list, value)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			return list
		}, r.dir, func(bool) {})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		r := newRig(t, kafkatest.Embedded(t), calm())
		s := pgtest.Start(t)
		r.journal = s.Database(t, "")
		eraseShop(t, r, func() [][]byte {
			return s.Blobs(t, "test_1", sealedOfShop)
		}, filepath.Join(s.Data(), "base"), func(erased bool) {
			if !erased {
				s.Exec(t, "test_1", "CHECKPOINT")
				return
			}
			for _, statement := range documentedStatements(t) {
				s.Exec(t, "test_1", statement)
			}
			if out, err := exec.CommandContext(t.Context(), "pg_dump", r.journal).Output(); err == nil && bytes.Contains(out, []byte("MARKED")) { // #nosec G204 -- the test's own database
				t.Error("the dump has what an operator wrote about the shop")
			}
		})
	})
}

// documentedStatements are those that the runbook gives to the operator of PostgreSQL.
func documentedStatements(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?m)^ *((?:VACUUM|CHECKPOINT)[^;]*);$`).FindAllString(string(page), -1)
	if len(list) < 2 {
		t.Fatalf("the runbook has %q", list)
	}
	return list
}

// eraseShop erases shop s1, has the operator of the database do what is documented, and
// searches the files in a folder.
func eraseShop(t *testing.T, r *rig, sealed func() [][]byte, folder string, operator func(erased bool)) {
	t.Helper()
	w := r.start()
	r.selected("s1", "ivan@shop.test")
	r.results(schemas.TypeInvited, 1)
	r.entered("s1", "code-1")
	r.entered("s2", "code-2")
	r.results(schemas.TypeActivated, 2)
	// The same id with another address is a dead letter of the shop.
	r.selected("s1", "petr@shop.test")
	r.results(schemas.TypeDeadLetter, 1)
	id := activationOf(t, r, "s1")
	r.must(append([]string{"operations", "response", id, "--reveal", "--reason", "MARKED-response"}, r.beside()...)...)
	r.must(append([]string{"events", "reissue", "s1", "--reason", "MARKED-reissue"}, r.beside()...)...)
	values := sealed()
	if len(values) != 4 {
		t.Fatalf("%d sealed values, want those of an address, a code, a response and a record", len(values))
	}
	operator(false)
	if !found(t, folder, []byte("MARKED-response")) {
		t.Fatal("the search does not find what is there")
	}
	if code, _, errs := r.command(append([]string{"shops", "erase", "s1"}, r.beside()...)...); code != exitFailed || !strings.Contains(errs, "not confirmed") {
		t.Errorf("without confirmation: exit status %d\n%s", code, errs)
	}
	out := r.must(append([]string{"shops", "erase", "s1", "--yes", "--reason", "request 4711", "--wait", "1m", "--output", "json"}, r.beside()...)...)
	if i := actionOf(t, out); i.State != "performed" || i.Result != "erased" || i.Shop != "s1" {
		t.Errorf("the action is %+v", i)
	}
	r.results(schemas.TypeDisconnected, 1)
	if left := sealed(); len(left) != 0 {
		t.Errorf("%d sealed values are left", len(left))
	}
	operator(true)
	for k, value := range append(values, []byte("MARKED-response"), []byte("MARKED-reissue"), []byte("@shop.test")) {
		if found(t, folder, value) {
			t.Errorf("the files of the database have value %d", k)
		}
	}
	trail := r.must(append([]string{"audit", "list", "--limit", "100"}, r.beside()[:2]...)...)
	if !strings.Contains(trail, "erase.asked") || !strings.Contains(trail, "request 4711") || !strings.Contains(trail, "erase.performed") || !strings.Contains(trail, "(erased)") || strings.Contains(trail, "MARKED") {
		t.Errorf("the audit trail is\n%s", trail)
	}
	if out := r.must(append([]string{"audit", "verify"}, r.beside()[:2]...)...); !strings.Contains(out, "is whole") || !strings.Contains(out, "were erased with the data of shops") {
		t.Errorf("verify says %s", out)
	}
	// What was read before is still known.
	r.selected("s1", "ivan@shop.test")
	r.entered("s1", "code-1")
	r.entered("s3", "code-3")
	r.results(schemas.TypeActivated, 4) // with the repeated one
	effects := r.sandbox.Effects()
	if len(effects.Invitations) != 1 || effects.Invitations[0].Effects != 1 || len(effects.Activations) != 3 {
		t.Errorf("the effects at Invoicebox are %+v", effects)
	}
	if code, _, errs := r.command(append([]string{"shops", "erase", "nobody", "--yes"}, r.beside()...)...); code != exitFailed || !strings.Contains(errs, "nothing is known of shop") {
		t.Errorf("an unknown shop: exit status %d\n%s", code, errs)
	}
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
}

// activationOf finds the activation of a shop.
func activationOf(t *testing.T, r *rig, shop string) string {
	t.Helper()
	var view shopJSON
	if err := json.Unmarshal([]byte(r.must(append([]string{"shops", "show", shop, "--output", "json"}, r.beside()[:2]...)...)), &view); err != nil {
		t.Fatal(err)
	}
	return view.Active.Operation
}

// found searches the files in a folder.
func found(t *testing.T, folder string, value []byte) bool {
	t.Helper()
	there := false
	if err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // a file may have been deleted meanwhile
		}
		text, err := os.ReadFile(path) // #nosec G304 -- of this test
		if err == nil && bytes.Contains(text, value) {
			there = true
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return there
}
