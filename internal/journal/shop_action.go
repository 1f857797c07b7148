package journal

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
)

// ErrDisconnected reports that an operator has disconnected the shop, and that it was not
// activated since.
var ErrDisconnected = errors.New("journal: the shop's credentials were disconnected")

// ShopActions execute operator actions on shops, and destroy the secrets that are not
// used any more.
type ShopActions interface {
	// ActOnShop ends an action on a shop together with its effect. ErrStale: the action
	// has ended. ErrNotFound: no such shop.
	ActOnShop(ctx context.Context, a ShopAction) error
	// ClaimDestructions claims secrets that are due to be destroyed, the longest due
	// first. The caller has them until the lease ends or EndDestruction. It skips the
	// secrets of current credentials, and those of a shop whose latest credentials or
	// disconnection are not published yet. It is cheap enough to be called every second.
	ClaimDestructions(ctx context.Context, limit int, lease time.Duration) ([]Destruction, error)
	// EndDestruction records that a secret is destroyed, and erases it from the journal,
	// also from the response that brought it. ErrStale: it was recorded before, or the
	// credentials became current meanwhile.
	EndDestruction(ctx context.Context, d Destruction, audit AuditEntry) error
	// ImportShop makes credentials current that the shop had before this journal. If the
	// version is not above the shop's versions, it fails with ErrVersionTaken and returns
	// the next one. ErrStale: the shop is active, or the action has ended.
	// ErrMerchantConflict.
	ImportShop(ctx context.Context, i ShopImport) (next int64, err error)
	// EraseAuditDetails erases the details of the audit entries about a shop and its
	// operations, except those whose acts begin with one of kept. The entries stay, and
	// so does the chain. Each transaction that erases details appends audit, with the
	// numbers of their entries as its detail: see [FormatNumbers].
	EraseAuditDetails(ctx context.Context, shop int64, kept []string, audit AuditEntry) (erased int, err error)
	// Scrub rewrites the database, so that its files contain nothing that was erased
	// before. Nothing is written meanwhile. Concurrent calls share a rewrite. It waits
	// for readers that began before the rewrite, and others can write then. False: on
	// this database only its operator can do that. ErrFull: the disk has no room for it.
	Scrub(ctx context.Context) (done bool, err error)
}

// A ShopAction is an operator action on a shop.
type ShopAction struct {
	Shop int64 // as in a PendingIntent
	// Decide returns what the action changes. It is called in the transaction that makes
	// the changes, perhaps more than once, and must be pure.
	Decide func(ShopSituation) ShopChange
}

// A ShopSituation is the state of a shop when an action on it is executed.
type ShopSituation struct {
	Shop         ShopKey
	Active       *ActiveView // nil while the shop has no current credentials
	Disconnected time.Time   // zero if its credentials were not disconnected
	// Of the current activation.
	Run         int
	EventID     string
	TraceParent string
	TraceState  string
	// Operations are those that are open or in attention, the oldest first.
	Operations []ShopOperation
}

// A ShopOperation is an operation of a shop that has not ended.
type ShopOperation struct {
	ID     int64
	UUID   uuid.UUID
	Kind   Kind
	State  State
	Reason string
	Doubt  bool
}

// A ShopChange is what an action on a shop changes.
type ShopChange struct {
	Intent IntentEnd
	// Disconnect ends the use of the shop's credentials; nil: nothing but the end of the
	// action.
	Disconnect *Disconnect
	// Erase, with Disconnect, erases the personal data of the shop. The shop may be
	// inactive. The action does not end, because it has further steps. It stores Result of
	// Intent, so that nothing is erased for it twice.
	Erase bool
}

// A Disconnect ends the use of a shop's credentials: the shop is not active any more,
// another merchant id may follow, and all secrets of the shop are to be destroyed.
type Disconnect struct {
	At time.Time
	// DestroyAt is when the secrets are to be destroyed; zero is never.
	DestroyAt time.Time
	// Cancel become Superseded, with Reason; only Queued, Planned and Waiting
	// operations may be named.
	Cancel []int64
	// End become Done, with the same reason; only operations in Attention may be named.
	End     []int64
	Reason  string
	Publish []Draft
}

// A ShopImport is an activation that was made elsewhere. The journal inserts an event and
// an ended operation for it.
type ShopImport struct {
	Event     Event // with the shop; its address or code is never looked up
	Operation uuid.UUID
	Reason    string // of the operation's end
	// Made is from Attention to Done, without Ref.
	Made Transition
}

// A Destruction is a secret that is to be destroyed.
type Destruction struct {
	ShopID     int64
	Credential Credential
}
