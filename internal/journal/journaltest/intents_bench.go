package journaltest

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// MeasurePendingIntents measures a read of the waiting operator actions: none, and as many
// as can wait, about accounts (imports) and about operations; and one that skips all but
// eight of them. The journal's planner is Keeping. Open opens an empty journal.
func MeasurePendingIntents(b *testing.B, keys *keyset.Set, open func(b *testing.B) journal.Journal) {
	b.Helper()
	for _, about := range []string{"none", "accounts", "operations"} {
		b.Run(about, func(b *testing.B) {
			m := &measure{B: b, j: open(b), keys: keys}
			m.ok(m.j.EnsureAccount(b.Context(), account, "partner-1"))
			m.ok(m.j.InitPositions(b.Context(), []journal.Position{{Topic: topic}}))
			want := 0
			if about != "none" {
				want = journal.MaxWaitingIntents
			}
			var list []journal.ClaimedOperation
			if about == "operations" {
				for range want / 100 {
					m.fresh(100)
					list = append(list, m.claim(100)...)
				}
			}
			for i := range want {
				intent := journal.Intent{UUID: uuid.New(), Actor: "anna", Act: "import", Account: account, MerchantID: fmt.Sprint("merchant-", i), Note: "ticket 8", MAC: make([]byte, 40)}
				if about == "operations" {
					intent = journal.Intent{UUID: uuid.New(), Actor: "anna", Act: "close", Operation: list[i].UUID, Note: "ticket 8", MAC: make([]byte, 40)}
				} else {
					var err error
					intent.Sealed, err = keys.Seal(make([]byte, 300), "import")
					m.ok(err)
				}
				m.ok(m.j.AppendIntent(b.Context(), intent, journal.AuditEntry{Act: intent.Act + ".asked"}))
			}
			read := func(b *testing.B, n int, skip []int64) (got []journal.PendingIntent) {
				b.Helper()
				got, err := m.j.PendingIntents(b.Context(), journal.MaxWaitingIntents, skip)
				if err != nil || len(got) != n {
					b.Fatal(len(got), err)
				}
				return got
			}
			b.Run("all", func(b *testing.B) {
				for b.Loop() {
					read(b, want, nil)
				}
			})
			var skip []int64
			for _, i := range read(b, want, nil)[min(8, want):] {
				skip = append(skip, i.ID)
			}
			b.Run("eight", func(b *testing.B) {
				for b.Loop() {
					read(b, min(8, want), skip)
				}
			})
		})
	}
}
