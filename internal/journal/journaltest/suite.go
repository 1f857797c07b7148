package journaltest

import (
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// An Opener opens a new journal for a test and closes it at the test's end. The journal
// must take its time from now. reopen ends the journal without Close, as a crash of its
// process would, and opens it again; it may be called more than once.
type Opener func(t *testing.T, planner journal.Planner, now func() time.Time) (j journal.Journal, reopen func() journal.Journal)

// A part is a test of the suite.
type part struct {
	name string
	test func(*fixture)
}

// Run runs the whole suite, each test on a journal of its own.
func Run(t *testing.T, open Opener) {
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range []struct {
		name  string
		parts []part
	}{
		{"Accounts", accounts}, {"Intake", intake}, {"Replays", replays}, {"Plans", plans}, {"Lanes", lanes}, {"Claims", claims}, {"Sending", sending},
		{"Responses", responses}, {"Reviews", reviews}, {"CredentialMoves", credentialMoves}, {"UnknownOutcomes", unknownOutcomes}, {"RunOrder", runOrder}, {"TransactionOrder", transactionOrder}, {"Intents", intents}, {"Permits", permits}, {"Transitions", transitions}, {"Outbox", outbox}, {"Relays", relays}, {"Restart", restart}, {"Reads", reads}, {"Reports", reports}, {"InactiveTime", inactiveTime}, {"Restores", restores},
		{"Pruning", pruning}, {"Seals", seals}, {"Reseals", reseals}, {"Emails", emails},
		{"ShopActions", shopActions}, {"Reminders", reminders}, {"Erasures", erasures}, {"Imports", imports},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, p := range group.parts {
				t.Run(p.name, func(t *testing.T) {
					t.Parallel()
					p.test(newFixture(t, open, keys))
				})
			}
		})
	}
}
