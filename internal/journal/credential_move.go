package journal

import (
	"context"
	"time"
)

// CredentialMoves put a shop's current credentials into another store. The secret stays the
// same; the reference and the version are new.
type CredentialMoves interface {
	// CurrentCredential returns what a move of a shop's current credentials rests on.
	// ErrNotFound: the shop is not active.
	CurrentCredential(ctx context.Context, k ShopKey) (CurrentCredential, error)
	// MoveCredential makes credentials current that hold the same secret. ErrStale: the
	// shop's current credentials, or what is known of them, changed meanwhile.
	// ErrVersionTaken: the version is not above all versions of the shop. In both cases
	// nothing is changed, and nothing published.
	MoveCredential(ctx context.Context, m CredentialMove) error
}

// A CurrentCredential is a shop's current credentials, with what is known of them. It is
// no claim: Review.Ref only fences a [CredentialMove].
type CurrentCredential struct {
	Review
	ActivatedAt time.Time
	// Newest is the newest stored version. It is above Credential.Version while a newer
	// one is stored and not announced: its activation has not ended yet.
	Newest      int64
	NextVersion int64 // that new credentials can have
}

// A CredentialMove replaces a shop's current credentials. Their check goes on as it was.
type CredentialMove struct {
	Ref          ReviewRef
	Credential   Credential // of the same shop and merchant
	Publish      []Draft    // of the shop
	ReviewEvents int        // how many of Publish are counted as events of reviews
	// DestroyAt is when the secrets of older versions are to be destroyed; zero is never.
	DestroyAt time.Time
	Audit     AuditEntry
}
