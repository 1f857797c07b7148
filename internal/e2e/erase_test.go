package e2e

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/scenario"
	"invoicebox-worker/schemas"
)

// A worker is killed in the middle of an erasure, while a new code of the shop is on its
// way. The next worker ends the erasure, and the files have nothing that was erased.
func TestKilledInErasure(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"erased", "detailed", "scrubbed"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			const shop = "shop-1"
			first := subject{classes[0], "activate", shop, "plain-c0", *classes[0].activate}
			next := first
			next.text = "plain-c1"
			r := newCrashRig(t, []subject{first, next}, "probe-once")
			r.subjects = r.subjects[:1]
			r.produce()
			w := r.watch(point)
			r.awaitResults(schemas.TypeActivated, 1, time.Minute)
			about := append([]string{"--account", first.account()}, r.settings()...)
			r.must(append([]string{"events", "reissue", shop, "--reason", "MARKED-reissue"}, about...)...)
			values := append(r.sealedValues(), []byte("MARKED-reissue"))
			if len(values) != 3 {
				t.Fatalf("%d values, want those of a code, a response and a reason", len(values))
			}
			for k, value := range values {
				if !r.inJournal(value) {
					t.Fatalf("the search does not find value %d, which is there", k)
				}
			}
			r.circuit.close()
			r.must(append([]string{"shops", "erase", shop, "--yes", "--wait", "0s"}, about...)...)
			await(t, time.Minute, "the erasure stands at "+point, func() bool { return w.has(w.parked, "erasure") })
			data := fmt.Sprintf(`{"shopId":%q,"partnerAccount":%q,"activationCode":%q}`, shop, next.account(), next.text)
			r.cluster.Produce(t, r.topics[schemas.TypeCodeEntered], []kafkago.Message{scenario.Event(schemas.TypeCodeEntered, "the next code", shop, data)})
			in := func(state, reason string) bool {
				return slices.ContainsFunc(r.operations("--all"), func(op operation) bool { return op.State == state && op.Reason == reason })
			}
			await(t, time.Minute, "the new code is on its way", func() bool { return in("sending", "") })
			w.kill()
			after := r.restart()
			after.awaitReady()
			trail := ""
			await(t, time.Minute, "the erasure has ended", func() bool {
				trail = r.must(append([]string{"audit", "list", "--limit", "100"}, r.settings()...)...)
				return strings.Contains(trail, "erase.performed")
			}, func() string { return trail })
			for k, value := range values {
				if r.inJournal(value) {
					t.Errorf("the files have value %d", k)
				}
			}
			r.circuit.open()
			r.awaitSettled(r.patience())
			if !in("attention", "outcome_lost") { // the probe of a code that was used
				t.Errorf("the operations are %+v", r.operations("--all"))
			}
			r.must(append([]string{"audit", "verify"}, r.settings()...)...)
			if code, _ := after.terminate(40 * time.Second); code != 0 {
				t.Errorf("exit status %d after SIGTERM", code)
			}
		})
	}
}

// sealedValues are those of codes and responses in the journal.
func (r *crashRig) sealedValues() (values [][]byte) {
	r.t.Helper()
	db, err := sql.Open("sqlite", "file:"+r.path("journal.db")+"?mode=ro")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(r.t.Context(), "SELECT subject FROM event WHERE subject IS NOT NULL UNION ALL SELECT answer FROM attempt WHERE answer IS NOT NULL")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var value []byte
		if err := rows.Scan(&value); err != nil {
			r.t.Fatal(err)
		}
		values = append(values, value)
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return values
}

// inJournal searches the bytes of the journal's files.
func (r *crashRig) inJournal(value []byte) (found bool) {
	r.t.Helper()
	files, err := filepath.Glob(r.path("journal.db*"))
	if err != nil || len(files) == 0 {
		r.t.Fatalf("no files of the journal: %v", err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, value) { // #nosec G304 -- of this test
			found = true
		}
	}
	return found
}
