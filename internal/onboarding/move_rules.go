package onboarding

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// moveActions are the commands that move credentials, by store.
var moveActions = map[string]Action{
	schemas.StoreSealed: ActionMoveToSealed, schemas.StoreOpenBao: ActionMoveToOpenBao, schemas.StoreVault: ActionMoveToVault,
}

// MoveActionTo returns the command that moves credentials to a store.
func MoveActionTo(store string) (Action, bool) {
	a, ok := moveActions[store]
	return a, ok
}

// MoveTarget returns the store to which a command moves credentials; false for another
// command.
func MoveTarget(c Action) (store string, ok bool) {
	for store, a := range moveActions {
		if a == c {
			return store, true
		}
	}
	return "", false
}

// A MoveObstacle says why a shop's credentials stay where they are.
type MoveObstacle string

// The obstacles.
const (
	MoveFree       MoveObstacle = ""             // nothing is in the way
	MoveDone       MoveObstacle = "done"         // they are in the store already
	MoveNewer      MoveObstacle = "newer_stored" // newer ones are stored and not announced yet
	MoveUnreadable MoveObstacle = "unreadable"   // what is stored is not the shop's secret
	MoveConflict   MoveObstacle = "conflict"     // the store has somebody else's secret in their place
	MoveNotStored  MoveObstacle = "not_storable" // the store, or the contract, can not name them
	MoveInactive   MoveObstacle = "not_active"   // the shop has no credentials in use
)

// MoveObstacleOf tells what is in the way of a move to a store, before a secret is read.
func MoveObstacleOf(c journal.CurrentCredential, store string) MoveObstacle {
	ref, err := schemas.ParseReference(c.Credential.Reference)
	switch {
	case err != nil:
		return MoveUnreadable
	case ref.Store == store:
		return MoveDone
	case c.Newest > c.Credential.Version:
		// Their version would be below that of the moved ones, and could not become
		// current any more.
		return MoveNewer
	}
	return MoveFree
}

// InStore tells whether a reference names a secret of a store.
func InStore(reference, store string) bool {
	return strings.HasPrefix(reference, "ref+"+store+"://")
}

// MoveResult says how a move ended. Left counts the shops whose credentials stay where they
// are.
func MoveResult(moved int, left map[MoveObstacle]int) (r Result, words string) {
	r = ResultMoved
	words = fmt.Sprintf("credentials of %d shop(s) were moved", moved)
	for _, o := range slices.Sorted(maps.Keys(left)) {
		words += fmt.Sprintf("; of %d they stay: %s", left[o], moveObstacleTexts[o])
	}
	if moved == 0 && len(left) > 0 {
		r = ResultNotMoved
	}
	return r, ResultOf(r).Text + ": " + words
}

// moveObstacleTexts describe obstacles.
var moveObstacleTexts = map[MoveObstacle]string{
	MoveNewer:      "newer credentials are stored and not announced yet (end their operation first)",
	MoveUnreadable: "what is stored is not the shop's secret",
	MoveConflict:   "the store has somebody else's secret at the shop's path",
	MoveNotStored:  "the store cannot hold them",
	MoveInactive:   "the shop has no credentials in use",
}

// MoveOperation is what a store knows the secret by that a move puts there. It is the same
// each time that these credentials are moved, and another one when they come back.
func MoveOperation(c journal.CurrentCredential) uuid.UUID {
	return uuid.NewSHA1(c.Operation, fmt.Appendf(nil, "moved from version %d", c.Credential.Version))
}

// Moved makes the events of credentials that were moved: the shop is active with the new
// reference; and where invalid credentials were announced, that they still are. Told is how
// many of the events tell what became of them.
func (p Publisher) Moved(c journal.CurrentCredential, next journal.Credential, ref schemas.Reference, now time.Time) (drafts []journal.Draft, reviewEvents int, err error) {
	of := eventContext{shop: next.Shop, operation: c.Operation, event: c.EventID, traceParent: c.TraceParent, traceState: c.TraceState}
	v := schemas.VerificationPending
	if c.State == journal.CredentialVerified {
		v = schemas.VerificationVerified
	}
	drafts = append(drafts, p.draft(movedEventID(c.Operation, c.Run, ref.String()), of, now, schemas.Activated{
		ShopID: next.Shop.Shop, PartnerAccount: next.Shop.Account, MerchantID: next.MerchantID, ActivatedAt: c.ActivatedAt.UTC(),
		Verification: v, Credentials: credentialsOf(ref),
	}))
	if c.State == journal.CredentialInvalid {
		review := c.Review
		review.Credential = next
		invalid, err := p.Verified(review, schemas.TypeCredentialsInvalid, now)
		if err != nil {
			return nil, 0, err
		}
		drafts, reviewEvents = append(drafts, invalid), 1
	}
	return drafts, reviewEvents, nil
}

// movedEventID is the id of the event that announces the new place of credentials.
func movedEventID(operation uuid.UUID, run int, reference string) uuid.UUID {
	return schemas.EventID(operation, run, schemas.TypeActivated+"/"+reference)
}
