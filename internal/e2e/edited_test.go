package e2e

import (
	"context"
	"database/sql"
	"os/exec"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// edit runs statements on the file of a journal that no worker has open.
func (r *rig) edit(statements ...string) {
	r.t.Helper()
	db, err := sql.Open("sqlite", r.path("journal.db"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, s := range statements {
		done, err := db.ExecContext(context.Background(), s)
		if err != nil {
			r.t.Fatalf("%s: %v", s, err)
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			r.t.Fatalf("%s: %d rows, %v", s, n, err)
		}
	}
}

// Somebody edits the file of a stopped journal, without the keyset. The next
// worker refuses what was edited, says so, and goes on with all else; what was not
// edited is done once more.
func TestEditedJournal(t *testing.T) {
	// of is the activation of a shop.
	of := func(shop string) string {
		return "(SELECT o.id FROM operation o JOIN shop s ON s.id = o.shop WHERE s.name = '" + shop + "' AND o.kind = 2)"
	}
	again := "UPDATE operation SET state = 6, stage = 2, due_at = 1, lane = 1, leased = 0, received = 1, version = NULL, stored_at = NULL, verified = NULL WHERE id = " + of("mallory")
	publish := "INSERT OR REPLACE INTO outbox_pending (row, outbox, since) SELECT id, id, 1 FROM outbox WHERE type = '" + schemas.TypeActivated + "' AND key = CAST('mallory' AS BLOB)"
	for name, c := range map[string]struct {
		edits  []string
		events int    // activated, after it
		log    string // "": nobody is accused
		ready  string
	}{
		"nothing": {[]string{again, publish}, 4, "", "publishing"},
		"receipts": {[]string{
			"UPDATE event SET uuid = randomblob(16) WHERE id = " + of("victim"),
			"UPDATE attempt SET (answer, answer_key, sealed_for) = (SELECT answer, answer_key, sealed_for FROM receipt WHERE operation = " + of("victim") + ") WHERE answer IS NOT NULL AND operation = " + of("mallory"),
			again,
		}, 2, "response does not belong to the operation", "publishing"},
		"receipts with their operations": {[]string{
			"INSERT INTO meta (name, value) SELECT 'kept', uuid FROM event WHERE id = " + of("victim"),
			"UPDATE event SET uuid = randomblob(16) WHERE id = " + of("victim"),
			"UPDATE event SET uuid = (SELECT value FROM meta WHERE name = 'kept') WHERE id = " + of("mallory"),
			"DELETE FROM meta WHERE name = 'kept'",
			"UPDATE attempt SET (answer, answer_key, sealed_for) = (SELECT answer, answer_key, sealed_for FROM receipt WHERE operation = " + of("victim") + ") WHERE answer IS NOT NULL AND operation = " + of("mallory"),
			again,
		}, 2, "response does not belong to the operation", "publishing"},
		"an event": {[]string{
			"UPDATE outbox SET value = CAST(replace(CAST(value AS TEXT), 'verified', 'pending') AS BLOB) WHERE type = '" + schemas.TypeActivated + "' AND key = CAST('mallory' AS BLOB)", publish,
		}, 2, "outbox row is not authentic", "1 outbox rows are not authentic"},
		"an event's headers": {[]string{
			"UPDATE outbox SET headers = x'ff' WHERE type = '" + schemas.TypeActivated + "' AND key = CAST('mallory' AS BLOB)", publish,
		}, 2, "outbox row is not authentic", "1 outbox rows are not authentic"},
		"an act": {[]string{
			"INSERT INTO intent (uuid, at, actor, act, account, note, merchant_id) SELECT randomblob(16), 1, 'mallory', 'pause', id, '', '' FROM account",
		}, 2, "action that is not authentic", "publishing"},
		"an act on what is not there": {[]string{
			"INSERT INTO intent (uuid, at, actor, act, account, operation, note, merchant_id) SELECT randomblob(16), 1, 'mallory', 'close', id, 999, '', '' FROM account",
		}, 2, "action that is not authentic", "publishing"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, kafkatest.Embedded(t), sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1})
			r.entered("victim", "mallory")
			w := r.start()
			r.awaitResults(schemas.TypeActivated, 2, time.Minute)
			if code, _ := w.terminate(40 * time.Second); code != 0 {
				t.Fatalf("exit status %d after SIGTERM", code)
			}
			r.edit(c.edits...)
			w = r.start()
			if c.log != "" {
				await(t, 30*time.Second, "the log names it", func() bool { return strings.Contains(w.log.tail(1<<20), c.log) })
			}
			// The others do not wait.
			r.entered("good")
			r.awaitResults(schemas.TypeActivated, c.events+1, time.Minute)
			if _, body := w.get("/readyz"); !strings.Contains(body, c.ready) {
				t.Errorf("/readyz says %q", body)
			}
			errorsLogged := strings.Count(w.log.tail(1<<20), `"level":"ERROR"`)
			if want := map[bool]int{true: 0, false: 1}[c.log == ""]; errorsLogged != want {
				t.Errorf("%d errors in the log, want %d", errorsLogged, want)
			}
			for _, version := range []string{"1", "2", "3"} {
				reference := "ref+sealed://journal/invoicebox/default/mallory?version=" + version + "#/token"
				out, _ := exec.Command(binary, append([]string{"resolve", reference}, r.settings()...)...).CombinedOutput() // #nosec G204 -- the program under test
				if strings.Contains(string(out), r.sandbox.TokenOf(codeOf("victim"))) {
					t.Errorf("version %s of mallory is the victim's token", version)
				}
			}
			if n := r.count(schemas.TypeActivated); n != c.events+1 {
				t.Errorf("%d shops were announced, want %d", n, c.events+1)
			}
		})
	}
}
