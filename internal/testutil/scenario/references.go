package scenario

import (
	"testing"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// Resolves checks that the reference of an event leads to the token and the merchant that
// were issued.
func Resolves(tb testing.TB, j journal.Journal, store credentials.Store, a schemas.Activated, token, merchant string) {
	tb.Helper()
	ref, err := schemas.ParseReference(a.Credentials.Ref)
	if err != nil {
		tb.Errorf("shop %s: %v", a.ShopID, err)
		return
	}
	row, err := j.Credential(tb.Context(), journal.ShopKey{Account: ref.Account, Shop: ref.Shop}, ref.Version)
	if err != nil || ref.Shop != a.ShopID {
		tb.Errorf("shop %s: %s does not resolve: %v", a.ShopID, ref, err)
		return
	}
	got, err := store.Read(tb.Context(), row)
	if err != nil || got.Token.Reveal() != token {
		tb.Errorf("shop %s: %s does not resolve to the token that was issued (%v)", a.ShopID, ref, err)
		return
	}
	if a.MerchantID != merchant || got.MerchantID != merchant {
		tb.Errorf("shop %s: merchant %s announced, %s stored, %s issued", a.ShopID, a.MerchantID, got.MerchantID, merchant)
	}
}
