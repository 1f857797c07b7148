package journal

import (
	"context"
	"time"
)

// CredentialMoves put a shop's current credentials into another store. The secret is
// unchanged; the reference and the version are new.
type CredentialMoves interface {
	// CurrentCredential returns a shop's current credentials for a move. ErrNotFound: the
	// shop is not active.
	CurrentCredential(ctx context.Context, k ShopKey) (CurrentCredential, error)
	// MoveCredential makes credentials with the same secret current. ErrStale: the shop's
	// current credentials, or their verification, changed meanwhile. ErrVersionTaken: the
	// version is not above all versions of the shop. After either error nothing is changed
	// or published.
	MoveCredential(ctx context.Context, m CredentialMove) error
}

// A CurrentCredential is a shop's current credentials with the state of their
// verification. Nobody has claimed them: Review.Ref only fences a [CredentialMove].
type CurrentCredential struct {
	Review
	ActivatedAt time.Time
	// Newest is the newest stored version. It is above Credential.Version if a newer one
	// is stored whose activation has not ended.
	Newest      int64
	NextVersion int64 // the version for new credentials
}

// A CredentialMove replaces a shop's current credentials. The state of their verification
// is unchanged.
type CredentialMove struct {
	Ref          ReviewRef
	Credential   Credential // of the same shop and merchant
	Publish      []Draft    // of the shop
	ReviewEvents int        // how many of Publish count as events of reviews
	// DestroyAt is when the secrets of older versions are to be destroyed; zero is never.
	DestroyAt time.Time
	Audit     AuditEntry
}
